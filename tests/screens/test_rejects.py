"""The latest rejects: held on the screen, stepped through, each with its own picture."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.tui.app import Terminal
from tests.screens import samples
from tests.screens.conftest import attached, check_snapshot, until
from tests.screens.feed import Feed
from tools.screenshots.cells import text

REJECTS = [p["seq"] for p in reversed(samples.recent(60)) if p["outcome"] == "FAIL"]


def fill(feed: Feed) -> None:
    for seq in REJECTS:
        feed.parts[seq] = {**samples.judged(samples.bad(seq)), "picture": ""}


@pytest.mark.parametrize(("size", "plain"), [((80, 24), False), ((160, 48), False), ((80, 24), True)])
async def test_the_last_reject_is_one_key_away(feed: Feed, size: tuple[int, int], plain: bool) -> None:
    fill(feed)
    async with attached(feed.path, size, plain) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: "6.081 mm" in text(pilot.app), "waited for the reject")
        await until(pilot, lambda: plain or "▀▀▀" in text(pilot.app), "waited for its picture")
        check_snapshot(f"rejects-{size[0]}x{size[1]}{'-plain' if plain else ''}", text(pilot.app))


async def test_it_stays_while_the_line_goes_on_and_steps_on_request(feed: Feed) -> None:
    fill(feed)
    async with attached(feed.path) as pilot:
        await pilot.press("3")
        first = f"REJECT 1 of {len(REJECTS)}"
        await until(pilot, lambda: "6.081 mm" in text(pilot.app), "waited for the reject")
        assert first in text(pilot.app) and f"part P{REJECTS[0]:06d}" in text(pilot.app)
        newer = {**samples.recent(1)[0], "seq": samples.SEQ + 1, "part_id": "NEWER", "outcome": "FAIL", "code": 1110}
        feed.say(samples.status(samples.good(), recent=[*samples.recent(60), newer]))
        await until(pilot, lambda: f"REJECT 2 of {len(REJECTS) + 1}" in text(pilot.app), "waited for the newer one")
        assert f"part P{REJECTS[0]:06d}" in text(pilot.app), "the operator still reads this one"
        await pilot.press("right")
        await until(pilot, lambda: f"part P{REJECTS[1]:06d}" in text(pilot.app), "waited for the older one")
        await pilot.press("left", "left", "left")
        await until(pilot, lambda: "part NEWER" in text(pilot.app), "waited for the newest one")
        await until(pilot, lambda: "no verdict: no such verdict" in text(pilot.app), "waited for the reason")
        assert "6.081 mm" not in text(pilot.app), "never another part's checks"


@pytest.mark.parametrize(
    ("answer", "words"), [("no json", "cannot read it"), ({"verdict": 1, "t_ms": 1, "late": False}, "cannot read it")]
)
async def test_a_verdict_that_cannot_be_read_is_said(feed: Feed, answer: Any, words: str) -> None:
    feed.parts[REJECTS[0]] = answer
    async with attached(feed.path) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: words in text(pilot.app), "waited for the reason")


async def test_no_rejects_and_forgotten_ones(feed: Feed) -> None:
    fill(feed)
    feed.say(samples.status(samples.good(), recent=[]))
    async with attached(feed.path) as pilot:
        app = pilot.app
        assert isinstance(app, Terminal)
        await pilot.press("3", "left", "right")
        assert "none among the recent parts" in text(app)
        feed.say(samples.status(samples.good()))
        await until(pilot, lambda: "6.081 mm" in text(app), "waited for the reject")
        feed.say(samples.status(samples.good(), recent=[]))
        await until(pilot, lambda: "none among" in text(app), "a part no longer known is let go")
        assert "6.081 mm" not in text(app)
