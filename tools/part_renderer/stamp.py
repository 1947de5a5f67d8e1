"""A part number written into the pixels, so that a verdict can be traced to its picture.

The last 16 rows carry 144 columns of two 8 x 8 px cells, starting 64 px from the left. A column is one bit:
light over dark is 1, dark over light is 0, so exposure and offset cancel. The 48 bits (32-bit number, then its
CRC-16/CCITT) stand there three times.
"""

from __future__ import annotations

import binascii

import numpy as np
from numpy.typing import NDArray

CELL_PX = 8
LEFT_PX = 64
COPIES = 3
BITS = 48
MIN_WIDTH_PX = LEFT_PX + COPIES * BITS * CELL_PX
LIGHT = 205
DARK = 45
_MIN_RELATIVE_CONTRAST = 0.2  # (light - dark) / (light + dark) of every bit; as written it is 0.64


def _bits(number: int) -> NDArray[np.bool_]:
    payload = number.to_bytes(4, "big")
    payload += binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big")
    return np.unpackbits(np.frombuffer(payload, dtype=np.uint8)).astype(bool)


def write_stamp(image: NDArray[np.uint8], number: int) -> None:
    """Write number (0 .. 2**32-1) into the bottom 16 rows of image (H, W) uint8, in place.

    Raises ValueError when the number or the picture does not fit.
    """
    if not 0 <= number < 2**32:
        raise ValueError(f"part number {number}: must be 0 .. {2**32 - 1}")
    if image.ndim != 2 or image.shape[0] < 2 * CELL_PX or image.shape[1] < MIN_WIDTH_PX:
        raise ValueError(f"picture {image.shape}: a stamp needs (>= {2 * CELL_PX}, >= {MIN_WIDTH_PX}) pixels")
    bits = np.tile(_bits(number), COPIES)
    cells = np.where(np.stack([bits, ~bits]), LIGHT, DARK).astype(np.uint8)
    strip = np.repeat(np.repeat(cells, CELL_PX, axis=0), CELL_PX, axis=1)
    image[-2 * CELL_PX :, :] = DARK
    image[-2 * CELL_PX :, LEFT_PX:MIN_WIDTH_PX] = strip


def read_stamp(image: NDArray[np.uint8] | NDArray[np.uint16]) -> int | None:
    """Read the number from image (H, W) or (H, W, 3), 8 or 16 bit; None when it can't be trusted."""
    if image.ndim not in (2, 3) or image.shape[0] < 2 * CELL_PX or image.shape[1] < MIN_WIDTH_PX:
        return None
    strip = image[-2 * CELL_PX :, LEFT_PX:MIN_WIDTH_PX].astype(np.float64)
    if strip.ndim == 3:
        strip = strip.mean(axis=2)
    inner = slice(2, CELL_PX - 2)  # the rim of a cell is what blur reaches first
    cells = strip.reshape(2, CELL_PX, COPIES, BITS, CELL_PX)[:, inner, :, :, inner].mean(axis=(1, 4))
    upper, lower = cells.sum(axis=1)
    contrast = (upper - lower) / np.maximum(upper + lower, 1.0)
    if np.abs(contrast).min() < _MIN_RELATIVE_CONTRAST or not np.all((cells[0] > cells[1]) == (contrast > 0)):
        return None
    number = int.from_bytes(np.packbits(contrast > 0).tobytes()[:4], "big")
    return number if np.array_equal(_bits(number), contrast > 0) else None
