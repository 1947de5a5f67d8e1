"""The pieces of recipes that the recipe page shows are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from inspector.recipe.check import read_spec
from inspector.yamlfile import YamlFile
from tests.recipe.recipes import write

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
BLOCKS = [
    b for b in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) if "recipe: 1" not in b
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split()[0] + b.split()[1])
def test_piece_fits_into_a_recipe(tmp_path: Path, block: str) -> None:
    (tmp_path / "piece.yaml").write_text(block, encoding="utf-8")
    piece = YamlFile.read(tmp_path / "piece.yaml").data
    recipe: dict[str, Any] = {"recipe": 1, "name": "Piece", **piece}
    if " mm" in block:
        recipe["calibration"] = "scale.yaml"
    if "locate" not in recipe:
        view = {"view": next(iter(piece["views"]))} if "views" in piece else {}
        recipe["locate"] = {"body": {"tool": "template", "image": "mark.png", "fail": "1010 Not found", **view}}
    assert read_spec(write(tmp_path, recipe))[2] == []


def test_there_are_pieces() -> None:
    assert len(BLOCKS) == 5
