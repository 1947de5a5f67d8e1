from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inspector.overlay import BAD, GOOD, UNSURE, draw, shown
from inspector.parts import Check, CheckOutcome, Outcome, Shape, Verdict
from tests.recipe.pictures import frame, part

GROUND = np.full((200, 300), 120, np.uint8)
RING = Shape("circle", ((150.0, 120.0),), 30.0)


def verdict(*checks: Check, outcome: Outcome = Outcome.FAIL, code: int = 1110) -> Verdict:
    return replace(Verdict(part()), outcome=outcome, code=code, text="Bore out of size", checks=checks)


def near(image: Any, colour: tuple[int, int, int]) -> Any:
    return np.abs(image.astype(int) - colour).sum(axis=2) < 60


def bad(*shapes: Shape, **more: Any) -> Check:
    return Check("bore", CheckOutcome.FAIL, 1110, "Bore out of size: 6.2 mm", shapes=shapes, **more)


def good(*shapes: Shape) -> Check:
    return Check("bore", CheckOutcome.PASS, shapes=shapes)


def test_what_failed_is_red_thick_and_where_it_is() -> None:
    drawn = draw(GROUND, verdict(bad(RING)))
    assert drawn.shape == (200, 300, 3) and drawn.dtype == np.uint8
    red = near(drawn, BAD)
    assert red[120, 179:183].any() and red[149:153, 150].any()
    green = near(draw(GROUND, verdict(good(RING), outcome=Outcome.PASS, code=0)), GOOD)
    assert green[100:, 100:].any()
    assert red.sum() > 1.5 * green.sum()


def test_what_failed_lies_over_what_passed() -> None:
    drawn = draw(GROUND, verdict(bad(RING), good(RING)))
    assert near(drawn, BAD)[120, 178:184].any()


def test_what_can_not_be_told_is_amber() -> None:
    check = Check("b", CheckOutcome.MISSING, 1110, "Bore: no edge", shapes=(RING,), not_inspected=True)
    drawn = draw(GROUND, verdict(check, outcome=Outcome.NOT_INSPECTED, code=102))
    assert near(drawn, UNSURE)[120, 178:184].any()


def test_sentence_stands_on_a_bar_of_the_outcomes_colour() -> None:
    bars = []
    for outcome, code in ((Outcome.FAIL, 1110), (Outcome.NOT_INSPECTED, 302)):
        drawn = draw(GROUND, verdict(outcome=outcome, code=code))
        bars.append(tuple(drawn[0, -1]))
        assert (drawn[:30] > 240).all(axis=2).any()
    assert bars[0] != bars[1]


def test_the_picture_itself_is_left_alone() -> None:
    before = GROUND.copy()
    before.flags.writeable = False
    draw(before, verdict(bad(RING)))
    assert np.array_equal(before, GROUND)


@pytest.mark.parametrize(
    "image",
    [
        GROUND,
        np.dstack([GROUND] * 3),
        GROUND.astype(np.uint16) * 16,
        np.dstack([GROUND.astype(np.uint16)] * 3),
        np.zeros((4, 4), np.uint8),
        np.zeros((1024, 1280), np.uint8),
    ],
)
def test_every_kind_of_picture_can_be_drawn_on(image: Any) -> None:
    drawn = draw(image, verdict(bad(RING)))
    assert drawn.shape == (*image.shape[:2], 3) and drawn.dtype == np.uint8


@pytest.mark.parametrize(
    "shape",
    [
        Shape("line", ((10.0, 10.0), (90.0, 90.0))),
        Shape("polyline", ((10.0, 40.0), (90.0, 90.0), (50.0, 60.0))),
        Shape("polygon", ((10.0, 40.0), (90.0, 90.0), (50.0, 60.0))),
        Shape("point", ((60.0, 90.0),)),
        Shape("text", ((60.0, 90.0),), text="6.21 ±0.05"),
        Shape("circle", ((150.0, 120.0),), 20.0),
    ],
)
def test_every_kind_of_shape_leaves_a_mark(shape: Shape) -> None:
    plain = draw(GROUND, verdict(bad()))
    assert (draw(GROUND, verdict(bad(shape))) != plain).any()


@pytest.mark.parametrize(
    "shape",
    [
        Shape("line", ((float("nan"), 1.0), (2.0, 2.0))),
        Shape("circle", ((1e12, -1e12),), 1e12),
        Shape("circle", ((5.0, 5.0),), -3.0),
        Shape("polygon", ()),
        Shape("point", ((float("inf"), 0.0),)),
    ],
)
def test_impossible_shapes_do_no_harm(shape: Shape) -> None:
    assert draw(GROUND, verdict(bad(shape))).shape == (200, 300, 3)


def test_words_in_any_script_do_no_harm() -> None:
    check = Check("b", CheckOutcome.FAIL, 1110, "Bohrung ±0,05 zu groß " * 20, shapes=(RING,))
    drawn = draw(GROUND, replace(verdict(check), text="螺栓 ±" * 200))
    assert drawn.shape == (200, 300, 3)


def test_each_picture_shows_what_was_checked_on_it() -> None:
    here, there = (replace(frame(GROUND).ref, view=view) for view in ("bright", "dark"))
    both = verdict(bad(RING, view="dark"), bad(Shape("circle", ((60.0, 120.0),), 30.0), view="bright"))
    both = replace(both, frames=(here, there))
    red = {ref.view: near(draw(GROUND, both, ref), BAD) for ref in both.frames}
    assert red["bright"][120, 28:33].any() and not red["bright"][120, 178:184].any()
    assert red["dark"][120, 178:184].any() and not red["dark"][120, 28:33].any()
    assert near(draw(GROUND, both), BAD)[120, [30, 180]].any()


def test_people_see_the_picture_of_what_failed_first() -> None:
    frames = tuple(replace(frame(GROUND).ref, view=view) for view in ("bright", "dark", "side"))
    missing = Check("b", CheckOutcome.MISSING, 1110, "no edge", view="dark")
    passed = replace(good(RING), view="bright")

    def first(*checks: Check) -> int:
        return shown(replace(verdict(*checks), frames=frames))

    assert first(passed, missing) == 1
    assert first(passed, missing, bad(RING, view="side")) == 2
    assert first(passed) == first() == first(bad(RING, view="gone")) == 0


def test_checks_of_a_recipe_without_views_belong_to_their_camera() -> None:
    top, side = (frame(GROUND, camera).ref for camera in ("top", "side"))
    assert bad(view="side").on(side) and not bad(view="side").on(top)
    assert bad().on(top) and bad().on(side)
