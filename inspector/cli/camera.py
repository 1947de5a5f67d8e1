"""``inspector camera``: which cameras there are, what they are set to, and one picture to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from inspector.acquire import visit
from inspector.acquire.camera import DeviceError, Exposure
from inspector.acquire.probe import probe
from inspector.acquire.visit import Feature, Visit
from inspector.config import CameraConfig, load_camera_file, load_station
from inspector.pixels import decode
from inspector.yamlfile import FileError

STATION = Path("firmware_config/station.yaml")
_WHITE = {"Mono10": 1023, "Mono12": 4095, "Mono16": 65535}  # the largest value; others: 255
_WIDTH = 34  # of the column with the values

app = typer.Typer(no_args_is_help=True, help="Cameras: list them, show their features, take a picture.")

StationOption = Annotated[Optional[Path], typer.Option("--station", help=f"Station file; default {STATION}.")]  # noqa: UP007,UP045 - typer reads this on Python 3.10 too
ProducerOption = Annotated[
    Optional[Path],  # noqa: UP007,UP045
    typer.Option("--producer", help="GenTL producer (.cti) instead of the station file's or GENICAM_GENTL64_PATH's."),
]


@dataclass(frozen=True)
class _Known:
    """The cameras of the station file; none without one."""

    cameras: dict[str, CameraConfig]
    producer: Path | None
    wired: bool = False

    def producers(self) -> list[Path | None]:
        """Each that is named, None for those on the path."""
        if self.producer is not None or not self.cameras:
            return [self.producer]
        return sorted({camera.producer for camera in self.cameras.values()}, key=str)

    def named(self, camera: str) -> tuple[Visit, CameraConfig | None]:
        """By the station's name, or by serial number."""
        by_serial = {c.serial: c for c in self.cameras.values()}
        config = self.cameras.get(camera) or by_serial.get(camera)
        found = [self.producer or config.producer] if config else self.producers()
        producers = tuple(str(p) for p in found if p)
        if config is None:
            return Visit(camera, producers), None
        trigger = "wired" if self.wired else "software"
        return Visit(config.serial, producers, str(config.features), trigger), config


@app.command("list")
def list_cameras(station: StationOption = None, producer: ProducerOption = None) -> None:
    """List GenTL producers and their cameras, and which of them are the station's."""
    with _told():
        known = _known(station, producer)
        seen: set[str] = set()
        troubles = []
        for path in known.producers():
            probed = probe([path] if path else [])
            if probed.error:
                troubles.append(probed.error)
                continue
            for name in probed.producers:
                typer.echo(f"producer  {name}")
            rows = [("serial", "model", "vendor", "access", "station's camera")]
            for device in probed.devices:
                names = [n for n, c in known.cameras.items() if c.serial == device["serial"]]
                seen.update(names)
                rows.append((device["serial"], device["model"], device["vendor"], device["access"], ", ".join(names)))
            typer.echo("\n".join(_columns(rows)) if len(rows) > 1 else "  no camera; check power, cable and addresses")
        for name, camera in known.cameras.items():
            if name not in seen:
                troubles.append(f"camera {name} of the station, serial {camera.serial}, is not there")
        if troubles:
            raise DeviceError("\n".join(troubles))


@app.command("show")
def show_camera(
    camera: Annotated[str, typer.Argument(help="The station's name for it, or its serial number.")],
    every: Annotated[bool, typer.Option("--all", help="Expert and guru features too.")] = False,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Show a camera's features with what they may be, and where they differ from its camera file."""
    with _told():
        asked, config = _known(station, producer).named(camera)
        features, differences = visit.features(asked)
        wanted = {key.split("[")[0] for key in load_camera_file(config.features).features} if config else set()
        shown = [f for f in features if every or f.name in wanted or (f.visibility == "Beginner" and f.access != "NA")]
        typer.echo("\n".join(_listed(shown, wanted)))
        if len(shown) < len(features):
            typer.echo(f"\n{len(features) - len(shown)} more with --all")
        if config is not None:
            typer.echo(f"\n* set by {config.features}" + ("; all as it wants" if not differences else "; differs now:"))
            typer.echo("\n".join(f"  {difference}" for difference in differences), nl=bool(differences))


@app.command("snapshot")
def snapshot(
    camera: Annotated[str, typer.Argument(help="The station's name for it.")],
    output: Annotated[
        Optional[Path],  # noqa: UP007,UP045
        typer.Option("--output", "-o", help="PNG file; default CAMERA.png."),
    ] = None,
    wait_s: Annotated[float, typer.Option(min=0.1, max=600, help="How long to wait for the picture.")] = 10.0,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Take one picture with the camera file's settings and write it as lossless PNG."""
    with _told():
        known = _known(station, producer)
        asked, config = known.named(camera)
        if config is None:
            names = ", ".join(known.cameras) or "none: name a station file with --station"
            raise DeviceError(f"{camera} is no camera of the station (it has {names})")
        file = output or Path(f"{camera}.png")
        if file.suffix.lower() != ".png":
            raise DeviceError(f"{file}: the picture is written as PNG; allowed: a name that ends with .png")
        if not file.parent.is_dir():
            raise DeviceError(f"{file}: there is no folder {file.parent}")
        if known.wired:
            typer.echo(f"waiting up to {wait_s:g} s for a pulse on the trigger wire", err=True)
        with tempfile.TemporaryDirectory() as folder:
            pixels = str(Path(folder) / "pixels.npy")
            asked = Visit(asked.serial, asked.producers, asked.camera_file, asked.trigger, wait_s, pixels)
            exposure, raw = visit.picture(asked)
        _write(file, decode(raw, exposure.pixel_format))
        typer.echo("\n".join([str(file), *_figures(exposure, raw)]))


class _told:  # noqa: N801  # reads as a word in `with`
    """Whatever is wrong becomes a sentence and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (DeviceError, FileError)):
            text = str(error)
            if "in use by another program" in text:
                text += "\nThe running station holds its cameras. Stop it first: sudo systemctl stop inspector"
            typer.echo(text, err=True)
            raise typer.Exit(1) from None


def _known(station: Path | None, producer: Path | None) -> _Known:
    if station is None and not STATION.is_file():
        return _Known({}, producer)  # a bare computer: whatever is on the path
    config = load_station(station or STATION)
    return _Known(config.cameras, producer, config.identity.wired)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))).rstrip()


def _listed(features: Sequence[Feature], wanted: set[str]) -> Iterator[str]:
    width = max((len(f.name) for f in features), default=0)
    category = ""
    for feature in features:
        if feature.category != category:
            category = feature.category
            yield f"{category}"
        value = f"{feature.value} {feature.unit}".strip()
        mark = "*" if feature.name in wanted else " "
        allowed = f"  {feature.allowed}" if feature.allowed and feature.access != "RO" else ""
        yield f"{mark} {feature.name.ljust(width)}  {feature.access}  {value.ljust(_WIDTH)}{allowed}".rstrip()


def _write(file: Path, image: NDArray[Any]) -> None:
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", bgr)
    if not done:
        raise DeviceError(f"{file}: the picture can't be packed as PNG")
    try:
        file.write_bytes(data.tobytes())
    except OSError as error:
        raise DeviceError(f"{file}: can't be written: {error.strerror}") from None


def _figures(exposure: Exposure, raw: NDArray[Any]) -> Iterator[str]:
    """What to look at when lens and light are set up; of the values as the camera sent them."""
    white = _WHITE.get(exposure.pixel_format, 255)
    saturated = float(np.count_nonzero(raw >= white)) / raw.size
    yield f"  size       {exposure.width}x{exposure.height} px, {exposure.pixel_format}"
    yield f"  exposure   {exposure.exposure_us:g} us, gain {exposure.gain_db:g} dB"
    yield f"  mean       {raw.mean():.1f} of {white}"
    yield f"  saturated  {saturated:.2%} of the values are {white}"
    focus = _focus(decode(raw, exposure.pixel_format), white)
    yield f"  focus      {focus:.2f} (turn the lens for the most; same scene only)"


def _focus(image: NDArray[Any], white: int) -> float:
    """Mean square of the grey gradient, in percent of white: grows with sharpness."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    scaled = grey.astype(np.float32) * (100.0 / white)
    across, down = cv2.Sobel(scaled, cv2.CV_32F, 1, 0), cv2.Sobel(scaled, cv2.CV_32F, 0, 1)
    return float(np.mean(across**2 + down**2)) / 64.0  # 8 is the sum of Sobel's weights on a step of 1
