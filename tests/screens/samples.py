"""Statuses as a station would send them, built from the real nouns."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from inspector.parts import (
    Check,
    CheckOutcome,
    Finding,
    FrameRef,
    Health,
    Outcome,
    Part,
    Pose,
    Shape,
    Trigger,
    Verdict,
)
from inspector.station.alarms import CATALOGUE, Alarms
from inspector.station.health import HealthDesk, health_json
from inspector.wire import verdict_to_json

NOW = "2026-11-22T10:00:00.123Z"
SEQ = 4812


def part(seq: int = SEQ, part_id: str = "") -> Part:
    trigger = Trigger(part_id or f"P{seq:06d}", f"c{seq}", 1_000_000_000, "2026-11-22T09:59:59.900Z")
    return Part(seq, "a1b2", "top", trigger, 1, 1, "Machined plate", "a3f91c77", 1_180_000_000, sim=True)


def frame() -> FrameRef:
    return FrameRef("top", 17, "ring", 0, 1, 1280, 960, "Mono8", 850.0, 0.0, 1, 1, 2)


def width(step: str, value: float | None, nominal: float, tol: float, outcome: str = "PASS", **more: Any) -> Check:
    limits = {"nominal": nominal, "lower": nominal - tol, "upper": nominal + tol}
    return Check(step, CheckOutcome(outcome), value=value, unit="mm", **limits, **more)


GOOD = (
    width("bore_left", 6.021, 6.0, 0.05),
    width("bore_right", 5.998, 6.0, 0.05),
    width("bore_pitch", 36.051, 36.0, 0.08),
    Check("wall", CheckOutcome.PASS, value=2.61, unit="mm", lower=2.4),
    Check("code", CheckOutcome.PASS, found="4711-0815-L"),
    Check("face", CheckOutcome.PASS),
)
SCRATCH = ((620.0, 380.0), (700.0, 330.0), (706.0, 338.0), (626.0, 390.0))
BAD_FACE = Check(
    "face",
    CheckOutcome.FAIL,
    1210,
    "Scratch on the face",
    findings=(Finding("scratch", 0.74, 0.9, 3.1, "mm", SCRATCH),),
)
BAD_BORE = width(
    "bore_left", 6.081, 6.0, 0.05, "FAIL", code=1110, text="Left bore too large: 6.081 mm, limit 5.950 to 6.050",
    shapes=(Shape("circle", ((320.0, 480.0),), 118.0, role="fail"),),
)  # fmt: skip


def good(seq: int = SEQ) -> Verdict:
    return Verdict(part(seq), Outcome.PASS, 0, "", checks=GOOD, frames=(frame(),))


def bad(seq: int = SEQ) -> Verdict:
    text = "Left bore too large: 6.081 mm, limit 5.950 to 6.050; and a scratch"
    checks = (BAD_BORE, *GOOD[1:5], BAD_FACE)
    return Verdict(part(seq), Outcome.FAIL, 1110, text, "scratch", 0.74, 0.6, checks, (frame(),))


def doubtful(seq: int = SEQ) -> Verdict:
    return Verdict(part(seq), Outcome.NOT_INSPECTED, 200, "Camera top was lost while the part stood before it")


def judged(verdict: Verdict, **more: Any) -> dict[str, Any]:
    values = {"t_ms": 92, "late": False, "preview": bool(verdict.frames), **more}
    return {"verdict": json.loads(verdict_to_json(verdict)), **values}


ALARMS: list[dict[str, Any]] = [
    {
        "id": "same_reject", "priority": 2, "state": "UNACK", "since_utc": "2026-11-22T09:59:50Z", "code": 1110,
        "text": "Same reject 3 in a row", "action": "stop the belt, look at the drill, clean or change it",
        "why": "one tool mark on every part: the press is making scrap", "count": 2,
    },
    {
        "id": "store", "priority": 3, "state": "ACK", "since_utc": "2026-11-22T08:02:11Z", "code": 305,
        "text": "Picture store 91 % full", "action": "copy off or delete", "why": "the oldest passes go first",
        "count": 1,
    },
    {
        "id": "plc_link", "priority": 1, "state": "RTN", "since_utc": "2026-11-22T09:10:02Z", "code": 900,
        "text": "PLC link lost", "action": "check the switch and the broker",
        "why": "no verdict reaches the PLC: every part is rejected", "count": 1,
    },
]  # fmt: skip


def recent(count: int = 60, last: Verdict | None = None) -> list[dict[str, Any]]:
    out = []
    for n in range(count):
        seq = SEQ - count + 1 + n
        outcome = "FAIL" if seq % 17 == 5 else "NOT_INSPECTED" if seq % 41 == 3 else "PASS"
        code = {"FAIL": 1210, "NOT_INSPECTED": 200, "PASS": 0}[outcome]
        if last is not None and seq == SEQ:
            outcome, code = last.outcome.value, last.code
        out.append({"seq": seq, "part_id": f"P{seq:06d}", "outcome": outcome, "code": code, "t_ms": 31,
                    "utc": "2026-11-22T09:59:59.900Z"})  # fmt: skip
    return out


QUALITY = {"version": "3.1.1", "round_trip_ms": {"p50": 0.61, "p99": 12.94}, "reconnects": 3, "unacked": 0,
           "unconfirmed": 2}  # fmt: skip


def status(verdict: Verdict | None = None, **changes: Any) -> dict[str, Any]:
    ok = {"state": "ok", "since_s": 123.0, "text": ""}
    base: dict[str, Any] = {
        "schema": "1.0", "now_utc": NOW,
        "station": {"line": "demo", "id": "top", "name": "Top view", "version": "0.1.0", "boot": "a1b2",
                    "sim": True, "started_utc": "2026-11-22T08:00:00Z", "uptime_s": 7200},
        "state": "EXECUTE", "state_nr": 6, "ready": True, "code": 0, "text": "",
        "recipe": {"number": 1, "rev": 1, "name": "Machined plate", "sha": "a3f91c77"},
        "links": {"plc": {**ok, "quality": QUALITY}, "camera top": ok, "judge": {**ok, "text": "cpu"}, "archive": ok},
        "counters": {"total": 4812, "pass": 4731, "fail": 78, "not_inspected": 3, "late": 0, "golden": 6},
        "codes": [{"code": 1210, "text": "Scratch on the face", "count": 41},
                  {"code": 1110, "text": "Left bore out of size", "count": 19},
                  {"code": 1120, "text": "Wall too thin", "count": 11}],
        "rejects_per_hour": {"now": 52, "history": [12, 0, 4, 31, 18, 22, 9, 14, 40, 52, 47, 52]},
        "queues": {"in flight": {"depth": 1, "bound": 8, "dropped": 0}},
        "disk": {"free_bytes": 41_000_000_000, "used_bytes": 1_820_000_000, "budget_bytes": 2_000_000_000},
        "latency_ms": {"p50": 31.0, "p99": 48.0},
        "last": judged(verdict) if verdict else None,
        "recent": recent(60, verdict), "alarms": [],
    }  # fmt: skip
    return {**base, **changes}


class Notes(dict[str, str]):
    """Where a health desk keeps what it learned."""

    async def set_meta(self, key: str, value: str) -> None:
        self[key] = value

    async def meta(self, key: str) -> str | None:
        return self.get(key)


def at_once(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Nothing here ever waits."""
    with contextlib.suppress(StopIteration):
        work.send(None)
        raise AssertionError(f"{name} waits for something")


CAMERA: dict[str, Any] = {
    "fresh": True, "temperature_c": 41.2, "temperature_max_c": 70.0, "frames": 4812, "failures": 3,
    "settings": {"checked_utc": "2026-11-22T09:59:48.000Z", "changed": ""}, "strays": {},
}  # fmt: skip


def health(
    parts: int = 700, fading: float = 0.0, patches: int = 1, warming: float = 0.0, **changes: Any
) -> dict[str, Any]:
    """What a station says after so many parts: its real charts over a lamp that fades by ``fading`` a part.

    It begins to fade after 300 parts, and warms up by ``warming`` before; each next patch lies nearer to the lamp.
    """
    rng = np.random.default_rng(17)
    desk = HealthDesk(Notes(), Alarms(lambda alarm, what: None), at_once)
    for n in range(parts):
        light = (1 - fading * max(n - 300, 0) - warming * max(300 - n, 0)) * (1 + 0.006 * rng.standard_normal())
        found = []
        for patch in range(patches):
            grey, (a, b, c) = 150 + 12 * patch, rng.standard_normal(3)
            name = "picture" if patches == 1 else f"patch_{patch + 1}"
            sharp = 0.0041 * (1 + 0.02 * a)
            found.append(Health("", name, grey * light, 0.8 * grey * light + b, sharp, 2.2 + 0.08 * c, 0.0))
        x, y, angle = rng.standard_normal(3)
        where = Pose(612.4 + 2 * x, 408.1 + 2 * y, 0.4 + 0.15 * angle)
        desk.add(replace(good(n + 1), health=tuple(found), pose=where))
    said = json.loads(health_json(desk.report()))
    for cause in said["causes"]:
        cause["since_utc"] = "2026-11-22T09:41:07.000Z"
    if said["learned"]["utc"]:
        said["learned"]["utc"] = "2026-11-22T08:12:30.000Z"
    return {"schema": "1.0", **said, "cameras": {"top": CAMERA}, "books": None, **changes}


def alarms_of(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The alarms that a station raises beside what it says of its pictures."""
    alarms = []
    for cause in said["causes"]:
        entry = CATALOGUE[cause["alarm"].partition(":")[0]]
        alarms.append({"id": cause["alarm"], "priority": entry.priority, "state": "UNACK",
                       "since_utc": cause["since_utc"], "code": int(entry.code),
                       "text": f"{entry.text}: {cause['text']}", "action": cause["action"], "why": entry.why,
                       "count": 1})  # fmt: skip
    return alarms


def picture(scale: float = 0.25, colour: bool = False) -> bytes:
    """A plate with two bores and a scratch, as a PNG preview of a 1280x960 image."""
    image = np.full((960, 1280), 60, np.uint8)
    cv2.rectangle(image, (140, 180), (1140, 780), 190, -1)
    for x in (320, 960):
        cv2.circle(image, (x, 480), 110, 30, -1)
    cv2.rectangle(image, (560, 640), (720, 700), 40, -1)
    cv2.line(image, (622, 386), (702, 334), 110, 6)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ok, data = cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if colour else small)
    assert ok
    return data.tobytes()


def odd(kind: str) -> dict[str, Any]:
    """Statuses that are allowed but unusual."""
    long = "A very long sentence about <what> [bold]went[/] wrong with the ram plate, "
    many = tuple(width(f"bore_{n:02d}", 6.0 + n / 100, 6.0, 0.2) for n in range(30))
    if kind == "no part yet":
        zero = {"total": 0, "pass": 0, "fail": 0, "not_inspected": 0, "late": 0, "golden": 0}
        slow, trend = {"p50": None, "p99": None}, {"now": 0, "history": [0] * 12}
        return status(
            recent=[], codes=[], counters=zero, recipe=None, links={}, latency_ms=slow, rejects_per_hour=trend
        )
    if kind == "30 checks":
        return status(Verdict(part(), Outcome.PASS, 0, "", checks=many, frames=(frame(),)))
    if kind == "30 failing checks":
        failing = tuple(width(c.step, 9.0, 6.0, 0.2, "FAIL", code=1110) for c in many)
        return status(Verdict(part(), Outcome.FAIL, 1110, long * 4, checks=failing, frames=(frame(),)))
    if kind == "strange values":
        values = (math.nan, math.inf, -1e12, 1e300, 5.9500000001, None)
        outcome = ["MISSING" if v is None else "FAIL" for v in values]
        strange = tuple(width("w" * 40, v, 6.0, 0.05, o, text=long) for v, o in zip(values, outcome, strict=True))
        return status(
            Verdict(
                part(SEQ, "Ä" * 32),
                Outcome.FAIL,
                9999,
                "尺寸 ✗ \u2028\x85\x1b[31mred\x07\n\ttab 🙂 ≥ ø",
                checks=strange,
            )
        )
    if kind == "many alarms":
        alarms = [{**ALARMS[n % 3], "id": f"a{n}", "text": f"{n} {long}", "why": long * 9, "action": long * 9}
                  for n in range(200)]  # fmt: skip
        return status(bad(), alarms=alarms)
    if kind == "a long alarm":
        text = (
            "Somebody changed the camera's settings: camera top: ExposureTime found 500.0 us, wanted 1000.0 us; "
            "Gain found 6.0 dB, wanted 0.0 dB; between 2026-11-22T09:58:12.031Z and 2026-11-22T09:58:27.518Z"
        )
        return status(good(), alarms=[{**ALARMS[0], "id": "settings:top", "text": text, "code": 202,
                                       "action": "find who; see `inspector camera diff`"}])  # fmt: skip
    if kind == "long names":
        links = {f"camera number {n}": {"state": "lost", "since_s": 10.0**n, "text": long} for n in range(9)}
        station = {**status()["station"], "name": long * 3}
        recipe = {"number": 32767, "rev": 999, "name": long * 3, "sha": "f" * 64}
        codes = [{"code": 9999, "text": long, "count": 10**9} for _ in range(10)]
        counters = {"total": 10**12, "pass": 10**12, "fail": 10**9, "not_inspected": 10**9, "late": 0, "golden": 0}
        return status(bad(), station=station, recipe=recipe, links=links, codes=codes, counters=counters,
                      state="SUSPENDING", ready=False, text=long * 9, recent=recent(150))  # fmt: skip
    raise ValueError(kind)


ODD = ("no part yet", "30 checks", "30 failing checks", "strange values", "many alarms", "a long alarm", "long names")
