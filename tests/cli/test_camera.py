"""``inspector camera`` on the virtual camera: list, show, snapshot, and what each says when it can't."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result

from inspector.acquire import visit
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, World, part_picture, running
from tests.cli.conftest import camera
from tools.part_renderer.stamp import read_stamp
from tools.virtual_camera.control import CTI, expected


def test_list_names_each_camera_and_whose_it_is(world: World) -> None:
    world.camera("top")
    world.control.disconnect(1)
    result = camera(world, "list")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["producer", *str(CTI).split()]
    assert lines[2] == ["VC0001", "VirtualCamera", "Inspector", "Custom", "free", "top"]
    assert lines[3] == ["VC0002", "VirtualCamera", "Inspector", "Custom", "not", "reachable"]


def test_list_tells_what_is_missing(world: World) -> None:
    world.camera("top").camera("side", serial="40012345")
    result = camera(world, "list")
    assert result.exit_code == 1
    assert "camera side of the station, serial 40012345, is not there" in result.stderr and "VC0001" in result.stdout


def test_list_without_a_station(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    result = camera(None, "list", "--producer", CTI)
    assert result.exit_code == 0 and "VC0001" in result.stdout
    result = camera(None, "list")
    assert result.exit_code == 1 and "no GenTL producer: install" in result.stderr
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(CTI.parent))
    result = camera(None, "list")
    assert result.exit_code == 0 and "VC0002" in result.stdout


def test_show_has_values_ranges_and_what_differs(world: World) -> None:
    world.camera("top", {**SOFTWARE, "ExposureTime": 850})
    result = camera(world, "show", "top")
    assert result.exit_code == 0, result.output
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert "* ExposureTime RW 1000.0 us 10 to 1000000" in lines
    assert any(line.startswith("* PixelFormat RW Mono8 Mono8, ") and line.endswith("RGB8, BGR8") for line in lines)
    assert "* Width RW 1280 px 16 to 1280 in steps of 4" in lines
    assert "DeviceTemperature RO 41.5 C" in lines and "TriggerSoftware WO (command)" in lines
    assert "ExposureTime: wanted 850, found 1000.0" in lines
    assert "TriggerMode[TriggerSelector=FrameStart]: wanted On, found Off" in lines
    assert not any("SimFault" in line for line in lines) and any("more with --all" in line for line in lines)
    everything = camera(world, "show", "VC0001", "--all").stdout
    assert "SimFault" in everything and "more with --all" not in everything


def test_show_by_serial_number_without_a_station(world: World) -> None:
    result = camera(None, "show", "VC0002", "--producer", CTI)
    assert result.exit_code == 0 and "VC0002" in result.stdout and "differs" not in result.stdout
    result = camera(None, "show", "VC0009", "--producer", CTI)
    assert result.exit_code == 1 and "there is no camera VC0009 (found: VC0001, VC0002)" in result.stderr


@pytest.mark.parametrize(
    "name", ["Mono8", "Mono12p", "Mono10Packed", "Mono16", "BayerRG8", "BayerGB12", "RGB8", "BGR8"]
)
def test_a_snapshot_is_the_picture_without_loss(name: str, world: World) -> None:
    picture = part_picture(7)
    if name in ("RGB8", "BGR8"):
        picture = np.dstack([picture, picture // 2, picture // 4])
    world.control.show(0, picture)
    world.camera("top", {**SOFTWARE, "PixelFormat": name})
    file = world.folder / "a.png"
    result = camera(world, "snapshot", "top", "-o", file)
    assert result.exit_code == 0, result.output
    saved = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert saved is not None and saved.shape[:2] == (ROWS, COLUMNS)
    assert f"{COLUMNS}x{ROWS} px, {name.removesuffix('p').removesuffix('Packed')}\n" in result.stdout
    raw = expected(picture, name)
    white = (1 << int("".join(filter(str.isdigit, name)))) - 1
    assert f"mean       {raw.mean():.1f} of {white}" in result.stdout
    if name.startswith("Bayer"):
        assert saved.ndim == 3
        grey = cv2.cvtColor(saved, cv2.COLOR_BGR2GRAY)
        assert read_stamp(np.asarray(grey * (255.0 / white), np.uint8)) == 7
        return
    shown = saved[..., ::-1] if name == "RGB8" else saved  # OpenCV's own order is BGR
    assert np.array_equal(shown, raw) and shown.dtype == raw.dtype


def test_other_settings_for_one_picture(world: World) -> None:
    world.control.show(0, np.full((ROWS, COLUMNS), 100, np.uint8))
    world.camera("top")
    before = (world.folder / "top.yaml").read_text()
    result = camera(world, "snapshot", "top", "--set", "ExposureTime=500", "--set", "PixelFormat=Mono12")
    assert result.exit_code == 0, result.output
    assert "exposure   500 us" in result.stdout and "Mono12" in result.stdout
    saved = cv2.imread("top.png", cv2.IMREAD_UNCHANGED)
    assert saved is not None and set(np.unique(saved >> 4)) == {50}  # half of 100, and low bits of its own
    assert (world.folder / "top.yaml").read_text() == before
    for change, says in (
        ("Gain", "--set Gain: allowed is Feature=Value or Feature[Selector=Entry]=Value"),
        ("Gain=[1]", "features.Gain: found [1], allowed: boolean or"),
        ("Gain[A]=1", "features.Gain[A]: allowed is Feature or Feature[Selector=Entry]"),
        ("Gain=99", "Gain: wanted 99, allowed: 0 to 30 dB"),
        ("LineSource[LineSelector=Line9]=ExposureActive", "LineSource[LineSelector=Line9]: wanted ExposureActive"),
    ):
        result = camera(world, "snapshot", "top", "--set", change)
        assert result.exit_code == 1 and says in result.stderr and "/" not in result.stderr, result.output


def test_a_gige_camera_is_one_like_any_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_CAMERA_TLTYPE", "GEV")
    world.camera("top")
    world.control.show(0, part_picture(9))
    assert camera(world, "list").stdout.split("\n")[2].split()[3] == "GEV"
    result = camera(world, "snapshot", "top")
    assert result.exit_code == 0, result.output
    saved = cv2.imread("top.png", cv2.IMREAD_UNCHANGED)
    assert saved is not None and read_stamp(np.asarray(saved, np.uint8)) == 9
    assert camera(world, "diff", "top").exit_code == 0  # nobody has touched it since


def test_a_producer_written_by_others(world: World) -> None:
    """The one that comes with genicam: three free-running devices without a trigger or a serial number in the XML."""
    found = importlib.util.find_spec("genicam")
    viky = Path(str(found.origin)).parent / "viky.cti" if found else Path("none")
    if not viky.is_file():
        pytest.skip("genicam has no viky.cti here")
    assert [line.split()[1] for line in camera(None, "list", "--producer", viky).stdout.splitlines()[2:]] == [
        "Viky"
    ] * 3
    assert camera(None, "save", "1", "-o", "viky.yaml", "--producer", viky).exit_code == 0
    assert Path("viky.yaml").read_text().startswith("# All settings of camera 1.\n")
    assert camera(None, "apply", "1", "viky.yaml", "--producer", viky).exit_code == 0
    assert camera(None, "diff", "1", "viky.yaml", "--producer", viky).exit_code == 0
    world.camera("top", {"PixelFormat[ComponentSelector=Intensity]": "Mono8"}, serial="1", producer=str(viky))
    result = camera(world, "snapshot", "top")
    assert result.exit_code == 0, result.output
    assert "400x400 px, Mono8" in result.stdout and "exposure   not told" in result.stdout


def focus(result: Result) -> float:
    return float(next(line for line in result.stdout.splitlines() if "focus" in line).split()[1])


def test_a_snapshots_figures_tell_sharp_from_blurred_and_bright_from_white(world: World) -> None:
    world.camera("top")
    sharp = part_picture(7)
    world.control.show(0, sharp)
    one = camera(world, "snapshot", "top")
    assert one.stdout.splitlines()[0] == "top.png" and (world.folder / "top.png").is_file()
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 3), np.uint8)
    blurred[:, : COLUMNS // 4] = 255
    world.control.show(0, blurred)
    two = camera(world, "snapshot", "top")
    assert focus(one) > 2 * focus(two) > 0
    assert "0.00% of the values are 255" in one.stdout and "25.00% of the values are 255" in two.stdout
    # the same scene in a deeper format has the same score
    world.control.show(0, sharp)
    world.cameras.clear()
    deep = camera(world.camera("top", {**SOFTWARE, "PixelFormat": "Mono12"}), "snapshot", "top")
    assert abs(focus(deep) - focus(one)) < 0.02 * focus(one)


def test_a_wired_camera_waits_for_its_trigger(world: World) -> None:
    world.wired().camera("top")
    world.control.show(0, part_picture(8), 8)
    pulsing = threading.Event()

    def pulse() -> None:
        while not pulsing.wait(0.05):
            world.control.pulse(0)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        result = camera(world, "snapshot", "top", "--wait-s", 20)
    finally:
        pulsing.set()
        thread.join()
    assert result.exit_code == 0, result.output
    assert "waiting up to 20 s for a pulse" in result.stderr
    saved = cv2.imread("top.png", cv2.IMREAD_UNCHANGED)
    assert saved is not None and read_stamp(np.asarray(saved, np.uint8)) == 8
    result = camera(world, "snapshot", "top", "--wait-s", 0.2)
    assert result.exit_code == 1
    assert "sent no picture within 0.2 s: no pulse came on its trigger wire" in result.stderr


async def test_a_camera_that_the_station_holds(world: World) -> None:
    async with running(world.camera("top")) as rig:
        for command in ("show", "snapshot"):
            result = await asyncio.to_thread(camera, world, command, "top")
            assert result.exit_code == 1
            assert "camera VC0001 can't be opened, it is in use by another program" in result.stderr
            assert "Stop it first: sudo systemctl stop inspector" in result.stderr
        assert " busy " in (await asyncio.to_thread(camera, world, "list")).stdout
        assert rig.number(await rig.capture(3)) == 3  # and it is not disturbed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["snapshot", "side"], "side is no camera of the station (it has top)"),
        (["snapshot", "top", "-o", "a.jpg"], "a.jpg: allowed is a name that ends with .png"),
        (["snapshot", "top", "-o", "none/a.png"], "none/a.png: there is no folder none"),
        (["show", "VC0007"], "there is no camera VC0007 (found: VC0001, VC0002)"),
        (["list", "--producer", "absent.cti"], "there is no GenTL producer absent.cti"),
        (["show", "top", "--producer", "absent.cti"], "there is no GenTL producer absent.cti"),
    ],
)
def test_what_is_asked_wrongly(arguments: list[str], says: str, world: World) -> None:
    result = camera(world.camera("top"), *arguments)
    assert result.exit_code == 1 and says in result.stderr, result.output
    assert not list(world.folder.glob("*.png"))


def test_broken_files_and_settings(world: World) -> None:
    world.camera("top", {**SOFTWARE, "Gain": 99})
    result = camera(world, "snapshot", "top")
    assert result.exit_code == 1 and "Gain: wanted 99, allowed: 0 to 30 dB" in result.stderr
    world.cameras.clear()
    world.camera("top")
    (world.folder / "top.yaml").write_text("features: {Gain: }\n")
    for command in ("show", "snapshot"):
        result = camera(world, command, "top")
        assert result.exit_code == 1 and f"{world.folder / 'top.yaml'}:1: features.Gain: found None" in result.stderr
    world.station_file.write_text("line: [\n")
    for command in (["list"], ["show", "top"], ["snapshot", "top"]):
        result = camera(world, *command)
        assert result.exit_code == 1 and f"{world.station_file}:" in result.stderr


def test_an_incomplete_picture_and_none(world: World) -> None:
    world.camera("top")
    world.control.arm(0, "Incomplete", filled_percent=50)
    result = camera(world, "snapshot", "top")
    assert result.exit_code == 1 and "camera VC0001 sent an incomplete picture; check its cable" in result.stderr
    world.control.arm(0, "LoseTrigger")
    result = camera(world, "snapshot", "top", "--wait-s", 0.3)
    assert result.exit_code == 1 and "sent no picture within 0.3 s of the trigger" in result.stderr


def test_a_vendor_that_crashes_or_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no compiler")
    world.camera("top")
    bad = world.folder / "bad.cti"
    names = ("TLOpen", "IFOpenDevice", "DSStartAcquisition")
    for body, limit_s, says in (
        ("__builtin_trap();", 60.0, "crashed (SIGILL)"),
        ("for (;;) sleep(1);", 2.0, "hangs: no answer within 2 s"),
    ):
        code = "#include <unistd.h>\nint GCInitLib(void) { " + body + " return 0; }\n"
        (world.folder / "bad.c").write_text(code + "".join(f"int {n}(void) {{ return 0; }}\n" for n in names))
        command = ["cc", "-shared", "-fPIC", "-o", str(bad), str(world.folder / "bad.c")]
        subprocess.run(command, check=True)
        monkeypatch.setattr(visit, "LIMIT_S", limit_s)
        result = camera(world, "show", "top", "--producer", bad)
        assert result.exit_code == 1
        assert result.stderr.strip() == f"GenTL producer {bad} {says}"
