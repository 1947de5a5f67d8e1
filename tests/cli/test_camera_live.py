"""``inspector camera live`` on the virtual camera: real pictures in the real screen; what is said when none come."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.cli.camera_base import known
from inspector.cli.camera_live import Stream
from inspector.tui.live import LiveCamera
from tests.acquire.rig import World, part_picture, running
from tests.cli.conftest import ROOT, camera
from tests.cli.test_live_screen import value
from tools.screenshots.cells import text

LIMIT_S = 20.0  # bounds a test that would hang


def stream(world: World, rate_hz: float = 20.0) -> Stream:
    asked, _ = known(world.station_file, None).of_the_station("top")
    return Stream(asked, rate_hz)


async def until(pilot: Any, condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what}, in vain:\n{text(pilot.app)}"
        await pilot.pause(0.05)


async def test_pictures_come_and_their_figures_follow_the_lens(world: World) -> None:
    world.camera("top")
    sharp = part_picture(7)
    world.control.show(0, sharp)
    with stream(world) as source:
        assert source.opened(LIMIT_S) == ""
        app = LiveCamera("top", source)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: source.rate_hz > 0 and app.picture is not None, "waited for pictures")
            await until(pilot, lambda: "│ mean" in text(app), "waited for the figures")
            assert app.picture is not None and np.array_equal(app.picture.raw, sharp)
            assert value(text(app), "exposure") == "1000 us" and value(text(app), "lost") == "0"
            peak = app.peak
            world.control.show(0, np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8))
            await until(pilot, lambda: "100% of peak" not in text(app), "waited for the blur")
            assert app.peak == peak > 0
            await pilot.press("r")
            await until(pilot, lambda: "100% of peak" in text(app), "waited for the new peak")
            # frames that the camera took and nobody got
            world.control.arm(0, "DropFrame", count=2)
            await until(pilot, lambda: value(text(app), "lost") == "2", "waited for the lost ones")
            await pilot.press("plus", "left", "space", "q")


@pytest.mark.parametrize("style", ["Silent", "Error", "Strict", "Block"])
async def test_a_camera_that_goes_and_comes_back(style: str, world: World) -> None:
    world.camera("top")
    with stream(world) as source:
        assert source.opened(LIMIT_S) == ""
        app = LiveCamera("top", source)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: app.picture is not None, "waited for pictures")
            world.control.disconnect(0, style=style)
            await until(pilot, lambda: "VC0001" in text(app).splitlines()[22], "waited for the reason")
            world.control.reconnect(0)
            await until(pilot, lambda: not text(app).splitlines()[22].strip(), "waited for its return")
            frame = app.picture
            await until(pilot, lambda: app.picture is not frame, "waited for a picture")


async def test_a_wired_camera_shows_what_the_wire_fires(world: World) -> None:
    world.wired().camera("top")
    world.control.show(0, part_picture(3))
    with stream(world, rate_hz=1.0) as source:
        assert source.opened(LIMIT_S) == ""
        app = LiveCamera("top", source)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "no pulse came on the trigger wire" in text(app), "waited for the reason")
            assert app.picture is None
            world.control.pulse(0)
            await until(pilot, lambda: app.picture is not None, "waited for the picture")
            assert not source.why


async def test_the_running_station_holds_it(world: World) -> None:
    async with running(world.camera("top")):
        with stream(world) as source:
            trouble = await asyncio.to_thread(source.opened, LIMIT_S)
        assert "in use by another program" in trouble and "sudo systemctl stop inspector" in trouble


def test_memory_that_a_killed_one_left_is_taken_away(world: World) -> None:
    world.camera("top")
    asked, _ = known(world.station_file, None).of_the_station("top")
    holder = (
        "import sys, time\nfrom inspector.acquire import live\nfrom inspector.acquire.visit import Visit\n"
        f"with live.frames(Visit({asked.serial!r}, {asked.producers!r}, {asked.camera_file!r})) as source:\n"
        "    print(source._ring_path.parent, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with stream(world) as source:  # it holds the camera: this one waits for it
            source.opened(LIMIT_S)
            assert left.is_dir(), "the folder of one that lives was taken away"
        process.kill()
    assert left.is_dir()
    with stream(world) as source:
        end = time.monotonic() + LIMIT_S
        while (source.opened(LIMIT_S) or left.exists()) and time.monotonic() < end:  # until its child has let go
            time.sleep(0.1)
        assert source.opened(LIMIT_S) == "" and not left.exists()


def test_what_is_asked_wrongly(world: World) -> None:
    world.camera("top")
    result = camera(world, "live", "side")
    assert result.exit_code == 1 and "side is no camera of the station (it has top)" in result.stderr
    result = camera(world, "live", "top")
    assert result.exit_code == 1 and "live pictures need a terminal" in result.stderr
    assert camera(world, "live", "top", "--rate", 0).exit_code == 2


def test_the_command_in_a_terminal_of_its_own(world: World) -> None:
    """Typed, looked at, left with q: nothing of it stays."""
    if not Path("/dev/ptmx").exists():
        pytest.skip("no pseudo terminals")
    world.camera("top")
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "inspector", "camera", "live", "top", "--station", str(world.station_file)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            end = time.monotonic() + LIMIT_S
            while b"Mono8" not in seen and time.monotonic() < end:
                seen += os.read(mine, 65536)
            assert b"Mono8" in seen
            os.write(mine, b"q")
            while process.poll() is None and time.monotonic() < end:
                try:
                    seen += os.read(mine, 65536)
                except OSError:  # the other end is closed
                    break
            assert process.wait(LIMIT_S) == 0
        finally:
            os.close(mine)
            if process.poll() is None:
                process.kill()
    assert " free " in camera(world, "list").stdout
