"""A host application for tests: its own reader and writer of the few protobuf fields, nothing of the product's."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.plc.peers import wait_for

Value = bool | int | float | str | None


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, varint or bytes) of each field."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}[key & 7] if key & 7 != 2 else varint()
        yield key >> 3, data[at : at + size]
        at += size


def metric(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"value": None, "historical": False, "null": False}
    for number, raw in fields(data):
        if number == 1:
            found["name"] = raw.decode()
        elif number in (2, 3, 4):
            found[{2: "alias", 3: "ms", 4: "type"}[number]] = raw
        elif number in (5, 7):
            found[{5: "historical", 7: "null"}[number]] = bool(raw)
        elif number in (10, 11):
            bits = 32 if number == 10 else 64
            found["value"] = raw - (1 << bits) if raw >> (bits - 1) else raw
        elif number == 12:
            found["value"] = struct.unpack("<f", raw)[0]
        elif number == 14:
            found["value"] = bool(raw)
        elif number == 15:
            found["value"] = raw.decode()
    return found


def written(values: dict[str, Value]) -> bytes:
    """A payload of named metrics: texts and booleans."""

    def block(number: int, data: bytes) -> bytes:
        assert len(data) < 1 << 14
        size = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
        return bytes([number << 3 | 2]) + size + data

    out = b""
    for name, value in values.items():
        told = bytes([14 << 3, int(value)]) if isinstance(value, bool) else block(15, str(value).encode())
        kind = 11 if isinstance(value, bool) else 12
        out += block(2, block(1, name.encode()) + bytes([4 << 3, kind]) + told)
    return out


@dataclass
class Told:
    """One message of the edge node."""

    kind: str
    seq: int | None
    values: dict[str, Value]
    historical: bool


@dataclass
class Host:
    """Subscribed to everything of one group. What breaks the rules of Sparkplug is in ``complaints``."""

    port: int
    group: str = "plant"
    name: str = ""  # a primary host's: its STATE is told by `state`
    announces: bool = False  # and with each connection, after the subscription
    told: list[Told] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _aliases: dict[int, str] = field(default_factory=dict)
    _seq: int | None = None
    _bd_seq: Value = None

    def __post_init__(self) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = self._connected
        self.client.on_message = self._came
        self.client.reconnect_delay_set(1, 1)
        ready: list[int] = []
        self.client.on_subscribe = lambda *_: ready.append(1)
        self.client.connect("127.0.0.1", self.port, 5)
        self.client.loop_start()
        wait_for(lambda: ready, what="the host's subscription")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"spBv1.0/{self.group}/#", 1)
        if self.announces:
            self._publish_state(True, time.time_ns() // 1_000_000)

    def _publish_state(self, online: bool, timestamp: int) -> mqtt.MQTTMessageInfo:
        payload = json.dumps({"online": online, "timestamp": timestamp})
        return self.client.publish(f"spBv1.0/STATE/{self.name}", payload, 1, retain=True)

    def state(self, online: bool, timestamp: int) -> None:
        self._publish_state(online, timestamp).wait_for_publish(10)

    def write(self, topic: str, values: dict[str, Value], *, retain: bool = False) -> None:
        """NCMD or DCMD: the rest of the topic behind the group."""
        self.client.publish(f"spBv1.0/{self.group}/{topic}", written(values), 1, retain).wait_for_publish(10)

    def of(self, kind: str) -> list[Told]:
        return [one for one in list(self.told) if one.kind == kind]

    def seqs(self, *, historical: bool | None = None) -> list[int]:
        """Numbers of the verdicts that came as data."""
        data = [one for one in self.of("DDATA") if "Result/Seq" in one.values]
        return [int(one.values["Result/Seq"] or 0) for one in data if historical in (None, one.historical)]

    def wait(self, kind: str, count: int, limit_s: float = 15.0) -> Told:
        wait_for(lambda: len(self.of(kind)) >= count, limit_s, f"{count} {kind}, there are {len(self.of(kind))}")
        return self.of(kind)[count - 1]

    def _came(self, _client: Any, _data: Any, message: Any) -> None:
        kind = message.topic.split("/")[2]
        if kind in ("NCMD", "DCMD"):
            return
        if message.retain:
            self.complaints.append(f"{kind} is retained")
        seq, metrics = None, []
        for number, raw in fields(message.payload):
            if number == 2:
                metrics.append(metric(raw))
            elif number == 3:
                seq = raw
        values = {}
        for one in metrics:
            if kind == "DBIRTH":
                self._aliases[one["alias"]] = one["name"]
            name = one.get("name") or self._aliases.get(one["alias"], "?")
            if name == "?":
                self.complaints.append(f"{kind}: alias {one['alias']} was never told")
            values[name] = one["value"]
        self._check(kind, seq, values)
        self.told.append(Told(kind, seq, values, all(one["historical"] for one in metrics)))

    def _check(self, kind: str, seq: int | None, values: dict[str, Value]) -> None:
        if kind == "NDEATH":
            if self._bd_seq is not None and values["bdSeq"] != self._bd_seq:
                self.complaints.append(f"NDEATH has bdSeq {values['bdSeq']}, NBIRTH had {self._bd_seq}")
            return
        wanted = 0 if kind == "NBIRTH" else None if self._seq is None else (self._seq + 1) % 256
        if seq != wanted:
            self.complaints.append(f"{kind} has seq {seq}, wanted {wanted}")
        self._seq = seq
        if kind == "NBIRTH":
            self._bd_seq = values["bdSeq"]
