"""The short form of each proof about cameras: it runs, and its promises hold."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from tools.cameras import cycles


def test_a_few_cycles_and_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    status = cycles.main(["--short"])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "Every promise held." in told and "| Silent: frames just stop | 1 |" in told


def test_a_ring_that_is_only_mapped_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "ring-top-1-a"
    file.write_bytes(bytes(4096))
    with file.open("rb") as opened:
        held = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    file.unlink()
    assert f"{file} (deleted)" in set(cycles._mapped(os.getpid()))
    held.close()
    assert f"{file} (deleted)" not in set(cycles._mapped(os.getpid()))
