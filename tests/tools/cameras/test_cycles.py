"""The short form of each proof about cameras: it runs, and its promises hold."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from pathlib import Path

import pytest

from tools.cameras import cycles


def test_a_few_cycles_and_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    status = cycles.main(["--short"])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "Every promise held." in told and "| Silent: frames just stop | 1 |" in told


def test_other_descriptors_are_named_but_the_one_that_sqlite_keeps() -> None:
    before = cycles.Figures(behind={"station": Counter({"socket...": 3, "x/ledger.db": 2})})
    after = cycles.Figures(behind={"station": Counter({"socket...": 3, "x/ledger.db": 3})})
    assert after.other(before) == []
    after.behind["station"].update({"x/ledger.db": 1, "socket...": 1})
    assert after.other(before) == ["descriptors of the station: new {'socket...': 1, 'x/ledger.db': 1}, gone {}"]


def test_a_ring_that_is_only_mapped_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "ring-top-1-a"
    file.write_bytes(bytes(4096))
    with file.open("rb") as opened:
        held = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    file.unlink()
    assert f"{file} (deleted)" in set(cycles._mapped(os.getpid()))
    held.close()
    assert f"{file} (deleted)" not in set(cycles._mapped(os.getpid()))
