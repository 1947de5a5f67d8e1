"""A picture with less noise, for tools that look for areas. Not for sub-pixel edges: blur moves them."""

from __future__ import annotations

from typing import Literal

import cv2
from pydantic import Field, field_validator

from inspector.tool import Array, PrepareTool, View


class Smooth(PrepareTool):
    """The picture after a median or Gaussian filter; later steps ask for it with `picture:`."""

    tool: Literal["smooth"]
    method: Literal["median", "gaussian"] = Field("median", description="Median keeps edges; Gaussian averages.")
    size: int = Field(3, ge=3, le=15, description="Width of the filter in px, odd; a median has 3 or 5.")

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("allowed are odd numbers from 3 to 15")
        return size

    def model_post_init(self, context: object) -> None:
        """A large median does not exist for 16 bit."""
        if self.method == "median" and self.size > 5:
            raise ValueError(f"size: {self.size} with median, allowed: 3, 5")

    def __call__(self, view: View) -> Array:
        """Smooth one picture."""
        if self.method == "median":
            return cv2.medianBlur(view.image, self.size)
        return cv2.GaussianBlur(view.image, (self.size, self.size), 0)
