"""The link to the PLC: one connection to the broker at a time, and what the station says over it.

Each connection has a client object of its own (:mod:`inspector.plc.mqtt`): what an old one had not delivered is gone
with it, and no verdict comes late.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from inspector.config import PlcConfig
from inspector.plc.commands import COMMAND_LIMIT_BYTES, ID_MAX
from inspector.plc.compact import Twins
from inspector.plc.contract import OFFLINE, Topics
from inspector.plc.echoes import Echoes
from inspector.plc.mqtt import QUEUED, Address, Connection, Incoming, LinkError, Will
from inspector.plc.tries import CLASH_RETRY_S, RETRY_S, Ending, Tries

__all__ = ["LinkError", "LinkListener", "PlcLink", "Received"]

RECORDS_IN_FLIGHT = 12  # of the 20 messages brokers take unacknowledged: results need room beside the records
UNACKED_WARN_S = 0.5
CLASH_OVER_S = 3 * CLASH_RETRY_S  # a connection that held for so long has nobody against it
ROUND_TRIPS = 500  # of the last messages
ABANDONED_MAX = 4
EXPIRY_S = {"record": 7 * 86400, "hb": 2, "ack": 10, "event": 3600}
NOBODY = 0x10
NOT_AUTHORISED = 0x87
STARTS_ANEW = ("start", "reset_fault")  # a PLC that says so has come back and listens
NO_TWINS = Twins()


@dataclass(frozen=True)
class Received:
    """A message on ``cmd/<name>``. A payload beyond the contract's limit comes cut to one byte more than it."""

    name: str
    payload: bytes
    retained: bool
    received_ns: int  # CLOCK_MONOTONIC
    received_utc: str
    response_topic: str = ""  # MQTT 5: where the asker also wants the ack
    correlation: bytes = b""


class _Sent(NamedTuple):
    """What a message was, for its acknowledgement."""

    kind: str
    outbox_id: int | None
    at_ns: int


class LinkListener(Protocol):
    """Who uses the link. Called in the event loop's thread."""

    def link_up(self) -> None:
        """Connected and subscribed: publish ``info``, ``state`` and ``hb`` now, then offer the outbox again."""

    def link_down(self, why: str) -> None:
        """The connection is gone, and with it every record that was not acknowledged."""

    def received(self, message: Received) -> None:
        """A message on ``cmd/<name>``, of any content."""

    def record_acked(self, outbox_id: int, read: bool) -> None:
        """The broker has this record; ``read`` False: for nobody, neither connected nor with a session (MQTT 5)."""

    def warning(self, what: str, text: str) -> None:
        """``what``: connect_failed, client_id_clash, other_station, nobody_listens, no_record_reader, not_authorised,
        no_puback, queue_full, commands_dropped, client_rebuilt or callback_error. Told once until it gets better.
        """


class PlcLink:
    """Keeps one connection to the broker. All methods are for the event loop's thread and never block."""

    def __init__(
        self, config: PlcConfig, topics: Topics, listener: LinkListener, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Raises LinkError when a certificate, key or password file can't be used."""
        self._topics = topics
        self._listener = listener
        self._loop = loop
        self._address = Address.of(config)
        self._client_id = config.client_id or "-".join(topics.base.split("/")[2:])
        self._who = config.username or "the station's user"
        self._will = Will(topics.state, OFFLINE, qos=1, retain=True)
        self._connection: Connection | None = None
        self._records_in_flight = 0
        self._retry: asyncio.TimerHandle | None = None
        self._tries = Tries(config.version)
        self._echoes = Echoes()
        self._round_trips_ms: deque[float] = deque(maxlen=ROUND_TRIPS)
        self._stops_unheard = config.when_nobody_listens == "stop"
        self._links = 0
        self._stopping = False
        self._down_since_ns: int | None = time.monotonic_ns()
        self._warned: set[tuple[str, str]] = set()  # what, about what
        # a weak PLC reads one of the twins alone: nobody listens only when nobody listens to any of them
        twins = {"result/c": config.compact.result_c, "result/b": config.compact.result_b}
        self._result_kinds = ("result", *(kind for kind, on in twins.items() if on))
        self._unheard: set[str] = set()
        self._abandoned: list[Connection] = []  # that still try to open a socket
        self.commands_dropped = 0
        self.unconfirmed = 0  # messages whose connection ended before the broker had confirmed them

    @property
    def connected(self) -> bool:
        """Connected and subscribed, as far as anybody can know."""
        return self._connection is not None and self._connection.up

    @property
    def down_since_ns(self) -> int | None:
        """When the link was lost (monotonic), None while it is up."""
        return self._down_since_ns

    @property
    def reconnects(self) -> int:
        """How often the link came back."""
        return max(0, self._links - 1)

    @property
    def troubles(self) -> frozenset[str]:
        """The warnings that still hold, by the words of ``LinkListener.warning``."""
        return frozenset(what for what, _ in self._warned)

    @property
    def refusal(self) -> str:
        """Why the station may not be Ready because of the link, "" when it may."""
        now = self.troubles
        if "other_station" in now:
            return "another station publishes on this station's topics: the PLC can't tell whose verdict it reads"
        if self._stops_unheard and "nobody_listens" in now:
            return "nobody reads the verdicts; start or reset_fault says that the PLC is there again"
        return ""

    @property
    def version(self) -> str:
        """The MQTT version in use, "" while there is no connection."""
        return self._connection.version if self._connection is not None and self._connection.up else ""

    @property
    def unacked(self) -> int:
        """Messages that wait for the broker's confirmation."""
        return self._connection.unacked if self._connection is not None else 0

    def round_trip_ms(self) -> dict[str, float]:
        """p50 and p99 over the last 500 messages, from publishing to the broker's confirmation; 0 without any."""
        ordered = sorted(self._round_trips_ms) or [0.0]
        return {"p50": round(ordered[len(ordered) // 2], 2), "p99": round(ordered[int(len(ordered) * 0.99)], 2)}

    def start(self) -> None:
        """Begin to connect. The broker may be absent."""
        self._connect()

    async def stop(self, offline: bytes = OFFLINE, limit_s: float = 1.0) -> None:
        """Tell ``offline`` on ``state``, disconnect cleanly (the will is not sent), within ``limit_s``."""
        self._stopping = True
        if self._retry is not None:
            self._retry.cancel()
        connection = self._connection
        if connection is None:
            return
        deadline = self._loop.time() + limit_s
        if connection.up and connection.publish(self._topics.state, offline, qos=1, retain=True):
            while connection.unacked and connection.alive and self._loop.time() < deadline - limit_s / 4:
                await asyncio.sleep(0.005)
        connection.disconnect()
        while connection.alive and self._loop.time() < deadline:
            await asyncio.sleep(0.005)
        self._connection = None
        self._down_since_ns = self._down_since_ns or time.monotonic_ns()
        connection.abort()

    def result(self, payload: bytes, expiry_s: int, twins: Twins = NO_TWINS) -> bool:
        """Hand over a verdict, its twins right behind it. False: the link is down, and neither this verdict nor its
        twins may be offered again.
        """
        if not self._publish(self._topics.result, payload, "result", qos=1, expiry_s=expiry_s):
            return False
        if self.version == "3.1.1":
            self._echoes.sent(self._topics.result, payload, time.monotonic())
        if twins.text is not None:
            self._publish(self._topics.result_c, twins.text, "result/c", qos=1, expiry_s=expiry_s)
        if twins.binary is not None:
            self._publish(self._topics.result_b, twins.binary, "result/b", qos=1, expiry_s=expiry_s)
        return True

    def record(self, outbox_id: int, payload: bytes) -> bool:
        """Hand over a row of the outbox. False: not now. ``record_acked`` tells when the broker has it;
        after ``link_down`` every row that was not acknowledged must be offered again.
        """
        if self._records_in_flight >= RECORDS_IN_FLIGHT:
            return False
        sent = self._publish(self._topics.record, payload, "record", qos=1, outbox_id=outbox_id)
        self._records_in_flight += sent
        return sent

    def publish_state(self, payload: bytes) -> bool:
        """Retained ``state``. False: not handed over; ``link_up`` asks again."""
        return self._publish(self._topics.state, payload, "state", qos=1, retain=True)

    def heartbeat(self, payload: bytes, counter: bytes | None = None) -> bool:
        """``hb``, and ``hb/c`` with ``counter``. False: the link is down."""
        sent = self._publish(self._topics.hb, payload, "hb", qos=0)
        if sent:
            self._echoes.sent(self._topics.hb, payload, time.monotonic())
        if sent and counter is not None:
            self._publish(self._topics.hb_c, counter, "hb", qos=0)
        return sent

    def ack(self, payload: bytes, to: Received | None = None) -> bool:
        """Answer a command, also on the response topic of ``to`` when it has one. False: not handed over."""
        if to is not None and self._may_answer_on(to.response_topic):
            self._publish(to.response_topic, payload, "ack", qos=1, correlation=to.correlation)
        return self._publish(self._topics.ack, payload, "ack", qos=1)

    def event(self, payload: bytes) -> bool:
        """``event``. False: not handed over."""
        return self._publish(self._topics.event, payload, "event", qos=1)

    def counters(self, payload: bytes) -> bool:
        """Retained ``counters``. False: not handed over."""
        return self._publish(self._topics.counters, payload, "counters", qos=1, retain=True)

    def info(self, payload: bytes) -> bool:
        """Retained ``info``. False: not handed over; ``link_up`` asks again."""
        return self._publish(self._topics.info, payload, "info", qos=1, retain=True)

    async def check(self) -> None:
        """To be called about once a second: replaces a client that hangs, tells what the broker keeps silent about."""
        self._abandoned = [old for old in self._abandoned if old.alive]
        now = time.monotonic()
        if not self._echoes.foreign(now):
            self._better("other_station")
        connection = self._connection
        if connection is None or self._stopping:
            return
        trouble = connection.trouble()
        if trouble:
            connection.abort()
            self._warn("client_rebuilt", trouble)
            self.ended(connection, trouble)
            self._better("client_rebuilt")  # each one is news
            return
        if connection.up_s > CLASH_OVER_S:
            self._better("client_id_clash")
        if connection.oldest_unacked_s > UNACKED_WARN_S:
            self._warn("no_puback", f"the broker has not confirmed a message for {connection.oldest_unacked_s:.1f} s")
        else:
            self._better("no_puback")
        missing = self._echoes.missing(connection.last_heard)
        for topic in (self._topics.hb, self._topics.result):
            kind = topic.rpartition("/")[2]
            if topic in missing:
                text = f"{kind} does not come back: the access list must let {self._who} write and read {topic}"
                self._warn("not_authorised", text, f"echo of {kind}")
            else:
                self._better("not_authorised", f"echo of {kind}")

    # --- called by the connection (mqtt.Owner) ---------------------------------------------------------
    def _connect(self) -> None:
        self._retry = None
        if len(self._abandoned) >= ABANDONED_MAX:  # threads stuck in a name server or a driver: no more of them
            self._retry = self._loop.call_later(RETRY_S[-1], self._connect)
            self._abandoned = [old for old in self._abandoned if old.alive]
            return
        self._records_in_flight = 0
        address = replace(self._address, version=self._tries.version)
        # what comes back of our own says that it went out; MQTT 5 tells that of results itself, and whether anybody
        # is subscribed to them: there we must not be
        own = [self._topics.hb] if address.version == "5" else [self._topics.hb, self._topics.result]
        subscriptions = [(self._topics.cmd_filter, 1), *((topic, 0) for topic in own)]
        self._connection = Connection(address, self._client_id, self._will, subscriptions, self, self._loop)
        self._connection.start()

    def up(self, connection: Connection, refused: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection:
            return
        self._warned = {warned for warned in self._warned if warned[0] != "not_authorised"}  # asked anew
        self._echoes.forget_awaited()
        self._links += 1
        self._unheard.clear()
        self._down_since_ns = None
        self._better("connect_failed")
        self._tell(self._listener.link_up)
        if refused:
            self._warn("not_authorised", f"the broker refused a subscription: {refused}", "subscription")

    def ended(self, connection: Connection, why: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`: forget it and all that was in it."""
        if connection is not self._connection:
            return
        if connection.alive:
            self._abandoned.append(connection)
        self._connection = None
        self.unconfirmed += connection.unacked
        if self._stopping:
            return
        ending = Ending(
            connection.reached, connection.answered, connection.told_up, connection.up_s,
            connection.closed_by_broker, connection.taken_over,
        )  # fmt: skip
        self._retry = self._loop.call_later(self._tries.ended(ending, time.monotonic()), self._connect)
        if connection.told_up:
            self._down_since_ns = time.monotonic_ns()
            self._tell(self._listener.link_down, why)
        elif not self._tries.falls_back:
            self._warn("connect_failed", why)
        if self._tries.clash == "certain":
            self._warn("client_id_clash", f"{self._client_id}: the broker gave its connection to another client")
        elif self._tries.clash:
            text = "the broker closes each connection within seconds; probably another client uses it"
            self._warn("client_id_clash", f"{self._client_id}: {text}")

    def received(self, connection: Connection, incoming: Incoming) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection or self._stopping:
            return
        name = self._topics.command(incoming.topic)
        if name is None:
            self._own(incoming)
            return
        if name in STARTS_ANEW and not incoming.retained:
            self._unheard.clear()
            self._better("nobody_listens")
        message = Received(
            name[: ID_MAX + 1],
            incoming.payload[: COMMAND_LIMIT_BYTES + 1],
            incoming.retained,
            incoming.received_ns,
            incoming.received_utc,
            incoming.response_topic,
            incoming.correlation,
        )
        self._tell(self._listener.received, message)

    def _own(self, incoming: Incoming) -> None:
        """A message on a topic that only this station writes."""
        now = time.monotonic()
        if not incoming.retained:
            self._echoes.heard(incoming.topic, incoming.payload, now)
        if self._echoes.foreign(now):
            self._warn("other_station", f"a message on {incoming.topic} that is not ours")

    def acked(self, connection: Connection, tag: object, reason: int) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection or not isinstance(tag, _Sent):
            return
        kind = tag.kind
        self._round_trips_ms.append((time.monotonic_ns() - tag.at_ns) / 1e6)
        self._records_in_flight -= kind == "record"
        if reason >= 0x80:
            word = "not authorised" if reason == NOT_AUTHORISED else f"reason code 0x{reason:02X}"
            self._warn("not_authorised", f"the broker refused a message on {kind}: {word}", kind)
            return
        self._better("not_authorised", kind)
        if kind == "record" and reason == NOBODY:
            self._warn("no_record_reader", "no client is subscribed to record")
        elif kind == "record":
            self._better("no_record_reader")
        elif kind in self._result_kinds:
            self._heard(kind, reason != NOBODY)
        if tag.outbox_id is not None:
            self._tell(self._listener.record_acked, tag.outbox_id, reason != NOBODY)

    def dropped(self, count: int) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        self.commands_dropped += count
        self._tell(self._listener.warning, "commands_dropped", f"{count} commands dropped: they come too fast")

    def fault(self, where: str, text: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        self._warn("callback_error", f"{where}: {text}", where)

    # --- helpers ---------------------------------------------------------------------------------------
    def _heard(self, kind: str, by_somebody: bool) -> None:
        if by_somebody:
            self._unheard.discard(kind)
            self._better("nobody_listens")
            return
        self._unheard.add(kind)
        if self._unheard.issuperset(self._result_kinds):
            self._warn("nobody_listens", f"no client is subscribed to {', '.join(self._result_kinds)}")

    def _warn(self, what: str, text: str, about: str = "") -> None:
        key = (what, about)
        if key not in self._warned:
            self._warned.add(key)
            self._tell(self._listener.warning, what, text)

    def _better(self, what: str, about: str = "") -> None:
        self._warned.discard((what, about))

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:  # the listener's bug must not take the link down
            self._loop.call_exception_handler({"message": f"{method.__name__} failed", "exception": error})

    def _publish(
        self, topic: str, payload: bytes, kind: str, *, qos: int, retain: bool = False,
        expiry_s: int | None = None, outbox_id: int | None = None, correlation: bytes = b"",
    ) -> bool:  # fmt: skip
        connection = self._connection
        if connection is None or not connection.up or self._stopping:
            return False
        sent = connection.publish(
            topic, payload, qos=qos, retain=retain, correlation=correlation,
            tag=_Sent(kind, outbox_id, time.monotonic_ns()),
            expiry_s=EXPIRY_S.get(kind) if expiry_s is None else expiry_s,
        )  # fmt: skip
        if connection.full:
            self._warn("queue_full", f"{QUEUED} messages wait for the broker's confirmation")
        elif sent:
            self._better("queue_full")
        return sent

    def _may_answer_on(self, topic: str) -> bool:
        """A response topic in a station's tree, ours or another's, could forge a verdict or a command: not there."""
        return 0 < len(topic) <= 200 and not any(c in topic for c in "+#\0") and not topic.startswith(("$", "vis/"))
