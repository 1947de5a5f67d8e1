"""Several pictures of one part: exposure, gain and light of each, by the sequencer or by writing before each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inspector.acquire import visit
from inspector.codes import Code
from inspector.wire import Captured, Shot
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, Rig, World, failed, running, write_yaml

BRACKET = (Shot("bright", exposure_us=2000.0), Shot("dark", exposure_us=500.0, gain_db=6.0), Shot("normal", 2))


@pytest.fixture(params=["sequencer", "writes"])
def world(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> World:
    world = make_world(tl_type="GEV" if request.param == "writes" else "Custom")
    world.control.simulate(0, sequencer_hidden=int(request.param == "writes"))
    world.control.show(0, np.full((ROWS, COLUMNS), 40, np.uint8), 1)
    return world


def _with_sets() -> dict[str, Any]:
    return {**SOFTWARE, "ChunkEnable[ChunkSelector=Gain]": True}


async def _planned(rig: Rig, *shots: Shot) -> None:
    """The plan stands when a part has been asked for after it; the camera may have been opened anew for it."""
    rig.plan(*shots)
    await asyncio.sleep(0.2)
    await rig.ready()


async def _brightness(rig: Rig) -> dict[tuple[str, int], float]:
    answer = await rig.capture()
    assert isinstance(answer, Captured), answer
    found = {(f.view, f.shot): float(rig.pixels(f).mean()) for f in answer.frames}
    rig.grant(*(f.slot for f in answer.frames))
    return found


async def test_each_view_has_its_own_exposure_and_gain(world: World) -> None:
    async with running(world.camera(features=_with_sets()), hurried=True) as rig:
        await _planned(rig, *BRACKET)
        for _ in range(5):
            answer = await rig.capture()
            assert isinstance(answer, Captured), answer
            assert [(f.view, f.shot) for f in answer.frames] == [
                ("bright", 0),
                ("dark", 0),
                ("normal", 0),
                ("normal", 1),
            ]
            assert [f.exposure_us for f in answer.frames] == [2000.0, 500.0, 1000.0, 1000.0]
            assert [round(f.gain_db, 3) for f in answer.frames] == [0.0, 6.0, 0.0, 0.0]
            means = [float(rig.pixels(f).mean()) for f in answer.frames]
            assert means == pytest.approx([80, 40, 40, 40], abs=1.5)
            assert len({f.slot for f in answer.frames}) == 4
            rig.grant(*(f.slot for f in answer.frames))
        assert rig.strays == {} and all(state.fresh for state in rig.states)
        # and back again: as the camera file says
        await _planned(rig, Shot())
        assert await _brightness(rig) == {("", 0): 40.0}
        await rig.settings_read()
        assert rig.changes == [] and rig.fresh


async def test_parts_that_wait_for_each_other_have_all_their_views(world: World) -> None:
    """The part before is told while the first view of the next one is exposed."""
    async with running(world.camera(features=_with_sets(), slots=12)) as rig:
        await _planned(rig, *BRACKET)
        for answer in await asyncio.gather(*(rig.ask() for _ in range(3))):
            assert isinstance(answer, Captured), answer
            assert [f.exposure_us for f in answer.frames] == [2000.0, 500.0, 1000.0, 1000.0]
        assert rig.strays == {} and all(state.fresh for state in rig.states)


async def test_each_view_has_its_light(world: World) -> None:
    for light, grey in ((2, 110), (3, 220)):
        world.control.show(0, np.full((ROWS, COLUMNS), grey, np.uint8), light, light=light)
    async with running(world.camera(features=_with_sets())) as rig:
        await _planned(rig, Shot("ring", light="Line2"), Shot("back", light="Line3"), Shot("none"))
        for _ in range(3):
            assert await _brightness(rig) == {("ring", 0): 110.0, ("back", 0): 220.0, ("none", 0): 40.0}
        await _planned(rig, Shot("back", light="Line3"))
        assert await _brightness(rig) == {("back", 0): 220.0}
        await _planned(rig, Shot())
        assert await _brightness(rig) == {("", 0): 40.0}


async def test_a_lost_view_is_named_and_costs_its_part_alone(world: World) -> None:
    async with running(world.camera(features=_with_sets(), frame_limit_ms=150)) as rig:
        await _planned(rig, *BRACKET)
        good = await _brightness(rig)
        for skip, name in ((0, "view bright"), (1, "view dark"), (3, "view normal of camera top, picture 2 of 2")):
            for fault in ("DropFrame", "Incomplete", "LoseTrigger"):
                rig.control.arm(0, fault, skip=skip)
                lost = failed(await rig.capture())
                assert lost.code == Code.NO_FRAME and lost.text.startswith(name), lost.text
                assert await _brightness(rig) == good
        assert rig.gone == [] and all(state.fresh for state in rig.states)


async def test_an_extra_trigger_moves_no_view_to_another(world: World) -> None:
    async with running(world.camera(features=_with_sets())) as rig:
        await _planned(rig, *BRACKET)
        good = await _brightness(rig)
        for skip in range(4):
            rig.control.arm(0, "ExtraTrigger", skip=skip, delay_ms=3)
            answer = await rig.capture()
            if isinstance(answer, Captured):
                assert {(f.view, f.shot): float(rig.pixels(f).mean()) for f in answer.frames} == good
                rig.grant(*(f.slot for f in answer.frames))
            await asyncio.sleep(0.02)
            for _ in range(3):
                answer = await rig.capture()
                if isinstance(answer, Captured):
                    assert {(f.view, f.shot): float(rig.pixels(f).mean()) for f in answer.frames} == good
                    rig.grant(*(f.slot for f in answer.frames))
            assert await _brightness(rig) == good


async def test_a_changed_exposure_is_found_behind_a_plan(world: World) -> None:
    """Written before each: seen by the read-back. In a sequencer's set: by the picture itself."""
    async with running(world.camera(features=_with_sets())) as rig:
        await _planned(rig, Shot("long", exposure_us=3000.0))
        assert await _brightness(rig) == {("long", 0): 120.0}
        rig.control.set_register(0, "ExposureTime", 1000.0)
        lost = failed(await rig.capture())
        assert "view long of camera top: exposure was 1000 us, wanted 3000 us" in lost.text, lost.text
        await rig.until(lambda: rig.changes)
        assert rig.changes[0].differences == ("ExposureTime: wanted 3000.0, found 1000.0",)
        await rig.until(lambda: not rig.fresh)
        await rig.ready()
        assert await _brightness(rig) == {("long", 0): 120.0}


async def test_what_only_a_plan_sets_is_read_back_as_well(world: World) -> None:
    """The camera file does not name it, and no chunk tells of it."""
    features = {k: v for k, v in SOFTWARE.items() if "Gain" not in k}
    async with running(world.camera(features=features), hurried=True) as rig:
        await _planned(rig, Shot("ring", gain_db=6.0))
        bright = await _brightness(rig)
        rig.control.set_register(0, "Gain", 0.0)
        await rig.until(lambda: rig.changes)
        assert rig.changes[0].differences == ("Gain: wanted 6.0, found 0.0",)
        await rig.until(lambda: not rig.fresh)
        await rig.ready()
        assert await _brightness(rig) == bright


async def test_a_plan_the_camera_can_not_take_is_refused_by_name(world: World) -> None:
    async with running(world.camera(features=_with_sets(), slots=4)) as rig:
        for shots, says in (
            ((Shot("a"), Shot("b", exposure_us=1e9)), "view b: ExposureTime: wanted 1000000000.0, allowed: "),
            ((Shot("a", gain_db=99.0),), "view a: Gain: wanted 99.0, allowed: 0 to 30 dB"),
            ((Shot("a", light="Line9"),), "LineSource[LineSelector=Line9]: allowed: "),
            ((Shot("a", light="Line1"),), "LineSource[LineSelector=Line1]: "),
            ((Shot("a", user_set="UserSet9"),), "UserSetSelector: wanted UserSet9, allowed: Default"),
            ((Shot("a", user_set="UserSet1"), Shot("b")), "all views of a camera share one"),
            ((Shot("a", 5),), "wants 5 pictures a part of camera top, allowed: 1 to its `slots: 4`"),
        ):
            said = len(rig.states)
            rig.plan(*shots)
            await rig.until(lambda n=said: len(rig.states) > n)  # type: ignore[misc]
            assert not rig.states[said].fresh and says in rig.states[said].text, rig.states[said].text
            assert failed(await rig.capture()).code == Code.CAMERA_LOST
            rig.plan(Shot())
            await rig.ready()
            assert await _brightness(rig) == {("", 0): 40.0}


async def test_a_user_set_that_all_views_share(world: World) -> None:
    """It holds its own exposure; the views' settings come on top, and later all is as the camera file says."""
    control = world.control
    async with running(world.camera(features={**_with_sets(), "ExposureTime": 4000})) as rig:
        assert await _brightness(rig) == {("", 0): 160.0}
        await rig.child.stop(3.0)
    one = visit.Visit("VC0001", (world.cameras["top"]["producer"],))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        visit.user_set(one, "UserSet1", boot=False)
    write_yaml(world.folder / "top.yaml", {"features": _with_sets()})
    async with running(world, hurried=True) as rig:
        assert await _brightness(rig) == {("", 0): 40.0}
        await _planned(rig, Shot("a", user_set="UserSet1"), Shot("b", user_set="UserSet1", gain_db=2.0))
        answer = await rig.capture()
        assert isinstance(answer, Captured), answer
        assert [(f.view, f.exposure_us, f.gain_db) for f in answer.frames] == [("a", 4000.0, 0.0), ("b", 4000.0, 2.0)]
        rig.grant(*(f.slot for f in answer.frames))
        await rig.settings_read()
        assert rig.changes == []
        await _planned(rig, Shot())
        assert await _brightness(rig) == {("", 0): 40.0}
    assert control.counters(0).disconnects == 0
