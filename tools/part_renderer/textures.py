"""Banks of belt and metal texture, made once a process from fixed seeds."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d

BANKS = 4
MARGIN_PX = 200
BELT_GREY = 38.0
METAL_STD = 25.0  # grey levels of a metal bank's standard deviation about 128


def _normal(seed: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    return np.random.default_rng([77, seed]).standard_normal(shape, dtype=np.float32)


def _unit(field: cv2.typing.MatLike) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = ((field - field.mean()) / field.std()).astype(np.float32)
    return scaled


@lru_cache(maxsize=BANKS)
def belt(bank: int) -> NDArray[np.float32]:
    """Return a belt, (1224, 1480) float32 grey levels: dark woven rubber, slightly uneven."""
    shape = (d.IMAGE_HEIGHT_PX + MARGIN_PX, d.IMAGE_WIDTH_PX + MARGIN_PX)
    rows, cols = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)[None]
    weave = np.sin(rows * (2 * np.pi / 9.0)) * np.cos((cols + 4.5 * np.floor(rows / 9.0)) * (2 * np.pi / 9.0))
    grain = _unit(cv2.GaussianBlur(_normal(10 + bank, shape), (0, 0), 1.2))
    uneven = cv2.resize(_normal(20 + bank, (10, 12)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    field: NDArray[np.float32] = (BELT_GREY + 2.2 * weave + 2.0 * grain + 2.5 * uneven).astype(np.float32)
    limited: NDArray[np.float32] = np.clip(field, 18.0, 62.0)
    return limited


@lru_cache(maxsize=BANKS)
def metal(bank: int) -> NDArray[np.uint8]:
    """Return a brushed face, (880, 1220) uint8 about 128 with METAL_STD, brushed along x, 1 px = MM_PER_PX."""
    shape = (680 + MARGIN_PX, 1020 + MARGIN_PX)
    fine = _unit(cv2.GaussianBlur(_normal(30 + bank, shape), (0, 0), sigmaX=28.0, sigmaY=0.7))
    coarse = _unit(cv2.GaussianBlur(_normal(40 + bank, shape), (0, 0), sigmaX=90.0, sigmaY=2.5))
    grain = _unit(cv2.GaussianBlur(_normal(50 + bank, shape), (0, 0), 0.8))
    field = _unit(fine + 0.7 * coarse + 0.45 * grain)
    clipped: NDArray[np.uint8] = np.clip(128.0 + METAL_STD * field, 0, 255).astype(np.uint8)
    return clipped
