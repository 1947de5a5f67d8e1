"""Which pictures are kept and which are dropped first, against the real archive process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.parts import FrameRef, Verdict
from inspector.ring import Ring
from inspector.station.archiving import PREVIEWS_BOUND, ArchiveDesk
from inspector.station.leases import Lease
from tests.archive.test_process import verdict
from tests.station.test_small import frame

ALL = {"PASS": 1, "FAIL": 1, "NOT_INSPECTED": 1}


class Desk:
    def __init__(self, folder: Path, bound: int) -> None:
        (folder / "previews").mkdir(exist_ok=True)
        self.ring = Ring.create(folder / "ring", 16, 64 * 64)
        self.stored: list[int] = []
        self.shown: list[int] = []
        self.troubles: list[tuple[str, str | None]] = []
        self.back: list[int] = []
        self.desk = ArchiveDesk(
            folder=folder / "pictures", previews=folder / "previews", budget_mb=10, min_free_mb=1, bound=bound,
            stored=lambda seq, path: self.stored.append(seq), shown=self.shown.append,
            trouble=lambda name, detail: self.troubles.append((name, detail)),
        )  # fmt: skip

    def keep(self, seq: int, outcome: str = "PASS", policy: dict[str, int] = ALL) -> None:
        slot = seq % 16
        generation = self.ring.write(slot, np.full((64, 64), 90, np.uint8))
        ref = FrameRef("top", 1, str(self.ring.path), slot, generation, 64, 64, "Mono8", 1.0, 0.0, 1, 1, 2)
        lease = Lease((ref,), lambda _: self.back.append(seq))
        one: Verdict = verdict(outcome, ref, seq)
        self.desk.keep(one, lease, policy)
        lease.drop()


async def until(condition: Callable[[], Any]) -> None:
    end = asyncio.get_running_loop().time() + 15
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


@asynccontextmanager
async def archiving(folder: Path, bound: int = 3, *, start: bool = True) -> AsyncIterator[Desk]:
    made = Desk(folder, bound)
    if start:
        made.desk.start()
    try:
        yield made
    finally:
        await made.desk.child.stop(1.0)
        made.ring.close()


@pytest.fixture(autouse=True)
def every_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts come faster here than previews are made for eyes."""
    monkeypatch.setattr("inspector.station.archiving.PREVIEW_EVERY_S", 0.0)


async def test_no_more_previews_than_an_eye_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.station.archiving.PREVIEW_EVERY_S", 60.0)
    async with archiving(tmp_path) as made:
        for seq in (1, 2, 3):
            made.keep(seq, policy={"PASS": 0})
        made.keep(4, "FAIL")
        await until(lambda: made.desk.depth == 0)
        assert made.shown == [1, 4] and made.stored == [4] and sorted(made.back) == [1, 2, 3, 4]
        assert made.desk.dropped == 0


async def test_kept_shown_and_given_back(tmp_path: Path) -> None:
    async with archiving(tmp_path) as made:
        made.keep(1, "FAIL")
        await until(lambda: made.desk.depth == 0)
        assert (made.stored, made.shown, made.back) == ([1], [1], [1])
        path, scale = made.desk.preview(1) or (None, 0)
        assert path is not None and path.is_file() and scale == 1.0
        assert made.desk.preview(2) is None and made.desk.used_bytes > 0 and made.desk.free_bytes > 0
        made.desk.keep(verdict("PASS", frame()), None, ALL)
        assert made.desk.depth == 0  # a part without a picture


async def test_the_policy_keeps_one_in_n_passes_and_none_at_0(tmp_path: Path) -> None:
    async with archiving(tmp_path) as made:
        for seq in range(1, 10):
            made.keep(seq, policy={"PASS": 3, "FAIL": 0})
            await until(lambda: made.desk.depth == 0)
        made.keep(10, "FAIL", policy={"PASS": 3, "FAIL": 0})
        made.keep(11, "NOT_INSPECTED", policy={"PASS": 3, "FAIL": 0})
        await until(lambda: made.desk.depth == 0)
        assert made.stored == [3, 6, 9, 11] and made.shown == list(range(1, 12))
        assert made.desk.dropped == 0


async def test_previews_go_first_then_passes_and_never_a_slot_is_kept(tmp_path: Path) -> None:
    async with archiving(tmp_path, bound=3, start=False) as made:
        made.keep(1)
        made.keep(2, policy={"PASS": 0})
        made.keep(3, "FAIL")
        made.keep(4, "FAIL")  # the preview of 2 goes
        assert made.back == [2] and made.desk.dropped == 0
        made.keep(5, "FAIL")  # the pass
        assert made.back == [2, 1] and made.desk.dropped == 1
        made.keep(6, "FAIL")  # nothing here matters less
        made.keep(7)
        assert made.back == [2, 1, 6, 7] and made.desk.dropped == 3
        assert [n for n, d in made.troubles if d] == ["archive"] * 3
        made.desk.start()
        await until(lambda: made.desk.depth == 0)
        assert made.stored == [3, 4, 5] and sorted(made.back) == [1, 2, 3, 4, 5, 6, 7]
        assert made.troubles[-1] == ("archive", None)
        await made.desk.finish(1.0)


async def test_a_picture_that_kills_the_archive_is_dropped_and_the_next_kept(tmp_path: Path) -> None:
    async with archiving(tmp_path) as made:
        await until(lambda: made.desk.child.rss_bytes)
        assert made.desk.child.pid is not None
        os.kill(made.desk.child.pid, signal.SIGSTOP)
        made.keep(1, "FAIL")
        made.keep(2, "FAIL")
        os.kill(made.desk.child.pid, signal.SIGKILL)
        await until(lambda: made.stored == [2])
        assert made.desk.dropped == 1 and sorted(made.back) == [1, 2]


async def test_previews_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PREVIEWS_BOUND <= 1000
    monkeypatch.setattr("inspector.station.archiving.PREVIEWS_BOUND", 2)
    async with archiving(tmp_path) as made:
        for seq in (1, 2, 3):
            made.keep(seq)
            await until(lambda: made.desk.depth == 0)
        assert made.desk.preview(1) is None and made.desk.preview(3) is not None
        assert len(list((tmp_path / "previews").glob("*.png"))) == 2


async def test_a_picture_that_was_overwritten_is_counted_and_no_disk_alarm(tmp_path: Path) -> None:
    async with archiving(tmp_path, start=False) as made:
        made.keep(1, "FAIL")
        made.ring.write(1, np.zeros((64, 64), np.uint8))
        made.desk.start()
        await until(lambda: made.desk.depth == 0)
        assert made.stored == [] and made.desk.dropped == 1 and made.back == [1]
        assert ("disk", None) in made.troubles and not any(n == "disk" and d for n, d in made.troubles)
