"""``make storm``: a line at 10 parts/s, and everything that can break breaks at random, one thing after another.

Broker, station and judge are killed, the cable to the broker is cut or swallows what it carries, the camera goes away,
the disk gets slow, the station's wall clock jumps by an hour. The PLC is the strict one of tools/plc_simulator; an MES
hears the records. Exit status 1 when a part passed that must not, a verdict was doubled, stale or in disorder, a record
is missing or in disorder, or the books differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil

from inspector.cli.demo import ROOT, World
from inspector.station.ledger import recount
from tools.faulty_disk import FaultyDisk
from tools.plc_simulator import books
from tools.proofs import cheap
from tools.proofs.page import replace_section
from tools.proofs.proxy import Proxy
from tools.virtual_camera.control import CameraControl

CALM_S = 8.0  # before the first fault, and after the last
PAUSE_S = (4.0, 12.0)
GATE_MS = 1500
DEADLINE_MS = 300
CLOCK_S = 3600.0
HOST = "scada"
LEAST_DECIDED = 0.5  # a line that stands proves nothing
EXPORT_LIMIT_S = 300


@dataclass(frozen=True)
class Strike:
    """One fault: what, how, from when to when."""

    name: str
    what: str
    began: datetime
    ended: datetime


class Storm:
    """Everything that can be broken around one world."""

    def __init__(self, world: World, proxy: Proxy, disk: FaultyDisk, lens: CameraControl, seed: int) -> None:
        self.strikes: list[Strike] = []
        self._world, self._proxy, self._disk, self._lens = world, proxy, disk, lens
        self._random = random.Random(seed)
        self.kinds = {
            "broker killed": self._broker,
            "link cut": self._cut,
            "link half open": self._half_open,
            "station killed": self._station,
            "judge killed": self._judge,
            "camera lost": self._camera,
            "disk slow": self._slow,
            "clock stepped": self._clock,
        }

    def strike(self, name: str) -> None:
        """Let it happen, and end again."""
        began = datetime.now(timezone.utc)
        what = self.kinds[name]()
        self.strikes.append(Strike(name, what, began, datetime.now(timezone.utc)))
        print(f"{began:%H:%M:%S} {name}: {what}", flush=True)

    def wait(self, seconds: float) -> None:
        """What died is started again meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kept in self._world.kept:
                kept.tend()
            time.sleep(0.05)

    def _kill(self, name: str) -> str:
        process = next(k.process for k in self._world.kept if k.name == name)
        if process is None:
            return "was not running"
        process.kill()
        return f"kill -9 {process.pid}"

    def _broker(self) -> str:
        return self._kill("broker")

    def _station(self) -> str:
        return self._kill("station")

    def _judge(self) -> str:
        station = next(k.process for k in self._world.kept if k.name == "station")
        try:
            children = psutil.Process(station.pid).children() if station is not None else []
            for child in children:
                if "inspector.recipe.process" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
                    return f"kill -9 {child.pid}"
        except psutil.Error:
            pass
        return "was not running"

    def _cut(self) -> str:
        seconds = self._random.uniform(0.2, 6.0)
        self._proxy.refusing = True
        self._proxy.cut()
        self.wait(seconds)
        self._proxy.refusing = False
        return f"{seconds:.1f} s"

    def _half_open(self) -> str:
        seconds = self._random.uniform(1.0, 9.0)
        self._proxy.swallowing = True
        self.wait(seconds)
        self._proxy.refusing = True
        self._proxy.cut()
        self.wait(0.3)
        self._proxy.swallowing = self._proxy.refusing = False
        return f"{seconds:.1f} s"

    def _camera(self) -> str:
        gone_ms = self._random.randrange(300, 5000)
        self._lens.disconnect(0, gone_ms=gone_ms)
        self.wait(gone_ms / 1000)
        return f"{gone_ms / 1000:.1f} s"

    def _slow(self) -> str:
        delay_ms, seconds = self._random.choice((20, 80, 250, 600)), self._random.uniform(3, 8)
        self._disk.sync_delay_ms = delay_ms
        self.wait(seconds)
        self._disk.sync_delay_ms = 0
        return f"fsync {delay_ms} ms longer for {seconds:.1f} s"

    def _clock(self) -> str:
        step = self._random.choice([s for s in (-CLOCK_S, CLOCK_S) if abs(self._disk.clock_offset_s + s) <= CLOCK_S])
        self._disk.clock_offset_s += step
        return f"{step / 3600:+.0f} h"


def run(given: argparse.Namespace) -> tuple[list[Strike], int, World]:
    """Run the storm; the PLC's book lies in the world's folder."""
    folder: Path = given.folder.resolve()
    stage = folder.with_name(folder.name + "-stage")
    stage.mkdir(parents=True, exist_ok=True)
    settings = cheap.settings(stage)
    images, truth = cheap.pictures(stage / "parts")
    link_port = given.port + 1
    settings["plc"] = {"sparkplug": {"group": "plant", "node": "storm", "primary_host": HOST}}
    settings["plc"]["compact"] = dict.fromkeys(("result_c", "result_b", "cmd_c", "hb_c"), given.wire != "json")
    world = World(
        port=given.port, identity="command", recipe=1, folder=folder, broker="mosquitto", link_port=link_port,
        sensor=cheap.SENSOR, settings=settings,
    )  # fmt: skip
    disk = FaultyDisk(folder / "disk.control", world.config.state_dir)
    world.extra_environment = disk.environment
    proxy = Proxy(link_port, given.port)
    lens = CameraControl.open(world.control_file)
    try:
        with world:
            line_command = [
                *world.line_arguments(0, given.rate, given.seed, images, truth), "--quiet", "--stand",
                "--deadline-ms", str(DEADLINE_MS), "--gate-ms", str(GATE_MS),
                "--vary-speed", "0.1", "--stop-belt", "60", "--records", "storm-mes", "--drain-s", "60",
                "--mischief", str(given.mischief), "--change-every", "25", "--golden-every", "20",
                "--host", HOST, "--wire", given.wire,
            ]  # fmt: skip
            storm = Storm(world, proxy, disk, lens, given.seed)
            line = subprocess.Popen(line_command, cwd=ROOT, env=world.environment, stdin=subprocess.DEVNULL)
            try:
                _blow(storm, line, given)
            finally:
                disk.sync_delay_ms = 0
                line.terminate()
                end = time.monotonic() + 120
                while line.poll() is None and time.monotonic() < end:
                    storm.wait(0.2)
                code = line.wait(5)
    finally:
        proxy.close()
        lens.close()
        disk.close()
    return storm.strikes, code, world


def _blow(storm: Storm, line: subprocess.Popen[bytes], given: argparse.Namespace) -> None:
    chance = random.Random(given.seed + 1)
    storm.wait(CALM_S)
    end = time.monotonic() + given.seconds
    waiting: list[str] = []
    while time.monotonic() < end and line.poll() is None:
        if not waiting:  # each kind as often as the others, in any order
            waiting = [name for name in storm.kinds if not given.only or given.only in name]
            chance.shuffle(waiting)
        storm.strike(waiting.pop())
        storm.wait(chance.uniform(*PAUSE_S))
    storm.wait(CALM_S)


def judge(strikes: list[Strike], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the PLC saw of each fault, until the next one."""
    timed = [(datetime.fromisoformat(row["sent_utc"].replace("Z", "+00:00")), row) for row in rows]
    found = []
    for number, strike in enumerate(strikes):
        way = timedelta(milliseconds=GATE_MS)  # who is on the way to the gate may be hurt too
        until = strikes[number + 1].began if number + 1 < len(strikes) else strike.ended + timedelta(seconds=CALM_S)
        begin, until = strike.began - way, until - way
        own = [(sent, row) for sent, row in timed if begin <= sent < until]
        saw: dict[str, int] = {}
        for _, row in own:
            if row["verdict"] in ("PASS", "FAIL") and row["by"] == "verdict":
                continue
            told = f"NOT_INSPECTED {row['code']}" if row["by"] == "verdict" else f"rule: {row['why']}"
            saw[told.replace("_", " ")] = saw.get(told.replace("_", " "), 0) + 1
        good = [
            sent + timedelta(milliseconds=row["latency_ms"])
            for sent, row in own
            if sent >= strike.ended and row["verdict"] in ("PASS", "FAIL") and row["by"] == "verdict"
        ]
        next_s = (min(good) - strike.ended).total_seconds() if good else None
        found.append({"name": strike.name, "saw": saw, "next_good_s": next_s, "parts": len(own)})
    return found


def export(world: World) -> Path:
    """The station's books as it gives them to anybody."""
    out = world.folder / "ledger.csv"
    done = subprocess.run(
        [sys.executable, "-m", "inspector", "results", "export", "--format", "csv", "--out", str(out),
         "--station", str(world.station_file)],
        cwd=ROOT, capture_output=True, text=True, timeout=EXPORT_LIMIT_S,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"inspector results export: {done.stderr.strip() or done.stdout.strip()}")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section of docs/evidence/plc.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="less than 600: no page")
    parser.add_argument("--rate", type=float, default=10.0, help="parts a second")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--port", type=int, default=21400, help="of the broker; the next one is the proxy's")
    parser.add_argument("--mischief", type=float, default=1.0, help="other commands a second")
    parser.add_argument("--wire", choices=("json", "text", "binary"), default="json", help="else no page")
    parser.add_argument("--only", default="", help="faults whose names hold this; no page")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "storm")
    given = parser.parse_args(arguments)
    strikes, code, world = run(given)
    book = json.loads((world.folder / "book.json").read_text(encoding="utf-8"))
    found = books.compare(book, books.read_ledger(export(world)))
    kept, counted = recount(world.config.state_dir / "ledger.db")
    if kept != counted:
        found.differences.append(f"counters {kept}, recount {counted}")
    summary = book["summary"]
    decided = summary["passed"] + summary["rejected_by_verdict"]
    if given.wire != "binary" and decided < summary["sent"] * LEAST_DECIDED:  # that one is silent after each fault
        found.differences.append(f"only {decided} of {summary['sent']} parts were decided by a verdict")
    text = report(given, judge(strikes, book["rows"]), book["summary"], found)
    print(text)
    if given.seconds >= 600 and not given.only and given.wire == "json":
        replace_section("storm", text)
    return 1 if code or found.differences else 0


def report(
    given: argparse.Namespace, events: list[dict[str, Any]], summary: dict[str, Any], found: books.Comparison
) -> str:
    """The section of the page."""
    lines = [
        f"{given.seconds / 60:g} minutes at {given.rate:g} parts/s over mosquitto, {len(events)} faults at random,",
        "one after another. The belt waits at most the deadline (300 ms) for the part before the camera.",
        "",
        "| fault | times | what the PLC saw | next good verdict after: median, most |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(event["name"] for event in events):
        own = [event for event in events if event["name"] == name]
        saw: dict[str, int] = {}
        for event in own:
            for what, n in event["saw"].items():
                saw[what] = saw.get(what, 0) + n
        told = ", ".join(f"{n} x {what}" for what, n in sorted(saw.items(), key=lambda pair: -pair[1]))
        known = sorted(event["next_good_s"] for event in own if event["next_good_s"] is not None)
        after = f"{known[len(known) // 2]:.1f} s, {known[-1]:.1f} s" if known else "-"
        never = sum(1 for event in own if event["next_good_s"] is None)
        after += f" ({never} x not before the next fault)" if never else ""
        lines.append(f"| {name} | {len(own)} | {told or 'nothing'} | {after} |")
    by_rule = {name: n for name, n in summary["rejected_by_rule"].items() if n}
    told_n = summary["sent"] - sum(by_rule.values())
    faults, records, sums = summary["faults"], summary.get("records", {}), found.sums
    lines += [
        "",
        f"**{summary['sent']} parts sent = {told_n} decided by a verdict ({summary['passed']} passed, "
        f"{summary['rejected_by_verdict']} rejected) + {sum(by_rule.values())} rejected by the PLC's rule** "
        f"({', '.join(f'{name} {n}' for name, n in by_rule.items()) or 'none'}).",
        f"Dangerous passes: **{summary['dangerous']}**. Doubled: **{faults.get('doubled', 0)}**. Stale `result`: "
        f"**{faults.get('stale', 0)}**. The oldest answer was {summary['oldest_answer_ms']:.0f} ms old (deadline "
        f"{DEADLINE_MS} ms), {summary['late_by_our_clock']} came more than 500 ms too late and were not used.",
        f"Broken words of any kind: {faults or 0}.",
        f"Other commands: {', '.join(f'{n} {what}' for what, n in summary.get('mischief', {}).items())}.",
        f"Records: {records.get('records', 0)} came ({records.get('late_records', 0)} of them late verdicts), "
        f"{records.get('repeated', 0)} repeats, {sums['records_missing']} missing, "
        f"faults {records.get('faults') or 0}.",
        f"Sparkplug: {_sparkplug(summary.get('sparkplug', {}))}.",
        f"Of the parts without a message {sums['never_reached_the_station']} never reached the station, "
        f"{sums['not_told_but_in_the_ledger']} are in its ledger.",
        "",
        "The PLC's book, the ledger and the records are equal."
        if not found.differences
        else f"**The books differ** ({len(found.differences)}): " + "; ".join(found.differences[:10]),
    ]
    return "\n".join(lines)


def _sparkplug(sums: dict[str, Any]) -> str:
    told = [f"{n} {what}" for what, n in sums.items() if isinstance(n, int)]
    return ", ".join([*told, f"faults {sums.get('faults') or 0}"])


if __name__ == "__main__":
    sys.exit(main())
