"""The Pictures screen: charts of the real desk over the real protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inspector.tui.health import health_from_json, patches
from inspector.tui.screens.pictures import PicturesScreen
from inspector.tui.trend import trend
from inspector.tui.widgets.pictures import between, change, quantity
from inspector.tui.words import CP437
from tests.screens import samples
from tests.screens.conftest import attached, check_snapshot, until
from tests.screens.feed import Feed
from tools.screenshots.cells import cells, text

SMALL, LARGE = (80, 24), (160, 48)
BOOKS = {"announced": 4812, "settled": 4808, "failed": 3, "unannounced": 1, "open": 0, "cameras": {}}
HOT = {
    **samples.CAMERA, "temperature_c": 71.3, "strays": {"late": 2, "doubled": 11},
    "settings": {"checked_utc": "2026-11-22T09:59:48.000Z", "changed": "top: ExposureTime found 500, wanted 1000"},
}  # fmt: skip
LOST = {**samples.CAMERA, "fresh": False, "temperature_c": None, "settings": {"checked_utc": "", "changed": ""}}
FADING = samples.health(900, 8e-5)
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], str, bool]] = {
    "pictures-80x24": (samples.health(), SMALL, "p", False),
    "pictures-160x48": (samples.health(900, 8e-5, 4), LARGE, "4", False),
    "pictures-80x24-plain": (samples.health(), SMALL, "4", True),
    "pictures-fading-80x24": (FADING, SMALL, "4", False),
    "pictures-warming-80x24": (samples.health(260, warming=2e-4), SMALL, "4", False),
    "pictures-learning-80x24": (samples.health(37), SMALL, "4", False),
    "pictures-position-80x24": (samples.health(), SMALL, "4 down", False),
    "pictures-many-80x24": (
        samples.health(260, 0.0, 9, cameras={"top": HOT, "side": LOST, "back": LOST}), SMALL, "4 down down down",
        False),
    "pictures-wired-80x24": (samples.health(260, cameras={"top": HOT}, books=BOOKS), SMALL, "4", False),
    "pictures-none-80x24": (samples.health(0, cameras={}), SMALL, "4", False),
}  # fmt: skip


async def shown(pilot: Any) -> None:
    """The charts are there and painted."""
    app = pilot.app
    await until(pilot, lambda: isinstance(app.screen, PicturesScreen) and app.screen.health is not None, "charts")
    await pilot.pause(0.05)


@pytest.mark.parametrize("name", CASES)
async def test_each_screen_is_as_recorded(feed: Feed, name: str) -> None:
    feed.health, size, keys, plain = CASES[name]
    feed.say(samples.status(samples.good(), alarms=samples.alarms_of(feed.health)))
    async with attached(feed.path, size, plain) as pilot:
        first, *others = keys.split()
        await pilot.press(first)
        await shown(pilot)
        await pilot.press(*others)
        await pilot.pause(0.05)
        found = text(pilot.app)
        assert set(found) - CP437 <= {"\n"}, "a glyph that a Linux console does not have"
        assert {strip.cell_length for strip in cells(pilot.app)} == {size[0]}
        check_snapshot(name, found)


async def test_the_cause_is_said_whole_and_follows_the_station(feed: Feed) -> None:
    feed.health = samples.health()
    async with attached(feed.path) as pilot:
        await pilot.press("4")
        await shown(pilot)
        assert "all as learned" in text(pilot.app) and "too low" not in text(pilot.app)
        feed.health = FADING
        await until(pilot, lambda: "less light" in text(pilot.app), "waited for the cause")
        words = " ".join(text(pilot.app).split())
        assert "the lamp ages, or the exposure was lowered" in words and "clean or replace the lamp" in words
        assert words.count("too low") == 2, "brightness and contrast"
        assert "lamp ages" not in text(pilot.app).splitlines()[0]


async def test_choosing_stays_within_the_list_and_with_its_patch(feed: Feed) -> None:
    feed.health = samples.health(220, 0.0, 3)
    async with attached(feed.path) as pilot:
        await pilot.press("p")
        await shown(pilot)
        await pilot.press("up", "down")
        assert " ► patch_2" in text(pilot.app)
        await pilot.press(*["down"] * 6)
        assert " ► position" in text(pilot.app) and "612" in text(pilot.app)
        feed.health = samples.health(220, 0.0, 5)
        await until(pilot, lambda: "patch_5" in text(pilot.app), "waited for more patches")
        assert " ► position" in text(pilot.app)


async def test_learning_anew_wants_two_presses(feed: Feed) -> None:
    feed.health = samples.health(220)
    async with attached(feed.path) as pilot:
        await pilot.press("4")
        await shown(pilot)
        await pilot.press("n")
        await until(pilot, lambda: "n again" in text(pilot.app), "waited for the question")
        assert feed.relearned == 0
        await pilot.press("n")
        await until(pilot, lambda: feed.relearned == 1, "waited for the order")
        await until(pilot, lambda: "Learning anew" in text(pilot.app), "waited for the answer")
        feed.relearn_code = 409
        await pilot.press("n", "n")
        await until(pilot, lambda: "NOT learned anew: no part has come yet" in text(pilot.app), "waited for the no")
        assert feed.relearned == 1


async def test_a_single_press_is_forgotten(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.tui.screens.pictures.SURE_S", 0.0)
    feed.health = samples.health(220)
    async with attached(feed.path) as pilot:
        await pilot.press("4")
        await shown(pilot)
        await pilot.press("n", "n", "n")
        await pilot.pause(0.1)
        assert feed.relearned == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "this station is too old to tell"),
        ("no json", "cannot read it"),
        ({**samples.health(0), "schema": "2.0"}, "reads 1.x"),
        ({**samples.health(0), "charts": [{"what": 1}]}, "cannot read it"),
    ],
)
async def test_what_cannot_be_shown_is_said(feed: Feed, answer: Any, words: str) -> None:
    feed.health = answer
    async with attached(feed.path) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: words in text(pilot.app), "waited for the reason")


@pytest.mark.parametrize("size", [SMALL, (131, 39), LARGE])
async def test_nothing_a_station_says_breaks_the_screen(feed: Feed, size: tuple[int, int]) -> None:
    long = "尺寸 ✗ \x1b[31mred\x07 [bold]long[/] "
    chart = {"view": long, "patch": long * 3, "what": "brightness", "unit": long, "state": "high", "learned": 200,
             "series": [1e300, None, -1e12] * 40, "centre": 0.0, "level": 1e300, "lower": -1e-300, "upper": 1e-300,
             "average": 0.0, "average_lower": -1e-300, "average_upper": 1e-300}  # fmt: skip
    bare = {"view": "", "patch": "", "what": "smell", "unit": "", "state": "low", "learned": 0}
    cause = {"alarm": "health:x", "text": long * 20, "action": long * 20, "since_utc": "yesterday", "part_id": "?"}
    feed.health = samples.health(
        0, charts=[chart, bare, {**chart, "what": "x"}], causes=[cause, cause],
        cameras={long * n: {**HOT, "strays": {long: 10**12}} for n in range(1, 5)}, books=BOOKS,
    )  # fmt: skip
    async with attached(feed.path, size) as pilot:
        await pilot.press("4")
        await shown(pilot)
        for key in ("down", "down", "down", "up", "n"):
            await pilot.press(key)
            found = text(pilot.app)
            assert {strip.cell_length for strip in cells(pilot.app)} == {size[0]}
            assert set(found) - CP437 <= {"\n"} and "PICTURES" in found


async def test_charts_are_asked_for_only_where_they_are_shown(feed: Feed) -> None:
    feed.health = samples.health(10)
    async with attached(feed.path) as pilot:
        await pilot.pause(0.3)
        assert feed.health_asked == 0
        await pilot.press("4")
        await shown(pilot)
        assert feed.health_asked == 1
        await pilot.press("1")
        await pilot.pause(0.2)
        assert feed.health_asked == 1 and "part P00" in text(pilot.app)


def test_a_course_in_one_row() -> None:
    limits = (10.0, 40.0)
    assert trend([5.0, 15.0, 25.0, 35.0, 45.0], limits, (None, None), 8) == "   ↓▄─▀↑"
    assert trend([25.0, None, 25.0], limits, limits, 3) == "─ ─"
    assert trend([25.0] * 20 + [45.0] * 10, (0.0, 100.0), limits, 3) == "──↑", "means have narrower limits"
    assert trend([1.0, 2.0], (None, None), (None, None), 4) == "  ··"
    assert trend([], limits, limits, 4) == "    " and trend([1.0], limits, limits, 0) == ""
    assert len(trend([25.0] * 501, limits, limits, 26)) == 26


def test_what_is_out_is_never_drawn_inside_and_never_the_other_way_round() -> None:
    health = health_from_json(json.dumps(FADING))
    charts = {chart.what: chart for chart in patches(health)[0].charts}
    assert between(charts["brightness"])[0].startswith("■├") and charts["brightness"].state == "low"
    assert "┤■" not in between(charts["sharpness"])[0] and "■├" not in between(charts["sharpness"])[0]
    assert change(charts["brightness"]).startswith("-") and change(charts["brightness"]).endswith("%")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(None, "px", "-"), (0.0, "share", "0.00 %"), (0.0041, "", "0.00410"), (151.26, "grey", "151.3 grey"),
     (2.2, "grey", "2.20 grey"), (-0.4, "deg", "-0.400 deg"), (0.0, "", "0.00")],
)  # fmt: skip
def test_figures(value: float | None, unit: str, words: str) -> None:
    assert quantity(value, unit) == words
