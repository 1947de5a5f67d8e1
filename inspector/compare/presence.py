"""Is a feature there? By the share of dark or bright pixels in a region."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from inspector.limits import Limits, Share
from inspector.parts import Measured, Shape
from inspector.tool import CompareTool, View

_SHOWN = 5  # spots drawn at most


class Presence(CompareTool):
    """Share of a region's pixels that are darker or brighter than a level: is something there, or not?"""

    tool: Literal["presence"]
    region: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in the fixture's frame (mm with calibration, else px)."
    )
    level: float = Field(ge=0, le=255, description="Grey of 0..255 that parts dark from bright.")
    count: Literal["darker", "brighter"] = Field(description="Which pixels are counted.")
    share: Share = Field(description="From this share of the region on, the feature is there.")
    expect: Literal["present", "absent"] = Field("present", description="Must it be there, or must it not?")

    @property
    def limits(self) -> Limits:
        """The share, in %."""
        value, text = self.share.value, self.share.text
        if self.expect == "present":
            return Limits(None, value, None, "%", text)
        return Limits(None, None, value, "%", text)

    def __call__(self, view: View) -> Measured:
        """Measure one picture."""
        x0, y0, x1, y1 = self.region
        corners = view.to_px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        outline = Shape("polygon", tuple((float(x), float(y)) for x, y in corners), role="region")
        grey = view.grey
        height, width = grey.shape
        low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
        if low[0] < 0 or low[1] < 0 or high[0] > width - 1 or high[1] > height - 1:
            return Measured(None, "%", why="it lies partly outside the picture", shapes=(outline,))
        box = grey[low[1] : high[1] + 1, low[0] : high[0] + 1]
        mask = np.zeros(box.shape, np.uint8)
        cv2.fillConvexPoly(mask, np.round((corners - low) * 16).astype(np.int32), 1, shift=4)
        total = cv2.countNonZero(mask)
        if total < 16:
            return Measured(None, "%", why=f"the region is only {total} px large", shapes=(outline,))
        level = self.level * view.full_scale / 255
        hit = (box < level) if self.count == "darker" else (box > level)
        mask &= hit
        share = 100.0 * cv2.countNonZero(mask) / total
        shapes = [outline]
        if self.expect == "absent" and share > self.share.value:  # show what should not be there
            offset = (int(low[0]), int(low[1]))
            spots, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
            spots = sorted(spots, key=cv2.contourArea, reverse=True)[:_SHOWN]
            shapes += [Shape("polygon", tuple((float(x), float(y)) for x, y in s[:, 0])) for s in spots]
        x, y = corners.mean(axis=0)
        return Measured(share, "%", anchor_px=(float(x), float(y)), shapes=tuple(shapes))
