"""A camera that goes away and comes back, in every way a vendor's library can show it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inspector.codes import Code
from inspector.wire import Captured
from tests.acquire.rig import EVERY_LIMIT_S, SOFTWARE, Rig, World, failed, running, write_yaml
from tools.virtual_camera.control import CTI, LOSS_STYLES

ROOT = Path(__file__).resolve().parents[2]


async def _lost_and_back(rig: Rig, style: str) -> None:
    assert rig.number(await rig.capture(1)) == 1
    rig.control.disconnect(0, gone_ms=500, style=style, block_ms=4000)
    lost = failed(await rig.capture(2))
    assert lost.code == Code.CAMERA_LOST and lost.text
    await rig.until(lambda: not rig.fresh)
    await rig.ready()
    for number in range(3, 6):
        assert rig.number(await rig.capture(number)) == number
    # the settings it lost with its power are there again
    assert rig.info["exposure_us"] == 1000.0


async def test_lost_and_back_without_a_restart(world: World) -> None:
    async with running(world.camera(frame_limit_ms=200)) as rig:
        for style in LOSS_STYLES:
            if style != "Block":
                await _lost_and_back(rig, style)
        assert rig.child.restarts == 0, rig.gone


async def test_a_vendor_call_that_hangs_costs_the_process_and_nothing_else(world: World) -> None:
    async with running(world.camera(frame_limit_ms=200)) as rig:
        await _lost_and_back(rig, "Block")
        assert rig.child.restarts == 1 and "signal 9" in rig.gone[0]


async def test_a_loss_while_nothing_is_asked_is_noticed(world: World) -> None:
    async with running(world.camera()) as rig:
        for style in ("Silent", "Error", "Strict"):
            said = len(rig.states)
            rig.control.disconnect(0, style=style)  # until told
            await rig.until(lambda: not rig.fresh)
            assert "VC0001" in rig.states[said].text
            assert failed(await rig.capture(1)).code == Code.CAMERA_LOST
            await rig.until(lambda: "can't be opened, it is not reachable" in rig.states[-1].text)
            # it is told once, not at every try
            await asyncio.sleep(0.4)
            assert len([s for s in rig.states[said:] if "not reachable" in s.text]) == 1
            rig.control.reconnect(0)
            await rig.ready()
            assert rig.number(await rig.capture(2)) == 2
        assert rig.child.restarts == 0


async def test_lost_in_the_middle_of_a_run(world: World) -> None:
    async with running(world.camera(frame_limit_ms=200)) as rig:
        rig.control.arm(0, "Disconnect", skip=5, gone_ms=300, style="Error")
        seen = []
        for number in range(1, 30):
            answer = await rig.capture(number)
            if isinstance(answer, Captured):
                assert rig.number(answer) == number
                seen.append(number)
            else:
                assert answer.code in (Code.CAMERA_LOST, Code.NO_FRAME)
                await rig.ready()
        assert seen[:5] == [1, 2, 3, 4, 5] and len(seen) >= 25
        assert rig.child.restarts == 0


async def test_a_wired_camera_is_lost_and_back(world: World) -> None:
    async with running(world.wired().camera()) as rig:
        for style in ("Silent", "Error", "Strict"):
            rig.control.disconnect(0, gone_ms=300, style=style)
            await rig.until(lambda: not rig.fresh)
            await rig.ready()
            pulse = await rig.pulse(9)
            assert rig.number(pulse.frame) == 9 and pulse.frame_id == 0
        assert rig.child.restarts == 0


async def test_lost_at_any_moment_of_opening(world: World) -> None:
    """The cable is pulled while the camera is being opened and set up, again and again."""
    chance = random.Random(3)
    async with running(world.camera()) as rig:
        for _ in range(15):
            rig.control.disconnect(
                0, gone_ms=chance.randint(20, 120), style=chance.choice(["Silent", "Error", "Strict"])
            )
            await asyncio.sleep(chance.uniform(0.02, 0.2))
        await rig.until(lambda: rig.fresh)
        await asyncio.sleep(0.7)  # a loss may not have been noticed yet
        await rig.ready()
        assert rig.number(await rig.capture(7)) == 7
        assert rig.child.restarts == 0


async def test_memory_that_lost_pictures_hold_is_bounded(make_world: Callable[..., World]) -> None:
    """A producer that gives nothing back after a loss: the process starts anew before it has cost too much."""
    world = make_world(sensor=(2048, 2448))
    world.camera(features={**SOFTWARE, "Width": 2448, "Height": 2048, "PixelFormat": "RGB8"}, slots=2)
    async with running(world) as rig:
        rig.control.disconnect(0, gone_ms=100, style="Strict")
        await rig.until(lambda: rig.gone)
        assert rig.gone == ["it ended by itself (exit 0)"]
        await rig.ready()
        assert isinstance(await rig.capture(), Captured)
        assert len(list(world.runtime.glob("ring-*"))) == 1


async def test_twenty_losses_leave_nothing_behind(world: World) -> None:
    """No descriptors, no rings; memory settles after about 100 losses, and tools/cameras runs 500."""
    async with running(world.camera(frame_limit_ms=200)) as rig:
        process = psutil.Process(rig.child.pid)
        before = (0, 0)
        for cycle in range(22):
            rig.control.disconnect(0, gone_ms=30, style=("Silent", "Error")[cycle % 2])
            await rig.until(lambda: not rig.fresh)
            await rig.ready()
            assert rig.number(await rig.capture(cycle + 1)) == cycle + 1
            if cycle == 3:
                before = process.memory_info().rss, process.num_fds()
        grown = process.memory_info().rss - before[0]
        assert grown < 10_000_000, f"{grown / 1e6:.1f} MB in 18 losses"
        assert process.num_fds() == before[1] and rig.child.restarts == 0
        assert len(list(world.runtime.glob("ring-*"))) == 1


async def test_unplugged_at_the_start(world: World) -> None:
    world.camera().control.disconnect(0)
    async with running(world, ready=False) as rig:
        assert "camera VC0001 can't be opened, it is not reachable" in await rig.trouble()
        world.control.reconnect(0)
        await rig.ready()
        assert rig.number(await rig.capture(1)) == 1


async def test_in_use_by_another_program(world: World) -> None:
    async with running(world.camera()) as rig, running(world, ready=False) as second:
        assert "camera VC0001 can't be opened, it is in use by another program" in await second.trouble()
        assert rig.number(await rig.capture(1)) == 1
        await rig.child.stop(3.0)
        await second.ready()
        assert second.number(await second.capture(2)) == 2


async def test_settings_changed_by_someone_else_are_told_and_set_again(world: World) -> None:
    async with running(world.camera(), hurried=True) as rig:
        rig.control.set_register(0, "ExposureTime", 500.0)
        text = await rig.trouble()
        assert "settings of camera top were changed by someone else: ExposureTime: wanted 1000, found 500.0" in text
        await rig.ready()
        assert rig.number(await rig.capture(1)) == 1


async def test_a_trigger_that_was_switched_off_is_noticed_before_the_next_part(world: World) -> None:
    async with running(world.camera()) as rig:
        assert rig.number(await rig.capture(1)) == 1
        rig.control.set_register(0, "TriggerMode", "Off")
        delivered = rig.control.counters(0).delivered
        rig.control.pulse(0)  # wakes the camera, which now runs freely
        await rig.until(lambda: rig.control.counters(0).delivered > delivered or not rig.fresh)
        answer = await rig.capture(2)
        assert failed(answer).code in (Code.CAMERA_LOST, Code.NO_FRAME)
        text = await rig.trouble()
        assert "TriggerMode[TriggerSelector=FrameStart]: wanted On, found Off" in text
        await rig.ready()
        assert rig.number(await rig.capture(3)) == 3


# --- what stops it from starting ------------------------------------------------------------------------------
async def test_unknown_serial_names_what_is_there(world: World) -> None:
    world.camera(serial="40012345")
    async with running(world, ready=False) as rig:
        assert "there is no camera 40012345 (found: VC0001, VC0002)" in await rig.trouble()
        await rig.until(lambda: len(rig.states) == 1)
        assert rig.child.restarts == 0


async def test_no_room_for_the_ring(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        world.runtime = small
        async with running(world.camera(), ready=False) as rig:
            text = await rig.trouble()
            assert "no room for 8 pictures (1 MB)" in text and "No space left" in text and "slots" in text
            assert list(small.iterdir()) == []
            subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
            await rig.ready()
            assert rig.number(await rig.capture(1)) == 1
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


async def test_no_folder_for_the_ring(world: World) -> None:
    world.camera()
    world.runtime.rmdir()
    async with running(world, ready=False) as rig:
        assert "no room for" in (text := await rig.trouble()) and "No such file or directory" in text
        world.runtime.mkdir()
        await rig.ready()


async def _ends(world: World, station_file: Path | None = None, name: str = "top") -> str:
    """The sentence of a process that can't do anything here, and then ends with 2."""
    rig = Rig(world, name, station_file=station_file)
    rig.child.start()
    try:
        text = await rig.trouble()
        await rig.until(lambda: rig.gone)
        assert "exit 2" in rig.gone[0]
        return text
    finally:
        await rig.child.stop(3.0)


async def test_the_producer_is_missing(world: World) -> None:
    world.camera(producer=str(world.folder / "absent.cti"))
    assert await _ends(world) == f"there is no GenTL producer {world.folder / 'absent.cti'}"


async def test_no_producer_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(world.folder))
    world.camera()
    del world.cameras["top"]["producer"]
    assert "no GenTL producer: install your camera maker's GenTL package" in await _ends(world.write())


@pytest.mark.parametrize("kind", ["text", "library"])
async def test_the_producer_is_none(kind: str, world: World) -> None:
    file = world.folder / "odd.cti"
    if kind == "text":
        file.write_text("not a library")
    else:  # a sound shared library, but not a GenTL producer
        import _ctypes

        file.write_bytes(Path(_ctypes.__file__).read_bytes())
    world.camera(producer=str(file))
    text = await _ends(world)
    assert f"GenTL producer {file} can't be loaded: " in text
    assert ("file too short" if kind == "text" else "has no function GCInitLib") in text


async def test_one_bad_producer_does_not_hide_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "a_bad.cti").write_text("not a library")
    (world.folder / "good.cti").symlink_to(CTI)
    monkeypatch.setenv("GENICAM_GENTL64_PATH", f"{world.folder}:{world.folder / 'absent'}")
    world.camera()
    del world.cameras["top"]["producer"]
    async with running(world.write()) as rig:
        assert rig.number(await rig.capture(1)) == 1


async def test_a_camera_the_station_does_not_have(world: World) -> None:
    assert "no camera side; there are top" in await _ends(world.camera(), name="side")


async def test_a_broken_station_file(world: World) -> None:
    file = write_yaml(world.folder / "broken.yaml", {"line": "UPPER"})
    assert f"{file}:1: line: found 'UPPER'" in await _ends(world.camera(), file)


async def test_a_broken_camera_file(world: World) -> None:
    world.camera()
    (world.folder / "top.yaml").write_text("features: {Gain: [1, 2]}\n")
    assert f"{world.folder / 'top.yaml'}:1: features.Gain: found [1, 2]" in await _ends(world)


# --- the process and its station ------------------------------------------------------------------------------
def _start(world: World) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "inspector.acquire.process", "--fd", str(theirs.fileno())]
    command += ["--station", str(world.station_file), "--camera", "top"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        pass_fds=(theirs.fileno(),),
        env={**os.environ, **world.environment},
        stderr=subprocess.PIPE,
    )
    theirs.close()
    ours.settimeout(EVERY_LIMIT_S)
    return ours, process


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"rubbish\n", "not a message"),
        (b"", ""),
    ],
)
def test_a_station_that_talks_nonsense_or_hangs_up_ends_the_process(sent: bytes, says: str, world: World) -> None:
    link, process = _start(world.camera())
    with link, process:
        assert b"camera_state" in link.recv(1 << 16)
        link.sendall(sent)
        if not sent:
            link.shutdown(socket.SHUT_RDWR)
        assert process.wait(EVERY_LIMIT_S) == 0
        assert process.stderr is not None
        assert says in (text := process.stderr.read().decode()) and "Traceback" not in text


async def test_it_stops_when_asked_and_lets_the_camera_go(world: World) -> None:
    async with running(world.camera()) as rig:
        await rig.child.stop(3.0)
        assert "exit 0" in rig.gone[0]
    async with running(world) as again:
        assert again.number(await again.capture(1)) == 1


def test_it_dies_with_a_station_that_is_killed(world: World) -> None:
    world.camera()
    code = "import asyncio, sys; from tests.acquire.rig import hold; asyncio.run(hold(*sys.argv[1:]))"
    station = subprocess.Popen(
        [sys.executable, "-c", code, str(world.station_file)],
        cwd=ROOT,
        env={**os.environ, **world.environment},
        stdout=subprocess.PIPE,
    )
    with station:
        assert station.stdout is not None
        child = psutil.Process(int(station.stdout.readline()))
        assert child.is_running()
        station.send_signal(signal.SIGKILL)
        station.wait(EVERY_LIMIT_S)
        gone, alive = psutil.wait_procs([child], EVERY_LIMIT_S)
        assert gone and not alive
