"""``make outage``: the broker is away for ten minutes while parts go on, and the station is killed inside.

Without a broker no PLC can trigger, so a photo-eye fires the camera and the parts have numbers (``mode: counted`` with
``plc_counts: start``). After a restart the station asks for the PLC's count, which only a broker can bring: it is
killed when every part of the outage has been inspected, while more of them come. Exit status 1 when a record is missing
or in disorder, or when a verdict of the outage comes on ``result`` afterwards.
"""

from __future__ import annotations

import argparse
import csv
import json
import queue
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from inspector.cli.demo import ROOT, World
from inspector.station.ledger import recount
from tools.plc_simulator.records import Records
from tools.plc_simulator.wire import LinkChanged, Wire
from tools.plc_simulator.witness import Witness
from tools.proofs import cheap
from tools.proofs.page import replace_section
from tools.proofs.storm import export
from tools.virtual_camera.control import CameraControl

CALM_PARTS = 20  # before the outage and after it
AFTER_KILL_S = 10.0  # parts go on
LIMIT_S = 60.0
DRAIN_S = 300.0
QUIET_S = 3.0


@dataclass
class Belt:
    """The photo-eye, the parts and the PLC, which hears what it can."""

    world: World
    rate: float
    images: Path
    pulses: dict[int, float] = field(default_factory=dict)  # part's number: when, monotonic s
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # by part_id, the first that came
    state: dict[str, Any] = field(default_factory=dict)
    witness: Witness = field(default_factory=Witness)
    acks: list[dict[str, Any]] = field(default_factory=list)
    late_for: list[str] = field(default_factory=list)  # results that came long after their part

    def __post_init__(self) -> None:
        base = f"vis/v1/{self.world.config.line}/{self.world.config.station}"
        self.records = Records("127.0.0.1", self.world.port, base, "outage-mes")
        self.wire = Wire("127.0.0.1", self.world.port, base)
        self._lens = CameraControl.open(self.world.control_file)
        self._pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(self.images.glob("*.png"))]

    def close(self) -> None:
        """Let go of camera and broker."""
        self.records.close()
        self.wire.close()
        self._lens.close()

    def tend(self, seconds: float, broker: bool = True) -> None:
        """Hear what comes; start again what died, the broker only when it may."""
        end = time.monotonic() + seconds
        while True:
            for kept in self.world.kept:
                if broker or kept.name != "broker":
                    kept.tend()
            self.wire.maintain()
            try:
                item = self.wire.inbox.get(timeout=min(0.05, max(0.001, end - time.monotonic())))
                if isinstance(item, LinkChanged):
                    self.state = {}  # without a link nothing is known
                else:
                    self._heard(item.topic, item.payload, item.retained, item.arrived_ns)
            except queue.Empty:
                pass
            if time.monotonic() >= end:
                return

    def parts(self, count: int, broker: bool = True) -> None:
        """So many parts come past the camera."""
        due = max(time.monotonic(), max(self.pulses.values(), default=0.0) + 1 / self.rate)
        for _ in range(count):
            self.tend(max(0.0, due - time.monotonic()), broker)
            number = len(self.pulses) + 1
            self._lens.show(0, self._pictures[number % len(self._pictures)], number)
            self.pulses[number] = time.monotonic()
            self._lens.pulse(0, 1)
            due = max(due, time.monotonic() - 0.5 / self.rate) + 1 / self.rate  # a belt that was held up can't catch up

    def set_count(self) -> None:
        """Tell the PLC's count until the station is ready. Raises SystemExit when it does not become so."""
        end = time.monotonic() + LIMIT_S
        while not self.state.get("ready"):
            if time.monotonic() > end:
                raise SystemExit(f"the station is not ready within {LIMIT_S:g} s: {self.state.get('text', '')}")
            if self.wire.up:
                fields = {"schema": "1.0", "cmd_id": f"count-{time.monotonic_ns()}", "count": len(self.pulses)}
                self.wire.publish("cmd/count", json.dumps(fields).encode())
            self.tend(1.0)

    def _heard(self, topic: str, payload: bytes, retained: bool, arrived_ns: int) -> None:
        members = self.witness.saw(topic, payload, retained, arrived_ns)
        if topic == "state" and members:
            self.state = members
        elif topic == "ack" and members:
            self.acks.append(members)
        elif topic == "result" and members:
            self.results.setdefault(members["part_id"], members)
            number = members["part_id"]
            sent = self.pulses.get(int(number)) if number.isdigit() else None
            if sent is not None and arrived_ns / 1e9 - sent > members["deadline_ms"] / 1000 + 0.5:
                self.late_for.append(f"{number} after {arrived_ns / 1e9 - sent:.1f} s")


@dataclass
class Outage:
    """What was done and when, by the numbers of the parts."""

    first: int
    killed: int
    last: int
    away_s: float
    drained_s: float = 0.0


def run(given: argparse.Namespace) -> tuple[World, Belt, Outage]:
    """The whole course of it."""
    folder: Path = given.folder.resolve()
    stage = folder.with_name(folder.name + "-stage")
    settings = cheap.settings(stage, wired=True, within="150 ms")
    settings["identity"] = {"mode": "counted", "plc_counts": "start", "window_ms": 30}
    images, _ = cheap.pictures(stage / "parts")
    world = World(
        port=given.port, identity="counted", recipe=1, folder=folder, broker="mosquitto", sensor=cheap.SENSOR,
        settings=settings,
    )  # fmt: skip
    belt = Belt(world, given.rate, images)
    try:
        with world:
            belt.set_count()
            belt.parts(CALM_PARTS)
            belt.tend(1.0)
            _save_session(world)
            outage = _outage(given, world, belt)
            print("the broker is back", flush=True)
            began = time.monotonic()
            belt.set_count()
            belt.parts(CALM_PARTS)
            while time.monotonic() - began < DRAIN_S:
                belt.tend(0.5)
                behind = belt.records.highest < belt.witness.highest
                if not behind and time.monotonic() - belt.records.last_came > QUIET_S:
                    break
            outage.drained_s = belt.records.last_came - began
    finally:
        belt.close()
    return world, belt, outage


def _save_session(world: World) -> None:
    """The MES's session is on the broker's disk, as after a while it is: else nobody is subscribed when it is back."""
    broker = next(one.process for one in world.kept if one.name == "broker")
    if broker is not None:
        broker.send_signal(signal.SIGUSR1)
    time.sleep(0.5)


def _outage(given: argparse.Namespace, world: World, belt: Belt) -> Outage:
    kept = {one.name: one for one in world.kept}
    broker, station = kept["broker"].process, kept["station"].process
    if broker is None or station is None:
        raise SystemExit("broker and station must run")
    broker.kill()
    began, first = time.monotonic(), len(belt.pulses) + 1
    print(f"the broker is down; parts from {first}", flush=True)
    count = round(given.seconds * given.rate)
    for done in range(0, count, 100):
        belt.parts(min(100, count - done), broker=False)
        print(f"{min(done + 100, count)} of {count} parts", flush=True)
    station.kill()  # the last part is being inspected
    killed = len(belt.pulses)
    print(f"station killed at part {killed}", flush=True)
    belt.parts(round(AFTER_KILL_S * given.rate), broker=False)
    belt.tend(1.0, broker=False)
    return Outage(first, killed, len(belt.pulses), time.monotonic() - began)


def judge(world: World, belt: Belt, outage: Outage) -> tuple[list[str], str]:
    """(what is broken, the section of the page)."""
    with export(world).open(encoding="utf-8", newline="") as file:
        rows = {int(row["seq"]): row for row in csv.DictReader(file)}
    by_part = {row["part_id"]: seq for seq, row in rows.items()}
    records = belt.records
    broken = list(records.texts[:10]) + list(belt.witness.texts)[:10]
    missing = [seq for seq in rows if seq not in records.by_seq]
    broken += [f"seq {seq} (part {rows[seq]['part_id']}): its record never came" for seq in missing[:10]]
    strange = [seq for seq in records.by_seq if seq not in rows]
    broken += [f"seq {seq}: a record without a row" for seq in strange[:10]]
    inside = range(outage.first, outage.killed + 1)
    lost = [n for n in inside if str(n) not in by_part]
    if any(n < outage.killed - 2 for n in lost):  # two may be between the camera and the ledger
        broken.append(f"parts without a row before the kill: {lost[:10]}")
    inspected = sum(1 for n in inside if str(n) in by_part and rows[by_part[str(n)]]["outcome"] in ("PASS", "FAIL"))
    not_inspected = [n for n in inside if str(n) in by_part and rows[by_part[str(n)]]["outcome"] == "NOT_INSPECTED"]
    if inspected < 0.98 * len(inside):
        broken.append(f"only {inspected} of {len(inside)} parts of the outage were inspected")
    unheard = [n for n in range(outage.killed + 1, outage.last + 1) if str(n) not in by_part]
    told = [n for n in range(outage.first, outage.last + 1) if str(n) in belt.results]
    broken += [f"part {n} of the outage was told on `result`" for n in told[:10]]
    broken += [f"stale: part {text}" for text in belt.late_for[:10]]
    kept, counted = recount(world.config.state_dir / "ledger.db")
    if kept != counted:
        broken.append(f"counters {kept}, recount {counted}")
    in_outage = len(inside) - len(lost)
    text = "\n".join(
        [
            f"The broker was away for {outage.away_s:.0f} s while a part came every {1 / belt.rate:g} s by a wire "
            "(`mode: counted`, `plc_counts: start`);",
            f"the station was killed at part {outage.killed}, {AFTER_KILL_S:g} s before the broker came back.",
            "",
            f"- Parts of the outage until the kill: {len(inside)}; {inspected} PASS and FAIL, {len(not_inspected)} "
            f"NOT_INSPECTED ({', '.join(map(str, not_inspected[:10])) or 'none'}), {len(lost)} lost to the kill itself "
            f"({', '.join(map(str, lost[:10])) or 'none'}).",
            f"- Records: **{len(missing)} of {in_outage} lost**, in order, {records.repeated} came twice; all were "
            f"there {outage.drained_s:.1f} s after the broker.",
            f"- Stale on `result`: **{len(told) + len(belt.late_for)}**.",
            f"- After the kill {len(unheard)} parts passed a station that was down or waited for the PLC's count: "
            "they are in no book, and no PLC let them pass.",
            "",
            "Nothing was broken." if not broken else "**Broken**: " + "; ".join(broken),
        ]
    )
    return broken, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section of docs/evidence/plc.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the outage; less than 300: no page")
    parser.add_argument("--rate", type=float, default=5.0, help="parts a second")
    parser.add_argument("--port", type=int, default=21410)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "outage")
    given = parser.parse_args(arguments)
    world, belt, outage = run(given)
    broken, text = judge(world, belt, outage)
    print(text)
    if given.seconds >= 300:
        replace_section("outage", text)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
