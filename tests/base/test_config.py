"""station.yaml, camera files and YAML itself: what is wrong is one line: file, line, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from inspector.config import load_camera_file, load_station
from inspector.yamlfile import MAX_BYTES, FileError, YamlFile, load

ROOT = Path(__file__).resolve().parents[2]

STATION = """\
line: line1
station: top
name: Top view
plc: {host: broker, port: 1883}
cameras:
  top:
    serial: "40012345"
    features: cameras/top.yaml
    slots: 4
identity:
  mode: announced
recipes: recipes
recipe: 1
archive:
  folder: kept
state_dir: state
runtime_dir: run
"""


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cameras").mkdir()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "cameras/top.yaml").write_text("features: {Width: 640}\n")
    return tmp_path


def station(folder: Path, *changes: tuple[str, str]) -> Path:
    text = STATION
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "station.yaml"
    file.write_text(text)
    return file


def problems(load_it: Any, file: Path) -> list[str]:
    with pytest.raises(FileError) as caught:
        load_it(file)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(p.startswith(f"{file}:") for p in caught.value.problems)
    return [p.removeprefix(f"{file}:") for p in caught.value.problems]


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = station(folder)
    config = load_station(file)
    assert config.cameras["top"].features == folder / "cameras/top.yaml"
    assert (config.state_dir, config.runtime_dir) == (folder / "state", folder / "run")
    assert config.archive.folder == folder / "state/kept"
    assert config.feed_socket == folder / "run/feed.sock"
    assert config.cameras["top"].producer is None and config.plc.version == "auto"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/x")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/x")
    config = load_station(file)
    assert (config.state_dir, config.runtime_dir) == (Path("/var/lib/x"), Path("/run/x"))
    assert config.archive.folder == Path("/var/lib/x/kept")


@pytest.mark.parametrize("name", ["demo.yaml", "station.yaml"])
def test_the_shipped_files_are_sound(name: str) -> None:
    config = load_station(ROOT / "firmware_config" / name)
    for camera in config.cameras.values():
        assert load_camera_file(camera.features).features["TriggerMode[TriggerSelector=FrameStart]"] == "On"


def test_every_shipped_camera_file_is_sound() -> None:
    files = sorted((ROOT / "firmware_config/cameras").glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        load_camera_file(file)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("line: line1", "line: LINE 1", "1: line: found 'LINE 1', allowed: "),
        ("line: line1\n", "", "1: line: missing, and it is needed"),
        ("name: Top view", "name: ''", "3: name: found '', allowed: "),
        ("name: Top view", "nmae: Top view", "1: name: missing, and it is needed"),
        ("port: 1883", "port: 70000", "4: plc.port: found 70000, allowed: less than or equal to 65535"),
        ("port: 1883", "port: many", "4: plc.port: found 'many', allowed: integer"),
        ("port: 1883", "version: 4", "4: plc.version: found 4, allowed: 'auto', '5' or '3.1.1'"),
        ("port: 1883", "password_file: absent", "4: plc.password_file: there is no file FOLDER/absent"),
        ("port: 1883", "keepalive_s: 1", "4: plc.keepalive_s: found 1, allowed: greater than or equal to 2"),
        ("plc: {host: broker, port: 1883}", "plc: broker", "4: plc: found 'broker', allowed: "),
        ('    serial: "40012345"\n', "", "6: cameras.top.serial: missing, and it is needed"),
        ('"40012345"', "40012345", "7: cameras.top.serial: found 40012345, allowed: string"),
        ("cameras/top.yaml", "cameras/none.yaml", "8: cameras.top.features: there is no file FOLDER/cameras/none.yaml"),
        ("slots: 4", "slots: 1", "9: cameras.top.slots: found 1, allowed: greater than or equal to 2"),
        ("slots: 4", "trigger: wired", "9: cameras.top.trigger: unknown key"),
        ("announced", "both", "11: identity.mode: found 'both', allowed: 'command', 'announced' or 'counted'"),
        ("mode: announced", "window_ms: 0", "11: identity.window_ms: found 0, allowed: greater than or equal to 1"),
        ("mode: announced", "windows_ms: 10", "11: identity.windows_ms: unknown key"),
        ("  top:", "  TOP:", "6: cameras.TOP: found 'TOP', allowed: "),
        ("recipes: recipes", "recipes: none", "12: recipes: there is no folder FOLDER/none"),
        ("recipe: 1\n", "recipe: 0\n", "13: recipe: found 0, allowed: greater than or equal to 1"),
        ("recipe: 1\n", "recipe: 1.5\n", "13: recipe: found 1.5, allowed: "),
        ("folder: kept", "budget_mb: -1", "15: archive.budget_mb: found -1, allowed: greater than or equal to 1"),
        ("folder: kept", "folder: [a, b]", "15: archive.folder: found ['a', 'b'], allowed: "),
        ("state_dir: state", "state_dir:", "16: state_dir: found None, allowed: "),
        ("name: Top view", "name: Top view\nname: again", '4: found duplicate key "name": each key may stand once'),
        ("plc: {host", "plc: {{host", "5: not valid YAML: "),
        ("line: line1", "line:\tline1\n\tx", "1: not valid YAML: "),
        ("name: Top view", "name: !!python/object:os.system x", "3: name: "),
    ],
)
def test_bad_station_files(old: str, new: str, says: str, folder: Path) -> None:
    found = problems(load_station, station(folder, (old, new)))
    wanted = says.replace("FOLDER", str(folder))
    assert any(p.startswith(wanted) for p in found), found
    assert len(found) <= 2 and len(set(found)) == len(found)


def test_every_problem_is_told_at_once(folder: Path) -> None:
    changes = (("line1", "L 1"), ("port: 1883", "port: 0"), ("slots: 4", "slots: x"))
    found = problems(load_station, station(folder, *changes))
    assert [p.split(":")[0] for p in found] == ["1", "4", "9"]


def test_no_cameras(folder: Path) -> None:
    text = STATION[: STATION.index("  top:")].rstrip() + " {}\n" + STATION[STATION.index("recipes:") :]
    file = folder / "station.yaml"
    file.write_text(text)
    assert problems(load_station, file)[0].startswith("5: cameras: found keys and values, allowed: ")


def test_two_cameras_with_one_serial_number(folder: Path) -> None:
    other = '  side: {serial: "40012345", features: cameras/top.yaml}\nidentity:'
    found = problems(load_station, station(folder, ("identity:", other)))
    assert found == ["10: cameras.side.serial: 40012345 is camera top already"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("features: {}\n", "1: features: found keys and values, allowed: "),
        ("features:\n", "1: features: found None, allowed: "),
        ("model: 5\nfeatures: {Width: 1}\n", "1: model: found 5, allowed: string"),
        (
            "features:\n  Gain: [1, 2]\n",
            "2: features.Gain: found [1, 2], allowed: boolean or integer or number or string",
        ),
        ("features:\n  Gain:\n", "2: features.Gain: found None, allowed: boolean or"),
        ("features:\n  Gain: {a: 1}\n", "2: features.Gain: found keys and values, allowed: boolean or"),
        ("features:\n  Width: 1\n  12: 3\n", "3: features.12: allowed is Feature or Feature[Selector=Entry]"),
        ("features:\n  A[B]: 3\n", "2: features.A[B]: allowed is Feature or Feature[Selector=Entry]"),
        ("features:\n  A[B=]: 3\n", "2: features.A[B=]: allowed is"),
        ("features:\n  A[B=x,]: 3\n", "2: features.A[B=x,]: allowed is"),
        ("features:\n  A[B=x,C]: 3\n", "2: features.A[B=x,C]: allowed is"),
        ("features:\n  A[B=x][C=y]: 3\n", "2: features.A[B=x][C=y]: allowed is"),
        ("features:\n  A b: 3\n", "2: features.A b: allowed is"),
        ("feature: {Width: 1}\n", "1: features: missing, and it is needed"),
        ("- Width\n", "1: found ['Width'], wanted keys and values"),
        ("just text\n", "1: found 'just text', wanted keys and values"),
        ("", "1: the file is empty, wanted keys and values"),
        ("features: {Width: 1}\n---\nfeatures: {Width: 2}\n", "2: not valid YAML"),
        ("features: {Width: 1, Width: 2}\n", '1: found duplicate key "Width": each key may stand once'),
        ("features: &a {Width: *b}\n", "1: anchors and aliases (& and *) are not allowed"),
        ("features: {W: \x07}\n", " not valid YAML: "),
    ],
)
def test_bad_camera_files(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "camera.yaml"
    file.write_text(text)
    found = problems(load_camera_file, file)
    assert any(p.startswith(says) for p in found), found
    assert len(found) <= 2


def test_a_feature_with_several_selectors(tmp_path: Path) -> None:
    file = tmp_path / "camera.yaml"
    file.write_text("features:\n  A: 1\n  A[B=x]: 2\n  A[B=x,C=y]: 3\n  A[B=x,C=y,D_1=2]: 4\n")
    assert list(load_camera_file(file).features.values()) == [1, 2, 3, 4]


def test_values_are_what_yaml_1_2_says(tmp_path: Path) -> None:
    file = tmp_path / "camera.yaml"
    file.write_text("features: {A: On, B: yes, C: true, D: 010, E: 1e3, F: 0x10, G: 1.50, H: '5', I: 1_000}\n")
    found = load_camera_file(file).features
    assert found == {
        "A": "On",
        "B": "yes",
        "C": True,
        "D": 10,
        "E": 1000.0,
        "F": 16,
        "G": 1.5,
        "H": "5",
        "I": found["I"],
    }
    assert [type(v) for v in list(found.values())[:8]] == [str, str, bool, int, float, int, float, str]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, " can't be read: No such file or directory"),
        (lambda p: p.mkdir(), " can't be read: Is a directory"),
        (lambda p: p.write_bytes(b"line: \xff\n"), " not UTF-8 text (byte 6)"),
        (
            lambda p: p.write_text("#" * (MAX_BYTES + 1)),
            f" {MAX_BYTES + 1} bytes long, at most {MAX_BYTES} are allowed",
        ),
        (lambda p: p.write_bytes(bytes(200)), " not valid YAML"),
    ],
)
def test_files_that_are_no_text(make: Any, says: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    make(file)
    (found,) = problems(load_station, file)
    assert found.startswith(says), found


# --- the parts of a YamlFile that only some files reach -------------------------------------------------------
class Step(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tool: str
    limits: tuple[float, float] | None = None


class Steps(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: list[Step]


def test_lines_of_list_items_and_of_what_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("steps:\n  - tool: a\n  - tool: b\n    limits: [1, x]\n  - {tool: 5, odd: 1}\n")
    found = problems(lambda p: load(p, Steps), file)
    assert found == [
        "4: steps.1.limits.1: found 'x', allowed: number, unable to parse string as a number",
        "5: steps.2.tool: found 5, allowed: string",
        "5: steps.2.odd: unknown key",
    ]
    yaml = YamlFile.read(file)
    assert [yaml.line(w) for w in ([], ["steps"], ["steps", 1], ["steps", 9], ["steps", 1, "none"])] == [1, 1, 3, 1, 3]


def test_further_problems_of_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("steps:\n  - tool: a\n")
    assert load(file, Steps).steps[0].tool == "a"
    assert problems(lambda p: load(p, Steps, lambda m, f: [f.problem(["steps", 0], "no")]), file) == ["2: steps.0: no"]


def test_long_values_are_cut_in_a_message(tmp_path: Path) -> None:
    file = tmp_path / "steps.yaml"
    file.write_text("steps: " + "x" * 500 + "\n")
    (found,) = problems(lambda p: load(p, Steps), file)
    assert len(found) < 120 and "..." in found
    file.write_text("steps: {a: [1, 2, 3, 4, 5, 6]}\n")
    assert "keys and values" in problems(lambda p: load(p, Steps), file)[0]
    file.write_text("steps: [[1, 2, 3, 4, 5, 6]]\n")
    assert "found a list of 6" in problems(lambda p: load(p, Steps), file)[0]
