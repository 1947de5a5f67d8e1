"""Reads DataMatrix, QR and bar codes."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray
from pydantic import Field

from inspector.parts import CodeRead, Shape
from inspector.tool import ReadTool, View

_FORMATS: dict[str, Any] = {
    "any": None,
    "datamatrix": zxingcpp.BarcodeFormat.DataMatrix,
    "qr": zxingcpp.BarcodeFormat.QRCode,
    "code128": zxingcpp.BarcodeFormat.Code128,
    "ean13": zxingcpp.BarcodeFormat.EAN13,
    "aztec": zxingcpp.BarcodeFormat.Aztec,
    "pdf417": zxingcpp.BarcodeFormat.PDF417,
}


class Code(ReadTool):
    """Reads the code in a region. Two codes with different texts count as unreadable: which one is meant?"""

    tool: Literal["code"]
    region: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in the fixture's frame (mm with calibration, else px), "
        "quiet zone included."
    )
    kind: Literal["any", "datamatrix", "qr", "code128", "ean13", "aztec", "pdf417"] = Field(
        "any", description="Kind of code; naming it is faster."
    )

    def __call__(self, view: View) -> CodeRead:
        """Read one picture."""
        x0, y0, x1, y1 = self.region
        corners = view.to_px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        outline = Shape("polygon", tuple((float(x), float(y)) for x, y in corners), role="region")
        grey = view.grey8
        height, width = grey.shape
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (width, height))
        if (high - low < 8).any():
            return CodeRead(None, why="it lies outside the picture", shapes=(outline,))
        box = np.ascontiguousarray(grey[low[1] : high[1], low[0] : high[0]])
        # the fast setting reads a clean code in a fifth of the time; the rest is for the others
        found = self._read(box, full=False) or self._read(box, full=True)
        if found:
            places = [_corners(code) + low for code in found]
        else:
            found, places = self._upright(view)
        if not found:
            return CodeRead(None, why="no code that can be read", shapes=(outline,))
        texts = sorted({code.text for code in found})
        shapes = tuple(Shape("polygon", tuple((float(x), float(y)) for x, y in place)) for place in places)
        if len(texts) > 1:
            return CodeRead(None, why=f"{len(texts)} different codes in the region", shapes=shapes)
        return CodeRead(texts[0], symbology=str(found[0].format), shapes=shapes)

    def _upright(self, view: View) -> tuple[list[Any], list[NDArray[np.float64]]]:
        """One more try, with the region turned upright and its noise taken down."""
        x0, y0, x1, y1 = self.region
        pitch = 1.0 / view.px_per_unit
        size = (max(8, round((x1 - x0) / pitch)), max(8, round((y1 - y0) / pitch)))
        box = view.rectify(self.region, pitch, size)
        if box.dtype != np.uint8:
            box = cv2.convertScaleAbs(box, alpha=255.0 / view.full_scale)
        found = self._read(cv2.GaussianBlur(box, (3, 3), 0), full=True)
        return found, [view.to_px((_corners(code) + 0.5) * pitch + (x0, y0)) for code in found]

    def _read(self, box: Any, *, full: bool) -> list[Any]:
        formats = _FORMATS[self.kind]
        extra = {} if formats is None else {"formats": formats}
        codes = zxingcpp.read_barcodes(box, try_rotate=full, try_downscale=full, try_invert=full, **extra)
        return [code for code in codes if code.valid]


def _corners(code: Any) -> NDArray[np.float64]:
    """Corners of a code that was read, (4, 2) px."""
    at = code.position
    return np.array([(p.x, p.y) for p in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)], np.float64)
