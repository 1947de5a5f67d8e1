from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.prepare.flatten import Flatten
from tests.recipe.pictures import view


def tool(**keys: Any) -> Flatten:
    return Flatten.model_validate({"tool": "flatten", "window": [1, 41], **keys})


def streaks() -> Any:
    columns = np.random.default_rng(0).uniform(60, 200, 160)
    return np.repeat(columns[None], 120, axis=0).astype(np.uint8)


def test_streaks_and_shade_are_gone() -> None:
    shaded = (streaks() * np.linspace(0.4, 1.0, 120)[:, None]).astype(np.uint8)
    flat = tool()(view(shaded))
    assert flat.dtype == np.uint8 and flat.shape == shaded.shape
    assert np.abs(flat[25:-25].astype(int) - 128).max() <= 6


def test_a_spot_has_the_same_contrast_in_light_and_shade() -> None:
    light, shade = (np.full((100, 100), grey, np.uint8) for grey in (200, 80))
    depths = []
    for image in (light, shade):
        image[48:53, 48:53] = image[0, 0] * 0.6
        depths.append(128 - int(tool()(view(image))[50, 50]))
    assert depths[0] > 35
    assert depths[0] == pytest.approx(depths[1], abs=4)


def test_black_places_are_not_blown_up() -> None:
    noise = np.random.default_rng(1).integers(0, 3, (90, 90)).astype(np.uint8)
    flat = tool(smooth=1)(view(noise))
    assert np.abs(flat.astype(int) - 128).max() < 45


def test_twelve_bit_and_colour_come_out_grey_8_bit() -> None:
    image = streaks()
    wanted = tool()(view(image))
    deep = tool()(view(image.astype(np.uint16) * 16, pixel_format="Mono12"))
    assert deep.dtype == np.uint8 and np.abs(deep.astype(int) - wanted).max() <= 3
    assert tool()(view(np.dstack([image] * 3))).shape == image.shape


@pytest.mark.parametrize(
    "keys",
    [{"window": [2, 41]}, {"window": [1, 1]}, {"window": [1, 503]}, {"window": 41}, {"smooth": 2}, {"smooth": 0}],
)
def test_bad_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tool(**keys)
