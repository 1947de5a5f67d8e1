"""The link without a screen: where it looks, what it fetches, and that it keeps within its bounds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from textual.message import Message

from inspector.tui.app import Terminal
from inspector.tui.link import PICTURE_TRIES, Link, socket_paths
from inspector.tui.messages import PictureCame, StationGone, StatusCame
from inspector.tui.status import REJECTS, status_from_json
from tests.screens import samples
from tests.screens.conftest import attached, until
from tests.screens.feed import Feed
from tools.screenshots.cells import text


def test_where_the_feed_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INSPECTOR_FEED", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    assert socket_paths(None) == [Path("/run/inspector/feed.sock"), Path("var/run/feed.sock")]
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert socket_paths(None)[:2] == [Path("/run/a/feed.sock"), Path("/run/b/feed.sock")]
    monkeypatch.setenv("INSPECTOR_FEED", "/tmp/x.sock")
    assert socket_paths(None) == [Path("/tmp/x.sock")]
    assert socket_paths(Path("y.sock")) == [Path("y.sock")]


class Heard:
    """What a link posted."""

    def __init__(self, feed: Feed, pictures: bool = True) -> None:
        self.messages: list[Message] = []
        self.link = Link(self.messages.append, feed.path, pictures)

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]

    async def listen(self, condition: Callable[[], bool], what: str) -> None:
        task = asyncio.create_task(self.link.run())
        deadline = time.monotonic() + 15
        try:
            while not condition():
                assert not task.done() and time.monotonic() < deadline, f"waited for {what}: {self.messages}"
                await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_newest_picture_comes_first_then_those_of_the_rejects(feed: Feed) -> None:
    feed.say(samples.status(samples.good(), recent=samples.recent(150)))
    rejects = [p["seq"] for p in samples.recent(150) if p["outcome"] == "FAIL"]
    heard = Heard(feed)
    await heard.listen(lambda: len(heard.of(PictureCame)) == 1 + REJECTS, "the pictures")
    assert feed.asked == [samples.SEQ, *reversed(rejects[-REJECTS:])], "each once"


async def test_a_picture_that_is_not_there_yet_is_asked_for_again_but_not_for_ever(feed: Feed) -> None:
    class Written(dict[int, bytes]):
        """Pictures that are there when they are asked for the third time."""

        def __contains__(self, seq: object) -> bool:
            return len(feed.asked) >= 3 and super().__contains__(seq)

    feed.pictures = Written(feed.pictures)
    heard = Heard(feed)

    def ask() -> bool:
        feed.say({**samples.status(samples.good(), recent=[]), "state_nr": len(feed.asked)})
        return len(heard.of(PictureCame)) == 1

    await heard.listen(ask, "the picture")
    assert len(feed.asked) == 3
    feed.pictures = {}
    feed.asked.clear()
    heard = Heard(feed)
    said = [0]

    def ask_on() -> bool:
        said[0] += 1
        feed.say({**samples.status(samples.good(), recent=[]), "state_nr": said[0]})
        if len(feed.asked) < PICTURE_TRIES:
            heard.messages.clear()
        return len(heard.of(StatusCame)) > 3 * PICTURE_TRIES

    await heard.listen(ask_on, "many statuses")
    assert len(feed.asked) == PICTURE_TRIES


@pytest.mark.parametrize("data", [b"", b"no picture", samples.picture()[:200], b"\x89PNG\r\n\x1a\n" + b"\xff" * 99])
async def test_a_broken_picture_is_no_picture(feed: Feed, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    feed.pictures = {samples.SEQ: data}
    async with attached_to_last(feed) as pilot:
        await until(pilot, lambda: samples.SEQ in feed.asked, "waited for the request")
        await until(pilot, lambda: "no picture of this part" in text(pilot.app), "waited for the words")


@pytest.mark.parametrize("scale", ["", "-1", "nan", "many"])
async def test_a_picture_of_unknown_scale_is_no_picture(feed: Feed, scale: str) -> None:
    feed.scales = {samples.SEQ: scale}
    async with attached_to_last(feed) as pilot:
        await until(pilot, lambda: samples.SEQ in feed.asked, "waited for the request")
        await pilot.pause(0.1)
        assert "no picture of this part" in text(pilot.app)


def attached_to_last(feed: Feed):  # noqa: ANN201
    feed.say(samples.status(samples.good(), recent=[]))
    return Terminal(feed.path).run_test(size=(80, 24))


async def test_colour_pictures_are_shown(feed: Feed) -> None:
    feed.pictures = {samples.SEQ: samples.picture(colour=True)}
    feed.say(samples.status(samples.good(), recent=[]))
    async with attached(feed.path) as pilot:
        await until(pilot, lambda: text(pilot.app).count("▀") > 300, "waited for the picture")


async def test_an_acknowledgement_without_a_station_says_so(tmp_path: Path) -> None:
    assert "not there" in await Link(lambda message: None, tmp_path / "none.sock").acknowledge("a")


@pytest.mark.parametrize(
    ("status", "words"),
    [(samples.status(), "closed the connection"), ("no json", "cannot read"), ({"schema": 1}, "cannot read")],
)
async def test_why_the_station_is_gone_is_said_once_for_each_try(feed: Feed, status: object, words: str) -> None:
    feed.say(status)
    heard = Heard(feed)

    def gone() -> bool:
        if heard.of(StatusCame):
            feed._ends = True
        return bool(heard.of(StationGone))

    await heard.listen(gone, "the reason")
    first = heard.of(StationGone)[0]
    assert isinstance(first, StationGone) and words in first.why


async def test_back_off_grows_while_nobody_is_there(tmp_path: Path) -> None:
    messages: list[Message] = []
    task = asyncio.create_task(Link(messages.append, tmp_path / "none.sock").run())
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    waits = [message.retry_s for message in messages if isinstance(message, StationGone)]
    assert waits == sorted(waits) and len(set(waits)) == len(waits) >= 2


async def test_a_flood_is_few_repaints(feed: Feed) -> None:
    async with attached(feed.path) as pilot:
        app = pilot.app
        assert isinstance(app, Terminal)
        painted: list[int] = []
        shown = app._show
        app._show = lambda: (painted.append(1), shown())  # type: ignore[assignment,func-returns-value]
        feed.say(samples.status(samples.bad()))
        status = status_from_json(json.dumps(samples.status(samples.bad())))
        for _ in range(500):
            app.post_message(StatusCame(status))
        await until(pilot, lambda: "► bore_left" in text(app), "waited for the reject")
        assert len(painted) < 25


async def test_200_updates_leave_no_memory_behind(feed: Feed) -> None:
    async with attached(feed.path, (160, 48)) as pilot:
        app = pilot.app
        assert isinstance(app, Terminal)
        process = psutil.Process()
        images = [samples.picture(scale) for scale in (0.2, 0.25, 0.3)]

        async def show(first: int, count: int) -> None:
            for seq in range(first, first + count):
                feed.pictures = {n: images[n % 3] for n in range(seq - 200, seq + 1)}
                verdict = (samples.good, samples.bad, samples.doubtful)[seq % 3](seq)
                recent = [{**p, "seq": p["seq"] + seq - samples.SEQ} for p in samples.recent(150)]
                feed.say(samples.status(verdict, recent=recent, alarms=samples.ALARMS[: seq % 4]))
                deadline = time.monotonic() + 15
                while app.status is None or app.status.last is None or app.status.last.verdict.part.seq != seq:
                    assert time.monotonic() < deadline, f"waited for part {seq}"
                    await asyncio.sleep(0.01)

        await show(samples.SEQ + 1, 100)
        before = process.memory_info().rss
        await show(samples.SEQ + 101, 200)
        grown = process.memory_info().rss - before
        assert grown < 3_000_000, f"{grown / 1e6:.1f} MB more after 200 updates"
        assert len(app.pictures) <= 1 + REJECTS + 1
        await until(
            pilot, lambda: set(app.status.pictured() if app.status else ()) <= set(app.pictures), "all are kept"
        )
