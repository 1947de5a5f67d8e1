"""Station file, camera files, recipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from inspector.cli.diagnosis import Finding
from inspector.config import StationConfig, load_camera_file, load_station
from inspector.station.recipes import RecipeFolder
from inspector.yamlfile import FileError

RECIPES_LIMIT_S = 120.0


def station_file(path: Path) -> tuple[StationConfig | None, list[Finding]]:
    """The station file and the camera files it names."""
    try:
        config = load_station(path)
    except FileError as error:
        if not path.exists():
            fix = "sudo sh deploy/install.sh    # copies one to /etc/inspector; or name yours"
            return None, [Finding("station file", "MISSING", f"there is no {path}", fix)]
        return None, [Finding("station file", "MISSING", problem, f"edit {path}") for problem in error.problems]
    cameras = ", ".join(config.cameras)
    found = [Finding("station file", "ok", f"{path}: {config.line}/{config.station}, cameras: {cameras}")]
    for name, camera in config.cameras.items():
        try:
            features = load_camera_file(camera.features).features
        except FileError as error:
            found += [
                Finding(f"camera file {name}", "MISSING", problem, f"edit {camera.features}")
                for problem in error.problems
            ]
        else:
            found.append(_camera_file(name, camera.features, features, config.identity.wired))
    return config, found


def _camera_file(name: str, path: Path, features: Mapping[str, object], wired: bool) -> Finding:
    """A wired camera has to tell which pulse a picture is of, and when it was exposed."""
    what, text = f"camera file {name}", f"{path.name}: {len(features)} features"
    chunks = [f"ChunkEnable[ChunkSelector={chunk}]" for chunk in ("CounterValue", "Timestamp")]
    absent = [chunk for chunk in chunks if features.get(chunk) is not True] if wired else []
    if not absent:
        return Finding(what, "ok", text)
    fix = f"edit {path}: add {', '.join(f'{chunk}: true' for chunk in absent)}, if `inspector camera show` has it"
    return Finding(what, "warn", f"{text}, not {' nor '.join(absent)}: pictures are matched to parts by less", fix)


def recipe_files(config: StationConfig, limit_s: float = RECIPES_LIMIT_S) -> list[Finding]:
    """Each recipe loads, with templates, calibration and models; asked of a child, as models are vendor code."""
    offered, problems = RecipeFolder(config.recipes).find()
    found = [Finding("recipes", "MISSING", problem, f"edit {problem.split(':')[0]}") for problem in problems]
    if config.recipe not in offered:
        there = ", ".join(map(str, offered)) or "none"
        what = f"there is no recipe {config.recipe} in {config.recipes} (there: {there})"
        found.append(Finding("recipes", "MISSING", what, "set `recipe:` in the station file to one that is there"))
    for number, path in offered.items():
        command = [sys.executable, "-m", "inspector", "recipe", "check", str(path)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            why = f"not checked within {limit_s:.0f} s"
            found.append(Finding(f"recipe {number}", "MISSING", why, f"inspector recipe check {path}"))
            continue
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        if done.returncode == 0:
            found.append(Finding(f"recipe {number}", "ok", lines[-1] if lines else str(path)))
        else:
            why = lines[0] if lines else f"the check ended with {done.returncode}"
            found.append(Finding(f"recipe {number}", "MISSING", why, f"inspector recipe check {path}"))
    return found
