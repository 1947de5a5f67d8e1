from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inspector.parts import InspectionFault
from inspector.prepare.average import Average
from tests.recipe.pictures import Drawer, frame, view

SCENE = np.linspace(40, 200, 80 * 90).reshape(80, 90)


def tool(**keys: Any) -> Average:
    return Average.model_validate({"tool": "average", **keys})


def shots(count: int, full: int = 255, noise_grey: float = 6.0) -> list[Any]:
    rng = np.random.default_rng(0)
    noisy = [SCENE + rng.normal(0, noise_grey, SCENE.shape) for _ in range(count)]
    return [np.clip(np.round(n * full / 255), 0, full).astype(np.uint8 if full == 255 else np.uint16) for n in noisy]


def averaged(images: list[Any], pixel_format: str | None = None) -> Any:
    frames = tuple(frame(image, pixel_format=pixel_format) for image in images)
    return tool()(view(images[0], shots=frames, pixel_format=pixel_format))


@pytest.mark.parametrize(("full", "pixel_format"), [(255, "Mono8"), (4095, "Mono12"), (65535, "Mono16")])
@pytest.mark.parametrize("count", [4, 16])
def test_noise_goes_down_by_the_root_of_the_count(count: int, full: int, pixel_format: str) -> None:
    mean = averaged(shots(count, full), pixel_format)
    assert mean.full_scale == 65535 and mean.image.dtype == np.uint16
    error = mean.image * 255.0 / 65535 - SCENE
    assert error.std() == pytest.approx(6.0 / count**0.5, rel=0.05)
    assert abs(error.mean()) < 0.1


def test_whites_stay_white_and_what_is_clipped_stays_clipped() -> None:
    images = shots(4, noise_grey=0.0)
    for image in images:
        image[:10] = 255
    images[0][10] = 255  # one of four
    images[0][11] = images[1][11] = 255  # two of four: where the mean would be, nobody knows
    mean = averaged(images).image
    assert (mean[:10] == 65535).all() and (mean[11] == 65535).all()
    assert (mean[10] < 65535).all()


def test_colour_stays_colour() -> None:
    images = [np.dstack([image, image // 2, image // 4]) for image in shots(4)]
    mean = averaged(images)
    assert mean.image.shape == (80, 90, 3)
    assert mean.image[..., 0].mean() == pytest.approx(2 * mean.image[..., 1].mean(), rel=0.02)


def test_pictures_of_several_sizes_are_refused() -> None:
    images = shots(2)
    with pytest.raises(InspectionFault, match="differ in size"):
        averaged([images[0], images[1][:50]])


def test_view_of_one_picture_is_refused() -> None:
    tool().open(Drawer(shots=2))
    with pytest.raises(ValueError, match="takes 1 picture of each part; allowed: a view with shots: 2 to 16"):
        tool().open(Drawer(shots=1))


@pytest.mark.parametrize("keys", [{"picture": "other"}, {"fixture": "body"}, {"count": 4}])
def test_bad_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tool(**keys)
