from __future__ import annotations

import pytest
from pydantic import ValidationError

from inspector.measure.distance import Distance
from inspector.parts import CodeRead, Located, Measured, Pose
from tests.recipe.pictures import disc, view

TOOL = Distance.model_validate(
    {"tool": "distance", "between": ["left", "right"], "expect": "36.00 ±0.05 mm", "fail": "1112 Pitch"}
)


def seen(**answers: object) -> object:
    return view(disc((10, 10), 4, (24, 24)), mm_per_px=0.06, answers=answers)


def test_distance_between_two_anchors() -> None:
    left = Measured(6.0, "mm", uncertainty=0.002, anchor_px=(100.0, 50.0))
    right = Measured(6.0, "mm", uncertainty=0.002, anchor_px=(400.0, 450.0))
    found = TOOL(seen(left=left, right=right))
    assert found.value == pytest.approx(500 * 0.06)
    assert found.uncertainty == pytest.approx(0.002)
    assert found.shapes[0].points_px == ((100.0, 50.0), (400.0, 450.0))


def test_distance_to_a_located_part() -> None:
    found = TOOL(seen(left=Located(Pose(0.0, 0.0, 5.0)), right=Located(Pose(30.0, 40.0, 0.0))))
    assert found.value == pytest.approx(3.0)
    assert found.uncertainty is None


@pytest.mark.parametrize("other", [CodeRead("x"), Measured(1.0, "mm"), Located(None, "gone")])
def test_step_without_a_point_is_said(other: object) -> None:
    found = TOOL(seen(left=Measured(1.0, "mm", anchor_px=(1.0, 1.0)), right=other))
    assert found.value is None and "right" in found.why


def test_it_names_the_steps_it_needs() -> None:
    assert [(key, step) for key, step, _ in TOOL.references()] == [("between", "left"), ("between", "right")]


def test_one_step_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="two different"):
        Distance.model_validate({"tool": "distance", "between": ["a", "a"], "expect": "1 to 2 px", "fail": "1112 P"})
