"""Draw a planned part as the camera would see it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d
from tools.part_renderer import textures
from tools.part_renderer.canvas import Canvas, Layer, Window, circle, coverage, rectangle, slot, triangle
from tools.part_renderer.plan import MIX, NOISE, Blob, Plan, Scene, Stroke, plan_part, stream
from tools.part_renderer.stamp import write_stamp
from tools.part_renderer.truth import Dimensions, Pose, Rendered, Truth

_ENGRAVED_GREY = -62.0
_FIELD_GREY = 214.0  # the light field under the code
_MODULE_GREY = 52.0
_RIM_GREY = 9.0  # the broken edge all round catches some light
_RIM_MM = 0.22
_PATCH_MM = 0.03125  # a sixteenth of a code module


def render(
    seed: int, defect: d.DefectKind | None = None, part_number: int | None = None, *, clean: bool = False
) -> Rendered:
    """Draw one part from its seed.

    part_number: stamped into the bottom rows when given. clean: the same part without texture, nuisance, glare,
    gradient and noise, at a blur of 0.8 px (to measure the drawing itself).
    Raises ValueError for a negative seed, an unknown defect or a part number over 32 bit.
    """
    plan = plan_part(seed, defect)
    if clean:
        plan = replace(plan, scene=Scene(), marks=(), specks=())
    image, mask = draw(plan)
    if part_number is not None:
        write_stamp(image, part_number)
    truth = Truth(
        seed=seed,
        part_number=part_number,
        good=defect is None,
        defect=defect,
        pose=plan.pose,
        dimensions=plan.dimensions,
        code=plan.code,
        geometry=plan.geometry,
        mask=mask,
    )
    return Rendered(image, truth)


def render_nominal() -> tuple[NDArray[np.uint8], Pose]:
    """Draw the nominal part unturned in the middle of the picture, without texture and noise."""
    pose = Pose.about_centre(*d.BELT_CENTRE_PX, 0.0)
    # whole pixels: the template's centre is then exact to read off
    pose = Pose(float(round(pose.x_px)), float(round(pose.y_px)), 0.0)
    image, _ = draw(Plan(seed=0, defect=None, pose=pose, dimensions=Dimensions(), scene=Scene()))
    return image, pose


def mixed_run(count: int, seed: int, defect_rate: float, *, first_number: int = 1) -> Iterator[Rendered]:
    """Yield a production-like sequence: count parts, numbered from first_number, defects at random.

    Part i has seed ``seed * 1_000_003 + i``; the kind of each defect is uniform over DEFECT_KINDS.
    """
    if not 0.0 <= defect_rate <= 1.0:
        raise ValueError(f"defect rate {defect_rate}: must be 0 .. 1")
    rng = stream(seed, MIX)
    for i in range(count):
        bad = rng.uniform() < defect_rate
        kind = d.DEFECT_KINDS[int(rng.integers(0, len(d.DEFECT_KINDS)))]
        yield render(seed * 1_000_003 + i, kind if bad else None, first_number + i)


def draw(plan: Plan) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Draw a plan; returns the picture (1024, 1280) uint8 and the mask of its scratch or stain, else None."""
    canvas = Canvas(plan.pose)
    scene = plan.scene
    belt = _belt(plan)
    outside, cover = _plate(canvas, plan)
    face = _face(canvas, scene)
    face += np.float32(_RIM_GREY) * np.clip(outside / np.float32(_RIM_MM) + np.float32(1.0), 0.0, 1.0)
    _engrave(canvas, face)
    _code(canvas, face, plan.modules)
    _turned_rings(canvas, face, plan.dimensions)
    for mark in plan.marks:
        _stroke(canvas, face, mark)
    for speck in plan.specks:
        _blob(canvas, face, speck)
    flaw = None
    if plan.scratch is not None:
        flaw = _stroke(canvas, face, plan.scratch)
    if plan.stain is not None:
        flaw = _blob(canvas, face, plan.stain)
    if plan.bite_mm is not None:
        _bite(canvas, face, cover, plan.bite_mm)
    _cut_holes(canvas, belt, cover, plan.dimensions)
    mask = None if flaw is None else _full_mask(canvas, flaw, cover)  # what is over a hole is not there
    face -= belt
    face *= cover
    face += belt
    face *= _light(scene)
    blurred = cv2.GaussianBlur(face, (0, 0), scene.blur_sigma_px)
    if scene.noise_grey > 0:
        noise = stream(plan.seed, NOISE).standard_normal(blurred.shape, dtype=np.float32)
        noise *= np.float32(scene.noise_grey)
        blurred += noise
    np.maximum(blurred, 0.0, out=blurred)  # convertScaleAbs would fold what lies below zero
    return cv2.convertScaleAbs(blurred).astype(np.uint8, copy=False), mask


def _full_mask(canvas: Canvas, flaw: tuple[tuple[slice, slice], Layer], cover: Layer) -> NDArray[np.uint8]:
    mask = np.zeros(canvas.shape, dtype=np.uint8)
    at, share = flaw
    mask[at] = np.round(share * cover[at] * 255).astype(np.uint8)
    return mask


def _belt(plan: Plan) -> Layer:
    y, x = plan.scene.bank_shift_px[:2]
    if plan.scene.texture_grey == 0:
        belt = np.full((d.IMAGE_HEIGHT_PX, d.IMAGE_WIDTH_PX), textures.BELT_GREY, dtype=np.float32)
    else:
        belt = textures.belt(plan.scene.belt_bank)[y : y + d.IMAGE_HEIGHT_PX, x : x + d.IMAGE_WIDTH_PX].copy()
    # the plate stands a few millimetres high: soft shadow to the lower right, drawn at an eighth
    small = np.zeros((d.IMAGE_HEIGHT_PX // 8, d.IMAGE_WIDTH_PX // 8), dtype=np.float32)
    size = plan.dimensions
    outline = np.array([[0, 0], [size.plate_length_mm, 0], [size.plate_length_mm, size.plate_width_mm],
                        [0, size.plate_width_mm]], dtype=np.float64)  # fmt: skip
    corners = (plan.pose.to_image(outline + 0.8) / 8 * 16).astype(np.int32)
    cv2.fillPoly(small, [corners], 0.45, shift=4)
    soft = cv2.GaussianBlur(small, (0, 0), 2.0)
    shadow = cv2.resize(soft, (d.IMAGE_WIDTH_PX, d.IMAGE_HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    lit: Layer = belt * (np.float32(1.0) - shadow.astype(np.float32, copy=False))
    return lit


def _plate(canvas: Canvas, plan: Plan) -> tuple[Layer, Layer]:
    """Return the plate outline's signed distance (mm) and coverage over the whole picture."""
    w = canvas.whole()
    size = plan.dimensions
    distance = np.maximum(-w.u_mm, w.u_mm - np.float32(size.plate_length_mm))
    np.maximum(distance, -w.v_mm, out=distance)
    np.maximum(distance, w.v_mm - np.float32(size.plate_width_mm), out=distance)
    corner = w.u_mm + w.v_mm
    corner -= np.float32(d.CHAMFER_MM)
    corner *= np.float32(-math.sqrt(0.5))
    np.maximum(distance, corner, out=distance)
    return distance, coverage(distance)


def _face(canvas: Canvas, scene: Scene) -> Layer:
    if scene.texture_grey == 0:
        return np.full(canvas.shape, scene.face_grey, dtype=np.float32)
    angle = math.radians(canvas.pose.angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = canvas.pose.x_px, canvas.pose.y_px
    shift_y, shift_x = scene.bank_shift_px[2:]
    to_bank = np.array([
        [cos, sin, shift_x + 10 - x * cos - y * sin],
        [-sin, cos, shift_y + 5 + x * sin - y * cos],
    ])  # fmt: skip
    bank = cv2.warpAffine(
        textures.metal(scene.metal_bank), to_bank, canvas.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    gain = scene.texture_grey / textures.METAL_STD
    face: Layer = np.multiply(bank, np.float32(gain), dtype=np.float32)
    face += np.float32(scene.face_grey - 128.0 * gain)
    return face


def _engrave(canvas: Canvas, face: Layer) -> None:
    w = canvas.box(*d.MARK_BOX_MM)
    if w is not None:
        x, y, radius = d.MARK_RING_MM
        arrow = coverage(np.maximum(triangle(w, d.MARK_TRIANGLE_MM), -circle(w, x, y, radius)))
        bar = coverage(rectangle(w, *d.MARK_BAR_MM))
        face[w.at] += np.float32(_ENGRAVED_GREY) * np.maximum(arrow, bar)
    left, top, right, bottom = d.TEXT_BOX_MM
    patch = _text_patch()
    scale = min((right - left) / patch.shape[1], (bottom - top) / patch.shape[0])
    placed = canvas.picture(patch, left, top, scale)
    if placed is not None:
        at, ink = placed
        face[at] += np.float32(_ENGRAVED_GREY * 0.8) * ink


@lru_cache(maxsize=1)
def _text_patch() -> NDArray[np.uint8]:
    patch = np.zeros((80, 540), dtype=np.uint8)
    cv2.putText(patch, d.TEXT, (6, 64), cv2.FONT_HERSHEY_SIMPLEX, 2.2, 255, 7, cv2.LINE_AA)
    return cv2.GaussianBlur(patch, (5, 5), 0).astype(np.uint8, copy=False)


def _code(canvas: Canvas, face: Layer, modules: NDArray[np.bool_]) -> None:
    (x, y), half = d.CODE_CENTRE_MM, d.CODE_FIELD_MM / 2
    w = canvas.box(x - half, y - half, x + half, y + half)
    if w is None:
        return
    field = coverage(rectangle(w, x - half, y - half, x + half, y + half, corner=0.6))
    face[w.at] += field * (np.float32(_FIELD_GREY) - face[w.at])
    cell = round(d.CODE_SIZE_MM / d.CODE_MODULES / _PATCH_MM)
    patch = np.kron(modules.astype(np.uint8) * 255, np.ones((cell, cell), dtype=np.uint8))
    soft = cv2.GaussianBlur(np.pad(patch, 4), (3, 3), 0).astype(np.uint8, copy=False)
    corner = d.CODE_SIZE_MM / 2 + 4 * _PATCH_MM
    placed = canvas.picture(soft, x - corner, y - corner, _PATCH_MM)
    if placed is not None:
        at, ink = placed
        face[at] += ink * (np.float32(_MODULE_GREY) - face[at])


def _bores(size: Dimensions) -> list[tuple[float, float, float]]:
    return [
        (size.bore_left_x_mm, size.bore_left_y_mm, size.bore_left_diameter_mm),
        (size.bore_right_x_mm, size.bore_right_y_mm, size.bore_right_diameter_mm),
    ]


def _turned_rings(canvas: Canvas, face: Layer, size: Dimensions) -> None:
    """Draw the faint spot-faced ring round each bore, and the punch mark where a bore is missing."""
    for x, y, diameter in _bores(size):
        w = canvas.box(x - 5, y - 5, x + 5, y + 5)
        if w is None:
            continue
        if diameter > 0:
            face[w.at] += np.float32(5.0) * coverage(np.abs(circle(w, x, y, 4.3)) - np.float32(0.25), 0.3)
        else:
            face[w.at] += np.float32(-70.0) * coverage(circle(w, x, y, 0.25))


def _cut_holes(canvas: Canvas, belt: Layer, cover: Layer, size: Dimensions) -> None:
    """Open bores and slot: what shows is the belt in the plate's shade."""
    for x, y, diameter in _bores(size):
        radius = diameter / 2
        w = canvas.box(x - radius, y - radius, x + radius, y + radius)
        if w is not None and diameter > 0:
            _open(w, coverage(circle(w, x, y, radius)), belt, cover)
    (x, y), length, width = d.SLOT_CENTRE_MM, size.slot_length_mm, size.slot_width_mm
    w = canvas.box(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    if w is not None:
        _open(w, coverage(slot(w, x, y, length, width)), belt, cover)


def _open(w: Window, hole: Layer, belt: Layer, cover: Layer) -> None:
    cover[w.at] *= np.float32(1.0) - hole
    # shade the belt a little beyond the rim too, so that a rim pixel mixes metal with shade alone
    shade = np.minimum(cv2.dilate(hole, np.ones((3, 3), np.uint8)), 1.0)
    belt[w.at] *= np.float32(1.0) - np.float32(0.25) * shade


def _stroke(canvas: Canvas, face: Layer, stroke: Stroke) -> tuple[tuple[slice, slice], Layer] | None:
    """Draw a stroke on the face; returns its window and coverage."""
    path, half = stroke.path_mm, stroke.width_mm[:, None] / 2
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.hypot(tangent[:, :1], tangent[:, 1:]), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * half
    left, right = path + normal, path - normal
    cuts = [*range(0, len(path) - 1, 8), len(path) - 1]
    pieces, values = [], []
    for a, b in zip(cuts, cuts[1:], strict=False):
        pieces.append(np.concatenate([left[a : b + 1], right[a : b + 1][::-1]]))
        values.append(float(stroke.strength[a : b + 1].mean()))
    drawn = canvas.polygons(pieces, values)
    if drawn is not None:
        at, share = drawn
        face[at] += np.float32(stroke.contrast) * share
    return drawn


def _blob(canvas: Canvas, face: Layer, blob: Blob) -> tuple[tuple[slice, slice], Layer] | None:
    """Draw a spot on the face; returns its window and coverage."""
    reach = float(blob.radius_mm.max()) + blob.soft_mm
    w = canvas.box(blob.x_mm - reach, blob.y_mm - reach, blob.x_mm + reach, blob.y_mm + reach)
    if w is None:
        return None
    du, dv = w.u_mm - np.float32(blob.x_mm), w.v_mm - np.float32(blob.y_mm)
    steps = len(blob.radius_mm)
    turn = np.arctan2(dv, du) * np.float32(steps / (2 * math.pi))
    low = np.floor(turn).astype(np.int32)
    part = turn - low
    rim = blob.radius_mm.astype(np.float32)
    radius = rim[low % steps] * (1 - part) + rim[(low + 1) % steps] * part
    share = coverage(np.hypot(du, dv) - radius, blob.soft_mm)
    face[w.at] += np.float32(blob.contrast) * share
    return w.at, share


def _bite(canvas: Canvas, face: Layer, cover: Layer, polygon_mm: NDArray[np.float64]) -> None:
    """Break a piece out of the plate; the fresh fracture beside it is brighter."""
    drawn = canvas.polygons([polygon_mm], [1.0], margin_mm=0.8)
    if drawn is None:
        return
    at, gone = drawn
    fracture = np.clip(cv2.GaussianBlur(gone, (0, 0), 3.0) * np.float32(2.0), 0.0, 1.0)
    face[at] += np.float32(24.0) * fracture
    cover[at] *= np.float32(1.0) - gone


def _light(scene: Scene) -> Layer:
    """Return the light's factor over the picture: linear gradient and one broad glare."""
    height, width = d.IMAGE_HEIGHT_PX // 16, d.IMAGE_WIDTH_PX // 16
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None]
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    angle = math.radians(scene.gradient_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    light = 1.0 + scene.gradient * (x * cos + y * sin) / (abs(cos) + abs(sin))
    gx = (x + 1.0) / 2 * d.IMAGE_WIDTH_PX * d.MM_PER_PX - 8.4 - scene.glare_at_mm[0]
    gy = (y + 1.0) / 2 * d.IMAGE_HEIGHT_PX * d.MM_PER_PX - 10.7 - scene.glare_at_mm[1]
    glare = np.exp(-(gx**2 + gy**2) / (2 * scene.glare_sigma_mm**2))
    small = (light + scene.glare_grey / scene.face_grey * glare).astype(np.float32)
    full = cv2.resize(small, (d.IMAGE_WIDTH_PX, d.IMAGE_HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    return full.astype(np.float32, copy=False)
