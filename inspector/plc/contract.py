"""The PLC contract 1.0 in bytes: topics and payloads. ``docs/plc.md`` is the page for those who program the PLC.

Payloads are ASCII JSON. What a PLC reads is flat, without null, with fixed types: a float always has a decimal
point, an integer never has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import IntEnum
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

from inspector.codes import RECIPE_CODE_MIN, reason_of
from inspector.parts import Check, Finding, FrameRef, Outcome, Verdict
from inspector.plc.commands import (
    COMMAND_LIMIT_BYTES,
    COMMANDS,
    DEADLINE_MAX_MS,
    DEADLINE_MIN_MS,
    ID_MAX,
    AckCommand,
    Command,
    CommandError,
    CountCommand,
    GetCommand,
    GoldenCommand,
    HeartbeatCommand,
    RecipeCommand,
    ResetCountersCommand,
    ResetFaultCommand,
    SelfTestCommand,
    StartCommand,
    StopCommand,
    TriggerCommand,
    parse_command,
)

__all__ = [
    "BASE_MAX", "COMMANDS", "COMMAND_LIMIT_BYTES", "DEADLINE_MAX_MS", "DEADLINE_MIN_MS", "ID_MAX", "OFFLINE",
    "RESULT_LIMIT_BYTES", "SCHEMA", "TOPIC_MAX", "AckCommand", "Command", "CommandError", "CountCommand", "GetCommand",
    "GoldenCommand", "HeartbeatCommand", "PackState", "RecipeCommand", "ResetCountersCommand", "ResetFaultCommand",
    "SelfTestCommand", "StartCommand", "StationState", "StopCommand", "Topics", "TriggerCommand", "ack_payload",
    "as_real", "counters_payload", "event_payload", "heartbeat_payload", "info_payload", "parse_command",
    "record_payload", "result_expiry_s", "result_payload", "short_config", "state_payload", "utc_now",
]  # fmt: skip

SCHEMA = "1.0"
TOPIC_MAX = 40  # characters; PLC blocks fail on long topics
BASE_MAX = TOPIC_MAX - len("/cmd/") - max(len(name) for name in COMMANDS)
RESULT_LIMIT_BYTES = 512
STATE_LIMIT_BYTES = 512
TEXT_MAX = 120
FLOAT_MAX = 999_999_999.0
SHORT_CONFIG = 8  # digits of the configuration's digest in `result`
RECORD_LISTS_MAX = 200  # checks, defects or frames in one record; the totals are always told
_ID = re.compile(r"[a-z0-9_-]+")


class Topics:
    """The topics of one station. Raises ValueError when ``line`` or ``station`` can't be part of one."""

    def __init__(self, line: str, station: str) -> None:
        for what, name in (("line", line), ("station", station)):
            if not _ID.fullmatch(name):
                raise ValueError(f"{what}: found {name!r}, allowed: one or more of a-z 0-9 _ -")
        base = f"vis/v1/{line}/{station}"
        if len(base) > BASE_MAX:
            raise ValueError(
                f"line and station: found {line!r} and {station!r}, {len(line) + len(station)} characters,"
                f" allowed: {BASE_MAX - len('vis/v1//')} together, so that no topic has more than {TOPIC_MAX}"
            )
        self.base = base
        self.result = f"{base}/result"
        self.result_c = f"{base}/result/c"
        self.result_b = f"{base}/result/b"
        self.record = f"{base}/record"
        self.state = f"{base}/state"
        self.hb = f"{base}/hb"
        self.hb_c = f"{base}/hb/c"
        self.ack = f"{base}/ack"
        self.event = f"{base}/event"
        self.counters = f"{base}/counters"
        self.info = f"{base}/info"
        self.cmd_filter = f"{base}/cmd/+"

    def command(self, topic: str) -> str | None:
        """The ``<name>`` of ``cmd/<name>``, None when ``topic`` is no command of this station."""
        prefix = f"{self.base}/cmd/"
        return topic[len(prefix) :] if topic.startswith(prefix) else None


class PackState(IntEnum):
    """State names and numbers of PackML (TR88.00.02), and OFFLINE for the last will."""

    OFFLINE = 0
    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


@dataclass(frozen=True)
class StationState:
    """What the topic ``state`` tells. ``code`` 0 and ``text`` "" when there is nothing to say."""

    state: PackState
    ready: bool
    busy: bool
    recipe: int  # 0: none
    rev: int
    boot: str
    seq: int  # of the last verdict
    queue: int  # parts under way
    uptime_s: int
    code: int = 0
    text: str = ""
    fault: bool = False
    warn: bool = False
    sim: bool = False
    config: str = ""  # digest of the whole configuration, "" while it is not known
    golden_ok: bool = True  # no golden part failed or is overdue
    golden_age_s: int = -1  # since every golden part that is wanted was last found as expected; -1: never


def short_config(digest: str) -> str:
    """The configuration's digest as `result` has it."""
    return digest[:SHORT_CONFIG]


def utc_now() -> str:
    """Now, as the contract writes it: ``2026-05-12T14:31:50.123Z``."""
    now = datetime.now(timezone.utc)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def result_expiry_s(deadline_ms: int) -> int:
    """MQTT 5 message expiry of a ``result``, in s."""
    return max(1, math.ceil(deadline_ms / 1000))


def result_payload(verdict: Verdict, *, t_ms: int, dup: bool = False) -> bytes:
    """The verdict for the control path, at most 512 bytes: ``reason`` and ``cls`` are shortened until it fits.

    ``t_ms`` is the time from the trigger's receipt to now. ``dup`` marks a stored answer sent again.
    """
    members = _result_members(verdict, t_ms=t_ms, dup=dup)
    words = verdict.code >= RECIPE_CODE_MIN  # a system code's reason is the contract's own, and short
    return _fit(members, ("reason", "cls") if words else ("cls", "reason"), RESULT_LIMIT_BYTES)


def record_payload(verdict: Verdict, *, t_ms: int, late: bool, image: str = "") -> bytes:
    """Everything about a part for MES and historian.

    ``late``: this verdict was found after the deadline, the control path got NOT_INSPECTED before. ``image``:
    the stored picture's name, "" for none. ``id`` is the same whenever the same record is sent again.
    """
    part = verdict.part
    findings = [(check.step, finding) for check in verdict.checks for finding in check.findings]
    members = {
        "id": f"{part.station}-{part.seq}" + ("-late" if late else ""),
        **_result_members(verdict, t_ms=t_ms, dup=False),
        "config": part.config,
        "golden": part.trigger.golden,
        "late": late,
        "image": image,
        "text": verdict.text,
        "station": part.station,
        "source": part.trigger.source,
        "trigger_ts": part.trigger.received_utc,
        "recipe_name": part.recipe_name,
        "recipe_sha": part.recipe_sha,
        "models": dict(verdict.model_shas),
        "stages_us": dict(verdict.stages_us),
        "checks_total": len(verdict.checks),
        "checks": [_check_members(check) for check in verdict.checks[:RECORD_LISTS_MAX]],
        "defects_total": len(findings),
        "defects": [_defect_members(step, finding) for step, finding in findings[:RECORD_LISTS_MAX]],
        "frames": [_frame_members(frame) for frame in verdict.frames[:RECORD_LISTS_MAX]],
    }
    return _json(members).encode("ascii")


def state_payload(state: StationState, *, ts: str | None = None) -> bytes:
    """The station's state. ``ts``: UTC text, None for now."""
    members: dict[str, Any] = {
        "schema": SCHEMA,
        "ts": ts or utc_now(),
        "state": state.state.name,
        "state_nr": int(state.state),
        "ready": state.ready,
        "busy": state.busy,
        "recipe": state.recipe,
        "rev": state.rev,
        "code": state.code,
        "text": state.text[:TEXT_MAX],
        "fault": state.fault,
        "warn": state.warn,
        "sim": state.sim,
        "queue": state.queue,
        "boot": state.boot,
        "seq": state.seq,
        "uptime_s": state.uptime_s,
        "golden_ok": state.golden_ok,
        "golden_age_s": state.golden_age_s,
        "config": state.config,
    }
    return _fit(members, ("text",), STATE_LIMIT_BYTES)


OFFLINE = b'{"schema":"1.0","state":"OFFLINE","ready":false,"code":900}'
"""The last will on ``state``, also sent before a clean shutdown."""


def heartbeat_payload(n: int, *, ready: bool, state: PackState, seq: int) -> bytes:
    """A sign of life; ``n`` counts up by 1."""
    return _json({"n": n, "ready": ready, "state": state.name, "seq": seq}).encode("ascii")


def ack_payload(
    cmd: str,
    cmd_id: str,
    phase: Literal["accepted", "done", "refused"],
    *,
    code: int = 0,
    text: str = "",
    seq: int = 0,
    recipe: int = 0,
    rev: int = 0,
    stored: Verdict | None = None,
    found: Verdict | None = None,
) -> bytes:
    """The answer to a command. ``stored``: the verdict that ``get`` asked for; ``found``: in a golden part."""
    about = stored or found
    members: dict[str, Any] = {
        "schema": SCHEMA,
        "cmd_id": cmd_id[:ID_MAX],
        "cmd": cmd[:ID_MAX],
        "phase": phase,
        "ok": phase != "refused" and code == 0,
        "code": code,
        "text": text[:TEXT_MAX],
        "seq": about.part.seq if about else seq,
        "recipe": recipe,
        "rev": rev,
    }
    if stored is not None:
        members |= {
            "part_id": stored.part.trigger.part_id,
            "verdict": stored.outcome.value,
            "verdict_code": stored.code,
            "cfg": short_config(stored.part.config),
        }
    elif found is not None:  # not named as a product's verdict is: nobody shall take it for one
        members |= {
            "part_id": found.part.trigger.part_id,
            "found": found.outcome.value,
            "found_code": found.code,
            "cfg": short_config(found.part.config),
        }
    return _fit(members, ("text",), RESULT_LIMIT_BYTES)


def event_payload(level: Literal["info", "warn", "alarm"], code: int, text: str, *, ts: str | None = None) -> bytes:
    """Something that happened. ``ts``: UTC text, None for now."""
    members: dict[str, Any] = {
        "schema": SCHEMA, "ts": ts or utc_now(), "level": level, "code": code, "text": text[:TEXT_MAX],
    }  # fmt: skip
    return _fit(members, ("text",), RESULT_LIMIT_BYTES)


def counters_payload(counters: Mapping[str, int], *, boot: str, ts: str | None = None) -> bytes:
    """Totals since the last reset, under the caller's names."""
    return _json({"schema": SCHEMA, "ts": ts or utc_now(), "boot": boot, **counters}).encode("ascii")


def info_payload(
    *,
    version: str,
    serial: str,
    station: str,
    recipes: Iterable[int],
    boot: str,
    config: str = "",
    id_max: int = ID_MAX,
    ts: str | None = None,
) -> bytes:
    """Who is there and what it can take. ``recipes`` becomes text, ``"7,8"``, because it is a flat object."""
    return _json(
        {
            "schema": SCHEMA,
            "ts": ts or utc_now(),
            "contract": SCHEMA,
            "product": "inspector",
            "version": version,
            "serial": serial,
            "station": station,
            "boot": boot,
            "config": config,
            "recipes": ",".join(str(number) for number in recipes),
            "commands": ",".join(COMMANDS),
            "id_max": id_max,
            "command_max_bytes": COMMAND_LIMIT_BYTES,
            "result_max_bytes": RESULT_LIMIT_BYTES,
            "deadline_min_ms": DEADLINE_MIN_MS,
            "deadline_max_ms": DEADLINE_MAX_MS,
        }
    ).encode("ascii")


def _result_members(verdict: Verdict, *, t_ms: int, dup: bool) -> dict[str, Any]:
    part = verdict.part
    ok = verdict.outcome is Outcome.PASS
    if part.trigger.golden and verdict.outcome is not Outcome.NOT_INSPECTED:
        raise ValueError(f"seq {part.seq} is a golden part: what was found in it is no verdict for the line")
    failed = next((check.text for check in verdict.checks if check.code == verdict.code and check.text), "")
    return {
        "schema": SCHEMA,
        "seq": part.seq,
        "boot": part.boot,
        "part_id": part.trigger.part_id,
        "cmd_id": part.trigger.cmd_id,
        "attempt": part.attempt,
        "verdict": verdict.outcome.value,
        "code": verdict.code,
        "reason": reason_of(verdict.code, "" if ok else failed or verdict.text),
        "cls": verdict.cls,
        "score": float(verdict.score),
        "thr": float(verdict.thr),
        "recipe": part.recipe,
        "rev": part.rev,
        "ts": verdict.captured_utc or part.trigger.received_utc,
        "t_ms": t_ms,
        "deadline_ms": part.deadline_ms,
        "sim": part.sim,
        "dup": dup,
        "cfg": short_config(part.config),
    }


def _check_members(check: Check) -> dict[str, Any]:
    members: dict[str, Any] = {
        "step": check.step,
        "outcome": check.outcome.value,
        "code": check.code,
        "text": check.text,
        "unit": check.unit,
        "found": check.found,
        "took_us": check.took_us,
    }
    for key in ("value", "nominal", "lower", "upper", "uncertainty"):
        number = getattr(check, key)
        if number is not None and math.isfinite(number):  # null is not in the contract: absent means none
            members[key] = float(number)
    return members


def _defect_members(step: str, finding: Finding) -> dict[str, Any]:
    xs = [x for x, _ in finding.outline_px] or [0.0]
    ys = [y for _, y in finding.outline_px] or [0.0]
    return {
        "step": step,
        "label": finding.label,
        "score": float(finding.score),
        "area": float(finding.area),
        "length": float(finding.length),
        "unit": finding.unit,
        "x_px": float(min(xs)),
        "y_px": float(min(ys)),
        "w_px": float(max(xs) - min(xs)),
        "h_px": float(max(ys) - min(ys)),
    }


def _frame_members(frame: FrameRef) -> dict[str, Any]:
    return {
        "camera": frame.camera,
        "frame_id": frame.frame_id,
        "pixel_format": frame.pixel_format,
        "width": frame.width,
        "height": frame.height,
        "exposure_us": float(frame.exposure_us),
        "gain_db": float(frame.gain_db),
        "device_timestamp_ns": frame.device_timestamp_ns,
        "wait_us": (frame.received_ns - frame.triggered_ns) // 1000,
    }


def _fit(members: dict[str, Any], shorten: tuple[str, ...], limit: int) -> bytes:
    """JSON of at most ``limit`` bytes. Texts are cut before they are encoded, so the JSON stays whole."""
    text = _json(members)
    for key in shorten:
        while (over := len(text) - limit) > 0 and members[key]:
            value = str(members[key])
            members[key] = value[: max(0, len(value) - max(1, over // 6))]  # one character is 1 to 12 bytes
            text = _json(members)
    if len(text) > limit:
        raise ValueError(f"payload of {len(text)} bytes, at most {limit} are allowed: {text[:80]}...")
    return text.encode("ascii")


def _json(value: Any) -> str:
    # json.dumps has no say in how a float is written, and calling it for each member takes most of a result's time
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{encode_basestring_ascii(str(k))}:{_json(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_json(v) for v in value]) + "]"
    raise TypeError(f"a payload can't hold {type(value).__name__}")


def as_real(value: float) -> float:
    """``value`` as a PLC's REAL can hold it and a payload has room for it; not a number becomes 0."""
    return 0.0 if math.isnan(value) else min(max(value, -FLOAT_MAX), FLOAT_MAX)


def _number(value: float) -> str:
    """A float with a decimal point, without exponent, 6 decimals at most; not a number becomes 0.0."""
    text = f"{as_real(value):.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
