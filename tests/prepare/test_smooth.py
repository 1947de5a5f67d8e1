from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.prepare.smooth import Smooth
from tests.recipe.pictures import view


def noisy(dtype: Any = np.uint8, shape: tuple[int, ...] = (80, 80)) -> Any:
    scale = 1 if dtype == np.uint8 else 256
    return (np.random.default_rng(0).normal(120, 10, shape).clip(0, 255) * scale).astype(dtype)


@pytest.mark.parametrize("keys", [{"method": "median", "size": 3}, {"method": "gaussian", "size": 7}])
@pytest.mark.parametrize("image", [noisy(), noisy(np.uint16), noisy(shape=(80, 80, 3))])
def test_noise_goes_down_and_the_mean_stays(keys: dict[str, Any], image: Any) -> None:
    out = Smooth.model_validate({"tool": "smooth", **keys})(view(image))
    assert out.shape == image.shape and out.dtype == image.dtype
    assert out.std() < 0.6 * image.std()
    assert out.mean() == pytest.approx(image.mean(), rel=0.01)


def test_the_cameras_picture_is_left_alone() -> None:
    seen = view(noisy())
    before = seen.frame.image.copy()
    Smooth.model_validate({"tool": "smooth"})(seen)
    assert np.array_equal(before, seen.frame.image)


@pytest.mark.parametrize("keys", [{"size": 4}, {"size": 17}, {"method": "median", "size": 7}, {"method": "best"}])
def test_bad_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Smooth.model_validate({"tool": "smooth", **keys})
