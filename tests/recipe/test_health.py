"""The health of pictures: each figure follows its own cause, and little else. Pictures are of rendered plates."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.parts import Health, Outcome, Verdict
from inspector.recipe.health import BUDGET_PX, picture_health
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.wire import verdict_from_json, verdict_to_json
from inspector.yamlfile import FileError
from tests.recipe.pictures import frame, mark, part
from tests.recipe.recipes import good, views, write
from tools.part_renderer import render

WHOLE = (0, 0, 1280, 1024)


def rendered(seed: int, light: float = 1.0, noise_grey: float = 2.0, blur_px: float = 0.0, bits: int = 8) -> Any:
    """A plate without noise of its own, seen in more or less light by a lens and a sensor."""
    scene = render(seed, clean=True).image.astype(np.float32) * light
    if blur_px:
        scene = cv2.GaussianBlur(scene, (0, 0), blur_px)
    scene += np.random.default_rng(seed).normal(0.0, noise_grey, scene.shape).astype(np.float32)
    full = (1 << bits) - 1
    return np.clip(np.round(scene * (full / 255)), 0, full).astype(np.uint8 if bits == 8 else np.uint16)


def health(image: Any, full_scale: int = 255, box: tuple[int, int, int, int] = WHOLE) -> Health:
    return picture_health("", "picture", image, full_scale, box, BUDGET_PX)


@pytest.fixture(scope="module", params=[1, 2])
def seed(request: Any) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def usual(seed: int) -> Health:
    return health(rendered(seed))


def test_half_the_light_moves_brightness_and_contrast_but_not_sharpness(seed: int, usual: Health) -> None:
    dim = health(rendered(seed, light=0.5))
    assert dim.brightness_grey == pytest.approx(usual.brightness_grey / 2, rel=0.01)
    assert dim.contrast_grey == pytest.approx(usual.contrast_grey / 2, rel=0.05)
    assert dim.sharpness == pytest.approx(usual.sharpness, rel=0.05)
    assert dim.noise_grey == pytest.approx(usual.noise_grey, rel=0.05)


def test_defocus_moves_sharpness_but_not_brightness(seed: int, usual: Health) -> None:
    soft = health(rendered(seed, blur_px=1.0))
    assert soft.sharpness < 0.75 * usual.sharpness
    assert soft.brightness_grey == pytest.approx(usual.brightness_grey, rel=0.002)
    assert soft.contrast_grey == pytest.approx(usual.contrast_grey, rel=0.02)
    assert soft.noise_grey == pytest.approx(usual.noise_grey, rel=0.05)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_noise_is_told_in_grey_and_leaves_sharpness_alone(seed: int, usual: Health, sigma: float) -> None:
    noisy = health(rendered(seed, noise_grey=sigma))
    assert noisy.noise_grey == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.1)  # with that of whole greys
    assert noisy.sharpness == pytest.approx(usual.sharpness, rel=0.06)
    assert noisy.brightness_grey == pytest.approx(usual.brightness_grey, rel=0.002)


def test_more_depth_and_colour_tell_the_same(seed: int, usual: Health) -> None:
    for bits in (12, 16):
        deep = health(rendered(seed, bits=bits), (1 << bits) - 1)
        assert deep.brightness_grey == pytest.approx(usual.brightness_grey, rel=0.01)
        assert deep.contrast_grey == pytest.approx(usual.contrast_grey, rel=0.01)
        assert deep.sharpness == pytest.approx(usual.sharpness, rel=0.02)
        assert deep.noise_grey == pytest.approx(usual.noise_grey, rel=0.03)
    assert health(np.dstack([rendered(seed)] * 3)) == usual


def test_share_at_full_scale(seed: int) -> None:
    image = rendered(seed)
    image[:256] = 255
    assert health(image).saturated_share == pytest.approx(0.25, abs=0.02)
    assert health(image.astype(np.uint16) * 16, 4095).saturated_share == 0.0


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_picture_of_nothing_has_figures_too(grey: int) -> None:
    found = health(np.full((1024, 1280), grey, np.uint8))
    assert (found.sharpness, found.noise_grey) == (0.0, 0.0)
    assert found.brightness_grey == grey and found.contrast_grey <= 1
    assert found.saturated_share == (grey == 255)


@pytest.mark.parametrize("shape", [(8, 8), (8, 2000), (2000, 8), (9, 11), (64, 64, 3), (301, 17, 3)])
@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 1023), (np.uint16, 65535)])
def test_every_shape_has_finite_figures(shape: tuple[int, ...], dtype: Any, full: int) -> None:
    rng = np.random.default_rng(1)
    for image in (rng.integers(0, full + 1, shape).astype(dtype), rng.choice([0, full], shape).astype(dtype)):
        found = picture_health("v", "p", image, full, (0, 0, shape[1], shape[0]), 100)
        figures = [found.brightness_grey, found.contrast_grey, found.sharpness, found.noise_grey, found.saturated_share]
        assert np.isfinite(figures).all() and min(figures) >= 0
        assert found.brightness_grey <= 255 and found.contrast_grey <= 256 and found.saturated_share <= 1


def test_picture_too_small_for_figures_has_none(tmp_path: Path, caplog: Any) -> None:
    text = {k: v for k, v in good().items() if k != "calibration"}
    text["locate"] = {}
    text["measure"] = {}
    text["compare"] = {
        "all": {
            "tool": "presence",
            "region": [0, 0, 4, 4],
            "level": 9,
            "count": "darker",
            "share": "5 %",
            "fail": "1001 x",
        }
    }
    text["verdict"] = {}
    recipe = load_recipe(write(tmp_path, text))
    for image in (np.arange(49, dtype=np.uint8).reshape(7, 7) * 5, np.full((1, 1), 80, np.uint8)):
        assert judged(recipe, image).health == ()
    assert "can't be told" not in caplog.text


def test_it_is_the_same_each_time_and_short(seed: int, usual: Health) -> None:
    assert health(rendered(seed)) == usual
    for value in (usual.brightness_grey, usual.contrast_grey, usual.sharpness, usual.noise_grey):
        assert value == float(f"{value:.4g}")


@pytest.mark.alone
def test_it_costs_little_beside_the_judgement(seed: int) -> None:
    image = rendered(seed)

    def took(work: Any) -> float:
        times = []
        for _ in range(9):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return min(times)

    # a measure of the machine, not a time: one Gaussian blur of the same picture is far more than all figures
    assert took(lambda: health(image)) < 2 * took(lambda: cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2.0))


# --- in the verdict ---------------------------------------------------------------------------------------
POSE = (205.3, 161.7, 6.2)
PATCHES = {
    "belt": {"region": [10, 10, 90, 90]},
    "corner": {"region": [310, 230, 390, 310]},
    "leg": {"region": [-4.0, -2.6, 3.2, 2.6], "fixture": "body"},
}


@pytest.fixture(scope="module")
def picture() -> Any:
    return mark([POSE], noise=2.0)


def loaded(folder: Path, **change: Any) -> LoadedRecipe:
    return load_recipe(write(folder, {**good(), **change}))


def judged(recipe: LoadedRecipe, *images: Any) -> Verdict:
    return judge(recipe, part(), [frame(image) for image in images])


def test_without_patches_each_picture_is_one(tmp_path: Path, picture: Any) -> None:
    verdict = judged(loaded(tmp_path), picture)
    assert [(h.view, h.patch) for h in verdict.health] == [("", "picture")]
    assert verdict.health[0].brightness_grey == pytest.approx(float(picture.mean()), rel=0.02)
    assert verdict.pose is not None and verdict.pose.x_px == pytest.approx(205.3, abs=0.1)
    assert verdict.stages_us["health"] <= verdict.stages_us["judge"]
    assert verdict_from_json(verdict_to_json(verdict)) == verdict


def test_verdict_of_before_can_still_be_read(tmp_path: Path, picture: Any) -> None:
    verdict = judged(loaded(tmp_path), picture)
    written = json.loads(verdict_to_json(verdict))
    del written["health"], written["pose"]
    for check in written["checks"]:
        del check["view"]
    for ref in written["frames"]:
        for key in ("view", "shot", "trigger_count", "exposed_ns"):
            del ref[key]
    assert verdict_from_json(json.dumps(written)) == replace(verdict, health=(), pose=None)


def test_dirt_moves_only_its_own_patch(tmp_path: Path, picture: Any) -> None:
    recipe = loaded(tmp_path, health={"patches": PATCHES})
    clean = judged(recipe, picture)
    dirty = picture.copy()
    cv2.circle(dirty, (350, 270), 14, 60, cv2.FILLED)
    spoilt = judged(recipe, dirty)
    assert [h.patch for h in spoilt.health] == ["belt", "corner", "leg"]
    assert [h for h in spoilt.health if h.patch != "corner"] == [h for h in clean.health if h.patch != "corner"]
    before, after = (next(h for h in v.health if h.patch == "corner") for v in (clean, spoilt))
    assert after.brightness_grey < before.brightness_grey - 4
    assert after.contrast_grey > 5 * before.contrast_grey


def test_patch_of_a_fixture_moves_with_the_part(tmp_path: Path, picture: Any) -> None:
    recipe = loaded(tmp_path, health={"patches": PATCHES})
    here = {h.patch: h for h in judged(recipe, picture).health}
    there = {h.patch: h for h in judged(recipe, mark([(175.3, 141.7, 6.2)], noise=2.0, seed=1)).health}
    assert there["leg"].brightness_grey == pytest.approx(here["leg"].brightness_grey, rel=0.01)
    assert there["leg"].contrast_grey == pytest.approx(here["leg"].contrast_grey, rel=0.03)
    assert there["leg"].sharpness == pytest.approx(here["leg"].sharpness, rel=0.1)


def test_reject_and_part_not_found_have_health_too(tmp_path: Path, picture: Any) -> None:
    recipe = loaded(tmp_path, health={"patches": PATCHES})
    image = picture.copy()
    image[160:195, 205:240] = 150
    assert judged(recipe, image).outcome is Outcome.FAIL
    assert len(judged(recipe, image).health) == 3
    empty = judged(recipe, mark([], noise=2.0))
    assert [h.patch for h in empty.health] == ["belt", "corner"]  # where the leg is, nobody knows
    assert empty.pose is None


def test_lens_cap_is_seen_in_the_health_of_what_was_not_inspected(tmp_path: Path) -> None:
    verdict = judged(loaded(tmp_path), np.full((320, 400), 3, np.uint8))
    assert verdict.outcome is Outcome.NOT_INSPECTED
    assert verdict.health[0].brightness_grey == 3.0


def test_pixels_that_are_no_picture_have_none(tmp_path: Path, picture: Any) -> None:
    recipe = loaded(tmp_path)
    assert judged(recipe, picture[:300]).health == ()
    assert judged(recipe).health == ()


def test_every_view_has_its_own_also_beside_a_missing_one(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, views()))
    bright = frame(mark([(204.0, 164.0, 0.0)], noise=2.0))
    bright = replace(bright, ref=replace(bright.ref, view="bright"))
    verdict = judge(recipe, part(), [bright])
    assert verdict.text == "Not inspected: no picture 1 of 2 of view dim (camera top)"
    assert [(h.view, h.patch) for h in verdict.health] == [("bright", "picture")]


def test_figures_that_can_not_be_told_cost_no_part(tmp_path: Path, picture: Any, monkeypatch: Any, caplog: Any) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("inspector.recipe.health.picture_health", broken)
    verdict = judged(loaded(tmp_path), picture)
    assert verdict.outcome is Outcome.PASS and verdict.health == ()
    assert "health can't be told" in caplog.text


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"region": [10, 10, 10, 90]}, "left < right and top < bottom"),
        ({"region": [10, 10, 14, 90]}, "4x80 px, allowed: at least 8x8"),
        ({"region": [390, 10, 410, 90]}, "partly outside the picture, which is 400x320 px"),
        (
            {"region": [10, 10, 90, 90], "fixture": "dot"},
            "fixture: found 'dot', which is no step of locate; allowed: body",
        ),
        ({"region": [10, 10, 90, 90], "view": "dark"}, "view: found 'dark', allowed: no view key"),
        ({"region": [10, 10, 90, 90], "colour": "red"}, "colour: unknown key"),
    ],
)
def test_patch_that_can_not_be(tmp_path: Path, patch: dict[str, Any], said: str) -> None:
    with pytest.raises(FileError) as refused:
        loaded(tmp_path, health={"patches": {"p": patch}})
    assert any(said in p and "health.patches.p" in p for p in refused.value.problems), refused.value.problems


def test_patches_of_views_say_whose_they_are(tmp_path: Path) -> None:
    text = views()
    text["health"] = {"patches": {"p": {"region": [10, 10, 90, 90]}}}
    with pytest.raises(FileError, match="health.patches.p: view: missing, allowed: bright, dim"):
        load_recipe(write(tmp_path, text))
    text["health"]["patches"]["p"] = {"region": [0, 0, 1, 1], "fixture": "body"}  # which says whose
    spec = load_recipe(write(tmp_path, text)).spec
    assert spec.head.health is not None and spec.patch_source(spec.head.health.patches["p"]).name == "bright"
    text["health"]["patches"]["p"]["view"] = "dim"
    with pytest.raises(FileError, match=r"looks through another view \(bright\)"):
        load_recipe(write(tmp_path, text))
