"""A verdict drawn over its picture, as operators and the archive see it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.parts import CheckOutcome, FrameRef, Outcome, Point, Shape, Verdict

Colour = tuple[int, int, int]

GOOD: Colour = (60, 200, 90)
BAD: Colour = (255, 60, 50)
UNSURE: Colour = (255, 190, 40)
QUIET: Colour = (90, 150, 220)
_BANNER = {Outcome.PASS: (0, 110, 40), Outcome.FAIL: (170, 20, 20), Outcome.NOT_INSPECTED: (150, 105, 0)}
_SHIFT = 4  # bits of sub-pixel position that OpenCV draws with
_LIMIT_PX = 1 << 14  # a shape far outside must not overflow OpenCV's integers


def shown(verdict: Verdict) -> int:
    """Which of the verdict's frames people are to see first: that of the first check that failed, else the first."""
    for outcome in (CheckOutcome.FAIL, CheckOutcome.MISSING):
        for check in verdict.checks:
            if check.outcome is outcome:
                return next((n for n, ref in enumerate(verdict.frames) if check.on(ref)), 0)
    return 0


def draw(image: NDArray[Any], verdict: Verdict, ref: FrameRef | None = None) -> NDArray[np.uint8]:
    """The picture (H, W) or (H, W, 3) RGB, uint8 or uint16, with the verdict's shapes: RGB (H, W, 3) uint8.

    What failed is drawn last, thick and with its words; the verdict's sentence stands in a bar at the top.
    ``ref``: the picture's passport; only what was checked on it is drawn. None: everything.
    """
    canvas = _rgb(image)
    checks = [check for check in verdict.checks if ref is None or check.on(ref)]
    size = max(canvas.shape[:2]) / 1000
    thin, thick = max(1, round(size)), max(2, round(3 * size))
    for check in checks:
        if check.outcome is CheckOutcome.PASS:
            for shape in check.shapes:
                _shape(canvas, shape, QUIET if shape.role == "region" else GOOD, thin)
    for check in checks:
        if check.outcome is not CheckOutcome.PASS:
            colour = UNSURE if check.not_inspected else BAD
            for shape in check.shapes:
                _shape(canvas, shape, colour, thin if shape.role == "region" and len(check.shapes) > 1 else thick)
    for check in checks:
        if check.outcome is not CheckOutcome.PASS and check.shapes:
            colour = UNSURE if check.not_inspected else BAD
            _label(canvas, check.text.split(":")[0], check.shapes[0], colour, 0.55 * max(size, 0.7))
    _bar(canvas, verdict, max(size, 0.5))
    return canvas


def _rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        # cameras send 10 to 16 bits in the same words: stretch to what is there
        image = cv2.convertScaleAbs(image, alpha=255.0 / max(int(image.max()), 255))
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2RGB), np.uint8)
    return np.array(image, np.uint8, order="C")


def _fixed(point: Point) -> tuple[int, int] | None:
    x, y = point
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    limit = float(_LIMIT_PX)
    return round(min(max(x, -limit), limit) * (1 << _SHIFT)), round(min(max(y, -limit), limit) * (1 << _SHIFT))


def _shape(canvas: NDArray[np.uint8], shape: Shape, colour: Colour, thickness: int) -> None:
    points = [p for p in (_fixed(point) for point in shape.points_px) if p is not None]
    if not points:
        return
    if shape.kind == "circle":
        radius = round(min(max(shape.radius_px, 0.0), float(_LIMIT_PX)) * (1 << _SHIFT))
        cv2.circle(canvas, points[0], radius, colour, thickness, cv2.LINE_AA, _SHIFT)
    elif shape.kind == "point":
        centre = (points[0][0] >> _SHIFT, points[0][1] >> _SHIFT)
        cv2.drawMarker(canvas, centre, colour, cv2.MARKER_CROSS, 6 + 4 * thickness, thickness, cv2.LINE_AA)
    elif shape.kind == "text":
        _words(canvas, shape.text, (points[0][0] >> _SHIFT, points[0][1] >> _SHIFT), colour, 0.5)
    else:
        closed = shape.kind == "polygon"
        cv2.polylines(canvas, [np.array(points, np.int32)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)


def _label(canvas: NDArray[np.uint8], text: str, shape: Shape, colour: Colour, scale: float) -> None:
    """The words above a shape, kept inside the picture."""
    finite = [p for p in shape.points_px if math.isfinite(p[0]) and math.isfinite(p[1])]
    if not finite or not text:
        return
    x = min(p[0] for p in finite) - shape.radius_px
    y = min(p[1] for p in finite) - shape.radius_px - 8
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    at = (
        round(min(max(x, 2), max(2, canvas.shape[1] - width - 2))),
        round(min(max(y, 2.5 * height + 20), canvas.shape[0] - 4)),
    )
    _words(canvas, text, at, colour, scale)


def _words(canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: Colour, scale: float) -> None:
    plain = _ascii(text)
    cv2.putText(canvas, plain, (at[0] + 1, at[1] + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _bar(canvas: NDArray[np.uint8], verdict: Verdict, size: float) -> None:
    scale = 0.7 * size
    text = _ascii(f"{verdict.outcome.value.replace('_', ' ')} {verdict.code}  {verdict.text}")
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, (canvas.shape[1] - 16) / max(width, 1))
    deep = min(canvas.shape[0], 2 * height + 4)
    cv2.rectangle(canvas, (0, 0), (canvas.shape[1] - 1, deep - 1), _BANNER[verdict.outcome], cv2.FILLED)
    at = (8, min(deep - 1, round(1.4 * height) + 2))
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """OpenCV's fonts know ASCII only."""
    return text.replace("±", "+/-").encode("ascii", "replace").decode()
