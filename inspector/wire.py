"""Messages between the station and its children: one JSON object a line over a socket pair.

Pixels never travel here, only :class:`~inspector.parts.FrameRef`. Every message is a frozen dataclass; the
field ``kind`` names it. Decoding validates types, so a child that talks nonsense is found at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from inspector.parts import FrameRef, Health, Part, Verdict

LINE_LIMIT = 4 * 1024 * 1024  # bytes; a longer line is a broken peer


# --- any child ---------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ping:
    """Are you alive? A child answers between two pieces of work."""

    n: int
    kind: Literal["ping"] = "ping"


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to :class:`Ping`."""

    n: int
    rss_bytes: int = 0
    kind: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish and exit."""

    kind: Literal["stop"] = "stop"


# --- camera ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Grant:
    """These ring slots are free; the camera may fill each of them once."""

    slots: tuple[int, ...]
    kind: Literal["grant"] = "grant"


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture a recipe wants of a camera, with what differs from the camera file; None: as the file says."""

    view: str = ""
    count: int = 1  # equal pictures, one after the other
    exposure_us: float | None = None
    gain_db: float | None = None
    light: str | None = None  # the output line whose light is on during the exposure
    user_set: str | None = None  # loaded before the other settings


@dataclass(frozen=True, slots=True)
class Plan:
    """The pictures of every part from now on, in this order. Comes before the captures it is about."""

    shots: tuple[Shot, ...] = (Shot(),)
    kind: Literal["plan"] = "plan"


@dataclass(frozen=True, slots=True)
class Capture:
    """Take the pictures of part ``seq`` by software trigger. A wired camera is never asked."""

    seq: int
    received_ns: int  # when the station received the part's trigger
    deadline_ns: int
    kind: Literal["capture"] = "capture"


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Read all settings back between two parts, and tell that they are as wanted: see ``settings_checked_utc``."""

    kind: Literal["check_settings"] = "check_settings"


@dataclass(frozen=True, slots=True)
class Captured:
    """All pictures of part ``seq`` that were planned lie in the ring, in the plan's order."""

    seq: int
    frames: tuple[FrameRef, ...]
    kind: Literal["captured"] = "captured"


@dataclass(frozen=True, slots=True)
class Pulse:
    """A wired camera has taken a picture, or has lost one. Which part it is about, only the station can say.

    ``frame`` is None when its pixels can't be used, and then ``why`` says why; slots are the station's until granted.
    """

    frame: FrameRef | None
    frame_id: int | None
    trigger_count: int | None  # the camera's own count of pulses; None: it has no counter, or sent none
    exposed_ns: int  # host's clock; as near as can be said
    why: str = ""
    timed: bool = True  # False: the camera has no clock, and ``exposed_ns`` is only when the picture came
    kind: Literal["pulse"] = "pulse"


@dataclass(frozen=True, slots=True)
class PulseCount:
    """A wired camera's own trigger counter, read from it at ``at_ns`` (host's clock)."""

    value: int
    at_ns: int
    kind: Literal["pulse_count"] = "pulse_count"


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """Somebody else changed a camera's settings: feature, wanted and found value, between which instants (UTC)."""

    differences: tuple[str, ...]
    good_utc: str  # when they were last seen as wanted
    found_utc: str
    kind: Literal["settings_changed"] = "settings_changed"


@dataclass(frozen=True, slots=True)
class CaptureFailed:
    """There is no picture of part ``seq`` and there will be none."""

    seq: int
    code: int
    text: str
    kind: Literal["capture_failed"] = "capture_failed"


@dataclass(frozen=True, slots=True)
class CameraState:
    """Open and streaming (``fresh``), or not, and why. ``info`` holds model, serial, temperature..."""

    fresh: bool
    text: str
    info: dict[str, Any] = field(default_factory=dict)
    kind: Literal["camera_state"] = "camera_state"


@dataclass(frozen=True, slots=True)
class Stray:
    """Frames or triggers that belong to no part: late, extra, doubled. Counted, never used."""

    what: str
    count: int
    kind: Literal["stray"] = "stray"


# --- judge -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Load:
    """Load, prepare and warm up the recipe in this file."""

    path: str
    kind: Literal["load"] = "load"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The recipe is ready to judge."""

    path: str
    number: int
    rev: int
    name: str
    sha: str
    deadline_ms: int
    cameras: tuple[str, ...]
    backend: str = ""  # what runs the models: cpu, tensorrt ..., "" when there is no model
    model_shas: dict[str, str] = field(default_factory=dict)
    artefacts: dict[str, str] = field(default_factory=dict)  # digest of every file and model that it took
    keep: dict[str, int] = field(default_factory=dict)  # archive: by outcome, 1 in N; 0: none
    stop_line: int = 0  # ask the PLC to stop after so many equal rejects in a row; 0 never
    # what to plan, by camera ("": the station's only camera), in the recipe's order; none: one picture of each
    shots: dict[str, tuple[Shot, ...]] = field(default_factory=dict)
    mm_per_px: float = 0.0  # of the picture that the first locate step looks at; 0: it is not calibrated
    says: str = ""  # all its file says, as JSON text; "" when that is too long to be kept
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load, prepare and warm up the recipe in this file, and keep it on the shelf until it is asked for."""

    path: str
    kind: Literal["prepare"] = "prepare"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The recipe lies on the shelf; ``text`` "" when it does, else why it can't."""

    path: str
    text: str = ""
    kind: Literal["prepared"] = "prepared"


@dataclass(frozen=True, slots=True)
class Prove:
    """Prove the loaded recipe again: its models by their packages' references, all of it by made-up pictures."""

    n: int
    kind: Literal["prove"] = "prove"


@dataclass(frozen=True, slots=True)
class Proved:
    """The answer to :class:`Prove`; ``text`` "" when all is as it should be, else what is not."""

    n: int
    text: str = ""
    kind: Literal["proved"] = "proved"


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The recipe can't run, and why (file, line, key, found, allowed)."""

    path: str
    text: str
    kind: Literal["load_failed"] = "load_failed"


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge this part by these pictures."""

    part: Part
    frames: tuple[FrameRef, ...]
    kind: Literal["judge"] = "judge"


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict about one part, without its pictures' health."""

    verdict: Verdict
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True, slots=True)
class Looked:
    """Follows each :class:`Judged`: how good the pictures were. The judge is done with them."""

    seq: int
    health: tuple[Health, ...] = ()
    kind: Literal["looked"] = "looked"


# --- archive -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Keep:
    """Make the preview of this part and, when ``store`` is true, write its pictures."""

    verdict: Verdict
    store: bool
    kind: Literal["keep"] = "keep"


@dataclass(frozen=True, slots=True)
class Kept:
    """Done with the pictures of part ``seq``; ``picture`` is the stored file, "" when none was asked for."""

    seq: int
    picture: str = ""
    preview: str = ""
    error: str = ""
    free_bytes: int = 0
    used_bytes: int = 0
    dropped_total: int = 0
    kind: Literal["kept"] = "kept"


ToChild = Ping | Stop | Grant | Plan | Capture | CheckSettings | Load | Prepare | Prove | Judge | Keep
FromChild = (
    Pong
    | Captured
    | CaptureFailed
    | Pulse
    | PulseCount
    | SettingsChanged
    | CameraState
    | Stray
    | Loaded
    | LoadFailed
    | Prepared
    | Proved
    | Judged
    | Looked
    | Kept
)

_to_child: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="kind")])
_from_child: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])
_verdict: TypeAdapter[Verdict] = TypeAdapter(Verdict)


def encode_to_child(message: ToChild) -> bytes:
    """One line for a child, with its newline."""
    return _to_child.dump_json(message) + b"\n"


def encode_from_child(message: FromChild) -> bytes:
    """One line for the station, with its newline."""
    return _from_child.dump_json(message) + b"\n"


def decode_to_child(line: bytes) -> ToChild:
    """Message from the station. Raises ``pydantic.ValidationError`` (a ValueError)."""
    return _to_child.validate_json(line)


def decode_from_child(line: bytes) -> FromChild:
    """Message from a child. Raises ``pydantic.ValidationError`` (a ValueError)."""
    return _from_child.validate_json(line)


def verdict_to_json(verdict: Verdict) -> bytes:
    """A verdict as JSON, with everything in it."""
    return _verdict.dump_json(verdict)


def verdict_from_json(data: bytes | str) -> Verdict:
    """The verdict that :func:`verdict_to_json` wrote. Raises ``pydantic.ValidationError``."""
    return _verdict.validate_json(data)
