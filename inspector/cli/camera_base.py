"""What all of ``inspector camera`` shares: the station's cameras by name, the options, errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import cv2
import typer
from numpy.typing import NDArray

from inspector.acquire.camera import DeviceError, Exposure
from inspector.acquire.visit import Visit
from inspector.config import CameraConfig, load_station
from inspector.yamlfile import FileError

STATION = Path("firmware_config/station.yaml")
OPEN_LIMIT_S = 20.0  # a camera is open by then, its producer's process included

CameraArgument = Annotated[str, typer.Argument(help="The station's name for it, or its serial number.")]
StationOption = Annotated[Optional[Path], typer.Option("--station", help=f"Station file; default {STATION}.")]  # noqa: UP007,UP045 - typer reads this on Python 3.10 too
ProducerOption = Annotated[
    Optional[Path],  # noqa: UP007,UP045
    typer.Option("--producer", help="GenTL producer (.cti) instead of the station file's or GENICAM_GENTL64_PATH's."),
]


class Trouble(Exception):
    """Something can't be done; its text is for the one who typed the command."""


@dataclass(frozen=True)
class Known:
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

    def of_the_station(self, camera: str) -> tuple[Visit, CameraConfig]:
        """As :meth:`named`, for what needs a camera file. Raises Trouble."""
        asked, config = self.named(camera)
        if config is None:
            names = ", ".join(self.cameras) or "none: name a station file with --station"
            raise Trouble(f"{camera} is no camera of the station (it has {names})")
        return asked, config


class told:  # noqa: N801  # reads as a word in `with`
    """Whatever is wrong becomes a sentence and this exit status."""

    def __init__(self, status: int = 1) -> None:
        self._status = status

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (Trouble, DeviceError, FileError)):
            typer.echo(sentence(error), err=True)
            raise typer.Exit(self._status) from None


def sentence(error: Exception) -> str:
    """An error's text, with what to do when the station holds the camera."""
    text = str(error)
    if " in use" in text:  # by us (the access status tells), or in the words of its maker
        text += "\nThe running station holds its cameras. Stop it first: sudo systemctl stop inspector"
    return text


def known(station: Path | None, producer: Path | None) -> Known:
    """The station's cameras. Raises FileError."""
    if station is None and not STATION.is_file():
        return Known({}, producer)  # a bare computer: whatever is on the path
    config = load_station(station or STATION)
    return Known(config.cameras, producer, config.identity.wired)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned lines, each cell as wide as the widest below and above it."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield ("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))).rstrip()


def exposure_of(exposure: Exposure) -> str:
    """``850 us, gain 0 dB``."""
    if exposure.exposure_us <= 0:
        return "not told"
    return f"{exposure.exposure_us:g} us, gain {exposure.gain_db:g} dB"


def new_file(path: Path, ending: str, force: bool = False) -> None:
    """Raises Trouble unless ``path`` can be written: its ending, its folder, and not over what is there."""
    if path.suffix.lower() != ending:
        raise Trouble(f"{path}: allowed is a name that ends with {ending}")
    if not path.parent.is_dir():
        raise Trouble(f"{path}: there is no folder {path.parent}")
    if path.exists() and not force:
        raise Trouble(f"{path} is there already; --force writes over it")


def write_file(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises Trouble."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Trouble(f"{path}: can't be written: {error.strerror}") from None


def png(image: NDArray[Any]) -> bytes:
    """(H, W) or (H, W, 3) RGB, 8 or 16 bits, as a lossless PNG file."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", bgr)
    if not done:
        raise Trouble("the picture can't be packed as PNG")
    return data.tobytes()
