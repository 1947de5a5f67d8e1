"""``inspector camera reference``: the averaged dark or flat picture that ``flat_field`` corrects by."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from inspector.acquire import live
from inspector.acquire.camera import DeviceError, Exposure
from inspector.acquire.visit import Visit
from inspector.cli.camera_base import (
    OPEN_LIMIT_S,
    CameraArgument,
    ProducerOption,
    StationOption,
    Trouble,
    exposure_of,
    known,
    new_file,
    png,
    told,
    write_file,
)
from inspector.cli.camera_file import SetOption, changed
from inspector.cli.figures import white_of
from inspector.pixels import decode

RATE_HZ = 20.0
BLOCKS = 16  # places across and down that evenness is told of: larger than noise and dust
DARK_MOST = 0.05  # of white
FLAT_LEAST, FLAT_MOST = 0.20, 0.95  # of white: the darkest place, the brightest place
WHITE_MOST = 1e-4  # share of the values; hot pixels are fewer
EVEN_LEAST = 0.5  # darkest place by brightest: beyond, correction only makes noise larger
STEADY_MOST = 0.05  # how far the mean may go up and down from picture to picture


class Kind(str, Enum):
    """Lens covered, or an evenly bright plain target."""

    dark = "dark"
    flat = "flat"


def reference(
    camera: CameraArgument,
    kind: Annotated[Kind, typer.Option("--kind", help="dark: lens covered; flat: an evenly lit plain target.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file, beside the recipe that uses it.")],
    frames: Annotated[int, typer.Option("--frames", min=2, max=4096, help="Pictures to average.")] = 64,
    wait_s: Annotated[float, typer.Option(min=0.1, max=600, help="Longest time without a picture.")] = 10.0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    settings: SetOption = None,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Average pictures to a reference for `flat_field`, with the camera file's settings; refuse what can't be one."""
    with told():
        station_s = known(station, producer)
        asked, _ = station_s.of_the_station(camera)
        new_file(output, ".png", force)
        if station_s.wired:
            typer.echo(f"waiting for {frames} pulses on the trigger wire, {wait_s:g} s at most for each", err=True)
        average = Average()
        with changed(asked, settings) as as_set:
            for exposure, raw in _pictures(as_set, frames, wait_s):
                average.add(exposure, raw)
        trouble = average.no_dark() if kind is Kind.dark else average.no_flat()
        if trouble:
            raise Trouble(f"{output} was not written: {trouble}")
        data = png(average.picture())
        write_file(output, data)
        typer.echo("\n".join([str(output), *average.words()]))
        typer.echo(f"in the recipe: {kind.value}: {output.name}@sha256:{hashlib.sha256(data).hexdigest()[:12]}")


def _pictures(asked: Visit, count: int, wait_s: float) -> Iterator[tuple[Exposure, NDArray[Any]]]:
    """``count`` pictures as the ring holds them. Raises DeviceError, also when none comes for ``wait_s``."""
    with live.frames(asked, RATE_HZ) as source:
        end, got = time.monotonic() + OPEN_LIMIT_S, 0
        while got < count:
            shown = source.next()
            if shown is not None:
                got, end = got + 1, time.monotonic() + wait_s
                yield shown.exposure, shown.image
            elif source.trouble not in ("", live.OPENING, live.WAITING):
                raise DeviceError(source.trouble)
            elif source.info and not got:
                end = min(end, time.monotonic() + wait_s)
            if time.monotonic() > end:
                why = "; no pulse came on its trigger wire" if asked.trigger == "wired" else ""
                raise DeviceError(f"camera {asked.serial}: {got} of {count} pictures, then none for {wait_s:g} s{why}")


class Average:
    """The mean of equal pictures, its temporal noise (as EMVA 1288 has it, from pairs) and its non-uniformity."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: NDArray[np.float64] = np.zeros(0)
        self._first: Exposure | None = None
        self._odd: NDArray[Any] | None = None  # the first of two
        self._variances: list[float] = []
        self._means: list[float] = []
        self._white_share = 0.0

    def add(self, exposure: Exposure, raw: NDArray[Any]) -> None:
        """One more picture, as the ring holds it. Raises Trouble when it is not like the others."""
        first = self._first = self._first or exposure
        kinds = [(e.width, e.height, e.pixel_format, e.exposure_us, e.gain_db) for e in (first, exposure)]
        if kinds[0] != kinds[1]:
            raise Trouble(f"the camera was set to something else meanwhile: {kinds[0]}, then {kinds[1]}")
        image = decode(raw, exposure.pixel_format)
        self._sum = self._sum + image if self.count else image.astype(np.float64)
        self.count += 1
        self._means.append(float(raw.mean()))
        self._white_share = max(self._white_share, float(np.count_nonzero(raw >= self.white)) / raw.size)
        if self._odd is None:
            self._odd = raw
        else:  # two pictures differ by noise alone, whatever stands before the lens
            apart = self._odd.astype(np.float32) - raw
            self._variances.append(max(float(np.mean(apart**2) - np.mean(apart) ** 2), 0.0) / 2)
            self._odd = None

    @property
    def white(self) -> int:
        """The largest grey value."""
        return white_of(self._first.pixel_format) if self._first else 255

    @property
    def mean(self) -> float:
        """Grey."""
        return float(np.mean(self._means))

    @property
    def noise(self) -> float:
        """Of one picture: one standard deviation, grey."""
        return float(np.sqrt(np.mean(self._variances)))

    @property
    def nonuniformity(self) -> float:
        """One standard deviation from place to place, without what noise is left; of the worst colour; grey."""
        spread = float(np.max(np.var(self._sum / self.count, axis=(0, 1))))
        return float(np.sqrt(max(spread - self.noise**2 / self.count, 0.0)))

    @property
    def places(self) -> tuple[float, float]:
        """Mean of the darkest and of the brightest place, grey; of the worst colour."""
        places = np.atleast_3d(cv2.resize(self._sum / self.count, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA))
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        worst = int(np.argmin(low / np.maximum(high, 1e-9)))
        return float(low[worst]), float(high[worst])

    def no_dark(self) -> str:
        """Why this is no dark reference, "" when it is one."""
        brightest = self.places[1]
        if brightest > DARK_MOST * self.white:
            return (
                f"it is not dark: {brightest:.1f} of {self.white} at its brightest place, allowed: "
                f"{DARK_MOST * self.white:.1f}; cover the lens, or lower BlackLevel"
            )
        return ""

    def no_flat(self) -> str:
        """Why this is no flat reference, "" when it is one."""
        low, high = self.places
        sway = (max(self._means) - min(self._means)) / max(self.mean, 1e-9)
        if self._white_share > WHITE_MOST or high > FLAT_MOST * self.white:
            return (
                f"it is too bright: {self._white_share:.2%} of the values are white, {high:.1f} of {self.white} at its "
                f"brightest place, allowed: {FLAT_MOST * self.white:.1f}; less light or a shorter exposure"
            )
        if high < FLAT_LEAST * self.white:
            return (
                f"it is too dark: {high:.1f} of {self.white} at its brightest place, allowed: at least "
                f"{FLAT_LEAST * self.white:.1f}, best 70 %; more light or a longer exposure"
            )
        if low < EVEN_LEAST * high:
            return (
                f"it is too uneven: {low:.1f} at its darkest place, {high:.1f} at its brightest, allowed: down to "
                f"{EVEN_LEAST:.0%} of it; an even target over the whole picture, a better light"
            )
        if sway > STEADY_MOST:
            return (
                f"the light is not steady: the mean moves by {sway:.1%} from picture to picture, allowed: "
                f"{STEADY_MOST:.0%}; shade daylight and lamps that flicker"
            )
        return ""

    def picture(self) -> NDArray[np.uint16]:
        """The mean, 16 bits: in the camera's grey values, of 8 bit formats in 65535ths; colours RGB."""
        scale = 257.0 if self.white == 255 else 1.0
        return np.rint(self._sum * (scale / self.count)).astype(np.uint16)

    def words(self) -> Iterator[str]:
        """What was measured."""
        first = self._first
        assert first is not None  # noqa: S101  # there was a picture
        low, high = self.places
        yield f"  pictures        {self.count} of {first.width}x{first.height} px, {first.pixel_format}"
        yield f"  exposure        {exposure_of(first)}"
        yield f"  mean            {self.mean:.2f} of {self.white}; darkest place {low:.2f}, brightest {high:.2f}"
        yield f"  noise           {self.noise:.2f} grey in one picture, {self.noise / self.count**0.5:.2f} in this mean"
        share = self.nonuniformity / max(self.mean, 1e-9)
        yield f"  non-uniformity  {self.nonuniformity:.2f} grey, {share:.2%} of the mean"
