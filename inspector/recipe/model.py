"""What a recipe is: the keys beside its steps. The steps are tools, see :mod:`inspector.tool`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from inspector.limits import Amount, Duration
from inspector.parts import Outcome
from inspector.tool import SECTIONS, Tool

DEADLINE_MS = (50, 10_000)
Line = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\r\n]+$")]
CameraName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,12}$")]


class Keys(BaseModel):
    """Unknown keys are errors: a typo must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _within(value: Amount) -> Amount:
    ms = deadline_ms(value)
    if not DEADLINE_MS[0] <= ms <= DEADLINE_MS[1]:
        raise ValueError(f"allowed is {DEADLINE_MS[0]} ms to {DEADLINE_MS[1]} ms")
    return value


def deadline_ms(value: Amount) -> int:
    """A duration as whole ms."""
    return round(value.value * (1000 if value.unit == "s" else 1))


def _row(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d{1,3}) in a row", value) if isinstance(value, str) else None
    if match is None or not 2 <= int(match[1]) <= 100:
        raise ValueError("allowed is 2 to 100 in a row: 3 in a row")
    return int(match[1])


def _one_in(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value in ("all", "none"):
        return 1 if value == "all" else 0
    match = re.fullmatch(r"1 in ([1-9]\d{0,5})", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("allowed: all, none, 1 in N: 1 in 200")
    return int(match[1])


InARow = Annotated[
    int,
    BeforeValidator(_row),
    PlainSerializer(lambda n: f"{n} in a row", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,3} in a row$", "examples": ["3 in a row"]}),
]
OneIn = Annotated[
    int,
    BeforeValidator(_one_in),
    PlainSerializer(lambda n: {0: "none", 1: "all"}.get(n, f"1 in {n}"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(all|none|1 in [1-9]\d*)$", "examples": ["1 in 200"]}),
]


class CameraUse(Keys):
    """One camera whose picture the recipe needs."""

    calibration: str | None = Field(None, description="Calibration file of this camera, beside the recipe.")


class Keep(Keys):
    """Which pictures the archive keeps: all, none, or 1 in N."""

    reject: OneIn = Field(1, description="Of rejected parts.", json_schema_extra={"default": "all"})
    pass_: OneIn = Field(0, alias="pass", description="Of good parts.", json_schema_extra={"default": "none"})
    not_inspected: OneIn = Field(
        1, description="Of parts that could not be inspected.", json_schema_extra={"default": "all"}
    )

    @property
    def by_outcome(self) -> dict[str, int]:
        """1 in N by the verdict's outcome, 0 for none."""
        return {
            Outcome.PASS.value: self.pass_,
            Outcome.FAIL.value: self.reject,
            Outcome.NOT_INSPECTED.value: self.not_inspected,
        }


class VerdictRules(Keys):
    """How the checks become one verdict."""

    first: tuple[int, ...] = Field(
        (), description="Which code the PLC gets when several fail, most important first; then by number."
    )
    within: Annotated[Duration, AfterValidator(_within)] = Field(
        Amount(1000, "ms", "1000 ms"),
        description="Deadline from the trigger on, 50 ms to 10 s. Later is NOT INSPECTED, never a late PASS.",
    )
    missing: Literal["reject", "not_inspected"] = Field(
        "reject", description="What an edge or a code is that is not there: a reject, or no verdict."
    )
    stop_line: InARow = Field(
        0,
        description="Ask the PLC to stop after so many equal rejects in a row; none: never.",
        json_schema_extra={"default": None},
    )
    keep: Keep = Field(default_factory=Keep, description="Which pictures the archive keeps.")


class Head(Keys):
    """The recipe's own keys. The sections hold its steps by name, in the order of the walk."""

    recipe: int = Field(ge=1, le=9999, description="The number the PLC selects.")
    rev: int = Field(1, ge=1, le=2_147_483_647, description="Revision; count it up with each change.")
    name: Line = Field(description="Name for people.")
    drawing: Line | None = Field(None, description="The drawing the limits come from.")
    station: Line | None = Field(None, description="The station it was made for.")
    calibration: str | None = Field(None, description="Calibration file, beside the recipe. None: lengths are px.")
    cameras: dict[CameraName, CameraUse] = Field(
        default_factory=dict, description="Cameras whose pictures are needed; none: the station's only camera."
    )
    prepare: dict[str, Any] = Field(default_factory=dict, description="Pictures made for later steps.")
    locate: dict[str, Any] = Field(default_factory=dict, description="Where is the part?")
    measure: dict[str, Any] = Field(default_factory=dict, description="What the drawing says.")
    read: dict[str, Any] = Field(default_factory=dict, description="Codes and what they must say.")
    compare: dict[str, Any] = Field(default_factory=dict, description="What must be there, and what must not.")
    defects: dict[str, Any] = Field(default_factory=dict, description="Defects by their looks.")
    verdict: VerdictRules = Field(default_factory=VerdictRules, description="How the checks become a verdict.")


@dataclass(frozen=True)
class Spec:
    """A recipe as it was written: valid in itself, its artefacts not yet opened."""

    path: Path
    head: Head
    steps: Mapping[str, Tool]  # in the order of the walk

    def camera_of(self, tool: Tool) -> str | None:
        """The camera whose picture a step works on; None: the station's only camera."""
        return tool.camera or next(iter(self.head.cameras), None)

    def calibration_of(self, camera: str | None) -> str | None:
        """The calibration file that holds for a camera."""
        use = self.head.cameras.get(camera) if camera else None
        return (use.calibration if use else None) or self.head.calibration


SECTION_NAMES = tuple(SECTIONS)
