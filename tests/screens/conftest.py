from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from inspector.tui.app import Terminal
from tests.screens import samples
from tests.screens.feed import Feed
from tools.screenshots.cells import text

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = os.environ.get("UPDATE_SNAPSHOTS") == "1"


@pytest.fixture(autouse=True)
def _utc_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Screens show local times: here that is UTC everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """A running feed with a good part and pictures of all parts that samples speak of."""
    feed = Feed(tmp_path / "feed.sock", samples.status(samples.good()))
    feed.pictures = {seq: samples.picture() for seq in range(samples.SEQ - 160, samples.SEQ + 1)}
    feed.start()
    yield feed
    feed.stop()


async def until(pilot: Pilot[None], condition: Callable[[], bool], what: str, limit_s: float = 15.0) -> None:
    """Wait for something to become true; the limit is for a broken app, not a measure of a good one."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}, in vain:\n{text(pilot.app)}"
        await pilot.pause(0.02)


@asynccontextmanager
async def attached(socket: Path, size: tuple[int, int] = (80, 24), plain: bool = False) -> AsyncIterator[Pilot[None]]:
    """The real app on a feed, shown once."""
    app = Terminal(socket, plain)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.status is not None, "waited for the first status")
        await settled(pilot)
        yield pilot


async def settled(pilot: Pilot[None]) -> None:
    """Wait until the previews of the parts on the screen are there, then for the paint."""
    app = pilot.app
    assert isinstance(app, Terminal)
    last = app.status.last if app.status else None
    if last is not None and last.preview and not app.plain:
        seq = last.verdict.part.seq
        await until(pilot, lambda: seq in app.pictures, "waited for the picture")
        await until(pilot, lambda: len(app.pictures) >= min(len(app.link._wanted), 9), "waited for the rejects")
    await pilot.pause(0.05)


def check_snapshot(name: str, shown: str) -> None:
    """The screen is as recorded. ``UPDATE_SNAPSHOTS=1 pytest tests/screens`` records it anew."""
    shown = re.sub(r"Since \d\d:\d\d:\d\d, for +\d+ s", "Since hh:mm:ss, for   n s", shown)
    path = SNAPSHOTS / f"{name}.txt"
    if UPDATE:
        path.write_text(shown, encoding="utf-8")
    assert path.exists(), f"no snapshot {name}: record it with UPDATE_SNAPSHOTS=1"
    assert shown == path.read_text(encoding="utf-8")
