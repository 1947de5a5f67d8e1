"""The station's own side over real camera processes: leases, slots that come back, a camera that is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from inspector.codes import Code
from inspector.config import load_station
from inspector.parts import InspectionFault, Part, Trigger
from inspector.ring import RingReader
from inspector.station.cameras import Cameras
from inspector.wire import SettingsChanged, Shot
from tests.acquire.rig import EVERY_LIMIT_S, World, part_picture
from tools.part_renderer.stamp import read_stamp


def part(seq: int) -> Part:
    now = time.monotonic_ns()
    trigger = Trigger(f"P{seq}", f"c{seq}", now, "2026-01-01T00:00:00Z")
    return Part(seq, "boot", "s", trigger, 1, 1, "plate", "sha", now + 5_000_000_000)


class Heard:
    """What the cameras said that nobody asked for."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bool]] = []

    def camera_changed(self, name: str, fresh: bool, text: str) -> None:
        self.changes.append((name, fresh))

    def settings_changed(self, name: str, change: SettingsChanged) -> None:
        raise AssertionError(change)

    def part_arrived(self, number: int, at_ns: int) -> int:
        raise AssertionError(number)

    def unannounced(self, text: str, number: int | None) -> None:
        raise AssertionError(text)

    def unbalanced(self, text: str) -> None:
        raise AssertionError(text)


async def until(condition: Any) -> None:
    end = time.monotonic() + EVERY_LIMIT_S
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.01)


async def test_two_cameras_of_a_station(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    world.camera("top", slots=2, frame_limit_ms=300).camera("side", slots=2, frame_limit_ms=300)
    heard = Heard()
    changes, config = heard.changes, load_station(world.station_file)
    cameras = Cameras(world.station_file, config.cameras, config.identity, heard)
    reader = RingReader()
    with pytest.raises(InspectionFault, match="camera side: starting"):
        await cameras.capture(part(1))
    cameras.start()
    try:
        await until(lambda: not cameras.lost())
        for seq in range(1, 31):
            for device in range(2):
                world.control.show(device, part_picture(seq + 1000 * device), seq)
            lease = await cameras.capture(part(seq))
            found = {frame.camera: read_stamp(reader.read(frame)) for frame in lease.frames}
            assert found == {"top": seq, "side": seq + 1000}
            lease.hold()  # the archive looks, too
            lease.drop()
            lease.drop()
        cameras.plan(["top"], {}, 500)
        held = [await cameras.capture(part(seq)) for seq in (31, 32)]
        cameras.plan([], {}, 500)
        with pytest.raises(InspectionFault, match="all 2 picture slots are in use") as caught:
            await cameras.capture(part(33))
        assert caught.value.code == Code.OVERRUN
        for lease in held:
            lease.drop()
        for seq in (34, 35, 36):  # and the side camera's picture of part 33 was given back
            (await cameras.capture(part(seq))).drop()
        cameras.plan([], {"top": (Shot("short", exposure_us=500.0),)}, 500)
        with pytest.raises(InspectionFault, match="which has `slots: 2`"):
            cameras.plan([], {"top": (Shot("a"), Shot("b"))}, 500)
        world.control.disconnect(0, gone_ms=300)
        with pytest.raises(InspectionFault) as caught:
            await cameras.capture(part(37))
        assert caught.value.code == Code.CAMERA_LOST
        await until(lambda: ("top", False) in changes and not cameras.lost())
        lease = await cameras.capture(part(38))
        assert {f.camera: (f.view, f.exposure_us) for f in lease.frames} == {
            "top": ("short", 500.0),
            "side": ("", 1000.0),
        }
        lease.drop()
        assert cameras.figures()["top"]["frames"] >= 35 and len(cameras.children) == 2
        assert [child.restarts for child in cameras.children] == [0, 0]
    finally:
        await cameras.stop(3.0)
    assert list(world.runtime.iterdir()) == []
