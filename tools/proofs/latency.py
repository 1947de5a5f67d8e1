"""``make latency``: what the station adds between a trigger and its result, beside a bare paho echo in the same run.

A real mosquitto, a whole station, a small picture with a short exposure and the smallest recipe there is: what is
left is the framework. Every trigger stands beside an echo of the same length over the same broker, by turns, so that
whatever else this machine does hits both.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from ruamel.yaml import YAML

from inspector.cli.demo import ROOT, World
from inspector.station.ledger import search
from tools.proofs.page import replace_section
from tools.virtual_camera.control import CameraControl

BASE = "vis/v1/demo/top"
WIDTH, HEIGHT, EXPOSURE_US, GAIN_DB = 640, 480, 100, 20
LIMIT_S = 5.0
GOAL_P50_MS, GOAL_P99_MS = 3.0, 10.0
STEPS = (
    ("trigger read to camera fired", "received", "fired"),
    ("camera fired to picture in the ring", "fired", "in ring"),
    ("from there to the station", "in ring", "captured"),
    ("waiting for the row of the trigger", "captured", "accepted"),
    ("judge process, there and back", "accepted", "judged"),
    ("waiting for the turn", "judged", "turn"),
)


class Stopwatch:
    """A PLC that times results and echoes alike."""

    def __init__(self, port: int) -> None:
        self.ready = threading.Event()
        self._came = threading.Event()
        self._due, self._came_ns = b"", 0
        self.verdicts: dict[str, int] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_socket_open = lambda c, u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        topics = [(f"{BASE}/result", 1), (f"{BASE}/state", 1), ("bench/answer", 1)]
        self._client.on_connect = lambda c, *_: c.subscribe(topics)
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now = time.perf_counter_ns()
        if message.topic.endswith("/state"):
            (self.ready.set if json.loads(message.payload)["ready"] else self.ready.clear)()
        elif self._due and self._due in message.payload:
            self._due, self._came_ns = b"", now
            if message.topic.endswith("/result"):
                verdict = json.loads(message.payload)["verdict"]
                self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
            self._came.set()

    def ask(self, topic: str, word: str, payload: bytes) -> float:
        """Time in ms from handing ``payload`` to the client until a message with ``word`` in it has come."""
        self._came.clear()
        self._due = word.encode()
        began = time.perf_counter_ns()
        self._client.publish(topic, payload, qos=1)
        if not self._came.wait(LIMIT_S):
            raise SystemExit(f"no answer to {topic} within {LIMIT_S:.0f} s")
        return (self._came_ns - began) / 1e6

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Bench(World):
    """The demo's world with a small picture and the smallest recipe."""

    def _write_station(self, runtime: Path) -> None:
        super()._write_station(runtime)
        yaml = YAML(typ="safe", pure=True)
        config = yaml.load(self.station_file)
        camera = yaml.load(Path(config["cameras"]["top"]["features"]))
        camera["features"] |= {"Width": WIDTH, "Height": HEIGHT, "ExposureTime": EXPOSURE_US, "Gain": GAIN_DB}
        lid = {"tool": "presence", "region": [10, 10, 40, 40], "level": 200, "count": "brighter", "share": "50 %",
               "expect": "absent", "fail": "1001 Bright"}  # fmt: skip
        keep = {"reject": "none", "pass": "none", "not_inspected": "none"}
        verdict = {"within": "1 s", "keep": keep}
        recipe = {"recipe": 1, "rev": 1, "name": "Smallest", "compare": {"lid": lid}, "verdict": verdict}
        (self.folder / "recipes").mkdir()
        for name, content in (("camera.yaml", camera), ("recipes/smallest.yaml", recipe)):
            with (self.folder / name).open("w", encoding="utf-8") as file:
                yaml.dump(content, file)
        config["cameras"]["top"] |= {"features": str(self.folder / "camera.yaml"), "trigger_limit_ms": 2000}
        config["recipes"] = str(self.folder / "recipes")
        with self.station_file.open("w", encoding="utf-8") as file:
            yaml.dump(config, file)


def steps(ledger: Path, newest: int) -> list[tuple[str, float, float]]:
    """(step, p50, p99) in ms, of the walk's steps as the station's own records have them."""
    spans: dict[str, list[float]] = {name: [] for name, _, _ in STEPS}
    for row in search(ledger, limit=newest):
        if row.verdict is None or row.t_ms is None:
            continue
        at = {"received": 0, **row.verdict.stages_us}
        if row.verdict.frames:
            frame, received_ns = row.verdict.frames[0], row.verdict.part.trigger.received_ns
            at |= {"fired": (frame.triggered_ns - received_ns) // 1000}
            at |= {"in ring": (frame.received_ns - received_ns) // 1000}
        for name, begin, end in STEPS:
            if begin in at and end in at:
                spans[name].append(max(0, at[end] - at[begin]) / 1000)
    return [(name, *quantiles(values)) for name, values in spans.items() if values]


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0, help="parts a second, and as many echoes")
    parser.add_argument("--port", type=int, default=18860)
    parser.add_argument("--write", action="store_true", help="into docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    folder = ROOT / "var" / "latency"
    with Bench(port=given.port, identity="command", recipe=1, folder=folder, broker="mosquitto") as world:
        lens = CameraControl.open(world.control_file)
        lens.show(0, np.full((HEIGHT, WIDTH), 200, np.uint8), 1)
        watch = Stopwatch(given.port)
        echo = subprocess.Popen([sys.executable, "-m", "tools.benchmarks.echo", str(given.port)], cwd=ROOT)
        try:
            if not watch.ready.wait(60):
                raise SystemExit("the station did not become Ready within 60 s")
            time.sleep(1.0)
            station, bare = measure(watch, given.parts, given.rate)
        finally:
            echo.terminate()
            echo.wait(5)
            watch.close()
            lens.close()
        table = steps(world.config.state_dir / "ledger.db", given.parts)
    text, reached = report(given, station, bare, table, watch.verdicts)
    print(text)
    if given.write:
        replace_section("latency", text)
    return 0 if reached else 1


def measure(watch: Stopwatch, parts: int, rate: float) -> tuple[list[float], list[float]]:
    """Times in ms of each result and of each echo; the first fifty of both are thrown away."""
    station, bare = [], []
    run, period_s, began = time.time_ns() & 0xFFFFFF, 1 / rate, time.perf_counter()
    for number in range(parts + 50):
        time.sleep(max(0.0, began + number * period_s - time.perf_counter()))
        word = f"{run:x}-{number:06d}"
        fields = {"schema": "1.0", "cmd_id": word, "part_id": f"P{number:06d}", "deadline_ms": 1000}
        payload = json.dumps(fields).encode()
        station.append(watch.ask(f"{BASE}/cmd/trigger", word, payload))
        time.sleep(max(0.0, began + (number + 0.5) * period_s - time.perf_counter()))
        bare.append(watch.ask("bench/question", word, payload.ljust(320)))
    return station[50:], bare[50:]


def report(
    given: argparse.Namespace,
    station: Sequence[float],
    bare: Sequence[float],
    table: Sequence[tuple[str, float, float]],
    verdicts: dict[str, int],
) -> tuple[str, bool]:
    """The section, and whether the goals are reached."""
    (s50, s99), (b50, b99) = quantiles(station), quantiles(bare)
    added, reached = s50 - b50, s50 - b50 <= GOAL_P50_MS and s99 - b99 <= GOAL_P99_MS
    own = "; ".join(f"{name} {p50:.2f} ({p99:.2f})" for name, p50, p99 in table)
    lines = [
        f"{given.parts} triggers and {given.parts} echoes by turns, {given.rate:g} of each a second, QoS 1, mosquitto.",
        f"Camera: virtual, {WIDTH}x{HEIGHT} Mono8, exposure {EXPOSURE_US} us; recipe: one presence check. Both rows",
        "are synced to disk (WAL, synchronous FULL) before the result is told.",
        "",
        "| | p50 ms | p99 ms |",
        "|---|---|---|",
        f"| trigger message to result message | {s50:.2f} | {s99:.2f} |",
        f"| bare paho echo | {b50:.2f} | {b99:.2f} |",
        f"| **added** (goal {GOAL_P50_MS:g} and {GOAL_P99_MS:g}) | **{added:.2f}** | **{s99 - b99:.2f}** |",
        "",
        f"The station's own times of it, p50 (p99) in ms: {own}.",
        f"Verdicts: {verdicts}.",
    ]
    return "\n".join(lines), reached


if __name__ == "__main__":
    sys.exit(main())
