"""A Sparkplug B 3.0 edge node with one device, without wire and clock: events go in, messages come out.

Whoever owns the MQTT client sends what a :class:`Step` holds, in its order. The node stands beside the PLC's link and
never in the way of a verdict: Sparkplug data is QoS 0 and last-value. ``docs/sparkplug.md`` is the page for those who
program the other end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inspector.config import sparkplug_complaint as id_complaint
from inspector.parts import Outcome, Verdict
from inspector.plc.contract import TEXT_MAX, StationState, as_real, short_config
from inspector.plc.sparkplug.payload import DataType, Metric, Payload, Value, decode, encode

NAMESPACE = "spBv1.0"
STATE_LIMIT_BYTES = 512
REBIRTH = "Node Control/Rebirth"
VERDICTS = {Outcome.PASS: 1, Outcome.FAIL: 2, Outcome.NOT_INSPECTED: 3}  # as in result/b; all else means not good
COUNTERS = {
    "total": "Counters/Total", "pass": "Counters/Pass", "fail": "Counters/Fail",
    "not_inspected": "Counters/NotInspected", "late": "Counters/Late",
}  # fmt: skip
DEVICE_METRICS: dict[str, DataType] = {
    "Result/Seq": DataType.INT64, "Result/PartId": DataType.STRING, "Result/Verdict": DataType.INT32,
    "Result/Code": DataType.INT32, "Result/Score": DataType.FLOAT, "Result/TMs": DataType.INT32,
    "Result/Recipe": DataType.INT32,
    "State/State": DataType.STRING, "State/StateNr": DataType.INT32, "State/Ready": DataType.BOOLEAN,
    "State/Busy": DataType.BOOLEAN, "State/Recipe": DataType.INT32, "State/Rev": DataType.INT32,
    "State/Code": DataType.INT32, "State/Text": DataType.STRING, "State/Fault": DataType.BOOLEAN,
    "State/Warn": DataType.BOOLEAN, "State/Sim": DataType.BOOLEAN, "State/Queue": DataType.INT32,
    "State/Boot": DataType.STRING,
    **{name: DataType.INT64 for name in COUNTERS.values()},
    "Command/Id": DataType.STRING, "Command/Name": DataType.STRING, "Command/Arg": DataType.STRING,
    "Command/AnswerPhase": DataType.STRING, "Command/AnswerCode": DataType.INT32, "Command/AnswerText": DataType.STRING,
    "Result/Config": DataType.STRING, "State/Config": DataType.STRING,
}  # fmt: skip
"""Everything a DBIRTH tells, in its order."""
ALIASES = {name: alias for alias, name in enumerate(DEVICE_METRICS, start=1)}
"""What stands for a name in data. The list only ever grows at its end."""


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message to publish, or the will."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now: publish in this order, then disconnect if it says so."""

    publish: tuple[Message, ...] = ()
    disconnect: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One verdict as Sparkplug tells it. ``taken_ms``: UTC of the picture, or of the trigger without one."""

    seq: int
    part_id: str
    verdict: int  # 1 PASS, 2 FAIL, 3 NOT_INSPECTED
    code: int
    score: float
    t_ms: int
    recipe: int
    taken_ms: int
    config: str = ""  # digest of what judged, short; "" when that was not known

    @classmethod
    def of(cls, verdict: Verdict, *, t_ms: int) -> Result:
        """``verdict``, published ``t_ms`` after the trigger's receipt."""
        part = verdict.part
        return cls(
            part.seq, part.trigger.part_id, VERDICTS[verdict.outcome], verdict.code, as_real(verdict.score), t_ms,
            part.recipe, _utc_ms(verdict.captured_utc or part.trigger.received_utc), short_config(part.config),
        )  # fmt: skip

    def values(self) -> dict[str, Value]:
        """By metric name."""
        return {
            "Result/Seq": self.seq, "Result/PartId": self.part_id, "Result/Verdict": self.verdict,
            "Result/Code": self.code, "Result/Score": self.score, "Result/TMs": self.t_ms,
            "Result/Recipe": self.recipe, "Result/Config": self.config,
        }  # fmt: skip


class EdgeNode:
    """One edge node (this machine) with one device (the station).

    Order of calls: :meth:`will` before each CONNECT, :meth:`connected` once :attr:`subscriptions` are confirmed,
    :meth:`received` for what comes on them, :meth:`disconnected` when the connection is gone, for whatever reason.
    Results, states and counters may come at any time: the last ones are told with the next birth. All ``now_ms`` are
    UTC ms since 1970. A ValueError means that nothing has changed.
    """

    def __init__(
        self,
        group: str,
        node: str,
        device: str,
        *,
        primary_host: str = "",
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Raises ValueError for an id that can't be part of a topic, and for a property that can't be told.

        ``primary_host``: the host application without which nothing is told, "" for none. ``properties``: told as
        ``Properties/NAME``.
        """
        for what, name in (("group", group), ("node", node), ("device", device)):
            _check_id(what, name)
        if group == "STATE":
            raise ValueError("group: found 'STATE', which is where host applications tell their state")
        if primary_host:
            _check_id("primary_host", primary_host)
        self._group, self._node, self._device = group, node, device
        self._command_topic = self._topic("NCMD")
        self.device_command_topic = self._topic("DCMD", device)
        self._state_topic = f"{NAMESPACE}/STATE/{primary_host}" if primary_host else ""
        self._properties = dict(properties or {})
        # what can't be told is found now, not at the first birth
        encode(Payload(metrics=self._told_properties(0)))
        self._bd_seq = 255  # the first CONNECT ever has 0
        self._seq = 0
        self._willed = False  # a will was made for the next connection
        self._connected = False
        self._born = False
        self._host_ms = 0  # of the newest STATE
        self._host_online = False  # told in this connection
        self._audience = 0
        self._values: dict[str, tuple[Value, int]] = {}  # by metric name: value, UTC ms

    @property
    def bd_seq(self) -> int:
        """Of the last :meth:`will`: to be kept over a restart."""
        return self._bd_seq

    def resume(self, bd_seq: int) -> None:
        """After a restart: the number of the last CONNECT before it. Raises ValueError."""
        if not 0 <= bd_seq <= 255:
            raise ValueError(f"bdSeq: found {bd_seq}, allowed: 0..255")
        self._bd_seq = bd_seq

    @property
    def born(self) -> bool:
        """True while a host may take data: births are out, and no death."""
        return self._born

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """Topic and QoS of each."""
        topics = (self._command_topic, self.device_command_topic, self._state_topic)
        return tuple((topic, 1) for topic in topics if topic)

    @property
    def audience(self) -> int:
        """Another number whenever those who listen may not be those who listened before, or have missed something.

        That is a primary host that was offline or tells a newer STATE, and a rebirth that somebody asked for; without
        a primary host, each new connection.
        """
        return self._audience

    @property
    def unused_filter(self) -> str:
        """A topic filter of this node's own that nobody ever subscribes to."""
        return f"{self._command_topic}/none"

    def will(self, now_ms: int) -> Message:
        """The will of the next CONNECT, with the next bdSeq."""
        self.disconnected()
        self._bd_seq = (self._bd_seq + 1) % 256
        self._willed = True
        return self._death(now_ms)

    def connected(self, now_ms: int) -> Step:
        """Connected and subscribed. Raises RuntimeError when no will was made for this connection."""
        if not self._willed:
            raise RuntimeError("will() comes before each connection")
        self._willed = False
        self._connected = True
        if not self._state_topic:
            self._audience += 1
        # the host's retained STATE may have come before the subscription was confirmed
        return self._births(now_ms) if self._host_online or not self._state_topic else Step()

    def disconnected(self) -> None:
        """The connection is gone."""
        self._connected = self._born = self._willed = self._host_online = False

    def received(self, topic: str, payload: bytes, *, now_ms: int) -> Step:
        """A message on one of the subscriptions. Raises ValueError saying what is wrong with it.

        What comes on :attr:`device_command_topic` is for the station, and its answer goes to :meth:`answer`.
        """
        if topic == self._command_topic:
            return self._command(payload, now_ms)
        if topic and topic == self._state_topic:
            return self._host(payload, now_ms)
        return Step()

    def result(self, result: Result, *, now_ms: int, historical: bool = False) -> Step:
        """One verdict, one message; none while the node isn't born.

        ``historical``: replayed from the books. It is told with its own time and leaves the last values alone.
        """
        return self._data(result.values(), result.taken_ms, now_ms, historical=historical)

    def state(self, state: StationState, *, now_ms: int) -> Step:
        """What has changed in the station's state."""
        return self._changes(
            {
                "State/State": state.state.name, "State/StateNr": int(state.state), "State/Ready": state.ready,
                "State/Busy": state.busy, "State/Recipe": state.recipe, "State/Rev": state.rev,
                "State/Code": state.code, "State/Text": state.text[:TEXT_MAX], "State/Fault": state.fault,
                "State/Warn": state.warn, "State/Sim": state.sim, "State/Queue": state.queue,
                "State/Boot": state.boot, "State/Config": short_config(state.config),
            },
            now_ms,
        )  # fmt: skip

    def counters(self, counters: Mapping[str, int], *, now_ms: int) -> Step:
        """Which totals have changed, under the names of the topic ``counters``."""
        unknown = sorted(set(counters) - set(COUNTERS))
        if unknown:
            raise ValueError(f"counters: found {unknown[0]!r}, allowed: {', '.join(COUNTERS)}")
        return self._changes({COUNTERS[name]: value for name, value in counters.items()}, now_ms)

    def answer(self, values: Mapping[str, Value], *, now_ms: int) -> Step:
        """What became of a command: all of ``Command/`` in one message, though nothing in it may have changed."""
        return self._data(values, now_ms, now_ms)

    def stop(self, now_ms: int) -> Step:
        """The station ends the session by its own will: the broker drops the will then, so the death is said."""
        step = Step((self._death(now_ms),) if self._born else (), disconnect=self._connected)
        self.disconnected()
        return step

    def _command(self, payload: bytes, now_ms: int) -> Step:
        asked = any(metric.name == REBIRTH and metric.value is True for metric in decode(payload).metrics)
        if not asked or not self._born:
            return Step()
        self._audience += 1
        return self._births(now_ms)

    def _host(self, payload: bytes, now_ms: int) -> Step:
        members = _json_object(payload, "STATE")
        online, told_ms = members.get("online"), members.get("timestamp")
        if not isinstance(online, bool):
            raise ValueError(f"STATE: online: found {online!r}, allowed: true, false")
        if not isinstance(told_ms, int) or isinstance(told_ms, bool) or told_ms < 0:
            raise ValueError(f"STATE: timestamp: found {told_ms!r}, allowed: ms since 1970")
        if told_ms < self._host_ms:
            return Step()  # an old death that comes after a new birth
        # a host's STATE has the time of its connection: with a newer one it knows nothing of what was said before,
        # births included. A broker that died with it has told nobody that it was offline
        another = told_ms > self._host_ms
        if another or not online:
            self._audience += 1
        self._host_ms, self._host_online = told_ms, online
        if online and self._connected and (another or not self._born):
            return self._births(now_ms)
        if not online and self._born:
            return self.stop(now_ms)
        return Step()

    def _births(self, now_ms: int) -> Step:
        node = [
            Metric("bdSeq", self._bd_seq, DataType.INT64, timestamp_ms=now_ms),
            Metric(REBIRTH, False, DataType.BOOLEAN, timestamp_ms=now_ms),  # no alias: hosts ask for it by name
            *self._told_properties(now_ms),
        ]
        device = []
        for name, kind in DEVICE_METRICS.items():
            value, at_ms = self._values.get(name, (None, now_ms))
            device.append(Metric(name, value, kind, ALIASES[name], at_ms, is_null=value is None))
        self._seq = 0
        births = (
            self._message(self._topic("NBIRTH"), node, now_ms),
            self._message(self._topic("DBIRTH", self._device), device, now_ms),
        )
        self._born = True
        return Step(births)

    def _told_properties(self, now_ms: int) -> tuple[Metric, ...]:
        return tuple(
            Metric(f"Properties/{name}", value, DataType.STRING, timestamp_ms=now_ms)
            for name, value in self._properties.items()
        )

    def _changes(self, values: Mapping[str, Value], now_ms: int) -> Step:
        changed = {
            name: value for name, value in values.items() if name not in self._values or self._values[name][0] != value
        }
        return self._data(changed, now_ms, now_ms) if changed else Step()

    def _data(self, values: Mapping[str, Value], at_ms: int, now_ms: int, *, historical: bool = False) -> Step:
        # the datatype is not asked for in data, but npm's decoder reads no value without it
        metrics = [
            Metric(None, value, DEVICE_METRICS[name], ALIASES[name], at_ms, is_historical=historical)
            for name, value in values.items()
        ]
        message = self._message(self._topic("DDATA", self._device), metrics, now_ms)  # raises before anything is kept
        if not historical:
            self._values.update({name: (value, at_ms) for name, value in values.items()})
        return Step((message,)) if self._born else Step()  # a birth starts seq anew

    def _message(self, topic: str, metrics: Iterable[Metric], now_ms: int) -> Message:
        message = Message(topic, encode(Payload(now_ms, tuple(metrics), self._seq)), qos=0)
        self._seq = (self._seq + 1) % 256
        return message

    def _death(self, now_ms: int) -> Message:
        metric = Metric("bdSeq", self._bd_seq, DataType.INT64, timestamp_ms=now_ms)
        return Message(self._topic("NDEATH"), encode(Payload(now_ms, (metric,))), qos=1)

    def _topic(self, kind: str, device: str = "") -> str:
        return f"{NAMESPACE}/{self._group}/{kind}/{self._node}" + (f"/{device}" if device else "")


def _check_id(what: str, name: str) -> None:
    complaint = id_complaint(name)
    if complaint:
        raise ValueError(f"{what}: {complaint}")


def _json_object(payload: bytes, what: str) -> dict[str, Any]:
    if what == "STATE" and len(payload) > STATE_LIMIT_BYTES:
        raise ValueError(f"{what}: found {len(payload)} bytes, allowed: {STATE_LIMIT_BYTES}")
    try:
        members = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{what}: found {payload[:40]!r}, allowed: a JSON object") from None
    if not isinstance(members, dict):
        raise ValueError(f"{what}: found {payload[:40]!r}, allowed: a JSON object")
    return members


def _utc_ms(text: str) -> int:
    when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if when.tzinfo is None:
        raise ValueError(f"found the time {text!r}, allowed: UTC with a Z at its end")
    return round(when.timestamp() * 1000)
