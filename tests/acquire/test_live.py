"""Pictures for a screen at installation: the newest, with what was lost, from a process that may crash."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inspector.acquire import live
from inspector.acquire.camera import DeviceError
from inspector.acquire.live import Live, Shown
from inspector.acquire.visit import Visit
from tests.acquire.rig import EVERY_LIMIT_S, World, part_picture
from tools.part_renderer.stamp import read_stamp
from tools.virtual_camera.control import CTI

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def visit(world: World, monkeypatch: pytest.MonkeyPatch) -> Visit:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    world.camera()
    return Visit("VC0001", (str(CTI),), str(world.folder / "top.yaml"))


def until(source: Live, condition: Callable[[Shown | None], object]) -> Shown | None:
    end = time.monotonic() + EVERY_LIMIT_S
    while time.monotonic() < end:
        began = time.monotonic()
        shown = source.next()
        assert time.monotonic() - began < 1.5
        if condition(shown):
            return shown
    raise AssertionError(f"did not happen in time; trouble: {source.trouble!r}")


def picture(source: Live) -> Shown:
    shown = until(source, lambda shown: shown is not None)
    assert shown is not None
    return shown


def test_the_newest_picture_and_what_was_lost(world: World, visit: Visit) -> None:
    world.control.show(0, part_picture(1), 1)
    with live.frames(visit, rate_hz=50) as source:
        first = picture(source)
        assert read_stamp(first.image) == 1 and first.lost == 0 and source.trouble == ""
        assert source.info["serial"] == "VC0001" and first.exposure.exposure_us == 1000.0
        world.control.show(0, part_picture(2), 2)
        until(source, lambda shown: shown is not None and read_stamp(shown.image) == 2)
        world.control.arm(0, "DropFrame", count=3)
        until(source, lambda shown: shown is not None and shown.lost == 3)
        time.sleep(0.3)  # a parent that looks elsewhere gets the newest, not the next
        world.control.show(0, part_picture(3), 3)
        time.sleep(0.3)
        assert read_stamp(picture(source).image) == 3


def test_what_a_wire_fires(world: World, visit: Visit) -> None:
    world.wired().camera("top")
    wired = Visit(visit.serial, visit.producers, visit.camera_file, "wired")
    with live.frames(wired) as source:
        until(source, lambda shown: source.trouble == "waiting for the wire")
        assert source.next() is None
        world.control.show(0, part_picture(7), 7)
        world.control.pulse(0)
        assert read_stamp(picture(source).image) == 7 and source.trouble == ""


def test_a_lost_camera_is_told_and_comes_back(world: World, visit: Visit) -> None:
    with live.frames(visit, rate_hz=50) as source:
        picture(source)
        world.control.disconnect(0)
        until(source, lambda shown: "VC0001" in source.trouble)
        world.control.reconnect(0)
        until(source, lambda shown: shown is not None and source.trouble == "")


def test_a_camera_that_can_not_be_there(visit: Visit) -> None:
    with live.frames(Visit("nowhere", visit.producers, visit.camera_file)) as source:
        until(source, lambda shown: "there is no camera nowhere" in source.trouble)
    absent = Visit("VC0001", ("/nowhere/x.cti",), visit.camera_file)
    with live.frames(absent) as source, pytest.raises(DeviceError, match="there is no GenTL producer"):
        until(source, lambda shown: False)


def test_nothing_is_left_of_it(world: World, visit: Visit) -> None:
    """Also when its parent is killed: the camera can be opened at once."""
    code = "import sys; from tests.acquire.test_live import hold; hold(*sys.argv[1:])"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, visit.camera_file], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        child = psutil.Process(int(holder.stdout.readline()))
        holder.kill()
        holder.wait(EVERY_LIMIT_S)
        gone, alive = psutil.wait_procs([child], EVERY_LIMIT_S)
        assert gone and not alive
    with live.frames(visit) as source:
        picture(source)


def hold(camera_file: str) -> None:
    with live.frames(Visit("VC0001", (str(CTI),), camera_file)) as source:
        picture(source)
        print(source._child.pid, flush=True)
        time.sleep(EVERY_LIMIT_S)
