from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inspector.compare.presence import Presence
from inspector.parts import Pose
from tests.recipe.pictures import view


def tool(**keys: Any) -> Presence:
    base = {"tool": "presence", "region": [10, 10, 50, 30], "level": 100, "count": "darker", "share": "20 %"}
    return Presence.model_validate({**base, "fail": "1400 Clip missing", **keys})


def picture(dark_share: float) -> Any:
    image = np.full((60, 80), 180, np.uint8)
    image[10:31, 10 : 10 + round(41 * dark_share)] = 40
    return image


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_share_of_dark_pixels(share: float) -> None:
    found = tool()(view(picture(share)))
    assert found.unit == "%"
    assert found.value == pytest.approx(100 * share, abs=3)
    assert tool(count="brighter")(view(picture(share))).value == pytest.approx(100 - 100 * share, abs=3)


def test_limits_follow_what_is_expected() -> None:
    present, absent = tool().limits, tool(expect="absent").limits
    assert present.hold(20.0) and not present.hold(19.9)
    assert absent.hold(20.0) and not absent.hold(20.1)


def test_what_should_not_be_there_is_outlined() -> None:
    found = tool(expect="absent")(view(picture(0.5)))
    assert len(found.shapes) == 2
    xs = [x for x, _ in found.shapes[1].points_px]
    assert min(xs) >= 9 and max(xs) <= 31


def test_region_follows_the_pose_and_turns_with_it() -> None:
    image = np.full((200, 200), 180, np.uint8)
    image[100:, :] = 40
    pose = Pose(100.0, 100.0, 90.0)  # part x points down the picture: into the dark half
    ahead = tool(region=[2, -2, 4, 2])(view(image, pose, 0.1))
    behind = tool(region=[-4, -2, -2, 2])(view(image, pose, 0.1))
    assert ahead.value == pytest.approx(100.0)
    assert behind.value == pytest.approx(0.0)


def test_twelve_bit_level_is_in_grey_of_255() -> None:
    image = picture(0.5).astype(np.uint16) * 16
    assert tool()(view(image, pixel_format="Mono12")).value == pytest.approx(50, abs=3)


@pytest.mark.parametrize(
    ("region", "why"), [([-5, 0, 30, 30], "outside"), ([60, 40, 90, 50], "outside"), ([10, 10, 12, 12], "px large")]
)
def test_doubt_gives_a_reason(region: list[float], why: str) -> None:
    found = tool(region=region)(view(picture(1.0)))
    assert found.value is None and why in found.why
