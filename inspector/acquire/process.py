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
the window are a pair; more than one of either can't be told apart, and then none of them is inspected.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
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
CHECK_S = 0.5
SETTINGS_CHECK_S = 5.0
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


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
        self._try_at = 0.0
        self._check_at = self._settings_at = 0.0
        self._next_id: int | None = None
        self._slot = -1
        self._generation = 0
        self._no_slot = False

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
                if self._config.trigger == "software":
                    self._software()
                else:
                    self._wired()
                self._check()
            except DeviceError as error:
                self._lost(str(error))

    def _idle_limit(self) -> float:
        # a wired camera must be looked at often: its pictures come unasked
        return SLICE_S / 5 if self._fresh and self._config.trigger == "wired" else IDLE_S

    def _messages(self, limit_s: float) -> bool:
        """Handle what the station sent; False: stop."""
        message = self._channel.receive(limit_s)
        while message is not None:
            if isinstance(message, Ping):
                self._channel.pong(message)
            elif isinstance(message, Capture):
                self._wanted.append(message)
            elif isinstance(message, Grant):
                self._free.extend(message.slots)
            elif isinstance(message, Stop):
                return False
            message = self._channel.receive(0.0)
        return True

    # --- recovery ------------------------------------------------------------------------------------
    def _open(self) -> None:
        try:
            info = self._camera.open()
            self._make_ring(info)
        except (DeviceError, OSError) as error:
            if self._tries == 0:
                self._say(False, str(error))
            self._try_at = time.monotonic() + BACK_OFF_S[min(self._tries, len(BACK_OFF_S) - 1)]
            self._tries += 1
            return
        self._tries = 0
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
        if self._ring is not None:
            self._ring.path.unlink(missing_ok=True)
        path = self._rings / f"ring-{self._name}-{os.getpid()}-{time.monotonic_ns():x}"
        self._ring = Ring.create(path, self._config.slots, size)
        self._free = deque(range(self._config.slots))
        self._early.clear()

    def _lost(self, why: str) -> None:
        self._fresh = False
        self._camera.close()
        self._try_at = time.monotonic() + BACK_OFF_S[0]
        self._tries = 1  # lost has been said; further failures to open are not news
        while self._early:
            self._free.append(self._early.popleft().slot)
        self._say(False, why)
        self._fail_all(Code.CAMERA_LOST, why)

    def _check(self) -> None:
        now = time.monotonic()
        if now < self._check_at or self._wanted:
            return
        self._check_at = now + CHECK_S
        live = self._camera.check()
        if now >= self._settings_at:
            self._settings_at = now + SETTINGS_CHECK_S
            changed = self._camera.differing()
            if changed:
                raise DeviceError(f"settings of camera {self._name} were changed by someone else: {'; '.join(changed)}")
        if live != {k: self._info.get(k) for k in live}:
            self._info = {**self._info, **live}
            self._say(True, "streaming")

    def _say(self, fresh: bool, text: str) -> None:
        _log.log(logging.INFO if fresh else logging.WARNING, "%s: %s", self._name, text)
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
        self._no_slot = not self._free
        if self._free and self._ring is not None:
            self._slot = self._free.popleft()
            self._generation = self._ring.write(self._slot, image)

    def _ref(self, exposure: Exposure, triggered_ns: int) -> FrameRef:
        assert self._ring is not None  # noqa: S101  # a picture was just copied into it
        return FrameRef(
            camera=self._name,
            frame_id=exposure.frame_id,
            ring=str(self._ring.path),
            slot=self._slot,
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

    # --- software trigger ----------------------------------------------------------------------------
    def _software(self) -> None:
        self._drain()
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
        if expected is not None and found != expected:
            self._free.append(self._slot)
            self._stray("stale" if found < expected else "gap")
            self._doubt()
            text = f"camera {self._name} sent picture {found} where {expected} was due: it may show another part"
            self._fail(capture.seq, Code.NO_FRAME, text)
            return
        self._next_id = found + 1
        self._channel.send(Captured(capture.seq, self._ref(exposure, fired_ns)))

    def _drain(self) -> None:
        """Nothing has been asked for: whatever comes now is nobody's."""
        while True:
            try:
                exposure = self._camera.fetch(0.0, lambda image: None)
            except IncompleteFrame:
                self._stray("incomplete")
                self._next_id = None
                continue
            if exposure is None:
                return
            self._stray("extra")
            self._next_id = exposure.frame_id + 1

    # --- wired trigger -------------------------------------------------------------------------------
    def _wired(self) -> None:
        try:
            exposure = self._camera.fetch(SLICE_S if self._wanted else 0.0, self._copy)
        except IncompleteFrame:
            exposure = None
            self._stray("incomplete")
        if exposure is not None:
            self._wired_frame(exposure)
        self._match()

    def _wired_frame(self, exposure: Exposure) -> None:
        expected, found = self._next_id, exposure.frame_id
        self._next_id = found + 1
        if self._no_slot:
            self._stray("no_slot")
            return
        if expected is not None and found < expected:
            self._free.append(self._slot)
            self._stray("doubled")
            return
        self._early.append(self._ref(exposure, 0))

    def _match(self) -> None:
        now, window_ns = time.monotonic_ns(), self._config.window_ms * 1_000_000
        if self._wanted and self._early:
            if len(self._wanted) == 1 and len(self._early) == 1:
                self._pair(self._wanted[0], self._early[0], window_ns)
            else:
                self._confused()
        while self._early and now - self._early[0].received_ns > window_ns:
            self._free.append(self._early.popleft().slot)
            self._stray("extra")
        while self._wanted and now - self._wanted[0].received_ns > window_ns:
            text = f"camera {self._name} sent no picture within {self._config.window_ms} ms of the part's announcement"
            self._fail(self._wanted.popleft().seq, Code.NO_FRAME, text)

    def _pair(self, capture: Capture, frame: FrameRef, window_ns: int) -> None:
        if abs(frame.received_ns - capture.received_ns) > window_ns:
            return  # the older of the two expires now
        self._wanted.clear()
        self._early.clear()
        self._channel.send(Captured(capture.seq, replace(frame, triggered_ns=capture.received_ns)))

    def _confused(self) -> None:
        text = (
            f"camera {self._name}: {len(self._wanted)} announced parts and {len(self._early)} pictures within "
            f"{self._config.window_ms} ms: which belongs to which can't be told"
        )
        self._fail_all(Code.NO_FRAME, text)
        while self._early:
            self._free.append(self._early.popleft().slot)
            self._stray("ambiguous")


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
        config = station.cameras[given.camera]
        library = Library(producers(config.producer))
        camera = GenicamCamera(library, config.serial, load_camera_file(config.features), config.trigger)
        CameraLoop(given.camera, config, channel, camera, station.runtime_dir).run()
        camera.close()
    except (DeviceError, FileError) as error:
        channel.send(CameraState(False, str(error)))
        sys.exit(2)  # the station starts us again, with back-off
    except EOFError:
        pass
    os._exit(0)  # producers' threads and finalizers have nothing left to do, and may hang


if __name__ == "__main__":
    main()
