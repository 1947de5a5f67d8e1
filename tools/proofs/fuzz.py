"""``make fuzz``: malformed payloads on every command topic of a running station; one answer each where one is due.

What is due for a malformed message on ``cmd/NAME``: one refusing ``ack``, for a trigger (``cmd/c``: a text that begins
with ``T;``) also one NOT_INSPECTED, and one answer more where an MQTT 5 response topic outside the station's own tree
was named. Nothing is due for an empty trigger's part (so a retained one is cleared) and for topics below ``cmd/NAME``.
Good triggers go between them. The station is never asked faster than it answers.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from inspector.cli.demo import ROOT
from inspector.station.ledger import recount
from tools.proofs.latency import HEIGHT, WIDTH, Bench
from tools.proofs.page import replace_section
from tools.proofs.payloads import DEEP, TOPICS, Maker, Shot
from tools.virtual_camera.control import CameraControl

BASE = "vis/v1/demo/top"
OUTSTANDING = 24  # messages without their answers: as many as the station's own queues hold for sure
ANSWER_LIMIT_S = 10.0
QUIET_S = 1.0  # after the last answer: does one come that nobody asked for?
GOOD_EVERY = 250
GROWTH_LIMIT_MB = 16
REFUSED = (400, 404)
SLOW_DISK = (300, 301)  # its row took longer than the deadline: it is answered at it, as any part
REPLY_TO = {
    "out": "fuzz/reply", "in": f"{BASE}/result", "sys": "$SYS/broker/version", "long": "fuzz/" + "r" * 300,
}  # fmt: skip


@dataclass
class Due:
    """A message on its way, and what has not come yet."""

    shot: Shot
    sent_s: float
    correlation: bytes
    pending: set[str]
    number: int


@dataclass
class Tally:
    """What happened on one topic."""

    sent: int = 0
    due: int = 0
    came: int = 0
    seconds: float = 0.0
    good: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


class Fuzzer:
    """Sends, and takes every answer for one message that it was due for."""

    def __init__(self, port: int, seed: int) -> None:
        self._maker = Maker(seed)
        self._room = threading.Condition()
        self._due: list[Due] = []
        self._good: dict[str, float] = {}
        self._number = 0
        self._run = f"{time.time_ns() & 0xFFFFFF:x}"
        self._last_good = ""
        self.tallies: dict[str, Tally] = {}
        self._tally = Tally()
        self.faults: list[str] = []
        self.good_ms: list[float] = []
        self.boots: set[str] = set()
        self.slow = 0
        self.rows = 0  # triggers that the station must have on its books
        self.ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_socket_open = lambda c, u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kinds = ("ack", "result", "state", "event")
        topics = [*((f"{BASE}/{kind}", 1) for kind in kinds), ("fuzz/reply", 1)]
        self._client.on_connect = lambda c, *_: c.subscribe(topics)
        self._client.on_disconnect = self._gone
        self._client.on_message = self._message
        self._client.max_inflight_messages_set(20)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    # --- what comes (the client's thread)
    def _gone(self, *arguments: Any) -> None:
        if self.ready.is_set():
            self._fault(f"the broker ended our connection: {arguments[3]}")

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now = time.monotonic()
        kind = "reply" if message.topic == "fuzz/reply" else message.topic.rpartition("/")[2]
        try:
            body = json.loads(message.payload)
        except ValueError:
            self._fault(f"{message.topic} has {message.payload[:100]!r}")
            return
        if kind == "state":
            self.boots.add(body.get("boot", "?"))
            (self.ready.set if body["ready"] else self.ready.clear)()
        elif kind == "result":
            self._result(body, now)
        elif kind in ("ack", "reply"):
            correlation = getattr(message.properties, "CorrelationData", b"")
            self._answered(kind, body, correlation)

    def _result(self, body: dict[str, Any], now: float) -> None:
        self.boots.add(body.get("boot", "?"))
        if body.get("cmd_id"):
            with self._room:
                sent = self._good.pop(body["cmd_id"], None)
                self._room.notify_all()
            if sent is None or body["verdict"] not in ("PASS", "FAIL"):
                self._fault(f"a good trigger: {'not asked for' if sent is None else 'not inspected'}: {body}")
            else:
                self.good_ms.append((now - sent) * 1000)
                self._tally.good += 1
        elif body.get("verdict") != "NOT_INSPECTED" or body.get("code") not in (*REFUSED, *SLOW_DISK):
            self._fault(f"a malformed trigger has {body}")
        else:
            self.slow += body["code"] in SLOW_DISK
            self._answered("result", body, b"")

    def _answered(self, kind: str, body: dict[str, Any], correlation: bytes) -> None:
        def meant(due: Due) -> bool:
            shot = due.shot
            if kind == "result":
                return body["part_id"] == shot.part_id
            return bool(body["cmd_id"] == shot.cmd_id and (kind == "ack" or correlation == due.correlation))

        if kind != "result" and (body["phase"], body["ok"]) != ("refused", False):
            self._fault(f"{kind} does not refuse: {body}")
        with self._room:
            due = next((d for d in self._due if kind in d.pending and meant(d)), None)
            if due is not None:
                self._tally.came += 1
                due.pending.discard(kind)
                if not due.pending:
                    self._due.remove(due)
                    self._room.notify_all()
        if due is None:
            self._fault(f"{kind} that nothing was sent for, or twice: {body}")

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        if len(self.faults) <= 10:
            print(f"FAULT: {text}", flush=True)

    # --- what goes
    def topic(self, name: str, count: int, watch: Watch, *, measured: bool) -> None:
        """``count`` malformed messages below ``cmd/``, good triggers between them."""
        self._tally = self.tallies.setdefault(name, Tally()) if measured else Tally()
        began = time.monotonic()
        for number in range(count):
            self._send(self._maker.shot(name, self._last_good))
            if number % GOOD_EVERY == GOOD_EVERY - 1:
                self._send_good()
            if measured and number % max(1, count // 20) == 0:
                watch.look(self._number)
        self._wait(0)
        self._tally.seconds += time.monotonic() - began
        for retained in self._maker.kept_topics():  # the broker keeps what was sent with retain: clear it
            self._send(Shot(retained, "cleared", b"", acked=name != DEEP, retain=True))
        self._wait(0)
        time.sleep(QUIET_S)

    def _send(self, shot: Shot) -> None:
        self._wait(OUTSTANDING - 1)
        self._number += 1
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        correlation = b""
        if shot.reply:
            correlation = self._number.to_bytes(8, "big") * (32 if self._number % 2 else 1)
            properties.ResponseTopic = REPLY_TO[shot.reply]
            properties.CorrelationData = correlation
        wanted = (("ack", shot.acked), ("result", shot.told), ("reply", shot.reply == "out" and shot.acked))
        pending = {kind for kind, due in wanted if due}
        self._tally.sent += 1
        self._tally.due += len(pending)
        self._tally.kinds[shot.kind] += 1
        self.rows += shot.told
        if pending:
            with self._room:
                self._due.append(Due(shot, time.monotonic(), correlation, pending, self._number))
        self._client.publish(f"{BASE}/cmd/{shot.name}", shot.payload, 1, shot.retain, properties)

    def _send_good(self) -> None:
        self._wait(OUTSTANDING - 1)
        self._number += 1
        cmd_id = f"{self._run}-{self._number}"
        fields = {"schema": "1.0", "cmd_id": cmd_id, "part_id": f"G{self._number}", "deadline_ms": 5000}
        with self._room:
            self._good[cmd_id] = time.monotonic()
        self.rows += 1
        self._last_good = cmd_id
        self._client.publish(f"{BASE}/cmd/trigger", json.dumps(fields), 1)

    def _wait(self, most: int) -> None:
        """Until at most so many messages wait for an answer; the oldest is given up after a while."""
        with self._room:
            while (len(self._due) > most) or (most == 0 and self._good) or len(self._good) > 4:
                now = time.monotonic()
                if self._room.wait(0.5):
                    continue
                for due in [d for d in self._due if now - d.sent_s > ANSWER_LIMIT_S]:
                    self._due.remove(due)
                    self._fault(f"no {', '.join(due.pending)} for message {due.number}: {due.shot}"[:600])
                for cmd_id in [c for c, sent in self._good.items() if now - sent > ANSWER_LIMIT_S]:
                    del self._good[cmd_id]
                    self._fault(f"no result for the good trigger {cmd_id}")

    def close(self) -> None:
        self.ready.clear()
        self._client.disconnect()
        self._client.loop_stop()


class Watch:
    """The station's processes: still the same ones, and how much memory they take."""

    def __init__(self, pid: int) -> None:
        self._station = psutil.Process(pid)
        self.pids = self._now()
        self.seen: list[tuple[int, float, float]] = []  # messages sent, MB of the station, MB of its children

    def _now(self) -> set[int]:
        return {self._station.pid, *(child.pid for child in self._station.children(recursive=True))}

    def look(self, sent: int) -> None:
        children = sum(child.memory_info().rss for child in self._station.children(recursive=True))
        self.seen.append((sent, self._station.memory_info().rss / 1e6, children / 1e6))

    def changed(self) -> str:
        """What is not as it was, "" when nothing is."""
        now = self._now()
        return "" if now == self.pids else f"processes were {sorted(self.pids)}, are {sorted(now)}"

    def slope_mb(self) -> float:
        """Of the station over the second half of the run, for 100,000 messages."""
        half = self.seen[len(self.seen) // 2 :]
        if len({row[0] for row in half}) < 2:
            return 0.0
        slope = statistics.linear_regression([row[0] for row in half], [row[1] for row in half]).slope
        return float(slope * 100_000)

    def growth_mb(self) -> tuple[float, float]:
        """(Station, children): from the median of the first tenth to that of the last."""
        tenth = max(1, len(self.seen) // 10)

        def grown(column: int) -> float:
            values = [row[column] for row in self.seen]
            return statistics.median(values[-tenth:]) - statistics.median(values[:tenth])

        return (grown(1), grown(2)) if self.seen else (0.0, 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="malformed messages on each topic")
    parser.add_argument("--topics", default=",".join(TOPICS), help="some of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=18870)
    parser.add_argument("--write", action="store_true", help="into docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    topics = given.topics.split(",")
    if not set(topics) <= set(TOPICS):
        parser.error(f"--topics: found {given.topics}, allowed: {','.join(TOPICS)}")
    settings = {"plc": {"version": "5", "compact": {"cmd_c": True}}}
    folder = ROOT / "var" / "fuzz"
    with Bench(
        port=given.port, identity="command", recipe=1, folder=folder, broker="mosquitto", settings=settings
    ) as world:
        lens = CameraControl.open(world.control_file)
        lens.show(0, np.full((HEIGHT, WIDTH), 200, np.uint8), 1)
        fuzzer = Fuzzer(given.port, given.seed)
        try:
            if not fuzzer.ready.wait(60):
                raise SystemExit("the station did not become Ready within 60 s")
            watch = Watch(next(k.process.pid for k in world.kept if k.name == "station" and k.process))
            for name in topics:  # warm-up
                fuzzer.topic(name, max(20, given.count // 50), watch, measured=False)
            for name in topics:
                fuzzer.topic(name, given.count, watch, measured=True)
                tally = fuzzer.tallies[name]
                print(
                    f"cmd/{name}: {tally.sent} sent, {tally.came} of {tally.due} answers,"
                    f" {tally.sent / tally.seconds:.0f}/s, station {watch.seen[-1][1]:.1f} MB",
                    flush=True,
                )
            still_ready = fuzzer.ready.is_set()
            changed = watch.changed()
        finally:
            fuzzer.close()
            lens.close()
    kept, counted = recount(world.config.state_dir / "ledger.db")
    faults = list(fuzzer.faults)
    faults += [changed] if changed else []
    faults += [] if still_ready else ["the station was not Ready at the end"]
    faults += [f"boots {sorted(fuzzer.boots)}"] if len(fuzzer.boots) != 1 else []
    faults += [f"counters {kept}, recount {counted}"] if kept != counted else []
    faults += [f"{counted.get('total')} rows, triggers {fuzzer.rows}"] if counted.get("total") != fuzzer.rows else []
    faults += logged(world.folder / "station.log")
    grown, children = watch.growth_mb()
    faults += [f"the station grew by {grown:.1f} MB"] if grown > GROWTH_LIMIT_MB else []
    faults += [f"its children grew by {children:.1f} MB"] if children > GROWTH_LIMIT_MB else []
    text = report(given, fuzzer, watch, faults)
    print(text)
    if given.write:
        replace_section("fuzz", text)
    return 1 if faults else 0


def logged(log: Path) -> list[str]:
    """Errors that the station wrote down: each is a bug."""
    with log.open(encoding="utf-8", errors="replace") as file:
        found = [line.strip() for line in file if "Traceback" in line or " ERROR " in line or "dropped" in line]
    return [f"station.log: {len(found)} errors, the first: {found[0]}"] if found else []


def report(given: argparse.Namespace, fuzzer: Fuzzer, watch: Watch, faults: list[str]) -> str:
    """The section."""
    tallies = fuzzer.tallies
    sent, due, came = (sum(getattr(t, key) for t in tallies.values()) for key in ("sent", "due", "came"))
    good = sorted(fuzzer.good_ms) or [0.0]
    grown, children = watch.growth_mb()
    kinds: Counter[str] = sum((t.kinds for t in tallies.values()), Counter())
    lines = [
        f"{sent:,} malformed messages ({given.count:,} a topic), {due:,} answers due, {came:,} came,"
        f" {len(faults)} faults. Kinds: {', '.join(sorted(kinds))}. Response topics outside and inside the station's"
        " tree, correlation data of 256 bytes, retain now and then. Malformed is what a reader of the proof's own,"
        " written from the page, does not take.",
        "",
        "| topic below `cmd/` | sent | answers due | came | a second | good triggers between |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {t.sent:,} | {t.due:,} | {t.came:,} | {t.sent / t.seconds:,.0f} | {t.good:,} |"
            for name, t in tallies.items()
        ),
        "",
        f"{len(fuzzer.good_ms):,} good triggers have their verdicts, in {statistics.median(good):.1f} ms at the median"
        f" and {good[min(len(good) - 1, int(len(good) * 0.99))]:.0f} ms at p99, behind up to {OUTSTANDING} malformed."
        f" {fuzzer.slow} malformed ones were answered at the deadline, because the disk took longer."
        f" {fuzzer.rows:,} triggers are on the books, counters and recount agree. One boot, the same processes from"
        f" beginning to end. Memory after the warm-up: the station {watch.seen[0][1]:.1f} MB, at the end"
        f" {watch.seen[-1][1]:.1f} MB ({grown:+.1f}), in the run's second half {watch.slope_mb():+.2f} MB for"
        f" 100,000 messages; its children {children:+.1f} MB.",
    ]
    if faults:
        lines += ["", f"**{len(faults)} faults:**", *(f"- {fault[:200]}" for fault in faults[:20])]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
