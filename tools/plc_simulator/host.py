"""A Sparkplug host application: says that it is online, hears births, deaths and data, keeps its book of verdicts.

It holds the edge node against Sparkplug B 3.0: a death names its birth, numbers have no gap, nothing comes before the
births, every alias is known. A verdict may come twice (as history), never in two versions.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tools.plc_simulator.sparkplug import Malformed, Metric, Payload, read, rebirth

VERDICTS = {1: "PASS", 2: "FAIL", 3: "NOT_INSPECTED"}
RESULT = tuple(f"Result/{name}" for name in ("Seq", "PartId", "Verdict", "Code", "Score", "TMs", "Recipe", "Config"))
CONFIG = re.compile(r"[0-9a-f]{8}")
INT64 = 4
TEXTS_KEPT = 1000
REBIRTH_EVERY_S = 1.0


@dataclass
class Node:
    """What is known of an edge node."""

    born: bool = False
    bd_seq: int | None = None
    seq: int = 0
    highest: int = 0
    asked_at: float = -REBIRTH_EVERY_S
    aliases: dict[int, tuple[str, int]] = field(default_factory=dict)  # name, datatype
    past: set[int] = field(default_factory=set)  # bdSeq of earlier births


class Host:
    """Starts at once, in paho's thread; ``summary`` and ``compare`` may be called at any time."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self.faults: Counter[str] = Counter()
        self.texts: list[str] = []
        self.sums: Counter[str] = Counter()
        self.by_seq: dict[int, tuple[str, str, int]] = {}  # part_id, verdict, code
        self.last_came = time.monotonic()
        self._name = name
        self._lock = threading.Lock()
        self._nodes: dict[tuple[str, str], Node] = {}
        self._host, self._port = host, port
        self._client: mqtt.Client | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sparkplug host", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say that we go offline, and end."""
        self._closing.set()
        self._thread.join(10)

    def summary(self) -> dict[str, Any]:
        """Plain JSON."""
        with self._lock:
            return {
                **dict(sorted(self.sums.items())),
                "verdicts": len(self.by_seq),
                "faults": dict(self.faults),
                "fault_texts": self.texts[:100],
            }

    def missing(self, told: dict[int, tuple[Any, ...]]) -> list[int]:
        """Of the verdicts on ``result`` (part_id, cmd_id, verdict, code) by seq: which did not come here."""
        with self._lock:
            return [seq for seq in told if seq not in self.by_seq]

    def compare(self, told: dict[int, tuple[Any, ...]]) -> None:
        """Hold our book against ``result``; every difference is a fault."""
        for seq in self.missing(told):
            self._fault("missing", f"verdict {seq} ({told[seq][0]}) never came")
        with self._lock:
            both = [(seq, told[seq], ours) for seq, ours in self.by_seq.items() if seq in told]
        for seq, (part_id, _, verdict, code, *_), ours in both:
            if ours != (part_id, verdict, code):
                self._fault("differs", f"{seq}: {ours} here, {(part_id, verdict, code)} on `result`")

    # --- the connection: one client object each, because will and birth have the same time
    def _run(self) -> None:
        while not self._closing.is_set():
            over = threading.Event()
            client = self._connect(over)
            while not (over.wait(0.1) or self._closing.is_set()):
                pass
            if self._closing.is_set() and client.is_connected():
                client.publish(*self._state(False, int(time.time() * 1000)), 1, True).wait_for_publish(2)
            client.disconnect()
            client.loop_stop()
            with self._lock:
                self._nodes.clear()  # what was said meanwhile is not known
            self._closing.wait(0.5)

    def _connect(self, over: threading.Event) -> mqtt.Client:
        now_ms = int(time.time() * 1000)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False
        )
        client.will_set(*self._state(False, now_ms), 1, True)

        def connected(c: mqtt.Client, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                over.set()
                return
            c.subscribe([("spBv1.0/#", 1)])
            c.publish(*self._state(True, now_ms), 1, True)

        client.on_connect = connected
        client.on_connect_fail = lambda *_: over.set()
        client.on_disconnect = lambda *_: over.set()
        client.on_message = self._came
        client.connect_timeout = 2
        client.connect_async(self._host, self._port, 5)
        client.loop_start()
        return client

    def _state(self, online: bool, now_ms: int) -> tuple[str, bytes]:
        return f"spBv1.0/STATE/{self._name}", json.dumps({"online": online, "timestamp": now_ms}).encode()

    # --- what comes
    def _came(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        parts = message.topic.split("/")
        if len(parts) < 4 or parts[1] == "STATE" or parts[2] in ("NCMD", "DCMD"):
            return
        with self._lock:
            self.last_came = time.monotonic()
            node = self._nodes.setdefault((parts[1], parts[3]), Node())
            ask = False
            try:
                if message.retain:
                    self._say("retained", message.topic)
                ask = self._take(node, parts[2], read(message.payload))
            except Malformed as error:
                self._say("malformed", f"{message.topic}: {error}")
            except Exception as error:  # noqa: BLE001  paho would go on without a word
                self._say("internal", repr(error))
            now = time.monotonic()
            if not ask or now - node.asked_at < REBIRTH_EVERY_S:
                return
            node.asked_at = now
            self.sums["rebirths asked"] += 1
        client.publish(f"spBv1.0/{parts[1]}/NCMD/{parts[3]}", rebirth(int(time.time() * 1000)), 0)

    def _take(self, node: Node, kind: str, payload: Payload) -> bool:
        """True: ask for a rebirth."""
        self.sums[kind] += 1
        if kind == "NDEATH":
            self._death(node, payload)
            return False
        if kind == "NBIRTH":
            self._birth(node, payload)
            return False
        if not node.born:
            self.sums["before a birth"] += 1  # we came later than the node
            return True
        expected = (node.seq + 1) % 256
        if payload.seq != expected:
            self._say("seq_gap", f"{kind} has seq {payload.seq}, expected {expected}")
            node.born = False
            return True
        node.seq = expected
        if kind == "DBIRTH":
            node.aliases = {m.alias: (m.name, m.datatype) for m in payload.metrics if m.alias is not None}
            names = {name for name, _ in node.aliases.values()}
            for name in RESULT:
                if name not in names:
                    self._say("birth", f"DBIRTH without {name}")
        elif kind == "DDATA":
            self._data(node, payload)
        return False

    def _birth(self, node: Node, payload: Payload) -> None:
        names = {m.name: m for m in payload.metrics}
        bd_seq = names.get("bdSeq", Metric()).value
        if payload.seq != 0:
            self._say("birth", f"NBIRTH has seq {payload.seq}")
        if not isinstance(bd_seq, int) or not 0 <= bd_seq <= 255 or names["bdSeq"].datatype != INT64:
            self._say("birth", f"NBIRTH has bdSeq {bd_seq!r}")
            return
        if "Node Control/Rebirth" not in names:
            self._say("birth", "NBIRTH without Node Control/Rebirth")
        if bd_seq != node.bd_seq:
            if bd_seq in node.past and len(node.past) < 200:
                self._say("bd_seq", f"NBIRTH has bdSeq {bd_seq}, which had died")
            if node.bd_seq is not None:
                node.past.add(node.bd_seq)
        node.born, node.bd_seq, node.seq, node.aliases = True, bd_seq, 0, {}

    def _death(self, node: Node, payload: Payload) -> None:
        bd_seq = next((m.value for m in payload.metrics if m.name == "bdSeq"), None)
        if payload.seq is not None:
            self._say("death", f"NDEATH has seq {payload.seq}")
        if node.bd_seq is not None and bd_seq == node.bd_seq:
            node.born = False
            return
        # a connection that was never born may die, too: its number is one of the next
        ahead = isinstance(bd_seq, int) and node.bd_seq is not None and 0 < (bd_seq - node.bd_seq) % 256 < 128
        if node.bd_seq is not None and bd_seq not in node.past and not ahead:
            self._say("death", f"NDEATH has bdSeq {bd_seq!r}, the last birth {node.bd_seq}")

    def _data(self, node: Node, payload: Payload) -> None:
        values: dict[str, Metric] = {}
        for metric in payload.metrics:
            known = node.aliases.get(metric.alias) if metric.alias is not None else None
            name = metric.name or (known[0] if known else "")
            if not name:
                self._say("alias", f"alias {metric.alias} is in no birth")
            elif known and metric.datatype not in (0, known[1]):
                self._say("type", f"{name} has type {metric.datatype}, its birth {known[1]}")
            else:
                values[name] = metric
        if "Result/Seq" not in values:
            return
        lacking = [name for name in RESULT if name not in values]
        if lacking:
            self._say("result", f"a verdict without {lacking[0]}")
            return
        seq, code = values["Result/Seq"].value, values["Result/Code"].value
        verdict = VERDICTS.get(values["Result/Verdict"].value, "?")
        content = (values["Result/PartId"].value, verdict, code)
        config = values["Result/Config"].value
        if not CONFIG.fullmatch(str(config)) and (config != "" or verdict == "PASS"):
            self._say("result", f"{seq}: judged by {config!r}")
        historical = values["Result/Seq"].historical
        self.sums["verdicts as history" if historical else "verdicts live"] += 1
        if verdict == "?" or (verdict == "PASS") != (code == 0):
            self._say("result", f"{seq}: {content}")
        known_content = self.by_seq.setdefault(seq, content)
        if known_content != content:
            self._say("doubled", f"{seq} was {known_content}, now {content}")
        if not historical:
            if seq < node.highest:
                self._say("order", f"verdict {seq} came after {node.highest}")
            node.highest = max(seq, node.highest)

    def _fault(self, rule: str, text: str) -> None:
        with self._lock:
            self._say(rule, text)

    def _say(self, rule: str, text: str) -> None:
        self.faults[rule] += 1
        if len(self.texts) < TEXTS_KEPT:
            self.texts.append(f"{rule}: {text}"[:300])
