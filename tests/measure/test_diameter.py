from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.measure.diameter import Diameter, robust_circle
from inspector.parts import Pose
from tests.recipe.pictures import disc, view

PHASES = [(63.5, 64.0), (63.62, 64.31), (64.17, 63.55), (63.9, 63.8)]


def tool(**keys: Any) -> Diameter:
    base = {"tool": "diameter", "at": [64, 64], "search": [50, 100], "expect": "70 to 90 px", "fail": "1110 Bore"}
    return Diameter.model_validate({**base, **keys})


@pytest.mark.parametrize("blur", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("radius", [40.0, 41.37])
def test_diameter_of_a_clean_disc_is_right_to_a_hundredth_of_a_px(radius: float, blur: float) -> None:
    for centre in PHASES:
        found = tool()(view(disc(centre, radius, blur_px=blur)))
        assert found.value == pytest.approx(2 * radius, abs=0.01)
        assert found.anchor_px == pytest.approx(centre, abs=0.01)
        assert found.unit == "px"


def test_small_disc_has_no_curvature_bias() -> None:
    small = tool(search=[20, 44], expect="25 to 35 px")
    errors = [small(view(disc(c, 15.0, blur_px=b))).value or 0.0 for c in PHASES for b in (1.0, 2.0)]
    assert np.abs(np.array(errors) - 30.0).max() < 0.02


def test_bright_disc_is_measured_when_asked_for() -> None:
    image = disc((64.2, 63.7), 40.0, inside=180, outside=60)
    assert tool(inside="bright")(view(image)).value == pytest.approx(80.0, abs=0.01)
    assert tool()(view(image)).value is None


def test_nominal_centre_may_be_off() -> None:
    found = tool(at=[67, 61.5])(view(disc((64.0, 64.0), 40.0)))
    assert found.value == pytest.approx(80.0, abs=0.01)


def test_noise_costs_what_the_uncertainty_says() -> None:
    errors, stated = [], []
    for seed in range(24):
        centre = PHASES[seed % 4]
        found = tool()(view(disc(centre, 40.0, noise=4.0, seed=seed)))
        assert found.value is not None and found.uncertainty is not None
        errors.append(found.value - 80.0)
        stated.append(found.uncertainty)
    rms = float(np.sqrt(np.mean(np.square(errors))))
    assert rms < 0.03
    assert 0.4 < rms / float(np.mean(stated)) < 2.5


def test_chip_in_the_rim_does_not_move_the_circle() -> None:
    image = disc((64.0, 64.0), 40.0)
    image[58:70, 98:112] = 40  # a dark bite beside the rim
    assert tool()(view(image)).value == pytest.approx(80.0, abs=0.05)


def test_mm_follow_pose_and_calibration() -> None:
    pose = Pose(10.0, 20.0, 30.0)
    at = (3.0, 1.5)
    seen = view(np.zeros((4, 4), np.uint8), pose, 0.05)
    x, y = seen.point_px(at)
    image = disc((x, y), 25.0, (160, 160))
    measured = tool(at=at, search=[1.5, 3.5], expect="2.50 ±0.05 mm")(view(image, pose, 0.05))
    assert measured.unit == "mm"
    assert measured.value == pytest.approx(2.5, abs=0.001)


def test_twelve_bit_picture_measures_as_eight_bit() -> None:
    image = disc((64.3, 63.8), 40.0).astype(np.uint16) * 16
    assert tool()(view(image, pixel_format="Mono12")).value == pytest.approx(80.0, abs=0.01)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (disc((64, 64), 40, inside=100, outside=108), "low contrast"),
        (np.full((128, 128), 120, np.uint8), "low contrast"),
        (disc((64, 64), 40, inside=60, outside=300), "overexposed"),
        (disc((64, 64), 12.0), "edge on only"),
        (disc((64, 10), 40), "edge on only"),
    ],
)
def test_doubt_gives_a_reason_and_no_number(image: Any, why: str) -> None:
    found = tool()(view(image))
    assert found.value is None
    assert why in found.why
    assert found.shapes


def test_half_a_circle_is_not_measured() -> None:
    image = disc((64, 64), 40.0)
    image[:, 60:] = 160
    found = tool()(view(image))
    assert found.value is None and "edge on only" in found.why


def test_square_is_not_a_circle_of_small_uncertainty() -> None:
    image = np.full((128, 128), 160, np.uint8)
    image[30:98, 30:98] = 40
    found = tool()(view(image))
    assert found.value is None or (found.uncertainty or 0) > 0.2


def test_partly_outside_the_picture_is_said() -> None:
    found = tool(at=[20, 64])(view(disc((20, 64), 40)))
    assert found.value is None and "outside" in found.why


def test_too_few_px_are_said() -> None:
    found = tool(at=[64, 64], search=[4, 30], expect="5 to 20 px")(view(disc((64, 64), 3)))
    assert found.value is None and "at least 8" in found.why


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"search": [90, 50]}, "smallest and a larger"),
        ({"search": [50, 85]}, "does not cover"),
        ({"expect": "about 80"}, "not a tolerance"),
        ({"fail": "110 too low"}, "1000-9999"),
        ({"contrast": 0}, "greater than"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tool(**keys)


def test_circle_fit_throws_outliers_out() -> None:
    turn = np.linspace(0, 2 * math.pi, 30, endpoint=False)
    points = np.column_stack([5 + 10 * np.cos(turn), 7 + 10 * np.sin(turn)])
    points[3] += (4, 1)
    points[17] += (-2, 3)
    fit = robust_circle(points)
    assert fit is not None
    assert fit[0] == pytest.approx([5, 7], abs=1e-6)
    assert fit[1] == pytest.approx(10, abs=1e-6)
    assert np.count_nonzero(fit[2]) == 28


def test_no_circle_through_points_that_are_one() -> None:
    assert robust_circle(np.zeros((8, 2))) is None
    assert robust_circle(np.zeros((3, 2))) is None
