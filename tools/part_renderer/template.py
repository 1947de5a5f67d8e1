"""A clean picture of the locating features, for template matching."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d
from tools.part_renderer.render import render_nominal

CORNER_BOX_MM = (-2.0, -2.0, 14.6, 13.0)  # chamfered corner and engraved mark, with some belt


@dataclass(frozen=True)
class Template:
    """A crop, (h, w) uint8 at MM_PER_PX, unturned, and where its middle lies in part millimetres.

    The middle of a crop is the point (w - 1) / 2, (h - 1) / 2 in its pixels.
    """

    image: NDArray[np.uint8]
    centre_x_mm: float
    centre_y_mm: float

    def write(self, path: Path) -> None:
        """Write path (PNG) and, beside it with the suffix .json, where the middle lies."""
        if path.suffix.lower() != ".png":
            raise ValueError(f"template {path}: the name must end in .png")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), self.image):
            raise OSError(f"template {path}: could not be written")
        sidecar = {**asdict(self), "mm_per_px": d.MM_PER_PX}
        del sidecar["image"]
        path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def render_template(box_mm: tuple[float, float, float, float] = CORNER_BOX_MM) -> Template:
    """Cut box_mm (left, top, right, bottom in the part frame) out of the nominal part, to whole pixels."""
    image, pose = render_nominal()
    corners = pose.to_image(np.reshape(np.asarray(box_mm, dtype=np.float64), (2, 2)))
    (left, top), (right, bottom) = np.round(corners).astype(int)
    left, top = max(int(left), 0), max(int(top), 0)
    right, bottom = min(int(right), image.shape[1] - 1), min(int(bottom), image.shape[0] - 1)
    if right <= left or bottom <= top:
        raise ValueError(f"template box {box_mm}: nothing of it lies in the picture")
    x, y = pose.to_part(np.array([[(left + right) / 2, (top + bottom) / 2]]))[0]
    crop = np.ascontiguousarray(image[top : bottom + 1, left : right + 1])
    return Template(crop, round(float(x), 6), round(float(y), 6))
