"""``make bench``: the station beside a bare loop that does the same vision work, both in one run.

Throughput: as fast as each can go. Latency: at a fixed rate, from the trigger's publication to the result's
arrival at an MQTT client, beside the bare loop's time from trigger to verdict at the same rate; the difference
is what the whole framework (broker, books, processes) adds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from inspector.cli.demo import ROOT, World
from inspector.station.ledger import search
from tools.benchmarks.machine import describe
from tools.benchmarks.pictures import load_pictures
from tools.virtual_camera.control import CameraControl

BASE = "vis/v1/demo/top"
OUTSTANDING = 4


class Client:
    """The smallest PLC: triggers and takes results."""

    def __init__(self, port: int, lens: CameraControl) -> None:
        self._lens = lens
        self._pictures = load_pictures()
        self._sent: dict[str, float] = {}
        self._room = threading.Semaphore(OUTSTANDING)
        self._lock = threading.Lock()
        self.took: list[float] = []
        self.verdicts: dict[str, int] = {}
        self.ready = threading.Event()
        self._number = 0
        self._answer = threading.Event()
        self._answered = 0.0
        self._run = format(time.time_ns() & 0xFFFFFF, "x")
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench")
        self._mqtt.on_socket_open = lambda c, u, s: s.setsockopt(6, 1, 1)  # TCP_NODELAY
        wanted = [(f"{BASE}/result", 1), (f"{BASE}/state", 1), ("bench/answer", 1)]
        self._mqtt.on_connect = lambda c, *_: c.subscribe(wanted)
        self._mqtt.on_message = self._message
        self._mqtt.connect("127.0.0.1", port)
        self._mqtt.loop_start()

    def _message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        now = time.perf_counter()
        if message.topic == "bench/answer":
            self._answered = now
            self._answer.set()
            return
        body = json.loads(message.payload)
        if message.topic.endswith("/state"):
            (self.ready.set if body["ready"] else self.ready.clear)()
            return
        with self._lock:
            sent = self._sent.pop(body["cmd_id"], None)
            if sent is not None:
                self.took.append((now - sent) * 1000)
                self.verdicts[body["verdict"]] = self.verdicts.get(body["verdict"], 0) + 1
        self._room.release()

    def echo(self, count: int, period_s: float) -> float:
        """Median ms of a bare paho client's answer over the same broker, to a message as long as a trigger's."""
        took = []
        for _ in range(count):
            time.sleep(period_s)
            self._answer.clear()
            began = time.perf_counter()
            self._mqtt.publish("bench/question", b"x" * 90, qos=1)
            if not self._answer.wait(5):
                raise SystemExit("no echo within 5 s")
            took.append((self._answered - began) * 1000)
        return statistics.median(took)

    def run(self, count: int, period_s: float) -> dict[str, Any]:
        """So many parts, as fast as ``OUTSTANDING`` allows or with a fixed period."""
        with self._lock:
            self.took, self.verdicts = [], {}
        began = time.perf_counter()
        for index in range(count):
            if period_s:
                time.sleep(max(0.0, began + index * period_s - time.perf_counter()))
            if not self._room.acquire(timeout=5):
                raise SystemExit("no result within 5 s")
            self._number += 1
            picture = self._pictures[index % len(self._pictures)]
            self._lens.show(0, picture.image, self._number)
            ids = {"cmd_id": f"{self._run}-{self._number}", "part_id": f"P{self._number}"}
            payload = json.dumps({"schema": "1.0", **ids, "deadline_ms": 2000})
            with self._lock:
                self._sent[ids["cmd_id"]] = time.perf_counter()
            self._mqtt.publish(f"{BASE}/cmd/trigger", payload, qos=1)
        for _ in range(OUTSTANDING):
            if not self._room.acquire(timeout=5):
                raise SystemExit("no result within 5 s")
        for _ in range(OUTSTANDING):
            self._room.release()
        wall = time.perf_counter() - began
        took = sorted(self.took)
        return {
            "rate": count / wall,
            "p50": round(took[len(took) // 2], 2),
            "p99": round(took[int(len(took) * 0.99)], 2),
            "outcomes": dict(self.verdicts),
        }


class Bare:
    """The bare loop in its own process."""

    def __init__(self, control_file: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.benchmarks.bare", str(control_file)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit("the bare loop died")
        return line

    def run(self, count: int, period_s: float) -> dict[str, Any]:
        """So many parts."""
        if self._process.stdin:
            self._process.stdin.write(f"{count} {period_s * 1000}\n")
            self._process.stdin.flush()
        result: dict[str, Any] = json.loads(self._line())
        return result

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(5)


def stages(ledger: Path, newest: int) -> dict[str, tuple[float, float]]:
    """Median and 99th percentile in ms of each step of the walk, one after another."""
    names = ("accepted", "captured", "judged", "turn")
    steps: dict[str, list[float]] = {"capture": [], "rest of accept (row on disk)": [], "judge, there and back": []}
    steps |= {"of it judge alone": [], "wait for the turn": []}
    for row in search(ledger, limit=newest):
        if row.verdict is None or not set(names) <= set(row.verdict.stages_us) or row.t_ms is None:
            continue
        at = row.verdict.stages_us
        steps["capture"].append(at["captured"] / 1000)
        steps["rest of accept (row on disk)"].append((at["accepted"] - at["captured"]) / 1000)
        steps["judge, there and back"].append((at["judged"] - at["accepted"]) / 1000)
        steps["of it judge alone"].append(at.get("judge", 0) / 1000)
        steps["wait for the turn"].append((at["turn"] - at["judged"]) / 1000)
    return {k: (statistics.median(v), sorted(v)[int(len(v) * 0.99)]) for k, v in steps.items() if v}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write docs/evidence/bench.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", type=int, default=150, help="a round")
    parser.add_argument("--rate", type=float, default=10.0, help="parts a second for the latency")
    parser.add_argument("--port", type=int, default=18840)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence" / "bench.md")
    given = parser.parse_args(arguments)
    world = World(port=given.port, identity="command", recipe=1, folder=ROOT / "var" / "bench")
    with world:
        lens = CameraControl.open(world.control_file)
        client = Client(given.port, lens)
        if not client.ready.wait(60):
            raise SystemExit("the station did not become Ready within 60 s")
        bare = Bare(world.control_file, world.environment)
        echo = subprocess.Popen([sys.executable, "-m", "tools.benchmarks.echo", str(given.port)], cwd=ROOT)
        echoes: list[float] = []
        try:
            client.run(30, 0)
            fast: list[tuple[dict[str, Any], dict[str, Any]]] = []
            paced: list[tuple[dict[str, Any], dict[str, Any]]] = []
            for number in range(given.rounds):
                fast.append((bare.run(given.parts, 0), client.run(given.parts, 0)))
                print(
                    f"round {number + 1}: bare {fast[-1][0]['rate']:.1f}/s, station {fast[-1][1]['rate']:.1f}/s",
                    flush=True,
                )
            for number in range(given.rounds):
                count = given.parts // 2
                paced.append((bare.run(count, 1 / given.rate), client.run(count, 1 / given.rate)))
                echoes.append(client.echo(40, 1 / given.rate))
                print(
                    f"round {number + 1}: bare p50 {paced[-1][0]['p50']} ms, station p50 {paced[-1][1]['p50']} ms",
                    flush=True,
                )
            table = stages(world.config.state_dir / "ledger.db", given.rounds * (given.parts // 2))
        finally:
            bare.close()
            echo.terminate()
            echo.wait(5)
    text = report(given, fast, paced, table, statistics.median(echoes))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


def report(
    given: argparse.Namespace,
    fast: list[tuple[dict[str, Any], dict[str, Any]]],
    paced: list[tuple[dict[str, Any], dict[str, Any]]],
    table: dict[str, tuple[float, float]],
    echo_ms: float,
) -> str:
    """The evidence page."""
    ratio = statistics.median(s["rate"] / b["rate"] for b, s in fast)
    added = statistics.median(s["p50"] - b["p50"] for b, s in paced)
    lines = [
        "# The station beside a bare loop",
        "",
        f"`make bench`, {given.rounds} rounds of {given.parts} parts, {datetime.now(timezone.utc):%Y-%m-%d},",
        f"{describe()}.",
        "Camera: virtual, 1280x1024 Mono8, exposure 1 ms, through harvesters. Recipe: `recipes/plate.yaml` on the CPU,",
        "one thread. Bare loop: one process, harvesters and `judge()`, no broker, no books, no archive. Rounds",
        "alternate.",
        "",
        f"**Throughput: {ratio:.2f} of the bare loop** (median of the rounds; goal >= 0.9).",
        f"**Added latency: {added:.1f} ms** at {given.rate:g} parts/s (median of the rounds' medians; goal <= 3 ms):",
        "trigger published to result received over the broker, less the bare loop's trigger to verdict.",
        f"A bare paho echo over the same broker, in the same run, takes {echo_ms:.1f} ms of it; the station, with two",
        f"rows synced to disk and three processes, {added - echo_ms:.1f} ms.",
        "",
        "| round | bare parts/s | station parts/s | ratio | bare p50 / p99 ms | station p50 / p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    for i, ((b, s), (pb, ps)) in enumerate(zip(fast, paced, strict=True)):
        lines.append(
            f"| {i + 1} | {b['rate']:.1f} | {s['rate']:.1f} | {s['rate'] / b['rate']:.2f} "
            f"| {pb['p50']:.1f} / {pb['p99']:.1f} | {ps['p50']:.1f} / {ps['p99']:.1f} |"
        )
    lines += [
        "",
        f"The walk's steps in the station at {given.rate:g} parts/s:",
        "",
        "| step | p50 ms | p99 ms |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {p50:.2f} | {p99:.2f} |" for name, (p50, p99) in table.items()]
    bare_capture = statistics.median(b["capture_p50"] for b, _ in paced)
    lines += [
        "",
        f"The bare loop's capture takes {bare_capture:.2f} ms (p50). Verdicts: bare {fast[-1][0]['outcomes']},",
        f"station {fast[-1][1]['outcomes']} in the last round.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
