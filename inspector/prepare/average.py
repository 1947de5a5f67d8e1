"""Several equal pictures as one with less noise: the mean of N has the noise of one divided by the root of N."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import model_validator

from inspector.codes import Code
from inspector.parts import InspectionFault
from inspector.tool import Prepared, PrepareTool, Shelf, View

FULL_SCALE = 65535  # the mean of 8 bit pictures is finer than 8 bit


class Average(PrepareTool):
    """The mean of all pictures that its view takes (`shots:`), in 16 bit. The part must not move meanwhile.

    Where at least half of the pictures are clipped, the mean counts as clipped too.
    """

    tool: Literal["average"]

    @model_validator(mode="after")
    def _as_taken(self) -> Average:
        for key in ("picture", "fixture"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: average works on the pictures as the camera took them; allowed: no {key}")
        return self

    def open(self, shelf: Shelf) -> None:
        """Refuse a view that takes one picture."""
        if shelf.shots < 2:
            raise ValueError("its view takes 1 picture of each part; allowed: a view with shots: 2 to 16")

    def __call__(self, view: View) -> Prepared:
        """Average the view's pictures."""
        first = view.frame.image
        if any(shot.image.shape != first.shape or shot.image.dtype != first.dtype for shot in view.shots):
            raise InspectionFault(Code.IMAGE_QUALITY, "Not inspected: the pictures to be averaged differ in size")
        full, count = view.full_scale, len(view.shots)
        total = np.zeros(first.shape, np.float32)  # 16 pictures of 16 bit are exact in its 24 bits but for the last
        clipped = np.zeros(first.shape, np.uint8)
        for shot in view.shots:
            cv2.accumulate(shot.image, total)
            clipped += shot.image >= full
        total *= np.float32(FULL_SCALE / (full * count))
        mean = np.rint(total, out=total).astype(np.uint16)
        mean[2 * clipped >= count] = FULL_SCALE
        return Prepared(mean, FULL_SCALE)
