"""``make identity``: 100,000 parts in each identity mode, 1 % of them hit by each fault; whose picture was it?

The real parts: camera process, harvesters, the virtual camera, the station's line, matcher and ledger. In place of the
recipe stands a judge that reads the part's number out of the pixels and passes every part; so a PASS with another
number in it is a verdict about another part's picture, and one is enough to fail.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from inspector.config import load_station
from inspector.parts import Check, CheckOutcome, InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.ring import RingReader
from inspector.station.awake import Awake
from inspector.station.cameras import Cameras
from inspector.station.leases import Lease
from inspector.station.ledger import Ledger, RecipeTag, StorageFault, recount, utc_now
from inspector.station.line import Line
from inspector.wire import SettingsChanged
from tools.cameras.page import replace_section
from tools.part_renderer.stamp import read_stamp, write_stamp
from tools.virtual_camera.control import CTI, CameraControl, build

ROWS, COLUMNS = 64, 1216
MODES = ("command", "announced", "counted", "counted, start")
FAULTS = (
    "lost pulse", "lost frame", "extra frame", "late frame", "doubled frame", "swapped frames", "wrong frame id",
    "lost message", "doubled message",
)  # fmt: skip
NO_MESSAGES = ("lost message", "doubled message")
BELT = 0xFFFFFFFF  # the number that stands before the camera between two parts
TAG = RecipeTag(1, 1, "Number", "0" * 64, 2000)
END_LIMIT_S = 10.0
_ABOUT = re.compile(r"(?:^part |before it was |message about part )([^\s:,;)]+)")  # how an alarm names its part
NO_ANSWER_NS = 120_000_000  # the PLC's own timer


@dataclass
class Sent:
    """A part that stood before the camera."""

    faults: list[str]
    at_ns: int
    part_id: str
    announced: int = 0  # messages about it
    message_ns: int = 0  # when the first of them was sent; 0: none was
    pulse_ns: int = 0


@dataclass
class Plc:
    """The belt, its PLC, and what is told to it. It is the line's judge, gate and outlet as well."""

    mode: str
    parts: int
    period_ms: float
    window_ms: int
    rate: float
    folder: Path
    seed: int = 1
    ready: bool = True
    sent: dict[int, Sent] = field(default_factory=dict)
    told: dict[int, list[Verdict]] = field(default_factory=dict)  # by seq
    again: int = 0  # stored answers to messages that came twice
    alarms: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    lost_count: int = 0  # the PLC had to set the count anew
    by_plc: int = 0  # good verdicts whose number was not the last part's: refused by the PLC's own rule

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._reader = RingReader()
        self._base = np.full((ROWS, COLUMNS), 90, np.uint8)
        self._belt = self._picture(BELT).copy()
        self.control = CameraControl.create(self.folder / "camera.control", devices=1, sensor=(ROWS, COLUMNS))
        os.environ["VIRTUAL_CAMERA_CONTROL"] = str(self.control.path)
        os.environ.pop("RUNTIME_DIRECTORY", None)
        self._wired = self.mode != "command"
        self._plc_part = 0
        self._pulse_ns = 0
        self._placed_s = 0.0
        self._differs = False
        config = load_station(self._station_file())
        self.config = config
        self.ledger = Ledger(self.folder / "ledger.db", station="s", boot="0001", sim=True)
        self.cameras = Cameras(self.folder / "station.yaml", config.cameras, config.identity, self)
        self.line = Line(
            ledger=self.ledger, cameras=self.cameras, judge=self, outlet=self, gate=self,  # type: ignore[arg-type]
            keep=lambda verdict, lease: None, show=lambda verdict, t_ms: None, max_in_flight=16,
            awake=Awake(Path(os.devnull)),
        )  # fmt: skip

    def _station_file(self) -> Path:
        features = {
            "Width": COLUMNS, "Height": ROWS, "PixelFormat": "Mono8", "ExposureTime": 200, "Gain": 0,
            "TriggerMode[TriggerSelector=FrameStart]": "On",
            "TriggerSource": "Line1" if self._wired else "Software", "ChunkModeActive": True,
            **{f"ChunkEnable[ChunkSelector={name}]": True for name in ("FrameID", "Timestamp", "CounterValue")},
        }  # fmt: skip
        mode, _, start = self.mode.partition(", ")
        identity = {"mode": mode, "window_ms": self.window_ms, "plc_counts": start or "each"}
        camera = {
            "serial": "VC0001", "producer": str(CTI), "features": "camera.yaml", "slots": 32,
            "frame_limit_ms": 60, "trigger_limit_ms": max(2, int(self.period_ms * 0.4)),
        }  # fmt: skip
        station = {
            "line": "l", "station": "s", "name": "Identity", "recipe": 1, "recipes": "recipes", "sim": True,
            "identity": identity, "cameras": {"top": camera}, "runtime_dir": "run", "state_dir": "state",
        }  # fmt: skip
        for name in ("recipes", "run"):
            (self.folder / name).mkdir()
        for name, content in (("camera.yaml", {"features": features}), ("station.yaml", station)):
            with (self.folder / name).open("w", encoding="utf-8") as file:
                YAML(typ="safe", pure=True).dump(content, file)
        return self.folder / "station.yaml"

    def _picture(self, number: int) -> NDArray[np.uint8]:
        write_stamp(self._base, number)
        return self._base

    # --- the line's gate, judge and outlet
    def tag(self) -> RecipeTag:
        return TAG

    def refusal(self, golden: bool = False) -> InspectionFault | None:
        lost = self.cameras.lost()
        if lost or self.cameras.out_of_step:
            return InspectionFault(402, lost or self.cameras.out_of_step)
        return None

    def doubt(self) -> InspectionFault | None:
        return None

    def golden_found(self, verdict: Verdict) -> None:
        raise AssertionError("no golden part was announced")

    def trouble(self, what: str, detail: str) -> None:
        self.troubles[what] += 1

    async def judge(self, part: Part, lease: Lease) -> Verdict:
        (frame,) = lease.frames
        number = read_stamp(self._reader.read(frame))
        check = Check("number", CheckOutcome.PASS, found=str(number))
        return Verdict(part, Outcome.PASS, 0, "Good", checks=(check,), frames=lease.frames)

    def give_up(self, seq: int, fault: InspectionFault) -> None:
        """The judge has nothing to give up."""

    def tell(self, verdict: Verdict, *, dup: bool = False) -> bool:
        number = verdict.part.trigger.part_id
        apart_ns = abs(verdict.part.trigger.received_ns - self._pulse_ns)  # the PLC sees it in t_ms
        if self.mode == "counted, start" and (number != str(self._plc_part) or apart_ns > self.window_ms * 1_000_000):
            self._differs = True  # the PLC's rule for this mode: another number or another time ends the agreement
            self.by_plc += verdict.outcome is Outcome.PASS
            return True
        self.told.setdefault(verdict.part.seq, []).append(verdict)
        return True

    # --- what cameras say
    def camera_changed(self, name: str, fresh: bool, text: str) -> None:
        self.troubles["camera back" if fresh else "camera lost"] += 1

    def settings_changed(self, name: str, change: SettingsChanged) -> None:
        self.troubles["settings"] += 1

    def part_arrived(self, number: int, at_ns: int) -> int:
        return self.line.trigger(Trigger(str(number), "", at_ns, utc_now(), "wire", None, number)).seq

    def unannounced(self, text: str, number: int | None) -> None:
        part_id = "" if number is None else str(number)
        trigger = Trigger(part_id, "", time.monotonic_ns(), utc_now(), "wire", None, number)
        self.line.trigger(trigger, InspectionFault(201, text))

    def unbalanced(self, text: str) -> None:
        self.alarms.append(text)

    # --- the belt
    async def run(self) -> None:
        """All parts, one after the other."""
        self.ledger.open()
        self.cameras.start()
        await self._until(lambda: not self.cameras.lost(), "the camera")
        await asyncio.sleep(0.3)
        n = 0
        while n < self.parts:
            self._placed_s = time.monotonic()
            if self.mode != "counted, start" or self._agreed():
                n += 1
                await self._part(n)
            # however late this process was woken: a part stands for the period after the PLC has told of it
            await self._rest(self._placed_s + self.period_ms / 1000)
        await asyncio.sleep(0.5)
        await self._until(lambda: not self.line.depth and not self._open_claims(), "all verdicts")
        await asyncio.sleep(2.2)  # what is held back until the next count
        await self._until(lambda: not self.line.depth, "all verdicts")
        await self.cameras.stop(2.0)

    def _open_claims(self) -> int:
        return int(self.cameras.books.figures()["open"]) if self.cameras.books else 0

    def _agreed(self) -> bool:
        """Without a message for each part the PLC watches the numbers: when they differ it sets the count anew."""
        last = self.sent.get(self._plc_part)
        answered = last is None or any(
            v.part.trigger.part_id == last.part_id for told in list(self.told.values())[-20:] for v in told
        )
        if not self._differs and not self.cameras.out_of_step and last is not None:
            if answered:
                return True
            if time.monotonic_ns() - last.at_ns < NO_ANSWER_NS:
                return False
        if self.line.depth == 0 and not self.cameras.set_count(self._plc_part):
            self.lost_count += 1
            self._differs = False
            return True
        self._differs = True
        return False

    @staticmethod
    async def _rest(until: float) -> None:
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    async def _until(self, condition: Any, what: str) -> None:
        end = time.monotonic() + END_LIMIT_S
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"identity: {what}: not within {END_LIMIT_S:g} s; {self.cameras.lost()}")
            await asyncio.sleep(0.01)

    def _hits(self) -> list[str]:
        kinds = [f for f in FAULTS if not (self.mode == "counted, start" and f in NO_MESSAGES)]
        if not self._wired:
            kinds.remove("swapped frames")  # one picture at a time: there is no next one to swap with
        return [kind for kind in kinds if self._random.random() < self.rate]

    async def _part(self, n: int) -> None:
        faults = self._hits()
        now = time.monotonic_ns()
        part_id = str(n) if self.mode.startswith("counted") else f"P{n:06d}"
        self.sent[n] = sent = Sent(faults, now, part_id)
        self.control.show(0, self._picture(n), n)
        for fault, name, parameters in (
            ("lost pulse", "LoseTrigger", {}),
            ("lost frame", "DropFrame", {}),
            ("late frame", "Delay", {"delay_ms": int(self.period_ms * self._random.uniform(0.6, 1.5))}),
            ("doubled frame", "Duplicate", {}),
            ("swapped frames", "OutOfOrder", {}),
            ("wrong frame id", "WrongFrameId", {"jump": 5}),
        ):
            if fault in faults:
                self.control.arm(0, name, **parameters)
        messages = 0 if "lost message" in faults or self.mode == "counted, start" else 1
        messages += messages and "doubled message" in faults
        sent.announced = messages
        if self._wired:
            await self._wired_part(n, messages, "extra frame" in faults)
        else:
            if "extra frame" in faults:
                self.control.arm(0, "ExtraTrigger", delay_ms=int(self._random.uniform(0, self.period_ms)))
            for _ in range(messages):
                self._message(n)
            self._placed_s = time.monotonic()

    async def _wired_part(self, n: int, messages: int, extra: bool) -> None:
        """Message and pulse in either order; then the empty belt, where an extra pulse finds nothing."""
        first = self._random.random() < 0.5
        if messages and first:
            self._message(n)
            await asyncio.sleep(self._random.uniform(0, 0.001))
        self._pulse_ns = self.sent[n].pulse_ns = time.monotonic_ns()
        self.control.pulse(0)
        self._plc_part = n
        if messages and not first:
            await asyncio.sleep(self._random.uniform(0, 0.001))
            self._message(n)
        if messages > 1:
            asyncio.get_running_loop().call_later(self._random.uniform(0, 0.02), self._message, n)
        at = self._placed_s = time.monotonic()  # the part stands there as long as its picture may be taken
        await self._rest(at + (self.window_ms + 1) / 1000)
        self.control.show(0, self._belt, 0)
        if extra:
            await asyncio.sleep(self._random.uniform(0, 0.002))
            self.control.pulse(0)
            # a pulse in the camera's dead time just before a part's own would be the part's, and show its place
            await asyncio.sleep((self.window_ms + 1) / 1000)
        await self._rest(at + (2 * self.window_ms + 1) / 1000)

    def _message(self, n: int) -> None:
        """The PLC's message, as the station's desk takes it: what was delivered twice has its answer already."""
        now, sent = time.monotonic_ns(), self.sent[n]
        sent.message_ns = sent.message_ns or now
        if self.mode.startswith("counted"):
            if not self.cameras.is_doubled(n):
                self.line.trigger(Trigger(sent.part_id, "", now, utc_now(), "mqtt", None, n))
            else:
                self.again += 1
        elif self.ledger.known(f"c{n}") is None:
            self.line.trigger(Trigger(sent.part_id, f"c{n}", now, utc_now(), "mqtt", None))
        else:
            self.again += 1

    # --- afterwards
    def account(self) -> dict[str, Any]:
        """What was promised, counted."""
        by_id: dict[str, list[Verdict]] = {}
        for told in self.told.values():
            for verdict in told:
                by_id.setdefault(verdict.part.trigger.part_id, []).append(verdict)
        anonymous = by_id.pop("", [])
        wrong, belt, faulted_good = [], [], 0
        held_up = self._held_up()
        held_up_wrong = []
        good = refused = untouched_refused = 0
        neighbours = {m for n, s in self.sent.items() if s.faults for m in (n - 1, n, n + 1)}
        for n, sent in self.sent.items():
            for verdict in by_id.get(sent.part_id, []):
                if verdict.outcome is Outcome.PASS:
                    found = verdict.checks[0].found
                    if found != str(n):
                        whose = held_up_wrong if n in held_up else belt if found == str(BELT) else wrong
                        whose.append((sent.part_id, found, sent.faults))
                    else:
                        good += 1
                        faulted_good += bool(sent.faults)
                else:
                    refused += 1
                    untouched_refused += n not in neighbours
        expected = {s.part_id for s in self.sent.values() if s.announced}
        if self.mode == "counted, start":
            expected = set()  # it can't be told of any part; what is missing the PLC rejects by its timer
        several = [i for i, told in by_id.items() if len(told) != 1]
        named, unnamed = self._named(by_id)
        kept, counted = recount(self.folder / "ledger.db")
        return {
            "mode": self.mode, "parts": len(self.sent), "announced": len(expected),
            "faults": dict(Counter(f for s in self.sent.values() for f in s.faults)),
            "verdicts": sum(map(len, self.told.values())), "good": good, "refused": refused,
            "faulted and good": faulted_good, "untouched and refused": untouched_refused,
            "of nobody": len(anonymous), "wrong": wrong[:20], "wrong total": len(wrong), "belt total": len(belt),
            "held up": len(held_up), "held up and wrong": held_up_wrong,
            "belt": belt[:20], "without a verdict": len(expected - by_id.keys()), "several verdicts": len(several),
            "seqs told twice": sum(len(t) != 1 for t in self.told.values()), "ledger honest": kept == counted,
            "named": named, "not named": unnamed[:10], "not named total": len(unnamed),
            "not named but extra": sum("extra frame" not in one for one in unnamed), "alarms": len(self.alarms),
            "again": self.again, "count set": self.lost_count, "by PLC": self.by_plc,
            "books": self.cameras.books.figures() if self.cameras.books else {},
            "camera": vars(self.control.counters(0)), "troubles": dict(self.troubles),
        }  # fmt: skip

    def _held_up(self) -> set[int]:
        """Parts for which this busy machine broke the PLC's side of the contract: no station can know of it."""
        window_ns = self.window_ms * 1_000_000
        both = {n: s.pulse_ns - s.message_ns for n, s in self.sent.items() if s.message_ns and s.pulse_ns}
        return {n for n, apart_ns in both.items() if abs(apart_ns) > window_ns}

    def _named(self, by_id: Mapping[str, Sequence[Verdict]]) -> tuple[int, list[str]]:
        """Imbalances whose part an alarm is about, and those that none is about."""
        words = {m[1] for text in self.alarms for m in _ABOUT.finditer(text)}
        named, unnamed = 0, []
        for n, sent in self.sent.items():
            unheard = "lost message" in sent.faults and not self.mode.startswith("counted")
            for fault in sent.faults:
                if fault not in ("lost pulse", "lost frame", "lost message", "extra frame"):
                    continue
                if fault == "extra frame" and (self.mode == "counted, start" or sent.announced == 0):
                    continue  # a part of its own; or told as after the part before
                if self.mode == "counted, start" and fault == "lost pulse":
                    continue  # nobody can know of it but the PLC
                if unheard and (not self._wired or "lost pulse" in sent.faults):
                    continue  # neither a message nor a pulse: there was no part for the station
                ids = {sent.part_id}
                before = next((m for m in range(n - 1, 0, -1) if self.sent[m].announced), None)
                if unheard and before:
                    ids.add(self.sent[before].part_id)  # its pulse is told as one after this part's
                after = [self.sent[m].part_id for m in range(n + 1, n + 9) if m in self.sent and self.sent[m].announced]
                if fault == "extra frame" and not self._wired:
                    # found when the next one is fired; it may have waited for the next exposure, or come a period late
                    ids.update(after[:2])
                if unheard or fault == "extra frame":
                    ids.update(after[:1])  # where it is found: of its own part nobody was told, or it came late
                if fault == "lost frame" and "lost pulse" in sent.faults and n + 1 in self.sent:
                    ids.add(self.sent[n + 1].part_id)  # without a pulse there was no frame: the next one's was lost
                if ids & words:
                    named += 1
                else:
                    near = [self.sent[m].part_id for m in range(n, n + 3) if m in self.sent]
                    answers = [f"{i}: {v.text}" for i in near for v in by_id.get(i, [])]
                    unnamed.append(f"{sent.part_id} {sent.faults} {answers}")
        return named, unnamed


def main() -> int:
    """Exit status 0 when every promise held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--parts", type=int, default=100_000, help="parts in each mode")
    parser.add_argument("--mode", choices=MODES, help="one mode alone, in this process")
    parser.add_argument("--period-ms", type=float, default=20.0)
    parser.add_argument("--window-ms", type=int, default=6)
    parser.add_argument("--rate", type=float, default=0.01, help="share of the parts that each fault hits")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the section of docs/evidence/cameras.md")
    given = parser.parse_args()
    if given.mode:
        print(json.dumps(_one(given)))
        return 0
    build()
    began = time.monotonic()
    passed = ("parts", "period-ms", "window-ms", "rate", "seed")
    arguments = [f"--{name}={getattr(given, name.replace('-', '_'))}" for name in passed]
    command = [sys.executable, "-m", "tools.cameras.identity", *arguments]
    running = {m: subprocess.Popen([*command, "--mode", m], stdout=subprocess.PIPE, text=True) for m in MODES}
    found = []
    for mode, process in running.items():
        output = process.communicate()[0]
        if process.returncode:
            print(f"{mode}: ended with status {process.returncode}", file=sys.stderr)
            return 1
        found.append(json.loads(output))
        for what in ("wrong", "belt", "held up and wrong", "not named", "alarms", "books", "camera", "troubles"):
            print(f"{mode}: {what}: {found[-1][what]}", file=sys.stderr)
    text = _report(given, found, time.monotonic() - began)
    print(text)
    if given.write:
        replace_section("identity", text)
    return 0 if all(map(_kept, found)) else 1


def _one(given: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="identity-", dir=_memory()) as folder:
        plc = Plc(given.mode, given.parts, given.period_ms, given.window_ms, given.rate, Path(folder), given.seed)
        try:
            asyncio.run(plc.run())
            return plc.account()
        except StorageFault as fault:
            raise SystemExit(f"identity: {fault.text}") from None
        finally:
            plc.ledger.shut(2.0, clean=True)


def _memory() -> str | None:
    """Where files are fast: a disk's own time is not what is tried here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def _kept(found: dict[str, Any]) -> bool:
    nothing = ("wrong total", "belt total", "without a verdict", "several verdicts", "seqs told twice")
    # an extra pulse in the camera's dead time makes no picture, and no other kind of imbalance may go unnamed
    named = found["not named but extra"] == 0 and found["not named total"] <= found["camera"]["missed"]
    return not any(found[key] for key in nothing) and found["ledger honest"] and named


def _report(given: argparse.Namespace, found: list[dict[str, Any]], took_s: float) -> str:
    rows = [
        ("parts before the camera", lambda f: f["parts"]),
        ("parts that the station was told of", lambda f: f["announced"]),
        ("of these without a verdict", lambda f: f["without a verdict"]),
        ("ids with more than one verdict", lambda f: f["several verdicts"]),
        ("**verdicts about another part's picture**", lambda f: f"**{f['wrong total']}**"),
        ("verdicts about a picture of the empty belt", lambda f: f["belt total"]),
        ("passed with their own number in the pixels", lambda f: f["good"]),
        ("of these hit by a fault that did not matter", lambda f: f["faulted and good"]),
        ("NOT_INSPECTED", lambda f: f["refused"]),
        ("of these neither hit nor beside a hit one", lambda f: f["untouched and refused"]),
        ("pulses of nobody, each with its NOT_INSPECTED", lambda f: f["of nobody"]),
        ("lost pulses, pictures, messages, extra pulses: an alarm is about this part", lambda f: f["named"]),
        ("of these not named", lambda f: f["not named total"]),
        ("ledger's counters equal a recount", lambda f: "yes" if f["ledger honest"] else "NO"),
        ("count set anew by the PLC", lambda f: f["count set"]),
        ("good verdicts refused by the PLC's rule of this mode", lambda f: f["by PLC"]),
        ("this machine was busy: message and pulse more than `window_ms` apart", lambda f: f["held up"]),
        ("of these passed with another picture", lambda f: len(f["held up and wrong"])),
        ("extra pulses that fell into the camera's dead time: no picture, no alarm", lambda f: f["camera"]["missed"]),
        *((f"fault: {name}", lambda f, n=name: f["faults"].get(n, 0)) for name in FAULTS),
    ]
    lines = [
        f"{given.parts:,} parts in each mode, all four modes at the same time on this machine, one every "
        f"{given.period_ms:g} ms, `window_ms` {given.window_ms}, each fault hitting {given.rate:.0%} of the parts "
        f"independently; {took_s / 60:.0f} min.",
        "",
        "| | " + " | ".join(f["mode"] for f in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    lines += [f"| {name} | " + " | ".join(str(value(f)) for f in found) + " |" for name, value in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
