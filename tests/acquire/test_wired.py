"""Wired trigger: the picture comes by itself, and belongs to the announcement within the window."""

from __future__ import annotations

import asyncio
import random

import pytest

from inspector.codes import Code
from inspector.wire import Captured, CaptureFailed
from tests.acquire.rig import EVERY_LIMIT_S, Rig, World, failed, part_picture, running

WINDOW_MS = 300  # wide, so that a busy machine does not decide what a test says


async def _answer(asked: asyncio.Future[Captured | CaptureFailed]) -> Captured | CaptureFailed:
    return await asyncio.wait_for(asked, EVERY_LIMIT_S)


def _pulse(rig: Rig, number: int) -> None:
    rig.control.show(0, part_picture(number), number)
    rig.control.pulse(0)


async def _delivered(rig: Rig, pictures: int) -> None:
    await rig.until(lambda: rig.control.counters(0).delivered >= pictures)


async def _quiet(windows: float = 1.1) -> None:
    await asyncio.sleep(windows * WINDOW_MS / 1000)


@pytest.fixture
def wired(world: World) -> World:
    return world.camera(trigger="wired", window_ms=WINDOW_MS)


async def test_announced_before_and_after_the_pulse(wired: World) -> None:
    async with running(wired) as rig:
        for number in range(1, 5):
            if number % 2:
                asked = rig.ask()
                _pulse(rig, number)
            else:
                _pulse(rig, number)
                await _delivered(rig, number)
                asked = rig.ask()
            answer = await _answer(asked)
            assert isinstance(answer, Captured) and answer.frame.frame_id == number - 1
            assert rig.number(answer) == number
            await _quiet()
        assert rig.strays == {}


async def test_a_missing_pulse_and_an_extra_one(wired: World) -> None:
    async with running(wired) as rig:
        lost = failed(await _answer(rig.ask()))
        assert lost.code == Code.NO_FRAME and f"no picture within {WINDOW_MS} ms" in lost.text
        _pulse(rig, 77)  # nobody announces this one
        await _quiet()
        await rig.until(lambda: rig.strays == {"extra": 1})
        asked = rig.ask()
        _pulse(rig, 2)
        assert rig.number(await _answer(asked)) == 2


async def test_two_announced_in_a_window_are_both_refused(wired: World) -> None:
    async with running(wired) as rig:
        first, second = rig.ask(), rig.ask()
        for asked in (first, second):
            refused = failed(await _answer(asked))
            assert refused.code == Code.NO_FRAME and "two parts were announced within" in refused.text
        _pulse(rig, 1)  # and their pictures are nobody's
        await rig.until(lambda: rig.strays == {"ambiguous": 1})
        third = failed(await _answer(rig.ask()))
        assert "which picture belongs to which part" in third.text
        await _quiet()
        asked = rig.ask()
        _pulse(rig, 4)
        assert rig.number(await _answer(asked)) == 4


async def test_two_pictures_in_a_window_are_both_refused(wired: World) -> None:
    async with running(wired) as rig:
        _pulse(rig, 1)
        await _delivered(rig, 1)
        _pulse(rig, 2)
        await rig.until(lambda: rig.strays == {"ambiguous": 2})
        refused = failed(await _answer(rig.ask()))
        assert refused.code == Code.NO_FRAME
        await _quiet()
        asked = rig.ask()
        _pulse(rig, 3)
        assert rig.number(await _answer(asked)) == 3


async def test_the_next_announcement_before_the_last_ones_time_is_up(wired: World) -> None:
    """The first part's picture was lost; the second's must not be taken for it, nor the other way round."""
    async with running(wired) as rig:
        first = rig.ask(age_ms=WINDOW_MS - 20)
        second = rig.ask()
        assert isinstance(await _answer(first), CaptureFailed)
        assert isinstance(await _answer(second), CaptureFailed)


async def test_a_dropped_picture_is_noticed_by_the_next_ones_number(wired: World) -> None:
    async with running(wired) as rig:
        asked = rig.ask()
        _pulse(rig, 1)
        assert rig.number(await _answer(asked)) == 1
        await _quiet()
        rig.control.arm(0, "DropFrame")
        _pulse(rig, 2)  # dropped, and nobody announced it
        await _quiet()
        asked = rig.ask()
        _pulse(rig, 3)
        assert "a picture was lost on its way" in failed(await _answer(asked)).text
        assert rig.strays == {"gap": 1}
        await _quiet()
        asked = rig.ask()
        _pulse(rig, 4)
        assert rig.number(await _answer(asked)) == 4


async def test_an_incomplete_picture_is_refused(wired: World) -> None:
    async with running(wired) as rig:
        rig.control.arm(0, "Incomplete", filled_percent=50)
        asked = rig.ask()
        _pulse(rig, 1)
        assert "incomplete picture; check its cable" in failed(await _answer(asked)).text
        await _quiet()
        asked = rig.ask()
        _pulse(rig, 2)
        assert rig.number(await _answer(asked)) == 2
        assert rig.strays == {"incomplete": 1}


async def test_a_late_picture_is_not_the_next_parts(wired: World) -> None:
    """It comes just when the next part is announced, whose own pulse is lost."""
    async with running(wired) as rig:
        rig.control.arm(0, "Delay", delay_ms=2 * WINDOW_MS)
        asked = rig.ask()
        _pulse(rig, 1)
        assert f"no picture within {WINDOW_MS} ms" in failed(await _answer(asked)).text
        await _quiet(0.9)
        rig.control.arm(0, "LoseTrigger")
        asked = rig.ask()
        _pulse(rig, 2)
        assert isinstance(await _answer(asked), CaptureFailed)
        asked = rig.ask()
        _pulse(rig, 3)
        assert rig.number(await _answer(asked)) == 3


async def test_all_slots_in_use(world: World) -> None:
    async with running(world.camera(trigger="wired", window_ms=100, slots=2)) as rig:
        held = []
        for number in (1, 2, 3):
            asked = rig.ask()
            _pulse(rig, number)
            held.append(await _answer(asked))
            await asyncio.sleep(0.12)
        assert failed(held[2]).code == Code.OVERRUN and "all 2 picture slots are in use" in failed(held[2]).text
        assert [rig.number(answer) for answer in held[:2]] == [1, 2]
        asked = rig.ask()
        _pulse(rig, 4)
        assert rig.number(await _answer(asked)) == 4


async def test_random_faults_never_show_another_part(world: World) -> None:
    """Parts come at more than twice the window, as the settings ask for; whatever else goes wrong, goes wrong."""
    window_ms = 25
    chance = random.Random(7)
    outcomes = {"right": 0, "none": 0}
    async with running(world.camera(trigger="wired", window_ms=window_ms)) as rig:
        waiting: list[tuple[int, asyncio.Future[Captured | CaptureFailed]]] = []
        for number in range(1, 121):
            if chance.random() < 0.3:
                kind = chance.choice(["DropFrame", "LoseTrigger", "Incomplete", "Delay", "Delay"])
                delay = {"delay_ms": chance.choice([5, 20, 24, 26, 40, 60, 80])} if kind == "Delay" else {}
                rig.control.arm(0, kind, **delay)
            # announced before, with, or after its pulse
            lead_ms = chance.choice([-10, 0, 0, 10])
            rig.control.show(0, part_picture(number), number)
            if lead_ms < 0:
                rig.control.pulse(0)
                await asyncio.sleep(-lead_ms / 1000)
            waiting.append((number, rig.ask()))
            if lead_ms >= 0:
                await asyncio.sleep(lead_ms / 1000)
                rig.control.pulse(0)
            await asyncio.sleep(2.2 * window_ms / 1000)
            while waiting and waiting[0][1].done():
                asked_for, future = waiting.pop(0)
                answer = future.result()
                if isinstance(answer, CaptureFailed):
                    outcomes["none"] += 1
                else:
                    outcomes["right"] += 1
                    assert rig.number(answer) == asked_for
        assert rig.gone == [] and rig.fresh
    assert outcomes["right"] > 40 and outcomes["none"] > 10, outcomes
