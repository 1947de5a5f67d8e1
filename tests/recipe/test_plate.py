"""The plate's recipe against rendered parts whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inspector.parts import Check, Outcome, Verdict
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from tests.recipe.pictures import frame, part
from tools.part_renderer import DefectKind, Rendered, render

RECIPES = Path(__file__).parents[2] / "recipes"
CODES: dict[DefectKind, set[int]] = {
    "hole_big": {1110, 1111},
    "hole_small": {1110, 1111},
    "hole_missing": {1110, 1111},
    "slot_wide": {1120},
    "slot_narrow": {1120},
    "broken_edge": {1410, 1411, 1412, 1413},
    "wrong_code": {1310},
    "scratch": {1210},
    "stain": {1211},
}


@pytest.fixture(scope="module")
def plate() -> Iterator[LoadedRecipe]:
    loaded = load_recipe(RECIPES / "plate.yaml", backend="cpu")
    yield loaded
    loaded.close()


def judged(plate: LoadedRecipe, rendered: Rendered) -> tuple[Verdict, dict[str, Check]]:
    verdict = judge(plate, part(sha=plate.sha), [frame(rendered.image)])
    return verdict, {c.step: c for c in verdict.checks}


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_good_plate_passes_and_measures_true(plate: LoadedRecipe, seed: int) -> None:
    rendered = render(seed, part_number=seed)
    verdict, checks = judged(plate, rendered)
    assert verdict.outcome is Outcome.PASS, verdict.text
    truth = rendered.truth.dimensions
    for step, value in {
        "bore_left": truth.bore_left_diameter_mm,
        "bore_right": truth.bore_right_diameter_mm,
        "bore_pitch": truth.bore_pitch_mm,
        "slot_width": truth.slot_width_mm,
    }.items():
        assert checks[step].value == pytest.approx(value, abs=0.006), step
    assert checks["type_code"].found == "PLATE-A"


def test_pose_follows_the_truth(plate: LoadedRecipe) -> None:
    for seed in (7, 8, 9):
        rendered = render(seed)
        _, checks = judged(plate, rendered)
        middle = np.mean(checks["body"].shapes[0].points_px, axis=0)
        true = rendered.truth.pose.to_image(np.array([[8.7, 7.05]]))[0]
        assert np.hypot(*(middle - true)) < 0.08
        edge = np.subtract(checks["body"].shapes[0].points_px[1], checks["body"].shapes[0].points_px[0])
        assert np.degrees(np.arctan2(edge[1], edge[0])) == pytest.approx(rendered.truth.pose.angle_deg, abs=0.08)


@pytest.mark.parametrize("kind", list(CODES))
@pytest.mark.parametrize("seed", [2001, 2002])
def test_bad_plate_is_rejected_for_the_right_reason(plate: LoadedRecipe, kind: DefectKind, seed: int) -> None:
    verdict, _ = judged(plate, render(seed, kind, part_number=seed))
    assert verdict.outcome is Outcome.FAIL, verdict.text
    assert verdict.code in CODES[kind], verdict.text
    if kind in ("hole_big", "hole_small"):
        assert " mm, limit 5.94-6.06" in verdict.text


def test_empty_belt_is_plate_not_found(plate: LoadedRecipe) -> None:
    belt = np.random.default_rng(0).normal(45, 3, (1024, 1280)).clip(0, 255).astype(np.uint8)
    verdict = judge(plate, part(), [frame(belt)])
    assert (verdict.outcome, verdict.code) == (Outcome.FAIL, 1010)


def test_plate_upside_down_is_not_measured(plate: LoadedRecipe) -> None:
    verdict = judge(plate, part(), [frame(np.ascontiguousarray(render(5).image[::-1, ::-1]))])
    assert (verdict.outcome, verdict.code) == (Outcome.FAIL, 1010)
