"""What a tool is. A tool is one file in prepare/, locate/, measure/, read/, compare/ or defects/:

a pydantic model, derived from that section's base below, whose fields are the recipe's keys (each with a
unit, a range and a sentence), and a ``__call__(view)`` that answers with one of the answers of
:mod:`inspector.parts`. It is found by being in its folder; schema, reference page and overlay come from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Protocol, Union

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from inspector.codes import RECIPE_CODE_MAX, RECIPE_CODE_MIN
from inspector.limits import Area, Expect, Length, Limits
from inspector.parts import CodeRead, Finding, Frame, Located, Measured, Part, Point, Pose

Array = NDArray[Any]
Answer = Union[Located, Measured, CodeRead, "list[Finding]", Array, "Prepared"]


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
    if match is None or not RECIPE_CODE_MIN <= int(match[1]) <= RECIPE_CODE_MAX or not match[2].isprintable():
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

    @property
    def backend(self) -> str:
        """What runs it: cpu, tensorrt ..."""
        ...

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

    def pixels(self, reference: str) -> Array:
        """The picture as it was stored: (H, W) or (H, W, 3) RGB, uint8 or uint16."""
        ...

    def model(self, reference: str) -> tuple[Any, Session]:
        """Package (inspector.infer.package.Package) and a warmed-up session for ``name`` or ``name@sha256:...``."""
        ...

    @property
    def mm_per_px(self) -> float | None:
        """Scale of the calibration, None when the recipe has none."""
        ...

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the pictures the tool will get, None when it isn't known before they come."""
        ...

    @property
    def shots(self) -> int:
        """How many pictures the tool's view takes of each part."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A picture that a prepare step made, with the grey value that is white in it.

    image: (H, W) or (H, W, 3) RGB, uint8 (then full_scale is 255) or uint16.
    """

    image: Array
    full_scale: int


def full_scale(frame: Frame) -> int:
    """The largest grey value the camera can send in this pixel format: 255, 1023, 4095 or 65535."""
    bits = re.search(r"(10|12|14|16)", frame.ref.pixel_format)
    if frame.image.dtype == np.uint8:
        return 255
    return (1 << int(bits[1])) - 1 if bits else 65535


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
    prepared: Prepared | None = None  # the picture of the prepare step that the tool asked for
    cache: dict[str, Array] = field(default_factory=dict)  # shared by all views of one picture
    shots: tuple[Frame, ...] = ()  # every picture of the tool's own view, the first is ``frame``
    frames: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)  # of every view that the tool references

    @property
    def image(self) -> Array:
        """The picture to work on: (H, W) or (H, W, 3) RGB, uint8 or uint16, read-only."""
        return self.frame.image if self.prepared is None else self.prepared.image

    @property
    def grey(self) -> Array:
        """The picture as (H, W), uint8 or uint16."""
        image = self.image
        if image.ndim == 2:
            return image
        if "grey" not in self.cache:
            self.cache["grey"] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return self.cache["grey"]

    @property
    def full_scale(self) -> int:
        """The grey value that is white in the picture to work on; see :func:`full_scale`."""
        return full_scale(self.frame) if self.prepared is None else self.prepared.full_scale

    @property
    def grey8(self) -> Array:
        """The picture as (H, W) uint8, black to full scale as 0 to 255."""
        grey = self.grey
        if grey.dtype == np.uint8:
            return grey
        if "grey8" not in self.cache:
            self.cache["grey8"] = cv2.convertScaleAbs(grey, alpha=255.0 / self.full_scale)
        return self.cache["grey8"]

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

    def rectify(self, region: tuple[float, float, float, float], units_per_px: float, size: tuple[int, int]) -> Array:
        """The region (x0, y0, x1, y1 in units) upright: (H, W) uint8 grey with ``size`` = (W, H).

        Pixel (i, j) of the result shows the point ``x0 + (i + 0.5) * units_per_px`` and likewise for y, sampled
        linearly. Outside the picture the border is repeated. Where the result is coarser than the picture, the
        picture is smoothed to about the result's pitch first, with a kernel of odd size so that nothing shifts:
        thin defects are averaged rather than skipped. Models are trained on exactly this.
        """
        x0, y0 = region[0], region[1]
        u = units_per_px
        step = np.array([[u, 0.0, x0 + 0.5 * u], [0.0, u, y0 + 0.5 * u]])
        full = self.matrix[:, :2] @ step
        full[:, 2] += self.matrix[:, 2]
        source = self.grey8
        kernel = 2 * round(u * self.px_per_unit / 2) + 1
        if kernel >= 3:
            source = cv2.GaussianBlur(source, (kernel, kernel), 0)
        return cv2.warpAffine(
            source, full, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )


Step = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


OF_VIEWS = ("views",)


class Tool(BaseModel):
    """The keys every step has. A tool derives from its section's base and adds ``tool: Literal["its name"]``."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    section: ClassVar[str]  # prepare, locate, measure, read, compare, defects
    looks: ClassVar[bool] = True  # at a picture; False: only at what earlier steps found

    tool: str = Field(description="Which tool does this step.")
    view: Step | None = Field(
        None,
        description="Which view's picture; needed only when there are several and no step it refers to says so.",
    )
    camera: str | None = Field(
        None,
        description="Which camera's picture; needed only when there are several and no step it refers to says so.",
    )
    picture: Step | None = Field(
        None, description="The prepare step whose picture to work on; none: as the camera took it."
    )
    fixture: Step | None = Field(
        None, description="The locate step whose frame the coordinates are in; none: the image's own frame."
    )

    def references(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """What this step needs: key in the recipe, the name of an earlier step, sections it may be in.

        With the sections :data:`OF_VIEWS` it is the name of a view, whose pictures are in ``View.frames``.
        """
        if self.picture is not None:
            yield "picture", self.picture, ("prepare",)
        if self.fixture is not None:
            yield "fixture", self.fixture, ("locate",)

    def open(self, shelf: Shelf) -> None:
        """Get templates and models, once, at load. Raises ValueError for what can't be had."""

    def __call__(self, view: View) -> Answer:
        """Do the work on one picture. Raises InspectionFault when the part can't be inspected."""
        raise TypeError(f"{type(self).__name__} has no __call__")


class PrepareTool(Tool):
    """Makes another picture for later steps that ask for it with ``picture:``.

    Answers with an array that has the grey scale of the picture it was made of (or 8 bit), or with
    :class:`Prepared`.
    """

    section: ClassVar[str] = "prepare"


class LocateTool(Tool):
    """Finds the part. Answers with :class:`~inspector.parts.Located`."""

    section: ClassVar[str] = "locate"

    fail: Fail = Field(description="Code and words when the part is not found.")
    not_found: Literal["fail", "not_inspected"] = Field(
        "fail", description="Is a part that is not found a reject, or can nothing be said about it?"
    )


class MeasureTool(Tool):
    """Measures one value. Answers with :class:`~inspector.parts.Measured`."""

    section: ClassVar[str] = "measure"
    measures: ClassVar[str] = "length"  # what `expect` is about: length, angle, share, grey, count

    expect: Expect = Field(description="Limits, written as on the drawing.")
    fail: Fail = Field(description="Code and words when the value is outside the limits.")


class ReadTool(Tool):
    """Reads a text. Answers with :class:`~inspector.parts.CodeRead`."""

    section: ClassVar[str] = "read"

    expect: str = Field(
        min_length=1,
        max_length=200,
        description="The text that must be read, or `part_id`: the part id that came with the trigger.",
    )
    fail: Fail = Field(description="Code and words when another text is read.")


class CompareTool(Tool):
    """Compares the picture with what should be there. Answers with :class:`~inspector.parts.Measured`."""

    section: ClassVar[str] = "compare"

    fail: Fail = Field(description="Code and words when the picture is not as expected.")

    @property
    def limits(self) -> Limits:
        """What the measured value is held against."""
        raise TypeError(f"{type(self).__name__} has no limits")


class Reject(BaseModel):
    """From what size on a finding of one label is a reject. All stated limits must be reached."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    score: float = Field(0.0, ge=0.0, le=1.0, description="Least score of a finding that counts.")
    length: Length | None = Field(None, description="Least length of a finding that counts.")
    area: Area | None = Field(None, description="Least area of a finding that counts.")
    count: int = Field(1, ge=1, le=10_000, description="So many findings that count are a reject.")
    fail: Fail = Field(description="Code and words for this kind of defect.")

    def counts(self, finding: Finding) -> bool:
        """True when a finding reaches every stated limit. NaN counts: doubt is never good."""
        return not (
            finding.score < self.score
            or (self.length is not None and finding.length < self.length.value)
            or (self.area is not None and finding.area < self.area.value)
        )


class DefectsTool(Tool):
    """Finds defects. Answers with a list of :class:`~inspector.parts.Finding`."""

    section: ClassVar[str] = "defects"

    reject: dict[str, Reject | Literal["ignore"]] = Field(
        min_length=1, description="For each label that the tool can find: its limits, or `ignore`."
    )

    def labels(self) -> tuple[str, ...]:
        """Every label a finding can have; asked after ``open``."""
        raise TypeError(f"{type(self).__name__} has no labels")


SECTIONS: dict[str, type[Tool]] = {
    "prepare": PrepareTool,
    "locate": LocateTool,
    "measure": MeasureTool,
    "read": ReadTool,
    "compare": CompareTool,
    "defects": DefectsTool,
}  # in the order of the walk
