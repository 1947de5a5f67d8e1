"""Acknowledging: it goes to the station, and the screen says what the station says."""

from __future__ import annotations

from tests.screens import samples
from tests.screens.conftest import attached, until
from tests.screens.feed import Feed
from tools.screenshots.cells import text


async def test_a_acknowledges_the_most_urgent_alarm_on_run(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
    async with attached(feed.path) as pilot:
        assert " 2▲ UNACK  Same reject" in text(pilot.app)
        await pilot.press("a")
        await until(pilot, lambda: " 2▲ UNACK" not in text(pilot.app), "waited for the acknowledgement")
        assert feed.acknowledged == ["same_reject"]
        await until(pilot, lambda: "Acknowledged: Same reject" in text(pilot.app), "waited for the note")
        await until(pilot, lambda: " 1 Run  2 Alarms" in text(pilot.app), "the note makes room again")


async def test_a_acknowledges_the_chosen_alarm_on_alarms(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
    async with attached(feed.path) as pilot:
        await pilot.press("2", "down", "down", "down", "a")
        await until(pilot, lambda: feed.acknowledged == ["plc_link"], "waited for the acknowledgement")
        await pilot.press("up", "a")
        await until(pilot, lambda: feed.acknowledged == ["plc_link", "same_reject"], "waited for the second")


async def test_the_choice_stays_with_its_alarm_when_the_list_moves(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS[:2]))
    async with attached(feed.path) as pilot:
        await pilot.press("2", "down")
        assert " ► 3○ ack" in text(pilot.app)
        fresh = {**samples.ALARMS[0], "id": "new", "priority": 1, "text": "Camera lost"}
        feed.say(samples.status(samples.bad(), alarms=[fresh, *samples.ALARMS]))
        await until(pilot, lambda: "Camera lost" in text(pilot.app), "waited for the new alarm")
        assert " ► 3○ ack" in text(pilot.app)
        feed.say(samples.status(samples.bad(), alarms=[fresh]))
        await until(pilot, lambda: " ► 1■ UNACK" in text(pilot.app), "a gone alarm passes the choice on")


async def test_what_the_station_does_not_confirm_is_not_shown_as_done(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS[:1]))
    async with attached(feed.path) as pilot:
        for code, words in ((404, "no longer there"), (503, "refused (503)")):
            feed.ack_code = code
            await pilot.press("a")
            await until(pilot, lambda words=words: words in text(pilot.app), "waited for the reason")
            assert "NOT acknowledged" in text(pilot.app)
            assert " 2▲ UNACK" in text(pilot.app)


async def test_nothing_to_acknowledge_is_said(feed: Feed) -> None:
    async with attached(feed.path) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: "Nothing to acknowledge" in text(pilot.app), "waited for the note")
        assert feed.acknowledged == []


async def test_an_alarm_id_with_odd_characters_reaches_the_station_whole(feed: Feed) -> None:
    feed.say(samples.status(samples.bad(), alarms=[{**samples.ALARMS[0], "id": "camera top?x=1 ä"}]))
    async with attached(feed.path) as pilot:
        await pilot.press("a")
        await until(pilot, lambda: feed.acknowledged == ["camera top?x=1 ä"], "waited for the acknowledgement")


async def test_a_long_list_keeps_the_chosen_alarm_in_sight(feed: Feed) -> None:
    feed.say(samples.odd("many alarms"))
    async with attached(feed.path) as pilot:
        await pilot.press("2")
        await pilot.press(*["down"] * 20)
        await pilot.pause(0.05)
        assert " ► " in text(pilot.app) and "rows above" in text(pilot.app) and "rows below" in text(pilot.app)
