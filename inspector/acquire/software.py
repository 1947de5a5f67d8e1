"""Pictures on command: this process fires the camera, and takes the pictures of one part at a time.

Whatever lies in the camera's queue before a trigger is thrown away. The picture after it is the part's only if
nothing the camera says about it speaks against that: its frame id is the one due, its exposure began after the
trigger was fired, the camera's trigger counter went on by one, and exposure and gain are the wanted ones. After a
lost, incomplete or odd picture streaming is restarted, so that a late one can't be taken for the next part's.
A trigger that could not be fired in time is given up, because by then another part may stand before the camera.
"""

from __future__ import annotations

import os
import time
from collections import deque

from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame
from inspector.acquire.context import Context, follows
from inspector.codes import Code
from inspector.parts import FrameRef, InspectionFault
from inspector.wire import Capture, Captured, CaptureFailed

SLICE_S = 0.005  # one look at the camera, between looks at the station's messages
DRAIN_LIMIT = 100  # pictures at a time; the camera has a few buffers only


class Software:
    """See the module's text."""

    def __init__(self, context: Context) -> None:
        self._at = context
        self._wanted: deque[Capture] = deque()
        self._next_id: int | None = None
        self._next_count: int | None = None
        self._fired = False  # something of this part, and nothing was thrown away since
        self._suspect = False  # a picture speaks against the settings
        self._untold: Captured | None = None  # the part before's pictures, told while the next one is exposed

    @property
    def busy(self) -> bool:
        """True while a part waits for its pictures, or the station for a part's."""
        return bool(self._wanted) or self._untold is not None

    def begin(self) -> None:
        """The camera streams, and has sent nothing yet."""
        self._next_id = None
        pulses = self._at.camera.pulses()
        self._next_count = None if pulses is None else pulses + 1

    def ask(self, capture: Capture) -> None:
        """The station wants pictures."""
        self._wanted.append(capture)

    def refuse(self, why: str) -> None:
        """The camera is gone: no part gets its pictures."""
        self.tell()
        while self._wanted:
            self._fail(self._wanted.popleft(), InspectionFault(Code.CAMERA_LOST, why))

    def step(self) -> None:
        """The next part's pictures, or nothing. Raises DeviceError."""
        if self._untold is not None and not self._wanted:
            self.tell()
            os.sched_yield()  # the station first, where it waits for this core: its part has a deadline
            self._at.camera.ready()
        self._expect_nothing()
        if self._wanted:
            self._next()

    def tell(self) -> None:
        """Hand over the pictures that were taken last. Where parts come close, this is done during an exposure."""
        told, self._untold = self._untold, None
        if told is not None:
            self._at.channel.send(told)

    def _next(self) -> None:
        capture = self._wanted.popleft()
        frames: list[FrameRef] = []
        self._fired = False
        try:
            if self._untold is not None:
                self._at.camera.ready()
            self._take_all(capture, frames)
        except InspectionFault as fault:
            self._at.slots.grant(f.slot for f in frames)
            self._fail(capture, fault)
            if self._fired and self._several:
                self._doubt()  # a sequencer would go on in the middle of the plan
            if self._suspect:
                self._suspect = False
                self._at.check_settings()
        except DeviceError as error:
            self._at.slots.grant(f.slot for f in frames)
            self._fail(capture, InspectionFault(Code.CAMERA_LOST, str(error)))
            raise
        else:
            self._untold = Captured(capture.seq, tuple(frames))

    def _fail(self, capture: Capture, fault: InspectionFault) -> None:
        self.tell()
        self._at.channel.send(CaptureFailed(capture.seq, fault.code, fault.text))

    def _take_all(self, capture: Capture, frames: list[FrameRef]) -> None:
        late_ms, limit_ms = (time.monotonic_ns() - capture.received_ns) / 1e6, self._at.config.trigger_limit_ms
        if late_ms > limit_ms:
            text = f"could be triggered only {late_ms:.0f} ms after the part came (limit {limit_ms} ms)"
            raise InspectionFault(Code.NO_FRAME, f"camera {self._at.name} {text}")
        if self._at.slots.free < sum(shot.count for shot in self._at.shots):
            text = f"camera {self._at.name}: all {self._at.slots.count} picture slots are in use"
            if self._at.slots.free:
                text = f"camera {self._at.name}: too few picture slots are free ({self._at.slots.free})"
            raise InspectionFault(Code.OVERRUN, text)
        for number, shot in enumerate(self._at.shots):
            for copy in range(shot.count):
                if frames:
                    self._expect_nothing()
                frames.append(self._take(capture, number, copy))

    def _who(self, number: int, copy: int) -> str:
        shot = self._at.shots[number]
        view = f"view {shot.view} of camera {self._at.name}" if shot.view else f"camera {self._at.name}"
        return f"{view}, picture {copy + 1} of {shot.count}," if shot.count > 1 else view

    def _take(self, capture: Capture, number: int, copy: int) -> FrameRef:
        """One picture. Raises InspectionFault, DeviceError."""
        who, fired_ns = self._who(number, copy), time.monotonic_ns()
        self._fired = True
        self._at.camera.trigger(number)
        self.tell()
        limit_ns = min(capture.deadline_ns, fired_ns + self._at.config.frame_limit_ms * 1_000_000)
        while time.monotonic_ns() < limit_ns:
            try:
                exposure = self._at.camera.fetch(SLICE_S, self._at.slots.copy)
            except IncompleteFrame as lost:
                self._doubt()
                raise InspectionFault(Code.NO_FRAME, f"{who} {lost.why}") from None
            if exposure is None:
                self._at.listen()
            elif self._older(exposure, fired_ns):
                self._at.stray("stale")  # that it is of before is certain, and so the part's own may still come
                if follows(exposure.frame_id, self._next_id):
                    self._pass_over(exposure)
            else:
                self._in_time(exposure, capture.received_ns if number == copy == 0 else fired_ns, who)
                return self._checked(exposure, who, fired_ns, number, copy)
        waited_ms, seen = (time.monotonic_ns() - fired_ns) / 1e6, ""
        self._at.camera.check()
        due, counted = self._next_count, self._at.camera.pulses()
        if due is not None and counted is not None:
            seen = ", which it counted" if counted >= due else ", which it never saw"
        self._doubt()
        raise InspectionFault(Code.NO_FRAME, f"{who} sent no picture within {waited_ms:.0f} ms of the trigger{seen}")

    @staticmethod
    def _older(exposure: Exposure, fired_ns: int) -> bool:
        return 0 < exposure.exposed_ns + exposure.uncertainty_ns < fired_ns

    def _in_time(self, exposure: Exposure, since_ns: int, who: str) -> None:
        """A camera that takes its time shows the next part, or none."""
        late_ms = (exposure.exposed_ns - exposure.uncertainty_ns - since_ns) / 1e6
        if exposure.exposed_ns and late_ms > self._at.config.trigger_limit_ms:
            self._doubt()
            text = f"{who} began its exposure {late_ms:.0f} ms late"
            raise InspectionFault(Code.NO_FRAME, f"{text} (limit {self._at.config.trigger_limit_ms} ms)")

    def _checked(self, exposure: Exposure, who: str, fired_ns: int, number: int, copy: int) -> FrameRef:
        due_id, due_count, count = self._next_id, self._next_count, exposure.trigger_count
        found = exposure.frame_id
        if not follows(found, due_id):
            self._at.stray("stale" if found < (due_id or 0) else "gap")
            self._doubt()
            text = f"{who} sent picture {found} where {due_id} was due: it may show another part"
            raise InspectionFault(Code.NO_FRAME, text)
        if count is not None and not follows(count, due_count):
            self._at.stray("extra")
            self._doubt()
            text = f"{who} counts trigger {count} where {due_count} was due: it was fired by something else, too"
            raise InspectionFault(Code.NO_FRAME, text)
        self._next_id = found + 1
        self._next_count = None if count is None else count + 1
        if exposure.wrong:
            self._suspect = True
            raise InspectionFault(Code.NO_FRAME, f"{who}: {exposure.wrong}: somebody changed the settings")
        frame = self._at.slots.passport(exposure, fired_ns, self._at.shots[number].view, copy)
        if frame is None:
            raise InspectionFault(Code.OVERRUN, f"{who}: no picture slot is free")
        return frame

    def _doubt(self) -> None:
        """Throw away whatever may still come: nothing that was asked for before may be taken for the next part."""
        self._fired = False
        self._at.camera.restart()
        self.begin()

    @property
    def _several(self) -> bool:
        return sum(shot.count for shot in self._at.shots) > 1

    def _expect_nothing(self) -> None:
        if self._drain():
            self._at.check_settings()  # with its trigger off it would go on, and the next be taken for the part's
            if self._several:
                self._doubt()  # what nobody asked for moved a sequencer on

    def _pass_over(self, exposure: Exposure) -> None:
        self._next_id = exposure.frame_id + 1
        self._next_count = None if exposure.trigger_count is None else exposure.trigger_count + 1

    def _drain(self) -> int:
        """Nothing has been asked for: whatever comes now is nobody's. Returns how many came."""
        for count in range(DRAIN_LIMIT):
            try:
                exposure = self._at.camera.fetch(0.0, lambda raw: None)
            except IncompleteFrame:
                self._at.stray("incomplete")
                self._next_id = self._next_count = None
                continue
            if exposure is None:
                return count
            self._at.stray("extra")
            self._pass_over(exposure)
        raise DeviceError(f"camera {self._at.name} sends pictures without end that nobody asked for")
