"""From a camera's pixel formats to what tools and people look at."""

from __future__ import annotations

from typing import Any

import cv2
from numpy.typing import NDArray

_BAYER = {
    # OpenCV names a pattern by its second row, GenICam by its first
    "BayerRG8": cv2.COLOR_BayerBG2RGB,
    "BayerGB8": cv2.COLOR_BayerGR2RGB,
    "BayerGR8": cv2.COLOR_BayerGB2RGB,
    "BayerBG8": cv2.COLOR_BayerRG2RGB,
}


def decode(raw: NDArray[Any], pixel_format: str) -> NDArray[Any]:
    """Pixels as the ring holds them -> (H, W) or (H, W, 3) RGB, same depth; only Bayer pictures are computed."""
    conversion = _BAYER.get(pixel_format)
    return raw if conversion is None else cv2.cvtColor(raw, conversion)
