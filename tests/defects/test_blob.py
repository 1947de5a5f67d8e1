from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from inspector.codes import Code
from inspector.defects.blob import FINDINGS_MAX, Blob
from inspector.parts import InspectionFault, Pose
from tests.recipe.pictures import Drawer, view


def tool(**keys: Any) -> Blob:
    base = {
        "tool": "blob",
        "region": [10, 10, 290, 190],
        "contrast": 20,
        "background": 60,
        "least_area": 6,
        "reject": {"dark": {"area": "30 px2", "fail": "1220 Spot"}},
    }
    made = Blob.model_validate({**base, **keys})
    made.open(Drawer())
    return made


def plate(noise: float = 2.0, seed: int = 0) -> Any:
    """Grey ground with a strong light gradient."""
    ground = np.linspace(90, 190, 300)[None].repeat(200, axis=0)
    return (ground + np.random.default_rng(seed).normal(0, noise, ground.shape)).clip(0, 255).astype(np.uint8)


def spot(image: Any, at: tuple[int, int], axes: tuple[int, int], step: int, turn: float = 0.0) -> Any:
    mask = np.zeros(image.shape, np.uint8)
    cv2.ellipse(mask, at, axes, turn, 0, 360, 1, cv2.FILLED)
    return (image.astype(int) + step * mask.astype(int)).clip(0, 255).astype(np.uint8), int(mask.sum())


@pytest.mark.parametrize("seed", range(4))
def test_clean_ground_with_gradient_and_noise_has_no_spots(seed: int) -> None:
    assert tool(find="both")(view(plate(seed=seed))) == []


def test_spot_is_found_with_its_size_and_place() -> None:
    image, area = spot(plate(), (150, 90), (12, 5), -45, turn=30)
    (found,) = tool()(view(image))
    assert found.label == "dark" and found.unit == "px"
    assert found.area == pytest.approx(area, rel=0.1)
    assert found.length == pytest.approx(25, abs=2.5)
    assert found.score == pytest.approx(45 / 255, abs=0.05)
    xs, ys = zip(*found.outline_px, strict=True)
    assert np.mean(xs) == pytest.approx(150, abs=3) and np.mean(ys) == pytest.approx(90, abs=3)


def test_dark_and_bright_are_told_apart() -> None:
    image, _ = spot(plate(), (80, 60), (8, 8), -45)
    image, _ = spot(image, (220, 130), (8, 8), 45)
    assert [f.label for f in tool(find="bright")(view(image))] == ["bright"]
    assert sorted(f.label for f in tool(find="both")(view(image))) == ["bright", "dark"]
    assert tool(find="both").labels() == ("dark", "bright")


def test_weak_or_tiny_spots_are_not_reported() -> None:
    image, _ = spot(plate(), (150, 90), (12, 8), -12)
    image[50, 50] = 0
    assert tool()(view(image)) == []


def test_ignored_areas_and_their_edges_are_left_out_of_the_background_too() -> None:
    image, _ = spot(plate(), (100, 100), (20, 20), -80)  # a bore
    image[150:180, 200:240] = 20  # a slot
    ignore = [{"circle": [100, 100, 23]}, {"rect": [197, 147, 243, 183]}]
    assert tool()(view(image)) != []
    assert tool(ignore=ignore)(view(image)) == []
    beside, area = spot(image, (130, 100), (4, 4), -45)
    (found,) = tool(ignore=ignore)(view(beside))
    assert found.area == pytest.approx(area, rel=0.25)


def test_outside_the_region_is_not_looked_at() -> None:
    image, _ = spot(plate(), (150, 20), (6, 6), -45)
    assert tool(region=[10, 40, 290, 190])(view(image)) == []


def test_mm_follow_pose_and_calibration() -> None:
    image, area = spot(plate(), (150, 90), (10, 10), -45)
    (found,) = tool(region=[-5, -3, 5, 3], background=6, least_area=0.1)(view(image, Pose(150.0, 90.0, 20.0), 0.1))
    assert found.unit == "mm"
    assert found.area == pytest.approx(area / 100, rel=0.1)
    assert found.length == pytest.approx(2.1, abs=0.2)


def test_twelve_bit_contrast_is_in_grey_of_255() -> None:
    image, _ = spot(plate(), (150, 90), (10, 10), -45)
    (found,) = tool()(view(image.astype(np.uint16) * 16, pixel_format="Mono12"))
    assert found.score == pytest.approx(45 / 255, abs=0.05)


def test_part_that_reaches_out_of_the_picture_is_not_inspected() -> None:
    with pytest.raises(InspectionFault) as caught:
        tool(region=[10, 10, 310, 190])(view(plate()))
    assert caught.value.code == Code.IMAGE_QUALITY


def test_findings_are_bounded_largest_first() -> None:
    rng = np.random.default_rng(0)
    image = np.where(rng.random((50, 75)) < 0.2, 60, 160).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    found = tool()(view(image))
    assert len(found) == FINDINGS_MAX
    assert found[0].area == max(f.area for f in found)


@pytest.mark.parametrize(
    "keys",
    [
        {"contrast": 0},
        {"background": 0},
        {"reject": {}},
        {"reject": {"dark": {"area": "3 mm", "fail": "1220 Spot"}}},
        {"ignore": [{"circle": [1, 2, 0]}]},
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tool(**keys)


def test_empty_region_is_refused_at_load() -> None:
    with pytest.raises(ValueError, match="larger right"):
        tool(region=[50, 10, 40, 20])
