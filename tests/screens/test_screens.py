"""The screens, driven by keys over the real protocol, compared with text that a person can read in a diff."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.tui.words import CP437
from tests.screens import samples
from tests.screens.conftest import attached, check_snapshot, settled, until
from tests.screens.feed import Feed
from tools.screenshots.cells import cells, text

SMALL, LARGE = (80, 24), (160, 48)
LOST = {**samples.status()["links"], "camera top": {"state": "lost", "since_s": 12.4, "text": "no device"}}
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], str, bool]] = {
    "pass-80x24": (samples.status(samples.good()), SMALL, "", False),
    "reject-80x24": (samples.status(samples.bad(), alarms=samples.ALARMS), SMALL, "", False),
    "not-inspected-80x24": (samples.status(samples.doubtful(), links=LOST), SMALL, "", False),
    "not-ready-80x24": (
        samples.status(samples.good(), ready=False, state="SUSPENDED", code=200, text="Camera top is lost", links=LOST),
        SMALL, "", False),
    "stopped-80x24": (samples.status(samples.bad(), ready=False, state="STOPPED"), SMALL, "", False),
    "no-part-yet-80x24": (samples.odd("no part yet"), SMALL, "", False),
    "reject-160x48": (samples.status(samples.bad(), alarms=samples.ALARMS), LARGE, "", False),
    "pass-160x48": (samples.status(samples.good()), LARGE, "", False),
    "reject-110x30": (samples.status(samples.bad()), (110, 30), "", False),
    "reject-80x24-plain": (samples.status(samples.bad(), alarms=samples.ALARMS), SMALL, "", True),
    "reject-160x48-plain": (samples.status(samples.bad()), LARGE, "", True),
    "alarms-80x24": (samples.status(samples.bad(), alarms=samples.ALARMS), SMALL, "2", False),
    "alarms-none-80x24": (samples.status(samples.good()), SMALL, "2", False),
    "alarms-160x48": (samples.status(samples.bad(), alarms=samples.ALARMS), LARGE, "2 down", False),
    "alarms-long-80x24": (samples.odd("a long alarm"), SMALL, "2", False),
    "keys-80x24": (samples.status(samples.good()), SMALL, "question_mark", False),
    "too-small-79x24": (samples.status(samples.good()), (79, 24), "", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_each_screen_is_as_recorded(feed: Feed, name: str) -> None:
    status, size, keys, plain = CASES[name]
    feed.say(status)
    async with attached(feed.path, size, plain) as pilot:
        await pilot.press(*keys.split())
        await settled(pilot)
        check_snapshot(name, text(pilot.app))


@pytest.mark.parametrize("size", [SMALL, (131, 39), LARGE])
@pytest.mark.parametrize("kind", samples.ODD)
async def test_nothing_a_station_says_breaks_a_screen(feed: Feed, kind: str, size: tuple[int, int]) -> None:
    feed.say(samples.odd(kind))
    async with attached(feed.path, size) as pilot:
        for key in ("1", "2", "down", "3", "right", "4", "down", "question_mark"):
            await pilot.press(key)
            shown = text(pilot.app)
            strips = cells(pilot.app)
            assert {strip.cell_length for strip in strips} == {size[0]}
            assert len(strips) == size[1]
            assert set(shown) - CP437 <= {"\n"}, "a glyph that a Linux console does not have"
            assert "TOP VIEW" in shown or kind == "long names", "the status line stays in its place"
            assert shown.splitlines()[-1].startswith((" 1 Run", " Esc back")), "the keys stay in their place"


async def test_every_size_down_to_nothing_is_drawn(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
    async with attached(feed.path, LARGE) as pilot:
        for size in (
            (81, 25),
            (80, 24),
            (80, 23),
            (79, 24),
            (40, 10),
            (10, 2),
            (1, 1),
            (300, 24),
            (80, 100),
            (132, 40),
            (240, 70),
        ):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
            shown = text(pilot.app)
            if size[0] >= 80 and size[1] >= 24:
                assert "6.081 mm" in shown
            else:
                assert shown.strip() == " 80x24 is the smallest window for this screen"[: size[0]].strip()
                assert len(shown.split()) <= 8


async def test_keys_move_between_screens_and_back(feed: Feed) -> None:
    async with attached(feed.path) as pilot:
        for key, title in (("2", " ALARMS"), ("question_mark", " KEYS"), ("2", " ALARMS"), ("2", " ALARMS"),
                           ("3", " REJECT"), ("r", " REJECT"), ("4", " PICTURES"), ("p", " PICTURES"),
                           ("escape", " part P00"), ("escape", " part P00"), ("question_mark", " KEYS"),
                           ("1", " part P00")):  # fmt: skip
            await pilot.press(key)
            await pilot.pause(0.05)
            assert title in text(pilot.app)
        assert len(pilot.app.screen_stack) == 1, "screens do not pile up"


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_leaving_asks_nothing(feed: Feed, key: str) -> None:
    async with attached(feed.path) as pilot:
        await pilot.press("2", key)
        await pilot.pause(0.05)
        assert not pilot.app.is_running or pilot.app._exit
    assert pilot.app.return_code == 0


@pytest.mark.parametrize("key", ["ctrl+q", "ctrl+s", "ctrl+p", "x", "tab", "enter"])
async def test_other_keys_do_nothing(feed: Feed, key: str) -> None:
    async with attached(feed.path) as pilot:
        before = text(pilot.app)
        await pilot.press(key)
        await pilot.pause(0.05)
        assert pilot.app.is_running and text(pilot.app) == before


async def test_the_shown_part_follows_the_station(feed: Feed) -> None:
    async with attached(feed.path) as pilot:
        assert "All 6 checks in order" in text(pilot.app)
        feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
        await until(pilot, lambda: "► bore_left" in text(pilot.app), "waited for the reject")
        assert "Same reject 3 in a row" in text(pilot.app)
        feed.say(samples.status(samples.good(), alarms=[]))
        await until(pilot, lambda: "► bore_left" not in text(pilot.app), "waited for the pass")


async def test_grey_is_normal_and_colour_is_not(feed: Feed) -> None:
    def colours() -> set[str]:
        found = set()
        for strip in cells(pilot.app):
            for segment in strip:
                if segment.style and segment.style.color and segment.text.strip() and "▀" not in segment.text:
                    red, green, blue = segment.style.color.get_truecolor()
                    if max(red, green, blue) - min(red, green, blue) > 8:
                        found.add(segment.text.strip())
        return found

    calm = [p for p in samples.recent() if p["outcome"] != "NOT_INSPECTED"]
    feed.say(samples.status(samples.bad(), recent=calm))
    async with attached(feed.path, LARGE) as pilot:
        assert colours() == set(), "a reject is this machine's normal work"
        feed.say(samples.status(samples.bad(), recent=calm, alarms=samples.ALARMS))
        await until(pilot, lambda: "UNACK" in text(pilot.app), "waited for the alarm")
        assert colours() and all(part[0] in "123" for part in colours())


async def test_reject_is_a_bright_slab_and_pass_is_plain(feed: Feed) -> None:
    def slab() -> int:
        return sum(len(s.text) for strip in cells(pilot.app) for s in strip if s.style and s.style.reverse)

    async with attached(feed.path) as pilot:
        assert slab() == 0
        feed.say(samples.status(samples.bad()))
        await until(pilot, lambda: "► bore_left" in text(pilot.app), "waited for the reject")
        assert slab() == 39 * 6


async def test_plain_uses_the_terminals_own_sixteen_colours_and_asks_for_no_picture(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
    async with attached(feed.path, plain=True) as pilot:
        styles = [s.style for strip in cells(pilot.app) for s in strip if s.style and s.style.color]
        assert {style.color.type.name for style in styles if style.color} <= {"STANDARD", "DEFAULT"}
        assert feed.asked == []
