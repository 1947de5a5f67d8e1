"""The byte budget: oldest passes go first, rejects last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inspector.archive.retention import Retention

KB = b"x" * 1000


def put(retention: Retention, rank: str, name: str, data: bytes = KB) -> str:
    why = retention.room(len(data), rank)
    if not why:
        retention.write(rank, name, data)
    return why


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.rglob("*") if p.is_file()}


def test_oldest_passes_go_first_and_rejects_last(tmp_path: Path) -> None:
    retention = Retention(tmp_path, 5000, 0)
    for rank, name in (("pass", "p1"), ("fail", "f1"), ("pass", "d/p2"), ("not_inspected", "n1"), ("fail", "f2")):
        assert put(retention, rank, name) == ""
    assert put(retention, "fail", "f3") == "" and names(tmp_path) == {"f1", "p2", "n1", "f2", "f3"}
    assert put(retention, "not_inspected", "n2") == "" and names(tmp_path) == {"f1", "n1", "f2", "f3", "n2"}
    assert put(retention, "not_inspected", "n3") == "" and names(tmp_path) == {"f1", "n2", "f2", "f3", "n3"}
    # a pass never pushes out what ranks higher
    assert "used up by rejects" in put(retention, "pass", "p3")
    for name in ("f4", "f5", "f6"):
        assert put(retention, "fail", name) == ""
    assert names(tmp_path) == {"f2", "f3", "f4", "f5", "f6"}
    assert retention.used_bytes == 5000 and retention.dropped == 6


def test_a_picture_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    retention = Retention(tmp_path, 2000, 0)
    assert "budget" in put(retention, "fail", "huge", KB * 3)
    assert put(retention, "fail", "small") == ""


def test_what_lies_there_is_known_at_the_start_oldest_first(tmp_path: Path) -> None:
    first = Retention(tmp_path, 10_000, 0)
    for n in range(3):
        put(first, "pass", f"p{n}")
        os.utime(tmp_path / "pass" / f"p{n}", (1000 - n, 1000 - n))
    (tmp_path / "pass" / "left.png.tmp").write_bytes(KB)  # of a crash in the middle of a write
    again = Retention(tmp_path, 3500, 0)
    assert again.used_bytes == 3000
    assert put(again, "pass", "new") == ""
    assert names(tmp_path) == {"p0", "p1", "new"}


def test_files_somebody_else_took_are_no_trouble(tmp_path: Path) -> None:
    retention = Retention(tmp_path, 2000, 0)
    put(retention, "pass", "a/p1")
    put(retention, "pass", "a/p2")
    shutil.rmtree(tmp_path / "pass" / "a")
    assert put(retention, "pass", "p3") == ""
    assert put(retention, "pass", "p4") == "" and names(tmp_path) == {"p3", "p4"}


def test_free_space_is_left(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    retention = Retention(tmp_path, 10_000, free * 2)
    assert "must stay free" in put(retention, "fail", "f1")
    assert names(tmp_path) == set()


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    retention = Retention(tmp_path, 10_000, 0)
    (tmp_path / "pass" / "taken").mkdir()
    with pytest.raises(OSError):
        retention.write("pass", "taken", KB)
    assert names(tmp_path) == set() and retention.used_bytes == 0


@pytest.mark.parametrize("rank", ["pass", "fail"])
def test_the_same_name_twice_counts_once(tmp_path: Path, rank: str) -> None:
    retention = Retention(tmp_path, 10_000, 0)
    for data in (KB, KB * 2):
        retention.write(rank, "same", data)
    assert retention.used_bytes == 2000 == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
