"""What is to be drawn, decided by the seed before anything is drawn.

Every concern draws from its own random stream, so that a seed with and without a defect differs in the defect
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d
from tools.part_renderer.truth import Dimensions, Pose

POSE, SIZE, SCENE, NUISANCE, NOISE, DEFECT, MIX = range(7)  # the random streams

_GRID_MM = 0.1  # resolution of the map of clear metal


def stream(seed: int, concern: int) -> np.random.Generator:
    """Return the random stream of one concern of one seed (>= 0)."""
    return np.random.default_rng([seed, concern])


@dataclass(frozen=True)
class Scene:
    """Light, lens and sensor of one picture. Grey levels of 255.

    gradient: relative change of the light from centre to edge. texture_grey 0: plain face and plain belt.
    """

    belt_bank: int = 0
    metal_bank: int = 0
    bank_shift_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    face_grey: float = 158.0
    texture_grey: float = 0.0
    gradient: float = 0.0
    gradient_deg: float = 0.0
    glare_grey: float = 0.0
    glare_at_mm: tuple[float, float] = (30.0, 20.0)
    glare_sigma_mm: float = 10.0
    blur_sigma_px: float = 0.8
    noise_grey: float = 0.0


@dataclass(frozen=True)
class Stroke:
    """A line on the face: path (N, 2) mm, width mm at each point, strength 0..1 at each point, contrast grey."""

    path_mm: NDArray[np.float64]
    width_mm: NDArray[np.float64]
    strength: NDArray[np.float64]
    contrast: float


@dataclass(frozen=True)
class Blob:
    """A spot on the face: its rim about (x, y) as radius (mm) at equal angle steps, soft edge mm, contrast grey."""

    x_mm: float
    y_mm: float
    radius_mm: NDArray[np.float64]
    soft_mm: float
    contrast: float


@dataclass(frozen=True)
class Plan:
    """One part and its picture, undrawn."""

    seed: int
    defect: d.DefectKind | None
    pose: Pose
    dimensions: Dimensions
    scene: Scene
    code: str | None = d.CODE_TEXT
    modules: NDArray[np.bool_] = field(default_factory=lambda: code_modules(d.CODE_TEXT))
    marks: tuple[Stroke, ...] = ()
    specks: tuple[Blob, ...] = ()
    scratch: Stroke | None = None
    stain: Blob | None = None
    bite_mm: NDArray[np.float64] | None = None  # polygon broken out of the plate
    geometry: dict[str, Any] = field(default_factory=dict)


def code_modules(text: str) -> NDArray[np.bool_]:
    """Return the 14 x 14 dark modules of a known code text."""
    rows = d.CODE_SYMBOLS[text]
    return np.array([[row >> (d.CODE_MODULES - 1 - i) & 1 for i in range(d.CODE_MODULES)] for row in rows], bool)


def plan_part(seed: int, defect: d.DefectKind | None = None) -> Plan:
    """Decide everything about one part. Raises ValueError for a negative seed or an unknown defect."""
    if seed < 0:
        raise ValueError(f"seed {seed}: must be >= 0")
    if defect is not None and defect not in d.DEFECT_KINDS:
        raise ValueError(f"defect {defect!r}: must be None or one of {', '.join(d.DEFECT_KINDS)}")
    marks, specks = _nuisance(stream(seed, NUISANCE))
    good = Plan(
        seed=seed,
        defect=defect,
        pose=_pose(stream(seed, POSE)),
        dimensions=_dimensions(stream(seed, SIZE)),
        scene=_scene(stream(seed, SCENE)),
        marks=marks,
        specks=specks,
    )
    if defect is None:
        return good
    rng = stream(seed, DEFECT)
    if defect in ("hole_big", "hole_small", "hole_missing"):
        return _with_hole(good, rng, defect)
    if defect in ("slot_wide", "slot_narrow"):
        return _with_slot(good, rng, defect)
    if defect == "scratch":
        return _with_scratch(good, rng)
    if defect == "stain":
        return _with_stain(good, rng)
    if defect == "broken_edge":
        return _with_bite(good, rng)
    return _with_wrong_code(good, rng)


def _pose(rng: np.random.Generator) -> Pose:
    angle = rng.uniform(-d.MAX_ANGLE_DEG, d.MAX_ANGLE_DEG)
    turn = math.radians(abs(angle))
    half_x = (d.PLATE_LENGTH_MM * math.cos(turn) + d.PLATE_WIDTH_MM * math.sin(turn)) / 2
    half_y = (d.PLATE_LENGTH_MM * math.sin(turn) + d.PLATE_WIDTH_MM * math.cos(turn)) / 2
    # a strongly turned plate leaves less room for the shift; all of it has to stay in the picture
    margin = d.PICTURE_MARGIN_PX * d.MM_PER_PX
    free_x = min(d.MAX_SHIFT_MM, d.BELT_CENTRE_PX[0] * d.MM_PER_PX - half_x - margin)
    free_y = min(d.MAX_SHIFT_MM, d.BELT_CENTRE_PX[1] * d.MM_PER_PX - half_y - margin)
    dx, dy = rng.uniform(-free_x, free_x), rng.uniform(-free_y, free_y)
    cx, cy = d.BELT_CENTRE_PX
    return Pose.about_centre(cx + dx / d.MM_PER_PX, cy + dy / d.MM_PER_PX, angle)


def _dimensions(rng: np.random.Generator) -> Dimensions:
    def about(nominal: float, tolerance: float) -> float:
        return nominal + float(rng.uniform(-tolerance, tolerance))

    place = d.BORE_POSITION_TOLERANCE_MM
    return Dimensions(
        plate_length_mm=about(d.PLATE_LENGTH_MM, d.PLATE_TOLERANCE_MM),
        plate_width_mm=about(d.PLATE_WIDTH_MM, d.PLATE_TOLERANCE_MM),
        bore_left_diameter_mm=about(d.BORE_DIAMETER_MM, d.BORE_TOLERANCE_MM),
        bore_left_x_mm=about(d.BORE_LEFT_MM[0], place),
        bore_left_y_mm=about(d.BORE_LEFT_MM[1], place),
        bore_right_diameter_mm=about(d.BORE_DIAMETER_MM, d.BORE_TOLERANCE_MM),
        bore_right_x_mm=about(d.BORE_RIGHT_MM[0], place),
        bore_right_y_mm=about(d.BORE_RIGHT_MM[1], place),
        slot_length_mm=about(d.SLOT_LENGTH_MM, d.SLOT_TOLERANCE_MM),
        slot_width_mm=about(d.SLOT_WIDTH_MM, d.SLOT_TOLERANCE_MM),
    )


def _scene(rng: np.random.Generator) -> Scene:
    shift = rng.integers(0, 200, 4)
    return Scene(
        belt_bank=int(rng.integers(0, 4)),
        metal_bank=int(rng.integers(0, 4)),
        bank_shift_px=(int(shift[0]), int(shift[1]), int(shift[2]), int(shift[3])),
        face_grey=rng.uniform(148.0, 168.0),
        texture_grey=rng.uniform(2.0, 4.0),
        gradient=rng.uniform(0.0, 0.15),
        gradient_deg=rng.uniform(0.0, 360.0),
        glare_grey=rng.uniform(0.0, 18.0),
        glare_at_mm=(rng.uniform(0, d.PLATE_LENGTH_MM), rng.uniform(0, d.PLATE_WIDTH_MM)),
        glare_sigma_mm=rng.uniform(6.0, 15.0),
        blur_sigma_px=rng.uniform(0.6, 1.1),
        noise_grey=rng.uniform(1.5, 3.0),
    )


def _nuisance(rng: np.random.Generator) -> tuple[tuple[Stroke, ...], tuple[Blob, ...]]:
    """Return what a good part may carry: machining marks; specks and smudges."""
    marks = []
    for _ in range(rng.integers(0, 6)):
        path = _curve(rng, float(rng.uniform(4.0, 40.0)), float(rng.normal(0.0, 0.4)), bend=0.05)
        path += (rng.uniform(0, d.PLATE_LENGTH_MM), rng.uniform(0, d.PLATE_WIDTH_MM))
        width = np.full(len(path), rng.uniform(*d.MACHINING_MARK_WIDTH_MM))
        sign = rng.choice((-1.0, 1.0))
        marks.append(Stroke(path, width, np.ones(len(path)), sign * rng.uniform(*d.MACHINING_MARK_CONTRAST)))
    specks = []
    for _ in range(rng.integers(0, 25)):
        radius = _rim(rng, 0.1) * rng.uniform(*d.SPECK_DIAMETER_MM) / 2
        sign = -1.0 if rng.uniform() < 0.7 else 1.0
        specks.append(
            Blob(rng.uniform(0.5, d.PLATE_LENGTH_MM - 0.5), rng.uniform(0.5, d.PLATE_WIDTH_MM - 0.5), radius,
                 d.MM_PER_PX, sign * rng.uniform(*d.SPECK_CONTRAST))
        )  # fmt: skip
    for _ in range(rng.integers(0, 3)):  # smudges: wide, soft and faint
        radius = _rim(rng, 0.15) * rng.uniform(1.0, 4.0)
        specks.append(
            Blob(rng.uniform(3.0, d.PLATE_LENGTH_MM - 3.0), rng.uniform(3.0, d.PLATE_WIDTH_MM - 3.0), radius,
                 rng.uniform(0.8, 2.0), rng.choice((-1.0, 1.0)) * rng.uniform(*d.SMUDGE_CONTRAST))
        )  # fmt: skip
    return tuple(marks), tuple(specks)


def _curve(rng: np.random.Generator, length: float, angle: float, bend: float) -> NDArray[np.float64]:
    """Return a gently bent path about (0, 0), a point every 0.1 mm of its chord."""
    t = np.linspace(-0.5, 0.5, max(int(length / 0.1), 4) + 1)
    across = rng.uniform(-bend, bend) * length * (1 - 4 * t**2)
    across += rng.uniform(-bend, bend) * length * 0.3 * np.sin(2 * np.pi * t)
    return np.stack([t * length * math.cos(angle) - across * math.sin(angle),
                     t * length * math.sin(angle) + across * math.cos(angle)], axis=1)  # fmt: skip


def _rim(rng: np.random.Generator, ripple: float) -> NDArray[np.float64]:
    """Return an irregular closed rim of mean radius about 1 at 128 equal angle steps."""
    phi = np.arange(128) * (2 * np.pi / 128)
    rim = np.ones(128)
    for k in range(2, 7):
        rim += rng.uniform(-ripple, ripple) * (2 / k) * np.cos(k * phi + rng.uniform(0, 2 * np.pi))
    return np.maximum(rim, 0.3)


@lru_cache(maxsize=1)
def _clear_metal() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return, per 0.1 mm cell of the face, the distance (mm) to the next feature, and where no scratch may be.

    Features are all that is no bare metal; the code's field and the locating mark are kept free of scratches, so
    that a scratched part has one defect and can be located.
    """
    shape = (int(d.PLATE_WIDTH_MM / _GRID_MM), int(d.PLATE_LENGTH_MM / _GRID_MM))
    v, u = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) * _GRID_MM

    def inside(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (u > left) & (u < right) & (v > top) & (v < bottom)
        return found

    half = d.CODE_FIELD_MM / 2
    (cx, cy), (sx, sy) = d.CODE_CENTRE_MM, d.SLOT_CENTRE_MM
    forbidden = inside(cx - half, cy - half, cx + half, cy + half) | inside(*d.MARK_BOX_MM)
    forbidden |= u + v < d.CHAMFER_MM
    taken = forbidden | inside(*d.TEXT_BOX_MM)
    for x, y in (d.BORE_LEFT_MM, d.BORE_RIGHT_MM):
        taken |= np.hypot(u - x, v - y) < d.BORE_DIAMETER_MM / 2 + 0.2
    along = np.maximum(np.abs(u - sx) - (d.SLOT_LENGTH_MM - d.SLOT_WIDTH_MM) / 2, 0)
    taken |= np.hypot(along, v - sy) < d.SLOT_WIDTH_MM / 2 + 0.2
    free = np.pad((~taken).astype(np.uint8), 1)  # the plate's edge is a feature too
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 5)[1:-1, 1:-1] * _GRID_MM
    return distance.astype(np.float32), forbidden


def _clearance(path: NDArray[np.float64]) -> tuple[NDArray[np.float32], bool]:
    """Return each point's distance to the next feature, and whether the path is allowed at all."""
    distance, forbidden = _clear_metal()
    cell = np.floor(path / _GRID_MM).astype(int)
    margin = int(0.6 / _GRID_MM)
    top = (forbidden.shape[1] - margin, forbidden.shape[0] - margin)
    if (cell < margin).any() or (cell >= top).any() or forbidden[cell[:, 1], cell[:, 0]].any():
        return np.zeros(len(path), np.float32), False
    return distance[cell[:, 1], cell[:, 0]], True


def _with_hole(plan: Plan, rng: np.random.Generator, defect: d.DefectKind) -> Plan:
    feature = str(rng.choice(["bore_left", "bore_right"]))
    deviation = float(rng.uniform(*d.HOLE_DEVIATION_MM)) * (1 if defect == "hole_big" else -1)
    diameter = 0.0 if defect == "hole_missing" else d.BORE_DIAMETER_MM + deviation
    dimensions = (
        replace(plan.dimensions, bore_left_diameter_mm=diameter)
        if feature == "bore_left"
        else replace(plan.dimensions, bore_right_diameter_mm=diameter)
    )
    return replace(plan, dimensions=dimensions, geometry={"feature": feature, "diameter_mm": diameter})


def _with_slot(plan: Plan, rng: np.random.Generator, defect: d.DefectKind) -> Plan:
    width = d.SLOT_WIDTH_MM + float(rng.uniform(*d.SLOT_DEVIATION_MM)) * (1 if defect == "slot_wide" else -1)
    dimensions = replace(plan.dimensions, slot_width_mm=width)
    return replace(plan, dimensions=dimensions, geometry={"feature": "slot", "width_mm": width})


def _with_scratch(plan: Plan, rng: np.random.Generator) -> Plan:
    shortest, longest = d.SCRATCH_LENGTH_MM
    length = shortest * (longest / shortest) ** float(rng.uniform())
    taper_mm = 0.3
    while True:
        length = max(length * 0.98, shortest + 0.02)  # a long one that finds no room gets shorter
        path = _curve(rng, length + 2 * taper_mm, float(rng.uniform(0, np.pi)), bend=0.12)
        path += (rng.uniform(0, d.PLATE_LENGTH_MM), rng.uniform(0, d.PLATE_WIDTH_MM))
        distance, allowed = _clearance(path)
        if allowed and _longest_run(path, distance > 0.3) >= shortest + 2 * taper_mm:
            break
    width = float(rng.uniform(*d.SCRATCH_WIDTH_MM))
    contrast = float(rng.uniform(*d.SCRATCH_CONTRAST))
    end = np.minimum(np.arange(len(path)), np.arange(len(path))[::-1]) * (length + 2 * taper_mm) / (len(path) - 1)
    taper = np.clip(end / taper_mm, 0.0, 1.0)
    knots = rng.uniform(0.0, 1.0, max(len(path) // 8, 2))
    uneven = np.interp(np.linspace(0, 1, len(path)), np.linspace(0, 1, len(knots)), knots)
    strength = 0.8 + 0.2 * uneven  # contrast is what the faintest place still has
    dark = rng.uniform() < 0.6
    stroke = Stroke(path, np.maximum(width * taper, 0.02), strength, (-1 if dark else 1) * contrast / 0.8)
    ends = [[round(float(x), 3), round(float(y), 3)] for x, y in (path[0], path[-1])]
    return replace(plan, scratch=stroke, geometry={
        "length_mm": length, "clear_length_mm": min(length, _longest_run(path, distance > 0.3) - 2 * taper_mm),
        "width_mm": width, "contrast": contrast, "dark": bool(dark), "ends_mm": ends,
    })  # fmt: skip


def _longest_run(path: NDArray[np.float64], clear: NDArray[np.bool_]) -> float:
    """Return the length (mm) of the longest unbroken stretch of clear points."""
    step = np.hypot(*np.diff(path, axis=0).T)
    best = run = 0.0
    for length, both in zip(step, clear[1:] & clear[:-1], strict=True):
        run = run + float(length) if both else 0.0
        best = max(best, run)
    return best


def _with_stain(plan: Plan, rng: np.random.Generator) -> Plan:
    smallest, largest = d.STAIN_AREA_MM2
    area = smallest * (largest / smallest) ** float(rng.uniform())
    rim = _rim(rng, 0.14)
    unit_area = float(np.sum(rim**2) * np.pi / 128)
    distance, _ = _clear_metal()
    radius = rim * math.sqrt(area / unit_area)
    rows, cols = np.nonzero(distance > radius.max() + 0.4)
    pick = int(rng.integers(0, len(rows)))
    x, y = (cols[pick] + 0.5) * _GRID_MM, (rows[pick] + 0.5) * _GRID_MM
    contrast = float(rng.uniform(*d.STAIN_CONTRAST))
    blob = Blob(float(x), float(y), radius, float(rng.uniform(0.08, 0.25)), -contrast)
    return replace(plan, stain=blob, geometry={
        "centre_mm": [round(float(x), 3), round(float(y), 3)], "area_mm2": area, "contrast": contrast,
    })  # fmt: skip


def _with_bite(plan: Plan, rng: np.random.Generator) -> Plan:
    depth, width = float(rng.uniform(*d.BROKEN_DEPTH_MM)), float(rng.uniform(*d.BROKEN_WIDTH_MM))
    side = str(rng.choice(["top", "right", "bottom", "left"]))
    length = plan.dimensions.plate_length_mm if side in ("top", "bottom") else plan.dimensions.plate_width_mm
    # the corner with the locating mark stays whole, and the code's field is out of reach
    first = d.MARK_BOX_MM[2] + 1.0 if side in ("top", "left") else 2.0
    middle = float(rng.uniform(first + width / 2, length - 2.0 - width / 2))
    t = np.linspace(0.0, 1.0, 14)
    profile = np.sin(np.pi * t) ** 0.6 * rng.uniform(0.55, 0.95, len(t))
    profile[0] = profile[-1] = 0.0
    profile[int(rng.integers(4, 10))] = 1.0
    along = middle + (t - 0.5) * width
    inward = np.concatenate([profile * depth, [-1.0, -1.0]])  # closes outside the plate
    along = np.concatenate([along, [along[-1], along[0]]])
    bottom, right = plan.dimensions.plate_width_mm, plan.dimensions.plate_length_mm
    bite = {
        "top": np.stack([along, inward], axis=1),
        "bottom": np.stack([along, bottom - inward], axis=1),
        "left": np.stack([inward, along], axis=1),
        "right": np.stack([right - inward, along], axis=1),
    }[side]
    geometry = {"side": side, "middle_mm": middle, "depth_mm": depth, "width_mm": width}
    return replace(plan, bite_mm=bite, geometry=geometry)


def _with_wrong_code(plan: Plan, rng: np.random.Generator) -> Plan:
    mode = str(rng.choice(["other_content", "unreadable", "missing"]))
    modules = code_modules(d.OTHER_CODE_TEXT if mode == "other_content" else d.CODE_TEXT)
    if mode == "missing":
        modules = np.zeros_like(modules)
    elif mode == "unreadable":  # far more modules lost than the symbol's error correction can mend
        modules = modules & (rng.uniform(size=modules.shape) < 0.5)
    code = d.OTHER_CODE_TEXT if mode == "other_content" else None
    return replace(plan, modules=modules, code=code, geometry={"mode": mode})
