"""Wired trigger: every pulse is told at once, with what the camera says about it, and nothing is guessed."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from inspector.codes import Code
from inspector.wire import Shot
from tests.acquire.rig import EVERY_LIMIT_S, WIRED, Rig, World, failed, part_picture, running

WINDOW_MS = 60


@pytest.fixture
def wired(world: World) -> World:
    return world.wired(WINDOW_MS).camera()


async def _counted(rig: Rig, value: int) -> None:
    await rig.until(lambda: rig.counts and rig.counts[-1].value == value)


def _seen(rig: Rig) -> int:
    """Pulses the camera is done with, by its own book."""
    counters = rig.control.counters(0)
    return counters.exposed + counters.missed + counters.lost


async def test_every_pulse_is_told_with_its_picture_and_numbers(wired: World) -> None:
    async with running(wired) as rig:
        for number in range(1, 12):
            before = time.monotonic_ns()
            pulse = await rig.pulse(number)
            assert pulse.frame is not None and pulse.why == ""
            assert (pulse.frame_id, pulse.trigger_count) == (number - 1, number)
            assert (pulse.frame.trigger_count, pulse.frame.view, pulse.frame.shot) == (number, "", 0)
            assert before < pulse.exposed_ns < time.monotonic_ns()
            assert rig.number(pulse.frame) == number
        assert rig.strays == {} and len(rig.pulses) == 11


async def test_the_cameras_counter_is_told_when_it_moves_and_when_a_window_has_closed(wired: World) -> None:
    async with running(wired) as rig:
        await _counted(rig, 0)
        pulse = await rig.pulse(1)
        await rig.until(lambda: rig.counts[-1].at_ns > pulse.exposed_ns + WINDOW_MS * 1_000_000)
        assert rig.counts[-1].value == 1
        told = len(rig.counts)
        rig.control.arm(0, "DropFrame")
        rig.control.pulse(0)  # no picture tells of this one
        await _counted(rig, 2)
        assert len(rig.counts) == told + 1 and len(rig.pulses) == 1
        pulse = await rig.pulse(3)
        assert (pulse.frame_id, pulse.trigger_count) == (2, 3)


async def test_a_pulse_the_camera_never_saw_leaves_no_trace(wired: World) -> None:
    async with running(wired) as rig:
        rig.control.arm(0, "LoseTrigger")
        rig.control.pulse(0)
        pulse = await rig.pulse(2)
        assert (pulse.frame_id, pulse.trigger_count) == (0, 1)


async def test_a_camera_that_sends_no_counter_tells_none(world: World) -> None:
    off = {**WIRED, "ChunkEnable[ChunkSelector=CounterValue]": False}
    async with running(world.wired(WINDOW_MS).camera(features=off)) as rig:
        pulse = await rig.pulse(1)
        assert pulse.frame is not None and pulse.trigger_count is None
        assert rig.number(pulse.frame) == 1


async def test_an_incomplete_picture_is_a_pulse_without_a_picture(wired: World) -> None:
    async with running(wired) as rig:
        rig.control.arm(0, "Incomplete", filled_percent=50)
        pulse = await rig.pulse(1)
        assert pulse.frame is None and "incomplete picture; check its cable" in pulse.why
        pulse = await rig.pulse(2)
        assert rig.number(pulse.frame) == 2 and pulse.trigger_count == 2


async def test_all_slots_in_use(world: World) -> None:
    async with running(world.wired(WINDOW_MS).camera(slots=2)) as rig:
        held = [await rig.pulse(number) for number in (1, 2, 3)]
        assert held[2].frame is None and "all 2 picture slots are in use" in held[2].why
        assert (held[2].frame_id, held[2].trigger_count) == (2, 3)
        assert [rig.number(pulse.frame) for pulse in held[:2]] == [1, 2]
        assert rig.number((await rig.pulse(4)).frame) == 4


async def test_it_can_not_be_asked(wired: World) -> None:
    async with running(wired) as rig:
        refused = failed(await asyncio.wait_for(rig.ask(), EVERY_LIMIT_S))
        assert refused.code == Code.INTERNAL_ERROR and "is fired by a wire" in refused.text
        assert rig.number((await rig.pulse(1)).frame) == 1


async def test_one_picture_a_pulse_is_all_a_recipe_may_want(wired: World) -> None:
    async with running(wired) as rig:
        rig.plan(Shot("bright"), Shot("dark"))
        assert "wants 2 pictures a part of camera top, which a wire fires: allowed is 1" in await rig.trouble()
        rig.plan(Shot("bright"))
        await rig.ready()
        pulse = await rig.pulse(1)
        assert pulse.frame is not None and pulse.frame.view == "bright"


async def test_a_view_is_set_without_a_break_in_the_numbers(wired: World) -> None:
    async with running(wired) as rig:
        await rig.pulse(1)
        rig.plan(Shot("long", exposure_us=2500.0))
        await asyncio.sleep(0.2)
        pulse = await rig.pulse(2)
        assert pulse.frame is not None and (pulse.frame.view, pulse.frame.exposure_us) == ("long", 2500.0)
        assert (pulse.frame_id, pulse.trigger_count) == (1, 2)
        assert [state.fresh for state in rig.states] == [True]
        # a user set needs streaming stopped, and so the numbers begin anew: that is told
        rig.plan(Shot("long", user_set="UserSet1"))
        await rig.until(lambda: [state.fresh for state in rig.states] in ([True, False, True], [True, False, False]))
        rig.plan(Shot())
        await rig.ready()


async def test_random_faults_never_show_another_pulse(wired: World) -> None:
    """The numbers told with a picture are those of the pulse that showed this part."""
    chance = random.Random(7)
    count = 0  # as the camera counts
    shown: dict[int, int] = {}
    async with running(wired) as rig:
        for number in range(1, 151):
            kind = ""
            if chance.random() < 0.3:
                kind = chance.choice(["DropFrame", "LoseTrigger", "Incomplete", "Delay", "Delay"])
                delay = {"delay_ms": chance.choice([5, 20, 40])} if kind == "Delay" else {}
                rig.control.arm(0, kind, **delay)
            rig.control.show(0, part_picture(number), number)
            rig.control.pulse(0)
            if kind != "LoseTrigger":
                count += 1
                shown[count] = number
            # the next part comes when this one's picture has been exposed, however busy the machine is
            await rig.until(lambda n=number: _seen(rig) == n)  # type: ignore[misc]
            await asyncio.sleep(0.005)
            for pulse in rig.pulses:
                if pulse.frame is not None:
                    assert pulse.trigger_count is not None
                    assert rig.number(pulse.frame) == shown[pulse.trigger_count]
            rig.pulses.clear()
        await _counted(rig, count)
        assert rig.gone == [] and rig.fresh and count > 120
