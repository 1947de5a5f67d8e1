"""What the feed says of the pictures' health, as frozen values. Unknown fields are ignored, as in a status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from inspector.tui.status import SCHEMA_MAJOR, first_problem

POSITION = ("x", "y", "angle")


@dataclass(frozen=True, slots=True)
class Chart:
    """One characteristic: what was learned, its limits, where it is, and the latest parts, oldest first."""

    view: str
    patch: str
    what: str
    unit: str
    state: Literal["learning", "steady", "low", "high"]
    learned: int
    series: tuple[float | None, ...] = ()
    centre: float | None = None
    sigma: float | None = None
    lower: float | None = None  # for single parts
    upper: float | None = None
    level: float | None = None  # where the latest parts are
    average: float | None = None  # the drift chart's, without the odd ones, and its limits
    average_lower: float | None = None
    average_upper: float | None = None

    @property
    def now(self) -> float | None:
        """The last value there was."""
        return next((value for value in reversed(self.series) if value is not None), None)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why charts are beyond their limits, as far as can be told, and what to do."""

    alarm: str
    text: str
    action: str
    since_utc: str = ""
    part_id: str = ""


@dataclass(frozen=True, slots=True)
class Learned:
    """How far learning is; what was unsteady meanwhile, so that its limits are wide."""

    parts: int
    of: int
    utc: str
    wandered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """When a camera's settings were last read back, and what somebody had changed ("": nothing to tell)."""

    checked_utc: str
    changed: str


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera's own condition. No temperature: it has no thermometer."""

    fresh: bool
    temperature_c: float | None
    temperature_max_c: float
    settings: Settings
    frames: int
    failures: int
    strays: dict[str, int]


@dataclass(frozen=True, slots=True)
class Books:
    """A wired station's sums: announcements, how many of them ended well or not, pulses that nobody announced."""

    announced: int
    settled: int
    failed: int
    unannounced: int


@dataclass(frozen=True, slots=True)
class Health:
    """Everything the Pictures screen shows."""

    schema: str
    learned: Learned
    charts: tuple[Chart, ...]
    causes: tuple[Cause, ...]
    cameras: dict[str, Camera]
    books: Books | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """The charts of one patch, or of the parts' position."""

    name: str
    view: str
    charts: tuple[Chart, ...]


def patches(health: Health) -> tuple[Patch, ...]:
    """The charts by patch, in the station's order; the position comes last."""
    found: dict[tuple[str, str, bool], list[Chart]] = {}
    for chart in health.charts:
        found.setdefault((chart.view, chart.patch, chart.what in POSITION), []).append(chart)
    ordered = sorted(found.items(), key=lambda item: item[0][2])
    return tuple(
        Patch("position" if position else f"{view} {patch}".strip(), view, tuple(charts))
        for (view, patch, position), charts in ordered
    )


_health: TypeAdapter[Health] = TypeAdapter(Health)


def health_from_json(data: str | bytes) -> Health:
    """Read a health message. Raises ValueError with one line naming the field, what came and what is wanted."""
    try:
        health = _health.validate_json(data)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    if health.schema.split(".")[0] != SCHEMA_MAJOR:
        raise ValueError(f"schema: this terminal reads {SCHEMA_MAJOR}.x, found {health.schema!r}")
    return health
