"""A plain PLC that sends a trigger now and then, whatever happens, and remembers every answer."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from ruamel.yaml import YAML

from tools.proofs.latency import HEIGHT, WIDTH, Bench
from tools.virtual_camera.control import CameraControl

BASE = "vis/v1/demo/top"
BRIGHT, DARK = 200, 20
REPEATED = 0.05  # triggers that are an old one again


class SmallWorld(Bench):
    """The bench's world with a second recipe, which says the opposite and keeps its pictures."""

    def _write_station(self, runtime: Path) -> None:
        super()._write_station(runtime)
        yaml = YAML(typ="safe", pure=True)
        recipe = yaml.load(self.folder / "recipes" / "smallest.yaml")
        recipe |= {"recipe": 2, "name": "Opposite"}
        recipe["compare"]["lid"] |= {"expect": "absent", "fail": "1002 Bright"}
        recipe["verdict"]["keep"] = {"reject": "all", "pass": "all", "not_inspected": "all"}
        with (self.folder / "recipes" / "opposite.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(recipe, file)


@dataclass
class Sent:
    """A trigger, and all that came for it."""

    part_id: str
    sent_ns: int
    repeats: int = 0
    results: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (arrived_ns, payload)

    @property
    def first(self) -> dict[str, Any] | None:
        """The answer that counts."""
        return self.results[0][1] if self.results else None


class Witness:
    """Triggers at a steady rate from a thread of its own; ``faults`` is what no station may do."""

    def __init__(self, world: SmallWorld, *, rate: float, deadline_ms: int, seed: int = 1) -> None:
        self.triggers: dict[str, Sent] = {}
        self.faults: list[str] = []
        self.state: dict[str, Any] = {}
        self.counters: dict[str, int] = {}
        self.states: deque[tuple[float, dict[str, Any]]] = deque(maxlen=100)  # (arrived, payload)
        self.events: list[tuple[int, dict[str, Any]]] = []  # (arrived_ns, payload)
        self.acks: dict[str, dict[str, Any]] = {}
        self.highest_seq = 0
        self.duplicates = 0
        self._boots: dict[str, int] = {}  # by boot the seq above which it must stay
        self._ready = threading.Condition()
        self._rate, self._deadline_ms = rate, deadline_ms
        self._chance = random.Random(seed)
        self._recent: deque[str] = deque(maxlen=400)
        self._lens = CameraControl.open(world.control_file)
        self._end = threading.Event()
        self._pause = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="plc")
        self._client.on_socket_open = lambda c, u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        topics = [(f"{BASE}/{t}", 1) for t in ("result", "state", "counters", "event", "ack")]
        self._client.on_connect = lambda c, *_: c.subscribe(topics)
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", world.port)
        self._client.loop_start()
        self._sender = threading.Thread(target=self._send, name="plc", daemon=True)
        self._sender.start()

    # --- what it sends
    def _send(self) -> None:
        number, next_at = 0, time.monotonic()
        while not self._end.wait(max(0.0, next_at - time.monotonic())):
            next_at = max(next_at + 1 / self._rate, time.monotonic() - 1.0)
            if self._pause.is_set():
                continue
            if self._recent and self._chance.random() < REPEATED:
                cmd_id = self._chance.choice(self._recent)
                self.triggers[cmd_id].repeats += 1
            else:
                number += 1
                cmd_id = f"k-{number:07d}"
                if number % 5 == 1:
                    grey = self._chance.choice((BRIGHT, BRIGHT, DARK))
                    self._lens.show(0, np.full((HEIGHT, WIDTH), grey, np.uint8), number)
                self.triggers[cmd_id] = Sent(f"P{number:07d}", time.monotonic_ns())
                self._recent.append(cmd_id)
            self._publish("trigger", cmd_id, part_id=self.triggers[cmd_id].part_id, deadline_ms=self._deadline_ms)

    def _publish(self, name: str, cmd_id: str, **fields: Any) -> None:
        payload = json.dumps({"schema": "1.0", "cmd_id": cmd_id, **fields})
        self._client.publish(f"{BASE}/cmd/{name}", payload, qos=1)

    def command(self, name: str, limit_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for its last answer; {} when none came."""
        cmd_id = f"c-{name}-{time.monotonic_ns() & 0xFFFFFFFF}"
        self._publish(name, cmd_id, **fields)
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            ack = self.acks.get(cmd_id, {})
            if ack and ack["phase"] != "accepted":
                return ack
            time.sleep(0.01)
        return {}

    def pause(self, on: bool) -> None:
        """Send no triggers for a while."""
        (self._pause.set if on else self._pause.clear)()

    # --- what it sees
    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now_ns = time.monotonic_ns()
        kind, payload = message.topic.rpartition("/")[2], json.loads(message.payload)
        if kind == "result":
            self._result(payload, now_ns)
        elif kind == "state":
            with self._ready:
                self.state = payload
                self.states.append((now_ns / 1e9, payload))
                self._ready.notify_all()
        elif kind == "ack":
            self.acks[payload["cmd_id"]] = payload
        elif kind == "event":
            self.events.append((now_ns, payload))
        elif kind == "counters":
            for name in ("total", "pass", "fail", "not_inspected"):
                if payload.get(name, 0) < self.counters.get(name, 0):
                    self.faults.append(f"counter {name} went back from {self.counters[name]} to {payload.get(name)}")
            self.counters = payload

    def _result(self, payload: dict[str, Any], now_ns: int) -> None:
        seq, boot, cmd_id = payload["seq"], payload["boot"], payload["cmd_id"]
        sent = self.triggers.get(cmd_id)
        if sent is None:
            self.faults.append(f"seq {seq}: a result for {cmd_id!r}, which was never sent")
            return
        first = sent.first
        if first is not None:
            self.duplicates += 1
            if any(first[k] != payload[k] for k in ("seq", "verdict", "code", "part_id")):
                was, now = ((p["seq"], p["verdict"], p["code"]) for p in (first, payload))
                self.faults.append(f"{cmd_id} was answered twice: {was}, then {now}")
        sent.results.append((now_ns, payload))
        if payload["dup"]:
            return
        floor = self._boots.setdefault(boot, self.highest_seq)
        if seq <= floor:
            self.faults.append(f"boot {boot}: seq {seq}, but {floor} was told before it started")
        self.highest_seq = max(self.highest_seq, seq)

    def wait_ready(self, limit_s: float, *, not_boot: str = "") -> bool:
        """Until the station is Ready, with another boot than ``not_boot``."""

        def there() -> bool:
            return bool(self.state.get("ready")) and self.state.get("boot") != not_boot

        with self._ready:
            return self._ready.wait_for(there, limit_s)

    def close(self) -> None:
        self._end.set()
        self._sender.join(5)
        self._client.disconnect()
        self._client.loop_stop()
        self._lens.close()
