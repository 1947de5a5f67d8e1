"""The segment tool: on a small true model with drawn truth, and on the shipped one with rendered parts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from inspector.codes import Code
from inspector.defects.areas import Ignore, blank
from inspector.defects.segment import FINDINGS_MAX, Segment
from inspector.infer.backend import Session, open_session
from inspector.infer.package import Package, load_package
from inspector.parts import Finding, Frame, FrameRef, InspectionFault, Outcome, Part, Pose, Trigger, Verdict
from inspector.recipe.judge import judge
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.tool import View
from inspector.yamlfile import FileError
from tests.infer.model_packages import change, write_package

SHIPPED = Path(__file__).parents[2] / "recipes" / "models" / "plate-face"
PICTURE_MM_PER_PX = 0.25
REJECT = {"dark": {"length": "3 mm", "fail": "1210 Dark mark"}, "bright": "ignore"}
PART = Part(1, "b", "s", Trigger("p", "", 0, ""), 1, 1, "r", "", 10**9)


class Shelf:
    """One model, opened for real."""

    def __init__(self, folder: Path, mm_per_px: float | None = PICTURE_MM_PER_PX) -> None:
        self.package: Package = load_package(folder)
        self.session: Session = open_session(self.package, "cpu")
        self.mm_per_px = mm_per_px

    def model(self, reference: str) -> tuple[Package, Session]:
        return self.package, self.session

    def image(self, reference: str) -> Any:
        raise AssertionError("a segment tool takes no picture")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    shelf = Shelf(write_package(tmp_path_factory.mktemp("models") / "tiny"))
    yield shelf
    shelf.session.close()


def opened(shelf: Shelf, **keys: Any) -> Segment:
    tool = Segment(**{"tool": "segment", "model": "tiny", "reject": REJECT, **keys})
    tool.open(shelf)
    return tool


def view_of(image: np.ndarray, pose: Pose, mm_per_px: float = PICTURE_MM_PER_PX) -> View:
    height, width = image.shape[:2]
    bits = "Mono8" if image.dtype == np.uint8 else "Mono12"
    ref = FrameRef("c", 1, "", 0, 0, width, height, bits, 1.0, 0.0, 0, 0, 0)
    return View(Frame(ref, image), PART, pose, mm_per_px)


def draw(pose: Pose, *marks: tuple[tuple[float, float], tuple[float, float], int], height=300, width=360) -> np.ndarray:
    """A grey picture with rectangles (two corners in mm of the part) of a grey value, at the pose, 16 samples a px."""
    fine = (np.arange(4) + 0.5) / 4 - 0.5
    x = (np.arange(width)[:, None] + fine).ravel() - pose.x_px
    y = ((np.arange(height)[:, None] + fine).ravel() - pose.y_px)[:, None]
    c, s = math.cos(math.radians(pose.angle_deg)), math.sin(math.radians(pose.angle_deg))
    part_x, part_y = (c * x + s * y) * PICTURE_MM_PER_PX, (c * y - s * x) * PICTURE_MM_PER_PX
    image = np.full(part_x.shape, 140.0, np.float32)
    for (x0, y0), (x1, y1), grey in marks:
        image[(part_x >= x0) & (part_x <= x1) & (part_y >= y0) & (part_y <= y1)] = grey
    return image.reshape(height, 4, width, 4).mean((1, 3)).round().astype(np.uint8)


POSES = [Pose(40.0, 30.0, 0.0), Pose(90.5, 40.25, 12.0), Pose(60.0, 110.0, -17.5)]


@pytest.mark.parametrize("pose", POSES, ids=lambda p: f"{p.angle_deg:g}deg")
def test_a_mark_is_found_where_it_is_with_its_size_whatever_the_pose(shelf, pose):
    image = draw(pose, ((6.0, 4.0), (16.0, 6.0), 20))
    (finding,) = opened(shelf)(view_of(image, pose))
    assert (finding.label, finding.unit) == ("dark", "mm")
    assert finding.area == pytest.approx(20.0, rel=0.12)
    assert finding.length == pytest.approx(10.0, abs=0.6)
    assert 0.99 < finding.score <= 1.0
    outline = np.array(finding.outline_px)
    wanted = view_of(image, pose).to_px([(6, 4), (16, 4), (16, 6), (6, 6)])
    middle = (outline.min(0) + outline.max(0)) / 2
    assert np.hypot(*(middle - (wanted.min(0) + wanted.max(0)) / 2)) < 2.5  # px
    assert np.abs(outline.min(0) - wanted.min(0)).max() < 4 and np.abs(outline.max(0) - wanted.max(0)).max() < 4


def test_a_clean_part_has_no_findings(shelf):
    assert opened(shelf)(view_of(draw(POSES[0]), POSES[0])) == []


def test_labels_are_told_apart_and_the_largest_come_first(shelf):
    marks = (((2, 2), (4, 4), 20), ((10, 10), (20, 14), 20), ((2, 15), (6, 19), 250))
    found = opened(shelf)(view_of(draw(POSES[0], *marks), POSES[0]))
    assert [f.label for f in found] == ["dark", "dark", "bright"]
    assert found[0].area > found[1].area
    assert opened(shelf).labels() == ("dark", "bright")


def test_what_lies_outside_the_region_or_in_an_ignored_area_is_not_looked_at(shelf):
    marks = (((2, 2), (6, 4), 20), ((20, 15), (24, 17), 20))
    view = view_of(draw(POSES[1], *marks), POSES[1])
    assert len(opened(shelf)(view)) == 2
    (kept,) = opened(shelf, region=(0, 0, 15, 10))(view)
    assert kept.outline_px[0][0] < view.point_px((8, 4))[0]
    (other,) = opened(shelf, ignore=[{"circle": [4, 3, 3.5]}])(view)
    assert other.outline_px[0][0] > view.point_px((15, 10))[0]
    assert opened(shelf, ignore=[{"circle": [4, 3, 3.5]}, {"rect": [19, 14, 25, 18]}])(view) == []


def test_the_region_says_where_the_models_field_begins(shelf):
    pose = POSES[0]
    image = draw(pose, ((36.0, 6.0), (40.0, 8.0), 20))  # 32 mm is the field's width
    assert opened(shelf)(view_of(image, pose)) == []
    (finding,) = opened(shelf, region=(12.0, 2.0, 42.0, 20.0))(view_of(image, pose))
    corner = view_of(image, pose).to_px((36.0, 6.0))
    assert np.abs(np.array(finding.outline_px).min(0) - corner).max() < 3


def test_a_part_that_reaches_out_of_the_picture_is_not_inspected(shelf):
    tool = opened(shelf)
    for pose in (Pose(-3.0, 30.0, 0.0), Pose(300.0, 30.0, 0.0), Pose(40.0, 250.0, 0.0), Pose(40.0, 20.0, 40.0)):
        with pytest.raises(InspectionFault, match=r"mm of the part are outside the picture") as caught:
            tool(view_of(draw(pose), pose))
        assert caught.value.code == Code.IMAGE_QUALITY
    with pytest.raises(InspectionFault):
        tool(view_of(draw(POSES[0]), Pose(math.nan, 0.0, 0.0)))


def test_a_twelve_bit_picture_gives_the_same_findings(shelf):
    image = draw(POSES[0], ((6, 4), (16, 6), 20))
    deep = (image.astype(np.uint32) * 4095 + 127) // 255
    (a,), (b,) = opened(shelf)(view_of(image, POSES[0])), opened(shelf)(view_of(deep.astype(np.uint16), POSES[0]))
    assert b.area == pytest.approx(a.area, rel=0.02) and b.label == a.label


def test_thousands_of_specks_are_bounded(shelf):
    image = np.full((300, 360), 140, np.uint8)
    image[30:222:8, 40:296:8] = 0
    image = cv2.erode(image, np.ones((3, 3), np.uint8))
    found = opened(shelf)(view_of(image, POSES[0]))
    assert len([f for f in found if f.label == "dark"]) == FINDINGS_MAX


def test_a_ragged_mark_has_an_outline_of_few_points(shelf):
    rng = np.random.default_rng(3)
    image = np.full((300, 360), 140, np.uint8)
    blob = cv2.GaussianBlur(rng.normal(size=(190, 250)), (0, 0), 1.2) > -0.03
    image[32:222, 42:292][blob] = 20
    for finding in opened(shelf)(view_of(image, POSES[0])):
        assert 1 <= len(finding.outline_px) <= 64


def test_patches_below_the_packages_own_size_are_noise(tmp_path):
    folder = write_package(tmp_path / "tiny")
    pose, marks = POSES[0], (((2, 2), (4, 4), 20), ((10, 10), (20, 14), 20))
    for key, least in (("min_area_mm2", 10.0), ("min_length_mm", 5.0)):
        change(folder, "labels", 0, to={"name": "dark", "threshold": 0.5, key: least})
        shelf = Shelf(folder)
        (finding,) = opened(shelf)(view_of(draw(pose, *marks), pose))
        assert finding.area > 30
        shelf.session.close()


def test_a_failed_run_reaches_the_judge(shelf, tmp_path):
    own = Shelf(write_package(tmp_path / "tiny"))
    tool = opened(own)
    own.session.close()
    with pytest.raises(InspectionFault, match="Model tiny gave no answer: it is closed"):
        tool(view_of(draw(POSES[0]), POSES[0]))


# --- keys that don't fit -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"region": (0, 0, 33, 10)}, r"region: found 33 x 10 mm, allowed: up to the field of model tiny, 32 x 24 mm"),
        ({"region": (5, 5, 5, 10)}, "region: found 0 x 5 mm"),
        ({"region": (0, 0, math.nan, 10)}, r"(?s)region.*finite number"),
        ({"ignore": [{"rect": [-1, -1, 40, 40]}]}, "ignore: nothing of the region is left to look at"),
    ],
)
def test_a_region_that_does_not_fit_the_model_is_refused_at_load(shelf, keys, says):
    with pytest.raises(ValueError, match=says):
        opened(shelf, **keys)


def test_without_a_calibration_or_with_too_coarse_a_picture_it_does_not_open(shelf):
    for mm_per_px, says in ((None, "works in mm; the recipe needs a calibration"), (0.6, "0.6 mm per px, coarser")):
        other = object.__new__(Shelf)
        other.package, other.session, other.mm_per_px = shelf.package, shelf.session, mm_per_px
        with pytest.raises(ValueError, match=says):
            opened(other)


@pytest.mark.parametrize(
    "area", [{}, {"circle": [1, 2, 3], "rect": [0, 0, 1, 1]}, {"circle": [1, 2, 0]}, {"circle": [1, 2, math.nan]}]
)
def test_an_area_to_ignore_is_a_circle_or_a_rectangle(area):
    with pytest.raises(ValidationError, match="circle"):
        Ignore(**area)


def test_ignored_areas_have_their_size():
    mask = np.ones((200, 200), np.uint8)
    blank(mask, [Ignore(circle=(10, 10, 4)), Ignore(rect=(15, 12, 19, 14))], (5.0, 5.0), 0.1)
    gone = (mask == 0).sum() * 0.01
    assert gone == pytest.approx(math.pi * 16 + 8, rel=0.05)
    assert mask[50, 50] == 0 and mask[80, 120] == 0 and mask[120, 50] == 1


# --- in a recipe --------------------------------------------------------------------------------------------
RECIPE = """\
recipe: 7
name: Plain part
calibration: scale.yaml
defects:
  face:
    tool: segment
    model: tiny@sha256:{sha}
    reject:
      dark: {{length: 3 mm, fail: 1210 Dark mark}}
      bright: {{score: 0.9, area: 2 mm2, count: 2, fail: 1211 Bright spots}}
verdict: {{within: 300 ms}}
"""
SCALE = (Path(__file__).parents[2] / "recipes" / "calibration" / "demo.yaml").read_text()


@pytest.fixture
def recipe_file(tmp_path):
    folder = write_package(tmp_path / "models" / "tiny")
    (tmp_path / "scale.yaml").write_text(re.sub(r"(?m)^mm_per_px:.*$", "mm_per_px: 0.25", _any_size(SCALE)))
    path = tmp_path / "plain.yaml"
    path.write_text(RECIPE.format(sha=load_package(folder).sha[:12]))
    return path


def _any_size(scale: str) -> str:
    return re.sub(r"(?m)^(size_px:).*$", r"\1 [360, 300]", scale)


def judged(recipe: LoadedRecipe, image: np.ndarray) -> Verdict:
    part = replace(PART, recipe_sha=recipe.sha)
    image[160:240, 200:280] = 20  # beside the part: a picture of one grey only is no picture
    return judge(recipe, part, [view_of(image, POSES[0]).frame])


def test_in_a_recipe_the_limits_of_each_label_decide(recipe_file):
    recipe = load_recipe(recipe_file, backend="cpu")
    origin = Pose(0.0, 0.0, 0.0)
    assert recipe.backend == "cpu" and list(recipe.model_shas) == ["tiny"]
    assert judged(recipe, draw(origin)).outcome is Outcome.PASS
    assert judged(recipe, draw(origin, ((5, 5), (7, 7), 20))).outcome is Outcome.PASS  # 2 mm, 3 are allowed
    bad = judged(recipe, draw(origin, ((5, 5), (11, 7), 20)))
    assert (bad.outcome, bad.code) == (Outcome.FAIL, 1210) and bad.checks[0].findings
    one, two = ((4, 4), (7, 7), 250), ((20, 10), (24, 14), 250)
    assert judged(recipe, draw(origin, one)).outcome is Outcome.PASS
    assert judged(recipe, draw(origin, one, two)).code == 1211
    recipe.close()
    assert judged(recipe, draw(origin)).outcome is Outcome.NOT_INSPECTED


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("tiny@sha256:", "tiny@sha256:000", 7, "the file's digest is sha256:"),
        ("model: tiny", "model: none", 7, "none"),
        ("      dark: {length", "      dork: {length", 9, "found 'dork', allowed: dark, bright"),
        ("3 mm,", "3 px,", 9, "mm"),
        ("calibration: scale.yaml\n", "", 4, "needs a calibration"),
        ("    reject:", "    region: [0, 0, 40, 10]\n    reject:", 5, "up to the field of model tiny, 32 x 24 mm"),
        ("    reject:", "    ignore: [{circle: [1, 2]}]\n    reject:", 8, "ignore"),
    ],
)
def test_a_recipe_that_does_not_fit_its_model_is_refused_with_its_line(recipe_file, old, new, line, says):
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new))
    with pytest.raises(FileError) as caught:
        load_recipe(recipe_file, backend="cpu")
    assert any(p.startswith(f"{recipe_file}:{line}: ") and says in p for p in caught.value.problems), caught.value


def test_a_damaged_model_is_refused_with_the_recipes_line_and_the_packages(recipe_file):
    model = recipe_file.parent / "models" / "tiny" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(FileError) as caught:
        load_recipe(recipe_file, backend="cpu")
    assert f"{recipe_file}:7: defects.face.model: " in str(caught.value)
    assert "package.yaml:" in str(caught.value) and "model.onnx has sha256" in str(caught.value)


# --- the shipped model on rendered parts -------------------------------------------------------------------
def rendered(seed: int, defect: str | None) -> tuple[Any, Pose]:
    from tools.part_renderer import render

    part = render(seed, defect=defect)
    pose = part.truth.pose
    return part, Pose(pose.x_px, pose.y_px, pose.angle_deg)


@pytest.mark.parametrize("seed", [901, 902, 903])
def test_the_face_is_cut_out_exactly_as_it_was_for_training(seed):
    from tools.part_renderer import MM_PER_PX as RENDERED_MM_PER_PX
    from tools.part_renderer.rectify import rectify

    part, pose = rendered(seed, None)
    wanted = rectify(part.image, part.truth.pose, 0.125, (480, 320))
    found = view_of(part.image, pose, RENDERED_MM_PER_PX).rectify((0, 0, 60, 40), 0.125, (480, 320))
    assert np.abs(found.astype(int) - wanted).max() <= 1 and (found != wanted).mean() < 1e-3


@pytest.fixture(scope="module")
def plate():
    if not SHIPPED.is_dir():
        pytest.skip("the model plate-face is not in recipes/models")
    from tools.part_renderer import MM_PER_PX as RENDERED_MM_PER_PX

    shelf = Shelf(SHIPPED, RENDERED_MM_PER_PX)
    reject = {
        "scratch": {"length": "1.5 mm", "fail": "1210 Scratch"},
        "stain": {"area": "0.5 mm2", "fail": "1211 Stain"},
    }
    tool = Segment(tool="segment", model="plate-face", reject=reject)
    tool.open(shelf)
    yield tool, RENDERED_MM_PER_PX
    shelf.session.close()


def rejects(tool: Segment, found: list[Finding]) -> set[str]:
    return {f.label for f in found if tool.reject[f.label] != "ignore" and tool.reject[f.label].counts(f)}


@pytest.mark.parametrize("defect", ["scratch", "stain"])
@pytest.mark.parametrize("seed", [90_001, 90_002, 90_003, 90_004])
def test_a_rendered_defect_is_found_where_it_is(plate, defect, seed):
    tool, mm_per_px = plate
    part, pose = rendered(seed, defect)
    found = tool(view_of(part.image, pose, mm_per_px))
    assert rejects(tool, found)
    largest = max(found, key=lambda f: f.area)
    drawn = np.argwhere(part.truth.mask > 127)[:, ::-1]
    nearest = np.hypot(*(drawn[None] - np.array(largest.outline_px)[:, None]).transpose(2, 0, 1)).min()
    assert nearest < 6  # px


@pytest.mark.parametrize("seed", range(90_010, 90_016))
def test_a_good_rendered_part_has_nothing_to_reject(plate, seed):
    tool, mm_per_px = plate
    part, pose = rendered(seed, None)
    assert rejects(tool, tool(view_of(part.image, pose, mm_per_px))) == set()
