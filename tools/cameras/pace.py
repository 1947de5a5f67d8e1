"""``make pace``: two 5 MP cameras at 20 parts a second each through a whole station, beside bare harvesters loops.

In one run, alternately: the bare loops (a process for each camera), the station with each part seen by both cameras,
the bare loops again; then as fast as it goes, the camera process and the bare loop in turns. The station and the bare
loops have cameras of their own in the same virtual producer, with the same pictures, and rest while the others run.

What must hold: no lost trigger, neither by the camera's counters nor by the ledger; from trigger to slot at most 1 ms
more than bare in the median; at least 0.85 of its throughput. Exit status 1 when one of these is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from inspector.station.cameras import NICE
from inspector.station.children import Child
from inspector.station.ledger import search
from inspector.wire import CameraState, Capture, Captured, CaptureFailed, FromChild, Grant
from tests.acquire.rig import SOFTWARE, WIRED, World, write_yaml
from tests.walk.harness import BASE, Walk
from tools.cameras.page import replace_section
from tools.cameras.plc import SmallPlc
from tools.virtual_camera.control import CTI, Counters, build

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS = 2048, 2448
FORMAT = {"Width": COLUMNS, "Height": ROWS}
CAMERAS = {"left": "VC0001", "right": "VC0002"}
BARE = ("VC0003", "VC0004")
WINDOW_MS = 20
OUTSTANDING = 2  # parts that the camera process is asked for at a time, as fast as it goes
MEDIAN_GOAL_MS = 1.0
THROUGHPUT_GOAL = 0.85
FAST_SLOTS = 4


@dataclass(frozen=True)
class Quantiles:
    """Of times in ms."""

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, took_ms: Sequence[float]) -> Quantiles:
        """Of at least one time."""
        p50, p99 = np.percentile(took_ms, (50, 99))
        return cls(len(took_ms), float(p50), float(p99), max(took_ms))

    def __str__(self) -> str:
        return f"{self.p50:.2f} / {self.p99:.2f} / {self.most:.1f}"


@dataclass
class Paced:
    """What a station did at a fixed rate."""

    parts: int
    seconds: float
    outcomes: Counter[str]
    reasons: Counter[str]
    to_slot_ms: dict[str, list[float]]  # by camera
    to_result_ms: list[float]
    counters: dict[str, Counters]  # by camera, of this time alone
    cpu: dict[str, float]  # shares of one core


def light_recipe() -> dict[str, Any]:
    """A view of each camera, a small region in each."""
    compare = {
        f"lid_{name}": {
            "tool": "presence", "view": name, "region": [200, 20, 400, 90], "level": 150, "count": "brighter",
            "share": "50 %", "expect": "present", "fail": f"{1001 + n} Lid missing",
        }
        for n, name in enumerate(CAMERAS)
    }  # fmt: skip
    return {
        "recipe": 1, "rev": 1, "name": "Two lids", "views": {name: {"camera": name} for name in CAMERAS},
        "compare": compare,
        "verdict": {"within": "500 ms", "keep": {"reject": "none", "pass": "none", "not_inspected": "none"}},
    }  # fmt: skip


def picture() -> NDArray[np.uint8]:
    """5 MP with a lid."""
    image = np.random.default_rng(1).integers(40, 90, (ROWS, COLUMNS), np.uint8)
    image[10:100, 150:450] = 220
    return image


# --- the bare loops ------------------------------------------------------------------------------------
class BareLoop:
    """The bare loop in its own process."""

    def __init__(self, serial: str, ring: Path, control: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.cameras.bare", serial, str(ring)],
            cwd=ROOT,
            env={**os.environ, "VIRTUAL_CAMERA_CONTROL": str(control)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != "ready\n":
            raise SystemExit("the bare loop does not start")

    def ask(self, line: str) -> None:
        """Begin with something."""
        if self._process.stdin:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came out of it."""
        told: dict[str, Any] = json.loads(self._line())
        return told

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("the bare loop died")
        return line

    def close(self) -> None:
        """End it."""
        self._process.kill()
        with self._process:
            self._process.wait(5)


def bare_pace(loops: Sequence[BareLoop], rate: float, seconds: float) -> list[float]:
    """Both bare loops at the same moments; ms from trigger to slot of both."""
    start_ns = time.monotonic_ns() + 200_000_000
    for loop in loops:
        loop.ask(f"pace {start_ns} {1000 / rate} {max(1, round(rate * seconds))}")
    return [ms for loop in loops for ms in loop.answer()["took_ms"]]


# --- the station ---------------------------------------------------------------------------------------
class Station:
    """A whole station with two cameras, and two more that it knows nothing of."""

    def __init__(self, folder: Path, runtime: Path, mode: str, trigger_limit_ms: int) -> None:
        identity: dict[str, Any] = {"mode": mode} if mode == "command" else {"mode": mode, "window_ms": WINDOW_MS}
        features = {**(SOFTWARE if mode == "command" else WIRED), **FORMAT}
        file = str(write_yaml(folder / "5mp.yaml", {"features": features}))
        same = {"producer": str(CTI), "features": file, "trigger_limit_ms": trigger_limit_ms}
        cameras = {n: {"serial": s, **same} for n, s in CAMERAS.items()}
        self.mode = mode
        self.walk = Walk(
            folder, files=[light_recipe()], devices=4, sensor=(ROWS, COLUMNS), runtime_dir=str(runtime),
            cameras=cameras, identity=identity,
        )  # fmt: skip
        image = picture()
        for device in range(4):
            self.walk.control.show(device, image)
        self._open = contextlib.ExitStack()
        self._open.callback(self.walk.close)
        try:
            self.walk.broker.start()
            self.plc = SmallPlc(self.walk.port, BASE)
            self._open.callback(self.plc.close)
            self.walk.start(ready=False, broker=False)
            if not self.plc.wait_ready(60):
                raise SystemExit(f"the station is not Ready after 60 s\n{self.walk.log}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything."""
        self._open.close()

    def pace(self, rate: float, seconds: float) -> Paced:
        """So many parts a second, each before both cameras."""
        count = max(1, round(rate * seconds))
        before = self._counters()
        cpu = self._cpu_s()
        sent: dict[str, float] = {}
        began = time.monotonic() + 0.1
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            now = time.monotonic()
            if self.mode != "command":
                for device in range(len(CAMERAS)):
                    self.walk.control.pulse(device)
            sent[self.plc.trigger()] = now
        wall_s = time.monotonic() - began
        for cmd_id in sent:
            self.plc.wait(cmd_id, 2.0)
        used = {name: (s - cpu.get(name, 0.0)) / wall_s for name, s in self._cpu_s().items()}
        after = self._counters()
        told = Counter(str(self.plc.results.get(i, {}).get("verdict", "none")) for i in sent)
        to_slot: dict[str, list[float]] = {name: [] for name in CAMERAS}
        to_result, reasons = [], Counter[str]()
        for row in search(self.walk.ledger, limit=count + 100):
            if row.cmd_id in sent and row.verdict is not None:
                for frame in row.verdict.frames:
                    to_slot[frame.camera].append((frame.received_ns - frame.triggered_ns) / 1e6)
                if row.outcome != "PASS":
                    reasons[re.sub(r"\d+", "N", row.verdict.text)] += 1
                if row.t_ms is not None:
                    to_result.append(float(row.t_ms))
        return Paced(
            count, wall_s, told, reasons, to_slot, to_result,
            {n: _less(after[n], before[n]) for n in CAMERAS}, used,
        )  # fmt: skip

    def _counters(self) -> dict[str, Counters]:
        return {name: self.walk.control.counters(device) for device, name in enumerate(CAMERAS)}

    def _cpu_s(self) -> dict[str, float]:
        assert self.walk.station is not None  # noqa: S101  # it runs
        found: dict[str, float] = {}
        known = [psutil.Process(self.walk.station.pid), *self.walk.children()]
        if self.walk.broker.process is not None:
            known.append(psutil.Process(self.walk.broker.process.pid))
        for process in [*known, psutil.Process()]:
            times = process.cpu_times()
            found[_name(process)] = found.get(_name(process), 0.0) + times.user + times.system
        return found


def _name(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    module = re.search(r"inspector\.(\w+)\.process", command)
    if module:
        return {"acquire": "camera processes", "recipe": "judge"}.get(module[1], module[1])
    return "broker" if "tools.broker" in command else "station" if "inspector run" in command else "PLC and light"


def _less(after: Counters, before: Counters) -> Counters:
    return Counters(*(a - b for a, b in zip(vars(after).values(), vars(before).values(), strict=True)))


def lost(paced: Paced) -> list[str]:
    """What is broken: triggers that did not become a PASS."""
    broken = []
    for name, c in paced.counters.items():
        wrong = {
            "triggers less parts": c.triggers - paced.parts, "missed": c.missed, "underruns": c.underruns,
            "triggers less deliveries": c.triggers - c.delivered,
        }  # fmt: skip
        broken += [f"camera {name}: {what} {n}" for what, n in wrong.items() if n]
        if len(paced.to_slot_ms[name]) != paced.parts:
            broken.append(f"camera {name}: {len(paced.to_slot_ms[name])} pictures in the ledger of {paced.parts}")
    if paced.outcomes != Counter(PASS=paced.parts):
        broken.append(f"of {paced.parts} parts: {dict(paced.outcomes)}; {dict(paced.reasons.most_common(5))}")
    return broken


# --- as fast as it goes --------------------------------------------------------------------------------
class Asker:
    """Keeps a camera process as a station does, and asks it for the next part as soon as it has one."""

    def __init__(self, world: World) -> None:
        self.count = 0
        self.ready = asyncio.Event()
        self.wrong = ""
        self._seq = 0
        arguments = ["--station", str(world.station_file), "--camera", "top"]
        self.child = Child(
            "camera top", "inspector.acquire.process", arguments, receive=self._receive, started=lambda: None,
            gone=self._gone, nice=NICE, environment=world.environment,
        )  # fmt: skip

    def ask(self) -> None:
        """For one more picture."""
        self._seq += 1
        now = time.monotonic_ns()
        self.child.send(Capture(self._seq, now, now + 5_000_000_000))

    def _receive(self, message: FromChild) -> None:
        if isinstance(message, Captured):
            self.count += 1
            self.child.send(Grant(tuple(frame.slot for frame in message.frames)))
            self.ask()
        elif isinstance(message, CaptureFailed):
            self.wrong = message.text
        elif isinstance(message, CameraState) and message.fresh:
            self.ready.set()

    def _gone(self, why: str) -> None:
        self.wrong = why


async def _ours_fast(world: World, seconds: float) -> float:
    asker = Asker(world)
    asker.child.start()
    try:
        await asyncio.wait_for(asker.ready.wait(), 20)
        for _ in range(OUTSTANDING):
            asker.ask()
        await asyncio.sleep(0.2)  # warm
        before, began = asker.count, time.monotonic()
        await asyncio.sleep(seconds)
        rate = (asker.count - before) / (time.monotonic() - began)
        if asker.wrong or not rate:
            raise SystemExit(f"the camera process as fast as it goes: {asker.wrong or 'no picture'}")
    finally:
        await asker.child.stop(3.0)
    return rate


def fast(folder: Path, runtime: Path, seconds: float, rounds: int) -> list[tuple[float, float]]:
    """Frames a second of one camera: (the camera process, the bare loop), in turns."""
    world = World(folder, devices=2, sensor=(ROWS, COLUMNS))
    world.runtime = runtime
    world.camera(features={**SOFTWARE, **FORMAT}, slots=2 * FAST_SLOTS)
    image = picture()
    for device in range(2):
        world.control.show(device, image)
    found = []
    for _ in range(rounds):
        ours = asyncio.run(_ours_fast(world, seconds))
        loop = BareLoop("VC0002", runtime / "bare-fast", world.control.path)
        try:
            loop.ask(f"fast {seconds}")
            bare = loop.answer()["rate"]
        finally:
            loop.close()
        found.append((ours, bare))
        print(f"as fast as it goes: ours {ours:.0f}/s, bare {bare:.0f}/s", flush=True)
    world.control.close()
    return found


# --- the report ----------------------------------------------------------------------------------------
def report(
    given: argparse.Namespace,
    bare: Sequence[Sequence[float]],
    paced: Mapping[str, Paced],
    rates: Sequence[tuple[float, float]],
    broken: Sequence[str],
) -> str:
    """The section's text."""
    ours = paced["command"]
    all_bare = Quantiles.of([ms for one in bare for ms in one])
    all_ours = Quantiles.of([ms for one in ours.to_slot_ms.values() for ms in one])
    ratio = float(np.median([o / b for o, b in rates]))
    lines = [
        f"{COLUMNS}x{ROWS} Mono8, exposure 1 ms, two virtual cameras, {given.rate:g} parts/s, each part seen by both",
        "(one view each, one verdict). Broker, station, camera processes, judge, archive and PLC share the cores.",
        "Bare: harvesters, fetch and copy into shared memory, one process a camera, both fired at the same moments.",
        "The station's time is from firing the camera to the picture in its slot, `triggered_ns` to `received_ns`;",
        f"a part whose camera could not be fired within {given.trigger_limit_ms} ms would be NOT_INSPECTED.",
        "",
        "| | pictures | trigger to slot p50 / p99 / max ms |",
        "|---|---|---|",
        f"| bare, before | {len(bare[0])} | {Quantiles.of(bare[0])} |",
    ]
    for name, took in ours.to_slot_ms.items():
        lines.append(f"| station, `command`, {name} | {len(took)} | {Quantiles.of(took)} |")
    lines += [
        f"| bare, after | {len(bare[1])} | {Quantiles.of(bare[1])} |",
    ]
    for name, took in paced["announced"].to_slot_ms.items() if "announced" in paced else ():
        lines.append(f"| station, `announced`, {name} (from exposure) | {len(took)} | {Quantiles.of(took)} |")
    lines += [
        "",
        f"**Median {all_ours.p50 - all_bare.p50:+.2f} ms against bare** (goal: at most +{MEDIAN_GOAL_MS:g} ms; both",
        "bare runs and both cameras together).",
        f"**Throughput {ratio:.2f} of bare** (median of {len(rates)} rounds of {given.fast_s:g} s, one camera as fast",
        f"as it goes; goal at least {THROUGHPUT_GOAL:g}): "
        + ", ".join(f"{o:.0f} of {b:.0f} pictures/s" for o, b in rates)
        + ".",
        "",
        "| `identity` | parts | time | verdicts | triggers, missed, underruns, delivered: left; right "
        "| trigger to verdict p50 / p99 / max ms |",
        "|---|---|---|---|---|---|",
    ]
    for mode, one in paced.items():
        books = "; ".join(f"{c.triggers}, {c.missed}, {c.underruns}, {c.delivered}" for c in one.counters.values())
        verdicts = ", ".join(f"{n} {v}" for v, n in one.outcomes.items())
        times = Quantiles.of(one.to_result_ms) if one.to_result_ms else "-"
        lines.append(f"| {mode} | {one.parts} | {one.seconds:.0f} s | {verdicts} | {books} | {times} |")
    lines += [
        "",
        "Shares of one core at this rate (`command`): "
        + ", ".join(f"{name} {share:.0%}" for name, share in ours.cpu.items())
        + ".",
        "",
        "Each trigger became one picture of each camera, and a PASS."
        if not any(lost(p) for p in paced.values())
        else "**Not each trigger became a PASS.**",
        "Every goal was met." if not broken else "**Not met:** " + "; ".join(broken) + ".",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section (not with ``--short``)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=20.0, help="parts a second")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the station in `command`")
    parser.add_argument("--announced-s", type=float, default=120.0, help="of the station in `announced`; 0: none")
    parser.add_argument("--bare-s", type=float, default=60.0, help="of the bare loops, before and after")
    parser.add_argument("--fast-s", type=float, default=20.0, help="of each as fast as it goes")
    parser.add_argument("--rounds", type=int, default=3, help="as fast as it goes")
    parser.add_argument("--trigger-limit-ms", type=int, default=50, help="as in station.yaml, whose default it is")
    parser.add_argument("--short", action="store_true", help="a few seconds of each, nothing written")
    if parser.parse_args(arguments).short:
        parser.set_defaults(seconds=2.0, announced_s=2.0, bare_s=1.0, fast_s=1.0, rounds=1)
    given = parser.parse_args(arguments)
    build()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    bare: list[list[float]] = []
    paced: dict[str, Paced] = {}
    for mode, seconds in (("command", given.seconds), ("announced", given.announced_s)):
        if not seconds:
            continue
        with (
            tempfile.TemporaryDirectory(prefix="inspector-pace-") as folder,
            tempfile.TemporaryDirectory(prefix="inspector-pace-", dir=memory) as runtime,
        ):
            station = Station(Path(folder), Path(runtime), mode, given.trigger_limit_ms)
            loops: list[BareLoop] = []
            try:
                if mode == "command":
                    for n, serial in enumerate(BARE):
                        loops.append(BareLoop(serial, Path(runtime) / f"bare-{n}", station.walk.control.path))
                    bare.append(bare_pace(loops, given.rate, given.bare_s))
                    print(f"bare: {Quantiles.of(bare[-1])} ms", flush=True)
                paced[mode] = station.pace(given.rate, seconds)
                for name, took in paced[mode].to_slot_ms.items():
                    print(f"{mode}, {name}: {Quantiles.of(took) if took else '-'} ms", flush=True)
                print(f"{mode}: {dict(paced[mode].outcomes)} {paced[mode].cpu}", flush=True)
                if mode == "command":
                    bare.append(bare_pace(loops, given.rate, given.bare_s))
                    print(f"bare: {Quantiles.of(bare[-1])} ms", flush=True)
            finally:
                for loop in loops:
                    loop.close()
                station.close()
    with (
        tempfile.TemporaryDirectory(prefix="inspector-pace-") as folder,
        tempfile.TemporaryDirectory(prefix="inspector-pace-", dir=memory) as runtime,
    ):
        rates = fast(Path(folder), Path(runtime), given.fast_s, given.rounds)
    broken = [f"`{mode}`: {what}" for mode, one in paced.items() for what in lost(one)]
    both = [ms for one in paced["command"].to_slot_ms.values() for ms in one]
    more_ms = float(np.median(both)) - float(np.median([ms for one in bare for ms in one]))
    if more_ms > MEDIAN_GOAL_MS:
        broken.append(f"median {more_ms:+.2f} ms")
    ratio = float(np.median([o / b for o, b in rates]))
    if ratio < THROUGHPUT_GOAL:
        broken.append(f"throughput {ratio:.2f} of bare")
    text = report(given, bare, paced, rates, broken)
    print(text)
    if not given.short:
        replace_section("pace", text)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
