"""The course of a characteristic in one row of cells: which third of its limits it was in, or outside of them.

Five glyphs that every console has: ``↑`` above the limit, ``▀ ─ ▄`` upper, middle and lower third, ``↓`` below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ABOVE, UPPER, MIDDLE, LOWER, BELOW, UNLIMITED = "↑", "▀", "─", "▄", "↓", "·"
AVERAGED = 5  # parts in a cell from which their mean has the average's limits, not those of single parts

Limits = tuple[float | None, float | None]


def trend(series: Sequence[float | None], single: Limits, average: Limits, width: int) -> str:
    """``width`` cells, the newest parts at the right end; a cell is the mean of as many parts as it stands for."""
    per_cell = max(1, math.ceil(len(series) / width)) if width else 1
    lower, upper = average if per_cell >= AVERAGED else single
    cells = []
    for end in range(len(series), 0, -per_cell):
        values = [v for v in series[max(end - per_cell, 0) : end] if v is not None]
        cells.append(_glyph(sum(values) / len(values), lower, upper) if values else " ")
    return "".join(reversed(cells[:width])).rjust(width)


def _glyph(value: float, lower: float | None, upper: float | None) -> str:
    if lower is None or upper is None:
        return UNLIMITED
    if value > upper:
        return ABOVE
    if value < lower:
        return BELOW
    third = (upper - lower) / 3
    return UPPER if value > upper - third else LOWER if value < lower + third else MIDDLE
