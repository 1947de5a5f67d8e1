"""Software trigger: each part gets its own picture, or none."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from inspector.codes import Code
from inspector.ring import Ring
from inspector.wire import Captured, CaptureFailed
from tests.acquire.rig import COLUMNS, ROWS, World, failed, part_picture, running


async def test_each_part_gets_its_picture_with_its_passport(world: World) -> None:
    async with running(world.camera()) as rig:
        assert rig.info["model"] == "VirtualCamera" and rig.info["serial"] == "VC0001"
        assert (rig.info["width"], rig.info["height"], rig.info["pixel_format"]) == (COLUMNS, ROWS, "Mono8")
        assert rig.info["temperature_c"] == 41.5
        for number in range(1, 30):
            answer = await rig.capture(number)
            assert isinstance(answer, Captured)
            frame = answer.frames[0]
            assert (frame.camera, frame.frame_id, frame.exposure_us) == ("top", number - 1, 1000.0)
            assert frame.triggered_ns < frame.received_ns
            assert rig.number(answer) == number
        assert rig.strays == {}
        counters = rig.control.counters(0)
        assert (counters.triggers, counters.delivered) == (29, 29)


async def test_exactly_one_copy_goes_into_the_ring(world: World) -> None:
    """A slot's generation grows by two with each writing into it: begun, done."""
    async with running(world.camera(slots=2)) as rig:
        first = await rig.capture(1)
        assert isinstance(first, Captured)
        before = first.frames[0]
        rig.number(first)
        for number in range(2, 12):
            answer = await rig.capture(number)
            assert isinstance(answer, Captured)
            if answer.frames[0].slot == before.slot:
                assert answer.frames[0].generation == before.generation + 2
                before = answer.frames[0]
            assert rig.number(answer) == number
        assert before.generation > first.frames[0].generation


@pytest.mark.parametrize(
    ("next_age_ms", "fault"),
    [
        (0.0, {}),
        (5000.0, {}),
        (0.0, {"fault": "DropFrame"}),
        (0.0, {"fault": "PortError", "feature": "TriggerSoftware"}),
    ],
    ids=["good", "too late", "lost", "not fired"],
)
async def test_a_part_is_told_whatever_becomes_of_the_next_one(
    world: World, next_age_ms: float, fault: dict[str, Any]
) -> None:
    """Where parts come close, the pictures of one are told while the next is exposed."""
    async with running(world.camera(frame_limit_ms=60)) as rig:
        if fault:
            rig.control.arm(0, skip=1, **fault)
        first, after = await asyncio.gather(rig.ask(), rig.ask(age_ms=next_age_ms))
        assert isinstance(first, Captured)
        assert isinstance(after, CaptureFailed if next_age_ms or fault else Captured)
        answers = [m for m in rig.said if isinstance(m, (Captured, CaptureFailed))]
        assert answers == [first, after]


async def test_random_faults_never_show_another_part(world: World) -> None:
    """Every picture that is handed over is the asked part's, by the number in its pixels."""
    chance = random.Random(20)
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("DropFrame", {}),
        ("LoseTrigger", {}),
        ("Incomplete", {"filled_percent": 60}),
        ("Delay", {}),
        ("Delay", {}),
    ]
    world.camera(frame_limit_ms=30)
    outcomes = {"right": 0, "none": 0}
    armed = 0
    async with running(world) as rig:
        for number in range(1, 301):
            if chance.random() < 0.3:
                kind, parameters = chance.choice(kinds)
                if kind == "Delay":  # in time, just late, and late enough to meet the next parts
                    parameters = {"delay_ms": chance.choice([2, 25, 30, 35, 45, 60, 90])}
                rig.control.arm(0, kind, **parameters)
                armed += 1
            answer = await rig.capture(number)
            if isinstance(answer, CaptureFailed):
                assert answer.code == Code.NO_FRAME, answer
                outcomes["none"] += 1
                continue
            outcomes["right"] += 1
            assert rig.number(answer) == number
        assert rig.gone == [] and rig.fresh
    assert armed > 60 and outcomes["none"] > armed / 3 and outcomes["right"] > 150, outcomes


async def test_a_fault_costs_one_part_and_says_why(world: World) -> None:
    faults: list[tuple[str, dict[str, Any], str]] = [
        ("DropFrame", {}, "sent no picture within"),
        ("LoseTrigger", {}, "sent no picture within"),
        ("Incomplete", {"filled_percent": 40}, "sent an incomplete picture; check its cable"),
        ("Delay", {"delay_ms": 150}, "sent no picture within"),
    ]
    async with running(world.camera(frame_limit_ms=100)) as rig:
        for n, (fault, parameters, says) in enumerate(faults):
            assert rig.number(await rig.capture(10 * n + 1)) == 10 * n + 1
            rig.control.arm(0, fault, **parameters)
            lost = failed(await rig.capture(10 * n + 2))
            assert lost.code == Code.NO_FRAME and says in lost.text and "camera top" in lost.text
            for number in range(10 * n + 3, 10 * n + 6):
                assert rig.number(await rig.capture(number)) == number
        assert rig.gone == []


async def test_pictures_nobody_asked_for_are_thrown_away_and_their_cause_is_found(world: World) -> None:
    """Somebody changed the trigger's source while the camera streams, and that source fires."""
    async with running(world.camera()) as rig:
        assert rig.number(await rig.capture(1)) == 1
        rig.control.set_register(0, "TriggerSource", "Line1")
        await asyncio.sleep(0.05)  # the camera's edges of before don't count
        rig.control.pulse(0)
        assert "TriggerSource: wanted Software, found Line1" in await rig.trouble()
        assert rig.strays == {"extra": 1}
        await rig.ready()
        assert rig.number(await rig.capture(2)) == 2


async def test_a_trigger_that_comes_too_late_is_not_fired(world: World) -> None:
    async with running(world.camera(trigger_limit_ms=50)) as rig:
        late = failed(await rig.capture(1, age_ms=80))
        assert late.code == Code.NO_FRAME and "ms after the part came (limit 50 ms)" in late.text
        assert rig.control.counters(0).triggers == 0


async def test_the_parts_deadline_ends_the_wait(world: World) -> None:
    async with running(world.camera(frame_limit_ms=5000)) as rig:
        rig.control.arm(0, "DropFrame")
        answer = failed(await rig.capture(1, deadline_ms=60))
        assert answer.code == Code.NO_FRAME
        assert rig.number(await rig.capture(2)) == 2


async def test_no_free_slot_is_an_overrun_until_one_is_given_back(world: World) -> None:
    async with running(world.camera(slots=2)) as rig:
        held = [await rig.capture(n) for n in (1, 2)]
        over = failed(await rig.capture(3))
        assert over.code == Code.OVERRUN and "all 2 picture slots are in use" in over.text
        assert [rig.number(answer, keep=True) for answer in held] == [1, 2]  # untouched
        assert isinstance(held[0], Captured)
        rig.grant(held[0].frames[0].slot, held[0].frames[0].slot, 99, -1)  # doubled and foreign slots are nobody's
        again = await rig.capture(4)
        assert isinstance(again, Captured) and again.frames[0].slot == held[0].frames[0].slot
        assert failed(await rig.capture(5)).code == Code.OVERRUN
        assert rig.number(held[1], keep=True) == 2
        with pytest.raises(Exception, match="was overwritten"):
            rig.pixels(held[0].frames[0])


async def test_pings_are_answered_while_a_picture_is_waited_for(world: World) -> None:
    """The station kills a camera process that is silent for 1.5 s."""
    async with running(world.camera(frame_limit_ms=2300)) as rig:
        rig.control.arm(0, "DropFrame")
        answer = rig.ask()
        await rig.until(lambda: answer.done())
        assert failed(answer.result()).code == Code.NO_FRAME
        assert rig.gone == [] and rig.child.rss_bytes > 0
        assert rig.number(await rig.capture(2)) == 2


async def test_two_cameras_in_two_processes_at_once(world: World) -> None:
    world.camera("top").camera("side")
    async with running(world, "top") as top, running(world, "side") as side:
        for number in range(1, 40):
            world.control.show(0, part_picture(number), number)
            world.control.show(1, part_picture(1000 + number), number)
            one, two = top.ask(), side.ask()
            assert top.number(await one) == number
            assert side.number(await two) == 1000 + number
        assert top.info["serial"] == "VC0001" and side.info["serial"] == "VC0002"
        assert len(list(world.runtime.glob("ring-*"))) == 2


async def test_a_new_process_clears_what_a_killed_one_left(world: World) -> None:
    (world.runtime / "ring-top-2-77-1f").write_bytes(b"another camera's")
    (world.runtime / "ring-top-99999-1f").write_bytes(b"left")
    async with running(world.camera()) as rig:
        assert rig.number(await rig.capture(1)) == 1
        kept = {p.name for p in world.runtime.glob("ring-*")}
        assert "ring-top-2-77-1f" in kept and "ring-top-99999-1f" not in kept and len(kept) == 2
        Ring(next(p for p in world.runtime.glob("ring-top-*") if "77" not in p.name), writable=False).close()
