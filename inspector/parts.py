"""The nouns of an inspection: frozen, without input or output, understood by every process.

Times named ``*_ns`` are ``time.monotonic_ns()`` (CLOCK_MONOTONIC, shared by all processes of the machine);
times named ``*_utc`` are ISO 8601 text in UTC. Image coordinates are in px with OpenCV's convention:
(0, 0) is the centre of the top-left pixel, x to the right, y down. Angles are in degrees,
positive from x towards y (clockwise as seen on a screen).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inspector.codes import Code

Point = tuple[float, float]


class Outcome(str, Enum):
    """What the PLC is told about a part. Everything that is not PASS means: not good."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_INSPECTED = "NOT_INSPECTED"


class CheckOutcome(str, Enum):
    """What one step of a recipe found. MISSING: there was nothing to judge, and ``text`` says why."""

    PASS = "PASS"
    FAIL = "FAIL"
    MISSING = "MISSING"


class InspectionFault(Exception):
    """Something that makes a part NOT_INSPECTED: a code for the PLC and a sentence for people."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = int(code)
        self.text = text


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request to inspect the part that now stands before the cameras."""

    part_id: str
    cmd_id: str  # "" when the station triggered itself
    received_ns: int
    received_utc: str
    source: Literal["wire", "mqtt", "timer", "operator"] = "mqtt"
    deadline_ms: int | None = None  # None: the recipe's own
    number: int | None = None  # of the part on the PLC's or the camera's counter, where parts are counted
    golden: Literal["", "PASS", "FAIL"] = ""  # a golden part, and what must be found; "" is a part of the production


@dataclass(frozen=True, slots=True)
class Part:
    """A trigger that has been accepted: it has a row in the ledger and will get exactly one verdict."""

    seq: int
    boot: str
    station: str
    trigger: Trigger
    recipe: int  # the number the PLC selects; 0 when none is loaded
    rev: int
    recipe_name: str
    recipe_sha: str
    deadline_ns: int
    attempt: int = 1
    sim: bool = False
    config: str = ""  # digest of everything that decides a verdict: recipe, models, calibration, cameras, software

    @property
    def deadline_ms(self) -> int:
        """Time from the trigger's receipt to the deadline, in ms."""
        return round((self.deadline_ns - self.trigger.received_ns) / 1e6)


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A picture's passport: where its pixels lie in a ring, and everything known about its exposure."""

    camera: str
    frame_id: int  # the camera's own count since acquisition start
    ring: str  # path of the ring file
    slot: int
    generation: int  # counts the uses of the slot; another value means the pixels are not this picture's
    width: int
    height: int
    pixel_format: str  # SFNC name
    exposure_us: float
    gain_db: float
    device_timestamp_ns: int
    triggered_ns: int  # when the trigger was fired or announced
    received_ns: int  # when the pixels were in the ring
    offset_px: tuple[int, int] = (0, 0)
    view: str = ""  # the recipe's name for this picture; "": the recipe has no views, one picture a camera
    shot: int = 0  # of a view that takes several pictures
    trigger_count: int | None = None  # the camera's own count of trigger pulses, this one's included
    exposed_ns: int = 0  # start of the exposure by the camera's clock, on the host's; 0: the camera doesn't say

    @property
    def source(self) -> str:
        """What a recipe calls this picture: its view, or its camera in a recipe without views."""
        return self.view or self.camera


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture with its pixels: (H, W) or (H, W, 3) RGB, uint8 or uint16, read-only."""

    ref: FrameRef
    image: NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a part's frame of reference lies in the image: its origin, turn and size."""

    x_px: float
    y_px: float
    angle_deg: float
    scale: float = 1.0
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Something to draw over the picture, in image px."""

    kind: Literal["line", "polyline", "polygon", "circle", "point", "text"]
    points_px: tuple[Point, ...]
    radius_px: float = 0.0
    text: str = ""
    role: Literal["region", "found", "fail"] = "found"


@dataclass(frozen=True, slots=True)
class Located:
    """A locate tool's answer. ``pose`` is None when the part was not found, and then ``why`` says why."""

    pose: Pose | None
    why: str = ""
    shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure tool's answer. ``value`` is None when there is nothing to measure; ``why`` then says why.

    ``anchor_px`` is the point other steps may refer to (a hole's centre, an edge's midpoint).
    """

    value: float | None
    unit: str  # mm, px, deg, grey, count, "" for a ratio
    uncertainty: float | None = None  # one standard deviation, same unit
    why: str = ""
    anchor_px: Point | None = None
    shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeRead:
    """A read tool's answer: the text of a code, or None and why."""

    text: str | None
    symbology: str = ""
    why: str = ""
    shapes: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect that a defects tool saw, in the tool's unit (mm with a calibration, px without)."""

    label: str
    score: float  # 0..1 for learned tools; contrast / 255 for classical ones
    area: float  # unit squared
    length: float  # longest side of the smallest enclosing rectangle
    unit: str
    outline_px: tuple[Point, ...]

    @property
    def shape(self) -> Shape:
        """The outline as something to draw."""
        return Shape("polygon", self.outline_px, text=self.label, role="fail")


@dataclass(frozen=True, slots=True)
class Check:
    """One step's judgement: what was wanted, what was found, and the words for the operator."""

    step: str
    outcome: CheckOutcome
    code: int = 0
    text: str = ""
    value: float | None = None
    unit: str = ""
    nominal: float | None = None
    lower: float | None = None
    upper: float | None = None
    uncertainty: float | None = None
    found: str = ""  # what was read, for codes and labels
    findings: tuple[Finding, ...] = ()
    shapes: tuple[Shape, ...] = ()
    not_inspected: bool = False  # this step's trouble means "cannot tell", not "bad"
    took_us: int = 0
    view: str = ""  # on which picture: FrameRef.source; "": the only one

    def on(self, ref: FrameRef) -> bool:
        """True when the check was made on this picture, so that its shapes belong over it."""
        return self.view in ("", ref.source)


@dataclass(frozen=True, slots=True)
class Health:
    """How good a picture is as a picture, on one reference patch: what drifts before verdicts do.

    Grey values are of 0..255 whatever the pixel format.
    """

    view: str  # FrameRef.source in a recipe that names views or cameras, "" in one that names none
    patch: str
    brightness_grey: float  # mean
    contrast_grey: float  # 95 % quantile less 5 % quantile
    sharpness: float  # gradient energy over contrast squared, no unit: does not follow the light
    noise_grey: float  # one standard deviation
    saturated_share: float  # 0..1 of the pixels at full scale


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer about one part. The default of everything is NOT_INSPECTED."""

    part: Part
    outcome: Outcome = Outcome.NOT_INSPECTED
    code: int = int(Code.INTERNAL_ERROR)
    text: str = "Not inspected: no verdict was made"
    cls: str = ""  # defect class
    score: float = 0.0
    thr: float = 0.0
    checks: tuple[Check, ...] = ()
    frames: tuple[FrameRef, ...] = ()
    model_shas: dict[str, str] = field(default_factory=dict)
    stages_us: dict[str, int] = field(default_factory=dict)  # capture, judge, record ... from trigger on
    captured_utc: str = ""
    health: tuple[Health, ...] = ()
    pose: Pose | None = None  # of the first locate step that found its part: where the part lay

    def __post_init__(self) -> None:
        if self.outcome is Outcome.PASS and (
            self.code != 0 or not self.checks or any(c.outcome is not CheckOutcome.PASS for c in self.checks)
        ):
            raise ValueError("a PASS needs code 0 and at least one check, all of them passed")
        if self.outcome is not Outcome.PASS and self.code == 0:
            raise ValueError(f"{self.outcome.value} needs a code other than 0")

    @property
    def to_tell(self) -> Verdict:
        """What the books and the line are told: this, or of a golden part that it is one.

        The only place where a golden part's verdict is made. Whatever was found in it, it is no product.
        """
        if not self.part.trigger.golden:
            return self
        found = f"{self.outcome.value} {self.code}"
        return replace(
            self,
            outcome=Outcome.NOT_INSPECTED,
            code=int(Code.GOLDEN_CHECK),
            text=f"Golden part: expected {self.part.trigger.golden}, found {found}: {self.text}",
            cls="",
            score=0.0,
            thr=0.0,
        )

    @classmethod
    def not_inspected(cls, part: Part, fault: InspectionFault) -> Verdict:
        """The verdict for a part that could not be judged."""
        return cls(part, Outcome.NOT_INSPECTED, fault.code, fault.text)
