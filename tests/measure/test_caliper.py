from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.measure.caliper import Caliper
from inspector.parts import Pose
from tests.recipe.pictures import stripe, view


def tool(**keys: Any) -> Caliper:
    base = {
        "tool": "caliper",
        "along": [[24, 64], [104, 64]],
        "width": 20,
        "inside": "dark",
        "expect": "10 to 60 px",
        "fail": "1120 Slot",
    }
    return Caliper.model_validate({**base, **keys})


def across(angle_deg: float, reach: float = 40.0) -> list[list[float]]:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return [[64 - reach * c, 64 - reach * s], [64 + reach * c, 64 + reach * s]]


@pytest.mark.parametrize("angle", [0.0, 5.0, 17.0, 45.0, 90.0])
@pytest.mark.parametrize("blur", [0.7, 1.0, 2.0])
def test_width_of_a_clean_bar_is_right_to_a_hundredth_of_a_px(angle: float, blur: float) -> None:
    for phase in (0.0, 0.2, 0.5, 0.77):
        # a trace of noise: without it, rows of equal greys round alike and no method sees below that
        image = stripe((64 + phase, 64 + phase / 3), 30.4, angle, blur_px=blur, noise=0.6)
        found = tool(along=across(angle))(view(image))
        assert found.value == pytest.approx(30.4, abs=0.015)


def test_narrow_bar() -> None:
    for phase in (0.0, 0.25, 0.5):
        found = tool()(view(stripe((64 + phase, 64), 12.0, 0.0)))
        assert found.value == pytest.approx(12.0, abs=0.02)


def test_bright_bar_and_tilted_line() -> None:
    image = stripe((64, 64), 30.0, 2.0, inside=200, outside=60)
    found = tool(inside="bright")(view(image))
    # the line crosses the bar at 2 degrees
    assert found.value == pytest.approx(30.0 / math.cos(math.radians(2)), abs=0.02)
    assert found.anchor_px == pytest.approx((64, 64), abs=0.02)


def test_noise_costs_what_the_uncertainty_says() -> None:
    errors, stated = [], []
    for seed in range(30):
        found = tool()(view(stripe((64.3, 64), 30.0, 0.0, noise=4.0, seed=seed)))
        assert found.value is not None and found.uncertainty is not None
        errors.append(found.value - 30.0)
        stated.append(found.uncertainty)
    rms = float(np.sqrt(np.mean(np.square(errors))))
    assert rms < 0.04
    assert 0.5 < rms / float(np.mean(stated)) < 2.0


def test_weak_scratch_beside_the_bar_is_not_an_edge() -> None:
    image = stripe((64, 64), 30.0, 0.0)
    image[:, 36:39] -= 35
    assert tool()(view(image)).value == pytest.approx(30.0, abs=0.02)


def test_mm_follow_pose_and_calibration() -> None:
    pose = Pose(30.0, 12.0, 20.0)
    middle = view(np.zeros((4, 4), np.uint8), pose, 0.05).point_px((2.0, 1.0))
    image = stripe(middle, 24.0, 20.0)
    found = tool(along=[[0.6, 1.0], [3.4, 1.0]], width=0.6, expect="1.20 ±0.05 mm")(view(image, pose, 0.05))
    assert found.unit == "mm"
    assert found.value == pytest.approx(1.2, abs=0.001)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (stripe((64, 64), 30, 0, inside=110, outside=118), "low contrast"),
        (np.full((128, 128), 90, np.uint8), "low contrast"),
        (stripe((64, 64), 30, 0, inside=60, outside=300), "overexposed"),
        (stripe((64, 64), 30, 0, inside=160, outside=40), "wrong order"),
        (stripe((110, 64), 60, 0), "low contrast: no second edge"),
        (stripe((64, 64), 2.0, 0, blur_px=0.5), "px apart"),
    ],
)
def test_doubt_gives_a_reason_and_no_number(image: Any, why: str) -> None:
    found = tool()(view(image))
    assert found.value is None
    assert why in found.why


def test_noise_alone_is_no_edge() -> None:
    noise = np.random.default_rng(3).normal(120, 12, (128, 128)).clip(0, 255).astype(np.uint8)
    assert tool()(view(noise)).value is None


def test_outside_the_picture_is_said() -> None:
    found = tool(along=[[100, 64], [160, 64]])(view(stripe((120, 64), 10, 0)))
    assert found.value is None and "outside" in found.why


def test_line_without_length_is_refused() -> None:
    with pytest.raises(ValidationError, match="same point"):
        tool(along=[[5, 5], [5, 5]])
