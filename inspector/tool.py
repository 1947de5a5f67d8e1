"""What a tool is. A tool is one file in prepare/, locate/, measure/, read/, compare/ or defects/:

a pydantic model whose fields are the recipe's keys (each with a unit, a range and a sentence), and a
``__call__(view)`` that answers with one of the answers of :mod:`inspector.parts`. It is found by being in
its folder; schema, reference page and overlay come from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Union

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from inspector.codes import RECIPE_CODE_MAX, RECIPE_CODE_MIN
from inspector.parts import CodeRead, Finding, Frame, Located, Measured, Part, Point, Pose

Answer = Union[Located, Measured, CodeRead, "list[Finding]"]
Array = NDArray[Any]


@dataclass(frozen=True)
class FailCode:
    """What the PLC gets (1000-9999) and what the operator reads when a step fails: ``1110 Left bore out of size``."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def _fail_code(value: Any) -> FailCode:
    if isinstance(value, FailCode):
        return value
    match = re.fullmatch(r"(\d{4}) (\S.{0,59})", value.strip()) if isinstance(value, str) else None
    if match is None or not RECIPE_CODE_MIN <= int(match[1]) <= RECIPE_CODE_MAX:
        raise ValueError("allowed is a code 1000-9999 and up to 60 characters: 1110 Left bore out of size")
    return FailCode(int(match[1]), match[2])


Fail = Annotated[
    FailCode,
    BeforeValidator(_fail_code),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[1-9]\d{3} \S.{0,59}$", "examples": ["1110 Left bore out of size"]}
    ),
]


class Session(Protocol):
    """A loaded model. Contract: a failed run raises, it never returns the last output."""

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name. Raises InspectionFault."""
        ...

    def close(self) -> None:
        """Free everything; calling it twice is harmless."""
        ...


class Shelf(Protocol):
    """Where a tool gets the artefacts its keys name, while a recipe is being loaded.

    Every artefact taken is part of the recipe's sha. All methods raise ``ValueError`` with a sentence that
    names the artefact, what was found and what is allowed.
    """

    def image(self, reference: str) -> Array:
        """Grey picture (H, W) uint8 for ``name.png`` or ``name.png@sha256:<12+ digits>``, beside the recipe."""
        ...

    def model(self, reference: str) -> tuple[Any, Session]:
        """Package (inspector.infer.package.Package) and a warmed-up session for ``name`` or ``name@sha256:...``."""
        ...

    @property
    def mm_per_px(self) -> float | None:
        """Scale of the calibration, None when the recipe has none."""
        ...


@dataclass(frozen=True)
class View:
    """What a tool sees: one picture, the frame of reference it works in, and what earlier steps found.

    Lengths and points are in ``unit``: mm of the fixture's frame with a calibration, px without.
    """

    frame: Frame
    part: Part
    pose: Pose = field(default_factory=lambda: Pose(0.0, 0.0, 0.0))
    mm_per_px: float | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    prepared: Array | None = None  # the picture after the recipe's prepare steps

    @property
    def image(self) -> Array:
        """The picture to work on: (H, W) or (H, W, 3) RGB, uint8 or uint16, read-only."""
        return self.frame.image if self.prepared is None else self.prepared

    @cached_property
    def grey(self) -> Array:
        """The picture as (H, W), uint8 or uint16."""
        image = self.image
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    @property
    def unit(self) -> str:
        """Unit of lengths: mm or px."""
        return "px" if self.mm_per_px is None else "mm"

    @property
    def px_per_unit(self) -> float:
        """Image px in one unit of length, the part's scale included."""
        return self.pose.scale * (1.0 if self.mm_per_px is None else 1.0 / self.mm_per_px)

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) affine from the fixture's frame (units) to image px."""
        k, turn = self.px_per_unit, math.radians(self.pose.angle_deg)
        c, s = k * math.cos(turn), k * math.sin(turn)
        return np.array([[c, -s, self.pose.x_px], [s, c, self.pose.y_px]], np.float64)

    def to_px(self, points: Any) -> NDArray[np.float64]:
        """Points (N, 2) or (2,) of the fixture's frame as image px, same shape."""
        p = np.asarray(points, np.float64)
        return np.asarray(p @ self.matrix[:, :2].T + self.matrix[:, 2])

    def point_px(self, point: Point) -> Point:
        """One point of the fixture's frame as image px."""
        x, y = self.to_px(point)
        return float(x), float(y)

    def length(self, length_px: float) -> float:
        """A length in image px as units."""
        return length_px / self.px_per_unit

    def rectify(
        self, region: tuple[float, float, float, float], units_per_px: float, size: tuple[int, int]
    ) -> Array:
        """The region (x0, y0, x1, y1 in units) upright: (H, W) grey with ``size`` = (W, H), linear sampling.

        Pixel (i, j) of the result shows the point ``x0 + (i + 0.5) * units_per_px`` and likewise for y. Outside
        the picture the border is repeated. Where the result is coarser than the picture, the picture is box-blurred
        to the result's pitch first, so that thin defects are averaged rather than skipped.
        """
        x0, y0 = region[0], region[1]
        u = units_per_px
        step = np.array([[u, 0.0, x0 + 0.5 * u], [0.0, u, y0 + 0.5 * u]])
        full = self.matrix[:, :2] @ step
        full[:, 2] += self.matrix[:, 2]
        source = self.grey
        box = int(round(u * self.px_per_unit))
        if box >= 2:
            source = cv2.blur(source, (box, box))
        return cv2.warpAffine(
            source, full, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )


class Tool(BaseModel):
    """The keys every step has. A tool adds its own, and ``tool: Literal["its name"]``."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    section: ClassVar[str]  # prepare, locate, measure, read, compare, defects; set by each section's base
    measures: ClassVar[str] = "length"  # what `expect` is about: length, angle, ratio, grey, count

    tool: str
    camera: str | None = Field(
        None, description="Which camera's picture; needed only when the recipe uses several."
    )
    fixture: str | None = Field(
        None, description="The locate step whose frame the coordinates are in; none: the image's own frame."
    )

    def open(self, shelf: Shelf) -> None:
        """Get templates and models, once, at load. Raises ValueError for what can't be had."""

    def __call__(self, view: View) -> Answer:
        """Do the work on one picture. Raises InspectionFault when the part can't be inspected."""
        raise TypeError(f"{type(self).__name__} has no __call__")


def section_of(path: str) -> Path:
    """Folder of a tool's section, for finding the tools in it."""
    return Path(path).parent
