"""A station that costs little: small pictures of a lid that is there or not, and a recipe that looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ruamel.yaml import YAML

from inspector.cli.demo import ROOT
from tools.part_renderer.stamp import write_stamp

SENSOR = (128, 1280)  # rows, columns: a part's number has room in it
PICTURES = 12
BAD_EVERY = 3


def recipe(number: int, within: str = "300 ms") -> dict[str, Any]:
    """The lid must be there, by whatever number the recipe is known."""
    lid = {
        "tool": "presence", "region": [200, 20, 400, 90], "level": 150, "count": "brighter", "share": "50 %",
        "expect": "present", "fail": f"{1000 + number} Lid missing",
    }  # fmt: skip
    verdict = {"within": within, "keep": {"reject": "1 in 20", "pass": "1 in 20", "not_inspected": "1 in 20"}}
    return {"recipe": number, "rev": 1, "name": f"Lid {number}", "compare": {"lid": lid}, "verdict": verdict}


def settings(
    folder: Path, *, wired: bool = False, within: str = "300 ms", numbers: tuple[int, ...] = (1, 2)
) -> dict[str, Any]:
    """Write recipes and camera file below ``folder``; what the station file must say to use them."""
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        _write(folder / "recipes" / f"lid-{number}.yaml", recipe(number, within))
    name = "virtual_wired.yaml" if wired else "virtual.yaml"
    camera = YAML(typ="safe", pure=True).load((ROOT / "firmware_config" / "cameras" / name).read_text("utf-8"))
    camera["features"] |= {"Width": SENSOR[1], "Height": SENSOR[0]}
    _write(folder / "camera.yaml", camera)
    return {
        "recipes": str(folder / "recipes"),
        "cameras": {"top": {"features": str(folder / "camera.yaml"), "trigger_limit_ms": 100}},
    }


def pictures(folder: Path) -> tuple[Path, Path]:
    """Pictures of parts, every third without its lid: their folder and the list of what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file,good,defect"]
    for number in range(1, PICTURES + 1):
        good = number % BAD_EVERY != 0
        image = np.full(SENSOR, 60, np.uint8)
        if good:
            image[10:100, 150:450] = 220
        write_stamp(image, number)
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
        lines.append(f"{number:02d}.png,{int(good)},{'' if good else 'no lid'}")
    truth = folder / "truth.csv"
    truth.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, truth


def _write(path: Path, tree: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)
