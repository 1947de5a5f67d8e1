"""Pictures that a wire fires: everything the camera says is told to the station at once, as it is.

Nothing is matched here. Which part a pulse belongs to, and whether a number is missing, the station finds out.
"""

from __future__ import annotations

import time
from collections import deque

from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame
from inspector.acquire.context import Context
from inspector.codes import Code
from inspector.parts import FrameRef
from inspector.wire import Capture, CaptureFailed, Pulse, PulseCount

READ_NS = 20_000_000  # the trigger counter is read no more often than so
SOON_NS = 4_000_000  # but so often, or 8 times in a window, while a verdict may wait for it
TELL_NS = 50_000_000  # and told at least so often: that no pulse came is an answer, too
CLEARLY = 4
UNREAD_LIMIT = 2  # so often in a row the counter may fail to be read
REMEMBERED = 16  # pictures; a doubled one comes right after its first


class Wired:
    """See the module's text."""

    busy = False

    def __init__(self, context: Context, window_ms: int) -> None:
        self._at = context
        self._window_ns = window_ms * 1_000_000
        self._seen: deque[tuple[int, int | None]] = deque(maxlen=REMEMBERED)
        self._soon_ns = max(SOON_NS, self._window_ns // 8)
        self._awaited: deque[tuple[int, int]] = deque(maxlen=64)  # when a part's window may close: from, to
        self._told: int | None = None
        self._told_ns = self._read_ns = self._unread = 0

    def begin(self) -> None:
        """The camera streams, and has sent nothing yet."""
        self._seen.clear()
        self._awaited.clear()
        self._told = None
        self._read_ns = 0

    def ask(self, capture: Capture) -> None:
        """A wired camera can't be asked."""
        text = f"camera {self._at.name} is fired by a wire, and can't be asked for a picture"
        self._at.channel.send(CaptureFailed(capture.seq, int(Code.INTERNAL_ERROR), text))

    def refuse(self, why: str) -> None:
        """Nobody waits here."""

    def tell(self) -> None:
        """Everything was told at once."""

    def step(self) -> None:
        """Look at the camera once. Raises DeviceError."""
        try:
            exposure = self._at.camera.fetch(0.0, self._at.slots.copy)
        except IncompleteFrame as lost:
            self._pulse(None, lost.frame_id, None, lost.exposed_ns or time.monotonic_ns(), f"it {lost.why}")
            if lost.odd:
                self._at.check_settings()  # with its trigger off it would go on like this
            return
        if exposure is None:
            self._count()
        else:
            self._picture(exposure)

    def _picture(self, exposure: Exposure) -> None:
        number = exposure.frame_id, exposure.trigger_count
        if number in self._seen:
            self._at.stray("doubled")
            return
        self._seen.append(number)
        exposed_ns = exposure.exposed_ns or time.monotonic_ns() - int(exposure.exposure_us * 1000)
        frame, why = None, exposure.wrong
        if why:
            why = f"{why}: somebody changed the settings"
        else:
            frame = self._at.slots.passport(exposure, exposed_ns, self._at.shots[0].view, 0)
            why = "" if frame else f"all {self._at.slots.count} picture slots are in use"
        # a time that is not known much better than the window would only look like one
        timed = exposure.exposed_ns != 0 and CLEARLY * exposure.uncertainty_ns <= self._window_ns
        self._pulse(frame, exposure.frame_id, exposure.trigger_count, exposed_ns, why, timed)
        if exposure.wrong:
            self._at.check_settings()

    def _pulse(
        self,
        frame: FrameRef | None,
        frame_id: int | None,
        trigger_count: int | None,
        exposed_ns: int,
        why: str,
        timed: bool = True,
    ) -> None:
        self._at.channel.send(Pulse(frame, frame_id, trigger_count, exposed_ns, why, timed))
        # the message may lie a window before or after the pulse, and its own window closes one later
        until_ns = exposed_ns + 2 * self._window_ns + self._soon_ns
        self._awaited.append((exposed_ns + self._window_ns // 2, until_ns))

    def _count(self) -> None:
        """The camera's own counter: when it moved, and again and again while a part's window may close."""
        now = time.monotonic_ns()
        awaited = bool(self._awaited) and now > self._awaited[0][0]
        if now - self._read_ns < (self._soon_ns if awaited else READ_NS):
            return
        while self._awaited and now > self._awaited[0][1]:
            self._awaited.popleft()
        self._read_ns = now
        try:
            value = self._at.camera.pulses()
        except DeviceError:
            self._unread += 1
            if self._unread > UNREAD_LIMIT:
                raise
            return  # it is read again in a moment: one call that fails costs no part
        self._unread = 0
        if value is not None and (awaited or value != self._told or now - self._told_ns >= TELL_NS):
            self._told, self._told_ns = value, now
            self._at.channel.send(PulseCount(value, now))
