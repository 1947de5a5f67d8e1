"""Spots that are darker or brighter than what is around them."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inspector.codes import Code
from inspector.defects.areas import Ignore
from inspector.parts import Finding, InspectionFault
from inspector.tool import Array, DefectsTool, Shelf, View

FINDINGS_MAX = 100  # a label; the largest ones
_OUTLINE_POINTS_MAX = 64
_BACKGROUND_PX = 12  # the background is averaged in a picture so small that its window is about this wide


class Blob(DefectsTool):
    """Spots that differ from the mean grey around them: labels `dark` and `bright`.

    A finding's score is its strongest contrast / 255. Spots as wide as the background window fade into it.
    """

    tool: Literal["blob"]
    region: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in the fixture's frame (mm with calibration, else px)."
    )
    ignore: tuple[Ignore, ...] = Field((), description="Areas inside the region to leave out, with their edges.")
    find: Literal["dark", "bright", "both"] = Field("dark", description="Which spots are looked for.")
    contrast: float = Field(ge=2, le=255, description="Least difference to the background, in grey of 0..255.")
    background: float = Field(gt=0, description="Width of the window that the background is averaged over, same unit.")
    least_area: float = Field(gt=0, description="Smaller spots are noise and are not reported, same unit squared.")

    def open(self, shelf: Shelf) -> None:
        """Check the region. Raises ValueError."""
        x0, y0, x1, y1 = self.region
        if not (x0 < x1 and y0 < y1):
            raise ValueError("region: allowed are left, top and a larger right, bottom")

    def labels(self) -> tuple[str, ...]:
        """The kinds of spots looked for."""
        return ("dark", "bright") if self.find == "both" else (self.find,)

    def __call__(self, view: View) -> list[Finding]:
        """Every spot found. Raises InspectionFault when the region is not all in the picture: nobody saw the rest."""
        grey = view.grey
        corners = self._corners(view)
        height, width = grey.shape
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
        if low[0] < 0 or low[1] < 0 or high[0] > width or high[1] > height:
            raise InspectionFault(Code.IMAGE_QUALITY, "Not inspected: the part is partly outside the picture")
        box = grey[low[1] : high[1], low[0] : high[0]].astype(np.float32)
        mask = self._mask(view, corners, low, (box.shape[0], box.shape[1]))
        difference = box - _background(box, mask, self.background * view.px_per_unit)
        least = self.contrast * view.full_scale / 255
        found: list[Finding] = []
        for label in self.labels():
            strength = difference if label == "bright" else -difference
            hit = np.where(strength >= least, mask, np.uint8(0))
            found += self._findings(view, label, strength, hit, low)
        return found

    def _corners(self, view: View) -> NDArray[np.float64]:
        x0, y0, x1, y1 = self.region
        return view.to_px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])

    def _mask(
        self, view: View, corners: NDArray[np.float64], low: NDArray[np.int_], shape: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """255 where to look, (H, W)."""
        mask = np.zeros(shape, np.uint8)
        cv2.fillConvexPoly(mask, _fixed(corners - low), 255, shift=4)
        for area in self.ignore:
            if area.circle is not None:
                x, y, radius = area.circle
                cv2.circle(
                    mask,
                    tuple(int(v) for v in _fixed(view.to_px((x, y)) - low)),
                    round(radius * view.px_per_unit * 16),
                    0,
                    cv2.FILLED,
                    cv2.LINE_8,
                    4,
                )
            elif area.rect is not None:
                x0, y0, x1, y1 = area.rect
                hole = view.to_px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - low
                cv2.fillConvexPoly(mask, _fixed(hole), 0, shift=4)
        return mask

    def _findings(self, view: View, label: str, strength: Array, hit: Array, low: NDArray[np.int_]) -> list[Finding]:
        count, parts, stats, _ = cv2.connectedComponentsWithStats(hit, connectivity=8)
        k = view.px_per_unit
        areas = stats[:, cv2.CC_STAT_AREA]
        large = [n for n in range(1, count) if areas[n] >= self.least_area * k * k]
        found = []
        for n in sorted(large, key=lambda i: -int(areas[i]))[:FINDINGS_MAX]:
            x, y, w, h = (int(v) for v in stats[n, : cv2.CC_STAT_AREA])
            own = (parts[y : y + h, x : x + w] == n).astype(np.uint8)
            contours, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            outline = max(contours, key=len)
            # the rectangle goes through the centres of the outer pixels; each reaches half a pixel further
            length = view.length(max(cv2.minAreaRect(outline)[1]) + 1)
            peak = float(strength[y : y + h, x : x + w][own > 0].max()) / view.full_scale
            points = outline[:: max(1, -(-len(outline) // _OUTLINE_POINTS_MAX)), 0, :] + (x + low[0], y + low[1])
            found.append(
                Finding(
                    label,
                    min(peak, 1.0),
                    float(areas[n]) / (k * k),
                    length,
                    view.unit,
                    tuple((float(px), float(py)) for px, py in points),
                )
            )
        return found


def _background(box: NDArray[np.float32], mask: NDArray[np.uint8], window_px: float) -> Array:
    """Mean grey around each pixel, of the pixels in the mask only; (H, W) float32."""
    height, width = box.shape
    factor = max(1, int(window_px / _BACKGROUND_PX))
    size = (max(1, width // factor), max(1, height // factor))
    inside = (mask > 0).astype(np.float32)
    share = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(box * inside, size, interpolation=cv2.INTER_AREA)
    odd = max(3, round(window_px / factor) // 2 * 2 + 1)
    share = cv2.blur(share, (odd, odd), borderType=cv2.BORDER_CONSTANT)
    total = cv2.blur(total, (odd, odd), borderType=cv2.BORDER_CONSTANT)
    mean = total / np.maximum(share, 1e-3)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points with OpenCV's four bits behind the point."""
    return np.round(points * 16).astype(np.int32)
