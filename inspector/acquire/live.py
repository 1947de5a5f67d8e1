"""Pictures of one camera as they come, for a screen at installation: taken in a child process, which may crash.

In the parent::

    with live.frames(visit, rate_hz=5) as source:
        while ...:
            shown = source.next()  # the newest picture, or None within half a second

The child (``python -m inspector.acquire.live REQUEST``) fires the camera ``rate_hz`` times a second, or shows what a
wire fires. It prints one JSON object a line; the pixels lie in a ring that nobody locks: a picture that is
overwritten while it is copied is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import apart
from inspector.acquire.camera import Camera, DeviceError, Exposure, IncompleteFrame
from inspector.acquire.unpack import Raw
from inspector.acquire.visit import Visit, open_camera
from inspector.parts import FrameRef, InspectionFault
from inspector.ring import PIXEL_TYPES, Ring

NEXT_LIMIT_S = 0.5
SLOTS = 3
LOOK_S = 0.02
BACK_OFF_S = 0.5
LEAVE_LIMIT_S = 2.0
OPENING = "the camera is being opened"
WAITING = "waiting for the wire"
GIVEN_UP = 2  # exit status: the last trouble told says why
_PREFIX = "inspector-live-"  # then the process's id
_FOLDERS = ("/dev/shm", None)  # noqa: S108  # memory if there is any, else where temporary files go


@dataclass(frozen=True)
class Shown:
    """One picture, and what had happened until it came."""

    exposure: Exposure
    image: NDArray[Any]  # (H, W) or (H, W, 3), as a ring holds it; a copy
    lost: int  # pictures since the start that never came, by the camera's frame ids, and incomplete ones
    received_ns: int  # host's monotonic clock


class Live:
    """The parent's end. ``trouble`` is why no pictures come, "" when they may; ``info`` what the camera is."""

    def __init__(self, child: subprocess.Popen[bytes], ring: Path) -> None:
        self._child = child
        self._ring_path = ring
        self._ring: Ring | None = None
        self._buffer = b""
        self.info: dict[str, Any] = {}
        self.trouble = OPENING

    def next(self, limit_s: float = NEXT_LIMIT_S) -> Shown | None:
        """The newest picture since the last call; None when none came within ``limit_s``.

        Raises DeviceError when the child is gone; a camera that is lost is ``trouble``, and may come back.
        """
        end = time.monotonic() + min(limit_s, NEXT_LIMIT_S)
        newest: dict[str, Any] | None = None
        while newest is None and (left_s := end - time.monotonic()) > 0:
            for told in self._lines(left_s):
                if "frame" in told:
                    newest = told
                self.trouble = told.get("trouble", "" if "frame" in told else self.trouble)
                self._opened(told.get("info"))
        return None if newest is None else self._shown(newest)

    def _opened(self, info: dict[str, Any] | None) -> None:
        if info is not None:
            self.info = info
            if self._ring is not None:
                self._ring.close()
            self._ring = Ring(self._ring_path, writable=False)

    def _lines(self, limit_s: float) -> Iterator[dict[str, Any]]:
        assert self._child.stdout is not None  # noqa: S101  # made with a pipe
        readable, _, _ = select.select([self._child.stdout], [], [], max(limit_s, 0.0))
        if not readable:
            return
        data = os.read(self._child.stdout.fileno(), 1 << 16)
        if not data:
            status = self._child.wait(NEXT_LIMIT_S)
            raise DeviceError(self.trouble if status == GIVEN_UP else f"the camera's producer {apart.how(status)}")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        yield from (json.loads(line) for line in lines)

    def _shown(self, told: Mapping[str, Any]) -> Shown | None:
        exposure = Exposure(**{**told["frame"], "offset_px": tuple(told["frame"]["offset_px"])})
        ref = FrameRef(
            camera="live",
            frame_id=exposure.frame_id,
            ring=str(self._ring_path),
            slot=told["slot"],
            generation=told["generation"],
            width=exposure.width,
            height=exposure.height,
            pixel_format=exposure.pixel_format,
            exposure_us=exposure.exposure_us,
            gain_db=exposure.gain_db,
            device_timestamp_ns=exposure.device_timestamp_ns,
            triggered_ns=0,
            received_ns=told["received_ns"],
        )
        if self._ring is None:
            return None
        try:
            image = self._ring.read(ref).copy()
        except InspectionFault:
            return None
        return Shown(exposure, image, told["lost"], told["received_ns"]) if self._ring.still(ref) else None

    def close(self) -> None:
        """End the child; never takes longer than a second."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(NEXT_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait(NEXT_LIMIT_S)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        if self._ring is not None:
            self._ring.close()


def _sweep(parent: Path) -> None:
    """Take away what killed ones have left; it is memory."""
    for left in parent.glob(f"{_PREFIX}*-*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def frames(visit: Visit, rate_hz: float = 5.0) -> Iterator[Live]:
    """Pictures of a camera until the context ends; software-triggered ones ``rate_hz`` times a second."""
    parent = next((f for f in _FOLDERS if f is None or os.access(f, os.W_OK)), None)
    _sweep(Path(parent or tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent) as folder:
        ring = Path(folder) / "ring"
        request = json.dumps({"visit": asdict(visit), "rate_hz": rate_hz, "ring": str(ring)})
        child = subprocess.Popen(
            [sys.executable, "-m", "inspector.acquire.live", request],
            stdin=subprocess.PIPE,  # its end tells the child that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        source = Live(child, ring)
        try:
            yield source
        finally:
            source.close()


# --- the child ----------------------------------------------------------------------------------------
class Taker:
    """Opens the camera again and again, fires it, and tells what comes."""

    def __init__(self, visit: Visit, rate_hz: float, ring: Path, answer: int) -> None:
        self._visit = visit
        self._period_s = 1.0 / rate_hz
        self._path = ring
        self._ring: Ring | None = None
        self._answer = answer
        self._slot = self._generation = 0
        self._lost = 0
        self._next_id: int | None = None
        self._fire_at = 0.0

    def run(self) -> None:
        """Until the process is ended, or the parent is gone."""
        with open_camera(self._visit) as camera:
            while True:
                try:
                    self._open(camera)
                    while True:
                        self._once(camera)
                except DeviceError as error:
                    camera.close()
                    self._tell({"trouble": str(error)})
                    time.sleep(BACK_OFF_S)

    def _open(self, camera: Camera) -> None:
        info = camera.open()
        self._next_id = None
        self._fire_at = time.monotonic()
        dtype, channels = PIXEL_TYPES[info["pixel_format"]]
        size = info["width"] * info["height"] * channels * np.dtype(dtype).itemsize
        if self._ring is None or self._ring.slot_bytes < size:
            try:
                self._ring = Ring.create(self._path, SLOTS, size)
            except OSError as error:
                raise DeviceError(f"no room for a few pictures: {error.strerror}") from error
        self._tell({"info": info, "trouble": "" if self._visit.trigger == "software" else WAITING})

    def _once(self, camera: Camera) -> None:
        now = time.monotonic()
        if self._visit.trigger == "software" and now >= self._fire_at:
            self._fire_at = max(self._fire_at + self._period_s, now)
            camera.trigger()
        try:
            exposure = camera.fetch(LOOK_S, self._copy)
        except IncompleteFrame:
            self._lost += 1
            self._next_id = None
            return
        if exposure is None:
            camera.check()
            return
        if exposure.wrong:
            raise DeviceError(f"{exposure.wrong}: somebody changed the settings")
        if self._next_id is not None and exposure.frame_id > self._next_id:
            self._lost += exposure.frame_id - self._next_id
        self._next_id = exposure.frame_id + 1
        told = {"frame": asdict(exposure), "slot": self._slot, "generation": self._generation, "lost": self._lost}
        self._tell({**told, "received_ns": time.monotonic_ns()})

    def _copy(self, raw: Raw) -> None:
        assert self._ring is not None  # noqa: S101  # made when the camera was opened
        self._slot = (self._slot + 1) % SLOTS
        self._generation = self._ring.fill(self._slot, raw.shape, raw.dtype, raw.into)

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BlockingIOError):  # a parent that looks elsewhere misses pictures, not the camera
            os.write(self._answer, json.dumps(message).encode() + b"\n")


def _watch_parent() -> None:
    """A child whose parent is gone lets the camera go."""
    with contextlib.suppress(OSError):
        os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_LIMIT_S)
    os._exit(GIVEN_UP)


def main(arguments: Sequence[str]) -> None:
    """The child: open, fire, tell."""
    request = json.loads(arguments[0])
    threading.Thread(target=_watch_parent, daemon=True).start()
    answer = os.dup(1)
    os.set_blocking(answer, False)
    os.dup2(2, 1)  # whatever a vendor prints must not get into the answers
    told = request["visit"]
    visit = Visit(**{**told, "producers": tuple(told["producers"])})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # and so the camera is let go
    try:
        Taker(visit, float(request["rate_hz"]), Path(request["ring"]), answer).run()
    except DeviceError as error:
        os.write(answer, json.dumps({"trouble": str(error)}).encode() + b"\n")
        time.sleep(LOOK_S)
        sys.exit(GIVEN_UP)
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
