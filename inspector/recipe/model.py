"""What a recipe is: the keys beside its steps. The steps are tools, see :mod:`inspector.tool`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
    model_validator,
)

from inspector.limits import Amount, Duration, Exposure, Gain
from inspector.parts import Outcome
from inspector.tool import OF_VIEWS, SECTIONS, Step, Tool
from inspector.wire import Shot

DEADLINE_MS = (50, 10_000)
Line = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\r\n]+$")]
CameraName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,12}$")]
Entry = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$")]  # of a GenICam enumeration
EXPOSURE_US = (1.0, 10_000_000.0)


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


def _exposure(value: Amount) -> Amount:
    low, high = EXPOSURE_US
    if not low <= exposure_us(value) <= high:
        raise ValueError(f"allowed is {low:g} us to {high / 1e3:g} ms")
    return value


def exposure_us(value: Amount) -> float:
    """An exposure time in us."""
    return value.value * (1000 if value.unit == "ms" else 1)


class ViewUse(Keys):
    """One picture of the part: which camera takes it, in which light, and what differs from the camera file."""

    camera: CameraName | None = Field(None, description="The camera; may be left out when the station has one.")
    exposure: Annotated[Exposure, AfterValidator(_exposure)] | None = Field(
        None, description="Exposure time, 1 us to 10 s; none: as the camera file says."
    )
    gain: Gain | None = Field(None, description="Gain; none: as the camera file says.")
    light: Entry | None = Field(
        None, description="The camera's output line whose light is on during the exposure, such as `Line2`."
    )
    user_set: Entry | None = Field(
        None, description="The camera's user set that is loaded before the other settings, such as `UserSet1`."
    )
    shots: int = Field(1, ge=1, le=16, description="So many equal pictures are taken, one after the other.")
    calibration: str | None = Field(None, description="Calibration file of this view, beside the recipe.")


class Patch(Keys):
    """A place of the picture whose health is watched."""

    view: Step | None = Field(
        None, description="Which view's picture; needed only when there are several and the fixture doesn't say so."
    )
    camera: CameraName | None = Field(
        None, description="Which camera's picture; needed only when there are several and the fixture doesn't say so."
    )
    region: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom; in px of the picture, with `fixture` in its frame and unit."
    )
    fixture: Step | None = Field(
        None, description="The locate step that the patch moves with (it stays upright); none: it stays where it is."
    )

    @model_validator(mode="after")
    def _has_a_size(self) -> Patch:
        left, top, right, bottom = self.region
        if not (left < right and top < bottom):
            raise ValueError("region: allowed is left, top, right, bottom with left < right and top < bottom")
        return self


class HealthRules(Keys):
    """Where brightness, contrast, sharpness, noise and saturation are watched."""

    patches: dict[Step, Patch] = Field(
        min_length=1, max_length=16, description="Reference patches by name. They say nothing about the part."
    )


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
    views: dict[Step, ViewUse] = Field(
        default_factory=dict,
        max_length=16,
        description="The pictures of each part, in the order in which they are taken; instead of `cameras`.",
    )
    health: HealthRules | None = Field(
        None,
        description="Patches whose brightness, sharpness ... are watched; none: each picture as a whole.",
    )
    prepare: dict[str, Any] = Field(default_factory=dict, description="Pictures made for later steps.")
    locate: dict[str, Any] = Field(default_factory=dict, description="Where is the part?")
    measure: dict[str, Any] = Field(default_factory=dict, description="What the drawing says.")
    read: dict[str, Any] = Field(default_factory=dict, description="Codes and what they must say.")
    compare: dict[str, Any] = Field(default_factory=dict, description="What must be there, and what must not.")
    defects: dict[str, Any] = Field(default_factory=dict, description="Defects by their looks.")
    verdict: VerdictRules = Field(default_factory=VerdictRules, description="How the checks become a verdict.")


@dataclass(frozen=True)
class Source:
    """Where pictures come from: a view, or a camera of a recipe without views."""

    name: str  # what FrameRef.source says; "" for the only picture of a recipe that names neither
    camera: str | None  # None: the station's only camera
    view: str  # "" without views
    shot: Shot
    calibration: str | None
    calibration_at: tuple[str, ...]  # where the recipe says so

    @property
    def words(self) -> str:
        """For people: ``view dark (camera top)``, ``camera top``, ``the camera``."""
        camera = f"camera {self.camera}" if self.camera else ""
        if self.view:
            return f"view {self.view} ({camera})" if camera else f"view {self.view}"
        return camera or "the camera"


@dataclass(frozen=True)
class Spec:
    """A recipe as it was written: valid in itself, its artefacts not yet opened."""

    path: Path
    head: Head
    steps: Mapping[str, Tool]  # in the order of the walk

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        """Every view, else every camera, else the only picture there is; in the recipe's order."""
        head = self.head
        found: dict[str, Source] = {}
        for name, view in head.views.items():
            shot = Shot(
                name,
                view.shots,
                exposure_us(view.exposure) if view.exposure else None,
                view.gain.value if view.gain else None,
                view.light,
                view.user_set,
            )
            found[name] = Source(name, view.camera, name, shot, *self._calibration(view.calibration, "views", name))
        for name, use in head.cameras.items():
            found.setdefault(name, Source(name, name, "", Shot(), *self._calibration(use.calibration, "cameras", name)))
        return found or {"": Source("", None, "", Shot(), *self._calibration(None, "", ""))}

    def _calibration(self, own: str | None, section: str, name: str) -> tuple[str | None, tuple[str, ...]]:
        return (own or self.head.calibration), ((section, name, "calibration") if own else ("calibration",))

    def said(self, tool: Tool) -> str | None:
        """The view or camera that a step names, itself or through an earlier step that it refers to."""
        waiting, seen = [tool], set[str]()  # not for ever, even when steps refer to each other in a ring
        while waiting:
            now = waiting.pop(0)
            own = now.view or now.camera or next((n for _, n, s in now.references() if s == OF_VIEWS), None)
            if own is not None:
                return own
            new = [name for _, name, _ in now.references() if name in self.steps and name not in seen]
            seen.update(new)
            waiting += [self.steps[name] for name in new]
        return None

    def source_of(self, tool: Tool) -> Source:
        """Whose picture a step works on; the first one's when it names none."""
        first = next(iter(self.sources.values()))
        return self.sources.get(self.said(tool) or first.name, first)

    def patch_source(self, patch: Patch) -> Source:
        """Whose picture a health patch lies on; the first one's when that isn't said."""
        first = next(iter(self.sources.values()))
        return self.sources.get(self.patch_said(patch) or first.name, first)

    def patch_said(self, patch: Patch) -> str | None:
        """The view or camera that a health patch names, itself or through its fixture."""
        fixture = self.steps.get(patch.fixture or "")
        return patch.view or patch.camera or (self.said(fixture) if fixture is not None else None)

    @cached_property
    def merged_only(self) -> frozenset[str]:
        """Views that only merging steps look at: each alone may well be too dark or too bright."""
        merged = {name for tool in self.steps.values() for _, name, s in tool.references() if s == OF_VIEWS}
        alone = {
            self.source_of(tool).name
            for tool in self.steps.values()
            if tool.looks and tool.picture is None and not any(s == OF_VIEWS for _, _, s in tool.references())
        }
        return frozenset(merged - alone)


SECTION_NAMES = tuple(SECTIONS)
