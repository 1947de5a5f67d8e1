"""GenicamCamera over the unmodified harvesters and genicam, a process for each few scenarios."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acquire.rig import World

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "names",
    [
        ("settings", "failed_opening", "chunks", "plugged_in_later"),
        ("formats", "colours", "views"),
        ("clocks",),
        ("faults",),
        ("reopening",),
        ("side_effects", "no_producers"),
        ("viky",),
    ],
    ids=lambda names: names[0],
)
@pytest.mark.parametrize("tl_type", ["Custom", "GEV"])
def test_scenario(tl_type: str, names: tuple[str, ...], world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.acquire.scenarios", *names],
        cwd=ROOT,
        env={**os.environ, **world.environment, "VIRTUAL_CAMERA_TLTYPE": tl_type},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr, done.stderr  # harvesters prints traces for what is told in one sentence
