"""The walk of a part, from its trigger to its verdict. One coroutine a part; exactly one verdict each.

::

    accept, capture -> judge -> settle -> record -> tell -> archive, feed

The next part's capture overlaps this part's judging; results leave in the order of their triggers. Whatever
goes wrong on the way makes the part NOT_INSPECTED, with a reason. A PASS or a FAIL is told only after it is on
disk; a NOT_INSPECTED may be told first, so that a stalled disk costs a part but never a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from inspector.codes import Code
from inspector.parts import InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.station.awake import Awake
from inspector.station.cameras import Cameras
from inspector.station.judging import JudgeDesk
from inspector.station.leases import Lease
from inspector.station.ledger import MAX_AHEAD, Ledger, RecipeTag, StorageFault
from inspector.station.order import Order

if sys.version_info >= (3, 11):
    from asyncio import timeout_at
else:
    from async_timeout import timeout_at

_log = logging.getLogger(__name__)

BUGS_IN_A_ROW = 3
REFUSED_LIMIT_S = 0.02  # so long a refused part is told later, once its turn has come, to be on disk first
REWRITE_BOUND = MAX_AHEAD  # told verdicts whose rows the disk has not taken yet: so many seqs a crash leaves out


class Gate(Protocol):
    """Who decides whether a part may be inspected now."""

    def tag(self) -> RecipeTag:
        """The recipe that new parts get."""
        ...

    def refusal(self, golden: bool = False) -> InspectionFault | None:
        """Why a new part can't be inspected now; None when it can. ``golden``: it is no part of the production."""
        ...

    def golden_found(self, verdict: Verdict) -> None:
        """What was found in a golden part, which has been told as one."""
        ...

    def doubt(self) -> InspectionFault | None:
        """What has come to light since parts under way were taken in, and makes a PASS of theirs worth nothing."""
        ...

    def trouble(self, what: str, detail: str) -> None:
        """Something went wrong that people should know: bugs, ledger, overrun, late."""
        ...


class Outlet(Protocol):
    """Where told verdicts go: the PLC."""

    def tell(self, verdict: Verdict, *, dup: bool = False) -> bool:
        """Publish on the control path; False when the link is down (it is never sent later)."""
        ...


@dataclass(frozen=True)
class _Told:
    """What was told without being on disk."""

    verdict: Verdict
    t_ms: int


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
        awake: Awake,
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
        self._awake = awake
        self._order = Order()
        self._walks: set[asyncio.Task[None]] = set()
        self._busy: dict[int, Part] = {}  # parts that are really being inspected
        self._unwritten: dict[int, _Told] = {}
        self._writing: set[int] = set()  # of them, those that their own walk tries to write just now
        self._bugs = 0
        self._stopping = asyncio.Event()
        self.told_seq = 0
        self.overruns = 0
        self.untold = 0  # verdicts that found the link down
        self.unrecorded = 0  # told verdicts that were given up: the disk took nothing for too long

    @property
    def depth(self) -> int:
        """Parts under way; one that was told is, too, as long as it holds its pictures."""
        return max(len(self._order), len(self._busy))

    @property
    def bound(self) -> int:
        """Most parts that are inspected at a time."""
        return self._max_in_flight

    @property
    def unwritten(self) -> int:
        """Told verdicts that are not on disk yet."""
        return len(self._unwritten)

    @property
    def settled_below(self) -> int:
        """Parts with a smaller seq have been told and the books say the same: their records may leave."""
        open_seqs = [s for s in (self._order.first, *self._unwritten) if s is not None]
        return min(open_seqs, default=self._ledger.next_seq)

    def told(self, seq: int) -> Verdict | None:
        """A verdict that was told and is not on disk yet."""
        found = self._unwritten.get(seq)
        return found.verdict if found else None

    def under_way(self, seq: int) -> bool:
        """Its one answer is still to come."""
        return seq in self._order and seq not in self._unwritten

    def forgive(self) -> None:
        """Somebody has looked after the internal errors: they are counted from 0 again."""
        self._bugs = 0

    def overdue(self, limit_s: float) -> bool:
        """Is any part still under way that long after its deadline? Then something hangs."""
        now = time.monotonic_ns()
        return any(now - part.deadline_ns > limit_s * 1e9 for part in self._busy.values())

    def trigger(self, trigger: Trigger, refused: InspectionFault | None = None) -> Part:
        """A part has come: number it and send it on its walk. ``refused``: it is answered, but not inspected."""
        part = self._ledger.begin(trigger, self._gate.tag())
        self._order.enter(part.seq)
        fault = refused or self._gate.refusal(bool(trigger.golden))
        if fault is None and len(self._busy) >= self._max_in_flight:
            self.overruns += 1
            fault = InspectionFault(Code.OVERRUN, f"{len(self._busy)} parts are under way: this one came too soon")
            self._gate.trouble("overrun", f"{self.overruns} so far")
        if fault is None:
            self._busy[part.seq] = part
            self._awake.wish(True)
        self._cameras.expect(part, inspected=fault is None)
        walk = asyncio.create_task(self._walk(part, fault), name=f"part {part.seq}")
        self._walks.add(walk)
        walk.add_done_callback(self._walks.discard)
        return part

    async def _walk(self, part: Part, refused: InspectionFault | None) -> None:
        lease: Lease | None = None
        closed = False
        stage, stages = "capture" if refused is None else "accept", {"received": 0}
        verdict = Verdict.not_inspected(part, refused or InspectionFault(Code.INTERNAL_ERROR, "no verdict was made"))

        def done(now: str, following: str) -> None:
            nonlocal stage
            stages[now], stage = (time.monotonic_ns() - part.trigger.received_ns) // 1000, following

        try:
            async with timeout_at(self._loop_time(part.deadline_ns)):
                # the row goes to disk while the picture is taken; nothing is judged before both are done
                async with self._accepting(part) as accepted:
                    if refused is None:
                        lease = await self._cameras.capture(part)
                        done("captured", "accept")
                        await accepted
                        done("accepted", "judge")
                    else:  # while it waits for its turn; that it has come must outlive a crash
                        await self._order.turn(part.seq)
                if lease is not None:
                    verdict = await self._judge.judge(part, lease)
                    done("judged", "settle")
                    await self._cameras.settle(part)  # where a wire fires them: is it surely this part's picture?
                    done("settled", "order")
                await self._order.turn(part.seq)
                done("turn", "record")
                walked = replace(verdict, stages_us={**verdict.stages_us, **stages}, captured_utc=_taken(part, lease))
                verdict = self._checked(part, lease, walked)
                if refused is None:
                    await self._ledger.close(verdict.to_tell, self._t_ms(part))
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
        found, verdict = verdict, verdict.to_tell
        try:
            closed = closed or await self._close_fault(verdict, None if refused is None else REFUSED_LIMIT_S)
            if not closed:
                await self._put_down(verdict)
            t_ms = self._tell(verdict)
            if refused is None:
                self._count_bugs(found)
            if part.trigger.golden:
                self._gate.golden_found(found)
            self._aside(part, lambda: self._show(verdict, t_ms))
            if not closed:
                await self._close_later(verdict, t_ms)
        except Exception:  # it has been told; nothing may keep the next part from being told
            _log.exception("part %d, after its verdict", part.seq)
        finally:
            self._busy.pop(part.seq, None)
            self._awake.wish(bool(self._busy))
            self._cameras.finished(part)
            self._order.leave(part.seq)
            self._ledger.told_below(self.settled_below)
            self._aside(part, lambda: self._keep(verdict, lease))
            if lease is not None:
                lease.drop()

    @contextlib.asynccontextmanager
    async def _accepting(self, part: Part) -> AsyncIterator[asyncio.Task[None]]:
        """The part's row on its way to disk; given up when the walk goes on without it (closing makes it then)."""
        accepted = asyncio.create_task(self._ledger.accept(part), name=f"accept {part.seq}")
        try:
            yield accepted
        finally:
            if not accepted.done():
                accepted.cancel()
            elif not accepted.cancelled():
                accepted.exception()  # seen: the walk may have met another fault first

    def _aside(self, part: Part, work: Callable[[], None]) -> None:
        """Screens and pictures: their trouble is not the part's."""
        try:
            work()
        except Exception:
            _log.exception("screens or pictures of part %d", part.seq)

    def _checked(self, part: Part, lease: Lease | None, verdict: Verdict) -> Verdict:
        """The judge's word, unless it is about another part or picture, or the part has been overtaken."""
        frames = lease.frames if lease else ()
        if verdict.part != part:
            raise InspectionFault(Code.INTERNAL_ERROR, "the judge answered about another part")
        if verdict.outcome is Outcome.NOT_INSPECTED:
            verdict = replace(verdict, frames=frames)
        elif verdict.frames != frames:
            raise InspectionFault(Code.INTERNAL_ERROR, "the judge answered about another picture")
        if self._order.overtaken(part.seq):
            raise InspectionFault(Code.OVERRUN, "a later part had to be told first")
        doubt = self._gate.doubt()
        if doubt is not None and verdict.outcome is Outcome.PASS and not part.trigger.golden:
            raise doubt
        return verdict

    def _still_valid(self, part: Part) -> None:
        """It is on disk; but while it was written its time may have run out."""
        if self._order.overtaken(part.seq):
            raise InspectionFault(Code.OVERRUN, "a later part had to be told first")
        if time.monotonic_ns() > part.deadline_ns:
            raise asyncio.TimeoutError

    def _faulted(self, part: Part, lease: Lease | None, stages: dict[str, int], fault: InspectionFault) -> Verdict:
        frames = lease.frames if lease else ()
        taken = _taken(part, lease)
        return replace(Verdict.not_inspected(part, fault), frames=frames, stages_us=stages, captured_utc=taken)

    async def _close_fault(self, verdict: Verdict, limit_s: float | None) -> bool:
        """Close a NOT_INSPECTED while there is time, for ``limit_s`` at most; False: it is told first."""
        part = verdict.part
        try:
            async with timeout_at(self._loop_time(part.deadline_ns)):
                await self._order.turn(part.seq)
                await asyncio.wait_for(self._ledger.close(verdict, self._t_ms(part)), limit_s)
                return True
        except (asyncio.TimeoutError, TimeoutError):
            self._order.overtake(part.seq)
        except StorageFault as fault:
            self._gate.trouble("ledger", fault.text)
        except Exception:  # whatever it is, the part gets its answer
            _log.exception("part %d could not be closed", part.seq)
        return False

    async def _put_down(self, verdict: Verdict) -> None:
        """It is told first: its row may say anything, a PASS too, when the station is killed before it is right."""
        try:
            await self._ledger.told_first(verdict, self._t_ms(verdict.part))
        except Exception:  # whatever it is, the part gets its answer
            _log.exception("part %d could not be put down", verdict.part.seq)

    def _tell(self, verdict: Verdict) -> int:
        part = verdict.part
        t_ms = self._t_ms(part)
        try:
            told = self._outlet.tell(verdict)
        except Exception:  # the PLC rejects a part that it hears nothing of
            _log.exception("part %d could not be told", part.seq)
            told = False
        if not told:
            self.untold += 1
        self.told_seq = max(self.told_seq, part.seq)
        return t_ms

    def _count_bugs(self, verdict: Verdict) -> None:
        self._bugs = self._bugs + 1 if verdict.code == Code.INTERNAL_ERROR and self._judge.ready else 0
        if self._bugs >= BUGS_IN_A_ROW:
            self._gate.trouble("bugs", verdict.text)

    async def _close_later(self, verdict: Verdict, t_ms: int) -> None:
        """It was told before it was on disk: put it there now, or as soon as the disk takes it. Nobody waits for it."""
        told, seq = _Told(verdict, t_ms), verdict.part.seq
        if len(self._unwritten) >= REWRITE_BOUND:
            self._unwritten.pop(next(iter(self._unwritten)))
            self.unrecorded += 1
        self._unwritten[seq] = told
        self._writing.add(seq)
        self._order.leave(seq)
        try:
            await self._write_told(told)
            self._unwritten.pop(seq, None)
        except (asyncio.TimeoutError, TimeoutError, StorageFault):
            pass  # later
        finally:
            self._writing.discard(seq)

    async def rewrite(self) -> None:
        """Try again to write what was told without being on disk. Call it now and then."""
        for seq, told in list(self._unwritten.items()):
            if seq in self._writing or seq not in self._unwritten:
                continue
            try:
                await self._write_told(told)
            except (asyncio.TimeoutError, TimeoutError, StorageFault):
                return
            self._unwritten.pop(seq, None)

    async def _write_told(self, told: _Told) -> None:
        async with timeout_at(asyncio.get_running_loop().time() + 1.0):
            await self._ledger.close(told.verdict, told.t_ms)

    async def late(self, verdict: Verdict) -> None:
        """The judge's answer about a part that was told NOT_INSPECTED meanwhile: kept, never told as valid."""
        if verdict.part.trigger.golden:
            return  # it has failed already
        try:
            await self._ledger.late(verdict, self._t_ms(verdict.part))
        except StorageFault as fault:
            self._gate.trouble("ledger", fault.text)

    async def close_interrupted(self) -> None:
        """Parts that a crash left open are NOT_INSPECTED; the PLC rejected them by its own rule long ago."""
        self.told_seq = self._ledger.highest_seq
        for part in self._ledger.interrupted:
            fault = InspectionFault(Code.INTERNAL_ERROR, "the station was interrupted while it inspected this part")
            verdict = Verdict.not_inspected(part, fault)
            await self._ledger.close(verdict.to_tell, part.deadline_ms)
            if part.trigger.golden:
                await self._ledger.found(verdict)
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


def _taken(part: Part, lease: Lease | None) -> str:
    """UTC of the part's first picture: when it was exposed, or fired where the camera does not say; "" without one."""
    if lease is None or not lease.frames:
        return ""
    first, trigger = lease.frames[0], part.trigger
    after = timedelta(microseconds=((first.exposed_ns or first.triggered_ns) - trigger.received_ns) // 1000)
    try:
        when = datetime.fromisoformat(trigger.received_utc.replace("Z", "+00:00")) + after
    except (ValueError, OverflowError):  # a camera's clock may say anything; the part gets its answer
        return ""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
