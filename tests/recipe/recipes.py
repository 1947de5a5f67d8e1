"""Recipes written to disk for tests, with the artefacts they need."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
from ruamel.yaml import YAML

from tests.recipe.pictures import mark_template

SCALE = """camera: top
mm_per_px: 0.1
residual_px: 0.02
size_px: [400, 320]
method: dot grid
date: 2026-01-01
"""

GOOD: dict[str, Any] = {
    "recipe": 7,
    "name": "Test part",
    "calibration": "scale.yaml",
    "locate": {"body": {"tool": "template", "image": "mark.png", "min_score": 0.8, "fail": "1010 Part not found"}},
    "measure": {
        "dot": {
            "tool": "diameter",
            "fixture": "body",
            "at": [1.8, 1.2],
            "search": [1.2, 2.4],
            "expect": "1.80 ±0.10 mm",
            "fail": "1110 Dot out of size",
        },
        "leg": {
            "tool": "caliper",
            "fixture": "body",
            "along": [[-5.5, 1.5], [0.5, 1.5]],
            "width": 1.0,
            "inside": "dark",
            "expect": "3.20 ±0.10 mm",
            "fail": "1111 Leg out of size",
        },
        "apart": {
            "tool": "distance",
            "between": ["dot", "leg"],
            "expect": "at most 9 mm",
            "fail": "1112 Too far apart",
        },
    },
    "verdict": {"first": [1111], "within": "200 ms"},
}


def good() -> dict[str, Any]:
    return copy.deepcopy(GOOD)


def write(folder: Path, recipe: dict[str, Any] | str, name: str = "r.yaml") -> Path:
    """The recipe with the files it needs; text is written as it is."""
    path = folder / name
    if isinstance(recipe, str):
        path.write_text(recipe, encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8") as file:
            YAML(pure=True).dump(recipe, file)
    (folder / "scale.yaml").write_text(SCALE, encoding="utf-8")
    cv2.imwrite(str(folder / "mark.png"), mark_template())
    return path


def views() -> dict[str, Any]:
    """The same part, found and measured in bright light, its dot measured again in a dark view of two shots."""
    recipe = good()
    recipe["views"] = {
        "bright": {"camera": "top", "exposure": "800 us", "gain": "6 dB", "light": "Line2"},
        "dim": {"camera": "top", "exposure": "0.4 ms", "user_set": "UserSet1", "shots": 2},
    }
    for section in ("locate", "measure"):
        for step in recipe[section].values():
            step["view"] = "bright"
    recipe["measure"]["spot"] = {
        "tool": "diameter",
        "view": "dim",
        "at": [22.2, 17.6],
        "search": [1.2, 2.4],
        "expect": "1.80 ±0.10 mm",
        "fail": "1120 Dot out of size in dim light",
    }
    return recipe
