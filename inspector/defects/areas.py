"""Areas of a part that a defects tool leaves out: bores, edges, engraved text."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Rect = tuple[float, float, float, float]
_SUB_PX = 4  # bits of sub-pixel position that OpenCV draws with


class Ignore(BaseModel):
    """One area to leave out: a circle or a rectangle, in the fixture's frame and unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    circle: tuple[float, float, float] | None = Field(None, description="Centre x, y and radius.")
    rect: Rect | None = Field(None, description="x0, y0, x1, y1: two opposite corners.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Ignore:
        if (self.circle is None) == (self.rect is None):
            raise ValueError("allowed is either circle: [x, y, radius] or rect: [x0, y0, x1, y1]")
        if self.circle is not None and not self.circle[2] > 0:
            raise ValueError(f"circle: the radius is {self.circle[2]:g}, allowed are values above 0")
        return self


def blank(mask: NDArray[np.uint8], areas: Sequence[Ignore], origin: tuple[float, float], units_per_px: float) -> None:
    """Set ``areas`` of ``mask`` (H, W) to 0; its pixel (0, 0) has its top-left corner at ``origin`` (units)."""
    scale = 1 << _SUB_PX

    def at(x: float, y: float) -> tuple[int, int]:
        px, py = (x - origin[0]) / units_per_px - 0.5, (y - origin[1]) / units_per_px - 0.5
        return round(px * scale), round(py * scale)

    for area in areas:
        if area.circle is not None:
            x, y, radius = area.circle
            cv2.circle(mask, at(x, y), round(radius / units_per_px * scale), 0, cv2.FILLED, cv2.LINE_8, _SUB_PX)
        elif area.rect is not None:
            x0, y0, x1, y1 = area.rect
            cv2.rectangle(mask, at(x0, y0), at(x1, y1), 0, cv2.FILLED, cv2.LINE_8, _SUB_PX)
