"""``inspector camera`` as it is typed, on the virtual camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from inspector.cli.camera import app
from tests.acquire.rig import World
from tools.virtual_camera.control import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def built() -> None:
    build()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two virtual cameras and a station file, in the folder where commands are typed."""
    made = World(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.control.close()


def camera(world: World | None, *arguments: Any) -> Result:
    """``inspector camera ARGUMENTS --station ...``; None: without a station."""
    station = ["--station", str(world.station_file)] if world else []
    result = CliRunner().invoke(app, [*map(str, arguments), *station], catch_exceptions=False)
    assert "Traceback" not in result.output
    return result
