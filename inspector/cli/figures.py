"""What to look at when lens and light are set up: focus, brightness, saturation. On values as the camera sent them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 24
Region = tuple[int, int, int, int]  # x, y, width, height in px


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a picture, or of a region of it."""

    mean: float  # grey
    white: int  # the largest grey value the format has
    saturated: float  # share of the values that are white, 0 to 1
    focus: float  # mean square of the grey gradient, in (% of white) squared: grows with sharpness
    histogram: tuple[float, ...]  # share of the values in each of BINS equal steps from black to white


def white_of(pixel_format: str) -> int:
    """The largest value of an SFNC pixel format (Mono12 -> 4095)."""
    bits = re.search(r"\d+", pixel_format)
    return int((1 << int(bits.group())) - 1) if bits else 255


def figures(raw: NDArray[Any], shown: NDArray[Any], pixel_format: str, region: Region | None = None) -> Figures:
    """``raw`` as the ring holds it, ``shown`` the same picture decoded; both (H, W) or (H, W, 3), uint8 or uint16.

    A region that is not within the picture is that of an earlier, larger one: then they are of all of it.
    """
    white = white_of(pixel_format)
    if region is not None:
        x, y, wide, high = region
        if x + wide <= raw.shape[1] and y + high <= raw.shape[0]:
            raw, shown = (image[y : y + high, x : x + wide] for image in (raw, shown))
    values = np.ascontiguousarray(raw).reshape(raw.shape[0], -1)
    counts = cv2.calcHist([values], [0], None, [BINS], [0, white + 1]).ravel() / values.size
    return Figures(
        mean=float(cv2.mean(values)[0]),
        white=white,
        saturated=float(np.count_nonzero(values >= white)) / values.size,
        focus=focus(shown, white),
        histogram=tuple(counts.tolist()),
    )


def focus(image: NDArray[Any], white: int) -> float:
    """Mean square of the grey gradient, in percent of white: grows with sharpness. (H, W) or (H, W, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    depth = cv2.CV_16S if grey.dtype == np.uint8 else cv2.CV_32F  # 8 * 255 fits
    total = sum(cv2.norm(cv2.Sobel(grey, depth, *way), cv2.NORM_L2SQR) for way in ((1, 0), (0, 1)))
    return float(total / grey.size * (100.0 / white) ** 2 / 64.0)  # 8 is the sum of Sobel's weights on a step of 1
