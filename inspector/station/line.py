"""The walk of a part, from its trigger to its verdict. One coroutine a part; exactly one verdict each.

::

    accept -> capture -> judge -> record -> tell -> archive, feed

The next part's capture overlaps this part's judging; results leave in the order of their triggers. Whatever
goes wrong on the way makes the part NOT_INSPECTED, with a reason. A PASS or a FAIL is told only after it is on
disk; a NOT_INSPECTED may be told first, so that a stalled disk costs a part but never a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from inspector.codes import Code
from inspector.parts import InspectionFault, Part, Trigger, Verdict
from inspector.station.cameras import Cameras
from inspector.station.judging import JudgeDesk
from inspector.station.leases import Lease
from inspector.station.ledger import Ledger, RecipeTag, StorageFault
from inspector.station.order import Order

if sys.version_info >= (3, 11):
    from asyncio import timeout_at
else:
    from async_timeout import timeout_at

_log = logging.getLogger(__name__)

BUGS_IN_A_ROW = 3
REWRITE_BOUND = 1000  # told verdicts whose rows the disk has not taken yet


class Gate(Protocol):
    """Who decides whether a part may be inspected now."""

    def tag(self) -> RecipeTag:
        """The recipe that new parts get."""
        ...

    def cameras(self) -> tuple[str, ...]:
        """Cameras the recipe wants; empty: all."""
        ...

    def refusal(self) -> InspectionFault | None:
        """Why a new part can't be inspected now; None when it can."""
        ...

    def trouble(self, what: str, detail: str) -> None:
        """Something went wrong that people should know: bugs, ledger, overrun, late."""
        ...


class Outlet(Protocol):
    """Where told verdicts go: the PLC."""

    def tell(self, verdict: Verdict, *, dup: bool = False) -> bool:
        """Publish on the control path; False when the link is down (it is never sent later)."""
        ...

    def record(self, verdict: Verdict, *, late: bool = False) -> bytes:
        """The record for the outbox."""
        ...


class Line:
    """See the module's text."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        cameras: Cameras,
        judge: JudgeDesk,
        outlet: Outlet,
        gate: Gate,
        keep: Callable[[Verdict, Lease | None], None],
        show: Callable[[Verdict, int], None],
        max_in_flight: int,
    ) -> None:
        """``keep`` takes a part's pictures to the archive, ``show`` tells the screens; neither may wait."""
        self._ledger = ledger
        self._cameras = cameras
        self._judge = judge
        self._outlet = outlet
        self._gate = gate
        self._keep = keep
        self._show = show
        self._max_in_flight = max_in_flight
        self._order = Order()
        self._walks: set[asyncio.Task[None]] = set()
        self._busy: dict[int, Part] = {}  # parts that are really being inspected
        self._unwritten: dict[int, Verdict] = {}
        self._bugs = 0
        self._stopping = asyncio.Event()
        self.told_seq = 0
        self.overruns = 0
        self.untold = 0  # verdicts that found the link down

    @property
    def depth(self) -> int:
        """Parts under way."""
        return len(self._order)

    @property
    def bound(self) -> int:
        """Most parts that are inspected at a time."""
        return self._max_in_flight

    @property
    def unwritten(self) -> int:
        """Told verdicts that are not on disk yet."""
        return len(self._unwritten)

    def overdue(self, limit_s: float) -> bool:
        """Is any part still under way that long after its deadline? Then something hangs."""
        now = time.monotonic_ns()
        return any(now - part.deadline_ns > limit_s * 1e9 for part in self._busy.values())

    def trigger(self, trigger: Trigger, refused: InspectionFault | None = None) -> Part:
        """A part has come: number it and send it on its walk. ``refused``: it is answered, but not inspected."""
        part = self._ledger.begin(trigger, self._gate.tag())
        self._order.enter(part.seq)
        fault = refused or self._gate.refusal()
        if fault is None and len(self._busy) >= self._max_in_flight:
            self.overruns += 1
            fault = InspectionFault(Code.OVERRUN, f"{len(self._busy)} parts are under way: this one came too soon")
            self._gate.trouble("overrun", f"{self.overruns} so far")
        if fault is None:
            self._busy[part.seq] = part
        walk = asyncio.create_task(self._walk(part, fault), name=f"part {part.seq}")
        self._walks.add(walk)
        walk.add_done_callback(self._walks.discard)
        return part

    async def _walk(self, part: Part, refused: InspectionFault | None) -> None:
        lease: Lease | None = None
        closed = False
        stage, stages = "accept", {"received": 0}
        verdict = Verdict.not_inspected(part, refused or InspectionFault(Code.INTERNAL_ERROR, "no verdict was made"))

        def done(now: str, following: str) -> None:
            nonlocal stage
            stages[now], stage = (time.monotonic_ns() - part.trigger.received_ns) // 1000, following

        try:
            async with timeout_at(self._loop_time(part.deadline_ns)):
                await self._ledger.accept(part)
                done("accepted", "capture")
                if refused is None:
                    lease = await self._cameras.capture(part, self._gate.cameras())
                    done("captured", "judge")
                    verdict = await self._judge.judge(part, lease)
                    done("judged", "order")
                await self._order.turn(part.seq)
                done("turn", "record")
                verdict = self._checked(part, replace(verdict, stages_us={**verdict.stages_us, **stages}))
                await self._ledger.close(verdict, self._t_ms(part), self._outlet.record(verdict))
                self._still_valid(part)
                closed = True
        except (asyncio.TimeoutError, TimeoutError):
            text = f"no verdict within {part.deadline_ms} ms (it was in stage {stage})"
            verdict = self._faulted(part, lease, stages, InspectionFault(Code.TIMEOUT, text))
            self._order.overtake(part.seq)
            self._gate.trouble("late", text)
        except StorageFault as fault:
            self._gate.trouble("ledger", fault.text)
            verdict = self._faulted(part, lease, stages, fault)
        except InspectionFault as fault:
            verdict = self._faulted(part, lease, stages, fault)
        except Exception as error:
            _log.exception("part %d", part.seq)
            bug = InspectionFault(Code.INTERNAL_ERROR, f"{type(error).__name__} in stage {stage}: {error}")
            verdict = self._faulted(part, lease, stages, bug)
        try:
            if not closed:
                verdict, closed = await self._close_fault(verdict)
            self._tell(verdict)
            if not closed:
                await self._close_later(verdict)
        finally:
            self._busy.pop(part.seq, None)
            self._order.leave(part.seq)
            self._keep(verdict, lease)
            if lease is not None:
                lease.drop()

    def _checked(self, part: Part, verdict: Verdict) -> Verdict:
        """The judge's word, unless the part has been overtaken or another recipe was used."""
        if verdict.part != part:
            raise InspectionFault(Code.INTERNAL_ERROR, "the judge answered about another part")
        if self._order.overtaken(part.seq):
            raise InspectionFault(Code.OVERRUN, "a later part had to be told first")
        return verdict

    def _still_valid(self, part: Part) -> None:
        """It is on disk; but while it was written its time may have run out."""
        if self._order.overtaken(part.seq):
            raise InspectionFault(Code.OVERRUN, "a later part had to be told first")
        if time.monotonic_ns() > part.deadline_ns:
            raise asyncio.TimeoutError

    def _faulted(self, part: Part, lease: Lease | None, stages: dict[str, int], fault: InspectionFault) -> Verdict:
        frames = lease.frames if lease else ()
        return replace(Verdict.not_inspected(part, fault), frames=frames, stages_us=stages)

    async def _close_fault(self, verdict: Verdict) -> tuple[Verdict, bool]:
        """Close a NOT_INSPECTED while there is time; otherwise it is told first."""
        part = verdict.part
        try:
            async with timeout_at(self._loop_time(part.deadline_ns)):
                await self._order.turn(part.seq)
                await self._ledger.close(verdict, self._t_ms(part), self._outlet.record(verdict))
                return verdict, True
        except (asyncio.TimeoutError, TimeoutError):
            self._order.overtake(part.seq)
        except StorageFault as fault:
            self._gate.trouble("ledger", fault.text)
        return verdict, False

    def _tell(self, verdict: Verdict) -> None:
        part = verdict.part
        t_ms = self._t_ms(part)
        if not self._outlet.tell(verdict):
            self.untold += 1
        self.told_seq = max(self.told_seq, part.seq)
        self._bugs = self._bugs + 1 if verdict.code == Code.INTERNAL_ERROR and self._judge.ready else 0
        if self._bugs >= BUGS_IN_A_ROW:
            self._gate.trouble("bugs", verdict.text)
        self._show(verdict, t_ms)

    async def _close_later(self, verdict: Verdict) -> None:
        """It was told before it was on disk: put it there now, or as soon as the disk takes it."""
        try:
            async with timeout_at(asyncio.get_running_loop().time() + 1.0):
                await self._ledger.close(verdict, self._t_ms(verdict.part), self._outlet.record(verdict))
        except (asyncio.TimeoutError, TimeoutError, StorageFault):
            if len(self._unwritten) >= REWRITE_BOUND:
                self._unwritten.pop(next(iter(self._unwritten)))
            self._unwritten[verdict.part.seq] = verdict

    async def rewrite(self) -> None:
        """Try again to write what was told without being on disk. Call it now and then."""
        for seq, verdict in list(self._unwritten.items()):
            try:
                async with timeout_at(asyncio.get_running_loop().time() + 1.0):
                    await self._ledger.close(verdict, self._t_ms(verdict.part), self._outlet.record(verdict))
            except (asyncio.TimeoutError, TimeoutError, StorageFault):
                return
            self._unwritten.pop(seq, None)

    async def late(self, verdict: Verdict) -> None:
        """The judge's answer about a part that was told NOT_INSPECTED meanwhile: kept, never told as valid."""
        try:
            await self._ledger.late(verdict, self._outlet.record(verdict, late=True))
        except StorageFault as fault:
            self._gate.trouble("ledger", fault.text)

    async def close_interrupted(self) -> None:
        """Parts that a crash left open are NOT_INSPECTED; the PLC rejected them by its own rule long ago."""
        for part in self._ledger.interrupted:
            fault = InspectionFault(Code.INTERNAL_ERROR, "the station was interrupted while it inspected this part")
            verdict = Verdict.not_inspected(part, fault)
            await self._ledger.close(verdict, part.deadline_ms, self._outlet.record(verdict))
            self.told_seq = max(self.told_seq, part.seq)
        self._ledger.interrupted.clear()

    async def stop(self, limit_s: float) -> None:
        """Give parts under way a little time, then make them NOT_INSPECTED; all of them get their verdict."""
        if self._walks:
            await asyncio.wait(list(self._walks), timeout=limit_s)
        for part in list(self._busy.values()):
            fault = InspectionFault(Code.NOT_READY, "the station was stopped while it inspected this part")
            self._cameras.give_up(part.seq, fault)
            self._judge.give_up(part.seq, fault)
        if self._walks:
            await asyncio.wait(list(self._walks), timeout=0.5)

    def _t_ms(self, part: Part) -> int:
        if part.trigger.received_ns == 0:  # of an earlier boot: its clock is gone
            return part.deadline_ms
        return max(0, round((time.monotonic_ns() - part.trigger.received_ns) / 1e6))

    @staticmethod
    def _loop_time(when_ns: int) -> float:
        """A monotonic_ns instant on the event loop's clock."""
        return asyncio.get_running_loop().time() + (when_ns - time.monotonic_ns()) / 1e9
