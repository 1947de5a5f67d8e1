"""What a lossless consumer gets for a picture shown, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXEL_FORMATS = {  # name and code of the PFNC
    "Mono8": 0x01080001,
    "Mono10": 0x01100003,
    "Mono12": 0x01100005,
    "Mono14": 0x01100025,
    "Mono16": 0x01100007,
    "Mono10p": 0x010A0046,
    "Mono12p": 0x010C0047,
    "Mono10Packed": 0x010C0004,
    "Mono12Packed": 0x010C0006,
    **{f"Bayer{tile}8": 0x01080008 + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    **{f"Bayer{tile}10": 0x0110000C + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    **{f"Bayer{tile}12": 0x01100010 + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    "RGB8": 0x02180014,
    "BGR8": 0x02180015,
}


def expected(
    image: NDArray[np.uint8],
    pixel_format: str,
    *,
    sensor: tuple[int, int] | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> NDArray[Any]:
    """What a lossless consumer gets for a picture shown, at 1000 us, 0 dB, without noise or fixed pattern.

    `image`: as for `show()`. `sensor`: rows, columns, by default the image's. `region`: OffsetX, OffsetY, Width,
    Height, by default the whole sensor. Returns (rows, columns), for RGB8 and BGR8 (rows, columns, 3); uint8, or
    uint16 for formats of more bits. Those are the upper bits of a scene of 16: the picture's eight, then
    (97 x + 57 y) modulo 256 at sensor position x, y; white is white to the last bit.
    """
    if pixel_format not in PIXEL_FORMATS:
        raise ValueError(f"pixel_format is {pixel_format!r}, allowed is {', '.join(PIXEL_FORMATS)}")
    rows, columns = sensor or image.shape[:2]
    scene = np.zeros((rows, columns, *image.shape[2:]), np.uint8)
    top, left = (rows - image.shape[0]) // 2, (columns - image.shape[1]) // 2
    cut = image[max(0, -top) :, max(0, -left) :][: rows - max(0, top), : columns - max(0, left)]
    scene[max(0, top) :, max(0, left) :][: cut.shape[0], : cut.shape[1]] = cut
    if pixel_format in ("RGB8", "BGR8"):
        colours = scene if scene.ndim == 3 else np.repeat(scene[..., None], 3, 2)
        samples = colours if pixel_format == "RGB8" else colours[..., ::-1]
    elif scene.ndim == 2:
        samples = scene
    elif pixel_format.startswith("Bayer"):
        red_x, red_y = {"RG": (0, 0), "GR": (1, 0), "GB": (0, 1), "BG": (1, 1)}[pixel_format[5:7]]
        samples = np.empty((rows, columns), np.uint8)
        for y in (0, 1):
            for x in (0, 1):
                samples[y::2, x::2] = scene[y::2, x::2, (x ^ red_x) + (y ^ red_y)]
    else:
        samples = ((scene.astype(np.uint32) @ np.array([77, 150, 29], np.uint32) + 128) >> 8).astype(np.uint8)
    bits = int("".join(c for c in pixel_format if c.isdigit()))
    if bits > 8:
        y, x = np.mgrid[0:rows, 0:columns].astype(np.uint32)
        low = np.where(samples == 255, 255, (97 * x + 57 * y) & 255).astype(np.uint16)
        samples = (samples.astype(np.uint16) << 8 | low) >> (16 - bits)
    if region is not None:
        x0, y0, width, height = region
        samples = samples[y0 : y0 + height, x0 : x0 + width]
    return np.ascontiguousarray(samples)
