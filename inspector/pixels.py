"""From a camera's pixel formats to what tools and people look at."""

from __future__ import annotations

from typing import Any

import cv2
from numpy.typing import NDArray

_CONVERSIONS = {
    **{
        f"Bayer{pattern}{bits}": code
        for bits in (8, 10, 12)
        # OpenCV names a pattern by its second row, GenICam by its first
        for pattern, code in (
            ("RG", cv2.COLOR_BayerBG2RGB),
            ("GB", cv2.COLOR_BayerGR2RGB),
            ("GR", cv2.COLOR_BayerGB2RGB),
            ("BG", cv2.COLOR_BayerRG2RGB),
        )
    },
    "BGR8": cv2.COLOR_BGR2RGB,
}


def decode(raw: NDArray[Any], pixel_format: str) -> NDArray[Any]:
    """Pixels as the ring holds them -> (H, W) or (H, W, 3) RGB, same depth; Mono and RGB are handed through."""
    conversion = _CONVERSIONS.get(pixel_format)
    return raw if conversion is None else cv2.cvtColor(raw, conversion)
