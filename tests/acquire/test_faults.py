"""Every fault the virtual camera has, in both of its personalities: no picture that is not the asked part's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from inspector.codes import Code
from inspector.wire import Captured, CaptureFailed
from tests.acquire.rig import EVERY_LIMIT_S, WIRED, Rig, World, failed, part_picture, running


@pytest.fixture(params=["Custom", "GEV"])
def world(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> World:
    return make_world(tl_type=request.param)


async def _good(rig: Rig, number: int, parts: int = 4) -> None:
    for part in range(number, number + parts):
        assert rig.number(await rig.capture(part)) == part


async def _after(rig: Rig, number: int) -> None:
    """Parts until one is inspected; none of them may show another."""
    for part in range(number, number + 200):
        answer = await rig.capture(part)
        if isinstance(answer, Captured):
            assert rig.number(answer) == part
            return await _good(rig, part + 1)
        await asyncio.sleep(0.02)
    raise AssertionError("the camera never came back into service")


SOFTWARE_FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("DropFrame", {}, "ms of the trigger, which it counted"),
    ("LoseTrigger", {}, "ms of the trigger, which it never saw"),
    ("Incomplete", {"filled_percent": 40}, "sent an incomplete picture; check its cable"),
    ("Delay", {"delay_ms": 400}, "sent no picture within"),
    ("OutOfOrder", {}, "sent no picture within"),
    ("WrongFrameId", {"jump": 7}, "was due: it may show another part"),
    ("WrongFrameId", {"jump": -1}, "was due: it may show another part"),
    ("SizeMismatch", {}, "sent a picture larger than it had announced"),
    ("BadChunk", {"how": "Missing"}, "without ChunkFrameID"),
    ("BadChunk", {"how": "WrongId"}, "chunk"),
    ("BadChunk", {"how": "WrongLength"}, "chunk"),
]


async def test_a_fault_costs_its_part_alone_and_says_why(world: World) -> None:
    async with running(world.camera(frame_limit_ms=200)) as rig:
        await _good(rig, 1)
        for n, (fault, parameters, says) in enumerate(SOFTWARE_FAULTS):
            rig.control.arm(0, fault, **parameters)
            lost = failed(await rig.capture(100 * n + 50))
            assert lost.code == Code.NO_FRAME and says.lower() in lost.text.lower(), (fault, parameters, lost.text)
            assert "camera top" in lost.text
            await _good(rig, 100 * n + 60)
        assert rig.gone == [] and all(state.fresh for state in rig.states)


async def test_what_comes_besides_costs_nothing(world: World) -> None:
    """A doubled picture and an extra one are known by their numbers and times, and thrown away."""
    async with running(world.camera()) as rig:
        for n, (fault, parameters) in enumerate(
            [("Duplicate", {}), ("ExtraTrigger", {"delay_ms": 0}), ("ExtraTrigger", {"delay_ms": 15})]
        ):
            await _good(rig, 100 * n + 1)
            rig.control.arm(0, fault, **parameters)
            await _good(rig, 100 * n + 20, 1)
            await asyncio.sleep(0.03)
            await _after(rig, 100 * n + 30)
        assert sum(rig.strays.values()) >= 2 and rig.gone == []


async def test_a_doubled_or_extra_picture_that_comes_after_the_next_trigger(world: World) -> None:
    """No pause between parts: what is late meets the next part, and is told from its picture."""
    chance = random.Random(3)
    async with running(world.camera()) as rig:
        shown = 0
        for number in range(1, 70):
            if chance.random() < 0.3:
                rig.control.arm(0, chance.choice(["Duplicate", "ExtraTrigger"]))
            answer = await rig.capture(number)
            if isinstance(answer, CaptureFailed):
                assert answer.code == Code.NO_FRAME, answer
                continue
            assert rig.number(answer) == number
            shown += 1
        assert shown > 45 and rig.gone == [] and rig.fresh


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [
        ("StreamError", {}),
        ("PortError", {"error": "Io", "feature": "TriggerSoftware"}),
        ("PortError", {"error": "Timeout", "feature": "TriggerSoftware"}),
        ("SettingsLost", {}),
    ],
)
async def test_a_fault_of_the_device_costs_one_part_and_a_reopening(
    fault: str, parameters: dict[str, Any], world: World
) -> None:
    async with running(world.camera(frame_limit_ms=200)) as rig:
        await _good(rig, 1)
        rig.control.arm(0, fault, **parameters)
        lost = failed(await rig.capture(50))
        assert lost.code in (Code.CAMERA_LOST, Code.NO_FRAME), lost
        began = asyncio.get_running_loop().time()
        await _after(rig, 60)
        assert asyncio.get_running_loop().time() - began < 5.0
        assert rig.child.restarts == 0 and rig.fresh


async def test_settings_lost_without_a_disconnect_are_never_a_picture(world: World) -> None:
    """The registers fall back to power-up defaults while it streams: another exposure, trigger and size."""
    async with running(world.camera()) as rig:
        await _good(rig, 1)
        rig.control.arm(0, "SettingsLost")
        await _after(rig, 50)
        assert len(rig.changes) == 1 and rig.changes[0].good_utc < rig.changes[0].found_utc
        told = "; ".join(rig.changes[0].differences)
        assert "TriggerMode[TriggerSelector=FrameStart]: wanted On, found Off" in told, told


@pytest.mark.parametrize("world", ["GEV"], indirect=True)  # it takes two rounds through the settings
async def test_one_register_that_could_not_be_read_disturbs_nobody(world: World) -> None:
    async with running(world.camera(), hurried=True) as rig:
        await _good(rig, 1)
        for feature in ("DeviceTemperature", "ExposureTime", "TriggerMode"):
            rig.control.arm(0, "PortError", feature=feature)
            await rig.until(lambda: rig.control.armed(0, "PortError") == 0)
            await asyncio.sleep(0.1)
            await _good(rig, 50)
        assert all(state.fresh for state in rig.states) and rig.changes == []


async def test_a_slow_port_is_no_lost_camera(world: World) -> None:
    async with running(world.camera()) as rig:
        rig.control.arm(0, "SlowPort", delay_ms=60, count=5, feature="TriggerSoftware")
        await _good(rig, 1, 6)
        assert rig.child.restarts == 0 and all(state.fresh for state in rig.states)


async def test_busy_at_the_start_and_who_holds_it(world: World) -> None:
    for error in ("ResourceInUse", "AccessDenied"):
        world.camera().control.arm(0, "OpenBusy", count=3, error=error)
        async with running(world, ready=False) as rig:
            text = await rig.trouble()
            assert "camera VC0001 can't be opened, it is in use by another program: " in text, text
            await rig.ready()
            await _good(rig, 1)
            assert len([s for s in rig.states if not s.fresh]) == 1
        world.cameras.clear()


async def test_another_exposure_is_refused_with_the_picture_that_had_it(world: World) -> None:
    async with running(world.camera()) as rig:
        await _good(rig, 1)
        rig.control.set_register(0, "ExposureTime", 500.0)
        lost = failed(await rig.capture(9))
        assert lost.code == Code.NO_FRAME
        assert "exposure was 500 us, wanted 1000 us: somebody changed the settings" in lost.text, lost.text
        await rig.until(lambda: rig.changes)
        assert rig.changes[0].differences == ("ExposureTime: wanted 1000, found 500.0",)
        await _after(rig, 10)


async def test_a_temperature_is_told_when_it_moved(world: World) -> None:
    async with running(world.camera()) as rig:
        rig.control.set_temperature(0, 41.8)
        await asyncio.sleep(0.8)
        assert rig.info["temperature_c"] == 41.5
        rig.control.arm(0, "Overheat", temperature_c=60, ramp_s=0.5)
        await rig.until(lambda: rig.info["temperature_c"] > 59)
        await _good(rig, 1)


async def test_every_wired_fault_is_told_as_it_is(world: World) -> None:
    """What a matcher needs: numbers and times of what came, and the counter for what did not."""
    first = world.first_id
    async with running(world.wired(60).camera()) as rig:
        await rig.until(lambda: rig.counts)
        for fault, parameters in [
            ("Duplicate", {}),
            ("OutOfOrder", {}),
            ("WrongFrameId", {"jump": 5}),
            ("ExtraTrigger", {"delay_ms": 20}),
            ("Incomplete", {}),
            ("SizeMismatch", {}),
            ("BadChunk", {"how": "Missing"}),
            ("BadImage", {"how": "Black"}),
            ("DropFrame", {}),
        ]:
            rig.pulses.clear()
            rig.strays.clear()
            before = rig.counts[-1].value
            rig.control.arm(0, fault, **parameters)
            for number in (1, 2, 3):
                rig.control.show(0, part_picture(number), number)
                rig.control.pulse(0)
                await asyncio.sleep(0.05)
            total = before + (4 if fault == "ExtraTrigger" else 3)
            good = {
                "OutOfOrder": [2, 1, 3],
                "ExtraTrigger": [1, 2, 3, 4],
                "Incomplete": [2, 3],
                "SizeMismatch": [2, 3],
                "BadChunk": [2, 3],
                "DropFrame": [2, 3],
            }.get(fault, [1, 2, 3])
            wanted = len(good) + (1 if fault in ("Incomplete", "SizeMismatch", "BadChunk") else 0)
            # the camera may have counted a pulse whose picture is still under way
            await rig.until(lambda t=total, n=wanted: rig.counts[-1].value == t and len(rig.pulses) >= n)  # type: ignore[misc]
            told = [(p.trigger_count, p.frame is not None) for p in rig.pulses]
            assert [count for count, whole in told if whole] == [before + n for n in good], (fault, told)
            assert len(told) == wanted
            assert rig.strays == ({"doubled": 1} if fault == "Duplicate" else {}), (fault, rig.strays)
            for pulse in rig.pulses:
                if pulse.frame is None:
                    assert pulse.why and pulse.frame_id is not None and pulse.exposed_ns > 0
                else:
                    rig.grant(pulse.frame.slot)
        assert rig.pulses[0].frame_id is not None and rig.pulses[0].frame_id > first + 20
        assert rig.gone == [] and all(state.fresh for state in rig.states)


async def test_a_stuck_line_and_a_lost_pulse_leave_the_counter_alone(world: World) -> None:
    async with running(world.wired(60).camera()) as rig:
        await rig.until(lambda: rig.counts)
        for fault in ("LineStuck", "LoseTrigger"):
            rig.control.arm(0, fault, count=2)
            rig.control.pulse(0)
            await asyncio.sleep(0.03)
            rig.control.pulse(0)
            await asyncio.sleep(0.1)
            assert rig.pulses == [] and rig.counts[-1].value == 0
        pulse = await asyncio.wait_for(rig.pulse(9), EVERY_LIMIT_S)
        assert rig.number(pulse.frame) == 9 and pulse.trigger_count == 1


async def test_a_wired_cameras_lost_settings_are_told_and_set_again(world: World) -> None:
    async with running(world.wired(60).camera(features={**WIRED, "ExposureTime": 2000})) as rig:
        rig.control.arm(0, "SettingsLost")
        await rig.until(lambda: rig.changes)
        await rig.until(lambda: not rig.fresh)
        await rig.ready()
        rig.pulses.clear()
        pulse = await rig.pulse(7)
        assert pulse.frame is not None and pulse.frame.exposure_us == 2000.0
