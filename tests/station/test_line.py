"""The walk of a part when the disk, the judge or our own code fails at the worst moment. The ledger is the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.plc import contract
from inspector.station.awake import Awake
from inspector.station.leases import Lease
from inspector.station.ledger import Ledger, RecipeTag, Waiting, recount, search
from inspector.station.line import Line
from inspector.station.outbox import Outbox
from tests.station.test_small import frame

TAG = RecipeTag(1, 1, "Lid", "a" * 64, 300)


class World:
    """What stands around the line: cameras, judge, gate and PLC that do as they are told."""

    ready = True

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path, station="s", boot="0001", sim=False)
        self.ledger.open()
        self.path = path
        path.with_name("wishes").touch()
        self.told: list[Verdict] = []
        self.records: list[dict[str, Any]] = []
        self.troubles: list[tuple[str, str]] = []
        self.found: list[Verdict] = []
        self.free = 0
        self.shown: list[int] = []
        self.judging: Callable[[Part, Verdict], Any] = lambda part, verdict: verdict
        self.takes_s = 0.0
        self.breaks: set[str] = set()
        self.expected: list[tuple[int, bool]] = []
        self.over: list[int] = []
        self.unsettled: InspectionFault | None = None
        self.doubted: InspectionFault | None = None
        self.line = Line(
            ledger=self.ledger, cameras=self, judge=self, outlet=self, gate=self,  # type: ignore[arg-type]
            keep=self.keep, show=self.show, max_in_flight=4, awake=Awake(path.with_name("wishes")),
        )  # fmt: skip
        self.outbox = Outbox(self.ledger, self.send, self.payload, lambda: self.line.settled_below)

    # gate
    def tag(self) -> RecipeTag:
        return TAG

    def refusal(self, golden: bool = False) -> InspectionFault | None:
        return None

    def golden_found(self, verdict: Verdict) -> None:
        self.found.append(verdict)
        if verdict.outcome.value != verdict.part.trigger.golden:
            self.doubted = InspectionFault(Code.GOLDEN_FAILED, "golden part failed")

    def doubt(self) -> InspectionFault | None:
        return self.doubted

    def trouble(self, what: str, detail: str) -> None:
        self.troubles.append((what, detail))

    # cameras and judge
    def expect(self, part: Part, *, inspected: bool) -> None:
        self.expected.append((part.seq, inspected))

    def finished(self, part: Part) -> None:
        self.over.append(part.seq)

    async def settle(self, part: Part) -> None:
        if self.unsettled is not None:
            raise self.unsettled

    async def capture(self, part: Part) -> Lease:
        self.free -= 1

        def back(_: Any) -> None:
            self.free += 1

        return Lease((frame(part.seq),), back)

    async def judge(self, part: Part, lease: Lease) -> Verdict:
        await asyncio.sleep(self.takes_s)
        good = Verdict(part, Outcome.PASS, 0, "Good", checks=(Check("lid", CheckOutcome.PASS),), frames=lease.frames)
        answer = self.judging(part, good)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Verdict)
        return answer

    def give_up(self, seq: int, fault: InspectionFault) -> None:
        pass

    # outlet
    def tell(self, verdict: Verdict, *, dup: bool = False) -> bool:
        if "tell" in self.breaks:
            raise RuntimeError("a bug in tell")
        self.told.append(verdict)
        return True

    def payload(self, row: Waiting) -> bytes:
        if "record" in self.breaks:
            raise RuntimeError("a bug in record")
        return contract.record_payload(row.verdict, t_ms=row.t_ms, late=row.late)

    def keep(self, verdict: Verdict, lease: Lease | None) -> None:
        if "keep" in self.breaks:
            raise RuntimeError("a bug in keep")

    def show(self, verdict: Verdict, t_ms: int) -> None:
        self.shown.append(verdict.part.seq)
        if "show" in self.breaks:
            raise RuntimeError("a bug in show")

    def send(self, outbox_id: int, payload: bytes) -> bool:
        self.records.append(json.loads(payload))
        asyncio.get_running_loop().call_soon(self.outbox.acked, outbox_id)
        return True

    # what tests do
    def trigger(self, deadline_ms: int = 2000, refused: InspectionFault | None = None, golden: Any = "") -> Part:
        part_id = f"P{self.ledger.next_seq}"
        trigger = Trigger(part_id, f"c{part_id}", time.monotonic_ns(), "2026-01-01T00:00:00.000Z", "mqtt", deadline_ms)
        return self.line.trigger(replace(trigger, golden=golden), refused)

    async def rest(self, count: int) -> list[tuple[int, str, int]]:
        end = asyncio.get_running_loop().time() + 10
        while len(self.told) < count or self.line.depth:
            assert asyncio.get_running_loop().time() < end, self.told
            await asyncio.sleep(0.005)
        return [(v.part.seq, v.outcome.value, v.code) for v in self.told]

    async def written(self) -> None:
        end = asyncio.get_running_loop().time() + 10
        while self.line.unwritten:
            assert asyncio.get_running_loop().time() < end, "told, and never written"
            await self.line.rewrite()
            await asyncio.sleep(0.005)

    @contextlib.asynccontextmanager
    async def stalled_disk(self) -> AsyncIterator[None]:
        """The writer's thread hangs as in a write that does not come back."""
        begun, go = threading.Event(), threading.Event()

        def hang(_: sqlite3.Connection) -> None:
            begun.set()
            go.wait(20)

        task = asyncio.create_task(self.ledger._write(hang))
        while not begun.is_set():
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            go.set()
            await task


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "ledger.db")
    yield world
    world.ledger.shut(5.0)


async def test_a_stalled_disk_costs_the_part_and_not_its_deadline(world: World) -> None:
    async with world.stalled_disk():
        part = world.trigger(deadline_ms=200)
        end = asyncio.get_running_loop().time() + 10
        while not world.told:
            assert asyncio.get_running_loop().time() < end, "not told"
            await asyncio.sleep(0.005)
        assert world.line.depth == 1, "it holds its pictures"
        assert await world.rest(0) is not None
        assert [(v.outcome, v.code) for v in world.told] == [(Outcome.NOT_INSPECTED, Code.TIMEOUT)]
        assert world.line.unwritten == 1 and world.line.told(part.seq) == world.told[0]
        assert world.line.settled_below == part.seq  # its record must wait
    await world.written()
    assert world.line.unwritten == 0 and world.line.settled_below == part.seq + 1
    (row,) = search(world.path)
    assert (row.outcome, row.code) == ("NOT_INSPECTED", 300) and row.t_ms is not None and row.t_ms < 1200
    assert world.free == 0
    kept, counted = recount(world.path)
    assert kept == counted


async def test_a_pass_on_disk_that_came_too_late_is_never_recorded_as_one(world: World) -> None:
    """The commit succeeds, but its answer comes after the deadline."""
    part = world.trigger(deadline_ms=150)
    outbox = asyncio.create_task(world.outbox.run())
    whole = world.ledger._close

    def slow(connection: sqlite3.Connection, verdict: Verdict, t_ms: int) -> None:
        if verdict.outcome is Outcome.PASS:
            time.sleep(0.3)
        whole(connection, verdict, t_ms)

    world.ledger._close = slow  # type: ignore[method-assign]
    assert await world.rest(1) == [(part.seq, "NOT_INSPECTED", 300)]
    world.outbox.wake()
    while not world.records:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    outbox.cancel()
    assert [r["verdict"] for r in world.records] == ["NOT_INSPECTED"]
    assert [r.outcome for r in search(world.path)] == ["NOT_INSPECTED"]
    kept, counted = recount(world.path)
    assert kept == counted


async def test_a_later_part_that_can_wait_no_longer_makes_the_earlier_doubtful(world: World) -> None:
    world.takes_s = 0.4
    first, second = world.trigger(2000), world.trigger(150)
    told = await world.rest(2)
    assert told == [(second.seq, "NOT_INSPECTED", 300), (first.seq, "NOT_INSPECTED", 301)]


async def test_a_refused_part_is_answered_in_its_turn(world: World) -> None:
    world.takes_s = 0.1
    world.trigger()
    world.trigger(refused=InspectionFault(Code.NOT_READY, "no"))
    world.trigger()
    assert [(o, c) for _, o, c in await world.rest(3)] == [("PASS", 0), ("NOT_INSPECTED", 402), ("PASS", 0)]


async def test_a_refused_part_is_told_at_once_whatever_the_disk_does(world: World) -> None:
    async with world.stalled_disk():
        parts = [world.trigger(60_000, refused=InspectionFault(Code.NOT_READY, "no")) for _ in range(20)]
        told = await world.rest(20)  # within 10 s: each that waits for the disk takes 1 s, one by one
        assert world.line.settled_below == parts[0].seq and not world.line.under_way(parts[0].seq)
    assert told == [(part.seq, "NOT_INSPECTED", 402) for part in parts]
    await world.written()
    assert [(r.seq, r.code) for r in reversed(search(world.path))] == [(part.seq, 402) for part in parts]
    assert world.line.settled_below == parts[-1].seq + 1 and recount(world.path)[0] == recount(world.path)[1]


@pytest.mark.parametrize(
    "answer",
    [
        lambda part, good: replace(good, part=replace(part, seq=part.seq + 1)),
        lambda part, good: replace(good, part=replace(part, recipe_sha="b" * 64)),
        lambda part, good: replace(good, frames=(frame(99),)),
        lambda part, good: replace(good, frames=()),
        lambda part, good: KeyError("a bug"),
        lambda part, good: None,
    ],
    ids=["another part", "another recipe", "another picture", "no picture", "an exception", "nothing"],
)
async def test_doubt_is_never_a_pass(world: World, answer: Callable[[Part, Verdict], Any]) -> None:
    world.judging = answer
    part = world.trigger()
    assert await world.rest(1) == [(part.seq, "NOT_INSPECTED", 302)]
    assert [r.outcome for r in search(world.path)] == ["NOT_INSPECTED"]
    assert world.free == 0


@pytest.mark.parametrize("broken", ["keep", "show"])
async def test_a_bug_beside_the_walk_costs_no_answer_and_no_slot(world: World, broken: str) -> None:
    world.breaks = {broken}
    world.trigger()
    (told,) = await world.rest(1)
    assert told[1] == "PASS"
    world.breaks = set()
    world.trigger()
    assert (await world.rest(2))[1][1] == "PASS"
    assert world.free == 0 and world.line.depth == 0


async def test_a_part_that_cannot_be_told_is_counted_and_the_next_one_walks(world: World) -> None:
    world.breaks = {"tell"}
    world.trigger()
    await world.rest(0)
    assert world.line.untold == 1
    world.breaks = set()
    world.trigger()
    assert [o for _, o, _ in await world.rest(1)] == ["PASS"]


async def test_three_bugs_in_a_row_are_told_and_forgiven_ones_forgotten(world: World) -> None:
    world.judging = lambda part, good: RuntimeError("bug")
    for n in range(2):
        world.trigger()
        await world.rest(n + 1)
    assert [what for what, _ in world.troubles] == []
    world.trigger(refused=InspectionFault(Code.INTERNAL_ERROR, "refused"))  # not inspected: counts for nothing
    await world.rest(3)
    assert [what for what, _ in world.troubles] == []
    world.trigger()
    await world.rest(4)
    assert [what for what, _ in world.troubles] == ["bugs"]
    world.line.forgive()
    world.trigger()
    await world.rest(5)
    assert [what for what, _ in world.troubles] == ["bugs"]


async def test_a_part_that_hangs_is_overdue_for_the_watchdog(world: World) -> None:
    world.takes_s = 0.5
    world.trigger(deadline_ms=2000)
    assert not world.line.overdue(0.0)
    (part,) = world.line._busy.values()
    world.line._busy[part.seq] = replace(part, deadline_ns=time.monotonic_ns() - 6_000_000_000)
    assert world.line.overdue(5.0) and not world.line.overdue(60.0)
    await world.rest(1)


async def test_interrupted_parts_are_closed_and_their_records_leave(tmp_path: Path) -> None:
    first = World(tmp_path / "ledger.db")
    part = first.ledger.begin(Trigger("P", "c", time.monotonic_ns(), "2026-01-01T00:00:00.000Z", "mqtt", 500), TAG)
    await first.ledger.accept(part)
    first.ledger.shut(5.0, clean=False)
    world = World(tmp_path / "ledger.db")
    try:
        await world.line.close_interrupted()
        assert world.line.told_seq == part.seq and world.ledger.interrupted == []
        outbox = asyncio.create_task(world.outbox.run())
        while not world.records:
            await asyncio.sleep(0.01)
        outbox.cancel()
        assert [(r["seq"], r["verdict"], r["code"]) for r in world.records] == [(part.seq, "NOT_INSPECTED", 302)]
        assert world.told == []
    finally:
        world.ledger.shut(5.0)


async def test_stop_gives_parts_a_little_time(world: World) -> None:
    world.takes_s = 0.1
    for _ in range(3):
        world.trigger()
    await world.line.stop(2.0)
    assert [v.outcome for v in world.told] == [Outcome.PASS] * 3 and world.line.depth == 0


async def test_records_are_sent_again_from_the_oldest_after_an_outage(world: World) -> None:
    sent: list[int] = []
    up = True

    def send(outbox_id: int, payload: bytes) -> bool:
        if up:
            sent.append(outbox_id)
        return up

    world.outbox._send = send
    for n in range(25):
        world.trigger()
        await world.rest(n + 1)
    outbox = asyncio.create_task(world.outbox.run())
    world.outbox.wake()
    while len(sent) < 10:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert sent == list(range(1, 11))  # no more in flight than that
    for outbox_id in (1, 2, 3):
        world.outbox.acked(outbox_id, True)
    while len(sent) < 13:
        await asyncio.sleep(0.01)
    up = False
    world.outbox.link_down()
    await asyncio.sleep(0.1)
    sent.clear()
    up = True
    world.outbox.wake()
    while len(sent) < 10:
        await asyncio.sleep(0.01)
    assert sent == list(range(4, 14))
    while world.outbox.depth != 22:
        await asyncio.sleep(0.01)
    outbox.cancel()


@pytest.mark.parametrize("expect", ["PASS", "FAIL"])
async def test_a_golden_part_is_told_as_one_whatever_was_found(world: World, expect: Any) -> None:
    world.trigger(golden=expect)
    await world.rest(1)
    told, found = world.told[0], world.found[0]
    assert (told.outcome, told.code) == (Outcome.NOT_INSPECTED, 502)
    assert (found.outcome, found.code, found.part) == (Outcome.PASS, 0, told.part)
    row = await world.ledger.get(told.part.seq)
    assert row is not None and (row.outcome, row.code) == ("NOT_INSPECTED", 502)
    assert world.ledger.counters.get("golden") == 1
    assert not {"total", "PASS", "NOT_INSPECTED"} & {name for name, n in world.ledger.counters.items() if n}


async def test_a_verdict_says_when_its_picture_was_taken(world: World) -> None:
    fired: list[int] = []

    async def capture(part: Part) -> Lease:
        fired.append(part.trigger.received_ns + 250_000_000)
        return Lease((replace(frame(part.seq), triggered_ns=fired[-1], exposed_ns=0),), lambda _: None)

    world.capture = capture  # type: ignore[method-assign]
    world.trigger()  # at 2026-01-01T00:00:00.000Z
    world.judging = lambda part, verdict: InspectionFault(Code.INTERNAL_ERROR, "no")
    world.trigger()
    await world.rest(2)
    assert [v.captured_utc for v in world.told] == ["2026-01-01T00:00:00.250Z"] * 2


async def test_a_part_right_behind_a_golden_part_that_failed_is_no_pass(world: World) -> None:
    world.takes_s = 0.05
    world.trigger()
    world.trigger(golden="FAIL")  # and is found good
    world.trigger()  # taken in before that was known
    assert await world.rest(3) == [(1, "PASS", 0), (2, "NOT_INSPECTED", 502), (3, "NOT_INSPECTED", 501)]
    row = await world.ledger.get(3)
    assert row is not None and (row.outcome, row.code) == ("NOT_INSPECTED", 501)


async def test_a_golden_part_that_was_not_judged_in_time_is_told_as_one_and_its_late_verdict_never(
    world: World,
) -> None:
    world.takes_s = 0.3
    part = world.trigger(deadline_ms=50, golden="PASS")
    await world.rest(1)
    assert (world.told[0].code, world.found[0].code) == (502, 300)
    await world.line.late(Verdict(part, Outcome.PASS, 0, "Good", checks=(Check("lid", CheckOutcome.PASS),)))
    assert not world.ledger.counters.get("late")


async def test_a_refused_part_that_waits_for_its_turn_is_on_disk_meanwhile(world: World) -> None:
    world.takes_s = 0.5
    world.trigger()
    refused = world.trigger(refused=InspectionFault(Code.NOT_READY, "no"))
    end = asyncio.get_running_loop().time() + 10
    while refused.seq not in {row.seq for row in search(world.path)}:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.005)
    assert not world.told, "until now a kill would have left no trace of it"
    assert [(o, c) for _, o, c in await world.rest(2)] == [("PASS", 0), ("NOT_INSPECTED", 402)]


async def test_cores_stay_awake_while_parts_are_under_way_and_no_longer(world: World) -> None:
    wishes = world.path.with_name("wishes")
    before = wishes.stat().st_size
    world.takes_s = 0.05
    first, second = world.trigger(), world.trigger()
    assert wishes.stat().st_size == before + 4
    await world.rest(0)
    assert world.line.depth == 0 and second.seq == first.seq + 1
    assert wishes.stat().st_size == before + 8
