"""No station, a station that dies, hangs, talks nonsense: said within seconds, and over as soon as it is over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from inspector.tui.app import Terminal
from inspector.tui.words import CP437
from tests.screens import samples
from tests.screens.conftest import attached, check_snapshot, until
from tests.screens.feed import Feed
from tools.screenshots.cells import text

GONE = "THE STATION IS NOT THERE"


async def test_it_says_so_at_the_start_and_goes_on_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = Terminal(Path("feed.sock"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: GONE in text(app), "waited for the page")
        check_snapshot("absent-80x24", text(app))
        for key in ("1", "2", "question_mark", "a", "escape"):
            await pilot.press(key)
            await pilot.pause(0.02)
            assert GONE in text(app), "no key leads to a screen that would look alive"
        for size in ((160, 48), (40, 8), (1, 1)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
            assert set(text(app)) - CP437 <= {"\n"}
        await pilot.resize_terminal(80, 24)
        feed = Feed(Path("feed.sock"), samples.status(samples.good())).start()
        try:
            await until(pilot, lambda: "All 6 checks" in text(app), "waited for the station")
        finally:
            feed.stop()


async def test_a_dead_station_is_noticed_and_its_return_too(feed: Feed) -> None:
    async with attached(feed.path) as pilot:
        await pilot.press("2")
        for _ in range(2):
            feed.stop()
            await until(pilot, lambda: GONE in text(pilot.app), "waited for the page")
            assert "part P004812, PASS" in text(pilot.app), "what was seen last"
            feed.start()
            await until(pilot, lambda: " ALARMS" in text(pilot.app), "waited to be back where we were")
        assert len(pilot.app.screen_stack) == 2


@pytest.mark.parametrize("chatter", [False, True], ids=["silent", "comments only"])
async def test_a_feed_without_news_never_looks_alive(feed: Feed, chatter: bool) -> None:
    async with attached(feed.path) as pilot:
        assert "10:00:00" in text(pilot.app)
        feed.chatter, feed.mute = chatter, True
        await until(pilot, lambda: " s old" in text(pilot.app), "the age of what is shown is counted")
        await until(pilot, lambda: GONE in text(pilot.app), "waited for the page")
        feed.mute = False
        await until(pilot, lambda: "10:00:00" in text(pilot.app), "waited for the station")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("not json", "cannot read"),
        ({**samples.status(), "ready": "perhaps"}, "ready"),
        ({**samples.status(), "schema": "2.0"}, "this terminal reads 1.x"),
        ({k: v for k, v in samples.status().items() if k != "counters"}, "counters"),
    ],
)
async def test_a_station_that_cannot_be_understood_is_said(feed: Feed, said: object, words: str) -> None:
    async with attached(feed.path) as pilot:
        feed.say(said)
        await until(pilot, lambda: GONE in text(pilot.app), "waited for the page")
        flat = " ".join(text(pilot.app).split())
        assert words in flat
        feed.say(samples.status(samples.good()))
        await until(pilot, lambda: "All 6 checks" in text(pilot.app), "waited for the station")


async def test_fields_of_a_newer_station_are_ignored(feed: Feed) -> None:
    feed.say({**samples.status(samples.good()), "schema": "1.7", "tomorrow": {"a": 1}})
    async with attached(feed.path) as pilot:
        assert "All 6 checks" in text(pilot.app)


@pytest.mark.parametrize(
    ("body", "words"),
    [('{"error": "16 screens are attached"}', "16 screens are attached"), ("<html>", "no reason given")],
)
async def test_a_feed_that_refuses_says_why(feed: Feed, body: str, words: str) -> None:
    feed.refusal = body
    app = Terminal(feed.path)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: f"503: {words}" in text(app), "waited for the reason")
        await pilot.press("a")


async def test_a_socket_nobody_listens_on_and_one_we_may_not_open(tmp_path: Path) -> None:
    path = tmp_path / "feed.sock"
    feed = Feed(path, samples.status()).start()
    os.link(path, tmp_path / "left.sock")
    feed.stop()
    app = Terminal(tmp_path / "left.sock")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Nobody answers" in text(app), "waited for the reason")
    if os.geteuid() != 0:
        (tmp_path / "left.sock").chmod(stat.S_IRUSR)
        app = Terminal(tmp_path / "left.sock")
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "may not open" in text(app), "waited for the reason")
