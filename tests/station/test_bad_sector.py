"""A ledger that the disk can't read any more, on a disk with bad sectors; and a disk that is only full."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.station.ledger import StorageFault, opening, recount
from tests.station.ledgerrig import measured, opened, query
from tests.station.test_ledger import TAG, passed, trigger
from tools.faulty_disk import FaultyDisk

START = """
import asyncio, json, sys
from pathlib import Path
from inspector.station.ledger import Ledger, StorageFault
from tests.station.test_ledger import TAG, passed, trigger

async def start(path):
    ledger = Ledger(path, station="s", boot="0002", sim=False)
    try:
        ledger.open()
    except StorageFault as fault:
        return {"fault": fault.text}
    part = ledger.begin(trigger("next"), TAG)
    await ledger.close(passed(part), 5)
    damaged, known = ledger.damaged, ledger.known("c1")
    ledger.shut(5.0)
    return {"damaged": damaged and damaged.name, "seq": part.seq, "known": known is not None}

if sys.argv[2] == "3.10":  # which does not tell which I/O error it was
    from inspector.station.ledger import opening
    opening.getattr = lambda thing, name, other: other
    opening.hasattr = lambda thing, name: False
print(json.dumps(asyncio.run(start(Path(sys.argv[1])))))
"""


async def written(path: Path, *, folded: bool) -> None:
    """A ledger of 300 parts; not ``folded``: all of them are in the write-ahead log, and 100 in the file."""
    with opened(path) as ledger:
        parts = [ledger.begin(trigger(f"P{n}", f"c{n}"), TAG) for n in range(100)]
        await asyncio.gather(*(ledger.close(measured(part), 5) for part in parts))
    kept = path.with_name("kept")
    with opened(path) as ledger:
        parts = [ledger.begin(trigger(f"P{n}", f"c{n}"), TAG) for n in range(100, 300)]
        await asyncio.gather(*(ledger.close(passed(part), 5) for part in parts))
        shutil.copy(f"{path}-wal", kept)
        shutil.copy(path, f"{kept}.db")
    if not folded:
        kept.rename(f"{path}-wal")
        Path(f"{kept}.db").rename(path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    (tmp_path / "state").mkdir()
    with FaultyDisk(tmp_path / "control", tmp_path / "state") as made:
        yield made


def started(disk: FaultyDisk, path: Path, python: str = "this") -> Any:
    done = subprocess.run(
        [sys.executable, "-c", START, str(path), python], env={**os.environ, **disk.environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("bad", ["first page", "a table", "the log", "a table, Python 3.10"])
async def test_a_bad_sector_is_damage_and_inspection_goes_on(disk: FaultyDisk, bad: str) -> None:
    path = disk.folder / "ledger.db"
    await written(path, folded=bad != "the log")
    if bad == "the log":
        disk.bad_sectors(Path(f"{path}-wal"), 4096)
    elif bad == "first page":
        disk.bad_sectors(path, 0)
    else:
        (root,) = query(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'part_by_id'")[0]
        disk.bad_sectors(path, (int(str(root)) - 1) * 4096)
    found = started(disk, path, "3.10" if bad.endswith("3.10") else "this")
    assert disk.unread > 0 and found.get("fault") is None
    assert found["damaged"].startswith("ledger-damaged-") and found["seq"] > 300
    assert found["known"] is (bad != "first page"), "what could be read was saved"
    kept, counted = recount(path)
    assert kept == counted and kept["total"] == {"first page": 1, "the log": 101}.get(bad, 301)


async def test_a_full_disk_moves_no_good_ledger_aside(disk: FaultyDisk) -> None:
    path = disk.folder / "ledger.db"
    await written(path, folded=True)
    disk.full = True
    started(disk, path)
    disk.full = False
    assert list(disk.folder.glob("ledger-damaged-*")) == [] and disk.refused > 0
    assert started(disk, path)["damaged"] is None


@pytest.mark.parametrize("name", ["SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMOPEN", "none"])
async def test_an_error_that_is_not_of_reading_says_nothing_about_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "ledger.db"
    await written(path, folded=True)
    error = sqlite3.OperationalError("disk I/O error")
    if name != "none":
        error.sqlite_errorcode = getattr(sqlite3, name, 10 | 3 << 8)

    def broken(_: Path) -> sqlite3.Connection:
        raise error

    monkeypatch.setattr(opening, "_connect", broken)
    with pytest.raises(StorageFault, match="disk I/O error"):
        opening.open_ledger(path)
    assert path.is_file() and list(tmp_path.glob("ledger-damaged-*")) == []
