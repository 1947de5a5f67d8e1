from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.locate.template import Template
from tests.recipe.pictures import Drawer, mark, mark_template, view

POSES = [(150.0, 120.0, 0.0), (210.37, 160.81, 4.3), (120.5, 100.25, -9.1), (260.77, 200.6, 13.7), (180.2, 90.9, -2.05)]


def tool(images: dict[str, Any] | None = None, scale: float | None = None, **keys: Any) -> Template:
    base = {"tool": "template", "image": "mark.png", "turn": "15 deg", "fail": "1010 Part not found"}
    made = Template.model_validate({**base, **keys})
    made.open(Drawer(images or {"mark.png": mark_template()}, scale))
    return made


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_clean_marks_are_found_to_a_twentieth_px_and_a_fiftieth_degree() -> None:
    locate = tool()
    off, turned = [], []
    for pose in POSES:
        found = locate(view(mark([pose]))).pose
        assert found is not None
        off.append(math.hypot(found.x_px - pose[0], found.y_px - pose[1]))
        turned.append(found.angle_deg - pose[2])
        assert found.score > 0.95
    assert rms(off) < 0.05
    assert rms(turned) < 0.02


def test_noise_blur_and_gradient_cost_little() -> None:
    locate = tool()
    light = np.linspace(0.5, 1.2, 400)
    off, turned = [], []
    for seed, pose in enumerate(POSES):
        image = mark([pose], blur_px=1.4, noise=4.0, seed=seed).astype(float) * light
        found = locate(view(image.clip(0, 255).astype(np.uint8))).pose
        assert found is not None
        off.append(math.hypot(found.x_px - pose[0], found.y_px - pose[1]))
        turned.append(found.angle_deg - pose[2])
    assert rms(off) < 0.1
    assert rms(turned) < 0.1


def test_a_third_covered_is_still_found_where_it_is() -> None:
    pose = (200.4, 150.7, 3.3)
    image = mark([pose])
    image[130:, 205:250] = 110  # a cloth over the dot and a leg of the L
    found = tool(min_score=0.4)(view(image)).pose
    assert found is not None
    assert math.hypot(found.x_px - pose[0], found.y_px - pose[1]) < 0.2
    assert abs(found.angle_deg - pose[2]) < 0.2


@pytest.mark.parametrize("angle", [-170.0, -95.5, 61.2, 133.3, 179.4])
def test_any_turn_is_found_when_allowed(angle: float) -> None:
    found = tool(turn="180 deg")(view(mark([(190.3, 150.6, angle)]))).pose
    assert found is not None
    assert math.hypot(found.x_px - 190.3, found.y_px - 150.6) < 0.1
    assert abs((found.angle_deg - angle + 180) % 360 - 180) < 0.1


def test_origin_is_where_the_recipe_says() -> None:
    # the template's middle lies at (4, 3) mm of the part, 0.05 mm a px
    found = tool(scale=0.05, origin=[4.0, 3.0])(view(mark([(200.0, 150.0, 10.0)]), mm_per_px=0.05)).pose
    assert found is not None
    assert view(mark([]), found, 0.05).point_px((4.0, 3.0)) == pytest.approx((200.0, 150.0), abs=0.05)


def test_twelve_bit_picture_is_searched_too() -> None:
    image = mark([(200.0, 150.0, 5.0)]).astype(np.uint16) * 16
    found = tool()(view(image, pixel_format="Mono12")).pose
    assert found is not None and abs(found.x_px - 200) < 0.05


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (mark([]), "nothing like"),
        (mark([], noise=6.0, seed=2), ""),
        (mark([(200.0, 150.0, 40.0)]), ""),
        (mark([(20.0, 150.0, 0.0)]), ""),
        (mark([(120.0, 90.0, 2.0), (280.0, 230.0, -4.0)]), "two places"),
        (np.zeros((60, 60), np.uint8), "smaller than the template"),
        (np.random.default_rng(5).integers(0, 255, (320, 400)).astype(np.uint8), ""),
    ],
    ids=["empty", "noise", "turned too far", "half outside", "two parts", "tiny", "static"],
)
def test_doubt_is_not_found_and_says_why(image: Any, why: str) -> None:
    found = tool()(view(image))
    assert found.pose is None
    assert found.why and why in found.why


def test_inverted_mark_is_another_part() -> None:
    assert tool()(view(mark([(200.0, 150.0, 0.0)], grey=(70.0, 150.0)))).pose is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((20, 60), np.uint8), "at least 24x24"),
        (np.full((60, 60), 120, np.uint8), "nothing is to be seen"),
        (mark([], (60, 60), noise=4.0), "edge points"),
    ],
)
def test_template_that_can_not_work_is_refused(image: Any, said: str) -> None:
    if said == "edge points":
        image = np.linspace(0, 40, 60).astype(np.uint8)[None].repeat(60, axis=0)
    with pytest.raises(ValueError, match=said):
        tool({"mark.png": image})


@pytest.mark.parametrize(
    ("keys", "said"),
    [({"turn": "190 deg"}, "at most 180"), ({"turn": "10"}, "number and its unit"), ({"fixture": "x"}, "no fixture")],
)
def test_bad_keys_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tool(**keys)


def test_it_must_be_opened_first() -> None:
    bare = Template.model_validate({"tool": "template", "image": "x.png", "fail": "1010 P"})
    with pytest.raises(RuntimeError, match="open"):
        bare(view(mark([])))
