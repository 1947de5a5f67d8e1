"""Saving a camera's settings, applying them, comparing: what is written reads back, what differs is named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.acquire.visit import Feature
from inspector.cli.camera_file import text_of
from inspector.config import load_camera_file
from tests.acquire.rig import SOFTWARE, World, running, write_yaml
from tests.cli.conftest import camera
from tools.virtual_camera.control import CTI


def save(world: World, file: str = "saved.yaml", *more: Any) -> dict[str, Any]:
    result = camera(world, "save", "top", "-o", file, *more)
    assert result.exit_code == 0, result.output
    return load_camera_file(Path(file)).features


def changed(file: str, to: str, **features: Any) -> str:
    """A copy of a camera file, sorted by name, with other values; a feature that was not there is added."""
    write_yaml(Path(to), {"features": {**load_camera_file(Path(file)).features, **features}})
    return to


def rows(output: str) -> list[list[str]]:
    """The table's heading, and its rows by name."""
    heading, *found = (line.split() for line in output.splitlines())
    return [heading, *sorted(found)]


def test_the_whole_set_is_saved_in_words(world: World) -> None:
    world.camera("top")
    features = save(world)
    assert features["ExposureTime"] == 1000.0 and features["PixelFormat"] == "Mono8"
    chunks = [key for key in features if key.startswith("ChunkEnable[ChunkSelector=")]
    assert len(chunks) >= 6  # one for each entry of its selector
    assert not any(name.startswith(("Sim", "TLParams")) or name.endswith("Selector") for name in features)
    text = Path("saved.yaml").read_text()
    assert text.startswith("# All settings of VirtualCamera VC0001.") and "model: VirtualCamera\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "# --- ImageFormatControl" in lines and "# --- ChunkDataControl" in lines
    assert "Width: 1280 # px, 16 to 1280 in steps of 4" in lines
    assert "ExposureTime: 1000.0 # us, 10 to 1000000" in lines
    pixel_format = lines.index("PixelFormat: Mono8")
    assert lines[pixel_format - 1].startswith("# ") and "RGB8" in lines[pixel_format - 1]  # too many for one line
    assert max(map(len, text.splitlines())) <= 120


def test_it_is_not_written_over_without_force(world: World) -> None:
    world.camera("top")
    save(world)
    Path("saved.yaml").write_text("features: {Gain: 3}\n")
    result = camera(world, "save", "top", "-o", "saved.yaml")
    assert result.exit_code == 1 and "saved.yaml is there already; --force writes over it" in result.stderr
    assert Path("saved.yaml").read_text() == "features: {Gain: 3}\n"
    assert len(save(world, "saved.yaml", "--force")) > 10
    assert sorted(path.name for path in Path().glob("*saved*")) == ["saved.yaml"]


async def test_a_saved_file_runs_a_station(world: World) -> None:
    world.camera("top")
    async with running(world):
        pass  # the camera keeps what the station set
    save(world, "all.yaml")
    features = load_camera_file(Path("all.yaml")).features
    assert features["TriggerMode[TriggerSelector=FrameStart]"] == "On"
    world.cameras.clear()
    async with running(world.camera("top", features)) as rig:
        assert rig.number(await rig.capture(5)) == 5


def test_apply_sets_what_was_saved_and_diff_says_so(world: World) -> None:
    world.camera("top")
    save(world)
    to = changed("saved.yaml", "other.yaml", ExposureTime=500, Gain=6.0, Width=640, OffsetX=320)
    result = camera(world, "diff", "top", to)
    assert result.exit_code == 1, result.output
    assert rows(result.stdout) == [
        ["feature", "other.yaml", "top", "now", "unit"],
        ["ExposureTime", "500", "1000.0", "us"],
        ["Gain", "6.0", "0.0", "dB"],
        ["OffsetX", "320", "0", "px"],
        ["Width", "640", "1280", "px"],
    ]
    result = camera(world, "apply", "top", to)
    assert result.exit_code == 0, result.output
    assert "features set and read back" in result.stdout
    result = camera(world, "diff", "top", to)
    assert (result.exit_code, result.stdout) == (0, "other.yaml and top now: the same\n")
    # back again: the offset has to go before the width may grow, and the width stands first
    assert camera(world, "apply", "top", "saved.yaml").exit_code == 0
    assert camera(world, "diff", "top", "saved.yaml").exit_code == 0
    assert save(world, "again.yaml") == load_camera_file(Path("saved.yaml")).features


def test_each_feature_that_does_not_take_is_named(world: World) -> None:
    world.camera("top")
    save(world)
    to = changed("saved.yaml", "bad.yaml", ExposureTime=0.5, Sharpness=3, PixelFormat="Mono99")
    result = camera(world, "apply", "top", to, "--user-set", "UserSet1")
    assert result.exit_code == 1
    assert "3 of " in result.stderr and "features are not as bad.yaml wants:" in result.stderr
    assert "ExposureTime: wanted 0.5, " in result.stderr and "allowed: 10 to 1000000" in result.stderr
    assert "Sharpness: wanted 3, this camera has no such feature" in result.stderr
    assert "PixelFormat: wanted Mono99" in result.stderr
    assert "nothing was saved as UserSet1" in result.stderr


def test_a_user_set_as_the_start(world: World) -> None:
    world.camera("top")
    save(world)
    to = changed("saved.yaml", "mine.yaml", ExposureTime=700, Gain=3.0)
    result = camera(world, "apply", "top", to, "--user-set", "UserSet1", "--boot")
    assert result.exit_code == 0, result.output
    assert "saved in the camera as UserSet1, and it starts with it" in result.stdout
    assert camera(world, "apply", "top", "saved.yaml").exit_code == 0
    world.control.disconnect(0, gone_ms=1)  # a power-up
    result = camera(world, "diff", "top", "mine.yaml")
    assert result.exit_code == 0, result.output
    result = camera(world, "apply", "top", to, "--user-set", "Nonsense")
    assert result.exit_code == 1 and "Nonsense" in result.stderr
    result = camera(world, "apply", "top", to, "--boot")
    assert result.exit_code == 1 and "--boot says that the camera starts with a user set" in result.stderr


def test_another_model_is_refused(world: World) -> None:
    world.camera("top")
    write_yaml(Path("x.yaml"), {"model": "acA2440-20gm", "features": {"Gain": 2}})
    result = camera(world, "apply", "top", "x.yaml")
    assert result.exit_code == 1
    assert "x.yaml is for model acA2440-20gm, camera VC0001 is VirtualCamera" in result.stderr
    assert camera(world, "diff", "top", "x.yaml").stdout.split()[-4:] == ["Gain", "2", "0.0", "dB"]


def test_diff_with_the_station_s_own_file(world: World) -> None:
    world.camera("top", {**SOFTWARE, "ExposureTime": 850})
    result = camera(world, "diff", "top")
    assert result.exit_code == 1 and "ExposureTime" in result.stdout and "850" in result.stdout
    result = camera(world, "diff", "VC0002")
    assert result.exit_code == 2 and "VC0002 is no camera of the station: name a camera file" in result.stderr


def test_what_can_t_be_read_is_not_called_the_same(world: World) -> None:
    world.camera("top", {**SOFTWARE, "ExposureTime": 850, "Sharpness": 3})
    result = camera(world, "diff", "top")
    assert result.exit_code == 2
    assert ["ExposureTime", "850", "1000.0", "us"] in rows(result.stdout) and "Sharpness" not in result.stdout
    assert "what could not be compared:\n  Sharpness: wanted 3, this camera has no such feature" in result.stderr
    world.control.arm(0, "OpenBusy")
    result = camera(world, "diff", "top")
    assert result.exit_code == 2 and "sudo systemctl stop inspector" in result.stderr


def test_diff_of_two_files_needs_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a = {
        "ExposureTime": 1000,
        "Gain": 1.0,
        "Width": 640,
        "TriggerMode[TriggerSelector=FrameStart]": "On",
        "ChunkModeActive": True,
    }
    b = {
        "ExposureTime": 1001,
        "Gain": 1.2,
        "Width": 640.0,
        "TriggerMode[TriggerSelector=FrameStart]": "Off",
        "BlackLevel": 2,
    }
    write_yaml(Path("a.yaml"), {"features": a})
    write_yaml(Path("b.yaml"), {"features": b})
    result = camera(None, "diff", "a.yaml", "b.yaml")
    assert result.exit_code == 1
    assert rows(result.stdout) == [
        ["feature", "a.yaml", "b.yaml", "unit"],
        ["BlackLevel", "-", "2"],
        ["ChunkModeActive", "true", "-"],
        ["ExposureTime", "1000", "1001", "us"],
        ["Gain", "1.0", "1.2", "dB"],
        ["TriggerMode[TriggerSelector=FrameStart]", "On", "Off"],
    ]
    result = camera(None, "diff", "a.yaml", "a.yaml")
    assert (result.exit_code, result.stdout) == (0, "a.yaml and a.yaml: the same\n")


def test_what_can_t_be_told_is_status_2(world: World) -> None:
    world.camera("top")
    Path("broken.yaml").write_text("features: []\n")
    for arguments, says in (
        (["diff", "top", "none.yaml"], "none.yaml: can't be read: No such file"),
        (["diff", "broken.yaml", "broken.yaml"], "broken.yaml:1: features: found []"),
        (["diff", "VC0009", "top.yaml"], "there is no camera VC0009 (found: VC0001, VC0002)"),
    ):
        result = camera(world, *arguments)
        assert result.exit_code == 2 and says in result.stderr, result.output
    for arguments, says in (
        (["save", "top", "-o", "a.txt"], "a.txt: allowed is a name that ends with .yaml"),
        (["save", "top", "-o", "none/a.yaml"], "none/a.yaml: there is no folder none"),
        (["save", "VC0009", "-o", "a.yaml"], "there is no camera VC0009"),
        (["apply", "top", "broken.yaml"], "broken.yaml:1: features: found []"),
    ):
        result = camera(world, *arguments)
        assert result.exit_code == 1 and says in result.stderr, result.output


async def test_a_camera_that_the_station_holds(world: World) -> None:
    async with running(world.camera("top")) as rig:
        for status, *command in (
            (1, "save", "top", "-o", "a.yaml"), (1, "apply", "top", "top.yaml"), (2, "diff", "top")
        ):  # fmt: skip
            result = await asyncio.to_thread(camera, world, *command)
            assert result.exit_code == status
            assert "in use by another program" in result.stderr and "sudo systemctl stop inspector" in result.stderr
        assert rig.number(await rig.capture(3)) == 3
    assert not Path("a.yaml").exists()


def test_without_a_station(world: World) -> None:
    result = camera(None, "save", "VC0002", "-o", "two.yaml", "--producer", CTI)
    assert result.exit_code == 0, result.output
    assert camera(None, "diff", "VC0002", "two.yaml", "--producer", CTI).exit_code == 0


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["On", "off", "yes", "NULL", "~", "1e3", "0x10", "- a", "a: b", "a #b", "", " x ", "%", "\u2028"]),
)


@given(
    few=st.sampled_from([1, 9]),
    values=st.dictionaries(st.from_regex(r"\A[A-Z][a-z]{1,8}(\[A=[a-z0-9]{1,4}(,B=x)?\])?\Z"), VALUES, min_size=1),
)
def test_whatever_a_camera_holds_reads_back(
    few: int, values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("any") / "camera.yaml"
    first = next(iter(values)).split("[")[0]
    described = Feature(first, "Category\n- x", "RW", "1", "us", "1 to 2\nand more: # 3" * few, "Guru")
    model = Feature("DeviceModelName", "DeviceControl", "RO", "On: #1", "", "", "Beginner")
    file.write_text(text_of([described, model], values), encoding="utf-8")
    read = load_camera_file(file)
    assert read.features == values and list(read.features) == list(values) and read.model == "On: #1"
    assert [type(v) for v in read.features.values()] == [type(v) for v in values.values()]
