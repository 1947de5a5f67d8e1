"""The picture shows what the truth says."""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp

from tools.part_renderer import DEFECT_KINDS, MM_PER_PX, Pose, drawing, rectify, render
from tools.part_renderer.canvas import Canvas, triangle
from tools.part_renderer.plan import plan_part


def area_mm2(image: np.ndarray, pose: Pose, at_mm: tuple[float, float], half_mm: tuple[float, float]) -> float:
    """Dark area in an upright box of the part: each pixel counts by how far it is from metal to dark."""
    corners = [(at_mm[0] + sx * half_mm[0], at_mm[1] + sy * half_mm[1]) for sx in (-1, 1) for sy in (-1, 1)]
    window = Canvas(pose).window(corners)
    assert window is not None
    grey = image[window.at].astype(float)
    inside = (np.abs(window.u_mm - at_mm[0]) < half_mm[0]) & (np.abs(window.v_mm - at_mm[1]) < half_mm[1])
    metal = np.median(grey[inside & (grey > 100)])
    dark = np.median(grey[inside & (grey < 60)])
    return float(np.clip((metal - grey) / (metal - dark), 0, 1)[inside].sum()) * MM_PER_PX**2


@pytest.mark.parametrize(("seed", "defect"), [(1, None), (2, None), (3, "hole_big"), (4, "hole_small"), (5, None)])
def test_the_area_of_each_bore_gives_its_diameter(seed, defect):
    part = render(seed, defect, clean=True)
    size = part.truth.dimensions
    for x, y, wanted in (
        (size.bore_left_x_mm, size.bore_left_y_mm, size.bore_left_diameter_mm),
        (size.bore_right_x_mm, size.bore_right_y_mm, size.bore_right_diameter_mm),
    ):
        found = 2 * math.sqrt(area_mm2(part.image, part.truth.pose, (x, y), (3.7, 3.7)) / math.pi)
        assert found == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(("seed", "defect"), [(11, None), (12, "slot_wide"), (13, "slot_narrow")])
def test_the_area_of_the_slot_gives_its_width(seed, defect):
    part = render(seed, defect, clean=True)
    size = part.truth.dimensions
    area = area_mm2(part.image, part.truth.pose, drawing.SLOT_CENTRE_MM, (8.0, 3.2))
    # area = (length - width) * width + pi / 4 * width**2, solved for width
    k = 1 - math.pi / 4
    width = (size.slot_length_mm - math.sqrt(size.slot_length_mm**2 - 4 * k * area)) / (2 * k)
    assert width == pytest.approx(size.slot_width_mm, abs=0.01)


@pytest.mark.parametrize("seed", range(21, 27))
def test_the_bores_lie_where_the_pose_says(seed):
    part = render(seed, clean=True)
    size, pose = part.truth.dimensions, part.truth.pose
    for x, y in ((size.bore_left_x_mm, size.bore_left_y_mm), (size.bore_right_x_mm, size.bore_right_y_mm)):
        window = Canvas(pose).window([(x - 4, y - 4), (x + 4, y + 4)])
        weight = np.clip(100.0 - part.image[window.at], 0, None)
        rows, cols = np.mgrid[window.at]
        found = np.array([(weight * cols).sum(), (weight * rows).sum()]) / weight.sum()
        assert found == pytest.approx(pose.to_image(np.array([[x, y]]))[0], abs=0.05)  # px


def test_the_plates_edges_lie_where_the_pose_says():
    part = render(31, clean=True)
    size, pose = part.truth.dimensions, part.truth.pose
    for along in (16.0, 35.0):
        v = np.arange(-1.5, 1.5, 0.005)
        for edge, sign in ((0.0, 1.0), (size.plate_width_mm, -1.0)):
            line = pose.to_image(np.stack([np.full_like(v, along), edge + sign * v], axis=1)).astype(np.float32)
            grey = cv2.remap(part.image, line[None, :, 0], line[None, :, 1], cv2.INTER_LINEAR)[0].astype(float)
            middle = (grey[:100].mean() + grey[-100:].mean()) / 2
            assert v[np.argmax(grey > middle)] == pytest.approx(0.0, abs=0.02)


def test_pose_goes_there_and_back():
    pose = Pose(123.4, 56.7, 7.3)
    points = np.array([[0.0, 0.0], [60.0, 0.0], [12.3, 34.5]])
    assert np.allclose(pose.to_part(pose.to_image(points)), points)
    assert pose.to_image(points)[1][1] > 56.7  # positive turns clockwise on the screen
    assert (pose.x_mm, pose.y_mm) == pytest.approx((123.4 * 0.06, 56.7 * 0.06))


def test_every_good_part_keeps_its_tolerances_and_stays_in_the_picture():
    for seed in range(300):
        plan = plan_part(seed)
        size = plan.dimensions
        assert abs(size.bore_left_diameter_mm - 6) <= 0.03 and abs(size.bore_right_diameter_mm - 6) <= 0.03
        assert abs(size.slot_width_mm - 4) <= 0.04 and abs(size.bore_pitch_mm - 36) <= 0.03
        corners = plan.pose.to_image(np.array([[0, 0], [60, 0], [60, 40], [0, 40]], dtype=float))
        assert corners.min() > 0 and corners[:, 0].max() < 1279 and corners[:, 1].max() < 1024 - 16
        assert abs(plan.pose.angle_deg) <= 8


def test_every_defect_keeps_its_smallest_size():
    for seed in range(60):
        for kind in DEFECT_KINDS:
            g: dict[str, Any] = plan_part(seed, kind).geometry
            if kind in ("hole_big", "hole_small"):
                assert 0.12 <= abs(g["diameter_mm"] - 6) <= 0.45
            elif kind in ("slot_wide", "slot_narrow"):
                assert 0.15 <= abs(g["width_mm"] - 4) <= 0.50
            elif kind == "scratch":
                assert g["clear_length_mm"] >= 3.0 and 0.10 <= g["width_mm"] <= 0.30 and g["contrast"] >= 25
            elif kind == "stain":
                assert g["area_mm2"] >= 1.2 and g["contrast"] >= 20
            elif kind == "broken_edge":
                assert g["depth_mm"] >= 1.5 and g["width_mm"] >= 3.0


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_changes_the_picture_there_and_nowhere_else(kind):
    good, bad = render(41), render(41, kind)
    change = np.abs(bad.image.astype(int) - good.image)
    assert (change >= 8).sum() >= 30
    rows, cols = np.nonzero(change > 1)
    assert np.ptp(rows) < 340 and np.ptp(cols) < 340  # all the rest is the same to the last pixel
    assert bad.truth.pose == good.truth.pose and not bad.truth.good and bad.truth.defect == kind


@pytest.mark.parametrize("kind", ["scratch", "stain"])
@pytest.mark.parametrize("seed", [51, 52, 53])
def test_the_mask_lies_on_the_change_and_has_the_area(kind, seed):
    good, bad = render(seed, clean=True), render(seed, kind, clean=True)
    mask = bad.mask
    assert mask is not None
    change = np.abs(bad.image.astype(int) - good.image)
    assert change[mask > 200].min() >= 6 and change[cv2.dilate(mask, np.ones((9, 9), np.uint8)) == 0].max() <= 1
    area = float(mask.sum()) / 255 * MM_PER_PX**2
    g = bad.truth.geometry
    if kind == "stain":
        assert area == pytest.approx(g["area_mm2"], rel=0.03)
        assert change[mask == 255].max() == pytest.approx(g["contrast"], abs=3)
    else:
        assert 0.6 * g["length_mm"] * g["width_mm"] < area < 1.5 * (g["length_mm"] + 0.6) * (g["width_mm"] + 0.06)


def test_a_good_part_has_no_mask():
    assert render(1).mask is None and render(1, "hole_big").mask is None


def test_the_code_reads_as_the_truth_says():
    modes = set()
    for seed in range(60, 76):
        part = render(seed, "wrong_code" if seed > 62 else None)
        read = [c.text for c in zxingcpp.read_barcodes(part.image, zxingcpp.BarcodeFormat.DataMatrix) if c.valid]
        assert read == ([part.truth.code] if part.truth.code else [])
        modes.add(part.truth.geometry.get("mode", "good"))
    assert modes == {"good", "other_content", "unreadable", "missing"}


def test_a_seed_gives_the_same_part_twice_and_another_seed_another():
    first, second = render(71, "scratch", 5), render(71, "scratch", 5)
    assert np.array_equal(first.image, second.image) and first.truth.to_json() == second.truth.to_json()
    assert not np.array_equal(first.image, render(72, "scratch", 5).image)


def test_the_truth_file_says_it_all():
    truth = json.loads(render(81, "scratch", 17).truth.to_json())
    assert truth["seed"] == 81 and truth["part_number"] == 17 and truth["good"] is False
    assert truth["defect"] == "scratch" and truth["geometry"]["clear_length_mm"] >= 3
    assert set(truth["pose"]) == {"x_px", "y_px", "x_mm", "y_mm", "angle_deg"}
    assert truth["dimensions"]["bore_left_diameter_mm"] == pytest.approx(6, abs=0.03)


def test_the_face_is_cut_out_to_the_millimetre():
    part = render(91, clean=True)
    face = rectify(part.image, part.truth.pose, 0.125, (480, 320))
    assert face.shape == (320, 480) and face.dtype == np.uint8
    size = part.truth.dimensions
    for x, y in ((size.bore_left_x_mm, size.bore_left_y_mm), (size.bore_right_x_mm, size.bore_right_y_mm)):
        rows, cols = np.mgrid[int(y / 0.125) - 30 : int(y / 0.125) + 30, int(x / 0.125) - 30 : int(x / 0.125) + 30]
        weight = np.clip(100.0 - face[rows, cols], 0, None)
        found = (((cols + 0.5) * weight).sum() / weight.sum(), ((rows + 0.5) * weight).sum() / weight.sum())
        assert np.array(found) * 0.125 == pytest.approx((x, y), abs=0.01)


def test_triangles_are_given_clockwise():
    window = Canvas(Pose(0.0, 0.0, 0.0)).box(0, 0, 10, 10)
    distance = triangle(window, ((1.0, 1.0), (9.0, 5.0), (1.0, 9.0)))
    inside = (np.abs(window.u_mm - 3) < 0.05) & (np.abs(window.v_mm - 5) < 0.05)
    assert distance[inside].max() < -1


@pytest.mark.parametrize(("seed", "defect", "word"), [(-1, None, "seed"), (1, "dent", "defect 'dent'")])
def test_bad_orders_are_refused(seed, defect, word):
    with pytest.raises(ValueError, match=word):
        render(seed, defect)
