"""What a part was told before its row was on disk, when the station is killed right then: the books say the same."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inspector.parts import Outcome, Verdict
from inspector.station.ledger import recount, search
from inspector.station.ledger.told import BOUND, FILE_BYTES, ToldFirst
from tests.station.ledgerrig import opened
from tests.station.test_ledger import TAG, doubtful, passed, trigger
from tests.station.test_line import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "ledger.db")
    yield world
    world.ledger.shut(5.0)


async def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.005)


def left_by_a_kill(path: Path, folder: Path) -> Path:
    """What kill -9 leaves of a ledger that is in use: its files as they are."""
    folder.mkdir()
    for file in path.parent.glob("ledger.*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, folder)
    return folder / path.name


async def test_a_pass_that_was_told_as_a_timeout_is_none_after_a_kill(world: World, tmp_path: Path) -> None:
    whole, go = world.ledger._close, threading.Event()

    def slow(connection: sqlite3.Connection, verdict: Verdict, t_ms: int) -> None:
        if verdict.outcome is Outcome.PASS:
            time.sleep(0.3)  # longer than the part's time
        else:
            go.wait(20)
        whole(connection, verdict, t_ms)

    world.ledger._close = slow  # type: ignore[method-assign]
    part = world.trigger(deadline_ms=150)
    try:
        await until(lambda: world.told and [r.outcome for r in search(world.path)] == ["PASS"], "told, and on disk")
        left = left_by_a_kill(world.path, tmp_path / "left")
    finally:
        go.set()
    assert await world.rest(1) == [(part.seq, "NOT_INSPECTED", 300)]
    with opened(left) as ledger:
        row = await ledger.get(part.seq)
        assert row is not None and row.verdict == world.told[0]
        assert [(w.seq, w.verdict.code) for w in await ledger.outbox(0, 10)] == [(part.seq, 300)]
        assert ledger.interrupted == []
    assert recount(left)[0] == recount(left)[1] == {"total": 1, "NOT_INSPECTED": 1}


async def test_what_a_hanging_disk_has_not_taken_is_in_the_books_after_a_kill(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, file = threading.Event(), world.path.with_suffix(".told")
    monkeypatch.setattr(ToldFirst, "_sync", lambda self: go.wait(20))
    try:
        async with world.stalled_disk():
            parts = [world.trigger(deadline_ms=150) for _ in range(2)]
            await until(lambda: len(world.told) == 2, "told, whatever hangs")
            await until(lambda: file.read_bytes().count(b"\n") == 2, "written, though not synced")
            left = left_by_a_kill(world.path, tmp_path / "left")
    finally:
        go.set()
    with opened(left) as ledger:
        rows = [await ledger.get(part.seq) for part in parts]
        assert [row and row.verdict for row in rows] == world.told and world.told[0].code == 300
        assert ledger.known(parts[0].trigger.cmd_id) == (1, ("P1", 150))
    await world.rest(2)
    await world.line.rewrite()
    await until(lambda: not file.read_bytes().strip(), "nothing to put right any more")
    assert file.stat().st_size == FILE_BYTES


async def test_a_torn_line_and_forgotten_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.station.ledger.books.TOLD_FIRST_LIMIT_S", 10.0)
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        parts = [ledger.begin(trigger(f"P{n}", f"c{n}"), TAG) for n in range(5)]
        for part in parts[1:]:
            await ledger.accept(part)
        await ledger.close(passed(parts[4]), 5)
        assert all([await ledger.told_first(doubtful(part), 300) for part in parts])
    file = path.with_suffix(".told")
    lines = file.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"too late", b"too_late")
    lines[3] = lines[3][:100]
    file.write_bytes(b"\n".join(lines))
    with opened(path) as ledger:
        assert [part.seq for part in ledger.interrupted] == [3, 4]
        assert [(r.seq, r.outcome) for r in search(path)] == [
            (5, "NOT_INSPECTED"), (4, None), (3, None), (2, "NOT_INSPECTED"),
        ]  # fmt: skip
        assert await ledger.get(1) is None, "older than all that the ledger still has"
        for part in ledger.interrupted:
            await ledger.close(doubtful(part), 300)
    assert recount(path)[0] == recount(path)[1]
    assert file.read_bytes() == b" " * FILE_BYTES


async def test_a_ledger_that_was_lost_is_not_all_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        parts = [ledger.begin(trigger(f"P{n}"), TAG) for n in range(20)]
        await ledger.told_first(doubtful(parts[9]), 300)
        await ledger.close(passed(parts[19]), 5)
    path.unlink()
    with opened(path) as ledger:
        assert [row.seq for row in search(path)] == [10]
        assert ledger.next_seq > 20, "no number is used twice"


async def test_a_part_that_cannot_be_put_down_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.station.ledger.told.verdict_to_json", lambda verdict: verdict.no_such)
    async with world.stalled_disk():
        part = world.trigger(deadline_ms=150)
        await until(lambda: world.told, "told, whatever fails")
    assert await world.rest(1) == [(part.seq, "NOT_INSPECTED", 300)]


async def test_more_than_it_may_hold_is_refused_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.station.ledger.books.TOLD_FIRST_LIMIT_S", 10.0)
    monkeypatch.setattr("inspector.station.ledger.told.LIMIT_BYTES", FILE_BYTES)
    go = threading.Event()
    with opened(tmp_path / "ledger.db") as ledger:
        verdicts = [doubtful(ledger.begin(trigger(f"P{n}"), TAG)) for n in range(BOUND + 1)]
        kept = [await ledger.told_first(verdict, 300) for verdict in verdicts[:150]]
        assert kept == sorted(kept, reverse=True) and kept[0] and not kept[-1]
        assert ledger.drops == kept.count(False)
        assert (tmp_path / "ledger.told").stat().st_size == FILE_BYTES
        monkeypatch.setattr(ToldFirst, "_write", lambda self, line: go.wait(20))
        waiting = [asyncio.create_task(ledger.told_first(verdict, 300)) for verdict in verdicts[:BOUND]]
        await asyncio.sleep(0)
        assert not await ledger.told_first(verdicts[BOUND], 300), "no more than that wait for a disk that hangs"
        go.set()
        await asyncio.gather(*waiting)
