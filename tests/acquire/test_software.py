"""Software trigger: each part gets its own picture, or none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from inspector.codes import Code
from inspector.ring import Ring
from inspector.wire import Captured, CaptureFailed, Ping, Pong
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, World, failed, part_picture, running
from tools.virtual_camera.control import FAULTS


async def test_each_part_gets_its_picture_with_its_passport(world: World) -> None:
    async with running(world.camera()) as rig:
        assert rig.info["model"] == "VirtualCamera" and rig.info["serial"] == "VC0001"
        assert (rig.info["width"], rig.info["height"], rig.info["pixel_format"]) == (COLUMNS, ROWS, "Mono8")
        assert rig.info["temperature_c"] == 41.5
        for number in range(1, 30):
            answer = await rig.capture(number)
            assert isinstance(answer, Captured)
            frame = answer.frame
            assert (frame.camera, frame.frame_id, frame.exposure_us) == ("top", number - 1, 1000.0)
            assert frame.triggered_ns < frame.received_ns
            assert rig.number(answer) == number
        assert rig.strays == {}
        counters = rig.control.counters(0)
        assert (counters.triggers, counters.delivered) == (29, 29)
