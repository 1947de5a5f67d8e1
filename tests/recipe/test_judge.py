from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.codes import Code
from inspector.measure.diameter import Diameter
from inspector.parts import CheckOutcome, InspectionFault, Outcome, Verdict
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from tests.recipe.pictures import frame, mark, part
from tests.recipe.recipes import good, write

POSE = (205.3, 161.7, 6.2)


@pytest.fixture(scope="module")
def picture() -> Any:
    return mark([POSE], noise=2.0)


@pytest.fixture
def recipe(tmp_path: Path) -> LoadedRecipe:
    return load_recipe(write(tmp_path, good()))


def judged(recipe: LoadedRecipe, *images: Any) -> Verdict:
    return judge(recipe, part(sha=recipe.sha), [frame(image) for image in images])


def test_good_part_passes_with_every_check_measured(recipe: LoadedRecipe, picture: Any) -> None:
    verdict = judged(recipe, picture)
    assert (verdict.outcome, verdict.code) == (Outcome.PASS, 0), verdict.text
    assert [c.step for c in verdict.checks] == ["body", "dot", "leg", "apart"]
    values = {c.step: c.value for c in verdict.checks}
    assert values["dot"] == pytest.approx(1.8, abs=0.005)
    assert values["leg"] == pytest.approx(3.2, abs=0.005)
    assert values["apart"] == pytest.approx(np.hypot(1.8 + 2.4, 1.2 - 1.5), abs=0.01)
    assert all(c.shapes for c in verdict.checks)
    assert verdict.frames[0].camera == "top"


def test_time_of_each_step_is_in_the_verdict(recipe: LoadedRecipe, picture: Any) -> None:
    verdict = judged(recipe, picture)
    spent = sum(c.took_us for c in verdict.checks)
    assert all(c.took_us > 0 for c in verdict.checks[:3])
    assert spent <= verdict.stages_us["judge"]


def test_same_picture_gives_the_same_numbers(recipe: LoadedRecipe, picture: Any) -> None:
    one, two = judged(recipe, picture), judged(recipe, picture)
    assert [c.value for c in one.checks] == [c.value for c in two.checks]


def test_part_not_found_is_never_measured_at_a_guessed_place(recipe: LoadedRecipe) -> None:
    # the dot is exactly where it would be measured if the part lay at the picture's origin
    verdict = judged(recipe, mark([(10.0, 10.0, 0.0)], noise=2.0))
    assert (verdict.outcome, verdict.code) == (Outcome.FAIL, 1010)
    assert all(c.outcome is CheckOutcome.MISSING and c.value is None for c in verdict.checks)
    assert "body was not found" in verdict.checks[1].text
    assert "body was not found" in verdict.checks[3].text


def test_not_found_may_mean_not_inspected(tmp_path: Path) -> None:
    text = good()
    text["locate"]["body"]["not_found"] = "not_inspected"
    verdict = judged(load_recipe(write(tmp_path, text)), mark([], noise=2.0))
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.PART_NOT_FOUND)


def test_missing_feature_is_a_reject_and_its_distance_a_consequence(recipe: LoadedRecipe, picture: Any) -> None:
    image = picture.copy()
    image[160:195, 205:240] = 150  # the dot is gone
    verdict = judged(recipe, image)
    assert (verdict.outcome, verdict.code) == (Outcome.FAIL, 1110)
    assert verdict.checks[2].outcome is CheckOutcome.PASS
    assert verdict.checks[3].outcome is CheckOutcome.MISSING and verdict.checks[3].code == 1110


def black(_: Any) -> Any:
    return np.full((320, 400), 3, np.uint8)


def white(_: Any) -> Any:
    return np.full((320, 400), 255, np.uint8)


def grey(_: Any) -> Any:
    return np.full((320, 400), 128, np.uint8)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (black, "dark"),
        (white, "overexposed"),
        (grey, "empty"),
        (lambda p: p[:300], "the calibration is for 400x320"),
        (lambda p: p.astype(np.float32), "float32 pixels"),
        (lambda p: np.dstack([p, p]), "2 channels"),
        (lambda p: p[:0], "pixels in 2 dimensions"),
        (lambda p: p.astype(np.uint16) // 16, "dark"),
    ],
)
def test_picture_that_is_none_is_not_inspected(recipe: LoadedRecipe, picture: Any, spoil: Any, said: str) -> None:
    verdict = judged(recipe, spoil(picture))
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.IMAGE_QUALITY)
    assert said in verdict.text
    assert verdict.checks == ()


def test_picture_of_another_size_than_announced(recipe: LoadedRecipe, picture: Any) -> None:
    from dataclasses import replace

    shot = frame(picture)
    wrong = replace(shot, ref=replace(shot.ref, width=410))
    verdict = judge(recipe, part(), [wrong])
    assert verdict.code == Code.IMAGE_QUALITY and "announced were 410x320" in verdict.text


@pytest.mark.parametrize("count", [0, 2, 3])
def test_recipe_of_one_camera_wants_one_picture(recipe: LoadedRecipe, picture: Any, count: int) -> None:
    frames = [frame(picture, camera=f"c{n}") for n in range(count)]
    verdict = judge(recipe, part(), frames)
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME)


def test_two_pictures_of_one_camera_are_doubt(recipe: LoadedRecipe, picture: Any) -> None:
    verdict = judged(recipe, picture, picture)
    assert verdict.code == Code.NO_FRAME and "two pictures of one camera" in verdict.text


def test_named_camera_must_have_sent_its_picture(tmp_path: Path, picture: Any) -> None:
    text = good()
    text["cameras"] = {"top": {}}
    loaded = load_recipe(write(tmp_path, text))
    assert judged(loaded, picture).outcome is Outcome.PASS
    other = judge(loaded, part(), [frame(picture, camera="side")])
    assert other.code == Code.NO_FRAME and "no picture of camera top" in other.text


def test_each_tool_sees_its_own_camera(tmp_path: Path, picture: Any) -> None:
    text = good()
    text["cameras"] = {"top": {}, "side": {}}
    for section in ("locate", "measure"):
        for step in text[section].values():
            step["camera"] = "top"
    text["locate"]["other"] = {**text["locate"]["body"], "camera": "side", "fail": "1011 Side not found"}
    loaded = load_recipe(write(tmp_path, text))
    both = [frame(mark([(150.0, 140.0, -3.0)], noise=2), "side"), frame(picture, "top")]
    verdict = judge(loaded, part(), both)
    assert verdict.outcome is Outcome.PASS, verdict.text
    places = {c.step: c.shapes[0].points_px[0] for c in verdict.checks[:2]}
    assert abs(places["body"][0] - places["other"][0]) > 30


def test_prepared_picture_is_used_by_who_asks_for_it(tmp_path: Path, picture: Any) -> None:
    text = good()
    text["prepare"] = {"soft": {"tool": "smooth", "method": "gaussian", "size": 9}}
    text["measure"]["dot"]["picture"] = "soft"
    verdict = judged(load_recipe(write(tmp_path, text)), picture)
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert verdict.stages_us["prepare.soft"] > 0
    plain = judged(load_recipe(write(tmp_path, good())), picture)
    values = [{c.step: c.value for c in v.checks} for v in (verdict, plain)]
    assert values[0]["dot"] != values[1]["dot"] and values[0]["leg"] == values[1]["leg"]


def test_colour_picture_is_judged_by_its_grey(recipe: LoadedRecipe, picture: Any) -> None:
    assert judged(recipe, np.dstack([picture] * 3)).outcome is Outcome.PASS


def break_with(error: BaseException) -> Any:
    def call(self: Any, view: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), MemoryError(), KeyError("x"), ValueError("y" * 999)])
def test_tool_that_breaks_costs_one_part(
    recipe: LoadedRecipe, picture: Any, error: Exception, monkeypatch: Any, caplog: Any
) -> None:
    caplog.set_level(logging.CRITICAL)
    with monkeypatch.context() as patch:
        patch.setattr(Diameter, "__call__", break_with(error))
        verdict = judged(recipe, picture)
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.INTERNAL_ERROR)
    assert "step dot broke" in verdict.text and len(verdict.text) <= 200
    assert [c.step for c in verdict.checks] == ["body"]
    assert judged(recipe, picture).outcome is Outcome.PASS


def test_fault_of_a_tool_keeps_its_code(recipe: LoadedRecipe, picture: Any, monkeypatch: Any) -> None:
    fault = InspectionFault(Code.CAMERA_LOST, "Not inspected: gone")
    monkeypatch.setattr(Diameter, "__call__", break_with(fault))
    verdict = judged(recipe, picture)
    assert (verdict.code, verdict.text) == (Code.CAMERA_LOST, "Not inspected: gone")


def test_sure_reject_before_a_fault_stays_not_inspected(tmp_path: Path, picture: Any, monkeypatch: Any) -> None:
    text = good()
    text["measure"] = {k: text["measure"][k] for k in ("leg", "dot", "apart")}
    text["measure"]["leg"]["expect"] = "9.0 ±0.1 mm"
    monkeypatch.setattr(Diameter, "__call__", break_with(RuntimeError("x")))
    verdict = judged(load_recipe(write(tmp_path, text)), picture)
    assert verdict.outcome is Outcome.NOT_INSPECTED
    assert verdict.checks[1].outcome is CheckOutcome.FAIL


def test_tool_that_answers_nonsense_is_a_fault(recipe: LoadedRecipe, picture: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Diameter, "__call__", lambda self, view: None)
    assert judged(recipe, picture).code == Code.INTERNAL_ERROR


@pytest.mark.parametrize("kind", ["good", "empty", "of no size"])
def test_nothing_holds_a_picture_that_was_judged(kind: str, recipe: LoadedRecipe, picture: Any) -> None:
    """Its slot, and the memory of a ring that was replaced, must not wait for the garbage collector."""
    image = {"empty": np.full_like(picture, 90), "of no size": np.zeros((0, 5), np.uint8)}.get(kind, picture)
    gc.disable()
    try:
        shown = frame(image)
        held = weakref.ref(shown.image)
        verdict = judge(recipe, part(sha=recipe.sha), [shown])
        del shown
        assert (verdict.outcome is Outcome.PASS) == (kind == "good")
        assert held() is None
    finally:
        gc.enable()
