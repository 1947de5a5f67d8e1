"""The real, unmodified harvesters and genicam against the virtual camera, one process a scenario."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tools.virtual_camera.rig import COLUMNS, ROWS, picture
from tools.virtual_camera.control import CameraControl, build

ROOT = Path(__file__).resolve().parents[3]


def run(name: str, module: str = "scenarios", **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VIRTUAL_CAMERA_") or k.endswith("_CTI")}
    preload = os.environ.get("VIRTUAL_CAMERA_PRELOAD")  # the sanitizer's library, see `make asan-test`
    if preload:
        kept["LD_PRELOAD"] = preload
    return subprocess.run(
        [sys.executable, "-m", f"tests.tools.virtual_camera.{module}", name],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    assert "does not implement" not in done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    if "VIRTUAL_CAMERA_CTI" not in os.environ:
        build()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "cameras.ctl"
    CameraControl.create(place, devices=3, sensor=(ROWS, COLUMNS)).close()
    return place


@pytest.mark.parametrize(
    "name",
    [
        "enumerate_devices",
        "features",
        "settings_walk",
        "software_trigger",
        "line_trigger",
        "missed_triggers",
        "trigger_delay",
        "chunks",
        "exposure_and_gain",
        "pixel_formats",
        "fault_drop_frame",
        "fault_lose_trigger",
        "fault_incomplete",
        "fault_delay",
        "underrun",
        "free_run",
        "locked_while_acquiring",
        "user_sets",
        "disconnect",
        "reset_device",
        "reopen_many_times",
        "stop_in_the_middle",
        "two_processes",
        "other_process_shows",
        "showing_while_exposing",
        "abuse",
    ],
)
def test_scenario(name: str, path: Path) -> None:
    check(run(name, VIRTUAL_CAMERA_CONTROL=str(path)))


@pytest.mark.parametrize("tl_type", ["Custom", "GEV"])
@pytest.mark.parametrize(
    "name",
    [
        "extra_trigger",
        "duplicate",
        "out_of_order",
        "wrong_frame_id",
        "stream_error",
        "port_error",
        "slow_port",
        "open_busy",
        "settings_lost",
        "overheat",
        "line_stuck",
        "bad_image",
        "size_mismatch",
        "bad_chunk",
        "every_fault",
    ],
)
def test_fault(name: str, tl_type: str, path: Path) -> None:
    check(run(name, "fault_scenarios", VIRTUAL_CAMERA_CONTROL=str(path), VIRTUAL_CAMERA_TLTYPE=tl_type))


@pytest.mark.parametrize(
    "name",
    [
        "fault_drop_frame",
        "fault_lose_trigger",
        "fault_incomplete",
        "fault_delay",
        "disconnect",
        "reopen_many_times",
        "stop_in_the_middle",
        "pixel_formats",
    ],
)
def test_scenario_under_gev(name: str, path: Path) -> None:
    check(run(name, VIRTUAL_CAMERA_CONTROL=str(path), VIRTUAL_CAMERA_TLTYPE="GEV"))


@pytest.mark.parametrize("tl_type", ["Custom", "GEV"])
@pytest.mark.parametrize("name", ["personality", "trigger_counter", "clock", "sequencer"])
def test_sensor(name: str, tl_type: str, path: Path) -> None:
    check(run(name, "sensor_scenarios", VIRTUAL_CAMERA_CONTROL=str(path), VIRTUAL_CAMERA_TLTYPE=tl_type))


@pytest.mark.parametrize("name", ["no_sequencer_by_option", "lights", "noise", "fixed_pattern"])
def test_optics(name: str, path: Path) -> None:
    check(run(name, "sensor_scenarios", VIRTUAL_CAMERA_CONTROL=str(path)))


def test_a_camera_without_a_sequencer(path: Path) -> None:
    environment = {"VIRTUAL_CAMERA_CONTROL": str(path), "VIRTUAL_CAMERA_SEQUENCER": "off"}
    check(run("no_sequencer", "sensor_scenarios", **environment))


def write_pnm(file: Path, image: np.ndarray) -> None:
    kind = b"P6" if image.ndim == 3 else b"P5"
    file.write_bytes(kind + b"\n# a comment\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())


def test_pictures_from_a_folder(tmp_path: Path) -> None:
    write_pnm(tmp_path / "a.pgm", picture(1))
    write_pnm(tmp_path / "b.ppm", picture(2, (ROWS, COLUMNS, 3)))
    (tmp_path / "notes.txt").write_text("not a picture")
    check(run("folder", VIRTUAL_CAMERA_FOLDER=str(tmp_path), VIRTUAL_CAMERA_SENSOR=f"{COLUMNS}x{ROWS}"))


def test_without_anything_there_is_a_test_pattern() -> None:
    check(run("test_pattern", VIRTUAL_CAMERA_DEVICES="1"))


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"VIRTUAL_CAMERA_CONTROL": "/nowhere/cameras.ctl"}, "/nowhere/cameras.ctl: No such file"),
        ({"VIRTUAL_CAMERA_CONTROL": "JUNK"}, "is not a virtual camera control file"),
        ({"VIRTUAL_CAMERA_CONTROL": "OLD"}, "has layout 99, this camera needs 2"),
        ({"VIRTUAL_CAMERA_CONTROL": "SHORT"}, "is damaged"),
        ({"VIRTUAL_CAMERA_DEVICES": "9"}, 'VIRTUAL_CAMERA_DEVICES is "9", allowed is 1 to 4'),
        ({"VIRTUAL_CAMERA_TLTYPE": "U3V"}, 'VIRTUAL_CAMERA_TLTYPE is "U3V", allowed is Custom or GEV'),
        ({"VIRTUAL_CAMERA_SEQUENCER": "no"}, 'VIRTUAL_CAMERA_SEQUENCER is "no", allowed is on or off'),
        ({"VIRTUAL_CAMERA_SENSOR": "12x"}, 'VIRTUAL_CAMERA_SENSOR is "12x", allowed is'),
        ({"VIRTUAL_CAMERA_FOLDER": "EMPTY"}, "holds no .pgm or .ppm picture"),
        ({"VIRTUAL_CAMERA_FOLDER": "BROKEN"}, "cut.pgm is not an 8-bit binary PGM or PPM"),
    ],
)
def test_bad_environment_is_named(environment: dict[str, str], says: str, tmp_path: Path, path: Path) -> None:
    with path.open("rb") as file:
        good = bytearray(file.read(4096))
    junk, old, short, empty, broken = (tmp_path / n for n in ("junk", "old", "short", "empty", "broken"))
    junk.write_bytes(b"x" * 5000)
    short.write_bytes(good)
    good[8] = 99
    old.write_bytes(good)
    empty.mkdir()
    broken.mkdir()
    (broken / "cut.pgm").write_bytes(b"P5\n640 480\n255\n" + b"x" * 1000)
    places = {"JUNK": junk, "OLD": old, "SHORT": short, "EMPTY": empty, "BROKEN": broken}
    done = run("refuses_environment", **{k: str(places.get(v, v)) for k, v in environment.items()})
    assert done.returncode == 0, done.stderr
    assert "virtual camera: " in done.stderr and says in done.stderr
