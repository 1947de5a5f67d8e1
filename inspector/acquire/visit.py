"""One look at one camera, in a process of its own: its features, or a picture with its file's settings.

By hand: ``python -m inspector.acquire.visit features '{"serial": "VC0001", "producers": ["x.cti"]}'``.
The request is one JSON object (:class:`Visit`), and so is the answer on stdout (:mod:`inspector.acquire.apart`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import apart
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame
from inspector.config import CameraFile, load_camera_file
from inspector.yamlfile import FileError

if TYPE_CHECKING:
    from inspector.acquire.genicam import Library

LIMIT_S = 20.0


@dataclass(frozen=True)
class Visit:
    """Which camera, and what belongs to it."""

    serial: str
    producers: tuple[str, ...] = ()  # none: all on GENICAM_GENTL64_PATH
    camera_file: str = ""
    trigger: str = "software"
    wait_s: float = 10.0  # for the picture, after the trigger is fired or armed for the wire
    pixels: str = ""  # where the picture goes, a .npy file as the ring would hold it


@dataclass(frozen=True)
class Feature:
    """One feature as the camera shows it now."""

    name: str
    category: str
    access: str  # RW, RO, WO, or NA: not there in the camera's present mode
    value: str
    unit: str
    allowed: str  # range or entries, "" when there is no limit
    visibility: str  # Beginner, Expert, Guru, Invisible


def features(visit: Visit) -> tuple[list[Feature], list[str]]:
    """All features, and where they differ from the camera file's (nothing is set). Raises DeviceError."""
    told = _ask("features", visit, LIMIT_S)
    return [Feature(**feature) for feature in told["features"]], list(told["differences"])


def picture(visit: Visit) -> tuple[Exposure, NDArray[Any]]:
    """One picture with the camera file's settings: (H, W) or (H, W, 3) as the ring holds it. Raises DeviceError."""
    told = _ask("picture", visit, LIMIT_S + visit.wait_s)
    exposure = told["exposure"]
    return Exposure(**{**exposure, "offset_px": tuple(exposure["offset_px"])}), np.load(visit.pixels)


def _ask(what: str, visit: Visit, limit_s: float) -> dict[str, Any]:
    try:
        return apart.ask("inspector.acquire.visit", [what, json.dumps(asdict(visit))], limit_s=limit_s)
    except apart.Died as how:
        named = ", ".join(visit.producers) or "on GENICAM_GENTL64_PATH"
        raise DeviceError(f"GenTL producer {named} {how}") from None


def _library(visit: Visit) -> Library:
    from inspector.acquire.genicam import Library, producers

    return Library([p for path in visit.producers or (None,) for p in producers(Path(path) if path else None)])


def _camera_file(visit: Visit) -> CameraFile | None:
    try:
        return load_camera_file(Path(visit.camera_file)) if visit.camera_file else None
    except FileError as error:
        raise DeviceError(str(error)) from None


def _features(visit: Visit) -> Mapping[str, Any]:
    from inspector.acquire.genicam import describe

    wanted = _camera_file(visit)
    found, differences = describe(_library(visit), visit.serial, wanted.features if wanted else {})
    return {"features": [asdict(feature) for feature in found], "differences": differences}


def _picture(visit: Visit) -> Mapping[str, Any]:
    from inspector.acquire.genicam import GenicamCamera

    wanted = _camera_file(visit)
    if wanted is None:
        raise DeviceError("a picture needs a camera file")
    camera = GenicamCamera(_library(visit), visit.serial, wanted, visit.trigger)
    taken: list[NDArray[Any]] = []
    camera.open()
    try:
        if visit.trigger == "software":
            camera.trigger()
        try:
            exposure = _fetched(camera, visit.wait_s, taken)
        except IncompleteFrame:
            raise DeviceError(f"camera {visit.serial} sent an incomplete picture; check its cable") from None
    finally:
        camera.close()
    if exposure is None:
        why = " of the trigger" if visit.trigger == "software" else ": no pulse came on its trigger wire"
        raise DeviceError(f"camera {visit.serial} sent no picture within {visit.wait_s:g} s{why}")
    np.save(visit.pixels, taken[0])
    return {"exposure": asdict(exposure)}


def _fetched(camera: Any, limit_s: float, taken: list[NDArray[Any]]) -> Exposure | None:
    end = time.monotonic() + limit_s
    while (left_s := end - time.monotonic()) > 0:
        exposure: Exposure | None = camera.fetch(min(left_s, 0.1), lambda image: taken.append(image.copy()))
        if exposure is not None:
            return exposure
    return None


def main(arguments: Sequence[str]) -> None:
    """The child: do what is asked, print it."""
    work = {"features": _features, "picture": _picture}[arguments[0]]
    request = json.loads(arguments[1])
    visit = Visit(**{**request, "producers": tuple(request.get("producers", ()))})
    apart.tell(lambda: work(visit))


if __name__ == "__main__":
    main(sys.argv[1:])
