from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from inspector.parts import Frame, InspectionFault
from inspector.prepare.merge import GAMMA, Merge
from inspector.tool import OF_VIEWS, Prepared
from tests.recipe.pictures import frame, view

EXPOSURES_US = {"short": 100.0, "middle": 400.0, "long": 1600.0}
LIGHT = np.geomspace(0.02, 250, 64)[None].repeat(48, axis=0)  # grey that 100 us make of it


def tool(**keys: Any) -> Merge:
    return Merge.model_validate({"tool": "merge", "views": ["short", "middle", "long"], **keys})


def taken(exposure_us: float, gain_db: float = 0.0, full: int = 255, noise_grey: float = 0.0, seed: int = 0) -> Frame:
    grey = LIGHT * exposure_us / 100 * 10 ** (gain_db / 20)
    grey = grey + np.random.default_rng(seed).normal(0, noise_grey, grey.shape)
    image = np.clip(np.round(grey * full / 255), 0, full).astype(np.uint8 if full == 255 else np.uint16)
    shot = frame(image, pixel_format={255: "Mono8", 4095: "Mono12"}[full])
    return replace(shot, ref=replace(shot.ref, exposure_us=exposure_us, gain_db=gain_db))


def bracket(full: int = 255) -> dict[str, tuple[Frame, ...]]:
    return {name: (taken(us, full=full),) for name, us in EXPOSURES_US.items()}


def merged(frames: dict[str, tuple[Frame, ...]], method: str, **keys: Any) -> Prepared:
    first = next(iter(frames.values()))[0]
    seen = view(first.image, frames=frames)
    return tool(views=list(frames), method=method, **keys)(seen)


@pytest.mark.parametrize("full", [255, 4095])
def test_debevec_tells_the_light_over_the_whole_range(full: int) -> None:
    made = merged(bracket(full), "debevec")
    assert made.full_scale == 65535 and made.image.dtype == np.uint16
    light = 255 * (made.image / 65535.0) ** GAMMA
    known = LIGHT > 0.4  # six whole greys in the longest exposure
    assert np.abs(light[known] / LIGHT[known] - 1).max() < (0.08 if full == 255 else 0.01)
    assert (np.diff(made.image.astype(int)) >= 0).all()  # more light is never darker


def test_linear_grey_is_the_light_itself() -> None:
    light = merged(bracket(4095), "debevec", tone="linear").image * 255.0 / 65535
    known = LIGHT > 0.4
    assert np.abs(light[known] / LIGHT[known] - 1).max() < 0.02


def test_black_level_is_no_light() -> None:
    errors = []
    for black in (0.0, 16.0):
        frames = {}
        for name, us in EXPOSURES_US.items():
            shot = taken(us, full=4095)
            lifted = np.clip(shot.image.astype(int) * (1 - 16 / 255) + 4095 * 16 / 255, 0, 4095).astype(np.uint16)
            frames[name] = (Frame(shot.ref, lifted),)
        light = merged(frames, "debevec", tone="linear", black=black).image * 255.0 / 65535
        errors.append(np.abs(light[LIGHT > 1] / LIGHT[LIGHT > 1] - 1).max())
    assert errors[0] > 0.3 and errors[1] < 0.03


def test_debevec_weighs_as_opencv_does() -> None:
    frames = bracket()
    images = [cv2.cvtColor(shots[0].image, cv2.COLOR_GRAY2RGB) for shots in frames.values()]
    times = np.array([us / 1e6 for us in EXPOSURES_US.values()], np.float32)
    theirs = cv2.createMergeDebevec().process(images, times)[..., 0].astype(np.float64)
    ours = (merged(frames, "debevec").image / 65535.0) ** GAMMA
    known = (LIGHT > 2) & (LIGHT < 200)
    ratio = ours[known] / theirs[known]
    assert ratio.std() / ratio.mean() < 0.03


def test_debevec_of_one_place_does_not_depend_on_the_rest_of_the_picture() -> None:
    frames = bracket()
    cut = {}
    for name, (shot,) in frames.items():
        ref = replace(shot.ref, width=32)
        cut[name] = (Frame(ref, shot.image[:, :32].copy()),)
    assert np.array_equal(merged(frames, "debevec").image[:, :32], merged(cut, "debevec").image)


def test_clipped_in_the_shortest_is_clipped_and_black_in_the_longest_is_black() -> None:
    frames = bracket()
    for (shot,) in frames.values():
        shot.image.flags.writeable = True
        shot.image[:5], shot.image[5:10] = 255, 0
    made = merged(frames, "debevec").image
    assert (made[:5] == 65535).all() and (made[5:10] == 0).all()


def test_gain_counts_as_exposure() -> None:
    plain = merged({"a": (taken(100),), "b": (taken(400),)}, "debevec").image.astype(int)
    gained = merged({"a": (taken(100),), "b": (taken(100, gain_db=20 * np.log10(4)),)}, "debevec").image.astype(int)
    assert np.abs(plain - gained).max() <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exposure_us": 0.0}, "exposure time of view b is not known"),
        ({"exposure_us": 101.0}, "have the same exposure"),
    ],
)
def test_debevec_without_exposures_is_refused(change: dict[str, Any], said: str) -> None:
    other = taken(400)
    frames = {"a": (taken(100),), "b": (replace(other, ref=replace(other.ref, **change)),)}
    with pytest.raises(InspectionFault, match=said):
        merged(frames, "debevec")
    assert merged(frames, "mertens").image.shape == LIGHT.shape


def textured(exposure_us: float, full: int = 255) -> Frame:
    """Squares on a dark half and on a bright half; every exposure alone loses those of one half."""
    y, x = np.mgrid[:128, :256]
    grey = np.where(x < 128, 1.0, 150.0) * (1 + 0.3 * ((x // 16 + y // 16) % 2)) * exposure_us / 100
    image = np.clip(np.round(grey * full / 255), 0, full).astype(np.uint8 if full == 255 else np.uint16)
    return frame(image, pixel_format={255: "Mono8", 4095: "Mono12"}[full])


def contrasts(image: Any, full: int) -> tuple[float, float]:
    """Grey of 0..255 between the squares of the dark and of the bright half."""
    grey = image[16:-16].astype(np.float64) * 255 / full
    left, right = grey[:, 32:96], grey[:, 160:224]
    return float(left.max() - left.min()), float(right.max() - right.min())


@pytest.mark.parametrize("full", [255, 4095])
def test_mertens_shows_what_each_view_alone_loses(full: int) -> None:
    frames = {name: (textured(us, full),) for name, us in (("short", 100.0), ("long", 6400.0))}
    short, long = (contrasts(frames[name][0].image, full) for name in ("short", "long"))
    assert short[0] < 1.1 and long[1] == 0
    made = merged(frames, "mertens")
    assert made.full_scale == 65535
    dark, bright = contrasts(made.image, 65535)
    assert dark > 10 and bright > 10
    assert np.array_equal(made.image, merged(frames, "mertens").image)


def test_mertens_of_more_depth_looks_the_same() -> None:
    eight, twelve = (
        merged({"a": (textured(100.0, full),), "b": (textured(6400.0, full),)}, "mertens").image.astype(int)
        for full in (255, 4095)
    )
    assert np.abs(eight - twelve).mean() < 0.01 * 65535


def test_view_of_several_shots_takes_part_with_their_mean() -> None:
    exposures = {"a": 100.0, "b": 400.0}
    still = merged({n: (taken(us),) for n, us in exposures.items()}, "debevec").image[:, 20:60] / 65535
    errors = []
    for count in (1, 8):
        noisy = {n: tuple(taken(us, noise_grey=3.0, seed=s) for s in range(count)) for n, us in exposures.items()}
        errors.append(float(np.std(merged(noisy, "debevec").image[:, 20:60] / 65535 - still)))
    assert errors[1] < 0.5 * errors[0]


def test_colour_is_merged_in_colour() -> None:
    frames = {}
    for name, (shot,) in bracket().items():
        colour = frame(np.dstack([shot.image] * 3))
        frames[name] = (replace(colour, ref=replace(colour.ref, exposure_us=shot.ref.exposure_us)),)
    for method in ("mertens", "debevec"):
        assert merged(frames, method).image.shape == (48, 64, 3)


def test_pictures_of_several_sizes_are_refused() -> None:
    frames = bracket()
    small = frames["long"][0]
    frames["long"] = (Frame(small.ref, small.image[:20]),)
    with pytest.raises(InspectionFault, match="differ in size"):
        merged(frames, "mertens")


def test_it_asks_for_its_views() -> None:
    assert list(tool().references()) == [("views", name, OF_VIEWS) for name in EXPOSURES_US]


@pytest.mark.parametrize(
    "keys",
    [
        {"views": ["short"]},
        {"views": ["short", "short"]},
        {"method": "best"},
        {"method": "mertens", "tone": "linear"},
        {"method": "mertens", "black": 6},
        {"method": "debevec", "black": 65},
        {"view": "short"},
        {"camera": "top"},
        {"picture": "x"},
        {"fixture": "x"},
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        tool(**keys)
