"""The camera process: ``python -m inspector.acquire.process --fd N --station station.yaml --camera top``.

One thread does everything: messages, triggers, frames, recovery. Nothing in it waits longer than a few
milliseconds, except inside the vendor's library; when that hangs, pings stay unanswered and the station
kills this process and starts it again.

Which picture belongs to which part
-----------------------------------
*software*: one trigger at a time. Whatever lies in the camera's queue before the trigger is thrown away; the
picture must carry the next frame id. After a lost, incomplete or odd picture streaming is restarted, so that a
late one can't be taken for the next part's. A trigger that could not be fired in time is given up, because by
then another part may stand before the camera.

*wired*: a picture belongs to the announcement within ``window_ms`` of it. One announcement and one picture in
the window are a pair; more than one of either can't be told apart, and then none of them is inspected, and nothing
more until the line has been quiet for a window. A picture that did not come in time may still come: streaming is
restarted, so that it can't be taken for the next part's.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire.camera import Camera, DeviceError, Exposure, IncompleteFrame
from inspector.child import Channel, start
from inspector.codes import Code
from inspector.config import CameraConfig, load_camera_file, load_station
from inspector.parts import FrameRef
from inspector.ring import PIXEL_TYPES, Ring
from inspector.wire import CameraState, Capture, Captured, CaptureFailed, Grant, Ping, Stop, Stray
from inspector.yamlfile import FileError

_log = logging.getLogger("camera")

SLICE_S = 0.005  # one look at the camera, between looks at the station's messages
IDLE_S = 0.05
DRAIN_LIMIT = 100  # pictures at a time; the camera has a few buffers only
STRANDED_LIMIT = 100 * 1024 * 1024
CHECK_S = 0.5
SETTINGS_CHECK_S = 5.0
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
# GigE Vision 1 counts to 65535 and goes on with 1; a 32-bit counter may wrap within a long shift of a fast line
_AFTER_WRAP = {1 << 16: (0, 1), 1 << 32: (0, 1)}


class CameraLoop:
    """See the module's text."""

    def __init__(self, name: str, config: CameraConfig, channel: Channel, camera: Camera, rings: Path) -> None:
        self._name = name
        self._config = config
        self._channel = channel
        self._camera = camera
        self._rings = rings
        self._ring: Ring | None = None
        self._free: deque[int] = deque()
        self._wanted: deque[Capture] = deque()
        self._early: deque[FrameRef] = deque()
        self._fresh = False
        self._info: dict[str, Any] = {}
        self._tries = 0
        self._trouble = ""  # what was told last about a camera that can't be opened
        self._try_at = 0.0
        self._check_at = self._settings_at = 0.0
        self._next_id: int | None = None
        self._generation = 0  # of the slot filled last, the first free one; 0: there was none
        self._announced_ns = self._exposed_ns = self._quiet_from_ns = -1 << 62

    def run(self) -> None:
        """Until the station says stop or goes away."""
        while True:
            now = time.monotonic()
            if not self._fresh and now >= self._try_at:
                self._open()
            busy = self._fresh and bool(self._wanted)
            if not self._messages(0.0 if busy else self._idle_limit()):
                return
            if not self._fresh:
                self._fail_all(Code.CAMERA_LOST, f"camera {self._name} is lost")
                continue
            try:
                if self._is_wired:
                    self._wired()
                else:
                    self._software()
                self._check()
            except DeviceError as error:
                self._lost(str(error))

    @property
    def _is_wired(self) -> bool:
        return self._config.trigger == "wired"

    def _idle_limit(self) -> float:
        # a wired camera must be looked at often: its pictures come unasked
        return SLICE_S / 5 if self._fresh and self._is_wired else IDLE_S

    def _messages(self, limit_s: float) -> bool:
        """Handle what the station sent; False: stop."""
        message = self._channel.receive(limit_s)
        while message is not None:
            if isinstance(message, Ping):
                self._channel.pong(message)
            elif isinstance(message, Capture):
                self._wanted.append(message)
                if self._is_wired:
                    self._announced(message)
            elif isinstance(message, Grant):
                # a slot of an earlier, smaller ring is nobody's any more
                slots = range(self._config.slots)
                self._free.extend(s for s in message.slots if s in slots and s not in self._free)
            elif isinstance(message, Stop):
                return False
            message = self._channel.receive(0.0)
        return True

    # --- recovery ------------------------------------------------------------------------------------
    def _open(self) -> None:
        try:
            info = self._camera.open()
            self._make_ring(info)
        except DeviceError as error:
            self._camera.close()
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(False, self._trouble)
            self._try_at = time.monotonic() + BACK_OFF_S[min(self._tries, len(BACK_OFF_S) - 1)]
            self._tries += 1
            return
        self._tries = 0
        self._trouble = ""
        self._next_id = None
        self._fresh = True
        self._check_at = time.monotonic() + CHECK_S
        self._settings_at = time.monotonic() + SETTINGS_CHECK_S
        self._info = info
        self._say(True, "streaming")

    def _make_ring(self, info: dict[str, Any]) -> None:
        dtype, channels = PIXEL_TYPES[info["pixel_format"]]
        size = int(info["width"]) * int(info["height"]) * channels * np.dtype(dtype).itemsize
        if self._ring is not None and self._ring.slot_bytes >= size:
            return
        for old in self._rings.glob(f"ring-{self._name}-*"):
            # also what a killed process of this camera left; `top` must not touch the rings of `top-2`
            if re.fullmatch(rf"ring-{self._name}-\d+-[0-9a-f]+", old.name):
                old.unlink(missing_ok=True)
        path = self._rings / f"ring-{self._name}-{os.getpid()}-{time.monotonic_ns():x}"
        try:
            self._ring = Ring.create(path, self._config.slots, size)
        except OSError as error:
            room = f"{self._config.slots} pictures ({self._config.slots * size / 1e6:.0f} MB) in {self._rings}"
            raise DeviceError(
                f"camera {self._name}: no room for {room}: {error.strerror}; free some, or lower `slots`"
            ) from error
        self._free = deque(range(self._config.slots))

    def _lost(self, why: str) -> None:
        self._fresh = False
        self._camera.close()
        self._try_at = time.monotonic() + BACK_OFF_S[0]
        self._tries = 0
        self._drop_early()
        self._say(False, why)
        self._fail_all(Code.CAMERA_LOST, why)
        if self._camera.stranded_bytes > STRANDED_LIMIT:
            raise EOFError("starting anew is the only way to get the memory of lost pictures back")

    def _check(self) -> None:
        now = time.monotonic()
        if now < self._check_at or self._wanted:
            return
        self._check_at = now + CHECK_S
        live = self._camera.check()
        if now >= self._settings_at:
            self._check_settings()
        if live != {k: self._info.get(k) for k in live}:
            self._info = {**self._info, **live}
            self._tell(True, "streaming")

    def _check_settings(self) -> None:
        self._settings_at = time.monotonic() + SETTINGS_CHECK_S
        changed = self._camera.differing()
        if changed:
            raise DeviceError(f"settings of camera {self._name} were changed by someone else: {'; '.join(changed)}")

    def _say(self, fresh: bool, text: str) -> None:
        _log.log(logging.INFO if fresh else logging.WARNING, "%s: %s", self._name, text)
        self._tell(fresh, text)

    def _tell(self, fresh: bool, text: str) -> None:
        ring = str(self._ring.path) if self._ring else ""
        self._channel.send(CameraState(fresh, text, {**self._info, "ring": ring} if fresh else {}))

    def _fail(self, seq: int, code: Code, text: str) -> None:
        self._channel.send(CaptureFailed(seq, int(code), text))

    def _fail_all(self, code: Code, text: str) -> None:
        while self._wanted:
            self._fail(self._wanted.popleft().seq, code, text)

    def _stray(self, what: str) -> None:
        self._channel.send(Stray(what, 1))

    # --- one frame -----------------------------------------------------------------------------------
    def _copy(self, image: NDArray[Any]) -> None:
        """The one copy of a picture's life."""
        # the slot stays free until the picture gets its passport: most strays never do
        self._generation = 0
        if self._free and self._ring is not None:
            self._generation = self._ring.write(self._free[0], image)

    def _ref(self, exposure: Exposure, triggered_ns: int) -> FrameRef:
        assert self._ring is not None  # noqa: S101  # a picture was just copied into it
        return FrameRef(
            camera=self._name,
            frame_id=exposure.frame_id,
            ring=str(self._ring.path),
            slot=self._free.popleft(),
            generation=self._generation,
            width=exposure.width,
            height=exposure.height,
            pixel_format=exposure.pixel_format,
            exposure_us=exposure.exposure_us,
            gain_db=exposure.gain_db,
            device_timestamp_ns=exposure.device_timestamp_ns,
            triggered_ns=triggered_ns,
            received_ns=time.monotonic_ns(),
            offset_px=exposure.offset_px,
        )

    def _doubt(self) -> None:
        """Throw away whatever may still come: nothing that was asked for before may be taken for the next part."""
        self._camera.restart()
        self._next_id = None

    def _due(self, found: int) -> bool:
        """True when this is the frame id that comes next; any is right after a restart."""
        return self._next_id is None or found in (self._next_id, *_AFTER_WRAP.get(self._next_id, ()))

    # --- software trigger ----------------------------------------------------------------------------
    def _software(self) -> None:
        if self._drain():
            self._check_settings()  # with its trigger off it would go on, and the next one be taken for the part's
        if not self._wanted:
            return
        capture = self._wanted.popleft()
        try:
            self._software_one(capture)
        except DeviceError as error:
            self._fail(capture.seq, Code.CAMERA_LOST, str(error))
            raise

    def _software_one(self, capture: Capture) -> None:
        late_ms = (time.monotonic_ns() - capture.received_ns) / 1e6
        if late_ms > self._config.trigger_limit_ms:
            limit = self._config.trigger_limit_ms
            text = (
                f"camera {self._name} could be triggered only {late_ms:.0f} ms after the part came (limit {limit} ms)"
            )
            self._fail(capture.seq, Code.NO_FRAME, text)
            return
        if not self._free:
            self._fail(
                capture.seq, Code.OVERRUN, f"camera {self._name}: all {self._config.slots} picture slots are in use"
            )
            return
        fired_ns = time.monotonic_ns()
        self._camera.trigger()
        limit_ns = min(capture.deadline_ns, fired_ns + self._config.frame_limit_ms * 1_000_000)
        while time.monotonic_ns() < limit_ns:
            try:
                exposure = self._camera.fetch(SLICE_S, self._copy)
            except IncompleteFrame:
                self._doubt()
                self._fail(
                    capture.seq, Code.NO_FRAME, f"camera {self._name} sent an incomplete picture; check its cable"
                )
                return
            if exposure is not None:
                self._software_frame(capture, exposure, fired_ns)
                return
            if not self._messages(0.0):
                raise EOFError("told to stop")
        self._camera.check()
        self._doubt()
        waited_ms = (time.monotonic_ns() - fired_ns) / 1e6
        self._fail(
            capture.seq, Code.NO_FRAME, f"camera {self._name} sent no picture within {waited_ms:.0f} ms of the trigger"
        )

    def _software_frame(self, capture: Capture, exposure: Exposure, fired_ns: int) -> None:
        expected, found = self._next_id, exposure.frame_id
        if not self._due(found):
            self._stray("stale" if found < (expected or 0) else "gap")
            self._doubt()
            text = f"camera {self._name} sent picture {found} where {expected} was due: it may show another part"
            self._fail(capture.seq, Code.NO_FRAME, text)
            return
        self._next_id = found + 1
        self._channel.send(Captured(capture.seq, self._ref(exposure, fired_ns)))

    def _drain(self) -> int:
        """Nothing has been asked for: whatever comes now is nobody's. Returns how many came."""
        for count in range(DRAIN_LIMIT):
            try:
                exposure = self._camera.fetch(0.0, lambda image: None)
            except IncompleteFrame:
                self._stray("incomplete")
                self._next_id = None
                continue
            if exposure is None:
                return count
            self._stray("extra")
            self._next_id = exposure.frame_id + 1
        raise DeviceError(f"camera {self._name} sends pictures without end that nobody asked for")

    # --- wired trigger -------------------------------------------------------------------------------
    @property
    def _window_ns(self) -> int:
        return self._config.window_ms * 1_000_000

    def _announced(self, capture: Capture) -> None:
        """Two announcements within a window: whose the next picture is can't be told."""
        before, self._announced_ns = self._announced_ns, capture.received_ns
        if capture.received_ns - before < self._window_ns:
            self._refuse(f"two parts were announced within {self._config.window_ms} ms")
        elif capture.received_ns < self._quiet_from_ns:
            self._refuse("parts or pictures just before it could not be told apart")

    def _refuse(self, why: str) -> None:
        """None of what is here can be inspected, nor what comes until a window has passed without anything."""
        now = time.monotonic_ns()
        self._quiet_from_ns = now + self._window_ns
        text = f"camera {self._name}: {why}: which picture belongs to which part can't be told"
        self._fail_all(Code.NO_FRAME, text)
        self._drop_early("ambiguous")

    def _drop_early(self, what: str = "") -> None:
        while self._early:
            self._free.append(self._early.popleft().slot)
            if what:
                self._stray(what)

    def _wired(self) -> None:
        try:
            exposure = self._camera.fetch(SLICE_S if self._wanted else 0.0, self._copy)
        except IncompleteFrame:
            exposure = None
            self._next_id = None
            self._stray("incomplete")
            self._fail_all(Code.NO_FRAME, f"camera {self._name} sent an incomplete picture; check its cable")
        if exposure is not None:
            self._wired_frame(exposure)
        self._match()

    def _wired_frame(self, exposure: Exposure) -> None:
        expected, found, now = self._next_id, exposure.frame_id, time.monotonic_ns()
        if expected is not None and found < expected and not self._due(found):
            self._stray("doubled")
            return
        due, close = self._due(found), now - self._exposed_ns < self._window_ns
        self._next_id, self._exposed_ns = found + 1, now
        if not due:
            self._stray("gap")
            self._refuse("a picture was lost on its way")
        elif close or now < self._quiet_from_ns:
            self._stray("ambiguous")
            self._refuse(f"two pictures came within {self._config.window_ms} ms")
        elif not self._generation:
            self._stray("no_slot")
            self._fail_all(Code.OVERRUN, f"camera {self._name}: all {self._config.slots} picture slots are in use")
        else:
            self._early.append(self._ref(exposure, 0))

    def _match(self) -> None:
        if len(self._wanted) > 1:
            self._refuse(f"{len(self._wanted)} parts wait for a picture")
        if self._wanted and self._early:
            capture, frame = self._wanted[0], self._early[0]
            if abs(frame.received_ns - capture.received_ns) <= self._window_ns:
                self._wanted.popleft()
                self._early.popleft()
                self._channel.send(Captured(capture.seq, replace(frame, triggered_ns=capture.received_ns)))
        now = time.monotonic_ns()
        if self._early and now - self._early[0].received_ns > self._window_ns:
            self._drop_early("extra")
        if self._wanted and now - self._wanted[0].received_ns > self._window_ns:
            self._drop_early("late")
            text = f"camera {self._name} sent no picture within {self._config.window_ms} ms of the part's announcement"
            self._camera.check()
            self._doubt()
            self._fail_all(Code.NO_FRAME, text)


def main() -> None:
    """Entry point of the process."""
    arguments = argparse.ArgumentParser(description="One camera's process; the station starts it.")
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("--station", type=Path, required=True)
    arguments.add_argument("--camera", required=True)
    given = arguments.parse_args()
    channel = start(given.fd, f"camera {given.camera}")
    from inspector.acquire.genicam import GenicamCamera, Library, producers  # loads the vendor's code

    try:
        station = load_station(given.station)
        config = station.cameras.get(given.camera)
        if config is None:
            raise DeviceError(f"{given.station}: no camera {given.camera}; there are {', '.join(station.cameras)}")
        library = Library(producers(config.producer))
        camera = GenicamCamera(library, config.serial, load_camera_file(config.features), config.trigger)
        try:
            CameraLoop(given.camera, config, channel, camera, station.runtime_dir).run()
        finally:
            camera.close()  # or a GigE camera stays taken until its heartbeat times out
    except (DeviceError, FileError) as error:
        _leave(channel, str(error))
    except EOFError as end:
        _log.info("%s", end)
    os._exit(0)  # not sys.exit: producers' threads and finalizers have nothing left to do, and may hang


def _leave(channel: Channel, why: str) -> None:
    """Tell why nothing can be done here; the station starts us again, with back-off."""
    _log.error("%s", why)
    with contextlib.suppress(EOFError):
        channel.send(CameraState(False, why))
    os._exit(2)


if __name__ == "__main__":
    main()
