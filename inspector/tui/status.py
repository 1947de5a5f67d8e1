"""What the feed says, as frozen values. Unknown fields are ignored: a newer station only adds fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from inspector.parts import Outcome, Verdict

SCHEMA_MAJOR = "1"
REJECTS = 8  # whose pictures are kept at hand


@dataclass(frozen=True, slots=True)
class Station:
    """Who is speaking."""

    line: str
    id: str
    name: str
    version: str
    boot: str
    sim: bool
    started_utc: str
    uptime_s: float


@dataclass(frozen=True, slots=True)
class RecipeInfo:
    """The recipe that is judging now."""

    number: int
    rev: int
    name: str
    sha: str


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From publishing a message to the broker's confirmation, in ms."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """How well the broker is reached; ``version`` of MQTT, "" without a connection."""

    version: str
    round_trip_ms: RoundTrip
    reconnects: int
    unconfirmed: int


@dataclass(frozen=True, slots=True)
class LinkState:
    """Something the station leans on: ok, lost (and for how long), or off by intention."""

    state: Literal["ok", "lost", "off"]
    since_s: float
    text: str = ""
    quality: LinkQuality | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Parts since the counters were last reset."""

    total: int
    passed: Annotated[int, Field(validation_alias="pass")]
    fail: int
    not_inspected: int
    late: int
    golden: int = 0  # in no other total


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How often one reject code came."""

    code: int
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class RejectTrend:
    """Rejects per hour: now, and the values before, oldest first."""

    now: float
    history: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """A bounded queue of the station."""

    depth: int
    bound: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Room for pictures."""

    free_bytes: int
    used_bytes: int
    budget_bytes: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From trigger to result, in ms. None until there is a result."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A part's verdict, the time it took, whether it came too late, whether there is a picture."""

    verdict: Verdict
    t_ms: float
    late: bool
    preview: bool = False


@dataclass(frozen=True, slots=True)
class Recent:
    """One part of the strip of recent parts."""

    seq: int
    part_id: str
    outcome: Outcome
    code: int
    t_ms: float
    utc: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm with its consequence and what to do about it."""

    id: str
    priority: Literal[1, 2, 3]
    state: Literal["UNACK", "ACK", "RTN"]
    since_utc: str
    code: int
    text: str
    action: str
    why: str
    count: int = 1

    @property
    def waits(self) -> bool:
        """True while somebody has to acknowledge it."""
        return self.state != "ACK"


@dataclass(frozen=True, slots=True)
class Status:
    """Everything the Run and Alarms screens show."""

    schema: str
    now_utc: str
    station: Station
    state: str
    state_nr: int
    ready: bool
    code: int
    text: str
    recipe: RecipeInfo | None
    links: dict[str, LinkState]
    counters: Counters
    codes: tuple[CodeCount, ...]
    rejects_per_hour: RejectTrend
    queues: dict[str, Queue]
    disk: Disk
    latency_ms: Latency
    last: Judged | None
    recent: tuple[Recent, ...]
    alarms: tuple[Alarm, ...] = field(default=())

    def urgent(self) -> tuple[Alarm, ...]:
        """Alarms, most urgent first: standing and unacknowledged, then standing, then gone but unseen."""
        rank = {"UNACK": 0, "ACK": 1, "RTN": 2}
        return tuple(sorted(self.alarms, key=lambda a: (rank[a.state], a.priority, a.since_utc, a.id)))

    def pictured(self) -> tuple[int, ...]:
        """The parts whose previews a screen shows: the last one, then the latest rejects; most wanted first."""
        rejects = [part.seq for part in reversed(self.recent) if part.outcome is Outcome.FAIL][:REJECTS]
        last = [self.last.verdict.part.seq] if self.last is not None and self.last.preview else []
        return tuple(dict.fromkeys([*last, *rejects]))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A preview: (H, W) or (H, W, 3) RGB uint8, and its size relative to the camera's image."""

    seq: int
    image: NDArray[np.uint8]
    scale: float


_status: TypeAdapter[Status] = TypeAdapter(Status)
_judged: TypeAdapter[Judged] = TypeAdapter(Judged)


def first_problem(error: ValidationError) -> str:
    """One line: the field, what is wanted, what came."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(step) for step in first["loc"]) or "message"
    return f"{where}: {first['msg']}, found {str(first['input'])[:40]!r}"


def status_from_json(data: str | bytes) -> Status:
    """Read a status message. Raises ValueError with one line naming the field, what came and what is wanted."""
    try:
        status = _status.validate_json(data)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    if status.schema.split(".")[0] != SCHEMA_MAJOR:
        raise ValueError(f"schema: this terminal reads {SCHEMA_MAJOR}.x, found {status.schema!r}")
    return status


def judged_from_json(data: str | bytes) -> Judged:
    """Read one part's verdict. Raises ValueError as :func:`status_from_json` does."""
    try:
        return _judged.validate_json(data)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
