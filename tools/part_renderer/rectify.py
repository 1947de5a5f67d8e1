"""The plate's face, cut out upright and at a fixed scale: what the defect model looks at."""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d
from tools.part_renderer.truth import Pose

Pixel = TypeVar("Pixel", np.uint8, np.float32)


def rectify(image: NDArray[Pixel], pose: Pose, mm_per_px: float, size: tuple[int, int]) -> NDArray[Pixel]:
    """Return the face as (height, width) = size[::-1], of image's dtype.

    size: (width, height) px. Output pixel (column, row) has its centre at part millimetres
    ((column + 0.5) * mm_per_px, (row + 0.5) * mm_per_px). One 3 x 3 binomial smoothing of the whole picture
    (1 2 1 each way, so nothing shifts), then one bilinear sample.
    """
    smooth = cv2.GaussianBlur(image, (3, 3), 0)
    step = mm_per_px / d.MM_PER_PX
    cos, sin = math.cos(math.radians(pose.angle_deg)) * step, math.sin(math.radians(pose.angle_deg)) * step
    to_picture = np.array([
        [cos, -sin, pose.x_px + 0.5 * (cos - sin)],
        [sin, cos, pose.y_px + 0.5 * (sin + cos)],
    ])  # fmt: skip
    face = cv2.warpAffine(
        smooth, to_picture, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return face.astype(image.dtype, copy=False)
