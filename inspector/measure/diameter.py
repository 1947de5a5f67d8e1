"""Diameter of a round hole or disc: sub-pixel edges all round, robust circle."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from inspector.measure.edges import Floats, Steps, fit_binned, patch, sample, saturated, slopes, summit
from inspector.parts import Measured, Point, Shape
from inspector.tool import Array, MeasureTool, View

_SECTORS = 48
_HALF_PX = 5.0  # raw pixels on either side of an edge that the fit sees
_LEAST_ARC = 0.6  # of the circle must show an edge that fits
_OUTLIER_PX = 4.0  # in robust standard deviations


class Diameter(MeasureTool):
    """Diameter of a round hole or disc. Its anchor is the centre."""

    tool: Literal["diameter"]
    at: Point = Field(description="Nominal centre, in the fixture's frame (mm with calibration, else px).")
    search: tuple[float, float] = Field(description="Smallest and largest diameter to look for, same unit.")
    inside: Literal["dark", "bright"] = Field("dark", description="Is the inside darker or brighter than the rim?")
    contrast: float = Field(20.0, ge=2, le=255, description="Least step from inside to outside, in grey of 0..255.")

    @model_validator(mode="after")
    def _search_covers_limits(self) -> Diameter:
        low, high = self.search
        if not 0 < low < high:
            raise ValueError("search: allowed are a smallest and a larger diameter, both above 0")
        if any(limit is not None and not low < limit < high for limit in (self.expect.lower, self.expect.upper)):
            raise ValueError(f"search: {low:g} to {high:g} does not cover the limits {self.expect.words}")
        return self

    def __call__(self, view: View) -> Measured:
        """Measure one picture."""
        grey, full = view.grey, view.full_scale
        centre = np.array(view.point_px(self.at))
        low, high = (d / 2 * view.px_per_unit for d in self.search)
        region = Shape("circle", (view.point_px(self.at),), high, role="region")

        def nothing(why: str) -> Measured:
            return Measured(None, view.unit, why=why, shapes=(region,))

        if low < 4:
            return nothing(f"the smallest diameter searched is {2 * low:.1f} px, at least 8 are needed")
        height, width = grey.shape
        if not (high < centre[0] < width - high and high < centre[1] < height - high):
            return nothing("it lies partly outside the picture")
        contrast = self.contrast * full / 255
        found = self._coarse(grey, centre, low, high, contrast)
        if isinstance(found, str):
            return nothing(found)
        centre, radius = found
        sign = 1.0 if self.inside == "dark" else -1.0
        steps, angles, pixels = _edges(grey, centre, radius, contrast)
        good = steps.ok & (steps.contrast * sign > 0)
        if np.count_nonzero(good) < _LEAST_ARC * _SECTORS:
            return nothing(f"an edge on only {np.count_nonzero(good) * 100 // _SECTORS} % of the circle")
        if saturated(pixels, full):
            return nothing("overexposed: the bright side of the edge is clipped")
        points = centre + steps.position[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        fit = robust_circle(points[good])
        if fit is None:
            return nothing("the edges found are not on a circle")
        centre, radius, kept, spread = fit
        blur = float(np.median(steps.sigma[good]))
        # blur pulls the half level of a curved edge towards the centre, by sigma^2 / 2R
        radius += blur**2 / (2 * radius)
        if np.count_nonzero(kept) < _LEAST_ARC * _SECTORS:
            return nothing(f"a round edge on only {np.count_nonzero(kept) * 100 // _SECTORS} % of the circle")
        if not low < radius < high:
            return nothing("the edge found is outside the diameters searched")
        at = (float(centre[0]), float(centre[1]))
        uncertainty = 2 * spread / math.sqrt(np.count_nonzero(kept))
        return Measured(
            view.length(2 * radius),
            view.unit,
            uncertainty=view.length(uncertainty),
            anchor_px=at,
            shapes=(Shape("circle", (at,), radius), Shape("point", (at,))),
        )

    def _coarse(
        self, grey: Array, centre: Floats, low: float, high: float, contrast: float
    ) -> tuple[Floats, float] | str:
        """Centre and radius to a px or so, or why there is none."""
        margin = 4
        angles = np.arange(_SECTORS) * (2 * math.pi / _SECTORS)
        r = np.arange(max(1.0, low - margin), high + margin)
        x = centre[0] + np.cos(angles)[:, None] * r
        y = centre[1] + np.sin(angles)[:, None] * r
        slope = slopes(sample(grey, x, y)) * (1.0 if self.inside == "dark" else -1.0)
        slope[:, (r < low) | (r > high)] = 0
        best = np.argmax(slope, axis=1)
        strength = slope[np.arange(_SECTORS), best]
        good = strength > 0.6 * contrast  # blur lowers the slope; the fit judges the contrast itself
        if np.count_nonzero(good) < _LEAST_ARC * _SECTORS:
            kind = "low contrast: " if np.median(strength) < contrast else ""
            return f"{kind}an edge on only {np.count_nonzero(good) * 100 // _SECTORS} % of the circle"
        reach = r[0] + summit(slope, best)
        points = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        fit = robust_circle(points[good], least_px=0.3)
        if fit is None:
            return "the edges found are not on a circle"
        return fit[0], fit[1]


def _edges(grey: Array, centre: Floats, radius: float, contrast: float) -> tuple[Steps, Floats, Floats]:
    """One edge a sector round (centre, radius): positions are radii. Also the sectors' angles and pixels used."""
    half = min(_HALF_PX, radius - 1)
    found = patch(grey, centre - radius - half - 1, centre + radius + half + 1)
    angles: Floats = (np.arange(_SECTORS, dtype=np.float64) + 0.5) * (2 * math.pi / _SECTORS)
    if found is None:
        empty = np.zeros(_SECTORS)
        return Steps(empty, empty, empty, empty, empty > 0), angles, empty[:0]
    x, y, values = found
    dx, dy = x - centre[0], y - centre[1]
    t = np.hypot(dx, dy) - radius
    ring = np.abs(t) < half
    turn = np.arctan2(dy[ring], dx[ring]) % (2 * math.pi)
    row = np.minimum((turn * (_SECTORS / (2 * math.pi))).astype(np.intp), _SECTORS - 1)
    steps = fit_binned(row, t[ring], values[ring], _SECTORS, np.full(_SECTORS, radius), half, contrast)
    return steps, angles, values[ring]


def robust_circle(points: Floats, least_px: float = 0.05) -> tuple[Floats, float, NDArray[np.bool_], float] | None:
    """Circle through (N, 2) points with up to a third of outliers: centre, radius, which points it uses, spread px.

    ``least_px``: spread below which nothing is thrown out. None when no circle can be had.
    """
    keep = np.ones(len(points), bool)
    centre = points.mean(axis=0)
    radius = 0.0
    for _ in range(12):
        if np.count_nonzero(keep) < 5:
            return None
        used = points[keep]
        origin = used.mean(axis=0)
        q = used - origin
        design = np.column_stack([q, np.ones(len(q))])
        try:
            answer, *_ = np.linalg.lstsq(design, (q**2).sum(axis=1), rcond=None)
        except np.linalg.LinAlgError:
            return None
        local = answer[:2] / 2
        squared = float(answer[2] + local @ local)
        if squared <= 0:
            return None
        centre, radius = local + origin, math.sqrt(squared)
        distance = np.hypot(*(points - centre).T) - radius
        middle = float(np.median(distance))
        scale = max(1.4826 * float(np.median(np.abs(distance - middle))), least_px)
        now = np.abs(distance - middle) < _OUTLIER_PX * scale
        if np.array_equal(now, keep):
            break
        keep = now
    residual = (np.hypot(*(points - centre).T) - radius)[keep]
    spread = math.sqrt(float(residual @ residual) / max(len(residual) - 3, 1))
    return centre, radius, keep, spread
