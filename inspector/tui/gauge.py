"""A value drawn between its limits: ``├───┼─■─┤``. Outside the track it is outside the limits."""

from __future__ import annotations

import math

VALUE, NOMINAL, LOWER, UPPER, TRACK = "■", "┼", "├", "┤", "─"


def _ends(lower: float | None, upper: float | None) -> tuple[float, float]:
    """The values at the two ends of the track; an open side shows as much again as the limit's own size."""
    if lower is not None and upper is not None:
        return lower, upper
    if lower is not None:
        return lower, lower + (abs(lower) or 1.0)
    if upper is not None:
        return (0.0 if upper > 0 else upper - (abs(upper) or 1.0)), upper
    raise ValueError("a gauge needs a limit")


def gauge(
    value: float | None, lower: float | None, upper: float | None, nominal: float | None = None, width: int = 11
) -> str:
    """``width`` cells: one for too low, the track, one for too high. Blank without any limit.

    A value is put outside the track exactly when it breaks the limit, however small the difference, and
    inside exactly when it keeps it: what is drawn never contradicts the judgement.
    """
    if lower is None and upper is None:
        return " " * width
    low, high = _ends(lower, upper)
    track = width - 2
    cells = [TRACK] * track
    cells[0] = LOWER if lower is not None else TRACK
    cells[-1] = UPPER if upper is not None else TRACK
    scale = high - low

    def place(at: float) -> int:
        share = (at - low) / scale if scale > 0 else 0.5
        share = 0.5 if math.isnan(share) else min(max(share, 0.0), 1.0)  # limits may be as small as a float can be
        return min(max(1 + round(share * (track - 3)), 1), track - 2)

    if nominal is not None and low <= nominal <= high:
        cells[place(nominal)] = NOMINAL
    before = after = " "
    if value is not None and math.isfinite(value):
        if lower is not None and value < lower:
            before = VALUE
        elif upper is not None and value > upper:
            after = VALUE
        else:
            cells[place(value)] = VALUE
    return before + "".join(cells) + after
