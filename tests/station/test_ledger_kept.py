"""Damage, a full disk, readers that hang: what is kept, and that numbers never go back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.station.ledger import Ledger, StorageFault, alarm_log, opening, recount, search, verify_audit, writes
from inspector.station.ledger import reserve as reserve_module
from inspector.station.ledger.guard import MARGIN, SeqGuard
from inspector.station.ledger.reserve import Reserve
from tests.station.ledgerrig import measured, opened, query, released
from tests.station.test_ledger import TAG, doubtful, passed, trigger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def fill(path: Path, parts: int = 200) -> None:
    with opened(path) as ledger:
        await ledger.set_meta("recipe", "7")
        await ledger.remember("x1", "start", "{}", b"done")
        await ledger.configuration("ab" * 32, "{}")
        await ledger.alarm("disk", "came", "full")
        made = [ledger.begin(trigger(f"P{n}", f"c{n}"), TAG) for n in range(parts)]
        await asyncio.gather(*(ledger.close(measured(part), 5) for part in made))
        await ledger.outbox_done([w.id for w in await ledger.outbox(0, parts) if w.seq % 10])


async def fill_more(ledger: Ledger, parts: int) -> None:
    made = [ledger.begin(trigger(f"P{n}"), TAG) for n in range(parts)]
    for first in range(0, parts, 500):
        await asyncio.gather(*(ledger.close(measured(part), 5) for part in made[first : first + 500]))


def spoil_pages_of(path: Path, table: str) -> None:
    """Random bytes over the first page that belongs to ``table`` or an index, and over some behind it."""
    (root,) = query(path, f"SELECT rootpage FROM sqlite_schema WHERE name = '{table}'")[0]
    with path.open("r+b") as file:
        file.seek((int(str(root)) - 1) * 4096)
        file.write(random.Random(1).randbytes(4096))


async def test_what_can_be_read_of_a_damaged_ledger_is_saved(path: Path) -> None:
    await fill(path)
    kept = recount(path)[0]
    spoil_pages_of(path, "part_by_id")  # only an index: every row can be read
    with opened(path) as ledger:
        assert ledger.damaged is not None and ledger.next_seq > 200
        assert ledger.counters == kept
        assert ledger.known("c7") == (8, ("P7", None)) and ledger.answered("x1") is not None
        assert [w.seq for w in await ledger.outbox(0, 50)] == list(range(10, 201, 10))
        assert await ledger.meta("recipe") == "7"
        part = ledger.begin(trigger("P7"), TAG)
        assert part.attempt == 2
        await ledger.close(doubtful(part), 3)
    assert recount(path)[0] == recount(path)[1] == {"total": 201, "FAIL": 200, "NOT_INSPECTED": 1}
    assert verify_audit(path) == [] and query(path, "SELECT what FROM audit") == [
        ("configuration",),
        ("ledger damaged",),
    ]
    assert [note["name"] for note in alarm_log(path)] == ["disk"]
    assert query(path, 'SELECT count(*) FROM "check"') == [(200,)]


@pytest.mark.parametrize("cut_off", ["moving", "making", "saving", "full"])
async def test_a_start_that_is_cut_off_while_it_saves_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    await fill(path)
    kept = recount(path)[0]
    spoil_pages_of(path, "part_by_id")
    with monkeypatch.context() as killed:
        whole, connect, rename = opening.salvage, opening._connect, Path.rename

        def die(*arguments: object) -> None:
            if cut_off == "saving":
                whole(*arguments)  # type: ignore[arg-type]
            raise sqlite3.OperationalError("database or disk is full") if cut_off == "full" else KeyboardInterrupt

        def half(file: Path, to: str) -> Path:
            if str(file).endswith("-wal"):
                raise KeyboardInterrupt
            return rename(file, to)

        def once(file: Path) -> sqlite3.Connection:
            if not file.exists():
                raise KeyboardInterrupt
            return connect(file)

        if cut_off == "moving":
            Path(f"{path}-wal").touch()
            killed.setattr(Path, "rename", half)
        elif cut_off == "making":
            killed.setattr(opening, "_connect", once)
        else:
            killed.setattr(opening, "salvage", die)
        with pytest.raises((KeyboardInterrupt, StorageFault)):
            opening.open_ledger(path)
    with opened(path) as ledger:
        assert ledger.damaged is not None and ledger.next_seq > 200
        assert ledger.counters == kept and ledger.answered("x1") is not None
        assert await ledger.meta("recipe") == "7"
    assert not opening.suspect_mark(path).exists()
    assert len(list(path.parent.glob("ledger-damaged-*.db"))) == 1


@pytest.mark.parametrize("damage", ["part", "outbox", "everything", "cut", "schema 1"])
async def test_no_damage_takes_numbers_back(path: Path, damage: str) -> None:
    if damage == "schema 1":
        released(path)
        spoil_pages_of(path, "part_by_id")
    else:
        await fill(path)
    if damage in ("part", "outbox"):
        spoil_pages_of(path, damage)
    elif damage == "everything":
        path.write_bytes(os.urandom(path.stat().st_size))
    elif damage == "cut":
        os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    with opened(path) as ledger:
        assert ledger.damaged is not None
        assert ledger.next_seq > (12 if damage == "schema 1" else 200)
        for part in ledger.interrupted:
            await ledger.close(doubtful(part), 3)
        await ledger.close(passed(ledger.begin(trigger(), TAG)), 1)
    kept, counted = recount(path)
    assert kept == counted and kept["PASS"] >= 1
    if damage == "schema 1":
        assert kept["total"] == 13 and len(search(path, limit=50)) == 11


async def test_a_ledger_that_is_gone_begins_above_what_was_given_out(path: Path) -> None:
    await fill(path, 30)
    path.unlink()
    with opened(path) as ledger:
        assert ledger.damaged is None and ledger.next_seq == 31


async def test_a_killed_station_and_a_lost_ledger_leave_a_margin(path: Path) -> None:
    await fill(path, 30)
    guard = SeqGuard(path.with_suffix(".seq"))
    assert guard.said == 30 and guard.behind(31)
    with opened(path):  # as it stands while the station runs
        running = path.with_suffix(".seq").read_text()
    path.with_suffix(".seq").write_text(running)
    path.unlink()
    with opened(path) as ledger:
        assert ledger.next_seq == 31 + MARGIN + 1
    path.with_suffix(".seq").write_text("12345 00000000\n")  # torn
    assert SeqGuard(path.with_suffix(".seq")).said == 0


async def test_a_large_file_is_checked_beside_the_walk_and_moved_aside_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "CHECKED_AT_START_BYTES", 0)
    await fill(path)
    with opened(path) as ledger:
        assert not ledger.checked and await ledger.check() == "" and ledger.checked
    spoil_pages_of(path, "alarm")
    with opened(path) as ledger:  # the damage is where nobody looks
        assert ledger.damaged is None
        damage = await ledger.check()
        assert "malformed" in damage or "alarm" in damage
        await ledger.set_meta("still", "writing")
    with opened(path) as ledger:
        assert ledger.damaged is not None and await ledger.meta("still") == "writing"
    with opened(path) as ledger:
        assert ledger.damaged is None and await ledger.check() == ""


async def test_readers_and_the_long_check_do_not_hold_up_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE_S", 30.0)
    with contextlib.closing(sqlite3.connect(path)) as reader:
        with opened(path, limit_s=20.0) as ledger:
            await fill_more(ledger, 1000)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM part").fetchall()
            await ledger.set_meta("a", "b")
            checking = asyncio.create_task(ledger.check())
            await asyncio.sleep(0.005)
            began = time.monotonic()
        assert time.monotonic() - began < 15.0
        assert await asyncio.wait_for(checking, 5.0) == ""
    with opened(path) as ledger:
        assert await ledger.meta("a") == "b" and ledger.damaged is None


@pytest.mark.parametrize("table", ["alarm", "command"])
async def test_damage_that_is_met_later_has_the_file_moved_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """``command`` is read when the ledger is opened, ``alarm`` only written."""
    monkeypatch.setattr(opening, "CHECKED_AT_START_BYTES", 0)
    await fill(path)
    spoil_pages_of(path, table)
    if table == "alarm":
        with opened(path) as ledger:
            with pytest.raises(StorageFault, match="malformed"):
                await ledger.alarm("disk", "went", "")
            assert ledger.damaged is None and opening.suspect_mark(path).exists()
    with opened(path) as ledger:
        assert ledger.damaged is not None and ledger.counters["total"] == 200
        await ledger.alarm("disk", "went", "")
        await ledger.remember("x9", "start", "{}", b"done")


async def test_a_reader_that_hangs_does_not_stop_the_writer_and_the_log_shrinks_after_it(path: Path) -> None:
    with opened(path) as ledger:
        await ledger.set_meta("a", "b")
        with contextlib.closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()
            text = "x" * 1_000_000
            for n in range(20):
                await ledger.set_meta(f"big {n % 2}", text)
            assert ledger.wal_bytes > opening.WAL_KEPT_BYTES and ledger.checkpoint_due
            began = time.monotonic()
            await ledger.checkpoint()
            await ledger.set_meta("a", "c")
            assert time.monotonic() - began < 5
        await ledger.checkpoint()
        assert ledger.wal_bytes <= opening.WAL_KEPT_BYTES and not ledger.checkpoint_due


async def test_too_many_records_are_given_up_from_the_oldest_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "PRUNED_AT_ONCE", 4)
    with opened(path) as ledger:
        for n in range(10):
            await ledger.close(passed(ledger.begin(trigger(f"P{n}"), TAG)), 1)
        await ledger.prune(5)
        assert ledger.given_up == 4 and [w.seq for w in await ledger.outbox(0, 20)] == [5, 6, 7, 8, 9, 10]
        await ledger.prune(5)
        assert ledger.given_up == 5 and len(search(path)) == 5


async def test_a_record_that_cannot_be_made_holds_up_nobody(path: Path) -> None:
    with opened(path) as ledger:
        for n in range(3):
            await ledger.close(passed(ledger.begin(trigger(f"P{n}"), TAG)), 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TRIGGER outcome_stays; UPDATE part SET verdict = '{}' WHERE seq = 1")
    with opened(path) as ledger:
        assert [w.seq for w in await ledger.outbox(0, 1)] == [2]
        assert ledger.given_up == 1 and await ledger.outbox_depth() == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; only root can have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


async def test_result_rows_go_on_for_a_while_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "ledger.db"
    with opened(path) as ledger:
        assert not ledger.reserve_spent and (small_disk / "ledger.reserve").stat().st_size > 400_000
        filler = fill_up(small_disk)
        for n in range(60):  # none of them is refused
            part = ledger.begin(trigger(f"P{n}"), TAG)
            await ledger.accept(part)
            await ledger.close(measured(part), 5)
            if ledger.checkpoint_due:
                await ledger.checkpoint()
        assert ledger.reserve_spent and not (small_disk / "ledger.reserve").exists()
        filler.unlink()
        await ledger.checkpoint()
        assert not ledger.reserve_spent and (small_disk / "ledger.reserve").exists()
        assert ledger.counters == {"total": 60, "FAIL": 60}
    assert recount(path)[0] == recount(path)[1]


async def test_a_station_starts_on_a_full_disk_with_what_was_put_by(small_disk: Path) -> None:
    path = small_disk / "ledger.db"
    with opened(path) as ledger:
        await ledger.close(measured(ledger.begin(trigger(), TAG)), 5)
    fill_up(small_disk)
    with opened(path) as ledger:
        assert ledger.reserve_spent
        await ledger.close(measured(ledger.begin(trigger(), TAG)), 5)
        assert ledger.counters["total"] == 2


def test_what_was_given_back_is_not_put_by_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 80_000_000
    usage = reserve_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(reserve_module.shutil, "disk_usage", lambda folder: usage._replace(free=free))
    reserve = Reserve(tmp_path / "reserve")
    reserve.make()
    assert (tmp_path / "reserve").stat().st_size == reserve_module.RESERVE_BYTES
    assert reserve.spend() and not reserve.spend()
    for room, spent in ((8_000_000, True), (16_000_000, True), (20_000_000, False)):
        free = room
        reserve.make()
        assert reserve.spent is spent and (tmp_path / "reserve").exists() is not spent


def test_there_is_no_reserve_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Reserve(tmp_path / "none" / "reserve")
    reserve.make()
    assert reserve.spend() is False and reserve.spent
