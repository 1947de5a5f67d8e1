"""A picture without its slow changes of brightness: light, curvature, the streaks of a brushed surface."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import Field, field_validator

from inspector.tool import Array, PrepareTool, View

MIDDLE = 128.0  # grey of 0..255 that the mean of every window becomes
_DARK = 6.0  # grey of 0..255 added first, so that noise in black places is not blown up


class Flatten(PrepareTool):
    """The picture divided by its mean over a window, so that a contrast means the same in light and shade.

    A window that is narrow across and long along streaks takes the streaks out as well. The result is grey, 8 bit,
    with 128 where a pixel is like its surroundings; then averaged over `smooth` px against noise.
    """

    tool: Literal["flatten"]
    window: tuple[int, int] = Field(description="Width and height of the window in px, each odd, 1 to 501.")
    smooth: int = Field(3, ge=1, le=31, description="Width of the Gaussian that takes noise out, odd; 1: none.")

    @field_validator("window")
    @classmethod
    def _odd_window(cls, window: tuple[int, int]) -> tuple[int, int]:
        if any(side % 2 == 0 or not 1 <= side <= 501 for side in window) or window == (1, 1):
            raise ValueError("allowed are two odd numbers from 1 to 501, not both 1")
        return window

    @field_validator("smooth")
    @classmethod
    def _odd_smooth(cls, smooth: int) -> int:
        if smooth % 2 == 0:
            raise ValueError("allowed are odd numbers from 1 to 31")
        return smooth

    def __call__(self, view: View) -> Array:
        """Flatten one picture, (H, W) uint8."""
        grey = view.grey8.astype(np.float32) + np.float32(_DARK)
        mean = cv2.blur(grey, self.window, borderType=cv2.BORDER_REFLECT_101)
        flat = cv2.divide(grey, mean, scale=MIDDLE)
        if self.smooth > 1:
            flat = cv2.GaussianBlur(flat, (self.smooth, self.smooth), 0)
        return np.asarray(cv2.convertScaleAbs(flat), np.uint8)
