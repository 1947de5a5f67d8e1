"""Pictures whose truth is known by construction, and the views tools see them through."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.parts import Frame, FrameRef, Part, Pose, Trigger
from inspector.tool import View

FINE = 6  # sub-pixels a side


def part(part_id: str = "P-1", sha: str = "") -> Part:
    return Part(7, "abcd", "top", Trigger(part_id, "", 0, "2026-01-01T00:00:00.000Z"), 1, 1, "test", sha, 10**9)


def frame(image: NDArray[Any], camera: str = "top", pixel_format: str | None = None) -> Frame:
    name = pixel_format or ("RGB8" if image.ndim == 3 else "Mono8" if image.dtype == np.uint8 else "Mono16")
    ref = FrameRef(camera, 1, "", 0, 1, image.shape[1], image.shape[0], name, 1000.0, 0.0, 0, 0, 0)
    image = image.copy()
    image.flags.writeable = False
    return Frame(ref, image)


def view(image: NDArray[Any], pose: Pose | None = None, mm_per_px: float | None = None, **more: Any) -> View:
    pixel_format = more.pop("pixel_format", None)
    return View(frame(image, pixel_format=pixel_format), part(), pose or Pose(0.0, 0.0, 0.0), mm_per_px, **more)


def sense(fine: NDArray[Any], blur_px: float, noise: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
    """What a sensor makes of a picture drawn FINE times too large: lens blur, pixels with area, noise, 8 bit."""
    blurred = cv2.GaussianBlur(fine.astype(np.float32), (0, 0), blur_px * FINE) if blur_px else fine
    height, width = fine.shape
    small = cv2.resize(blurred, (width // FINE, height // FINE), interpolation=cv2.INTER_AREA)
    small = small + np.random.default_rng(seed).normal(0.0, noise, small.shape) if noise else small
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def grid(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x, y in px of every sub-pixel's centre."""
    x = (np.arange(width * FINE) + 0.5) / FINE - 0.5
    y = (np.arange(height * FINE) + 0.5) / FINE - 0.5
    return np.meshgrid(x.astype(np.float32), y.astype(np.float32), sparse=True)


def disc(
    centre: tuple[float, float],
    radius: float,
    size: tuple[int, int] = (128, 128),
    inside: float = 40.0,
    outside: float = 160.0,
    blur_px: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    x, y = grid(*size)
    distance = np.hypot(x - centre[0], y - centre[1]) - radius
    cover = np.clip(0.5 - distance * FINE, 0.0, 1.0)
    return sense(outside + (inside - outside) * cover, blur_px, noise, seed)


def stripe(
    centre: tuple[float, float],
    width: float,
    angle_deg: float,
    size: tuple[int, int] = (128, 128),
    inside: float = 40.0,
    outside: float = 160.0,
    blur_px: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """A straight bar; ``angle_deg`` is the direction across it."""
    x, y = grid(*size)
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    across = (x - centre[0]) * c + (y - centre[1]) * s
    cover = np.clip(0.5 - (np.abs(across) - width / 2) * FINE, 0.0, 1.0)
    return sense(outside + (inside - outside) * cover, blur_px, noise, seed)


_RECTS = [(-40.0, -26.0, 32.0, -10.0), (-40.0, -26.0, -8.0, 26.0)]  # an L, px about its middle
_DOT = (18.0, 12.0, 9.0)


def mark(
    poses: list[tuple[float, float, float]],
    size: tuple[int, int] = (400, 320),
    grey: tuple[float, float] = (150.0, 70.0),
    blur_px: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """An L with a dot beside it at each pose (x, y, angle), on plain ground."""
    x, y = grid(*size)
    cover = np.zeros((size[1] * FINE, size[0] * FINE), np.float32)
    for at_x, at_y, angle in poses:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        u, v = (x - at_x) * c + (y - at_y) * s, (y - at_y) * c - (x - at_x) * s
        distance = np.hypot(u - _DOT[0], v - _DOT[1]) - _DOT[2]
        for x0, y0, x1, y1 in _RECTS:
            outside = np.maximum(np.maximum(x0 - u, u - x1), np.maximum(y0 - v, v - y1))
            distance = np.minimum(distance, outside)
        cover = np.maximum(cover, np.clip(0.5 - distance * FINE, 0.0, 1.0))
    return sense(grey[0] + (grey[1] - grey[0]) * cover, blur_px, noise, seed)


def mark_template(blur_px: float = 1.0) -> NDArray[np.uint8]:
    """The L alone, upright: its middle is the middle of the picture."""
    return mark([(50.0, 35.0, 0.0)], (101, 71), blur_px=blur_px)


class Drawer:
    """A shelf that holds pictures and a scale; a tool opens with it as with the real one."""

    def __init__(
        self,
        images: dict[str, NDArray[Any]] | None = None,
        mm_per_px: float | None = None,
        size_px: tuple[int, int] | None = None,
        shots: int = 1,
    ) -> None:
        self._images = images or {}
        self.mm_per_px, self.size_px, self.shots = mm_per_px, size_px, shots

    def image(self, reference: str) -> NDArray[np.uint8]:
        return self._images[reference]

    def pixels(self, reference: str) -> NDArray[Any]:
        return self._images[reference]

    def model(self, reference: str) -> Any:
        raise ValueError(f"found {reference!r}, allowed: none here")
