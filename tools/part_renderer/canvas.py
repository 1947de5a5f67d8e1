"""The sheet a part is drawn on: layers in picture pixels, shapes given in part millimetres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d
from tools.part_renderer.truth import Pose

Layer = NDArray[np.float32]
OVERSAMPLE = 4


class Window(NamedTuple):
    """A rectangle of the picture and the part coordinates (mm) of its pixel centres."""

    at: tuple[slice, slice]
    u_mm: Layer
    v_mm: Layer


class Canvas:
    """Knows the pose and turns shapes into per-pixel coverage (0..1, anti-aliased)."""

    def __init__(self, pose: Pose) -> None:
        """Make a sheet for a part lying at pose."""
        self.pose = pose
        self.shape = (d.IMAGE_HEIGHT_PX, d.IMAGE_WIDTH_PX)

    def window(self, points_mm: Sequence[tuple[float, float]], margin_mm: float = 0.3) -> Window | None:
        """Return the window around the points, None when it lies outside the picture."""
        px = self.pose.to_image(np.asarray(points_mm, dtype=np.float64))
        margin = margin_mm / d.MM_PER_PX
        low = np.floor(px.min(axis=0) - margin).astype(int)
        high = np.ceil(px.max(axis=0) + margin).astype(int) + 1
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1, y1 = min(int(high[0]), self.shape[1]), min(int(high[1]), self.shape[0])
        if x0 >= x1 or y0 >= y1:
            return None
        return self._coordinates(x0, y0, x1, y1)

    def box(self, left: float, top: float, right: float, bottom: float) -> Window | None:
        """Return the window around an upright box of the part frame (mm)."""
        return self.window([(left, top), (right, top), (right, bottom), (left, bottom)])

    def whole(self) -> Window:
        """Return the whole picture as a window."""
        return self._coordinates(0, 0, self.shape[1], self.shape[0])

    def _coordinates(self, x0: int, y0: int, x1: int, y1: int) -> Window:
        angle = math.radians(self.pose.angle_deg)
        cos, sin = math.cos(angle) * d.MM_PER_PX, math.sin(angle) * d.MM_PER_PX
        dx = np.arange(x0, x1, dtype=np.float64)[None] - self.pose.x_px
        dy = np.arange(y0, y1, dtype=np.float64)[:, None] - self.pose.y_px
        u = (dx * cos).astype(np.float32) + (dy * sin).astype(np.float32)
        v = (dx * -sin).astype(np.float32) + (dy * cos).astype(np.float32)
        return Window((slice(y0, y1), slice(x0, x1)), u, v)

    def polygons(
        self, polygons_mm: Sequence[NDArray[np.float64]], values: Sequence[float], margin_mm: float = 0.3
    ) -> tuple[tuple[slice, slice], Layer] | None:
        """Return a window and how much of each pixel the polygons cover, each weighted by its value (0..1).

        Drawn OVERSAMPLE times finer and averaged down.
        """
        window = self.window([(float(x), float(y)) for polygon in polygons_mm for x, y in polygon], margin_mm)
        if window is None:
            return None
        rows, cols = window.at
        fine = np.zeros(((rows.stop - rows.start) * OVERSAMPLE, (cols.stop - cols.start) * OVERSAMPLE), dtype=np.uint8)
        for polygon, value in zip(polygons_mm, values, strict=True):
            px = (self.pose.to_image(polygon) - (cols.start, rows.start) + 0.5) * OVERSAMPLE - 0.5
            cv2.fillPoly(fine, [np.round(px * 16).astype(np.int32)], int(round(value * 255)), shift=4)
        small = cv2.resize(fine, (cols.stop - cols.start, rows.stop - rows.start), interpolation=cv2.INTER_AREA)
        return window.at, small.astype(np.float32) / np.float32(255.0)

    def picture(
        self, patch: NDArray[np.uint8], left: float, top: float, mm_per_patch_px: float
    ) -> tuple[tuple[slice, slice], Layer] | None:
        """Warp a fine patch, (h, w) uint8, lying at (left, top) mm, into a window; 0..1."""
        height, width = patch.shape
        window = self.box(left, top, left + width * mm_per_patch_px, top + height * mm_per_patch_px)
        if window is None:
            return None
        map_x = (window.u_mm - np.float32(left)) / np.float32(mm_per_patch_px) - np.float32(0.5)
        map_y = (window.v_mm - np.float32(top)) / np.float32(mm_per_patch_px) - np.float32(0.5)
        warped = cv2.remap(patch, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return window.at, warped.astype(np.float32) / np.float32(255.0)


def coverage(distance_mm: Layer, soft_mm: float = d.MM_PER_PX) -> Layer:
    """Turn a signed distance (mm, negative inside) into the covered share of each pixel."""
    covered: Layer = np.clip(np.float32(0.5) - distance_mm / np.float32(soft_mm), 0.0, 1.0)
    return covered


def circle(w: Window, x: float, y: float, radius: float) -> Layer:
    """Return the signed distance (mm) to a circle."""
    distance: Layer = np.hypot(w.u_mm - np.float32(x), w.v_mm - np.float32(y)) - np.float32(radius)
    return distance


def slot(w: Window, x: float, y: float, length: float, width: float) -> Layer:
    """Return the signed distance (mm) to a slot with round ends, its axis along x."""
    along = np.maximum(np.abs(w.u_mm - np.float32(x)) - np.float32((length - width) / 2), 0)
    distance: Layer = np.hypot(along, w.v_mm - np.float32(y)) - np.float32(width / 2)
    return distance


def rectangle(w: Window, left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> Layer:
    """Return the signed distance (mm) to an upright rectangle with rounded corners."""
    half_x, half_y = (right - left) / 2 - corner, (bottom - top) / 2 - corner
    du = np.abs(w.u_mm - np.float32((left + right) / 2)) - np.float32(half_x)
    dv = np.abs(w.v_mm - np.float32((top + bottom) / 2)) - np.float32(half_y)
    distance: Layer = (
        np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) + np.minimum(np.maximum(du, dv), 0) - np.float32(corner)
    )
    return distance


def triangle(w: Window, corners: Sequence[tuple[float, float]]) -> Layer:
    """Return the distance (mm) to a triangle given clockwise on the screen; exact along its sides."""
    sides = []
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = math.hypot(bx - ax, by - ay)
        nx, ny = (by - ay) / length, -(bx - ax) / length
        sides.append((w.u_mm - np.float32(ax)) * np.float32(nx) + (w.v_mm - np.float32(ay)) * np.float32(ny))
    distance: Layer = np.maximum(np.maximum(sides[0], sides[1]), sides[2])
    return distance
