"""Sub-pixel edges: a blurred step fitted to the raw pixels, without resampling, many edges in one solve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BIN_PX = 0.25
_SIGMA_PX = (0.2, 5.0)  # plausible blur of an edge
_ROUNDS = 8
_SATURATED = 0.5  # so much of an edge's bright side at full scale: the camera clipped it


@dataclass(frozen=True)
class Steps:
    """N fitted edges. ``ok`` says which of them are edges at all; the rest must not be used."""

    position: Floats  # (N,) px along the search direction
    contrast: Floats  # (N,) grey from before to behind the edge, signed
    sigma: Floats  # (N,) px, blur
    std: Floats  # (N,) px, standard deviation of the position
    ok: NDArray[np.bool_]  # (N,)


def sample(image: NDArray[Any], x: Floats, y: Floats) -> Floats:
    """Grey at (x, y) px, bilinear, border repeated; shape as x. For finding edges, not for measuring them."""
    shape = x.shape
    maps = (x.astype(np.float32).reshape(shape[0], -1), y.astype(np.float32).reshape(shape[0], -1))
    got = cv2.remap(image, *maps, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(got.reshape(shape), np.float64)


def slopes(profiles: Floats, sigma: float = 1.5) -> Floats:
    """Slope along the last axis (samples 1 px apart), scaled so that a sharp step of h grey peaks at about h."""
    reach = math.ceil(3 * sigma)
    t = np.arange(-reach, reach + 1, dtype=np.float64)
    bell = t * np.exp(-(t**2) / (2 * sigma**2))
    kernel = bell * (math.sqrt(2 * math.pi) * sigma / float(bell @ t))
    flat = np.ascontiguousarray(profiles.reshape(-1, profiles.shape[-1]))
    out = cv2.filter2D(flat, cv2.CV_64F, kernel[None, :], borderType=cv2.BORDER_REPLICATE)
    return np.asarray(out.reshape(profiles.shape))


def summit(slope: Floats, at: NDArray[np.intp]) -> Floats:
    """Sub-pixel place of the peaks at ``slope[row, at[row]]``, (N,) px; the ends of a row stay where they are."""
    inner = np.clip(at, 1, slope.shape[1] - 2)
    rows = np.arange(len(slope))
    low, mid, high = slope[rows, inner - 1], slope[rows, inner], slope[rows, inner + 1]
    bend = low - 2 * mid + high
    off = np.where((bend < 0) & (inner == at), 0.5 * (low - high) / np.where(bend < 0, bend, -1.0), 0.0)
    return np.asarray(at + np.clip(off, -0.5, 0.5))


def patch(image: NDArray[Any], low: Floats, high: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Pixels of the upright box from ``low`` to ``high`` (x, y): their x, y and grey; None when it is outside."""
    height, width = image.shape
    x0, y0 = (max(0, math.floor(v)) for v in low)
    x1, y1 = min(width, math.ceil(high[0]) + 1), min(height, math.ceil(high[1]) + 1)
    if x0 >= x1 or y0 >= y1:
        return None
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
    return x, y, image[y0:y1, x0:x1].astype(np.float64)


def fit_binned(
    row: NDArray[np.intp], t: Floats, grey: Floats, rows: int, guess: Floats, half: float, contrast: float
) -> Steps:
    """Fit one edge a row to loose pixels.

    row, t, grey: (M,) which edge a pixel belongs to, where it lies along that edge's search direction (px, from
    the row's guess), its grey. ``half``: px on either side of the guess that take part. ``contrast``: least grey.
    """
    bins = max(1, math.ceil(2 * half / BIN_PX))
    inside = np.abs(t) < half
    row, t, grey = row[inside], t[inside], grey[inside]
    at = row * bins + np.minimum(((t + half) / BIN_PX).astype(np.intp), bins - 1)
    shape, size = (rows, bins), rows * bins
    count = np.bincount(at, minlength=size).reshape(shape).astype(np.float64)
    full = np.maximum(count, 1)
    mean_t = np.bincount(at, t, size).reshape(shape) / full
    mean_v = np.bincount(at, grey, size).reshape(shape) / full
    steps = fit_steps(mean_t, mean_v, count, half, contrast)
    return Steps(steps.position + guess, steps.contrast, steps.sigma, steps.std, steps.ok)


def fit_steps(t: Floats, v: Floats, weight: Floats, half: float, contrast: float) -> Steps:
    """Fit ``a + b * erf((t - t0) / (sqrt(2) s))`` to every row of (N, M) by Gauss-Newton, all rows in one solve."""
    n = len(t)
    enough = np.count_nonzero(weight, axis=1) >= 6
    total = np.maximum(weight.sum(axis=1), 1e-9)
    mean = (weight * v).sum(axis=1) / total
    slope = (weight * (v - mean[:, None]) * t).sum(axis=1)
    side = np.where(slope >= 0, 1.0, -1.0)
    low, high = _plateaus(t, v, weight)
    p = np.stack([(low + high) / 2, side * np.abs(high - low) / 2, np.zeros(n), np.ones(n)], axis=1)
    eye = np.eye(4) * 1e-6
    jacobian = np.ones((n, t.shape[1], 4))
    normal = np.tile(np.eye(4), (n, 1, 1))
    for _ in range(_ROUNDS):
        u = (t - p[:, 2:3]) / (math.sqrt(2) * p[:, 3:4])
        bell = np.exp(-np.minimum(u * u, 60))
        shape = _erf(u, bell)
        residual = v - p[:, 0:1] - p[:, 1:2] * shape
        steep = (-math.sqrt(2 / math.pi)) * p[:, 1:2] / p[:, 3:4] * bell
        jacobian[:, :, 1] = shape
        jacobian[:, :, 2] = steep
        jacobian[:, :, 3] = steep * u * math.sqrt(2)
        weighted = jacobian * weight[:, :, None]
        normal = jacobian.transpose(0, 2, 1) @ weighted
        normal += eye * np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-9)[:, None, None]
        change = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ residual[:, :, None])[:, :, 0]
        change[:, 2] = np.clip(change[:, 2], -1.5, 1.5)
        change[:, 3] = np.clip(change[:, 3], -0.5, 0.5)
        p += change
        p[:, 2] = np.clip(p[:, 2], -half, half)
        p[:, 3] = np.clip(p[:, 3], *_SIGMA_PX)
        if np.all(np.abs(change[:, 2:]) < (1e-3, 5e-3)):  # the next step would be its square
            break
    # a bin's mean scatters less than a pixel by the root of its count, so the bins are what is free
    freedom = np.maximum(np.count_nonzero(weight, axis=1) - 4, 1)
    spread = np.sqrt((weight * residual**2).sum(axis=1) / freedom)
    step = 2 * p[:, 1]
    std = spread * np.sqrt(np.maximum(np.linalg.inv(normal)[:, 2, 2], 0))
    ok = (
        enough
        & (np.abs(step) >= contrast)
        & (np.abs(p[:, 2]) < half - 1)
        & (p[:, 3] < _SIGMA_PX[1])
        & (np.abs(step) < 4 * np.abs(high - low) + contrast)  # a runaway fit, not an edge
        & (spread < 0.35 * np.abs(step))
    )
    return Steps(p[:, 2], step, p[:, 3], std, ok)


def saturated(grey: Floats, full_scale: int) -> bool:
    """True when so much of the brighter half of these pixels is clipped that an edge in them is displaced."""
    if grey.size == 0:
        return False
    bright = grey[grey >= (float(grey.max()) + float(grey.min())) / 2]
    return bool(np.count_nonzero(bright >= full_scale) > _SATURATED * bright.size)


def _plateaus(t: Floats, v: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Mean grey before and behind 0."""
    result = []
    for side in (t < -1, t > 1):
        w = weight * side
        result.append((w * v).sum(axis=1) / np.maximum(w.sum(axis=1), 1e-9))
    return result[0], result[1]


def _erf(u: Floats, bell: Floats) -> Floats:
    """erf(u) to 1.5e-7 (Abramowitz and Stegun 7.1.26); ``bell`` is exp(-u**2)."""
    k = 1 / (1 + 0.3275911 * np.abs(u))
    poly = k * (0.254829592 + k * (-0.284496736 + k * (1.421413741 + k * (-1.453152027 + k * 1.061405429))))
    return np.asarray(np.sign(u) * (1 - poly * bell))
