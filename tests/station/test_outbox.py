"""Records leave in order, with their picture's name, and none of them holds up the others for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inspector.parts import Verdict
from inspector.station.archiving import ArchiveDesk
from inspector.station.leases import Lease
from inspector.station.ledger import Ledger, Waiting
from inspector.station.outbox import Outbox
from tests.station.ledgerrig import opened
from tests.station.test_ledger import TAG, failed, passed, trigger


class Broker:
    """Takes everything, or nothing."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.came: list[bytes] = []
        self.read = True  # somebody reads
        self.owed: set[int] = set()
        self.broken: set[int] = set()
        self.outbox = Outbox(ledger, self.send, self.payload, lambda: ledger.next_seq, lambda: set(self.owed))

    def payload(self, row: Waiting) -> bytes:
        if row.seq in self.broken:
            raise ValueError("a bug in the record")
        return f"{row.seq} {row.verdict.outcome.value} {Path(row.picture).name}".encode()

    def send(self, outbox_id: int, payload: bytes) -> bool:
        self.came.append(payload)
        asyncio.get_running_loop().call_soon(self.outbox.acked, outbox_id, self.read)
        return True

    async def close(self, make: Callable[..., Verdict]) -> int:
        part = self.ledger.begin(trigger(), TAG)
        await self.ledger.close(make(part), 5)
        self.outbox.wake()
        return part.seq

    async def until(self, count: int) -> list[bytes]:
        end = asyncio.get_running_loop().time() + 10
        while len(self.came) < count:
            assert asyncio.get_running_loop().time() < end, self.came
            await asyncio.sleep(0.01)
        return self.came


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    with opened(tmp_path / "ledger.db") as ledger:
        broker = Broker(ledger)
        running = asyncio.create_task(broker.outbox.run())
        yield broker
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_record_waits_for_the_name_of_its_picture_and_those_behind_wait_too(broker: Broker) -> None:
    broker.owed = {1}
    assert [await broker.close(failed), await broker.close(passed)] == [1, 2]
    await asyncio.sleep(0.3)
    assert broker.came == []
    await broker.ledger.picture(1, "/pictures/2026/1.png")
    broker.owed = set()
    broker.outbox.wake()
    assert await broker.until(2) == [b"1 FAIL 1.png", b"2 PASS "]


async def test_a_record_that_cannot_be_made_is_given_up_and_counted(broker: Broker) -> None:
    broker.broken = {2}
    for _ in range(3):
        await broker.close(passed)
    assert await broker.until(2) == [b"1 PASS ", b"3 PASS "]
    assert broker.ledger.given_up == 1
    row = await broker.ledger.get(2)
    assert row is not None and row.outcome == "PASS"  # the books have it all the same


async def test_the_archive_owes_a_picture_for_a_while_only(tmp_path: Path) -> None:
    desk = ArchiveDesk(
        folder=tmp_path, previews=tmp_path, budget_mb=10, min_free_mb=1, bound=4,
        stored=lambda seq, path: None, shown=lambda seq: None, trouble=lambda name, text: None,
    )  # fmt: skip  # not started: what it is given waits
    with opened(tmp_path / "ledger.db") as ledger:
        bad, good = (ledger.begin(trigger(), TAG) for _ in "ab")
        desk.keep(failed(bad), Lease((), lambda _: None), {"FAIL": 1, "PASS": 0})
        desk.keep(passed(good), Lease((), lambda _: None), {"FAIL": 1, "PASS": 0})
        assert desk.owed(2.0) == {bad.seq}
        await asyncio.sleep(0.05)
        assert desk.owed(0.01) == set()


async def test_records_wait_for_a_reader_who_was_there(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.station.outbox.UNREAD_RETRY_S", 0.05)
    broker.read = False
    await broker.close(passed)
    assert await broker.until(1) == [b"1 PASS "]
    end = asyncio.get_running_loop().time() + 10
    while await broker.ledger.outbox_depth():
        assert asyncio.get_running_loop().time() < end, "nobody ever read: a record is not kept for him"
        await asyncio.sleep(0.01)
    broker.read = True
    await broker.close(passed)
    await broker.until(2)
    broker.read = False  # the reader is away, and no session waits for him
    for make in (failed, passed):
        await broker.close(make)
    await broker.until(6)
    assert await broker.ledger.outbox_depth() == 2
    broker.came.clear()
    broker.read = True
    end = asyncio.get_running_loop().time() + 10
    while await broker.ledger.outbox_depth():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)
    assert [word for word in dict.fromkeys(broker.came)] == [b"3 FAIL ", b"4 PASS "], "in order, each at least once"
    assert float(await broker.ledger.meta("record_read") or 0) > 0, "over restarts, too"
