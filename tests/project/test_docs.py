"""What the pages say is so: links lead somewhere, the first recipe loads, the mistake gets the sentence shown."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inspector.__main__ import build
from inspector.config import load_camera_file

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "recipes/*.md", "tools/**/*.md", "firmware_config/**/*.md")
    for path in ROOT.glob(pattern)
)
FIRST_HOUR = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        place, _, _ = target.partition("#")
        if place and not re.match(r"[a-z]+:", place) and not (page.parent / place).exists():
            broken.append(target)
    assert broken == []


def yaml_of(text: str, containing: str) -> str:
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if containing in block]
    assert len(blocks) == 1
    return blocks[0]


def check(path: Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(build("recipe"), ["recipe", "check", str(path)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    for name in ("calibration", "templates"):
        shutil.copytree(ROOT / "recipes" / name, tmp_path / "recipes" / name)
    return tmp_path / "recipes"


def test_the_first_recipe_loads(recipes: Path) -> None:
    mine = recipes / "mine.yaml"
    mine.write_text(yaml_of(FIRST_HOUR, "recipe: 42"), encoding="utf-8")
    assert check(mine) == (0, f"{mine}: good: recipe 42 rev 1, 2 steps, sha {check(mine)[1].split()[-1]}\n", "")
    mine.write_text(mine.read_text(encoding="utf-8").replace("6.00 ±0.06", "5.50 ±0.06"), encoding="utf-8")
    assert check(mine)[0] == 0, "the change that the page asks for is refused"


def test_the_mistake_gets_the_sentence_shown(recipes: Path) -> None:
    mine = recipes / "mine.yaml"
    text = yaml_of(FIRST_HOUR, "recipe: 42").replace("tool: diameter", "tool: diametre")
    mine.write_text(text, encoding="utf-8")
    shown = re.search(r"^recipes/(mine\.yaml:\d+: .*)$", FIRST_HOUR, re.MULTILINE)
    assert shown
    status, _, told = check(mine)
    assert status == 1
    assert told.strip() == str(recipes / shown.group(1))


def test_the_camera_file_shown_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/camera.md").read_text(encoding="utf-8")
    path = tmp_path / "camera.yaml"
    path.write_text(yaml_of(page, "TriggerActivation"), encoding="utf-8")
    assert load_camera_file(path).features["TriggerMode[TriggerSelector=FrameStart]"] == "On"
