"""``inspector camera live``: a camera's picture in the terminal while lens, light and region are set up."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from inspector.acquire import live
from inspector.acquire.camera import DeviceError
from inspector.acquire.visit import Visit
from inspector.cli.camera_base import (
    OPEN_LIMIT_S,
    CameraArgument,
    ProducerOption,
    StationOption,
    Trouble,
    known,
    sentence,
    told,
)
from inspector.cli.camera_file import SetOption, changed
from inspector.cli.figures import Figures, Region, figures
from inspector.pixels import decode

if TYPE_CHECKING:
    from inspector.tui.live import Picture

QUIET_S = 2.0  # so long without a picture is said
AGAIN_S = 1.0
_RATE_OVER_S = 3.0
_LEAVE_LIMIT_S = 5.0


def live_camera(
    camera: CameraArgument,
    rate_hz: Annotated[float, typer.Option("--rate", min=0.1, max=30, help="Pictures a second; not if wired.")] = 5.0,
    settings: SetOption = None,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Show the picture as it comes: focus with its peak, exposure, what is lost. Keys only; q leaves."""
    with told():
        station_s = known(station, producer)
        asked, _ = station_s.of_the_station(camera)
        if not sys.stdout.isatty():
            raise Trouble("live pictures need a terminal; `inspector camera snapshot` writes one picture to a file")
        os.environ.setdefault("TEXTUAL_FPS", "15")  # read by textual when it is imported
        from inspector.tui.live import LiveCamera

        with changed(asked, settings) as as_set, Stream(as_set, rate_hz) as stream:
            trouble = stream.opened(OPEN_LIMIT_S)
            if trouble:
                raise Trouble(trouble)
            LiveCamera(f"{camera} {asked.serial}", stream).run(mouse=False)


class Stream:
    """Pictures of a camera with their figures, made in a thread: a :class:`inspector.tui.live.Source`."""

    def __init__(self, visit: Visit, rate_hz: float) -> None:
        self._visit = visit
        self._rate_hz = rate_hz
        self._wired = visit.trigger == "wired"
        self._lock = threading.Lock()  # of everything below
        self._newest: tuple[Picture, Figures, Region | None] | None = None
        self._region: Region | None = None
        self._came: deque[tuple[int, int, int]] = deque()  # received_ns, frame id, lost
        self._lost_before = self._lost = 0
        self._trouble = ""
        self._last_s = time.monotonic()
        self._tried = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live pictures", daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(_LEAVE_LIMIT_S)

    def opened(self, limit_s: float) -> str:
        """Wait for the first try to open the camera: "" when it is open, or why it is not."""
        if not self._tried.wait(limit_s):
            return f"camera {self._visit.serial} was not opened within {limit_s:g} s"
        with self._lock:
            return self._trouble

    # --- what the screen asks
    def newest(self, region: Region | None) -> tuple[Picture, Figures] | None:
        """See :class:`inspector.tui.live.Source`."""
        with self._lock:
            came, self._newest, self._region = self._newest, None, region
        if came is None:
            return None
        picture, found, of = came
        return picture, found if of == region else self.figures(picture, region)

    def figures(self, picture: Picture, region: Region | None) -> Figures:
        """See :class:`inspector.tui.live.Source`."""
        return figures(picture.raw, picture.image, picture.pixel_format, region)

    @property
    def rate_hz(self) -> float:
        """See :class:`inspector.tui.live.Source`."""
        with self._lock:
            oldest_ns = time.monotonic_ns() - int(_RATE_OVER_S * 1e9)
            while len(self._came) > 1 and self._came[0][0] < oldest_ns:
                self._came.popleft()
            if len(self._came) < 2:
                return 0.0
            (from_ns, first, lost), (to_ns, last, lost_now) = self._came[0], self._came[-1]
            # by frame ids: the screen may skip pictures, the camera did not
            return max(last - first - (lost_now - lost), 0) / max((to_ns - from_ns) / 1e9, 1e-3)

    @property
    def lost(self) -> int:
        """See :class:`inspector.tui.live.Source`."""
        with self._lock:
            return self._lost_before + self._lost

    @property
    def why(self) -> str:
        """See :class:`inspector.tui.live.Source`."""
        with self._lock:
            if self._trouble:
                return self._trouble.splitlines()[0]
            quiet_s = time.monotonic() - self._last_s
        if quiet_s < max(QUIET_S, 0.0 if self._wired else 3.0 / self._rate_hz):
            return ""
        cause = "no pulse came on the trigger wire" if self._wired else "the camera does not answer its trigger"
        return f"no picture for {quiet_s:.0f} s: {cause}"

    # --- the thread
    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                with live.frames(self._visit, self._rate_hz) as source:
                    self._follow(source)
            except DeviceError as error:
                self._say(sentence(error))
                self._ends.wait(AGAIN_S)
            with self._lock:
                self._lost_before, self._lost = self._lost_before + self._lost, 0

    def _follow(self, source: live.Live) -> None:
        opened = False
        while not self._ends.is_set():
            shown = source.next()
            if shown is not None:
                self._take(shown)
            if source.info and not opened:
                opened, self._last_s = True, time.monotonic()
                self._say("")
            elif source.info and source.trouble != live.WAITING:
                self._say(sentence(DeviceError(source.trouble)) if source.trouble else "")
            elif not source.info and source.trouble != live.OPENING:
                self._say(sentence(DeviceError(source.trouble)))

    def _say(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
        self._tried.set()

    def _take(self, shown: live.Shown) -> None:
        from inspector.tui.live import Picture

        exposure = shown.exposure
        image = decode(shown.image, exposure.pixel_format)
        picture = Picture(
            image, shown.image, exposure.pixel_format, exposure.frame_id, exposure.exposure_us, exposure.gain_db
        )
        with self._lock:
            region = self._region
        found = self.figures(picture, region)
        with self._lock:
            self._newest = (picture, found, region)
            if self._came and exposure.frame_id <= self._came[-1][1]:
                self._came.clear()  # the camera began anew
            self._came.append((shown.received_ns, exposure.frame_id, shown.lost))
            self._lost = shown.lost
            self._last_s = time.monotonic()
