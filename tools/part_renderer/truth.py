"""What is known about a rendered part: pose, dimensions, defect."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import drawing as d


@dataclass(frozen=True)
class Pose:
    """Where the part frame lies in the picture.

    x_px, y_px: picture position of the part frame's origin (sub-pixel, pixel centres are whole numbers).
    angle_deg: rotation from the picture's x axis to the part's, positive turns clockwise on the screen.
    """

    x_px: float
    y_px: float
    angle_deg: float

    @property
    def x_mm(self) -> float:
        """Return the origin's x in picture millimetres."""
        return self.x_px * d.MM_PER_PX

    @property
    def y_mm(self) -> float:
        """Return the origin's y in picture millimetres."""
        return self.y_px * d.MM_PER_PX

    def to_image(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn part millimetres (N, 2) into picture pixels (N, 2)."""
        cos, sin = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        turn = np.array([[cos, sin], [-sin, cos]])
        px: NDArray[np.float64] = np.asarray(points_mm, np.float64) / d.MM_PER_PX @ turn + (self.x_px, self.y_px)
        return px

    def to_part(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn picture pixels (N, 2) into part millimetres (N, 2)."""
        cos, sin = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        turn = np.array([[cos, -sin], [sin, cos]])
        mm: NDArray[np.float64] = (np.asarray(points_px, np.float64) - (self.x_px, self.y_px)) @ turn * d.MM_PER_PX
        return mm

    @classmethod
    def about_centre(cls, x_px: float, y_px: float, angle_deg: float) -> Pose:
        """Place the plate's nominal centre at (x_px, y_px)."""
        centre = np.array([[d.PLATE_LENGTH_MM / 2, d.PLATE_WIDTH_MM / 2]])
        offset = cls(0.0, 0.0, angle_deg).to_image(centre)[0]
        return cls(x_px - float(offset[0]), y_px - float(offset[1]), angle_deg)


@dataclass(frozen=True)
class Dimensions:
    """The exact dimensions drawn, millimetres in the part frame. A missing bore has diameter 0."""

    plate_length_mm: float = d.PLATE_LENGTH_MM
    plate_width_mm: float = d.PLATE_WIDTH_MM
    bore_left_diameter_mm: float = d.BORE_DIAMETER_MM
    bore_left_x_mm: float = d.BORE_LEFT_MM[0]
    bore_left_y_mm: float = d.BORE_LEFT_MM[1]
    bore_right_diameter_mm: float = d.BORE_DIAMETER_MM
    bore_right_x_mm: float = d.BORE_RIGHT_MM[0]
    bore_right_y_mm: float = d.BORE_RIGHT_MM[1]
    slot_length_mm: float = d.SLOT_LENGTH_MM
    slot_width_mm: float = d.SLOT_WIDTH_MM

    @property
    def bore_pitch_mm(self) -> float:
        """Return the distance of the two bores' centres."""
        return math.hypot(self.bore_right_x_mm - self.bore_left_x_mm, self.bore_right_y_mm - self.bore_left_y_mm)


@dataclass(frozen=True)
class Truth:
    """All that is true of one picture.

    code: what a reader must find, None when the code can't be read.
    geometry: the defect's own figures (part millimetres), empty on a good part.
    mask: (1024, 1280) uint8, how much of each pixel a scratch or stain covers (255 all); else None.
    """

    seed: int
    part_number: int | None
    good: bool
    defect: d.DefectKind | None
    pose: Pose
    dimensions: Dimensions
    code: str | None
    geometry: dict[str, Any] = field(default_factory=dict)
    mask: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the mask as plain values."""
        pose = {"x_px": self.pose.x_px, "y_px": self.pose.y_px, "x_mm": self.pose.x_mm,
                "y_mm": self.pose.y_mm, "angle_deg": self.pose.angle_deg}  # fmt: skip
        return {
            "seed": self.seed,
            "part_number": self.part_number,
            "good": self.good,
            "defect": self.defect,
            "pose": pose,
            "mm_per_px": d.MM_PER_PX,
            "dimensions": {**asdict(self.dimensions), "bore_pitch_mm": self.dimensions.bore_pitch_mm},
            "code": self.code,
            "geometry": self.geometry,
        }

    def to_json(self) -> str:
        """Return the truth file's text."""
        return json.dumps(self.to_dict(), indent=2)


@dataclass(frozen=True)
class Rendered:
    """One picture, (1024, 1280) uint8 Mono8, and its truth."""

    image: NDArray[np.uint8]
    truth: Truth

    @property
    def mask(self) -> NDArray[np.uint8] | None:
        """Return the truth's mask of a scratch or stain, (1024, 1280) uint8; None for any other part."""
        return self.truth.mask
