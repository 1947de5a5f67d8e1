"""The MQTT link: the only file that knows paho.

Three habits of paho decide the shape of this file (measured, see ``docs/plc.md``). It keeps what it was given while
it was disconnected, and what was not acknowledged, and sends it after the reconnect: a verdict must never come late,
so **a client object lives for one connection**, and what was in it dies with it. An exception in a callback kills
its thread while ``is_connected()`` stays true: callbacks only hand over to the event loop, and :meth:`PlcLink.check`
looks after the thread. Its acknowledgements say that the broker has the message, not that anybody reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from inspector.config import PlcConfig
from inspector.plc.commands import COMMAND_LIMIT_BYTES, ID_MAX
from inspector.plc.compact import Twins
from inspector.plc.contract import OFFLINE, Topics, utc_now

RECORDS_IN_FLIGHT = 12  # brokers take 20 unacknowledged messages at a time; results need room beside the records
IN_FLIGHT = 20
QUEUED = 64
PENDING_MESSAGES = 500  # commands on their way from paho's thread to the event loop
UNACKED_WARN_S = 0.5
HUNG_S = 3.0  # nothing written to the socket for so long: the client's thread hangs
CONNECT_LIMIT_S = 20.0
RETRY_S = (0.1, 0.5, 1.0, 2.0)  # before the first, second ... try in a row
STABLE_S = 5.0  # a connection that held for so long starts the row anew
# sent data TCP has no answer to for so long: a pulled cable; the kernel drops the connection and the data
USER_TIMEOUT_MS = 1000
ABANDONED_MAX = 4
EXPIRY_S = {"record": 7 * 86400, "hb": 2, "ack": 10, "event": 3600}
NOBODY = 0x10
NOT_AUTHORISED = 0x87
NO_TWINS = Twins()
PASSWORD_MAX_BYTES = 1024

P = ParamSpec("P")


class LinkError(Exception):
    """The link can't be set up as configured; one sentence."""


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


class LinkListener(Protocol):
    """Who uses the link. Called in the event loop's thread."""

    def link_up(self) -> None:
        """Connected and subscribed: publish ``info``, ``state`` and ``hb`` now, then offer the outbox again."""

    def link_down(self, why: str) -> None:
        """The connection is gone, and with it every record that was not acknowledged."""

    def received(self, message: Received) -> None:
        """A message on ``cmd/<name>``, of any content."""

    def record_acked(self, outbox_id: int) -> None:
        """The broker has this record."""

    def warning(self, what: str, text: str) -> None:
        """``what``: connect_failed, nobody_listens, no_record_reader, not_authorised, no_puback, queue_full,
        commands_dropped, client_rebuilt or callback_error. Told once until it gets better.
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
        self._settings = _Settings.of(config, topics)
        self._connection: _Connection | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._tries = 0
        self._links = 0
        self._stopping = False
        self._down_since_ns: int | None = time.monotonic_ns()
        self._warned: set[tuple[str, str]] = set()  # what, about what
        # a weak PLC reads one of the twins alone: nobody listens only when nobody listens to any of them
        twins = {"result/c": config.compact.result_c, "result/b": config.compact.result_b}
        self._result_kinds = ("result", *(kind for kind, on in twins.items() if on))
        self._unheard: set[str] = set()
        self._abandoned: list[_Connection] = []
        self._handlers = _Handlers(self._up, self._ended, self._received, self._acked, self._dropped, self._fault)
        self.commands_dropped = 0

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
        if connection.up and connection.publish(self._topics.state, offline, "state", qos=1, retain=True):
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
        if twins.text is not None:
            self._publish(self._topics.result_c, twins.text, "result/c", qos=1, expiry_s=expiry_s)
        if twins.binary is not None:
            self._publish(self._topics.result_b, twins.binary, "result/b", qos=1, expiry_s=expiry_s)
        return True

    def record(self, outbox_id: int, payload: bytes) -> bool:
        """Hand over a row of the outbox. False: not now. ``record_acked`` tells when the broker has it;
        after ``link_down`` every row that was not acknowledged must be offered again.
        """
        if self._connection is None or self._connection.records_in_flight >= RECORDS_IN_FLIGHT:
            return False
        return self._publish(self._topics.record, payload, "record", qos=1, outbox_id=outbox_id)

    def publish_state(self, payload: bytes) -> bool:
        """Retained ``state``. False: not handed over; ``link_up`` asks again."""
        return self._publish(self._topics.state, payload, "state", qos=1, retain=True)

    def heartbeat(self, payload: bytes, counter: bytes | None = None) -> bool:
        """``hb``, and ``hb/c`` with ``counter``. False: the link is down."""
        sent = self._publish(self._topics.hb, payload, "hb", qos=0)
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
        """To be called about once a second: replaces a client that died or hangs, tells of missing PUBACKs."""
        self._abandoned = [old for old in self._abandoned if old.alive]
        connection = self._connection
        if connection is None or self._stopping:
            return
        trouble = connection.trouble()
        if trouble:
            await asyncio.sleep(0)  # the thread may have told its end just now
            if connection is not self._connection:
                return
            self._warn("client_rebuilt", trouble)
            self._ended(connection, trouble)
            self._better("client_rebuilt")  # each one is news
        elif connection.oldest_unacked_s > UNACKED_WARN_S:
            self._warn("no_puback", f"the broker has not confirmed a message for {connection.oldest_unacked_s:.1f} s")
        else:
            self._better("no_puback")

    # --- called by the connection, in the event loop -------------------------------------------------
    def _connect(self) -> None:
        self._retry = None
        if len(self._abandoned) >= ABANDONED_MAX:  # threads stuck in a name server or a driver: no more of them
            self._retry = self._loop.call_later(RETRY_S[-1], self._connect)
            self._abandoned = [old for old in self._abandoned if old.alive]
            return
        self._tries += 1
        self._connection = _Connection(self._handlers, self._settings, self._loop)
        self._connection.start()

    def _up(self, connection: _Connection, refused: str) -> None:
        if connection is not self._connection:
            return
        if refused:
            self._warn("not_authorised", f"the broker refused the subscription to commands: {refused}", "cmd")
        else:
            self._better("not_authorised", "cmd")
        self._links += 1
        self._unheard.clear()
        self._down_since_ns = None
        self._better("connect_failed")
        self._tell(self._listener.link_up)

    def _ended(self, connection: _Connection, why: str) -> None:
        """The connection never came to be or is over: forget it and all that was in it."""
        if connection is not self._connection:
            return
        was_up, held_s = connection.told_up, connection.up_s
        connection.abort()
        if connection.alive:
            self._abandoned.append(connection)
        self._connection = None
        if held_s >= STABLE_S:
            self._tries = 0
        if self._stopping:
            return
        wait_s = RETRY_S[min(self._tries, len(RETRY_S) - 1)]
        self._retry = self._loop.call_later(wait_s, self._connect)
        if was_up:
            self._down_since_ns = time.monotonic_ns()
            self._tell(self._listener.link_down, why)
        else:
            self._warn("connect_failed", why)

    def _received(self, connection: _Connection, message: Received) -> None:
        if connection is self._connection and not self._stopping:
            self._tell(self._listener.received, message)

    def _acked(self, connection: _Connection, kind: str, outbox_id: int | None, reason: int) -> None:
        if connection is not self._connection:
            return
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
        if outbox_id is not None:
            self._tell(self._listener.record_acked, outbox_id)

    def _heard(self, kind: str, by_somebody: bool) -> None:
        if by_somebody:
            self._unheard.discard(kind)
            self._better("nobody_listens")
            return
        self._unheard.add(kind)
        if self._unheard.issuperset(self._result_kinds):
            self._warn("nobody_listens", f"no client is subscribed to {', '.join(self._result_kinds)}")

    def _dropped(self, count: int) -> None:
        self.commands_dropped += count
        self._tell(self._listener.warning, "commands_dropped", f"{count} commands dropped: they come too fast")

    def _fault(self, where: str, text: str) -> None:
        self._warn("callback_error", text, where)

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

    def _publish(self, topic: str, payload: bytes, kind: str, **options: Any) -> bool:
        connection = self._connection
        if connection is None or not connection.up or self._stopping:
            return False
        sent = connection.publish(topic, payload, kind, **options)
        if connection.full:
            self._warn("queue_full", f"{QUEUED} messages wait for the broker's confirmation")
        elif sent:
            self._better("queue_full")
        return sent

    def _may_answer_on(self, topic: str) -> bool:
        """A response topic inside our own tree could forge a verdict or a command: not there."""
        return (
            0 < len(topic) <= 200
            and not any(c in topic for c in "+#\0")
            and not topic.startswith(("$", self._topics.base + "/"))
        )


@dataclass(frozen=True)
class _Settings:
    host: str
    port: int
    v5: bool
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int
    topics: Topics

    @classmethod
    def of(cls, config: PlcConfig, topics: Topics) -> _Settings:
        password = None
        if config.password_file is not None:
            try:
                with open(config.password_file, encoding="utf-8") as file:
                    password = file.readline(PASSWORD_MAX_BYTES).rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise LinkError(f"password_file {config.password_file}: can't be read: {error}") from None
        tls = None
        if config.ca_file is not None:
            try:
                tls = ssl.create_default_context(cafile=str(config.ca_file))
            except (OSError, ssl.SSLError) as error:
                raise LinkError(f"ca_file {config.ca_file}: not a certificate: {error}") from None
        if config.cert_file is not None or config.key_file is not None:
            if tls is None:
                raise LinkError("cert_file and key_file need ca_file, which switches TLS on")
            if config.cert_file is None or config.key_file is None:
                raise LinkError("cert_file and key_file are needed together")
            try:
                # an encrypted key must not make an unattended station ask for a password
                tls.load_cert_chain(str(config.cert_file), str(config.key_file), password=b"")
            except (OSError, ssl.SSLError) as error:
                raise LinkError(
                    f"cert_file {config.cert_file}, key_file {config.key_file}: can't be used: {error}"
                ) from None
        client_id = config.client_id or "-".join(topics.base.split("/")[2:])
        return cls(
            config.host, config.port, config.version == "5", client_id, config.username, password, tls,
            config.keepalive_s, topics,
        )  # fmt: skip


class _Client(mqtt.Client):
    """paho's client that says whether its thread lives."""

    @property
    def thread_alive(self) -> bool:
        thread: threading.Thread | None = self._thread
        return thread is not None and thread.is_alive()


@dataclass(frozen=True)
class _Handlers:
    """What a connection tells, in the event loop."""

    up: Callable[[_Connection, str], None]  # why the subscription was refused, or ""
    ended: Callable[[_Connection, str], None]
    received: Callable[[_Connection, Received], None]
    acked: Callable[[_Connection, str, int | None, int], None]  # kind, outbox id, reason code
    dropped: Callable[[int], None]
    fault: Callable[[str, str], None]


C = TypeVar("C", bound="_Connection")


def _guarded(method: Callable[Concatenate[C, P], None]) -> Callable[Concatenate[C, P], None]:
    """A callback of paho's thread: nothing may escape from it, or the thread dies unnoticed."""

    @functools.wraps(method)
    def guarded(self: C, /, *arguments: P.args, **named: P.kwargs) -> None:
        try:
            method(self, *arguments, **named)
        except Exception as error:
            with contextlib.suppress(Exception):
                self.post_error(method.__name__, error)

    return guarded


class _Connection:
    """One client object, one connection, never reconnected. Methods with ``on_`` run in paho's thread."""

    def __init__(self, tell: _Handlers, settings: _Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._tell = tell
        self._loop = loop
        self._topics = settings.topics
        self._v5 = settings.v5
        self.up = False
        self.told_up = False
        self.full = False
        self._started = time.monotonic()
        self._up_since = 0.0
        self._over = False
        self._lock = threading.Lock()
        self._pending = 0  # messages posted and not yet received, under _lock
        self._drops = 0
        self._unacked: dict[int, tuple[str, int | None, float]] = {}  # mid: kind, outbox id, when
        self._unwritten: tuple[mqtt.MQTTMessageInfo, float] | None = None
        self._sock: socket.socket | None = None
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if settings.v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if settings.v5 else True,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.reconnect_delay_set(0, 0)  # it has only one try; PlcLink waits
        client.max_inflight_messages_set(IN_FLIGHT)
        client.max_queued_messages_set(QUEUED)
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.password)
        if settings.tls is not None:
            client.tls_set_context(settings.tls)
        client.will_set(self._topics.state, OFFLINE, qos=1, retain=True)
        client.on_socket_open = self.on_socket_open
        client.on_connect = self.on_connect
        client.on_connect_fail = self.on_connect_fail
        client.on_subscribe = self.on_subscribe
        client.on_message = self.on_message
        client.on_publish = self.on_publish
        client.on_disconnect = self.on_disconnect
        client.connect_timeout = 5.0
        if settings.v5:
            client.connect_async(
                settings.host, settings.port, settings.keepalive_s, clean_start=True,
                properties=_properties(PacketTypes.CONNECT, SessionExpiryInterval=0),
            )  # fmt: skip
        else:
            client.connect_async(settings.host, settings.port, settings.keepalive_s)
        self._client = client

    @property
    def alive(self) -> bool:
        return self._client.thread_alive

    @property
    def unacked(self) -> int:
        return len(self._unacked)

    @property
    def records_in_flight(self) -> int:
        return sum(1 for kind, _, _ in self._unacked.values() if kind == "record")

    @property
    def oldest_unacked_s(self) -> float:
        return max((time.monotonic() - since for _, _, since in self._unacked.values()), default=0.0)

    @property
    def up_s(self) -> float:
        return time.monotonic() - self._up_since if self.told_up else 0.0

    def start(self) -> None:
        self._client.loop_start()

    def trouble(self) -> str:
        """What is wrong with the client, "" when nothing is."""
        now = time.monotonic()
        if not self.alive:
            return "the client's thread has ended"
        if not self.up and now - self._started > CONNECT_LIMIT_S:
            return f"no connection after {CONNECT_LIMIT_S:.0f} s"
        if self._unwritten is not None:
            info, since = self._unwritten
            if info.is_published():
                self._unwritten = None
            elif now - since > HUNG_S:
                return f"the client has written nothing for {now - since:.1f} s"
        return ""

    def publish(
        self, topic: str, payload: bytes, kind: str, *, qos: int, retain: bool = False,
        expiry_s: int | None = None, outbox_id: int | None = None, correlation: bytes = b"",
    ) -> bool:  # fmt: skip
        """True: written or about to be. Never kept for another connection."""
        properties = None
        if self._v5:
            expiry = expiry_s if expiry_s is not None else EXPIRY_S.get(kind)
            members: dict[str, Any] = {} if expiry is None else {"MessageExpiryInterval": expiry}
            if correlation:
                members["CorrelationData"] = correlation
            properties = _properties(PacketTypes.PUBLISH, **members)
        info = self._client.publish(topic, payload, qos, retain, properties)
        self.full = info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if qos:
            self._unacked[info.mid] = (kind, outbox_id, time.monotonic())
        elif self._unwritten is None:
            self._unwritten = (info, time.monotonic())
        return True

    def disconnect(self) -> None:
        """Say goodbye: the broker drops the will."""
        self.up = False
        self._client.disconnect()

    def abort(self) -> None:
        """End it now; what is in the client or in the kernel's buffer is not to be sent any more."""
        self.up = False
        self._over = True
        sock = self._sock
        if sock is not None and self.alive:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        if self._client.socket() is None:
            self._client.disconnect()  # ends a thread that waits before a next try

    # --- paho's thread --------------------------------------------------------------------------------
    @_guarded
    def on_socket_open(self, _client: Any, _data: Any, sock: Any) -> None:
        self._sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)

    @_guarded
    def on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._post(self._end, f"the broker refused the connection: {reason}")
        else:
            client.subscribe(self._topics.cmd_filter, qos=1)

    @_guarded
    def on_connect_fail(self, _client: Any, _data: Any) -> None:
        error = sys.exc_info()[1]
        text = f"{error.strerror or error}" if isinstance(error, OSError) else "unknown cause"
        self._post(self._end, f"no connection to the broker: {text}")

    @_guarded
    def on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Any) -> None:
        refused = next((str(reason) for reason in reasons if reason.is_failure), "")
        self._post(self._subscribed, refused)

    @_guarded
    def on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        received_ns, received_utc = time.monotonic_ns(), utc_now()
        self._acknowledge_now()
        name = self._topics.command(message.topic)
        if name is None:
            return
        with self._lock:
            if self._pending >= PENDING_MESSAGES:
                self._drops += 1
                return
            self._pending += 1
        properties = message.properties
        self._post(
            self._deliver,
            Received(
                name[: ID_MAX + 1],
                bytes(message.payload[: COMMAND_LIMIT_BYTES + 1]),
                bool(message.retain),
                received_ns,
                received_utc,
                getattr(properties, "ResponseTopic", ""),
                getattr(properties, "CorrelationData", b""),
            ),
        )

    @_guarded
    def on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _props: Any) -> None:
        self._acknowledge_now()
        self._post(self._confirm, mid, reason.value)

    @_guarded
    def on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        self._post(self._end, f"connection lost: {reason}")

    def post_error(self, where: str, error: Exception) -> None:
        """From paho's thread: a callback failed."""
        self._post(self._tell.fault, where, f"{where}: {type(error).__name__}: {error}")

    def _acknowledge_now(self) -> None:
        """Against delayed ACKs: a broker with Nagle's algorithm on holds its next message back for one (40 ms)."""
        if self._sock is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # closed meanwhile
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _post(self, method: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(method, *arguments)

    # --- event loop -----------------------------------------------------------------------------------
    def _subscribed(self, refused: str) -> None:
        if self._over:
            return
        self.up = self.told_up = True
        self._up_since = time.monotonic()
        self._tell.up(self, refused)

    def _deliver(self, message: Received) -> None:
        with self._lock:
            self._pending -= 1
            drops, self._drops = self._drops, 0
        if drops:
            self._tell.dropped(drops)
        self._tell.received(self, message)

    def _confirm(self, mid: int, reason: int) -> None:
        known = self._unacked.pop(mid, None)
        if known is not None:
            self._tell.acked(self, known[0], known[1], reason)

    def _end(self, why: str) -> None:
        if not self._over:
            self.up = False
            self._tell.ended(self, why)


def _properties(packet: int, **members: Any) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for key, value in members.items():
        setattr(properties, key, value)
    return properties
