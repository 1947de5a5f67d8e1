"""docs/camera.md tells what is: its station keys load, its commands are there, its sentences are the station's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from inspector.cli.camera import app
from inspector.config import CameraConfig, IdentityConfig, load_station
from inspector.station.alarms import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/camera.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_station_file_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "identity:" in b)
    (tmp_path / "cameras").mkdir()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "cameras/gige_mono_wired.yaml").write_text("features: {Gain: 0}\n")
    (tmp_path / "x.cti").write_text("")
    head = "line: l\nstation: s\nname: n\nrecipes: recipes\nrecipe: 1\n"
    file = tmp_path / "station.yaml"
    for text in (block, re.sub(r"^( *)#(\w+: )", r"\1\2", block, flags=re.MULTILINE)):  # and what is only proposed
        file.write_text(head + text)
        camera = load_station(file).cameras["top"]
    defaults = {name: field.default for name, field in CameraConfig.model_fields.items()}
    for name in ("slots", "frame_limit_ms", "trigger_limit_ms", "temperature_max_c"):
        assert getattr(camera, name) == defaults[name], f"{name}: the page says another default"


def test_every_mode_and_choice_of_identity_is_explained() -> None:
    schema = IdentityConfig.model_json_schema()["properties"]
    for key in ("mode", "announced", "plc_counts"):
        for choice in schema[key]["enum"]:
            assert f"`{choice}`" in PAGE or f"`{key}: {choice}`" in PAGE, f"{key}: {choice}"
    assert "`window_ms`" in PAGE


def test_the_commands_are_there_and_all_are_told() -> None:
    typed = re.findall(r"inspector camera (\w+)((?: [^`\n#|]+)?)", PAGE)
    assert {name for name, _ in typed} == set(COMMANDS)
    for name, rest in typed:
        options = {o for parameter in COMMANDS[name].params for o in (*parameter.opts, *parameter.secondary_opts)}
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
            assert option in options, f"inspector camera {name} has no {option}"


def test_the_alarms_are_named_as_the_operator_sees_them() -> None:
    for name in ("books", "settings"):
        assert CATALOGUE[name].text in PAGE
    sources = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("inspector/station", "inspector/acquire")
        for path in (ROOT / folder).rglob("*.py")
    )
    for words in (
        "but its picture did not come",
        "no trigger pulse reached camera ",
        "which one it is can't be told",
        "sent no picture within ",
        "where the trigger counter says ",
    ):
        assert words in PAGE and words in sources, words
