"""How good a picture is as a picture: what drifts when the light ages, the lens moves or dirt falls on it.

Nothing here decides about a part. The numbers are made to be charted over thousands of parts, so each follows
one cause as far as it can: brightness and contrast the light, sharpness the focus, noise the gain.

Whole lines of the picture are looked at, not scattered pixels: every sampled row crosses every upright edge, so
the figures don't depend on whether a sample happens to lie on an edge. Lines are taken in neighbouring pairs:
both see the same edges, but not the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from inspector.parts import Frame, Health, Located
from inspector.recipe.model import Patch, Spec
from inspector.tool import Answer, Array, View, full_scale

BUDGET_PX = 200_000  # looked at in all patches of one part together
_FOR_GREYS = 4  # so many times fewer are enough for levels and noise, whose samples are alike
LEAST_SIDE_PX = 8
_DIGITS = 4  # significant, in the verdict
_CALM_PX = 5  # so many pixels of a line are averaged for the contrast, or noise would count as contrast
_BINS = 4096  # of a histogram, at most
_CURVE = np.array([[-1.0, 2.0, -1.0]], np.float32)  # what is straight over three pixels is no noise
_CURVE_GAIN = 6.0**0.5  # of its answer to white noise
_MAD = 0.6745  # median of |x| of a normal distribution with sigma 1

Box = tuple[int, int, int, int]  # left, top, right, bottom in px, the last two not included


def health_of(
    spec: Spec, frames: Mapping[str, Frame], answers: Mapping[str, Answer], see: Callable[[str, Frame, Located], View]
) -> tuple[Health, ...]:
    """Health of every patch whose picture is there and whose fixture was found.

    frames: the first picture of each source. ``see`` gives the view in which a fixture's coordinates are understood.
    """
    patches = spec.head.health.patches if spec.head.health else {}
    if not patches:
        whole = [
            (source, frame, (0, 0, frame.ref.width, frame.ref.height))
            for source, frame in frames.items()
            if min(frame.ref.width, frame.ref.height) >= LEAST_SIDE_PX
        ]
        share = BUDGET_PX // max(1, len(whole))
        return tuple(
            picture_health(source, "picture", frame.image, full_scale(frame), box, share)
            for source, frame, box in whole
        )
    found = []
    for name, patch in patches.items():
        source = spec.patch_source(patch).name
        frame = frames.get(source)
        box = None if frame is None else _box(patch, source, frame, answers, see)
        if frame is not None and box is not None:
            share = BUDGET_PX // len(patches)
            found.append(picture_health(source, name, frame.image, full_scale(frame), box, share))
    return tuple(found)


def _box(
    patch: Patch, source: str, frame: Frame, answers: Mapping[str, Answer], see: Callable[[str, Frame, Located], View]
) -> Box | None:
    """Where a patch lies, None when that isn't known or isn't wholly in the picture: half a patch is another patch."""
    left, top, right, bottom = patch.region
    if patch.fixture is not None:
        located = answers.get(patch.fixture)
        if not isinstance(located, Located) or located.pose is None:
            return None
        view = see(source, frame, located)
        x, y = view.point_px(((left + right) / 2, (top + bottom) / 2))
        half = view.px_per_unit / 2
        half_w, half_h = (right - left) * half, (bottom - top) * half
        left, top, right, bottom = x - half_w, y - half_h, x + half_w, y + half_h
    box = (math.floor(left + 0.5), math.floor(top + 0.5), math.floor(right + 0.5), math.floor(bottom + 0.5))
    inside = box[0] >= 0 and box[1] >= 0 and box[2] <= frame.ref.width and box[3] <= frame.ref.height
    large = box[2] - box[0] >= LEAST_SIDE_PX and box[3] - box[1] >= LEAST_SIDE_PX
    return box if inside and large else None


def picture_health(view: str, patch: str, image: Array, full_scale: int, box: Box, budget_px: int) -> Health:
    """Health of ``box`` of a picture (H, W) or (H, W, 3) RGB, uint8 or uint16, from about ``budget_px`` pixels.

    The box lies inside the picture and is at least LEAST_SIDE_PX wide and high.
    """
    left, top, right, bottom = box
    inside = image[top:bottom, left:right]
    rows, columns = _pairs(inside, budget_px // 2), _pairs(inside.swapaxes(0, 1), budget_px // 2)
    unit = 255.0 / full_scale
    some, others = (lines[::_FOR_GREYS] if len(lines) >= 8 * _FOR_GREYS else lines for lines in (rows, columns))
    low, high = (grey * unit for grey in _quantiles(cv2.blur(some, (_CALM_PX, 1)), (0.05, 0.95), full_scale))
    contrast = high - low
    energy = (_energy(rows) + _energy(columns)) * unit**2
    return Health(
        view,
        patch,
        brightness_grey=_short(cv2.mean(rows)[0] * unit),
        contrast_grey=_short(contrast),
        sharpness=_short(max(energy, 0.0) / contrast**2 if contrast >= 1 else 0.0),
        noise_grey=_short(_noise((some, others), full_scale) * unit),
        saturated_share=_short(np.count_nonzero(rows >= full_scale) / rows.size),
    )


def _pairs(image: Array, budget_px: int) -> Array:
    """Pairs of neighbouring lines, spread evenly over the picture: (2 N, W), grey, the first N are the upper ones."""
    lines, length = image.shape[:2]
    count = max(1, min(budget_px // (2 * length), lines // 2))
    upper = ((np.arange(count) + 0.5) * ((lines - 1) / count)).astype(np.intp)
    taken = image[np.concatenate([upper, upper + 1])]
    return np.asarray(taken if taken.ndim == 2 else cv2.cvtColor(taken, cv2.COLOR_RGB2GRAY))


def _quantiles(lines: Array, shares: tuple[float, ...], full_scale: int) -> list[float]:
    """Grey at each share of the pixels, spread evenly inside its bin, so that it moves smoothly."""
    bins = min(full_scale + 1, _BINS)
    shift = ((full_scale + 1) // bins).bit_length() - 1
    counts = np.bincount((lines >> shift).ravel(), minlength=bins)
    below = np.concatenate([[0], np.cumsum(counts)]) / lines.size
    return [float(np.interp(share, below, np.arange(len(below)))) * (1 << shift) - 0.5 for share in shares]


def _energy(pairs: Array) -> float:
    """Mean product of the steps at the same place of two neighbouring lines: an edge is in both, noise in one."""
    half = len(pairs) // 2
    steps = pairs[:, 1:].astype(np.float32)
    steps -= pairs[:, :-1]
    upper, lower = steps[:half].ravel(), steps[half:].ravel()
    return float(upper @ lower) / upper.size


def _noise(both: tuple[Array, Array], full_scale: int) -> float:
    """Sigma of white noise by the median of what bends over three pixels, which few edges can't move."""
    bends = []
    for lines in both:
        bend = np.abs(cv2.filter2D(lines, cv2.CV_32F, _CURVE)[:, 1:-1])
        seen = lines[:, 1:-1]
        bends.append(bend[(seen > 0) & (seen < full_scale)])  # what is clipped has no noise to be seen
    found = np.concatenate(bends)
    if not found.size:
        return 0.0
    middle = float(np.partition(found, found.size // 2)[found.size // 2])
    # whole greys: the median of grouped data, or it would jump from one grey to the next
    below, equal = np.count_nonzero(found < middle), np.count_nonzero(found == middle)
    smooth = max(middle - 0.5 + (found.size / 2 - below) / equal, 0.0)
    return smooth / (_MAD * _CURVE_GAIN)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
