"""Several pictures of one part: what the recipe may say, what the cameras are asked for, whose picture is judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.codes import Code
from inspector.parts import CheckOutcome, Frame, Outcome
from inspector.recipe.check import read_spec
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.wire import Shot
from inspector.yamlfile import FileError
from tests.recipe.pictures import frame, mark, part
from tests.recipe.recipes import good, views, write

POSE = (204.0, 164.0, 0.0)


@pytest.fixture
def recipe(tmp_path: Path) -> LoadedRecipe:
    return load_recipe(write(tmp_path, views()))


def shot(image: Any, view: str, number: int = 0, camera: str = "top") -> Frame:
    taken = frame(image, camera)
    return replace(taken, ref=replace(taken.ref, view=view, shot=number))


@pytest.fixture(scope="module")
def pictures() -> list[Frame]:
    bright = mark([POSE], noise=2.0)
    dim = mark([POSE], grey=(90.0, 40.0), noise=1.0)
    return [shot(bright, "bright"), shot(dim, "dim", 0), shot(dim, "dim", 1)]


# --- what is asked of the cameras -----------------------------------------------------------------------
def test_the_cameras_are_asked_for_the_views_in_the_recipes_order(recipe: LoadedRecipe) -> None:
    assert recipe.cameras == ("top",)
    bright = Shot("bright", 1, exposure_us=800.0, gain_db=6.0, light="Line2")
    assert recipe.shots == {"top": (bright, Shot("dim", 2, exposure_us=400.0, user_set="UserSet1"))}


def test_views_of_several_cameras_are_asked_of_each(tmp_path: Path) -> None:
    text = views()
    text["views"] = {
        "a": {"camera": "top"},
        "b": {"camera": "side"},
        "bright": {"camera": "top"},
        "dim": text["views"]["dim"],
    }
    loaded = load_recipe(write(tmp_path, text))
    assert loaded.cameras == ("top", "side")
    assert {camera: [s.view for s in shots] for camera, shots in loaded.shots.items()} == {
        "top": ["a", "bright", "dim"],
        "side": ["b"],
    }


def test_the_only_camera_needs_no_name(tmp_path: Path, pictures: list[Frame]) -> None:
    text = views()
    for view in text["views"].values():
        del view["camera"]
    loaded = load_recipe(write(tmp_path, text))
    assert loaded.cameras == () and [s.view for s in loaded.shots[""]] == ["bright", "dim"]
    assert judge(loaded, part(), pictures).outcome is Outcome.PASS
    other = [*pictures[:2], shot(pictures[2].image, "dim", 1, camera="side")]
    assert "pictures of several cameras" in judge(loaded, part(), other).text


def test_recipe_without_views_asks_for_nothing_special(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, good())).shots == {}


# --- whose picture is judged ------------------------------------------------------------------------------
def test_every_step_sees_its_own_view(recipe: LoadedRecipe, pictures: list[Frame]) -> None:
    verdict = judge(recipe, part(), pictures[::-1])  # they may come in any order
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert {c.step: c.view for c in verdict.checks} == {
        "body": "bright", "dot": "bright", "leg": "bright", "apart": "bright", "spot": "dim",
    }  # fmt: skip
    without_dot = mark([], grey=(90.0, 40.0), noise=1.0)
    without_dot[:40, :40] = 30  # something is to be seen in it
    spoilt = [pictures[0], shot(without_dot, "dim", 0), pictures[2]]
    verdict = judge(recipe, part(), spoilt)
    assert {c.step for c in verdict.checks if c.outcome is not CheckOutcome.PASS} == {"spot"}


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ((1, 2), "no picture of view bright (camera top)"),
        ((0,), "no picture 1 of 2 of view dim (camera top)"),
        ((0, 1), "no picture 2 of 2 of view dim (camera top)"),
        ((), "no picture of view bright (camera top)"),
    ],
)
def test_missing_view_is_named(recipe: LoadedRecipe, pictures: list[Frame], keep: tuple[int, ...], said: str) -> None:
    verdict = judge(recipe, part(), [pictures[n] for n in keep])
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME)
    assert verdict.text == f"Not inspected: {said}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"view": "bright"}, "two pictures of view bright (camera top) for one part"),
        ({"view": "blue"}, "a picture of view blue came, but the recipe has no such view"),
        ({"shot": 0}, "two pictures of view dim (camera top) for one part"),
        ({"camera": "side"}, "the picture of view dim (camera top) came from camera side"),
        ({"view": ""}, "a picture of camera top came that was planned for no view"),
        ({"view": "", "camera": "side"}, "no picture 2 of 2 of view dim (camera top)"),
        ({"view": "", "camera": "bright"}, "a picture of view (none) came"),
        ({"shot": 2}, "picture 3 of view dim (camera top) came, planned were 2"),
    ],
)
def test_any_doubt_whose_picture_it_is_is_not_inspected(
    recipe: LoadedRecipe, pictures: list[Frame], change: dict[str, Any], said: str
) -> None:
    last = pictures[2]
    other = {"shot": 0} if "view" in change else {}
    wrong = replace(last, ref=replace(last.ref, **{**other, **change}))
    verdict = judge(recipe, part(), [*pictures[:2], wrong])
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME)
    assert said in verdict.text


def test_only_the_whole_set_of_pictures_is_ever_judged(recipe: LoadedRecipe, pictures: list[Frame]) -> None:
    rng = random.Random(5)
    wanted = {("top", "bright", 0), ("top", "dim", 0), ("top", "dim", 1)}
    refused = 0
    for _ in range(150):
        frames = list(pictures) if rng.random() < 0.6 else rng.choices(pictures, k=rng.randrange(5))
        for n, taken in enumerate(frames):
            if rng.random() < 0.2:
                camera, view, number = (
                    rng.choice(("top", "side", "dim")),
                    rng.choice(("bright", "dim", "")),
                    rng.randrange(3),
                )
                frames[n] = replace(taken, ref=replace(taken.ref, camera=camera, view=view, shot=number))
        rng.shuffle(frames)
        whose = [(f.ref.camera, f.ref.view, f.ref.shot) for f in frames]
        verdict = judge(recipe, part(), frames)
        known = [w for w in whose if w[0] != "side" or w[1]]  # of a camera beside, without a view: nobody's
        if sorted(known) == sorted(wanted):
            assert verdict.code != Code.NO_FRAME, (whose, verdict.text)
        else:
            assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME), whose
            refused += 1
    assert 50 < refused < 150


def test_picture_planned_for_another_recipe_is_not_judged_by_a_plain_one(tmp_path: Path, pictures: list[Frame]) -> None:
    verdict = judge(load_recipe(write(tmp_path, good())), part(), pictures[:1])
    assert verdict.code == Code.NO_FRAME and "a picture of view bright came" in verdict.text


def test_unfit_picture_names_its_view(recipe: LoadedRecipe, pictures: list[Frame]) -> None:
    black = shot(np.full((320, 400), 3, np.uint8), "dim", 1)
    verdict = judge(recipe, part(), [*pictures[:2], black])
    assert verdict.code == Code.IMAGE_QUALITY
    assert "the picture of view dim (camera top) is dark" in verdict.text


# --- what a recipe may say --------------------------------------------------------------------------------
def change(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def do(recipe: dict[str, Any]) -> None:
        for key in keys[:-1]:
            recipe = recipe[key]
        if to is None:
            del recipe[keys[-1]]
        else:
            recipe[keys[-1]] = to

    return do


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("cameras", to={"top": {}}), "cameras: found beside views; allowed: one of them"),
        (change("views", "dim", "camera", to=None), "views.dim: camera: missing, allowed: a camera in every view"),
        (change("measure", "dot", "view", to="blue"), "measure.dot.view: found 'blue', allowed: bright, dim"),
        (change("locate", "body", "view", to=None), "locate.body: view: missing, allowed: bright, dim"),
        (change("measure", "spot", "view", to=None), "measure.spot: view: missing, allowed: bright, dim"),
        (change("measure", "dot", "camera", to="top"), "measure.dot.camera: found 'top', allowed: view: bright, dim"),
        (change("measure", "dot", "view", to="dim"), "found 'body', which looks through another view (bright)"),
        (change("views", "dim", "exposure", to="5"), "views.dim.exposure: found '5'"),
        (change("views", "dim", "exposure", to="0 us"), "allowed is 1 us to 10000 ms"),
        (change("views", "dim", "gain", to="6"), "views.dim.gain: found '6'"),
        (change("views", "dim", "light", to="2"), "views.dim.light: found '2'"),
        (change("views", "dim", "shots", to=17), "views.dim.shots: found 17"),
        (change("views", "dim", "colour", to="red"), "views.dim.colour: unknown key"),
        (change("views", "dim", "calibration", to="gone.yaml"), "views.dim.calibration: found 'gone.yaml'"),
        (change("views", "Dim!", to={"camera": "top"}), "views.Dim!"),
        (change("views", "dim", "exposure", to="100 ms"), "views: exposures of 200.8 ms in all, allowed: less than"),
    ],
)
def test_each_fault_is_one_clear_line(tmp_path: Path, spoil: Callable[[dict[str, Any]], None], said: str) -> None:
    text = views()
    spoil(text)
    with pytest.raises(FileError) as refused:
        load_recipe(write(tmp_path, text))
    found = refused.value.problems
    assert any(said in p for p in found), found
    assert len(found) == len(set(found))


def test_a_view_where_there_is_none(tmp_path: Path) -> None:
    text = good()
    text["measure"]["dot"]["view"] = "bright"
    assert "no view key, as the recipe has no views" in read_spec(write(tmp_path, text))[2][0]


def test_step_on_a_prepared_picture_looks_through_its_view(tmp_path: Path, pictures: list[Frame]) -> None:
    text = views()
    text["prepare"] = {
        "soft": {"tool": "smooth", "view": "dim"},
        "softer": {"tool": "smooth", "method": "gaussian", "picture": "soft"},
    }
    del text["measure"]["spot"]["view"]
    text["measure"]["spot"]["picture"] = "softer"
    verdict = judge(load_recipe(write(tmp_path, text)), part(), pictures)
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert verdict.checks[-1].view == "dim"


def test_step_looks_through_the_view_of_what_it_refers_to(tmp_path: Path, pictures: list[Frame]) -> None:
    text = views()
    for name in ("dot", "leg", "apart"):  # through fixture, and through between
        del text["measure"][name]["view"]
    verdict = judge(load_recipe(write(tmp_path, text)), part(), pictures)
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert [c.view for c in verdict.checks] == ["bright"] * 4 + ["dim"]


def test_each_view_has_its_own_calibration(tmp_path: Path, pictures: list[Frame]) -> None:
    text = views()
    text["views"]["dim"]["calibration"] = "fine.yaml"
    path = write(tmp_path, text)
    (tmp_path / "fine.yaml").write_text((tmp_path / "scale.yaml").read_text().replace("0.1", "0.05"), encoding="utf-8")
    loaded = load_recipe(path)
    assert (loaded.mm_per_px("bright"), loaded.mm_per_px("dim")) == (0.1, 0.05)


def test_calibration_that_several_views_share_is_told_once(tmp_path: Path) -> None:
    text = views()
    text["calibration"] = "gone.yaml"
    with pytest.raises(FileError) as refused:
        load_recipe(write(tmp_path, text))
    assert len([p for p in refused.value.problems if "gone.yaml" in p]) == 1


# --- steps that make one picture of several ---------------------------------------------------------------
def bracketed() -> dict[str, Any]:
    """Everything is found and measured on the merge of a view that is too dark and one that is too bright."""
    recipe = good()
    recipe["views"] = {"short": {"exposure": "100 us"}, "long": {"exposure": "1600 us"}}
    recipe["prepare"] = {"hdr": {"tool": "merge", "views": ["short", "long"], "method": "debevec"}}
    for step in (recipe["locate"]["body"], recipe["measure"]["dot"], recipe["measure"]["leg"]):
        step["picture"] = "hdr"
    return recipe


def exposed(image: Any, view: str, exposure_us: float) -> Frame:
    taken = shot(image, view)
    return replace(taken, ref=replace(taken.ref, exposure_us=exposure_us))


def test_views_that_are_unfit_alone_are_judged_as_their_merge(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, bracketed()))
    assert loaded.shots == {"": (Shot("short", exposure_us=100.0), Shot("long", exposure_us=1600.0))}
    dark = exposed(mark([POSE], grey=(9.0, 3.0)), "short", 100.0)
    bright = exposed(mark([POSE], grey=(150.0, 50.0)), "long", 1600.0)
    verdict = judge(loaded, part(), [dark, bright])
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert {c.view for c in verdict.checks} == {"short"}
    assert verdict.stages_us["prepare.hdr"] > 0
    black = [exposed(np.full((320, 400), 1, np.uint8), v, us) for v, us in (("short", 100.0), ("long", 1600.0))]
    unfit = judge(loaded, part(), black)
    assert (unfit.outcome, unfit.code) == (Outcome.NOT_INSPECTED, Code.IMAGE_QUALITY)
    assert "the picture that step hdr made is" in unfit.text


def test_view_that_others_use_too_must_be_fit_alone(tmp_path: Path) -> None:
    text = bracketed()
    del text["measure"]["dot"]["picture"]
    text["measure"]["dot"]["view"] = "short"
    loaded = load_recipe(write(tmp_path, text))
    dark = exposed(mark([POSE], grey=(9.0, 3.0)), "short", 100.0)
    bright = exposed(mark([POSE], grey=(150.0, 50.0)), "long", 1600.0)
    assert "the picture of view short is dark" in judge(loaded, part(), [dark, bright]).text


def test_average_and_flat_field_of_a_view(tmp_path: Path) -> None:
    text = good()
    text["views"] = {"plain": {"shots": 4}}
    text["prepare"] = {
        "calm": {"tool": "average"},
        "even": {"tool": "flat_field", "flat": "flat.png", "picture": "calm"},
    }
    for step in (text["locate"]["body"], text["measure"]["dot"], text["measure"]["leg"]):
        step["picture"] = "even"
    shade = np.linspace(1.0, 0.6, 400)[None]
    path = write(tmp_path, text)
    cv2.imwrite(str(tmp_path / "flat.png"), np.round(np.ones((320, 1)) * shade * 200).astype(np.uint8))
    loaded = load_recipe(path)
    assert "flat.png" in loaded.store.artefacts
    shots = [(mark([POSE], noise=6.0, seed=n) * shade).astype(np.uint8) for n in range(4)]
    verdict = judge(loaded, part(), [shot(image, "plain", n) for n, image in enumerate(shots)])
    assert verdict.outcome is Outcome.PASS, verdict.text
    before = loaded.sha
    cv2.imwrite(str(tmp_path / "flat.png"), np.round(np.ones((320, 1)) * shade * 190).astype(np.uint8))
    assert load_recipe(path).sha != before


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"tool": "average"}, "its view takes 1 picture of each part; allowed: a view with shots: 2 to 16"),
        ({"tool": "merge", "views": ["bright", "blue"]}, "prepare.p.views: found 'blue', allowed: bright, dim, side"),
        ({"tool": "merge", "views": ["bright", "side"]}, "found 'side', which another camera takes (side, not top)"),
        ({"tool": "merge", "views": ["bright", "dim"], "view": "dim"}, "a merge has its pictures from `views`"),
        ({"tool": "flat_field", "view": "bright", "flat": "gone.png"}, "prepare.p.flat: found 'gone.png'"),
        ({"tool": "flat_field", "view": "bright", "flat": "mark.png"}, "flat: 101x71 px, the pictures are 400x320 px"),
    ],
)
def test_step_that_can_not_be(tmp_path: Path, step: dict[str, Any], said: str) -> None:
    text = views()
    text["views"]["side"] = {"camera": "side"}
    text["prepare"] = {"p": {"view": "bright", **step} if step["tool"] == "average" else step}
    with pytest.raises(FileError) as refused:
        load_recipe(write(tmp_path, text))
    assert any(said in p for p in refused.value.problems), refused.value.problems


def test_merge_in_a_recipe_without_views(tmp_path: Path) -> None:
    text = good()
    text["prepare"] = {"p": {"tool": "merge", "views": ["a", "b"]}}
    assert "found 'a', allowed: views of the recipe, which has none" in "".join(read_spec(write(tmp_path, text))[2])
