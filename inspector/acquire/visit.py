"""One look at one camera, in a process of its own: its features, its whole settings, or a picture.

By hand: ``python -m inspector.acquire.visit features '{"serial": "VC0001", "producers": ["x.cti"]}'``.
The request is one JSON object (:class:`Visit`), and so is the answer on stdout (:mod:`inspector.acquire.apart`).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import apart
from inspector.acquire import features as settings
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame
from inspector.acquire.features import Difference, Value
from inspector.config import CameraFile, load_camera_file
from inspector.yamlfile import FileError

if TYPE_CHECKING:
    from inspector.acquire.genicam import GenicamCamera, Library

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


def features(visit: Visit) -> tuple[list[Feature], list[Difference]]:
    """All features, and where they differ from the camera file's (nothing is set). Raises DeviceError."""
    told = _ask("features", visit, LIMIT_S)
    return [Feature(**feature) for feature in told["features"]], _differences(told)


def saved(visit: Visit) -> dict[str, Value]:
    """The whole feature set, selectors included, in the camera's order and a camera file's notation.

    Raises DeviceError.
    """
    return dict(_ask("saved", visit, LIMIT_S)["saved"])


def applied(visit: Visit, features: Mapping[str, Value]) -> list[Difference]:
    """Set these features, read them back; returns every one that is not as wanted. Raises DeviceError."""
    return _differences(_ask("applied", visit, LIMIT_S, features=dict(features)))


def differences(visit: Visit, features: Mapping[str, Value]) -> list[Difference]:
    """Where the camera differs from these features; nothing is set. Raises DeviceError."""
    return _differences(_ask("differences", visit, LIMIT_S, features=dict(features)))


def user_set(visit: Visit, name: str, *, boot: bool) -> None:
    """Save what the camera holds now as its user set ``name``; ``boot``: it starts with it from now on.

    Raises DeviceError, also when the camera does not read back as written.
    """
    _ask("user_set", visit, LIMIT_S, name=name, boot=boot)


def _differences(told: Mapping[str, Any]) -> list[Difference]:
    return [Difference(**difference) for difference in told["differences"]]


def picture(visit: Visit) -> tuple[Exposure, NDArray[Any]]:
    """One picture with the camera file's settings: (H, W) or (H, W, 3) as the ring holds it. Raises DeviceError."""
    told = _ask("picture", visit, LIMIT_S + visit.wait_s)
    exposure = told["exposure"]
    return Exposure(**{**exposure, "offset_px": tuple(exposure["offset_px"])}), np.load(visit.pixels)


def _ask(what: str, visit: Visit, limit_s: float, **more: Any) -> dict[str, Any]:
    request = {**asdict(visit), **({"more": more} if more else {})}
    try:
        return apart.ask("inspector.acquire.visit", [what, json.dumps(request)], limit_s=limit_s)
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
    found, told = describe(_library(visit), visit.serial, wanted.features if wanted else {})
    return {"features": [asdict(feature) for feature in found], "differences": [asdict(d) for d in told]}


def _saved(visit: Visit) -> Mapping[str, Any]:
    from inspector.acquire.genicam import visited

    return {"saved": visited(_library(visit), visit.serial, settings.saved)}


def _applied(visit: Visit, features: Mapping[str, Value]) -> Mapping[str, Any]:
    from inspector.acquire.genicam import visited

    told = visited(_library(visit), visit.serial, lambda nodes: settings.applied(nodes, features))
    return {"differences": [asdict(d) for d in told]}


def _differing(visit: Visit, features: Mapping[str, Value]) -> Mapping[str, Any]:
    from inspector.acquire.genicam import visited

    told = visited(_library(visit), visit.serial, lambda nodes: settings.differing(nodes, features))
    return {"differences": [asdict(d) for d in told]}


def _user_set(visit: Visit, name: str, boot: bool) -> Mapping[str, Any]:
    from inspector.acquire.genicam import keep

    keep(_library(visit), visit.serial, name, boot=boot)
    return {}


@contextlib.contextmanager
def open_camera(visit: Visit) -> Iterator[GenicamCamera]:
    """The visited camera, not yet opened; closed afterwards. In a child alone. Raises DeviceError."""
    from inspector.acquire.genicam import GenicamCamera

    wanted = _camera_file(visit)
    if wanted is None:
        raise DeviceError("a picture needs a camera file")
    camera = GenicamCamera(_library(visit), visit.serial, wanted, visit.trigger, may_run_free=True)
    try:
        yield camera
    finally:
        camera.close()


def _picture(visit: Visit) -> Mapping[str, Any]:
    taken: list[NDArray[Any]] = []
    with open_camera(visit) as camera:
        camera.open()
        if visit.trigger == "software":
            camera.trigger()
        try:
            exposure = _fetched(camera, visit.wait_s, taken)
        except IncompleteFrame as lost:
            raise DeviceError(f"camera {visit.serial} {lost.why}") from None
    if exposure is None:
        why = " of the trigger" if visit.trigger == "software" else ": no pulse came on its trigger wire"
        raise DeviceError(f"camera {visit.serial} sent no picture within {visit.wait_s:g} s{why}")
    if exposure.wrong:
        raise DeviceError(f"camera {visit.serial}: {exposure.wrong}: somebody changed the settings")
    np.save(visit.pixels, taken[0])
    return {"exposure": asdict(exposure)}


def _fetched(camera: Any, limit_s: float, taken: list[NDArray[Any]]) -> Exposure | None:
    end = time.monotonic() + limit_s
    while (left_s := end - time.monotonic()) > 0:
        exposure: Exposure | None = camera.fetch(min(left_s, 0.1), lambda raw: taken.append(raw.array()))
        if exposure is not None:
            return exposure
    return None


def main(arguments: Sequence[str]) -> None:
    """The child: do what is asked, print it."""
    works: dict[str, Callable[..., Mapping[str, Any]]] = {
        "features": _features,
        "saved": _saved,
        "applied": _applied,
        "differences": _differing,
        "user_set": _user_set,
        "picture": _picture,
    }
    work = works[arguments[0]]
    request = json.loads(arguments[1])
    more = request.pop("more", {})
    visit = Visit(**{**request, "producers": tuple(request.get("producers", ()))})
    apart.tell(lambda: work(visit, **more))


if __name__ == "__main__":
    main(sys.argv[1:])
