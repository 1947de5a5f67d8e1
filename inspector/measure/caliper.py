"""Width between two opposite edges along a line."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from inspector.measure.edges import Floats, Steps, fit_binned, patch, sample, saturated, slopes, summit
from inspector.parts import Measured, Point, Shape
from inspector.tool import Array, MeasureTool, View

_HALF_PX = 6.0  # raw pixels on either side of an edge that the fit sees
_LEAST_WIDTH_PX = 5  # closer edges disturb each other
_AS_STRONG = 0.5  # an edge counts when it has this share of the strongest edge's slope


class Caliper(MeasureTool):
    """Width of what lies across a line; its anchor is the middle of it.

    It is measured between the outermost two opposite edges that are at least half as strong as the strongest.
    """

    tool: Literal["caliper"]
    along: tuple[Point, Point] = Field(description="Start and end of the line, in the fixture's frame (mm or px).")
    width: float = Field(gt=0, description="So wide a band is averaged across the line, same unit.")
    inside: Literal["dark", "bright"] = Field(description="Is what is measured darker or brighter than around it?")
    contrast: float = Field(20.0, ge=2, le=255, description="Least step of each edge, in grey of 0..255.")

    @model_validator(mode="after")
    def _line_has_length(self) -> Caliper:
        if math.dist(*self.along) <= 0:
            raise ValueError("along: start and end are the same point")
        return self

    def __call__(self, view: View) -> Measured:
        """Measure one picture."""
        grey, full = view.grey, view.full_scale
        start, end = (np.array(view.point_px(p)) for p in self.along)
        length = float(np.hypot(*(end - start)))
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        band = max(self.width * view.px_per_unit, 1.0)
        corners = [start + s * across * band / 2 for s in (-1, 1)] + [end + s * across * band / 2 for s in (1, -1)]
        outline = tuple((float(x), float(y)) for x, y in corners)
        region = Shape("polygon", outline, role="region")

        def nothing(why: str) -> Measured:
            return Measured(None, view.unit, why=why, shapes=(region,))

        height, width = grey.shape
        if any(not (0 <= x <= width - 1 and 0 <= y <= height - 1) for x, y in outline):
            return nothing("it lies partly outside the picture")
        contrast = self.contrast * full / 255
        pair = self._pair(grey, start, along, across, length, band, contrast)
        if isinstance(pair, str):
            return nothing(pair)
        if pair[1] - pair[0] < _LEAST_WIDTH_PX:
            apart = pair[1] - pair[0]
            return nothing(f"the edges are only {apart:.0f} px apart, at least {_LEAST_WIDTH_PX} are needed")
        half = min(_HALF_PX, (pair[1] - pair[0]) / 2)
        into = -1.0 if self.inside == "dark" else 1.0
        places, variance = [], 0.0
        for guess, sign in zip(pair, (into, -into), strict=True):
            step, pixels = _edge(grey, start, along, across, guess, band, half, contrast)
            if not step.ok[0] or step.contrast[0] * sign < 0:
                return nothing(f"no clear edge, step {abs(step.contrast[0]) * 255 / full:.0f} grey")
            at = float(step.position[0])
            if saturated(pixels, full):
                return nothing("overexposed: the bright side of the edge is clipped")
            places.append(at)
            variance += float(step.std[0]) ** 2
        ends = [start + along * at for at in places]
        middle = (ends[0] + ends[1]) / 2
        marks = tuple(Shape("line", (_point(e - across * band / 2), _point(e + across * band / 2))) for e in ends)
        return Measured(
            view.length(places[1] - places[0]),
            view.unit,
            uncertainty=view.length(math.sqrt(variance)),
            anchor_px=_point(middle),
            shapes=(*marks, Shape("line", (_point(ends[0]), _point(ends[1])))),
        )

    def _pair(
        self, grey: Array, start: Floats, along: Floats, across: Floats, length: float, band: float, contrast: float
    ) -> tuple[float, float] | str:
        """Where the two edges lie along the line, to a px or so, or why there are none."""
        t = np.arange(math.floor(length) + 1, dtype=np.float64)
        rows = max(1, round(band))
        off = (np.arange(rows) - (rows - 1) / 2) * (band / rows)
        x = start[0] + along[0] * t + across[0] * off[:, None]
        y = start[1] + along[1] * t + across[1] * off[:, None]
        slope = slopes(sample(grey, x, y).mean(axis=0)[None])[0]
        into = -slope if self.inside == "dark" else slope
        entry, leave = _peaks(into, contrast), _peaks(-into, contrast)
        if not len(entry) or not len(leave):
            side = "first" if not len(entry) else "second"
            return f"low contrast: no {side} edge of {self.contrast:g} grey"
        first, last = float(summit(into[None], entry[:1])[0]), float(summit(-into[None], leave[-1:])[0])
        if first >= last:
            return f"no {self.inside} feature: its edges are in the wrong order"
        return first, last


def _peaks(slope: Floats, contrast: float) -> NDArray[np.intp]:
    """Places of the peaks that are strong enough and at least half as strong as the strongest."""
    floor = max(0.6 * contrast, _AS_STRONG * float(slope.max(initial=0.0)))
    middle = slope[1:-1]
    return np.flatnonzero((middle >= slope[:-2]) & (middle > slope[2:]) & (middle >= floor)) + 1


def _edge(
    grey: Array, start: Floats, along: Floats, across: Floats, at: float, band: float, half: float, contrast: float
) -> tuple[Steps, Floats]:
    """The edge near ``at`` px along the line, and the pixels it was fitted to."""
    centre = start + along * at
    reach = np.abs(along) * half + np.abs(across) * band / 2
    found = patch(grey, centre - reach, centre + reach)
    if found is None:
        empty = np.zeros(1)
        return Steps(empty, empty, empty, empty, empty > 0), empty[:0]
    x, y, values = found
    dx, dy = x - centre[0], y - centre[1]
    t = dx * along[0] + dy * along[1]
    inside = (np.abs(dx * across[0] + dy * across[1]) <= band / 2) & (np.abs(t) < half)
    row = np.zeros(np.count_nonzero(inside), np.intp)
    return fit_binned(row, t[inside], values[inside], 1, np.array([at]), half, contrast), values[inside]


def _point(p: Floats) -> Point:
    return float(p[0]), float(p[1])
