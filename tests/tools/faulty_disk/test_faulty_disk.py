"""The shim around a real process with a real SQLite file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.faulty_disk import FaultyDisk

WORK = """
import json, sqlite3, sys, threading, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE IF NOT EXISTS t(a)")
for line in sys.stdin:
    answer = {"now": time.time(), "sql": database.execute("SELECT unixepoch()").fetchone()[0]}
    lock = threading.Lock()
    lock.acquire()
    began = time.monotonic()
    try:
        database.execute("INSERT INTO t VALUES(zeroblob(?))", (int(line),))
    except sqlite3.Error as error:
        answer["error"] = error.sqlite_errorname if hasattr(error, "sqlite_errorname") else str(error)
    answer["write_s"] = time.monotonic() - began
    began = time.monotonic()
    lock.acquire(timeout=0.05)
    answer["waited_s"] = time.monotonic() - began
    print(json.dumps(answer), flush=True)
"""


class Writer:
    def __init__(self, disk: FaultyDisk, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, str(path)], env={**os.environ, **disk.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def write(self, size: int = 100) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.communicate(timeout=20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    (tmp_path / "state").mkdir()
    with FaultyDisk(tmp_path / "control", tmp_path / "state") as made:
        yield made


@pytest.fixture
def writer(disk: FaultyDisk) -> Iterator[Writer]:
    made = Writer(disk, disk.folder / "a.db")
    yield made
    made.close()


def test_a_sync_takes_as_long_as_is_said_and_no_longer(disk: FaultyDisk, writer: Writer) -> None:
    writer.write()
    before = disk.syncs
    assert before > 0 and disk.delayed == 0
    disk.sync_delay_ms = 150
    assert writer.write()["write_s"] >= 0.15
    assert disk.delayed == disk.syncs - before > 0
    disk.sync_delay_ms = 0
    writer.write()
    assert disk.delayed < disk.syncs - before


def test_only_the_folder_is_slow(disk: FaultyDisk, tmp_path: Path) -> None:
    disk.sync_delay_ms = 60_000
    elsewhere = Writer(disk, tmp_path / "b.db")
    elsewhere.write()
    elsewhere.close()
    assert disk.syncs == 0


def test_the_wall_clock_steps_and_waiting_does_not(disk: FaultyDisk, writer: Writer) -> None:
    for offset_s in (3600.0, -3600.0, 0.0):
        disk.clock_offset_s = offset_s
        answer = writer.write()
        assert abs(answer["now"] - time.time() - offset_s) < 60
        assert abs(answer["sql"] - time.time() - offset_s) < 60
        assert 0.05 <= answer["waited_s"] < 30
    assert disk.clock_offset_s == 0


def test_a_full_disk_takes_what_it_has_room_for(disk: FaultyDisk, writer: Writer) -> None:
    writer.write(200_000)
    disk.full = True
    assert "FULL" in writer.write(400_000)["error"].upper()
    assert disk.refused > 0
    disk.full = False
    assert "error" not in writer.write(400_000)


def test_a_wrong_control_file_ends_the_process(disk: FaultyDisk, tmp_path: Path) -> None:
    environment = {**os.environ, **disk.environment}
    for wrong in (tmp_path / "missing", Path(__file__)):
        environment["FAULTY_DISK_CONTROL"] = str(wrong)
        done = subprocess.run([sys.executable, "-c", ""], env=environment, capture_output=True, text=True, timeout=20)
        assert done.returncode == 127 and "faulty disk" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("sync_delay_ms", -1), ("sync_delay_ms", 10**9), ("clock_offset_s", float("nan"))]
)
def test_a_value_out_of_range_is_refused(disk: FaultyDisk, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        setattr(disk, name, value)
