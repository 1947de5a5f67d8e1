"""What is recorded of a real process, and what a disk may make of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tools.faulty_disk import FaultyDisk
from tools.faulty_disk.log import LogError, Marker, Operation, Record, read
from tools.faulty_disk.replay import Cut, Disk

PROGRAM = """
import os, sys
from pathlib import Path
os.chdir(sys.argv[1])
with open("a", "wb") as file:
    file.write(b"first")
    file.flush()
    os.fsync(file.fileno())
    file.seek(100)
    file.write(b"second")
    file.flush()
    file.truncate(104)
os.rename("a", "b")
Path("c").write_bytes(b"gone")
os.unlink("c")
folder = os.open(".", os.O_RDONLY)
os.fsync(folder)
Path(sys.argv[2]).write_bytes(b"elsewhere")
"""


def test_what_a_process_does_to_the_disk_is_recorded(tmp_path: Path) -> None:
    folder, log = tmp_path / "state", tmp_path / "log"
    folder.mkdir()
    with FaultyDisk(tmp_path / "control", folder) as disk:
        disk.record_to(log)
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), str(tmp_path / "other")],
            env={**os.environ, **disk.environment},
            check=True,
            timeout=20,
        )
        assert disk.unrecorded == 0
    marker = Marker(log)
    marker.put(b"end")
    marker.close()
    records = list(read(log))
    kinds = [r.operation.name for r in records]
    assert kinds == [
        "CREATE", "WRITE", "SYNC_BEGIN", "SYNC_END", "WRITE", "TRUNCATE", "RENAME", "CREATE", "WRITE", "UNLINK",
        "FOLDER_SYNC", "MARKER",
    ]  # fmt: skip
    assert (records[6].name, records[6].data, records[-1].data) == ("a", b"b", b"end")
    replayed = Disk()
    for record in records:
        replayed.apply(record)
    everything = replayed.cut(random.Random(1), Cut.EVERYTHING)
    assert everything == {name.name: name.read_bytes() for name in folder.iterdir()} != {}
    assert replayed.cut(random.Random(1), Cut.NOTHING) == {"b": b"first"}


def test_a_log_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    marker = Marker(log)
    marker.put(b"words")
    marker.close()
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.raises(LogError):
        list(read(log))


def _do(disk: Disk, operation: Operation, offset: int = 0, data: bytes = b"", inode: int = 7, name: str = "") -> None:
    disk.apply(Record(operation, inode, offset, 0, name, data))


def _begun() -> Disk:
    disk = Disk()
    _do(disk, Operation.CREATE, name="f")
    _do(disk, Operation.FOLDER_SYNC)
    _do(disk, Operation.WRITE, 0, b"a" * 2048)
    _do(disk, Operation.SYNC_BEGIN, 1)
    _do(disk, Operation.WRITE, 0, b"b" * 2048)
    return disk


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    disk = _begun()
    assert disk.cut(random.Random(1), Cut.NOTHING) == {"f": b""}
    _do(disk, Operation.SYNC_END, 1)
    assert disk.cut(random.Random(1), Cut.NOTHING) == {"f": b"a" * 2048}
    _do(disk, Operation.SYNC_BEGIN, 2)
    _do(disk, Operation.SYNC_END, 2)
    for seed in range(50):
        assert disk.cut(random.Random(seed)) == {"f": b"b" * 2048}


def test_sectors_go_their_own_ways_and_tear() -> None:
    disk = _begun()
    _do(disk, Operation.SYNC_END, 1)
    seen, torn = set(), 0
    for seed in range(300):
        content = disk.cut(random.Random(seed), Cut.ANY_SECTOR)["f"]
        sectors = [content[i : i + 512] for i in range(0, 2048, 512)]
        assert len(content) == 2048 and all(s == b"b" * n + b"a" * (512 - n) for s in sectors for n in [s.count(b"b")])
        torn += any(0 < s.count(b"b") < 512 for s in sectors)
        seen.add(tuple(s[:1] for s in sectors))
    assert torn > 0 and len(seen) == 16


def test_what_needs_a_truncation_comes_only_after_it() -> None:
    disk = _begun()
    _do(disk, Operation.SYNC_END, 1)
    _do(disk, Operation.TRUNCATE, 0)
    _do(disk, Operation.WRITE, 0, b"c" * 512)
    seen = set()
    for seed in range(300):
        content = disk.cut(random.Random(seed))["f"]
        assert len(content) <= 512 or b"c" not in content
        seen.add(len(content))
    assert {0, 512, 2048} <= seen


def test_names_change_in_order_and_are_sure_after_a_sync_of_the_folder() -> None:
    disk = _begun()
    _do(disk, Operation.RENAME, data=b"g", inode=0, name="f")
    _do(disk, Operation.CREATE, inode=8, name="h")
    seen = {tuple(sorted(disk.cut(random.Random(seed)))) for seed in range(100)}
    assert seen == {("f",), ("g",), ("g", "h")}
    _do(disk, Operation.FOLDER_SYNC)
    assert {tuple(sorted(disk.cut(random.Random(seed)))) for seed in range(20)} == {("g", "h")}
