"""The books, on real files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.station.ledger import (
    MAX_AHEAD,
    Ledger,
    RecipeTag,
    StorageFault,
    Waiting,
    alarm_log,
    recount,
    search,
    utc_now,
    writer,
)

TAG = RecipeTag(1, 2, "Lid", "a" * 64, 300)
Make = Callable[..., Ledger]


def trigger(part_id: str = "P1", cmd_id: str = "", deadline_ms: int | None = None) -> Trigger:
    return Trigger(part_id, cmd_id, time.monotonic_ns(), utc_now(), "mqtt", deadline_ms)


def passed(part: Part) -> Verdict:
    return Verdict(part, Outcome.PASS, 0, "Good", checks=(Check("lid", CheckOutcome.PASS),))


def failed(part: Part, code: int = 1001) -> Verdict:
    return Verdict(part, Outcome.FAIL, code, "Lid wrong", checks=(Check("lid", CheckOutcome.FAIL, code, "Lid wrong"),))


def doubtful(part: Part) -> Verdict:
    return Verdict.not_inspected(part, InspectionFault(Code.TIMEOUT, "too late"))


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Ledger] = []

    def new(path: Path = tmp_path / "ledger.db") -> Ledger:
        ledger = Ledger(path, station="s", boot=f"{len(made):04x}", sim=False)
        ledger.open()
        made.append(ledger)
        return ledger

    yield new
    for ledger in made:
        ledger.shut(5.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def test_a_row_a_trigger_and_a_verdict_a_row(make: Make, path: Path) -> None:
    ledger = make()
    part = ledger.begin(trigger("P1", "c1"), TAG)
    await ledger.accept(part)
    (row,) = search(path)
    assert (row.seq, row.part_id, row.cmd_id, row.outcome, row.verdict) == (1, "P1", "c1", None, None)
    await ledger.close(passed(part), 12)
    row = await ledger.get(1)  # type: ignore[assignment]
    assert (row.outcome, row.code, row.t_ms, row.late) == ("PASS", 0, 12, False)
    assert row.verdict == passed(part)
    assert await ledger.outbox(0, 10) == [Waiting(1, 1, False, passed(part), 12, "")]
    await ledger.picture(1, "/pictures/1.png")
    assert (await ledger.outbox(0, 10))[0].picture == "/pictures/1.png"
    assert ledger.counters == {"total": 1, "PASS": 1}
    assert recount(path)[0] == recount(path)[1]


async def test_a_second_close_replaces_the_first_with_its_record(make: Make, path: Path) -> None:
    ledger = make()
    part = ledger.begin(trigger(), TAG)
    await ledger.accept(part)
    await ledger.close(passed(part), 12)
    await ledger.close(doubtful(part), 301)
    assert [(w.late, w.verdict.outcome, w.t_ms) for w in await ledger.outbox(0, 10)] == [
        (False, Outcome.NOT_INSPECTED, 301)
    ]
    assert (ledger.counters["PASS"], ledger.counters["NOT_INSPECTED"], ledger.counters["total"]) == (0, 1, 1)
    assert recount(path)[0] == recount(path)[1]
    await ledger.late(passed(part), 400)
    await ledger.close(doubtful(part), 302)
    assert [(w.late, w.verdict.outcome, w.t_ms) for w in await ledger.outbox(0, 10)] == [
        (True, Outcome.PASS, 400),
        (False, Outcome.NOT_INSPECTED, 302),
    ]


async def test_a_late_word_is_kept_beside_what_was_told_and_counted_once(make: Make, path: Path) -> None:
    ledger = make()
    part, lost = ledger.begin(trigger(), TAG), ledger.begin(trigger("P2"), TAG)
    await ledger.close(doubtful(part), 300)  # its accept never reached the disk
    for _ in range(2):
        await ledger.late(passed(part), 400)
    await ledger.late(passed(lost), 400)  # told, but not on disk yet
    assert ledger.counters == {"total": 2, "NOT_INSPECTED": 1, "late": 2}
    await ledger.close(doubtful(lost), 300)
    assert recount(path)[0] == recount(path)[1] == {"total": 2, "NOT_INSPECTED": 2, "late": 2}
    assert [(r.outcome, r.late) for r in search(path)] == [("NOT_INSPECTED", True)] * 2


async def test_what_waits_together_is_committed_together(make: Make) -> None:
    ledger = make()
    committed: list[int] = []
    whole = ledger._writer.commit

    def counting(connection: sqlite3.Connection, writes: list[writer.Write], *, last: bool = False) -> bool:
        committed.append(len(writes))
        return whole(connection, writes, last=last)

    ledger._writer.commit = counting  # type: ignore[method-assign]
    parts = [ledger.begin(trigger(f"P{n}"), TAG) for n in range(200)]
    await asyncio.gather(*(ledger.accept(p) for p in parts))
    assert sum(committed) == 200 and max(committed) > 10 and max(committed) <= writer.BATCH


async def test_one_bad_write_does_not_spoil_its_neighbours(make: Make, path: Path) -> None:
    ledger = make()
    parts = [ledger.begin(trigger(f"P{n}"), TAG) for n in range(5)]
    answers = await asyncio.gather(*(ledger.accept(p) for p in [*parts, parts[2]]), return_exceptions=True)
    assert sum(isinstance(a, StorageFault) for a in answers) == 1
    assert len(search(path)) == 5 and ledger.counters["total"] == 5


async def test_who_stops_waiting_before_his_turn_is_not_written(make: Make, path: Path) -> None:
    ledger = make()
    blocked, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def block(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(blocked.set)
        go.wait(10)

    first = asyncio.create_task(ledger._write(block))
    await blocked.wait()
    part = ledger.begin(trigger(), TAG)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ledger.close(passed(part), 1), 0.05)
    go.set()
    await first
    await ledger.set_meta("a", "b")
    assert search(path) == []


async def test_a_full_queue_is_a_fault_and_counted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make()
    go = threading.Event()
    first = asyncio.create_task(ledger._write(lambda _: go.wait(10)))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(ledger.set_meta("k", str(n))) for n in range(writer.QUEUE_BOUND)]
    await asyncio.sleep(0)
    with pytest.raises(StorageFault, match="can't take another"):
        await ledger.set_meta("k", "one too many")
    assert ledger.drops == 1 and ledger.depth <= writer.QUEUE_BOUND
    go.set()
    await asyncio.gather(first, *waiting)
    assert await ledger.meta("k") == str(writer.QUEUE_BOUND - 1)


async def test_clean_restart_goes_on_unclean_leaves_numbers_out(make: Make, path: Path) -> None:
    ledger = make()
    for n in range(3):
        part = ledger.begin(trigger(f"P{n}", f"c{n}"), TAG)
        await ledger.close(passed(part), 1)
    assert ledger.shut(5.0)
    again = make()
    assert again.next_seq == 4 and again.highest_seq == 3
    assert again.known("c1") == (2, ("P1", None)) and again.known("c9") is None and again.known("") is None
    assert again.begin(trigger("P1"), TAG).attempt == 2
    assert again.shut(5.0, clean=False)
    assert make().next_seq == 3 + 1 + MAX_AHEAD


async def test_what_a_crash_left_open_is_found(make: Make, path: Path) -> None:
    ledger = make()
    done, open_part = ledger.begin(trigger("A"), TAG), ledger.begin(trigger("B", "c7", 900), TAG)
    await ledger.accept(done)
    await ledger.close(passed(done), 1)
    await ledger.accept(open_part)
    assert ledger.interrupted == []
    ledger.shut(5.0)
    again = make()
    (found,) = again.interrupted
    assert (found.seq, found.trigger.part_id, found.trigger.cmd_id, found.deadline_ms) == (2, "B", "c7", 900)
    await again.close(doubtful(found), found.deadline_ms)
    assert [r.outcome for r in search(path)] == ["NOT_INSPECTED", "PASS"]
    assert recount(path)[0] == recount(path)[1]


async def test_outbox_order_depth_and_end(make: Make) -> None:
    ledger = make()
    for n in range(5):
        part = ledger.begin(trigger(f"P{n}"), TAG)
        await ledger.close(passed(part), 1)
    rows = await ledger.outbox(0, 3)
    assert [w.seq for w in rows] == [1, 2, 3]
    assert [w.seq for w in await ledger.outbox(rows[-1].id, 10)] == [4, 5]
    await ledger.outbox_done([w.id for w in rows])
    assert await ledger.outbox_depth() == 2


async def test_records_leave_by_number_when_the_disk_took_a_verdict_late(make: Make) -> None:
    ledger = make()
    parts = [ledger.begin(trigger(f"P{n}"), TAG) for n in range(1, 5)]
    for part in parts:
        await ledger.accept(part)
    for part in (parts[0], parts[2], parts[3], parts[1]):
        await ledger.close(passed(part), 1)
    await ledger.close(doubtful(parts[2]), 300)  # told so in the meantime
    waiting = await ledger.outbox(0, 10)
    assert [w.seq for w in waiting] == [1, 2, 3, 4] and await ledger.outbox_depth() == 4
    assert [w.verdict.outcome.value for w in waiting][2] == "NOT_INSPECTED"


async def test_old_parts_are_forgotten_and_still_counted(make: Make, path: Path) -> None:
    ledger = make()
    for number in range(1, 11):
        part = ledger.begin(trigger(f"P{number}"), TAG)
        await ledger.accept(part)
        if number != 2:  # still open
            await ledger.close(passed(part) if number % 2 else failed(part), 5)
    await ledger.late(passed(search(path, part_id="P3")[0].verdict.part), 400)  # type: ignore[union-attr]
    await ledger.outbox_done([w.id for w in await ledger.outbox(0, 100) if w.seq != 4])
    before = recount(path)
    await ledger.prune(4)
    assert sorted(row.seq for row in search(path)) == [2, 4, 7, 8, 9, 10]  # 2 is open, the record of 4 waits
    kept, counted = recount(path)
    assert kept == counted == before[0] == before[1] and kept["total"] == 10 and kept["late"] == 1
    await ledger.prune(4)
    assert len(search(path)) == 6


async def test_numbers_that_a_crash_leaves_out_are_no_parts(make: Make, path: Path) -> None:
    ledger = make()
    for round_number in (1, 2, 3):
        part = ledger.begin(trigger(f"P{round_number}"), TAG)
        await ledger.accept(part)
        await ledger.close(passed(part), 5)
        await ledger.outbox_done([w.id for w in await ledger.outbox(0, 100)])
        assert ledger.shut(5.0, clean=False)
        ledger = make()
    await ledger.prune(2)
    assert [row.part_id for row in search(path)] == ["P3", "P2"], "the numbers between them count for nothing"


async def test_search_codes_meta_picture_and_alarm_log(make: Make, path: Path) -> None:
    ledger = make()
    for n in range(6):
        part = ledger.begin(trigger(f"P{n % 3}"), TAG)
        await ledger.close(failed(part, 1001 + n % 2) if n < 4 else passed(part), 1)
    assert [r.seq for r in search(path, part_id="P1")] == [5, 2]
    assert [r.seq for r in search(path, outcome="PASS", limit=1)] == [6]
    assert await ledger.codes(5) == [(1001, "Lid wrong", 2), (1002, "Lid wrong", 2)]
    await ledger.set_meta("recipe", "7")
    assert (await ledger.meta("recipe"), await ledger.meta("none")) == ("7", None)
    await ledger.picture(5, "/x.png")
    assert (await ledger.get(5)).picture == "/x.png"  # type: ignore[union-attr]
    assert await ledger.get(99) is None
    await ledger.alarm("disk", "came", "full")
    assert [(a["name"], a["what"]) for a in alarm_log(path)] == [("disk", "came")]
    await ledger.checkpoint()


@pytest.mark.parametrize("damage", ["random", "header", "middle"])
async def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(make: Make, path: Path, damage: str) -> None:
    ledger = make()
    for n in range(50):
        await ledger.close(passed(ledger.begin(trigger(f"P{n}"), TAG)), 1)
    ledger.shut(5.0)
    data = bytearray(path.read_bytes())
    if damage == "random":
        data = bytearray(os.urandom(len(data)))
    elif damage == "header":
        data[:50] = b"\0" * 50
    else:
        data[8192:40960] = os.urandom(32768)
    path.write_bytes(data)
    again = make()
    assert again.damaged is not None and again.damaged.read_bytes() == bytes(data)
    await again.close(passed(again.begin(trigger(), TAG)), 1)
    assert again.counters == {"total": 1, "PASS": 1}


async def test_another_schema_is_refused_and_left_alone(make: Make, path: Path) -> None:
    make().shut(5.0)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageFault, match="has schema 9; this software knows 2"):
        make()
    assert path.read_bytes() == before


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="there is no ledger"):
        search(tmp_path / "none.db")
    (tmp_path / "bad.db").write_bytes(os.urandom(5000))
    with pytest.raises(StorageFault, match="can't be read"):
        search(tmp_path / "bad.db")
    odd = tmp_path / "a?b#c%20.db"
    sqlite3.connect(odd).close()
    odd.write_bytes(b"")
    with pytest.raises(StorageFault, match="no such table"):
        search(odd)


async def test_a_folder_that_cannot_be_used(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        make(tmp_path / "file" / "ledger.db")
    (tmp_path / "dir.db").mkdir()
    with pytest.raises(StorageFault, match="can't be opened"):
        make(tmp_path / "dir.db")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
async def test_a_folder_without_rights(make: Make, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises((OSError, StorageFault)):
        make(tmp_path / "shut" / "ledger.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 1 MB; only root can have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system needs root and the right to mount")
    return folder


async def test_a_full_disk_is_a_fault_that_ends_by_itself(make: Make, small_disk: Path) -> None:
    try:
        ledger = make(small_disk / "ledger.db")
        await ledger.close(passed(ledger.begin(trigger("before"), TAG)), 1)
        filler = small_disk / "filler"
        descriptor = os.open(filler, os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(descriptor, b"\0" * 4096)
        os.close(descriptor)
        with pytest.raises(StorageFault, match="full"):
            for n in range(200):
                await ledger.close(passed(ledger.begin(trigger(f"P{n}"), TAG)), 1)
        filler.unlink()
        await ledger.close(passed(ledger.begin(trigger("after"), TAG)), 1)
        assert ledger.counters["total"] == ledger.counters["PASS"] == len(search(small_disk / "ledger.db", limit=999))
        assert ledger.shut(5.0)
    finally:
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


NURSERY = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.station.test_ledger import TAG, doubtful, passed, trigger
from inspector.station.ledger import Ledger

async def write(path, out):
    ledger = Ledger(path, station="s", boot="0000", sim=False)
    ledger.open()
    if ledger.damaged is not None:
        return
    for part in ledger.interrupted:
        await ledger.close(doubtful(part), 1)
    os.write(out, b"open %d\\n" % ledger.next_seq)

    async def one():
        part = ledger.begin(trigger(), TAG)
        await ledger.accept(part)
        os.write(out, b"accepted %d\\n" % part.seq)
        await ledger.close(passed(part), 1)
        os.write(out, b"closed %d\\n" % part.seq)

    while True:
        await asyncio.gather(*(one() for _ in range(4)))

for n in range(30):  # one process that has imported everything has 30 children, each killed in the middle of its work
    back, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(back)
        try:
            asyncio.run(write(Path(sys.argv[1]), out))
        finally:
            os._exit(1)
    os.close(out)
    with open(back) as said:
        for count, line in enumerate(said):
            print(line, end="", flush=True)
            if count == 2 + 5 * (n % 7):
                os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def test_30_kills_lose_nothing_that_was_acknowledged(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    said: dict[str, list[int]] = {"open": [], "accepted": [], "closed": []}
    highest = 0
    for line in done.stdout.splitlines():
        word, seq = line.split()
        if word == "open":
            assert int(seq) > highest, "a seq was given twice"
        said[word].append(int(seq))
        highest = max(highest, int(seq))
    assert len(said["open"]) == 30, "the ledger did not open clean every time"
    rows = {row.seq: row for row in search(path, limit=1_000_000)}
    assert len(said["closed"]) > 50
    assert set(said["accepted"]) <= rows.keys()
    assert all(rows[seq].outcome == "PASS" for seq in said["closed"])
    kept, counted = recount(path)
    assert kept == counted
