from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inspector.parts import InspectionFault
from inspector.prepare.flat_field import FlatField
from inspector.tool import Prepared
from tests.recipe.pictures import Drawer, view

SHAPE = (90, 120)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
SHADE = 1 - 0.5 * ((X - 60) ** 2 + (Y - 45) ** 2) / (60**2 + 45**2)  # vignetting: half the light in the corners
DARK = 8 + 3.0 * (X % 2)  # columns that start from another black
SCENE = 90 + 40.0 * ((X // 20 + Y // 20) % 2)


def sensed(light: Any, full: int = 255, dtype: Any = None, gain: Any = 1.0) -> Any:
    grey = np.clip(np.round((DARK + light * SHADE * gain) * full / 255), 0, full)
    return grey.astype(dtype or (np.uint8 if full == 255 else np.uint16))


def opened(dark: bool = True, **change: Any) -> FlatField:
    images = {"flat.png": sensed(200.0), "dark.png": sensed(0.0), **change.pop("images", {})}
    tool = FlatField.model_validate(
        {"tool": "flat_field", "flat": "flat.png", **({"dark": "dark.png"} if dark else {})}
    )
    tool.open(Drawer(images, **change))
    return tool


def test_shade_and_column_pattern_are_gone() -> None:
    raw = sensed(SCENE)
    out = opened()(view(raw))
    assert out.dtype == np.uint8
    bright, dark = out[SCENE > 100], out[SCENE < 100]
    assert bright.std() < 1.2 and dark.std() < 1.2  # one grey of the reference and one of the picture
    assert raw[SCENE > 100].std() > 10
    assert bright.mean() / dark.mean() == pytest.approx(130 / 90, rel=0.01)  # light stays in proportion


def test_without_dark_the_columns_stay() -> None:
    columns = [
        np.abs(np.diff(opened(dark=with_dark)(view(sensed(20.0)))[45].astype(int))).mean() for with_dark in (0, 1)
    ]
    assert columns[0] > 2 > 1 > columns[1]


@pytest.mark.parametrize("full", [1023, 4095, 65535])
def test_deep_pictures_keep_their_depth(full: int) -> None:
    pixel_format = {1023: "Mono10", 4095: "Mono12", 65535: "Mono16"}[full]
    references = {"flat.png": sensed(200.0, full), "dark.png": sensed(0.0, full)}
    out = opened(images=references)(view(sensed(SCENE, full), pixel_format=pixel_format))
    assert out.dtype == np.uint16
    assert out[SCENE > 100].std() * 255 / full < 0.4
    eight = opened()(view(sensed(SCENE, full), pixel_format=pixel_format))  # references of 8 bit for it
    assert eight[SCENE > 100].std() * 255 / full < 0.9


def test_sixteen_bit_references_for_eight_bit_pictures() -> None:
    references = {"flat.png": sensed(200.0, 65535), "dark.png": sensed(0.0, 65535)}
    out = opened(images=references)(view(sensed(SCENE)))
    assert out.dtype == np.uint8 and out[SCENE > 100].std() < 0.8


def test_average_can_be_corrected() -> None:
    averaged = Prepared(sensed(SCENE, 65535), 65535)
    out = opened()(view(sensed(SCENE), prepared=averaged))
    assert out.dtype == np.uint16 and out[SCENE > 100].std() * 255 / 65535 < 0.7


def test_what_is_clipped_stays_clipped_and_what_is_bright_saturates() -> None:
    scene = np.full(SHAPE, 100.0)
    scene[40:50, 50:70] = 600  # clipped in the middle, where the gain is below 1
    out = opened()(view(sensed(scene)))
    assert (out[40:50, 50:70] == 255).all()
    corner = np.full(SHAPE, 100.0)
    corner[:5, :5] = 400  # below full scale as it is, above when corrected
    assert sensed(corner)[:5, :5].max() < 250
    assert (opened()(view(sensed(corner)))[:5, :5] == 255).all()


def test_dead_pixels_are_filled_in_from_their_neighbours() -> None:
    answer = np.ones(SHAPE)
    for y, x, share in ((30, 30, 0.0), (31, 30, 0.2), (0, 0, 0.1), (60, 80, 2.0)):
        answer[y, x] = share
    tool = opened(images={"flat.png": sensed(100.0, gain=answer)})
    flat_scene = np.full(SHAPE, 60.0)
    out = tool(view(sensed(flat_scene, gain=answer)))
    assert int(out.max()) - int(out.min()) <= 3
    assert not np.array_equal(out, sensed(flat_scene, gain=answer))


def test_the_cameras_picture_is_left_alone() -> None:
    seen = view(sensed(SCENE))
    before = seen.frame.image.copy()
    opened()(seen)
    assert np.array_equal(before, seen.frame.image)


def test_colour_keeps_its_tint() -> None:
    tint = (1.0, 0.7, 0.4)
    colour = [np.dstack([sensed(light * share) for share in tint]) for light in (200.0, 0.0, SCENE)]
    out = opened(images={"flat.png": colour[0], "dark.png": colour[1]})(view(colour[2]))
    means = [float(out[..., n][SCENE > 100].mean()) for n in range(3)]
    assert means[1] / means[0] == pytest.approx(0.7, rel=0.03)
    assert all(out[..., n][SCENE > 100].std() < 2 for n in range(3))


SPOTTED = sensed(200.0)
SPOTTED[::8, ::8] = 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size_px": (1280, 1024)}, "flat: 120x90 px, the pictures are 1280x1024 px"),
        ({"images": {"dark.png": np.zeros((80, 120), np.uint8)}}, "dark: 120x80 px, flat is 120x90 px"),
        ({"images": {"flat.png": np.full(SHAPE, 255, np.uint8)}}, "flat: overexposed"),
        ({"images": {"flat.png": np.full(SHAPE, 4095, np.uint16)}}, "flat: overexposed"),
        ({"images": {"flat.png": sensed(10.0)}}, "grey of 255 brighter than dark"),
        ({"images": {"flat.png": SPOTTED}}, "% of its pixels are dead or black"),
    ],
)
def test_picture_that_is_no_reference_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(**change)


def test_black_place_too_large_to_be_filled_in_is_named() -> None:
    flat = np.full((300, 400), 200, np.uint8)
    flat[50:53, 80:83] = 5
    tool = FlatField.model_validate({"tool": "flat_field", "flat": "flat.png"})
    tool.open(Drawer({"flat.png": flat}))  # three pixels have neighbours
    flat[50:58, 80:88] = 5
    with pytest.raises(ValueError, match="flat: a black place larger than 5x5 px at x 82, y 52; allowed: none"):
        tool.open(Drawer({"flat.png": flat}))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((100, 100), np.uint8), "the picture is 100x100 px, flat.png is 120x90 px"),
        (np.zeros((*SHAPE, 3), np.uint8), "the picture is 120x90 px colour, flat.png is 120x90 px"),
    ],
)
def test_picture_of_another_size_is_not_corrected(image: Any, said: str) -> None:
    with pytest.raises(InspectionFault, match=said):
        opened()(view(image))


def test_references_of_another_depth_are_refused_when_they_can_not_fit() -> None:
    references = {"flat.png": sensed(200.0, 65535), "dark.png": sensed(0.0, 65535)}
    with pytest.raises(InspectionFault, match="the pictures end at 4095; allowed: the same pixel format"):
        opened(images=references)(view(sensed(SCENE, 4095), pixel_format="Mono12"))
