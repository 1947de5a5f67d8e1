"""One MQTT connection, driven by the event loop: the only file that knows paho.

Two habits of paho decide the shape of this file (measured, see ``docs/plc.md``). It keeps what it was given while it
was disconnected, and what was not acknowledged, and sends it after the reconnect: a verdict must never come late, so
**a client object lives for one connection**, and what was in it dies with it. Its acknowledgements say that the
broker has the message, not that anybody reads it.

Only the blocking part, opening the socket, has a thread. All else happens in the event loop: no thread can die or
hang unnoticed, and no message waits for a thread to wake up. Callbacks of paho only put down what came; owners hear
of it when paho has returned, so that they may publish at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from inspector.plc.contract import utc_now
from inspector.plc.dial import Address, LinkError, open_socket, sentence

__all__ = ["Address", "Connection", "Incoming", "LinkError", "Owner", "Will"]

IN_FLIGHT = 20  # brokers take 20 unacknowledged messages at a time
QUEUED = 64
INBOX = 500  # messages read and not yet told
PER_TURN = 8  # messages told in one turn of the event loop
HOLD = QUEUED // 2  # so many unacknowledged: messages wait, their answers would find no room
PAYLOAD_MAX_BYTES = 65_536
CONNECT_LIMIT_S = 20.0  # from the start to the subscription
ANSWER_LIMIT_S = 5.0  # of it, from the open socket on
HUNG_S = 3.0  # nothing could be written to the socket for so long
TICK_S = 0.5
REFUSED_VERSION = (0x01, 0x84)  # CONNACK of MQTT 3.1.1 and 5: this version is not spoken here
TAKEN_OVER = 0x8E  # DISCONNECT reasons
KEEP_ALIVE = 0x8D
UNSPECIFIED = 0x80
NO_CONNECTION = "no connection to the broker"


@dataclass(frozen=True)
class Will:
    """What the broker tells when the connection ends without a goodbye."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Incoming:
    """A message of a subscription. A payload beyond PAYLOAD_MAX_BYTES comes cut to one byte more than it."""

    topic: str
    payload: bytes
    retained: bool
    received_ns: int  # CLOCK_MONOTONIC
    received_utc: str
    response_topic: str = ""  # MQTT 5: where the asker also wants the answer
    correlation: bytes = b""


class Owner(Protocol):
    """Who uses a connection. Called in the event loop; may publish at once."""

    def up(self, connection: Connection, refused: str) -> None:
        """Connected and subscribed; ``refused``: the filters the broker refused and its words, or ""."""

    def ended(self, connection: Connection, why: str) -> None:
        """It never came to be, or is over, with all that was in it. Told once, and not after ``abort``."""

    def received(self, connection: Connection, incoming: Incoming) -> None:
        """A message, of any content."""

    def acked(self, connection: Connection, tag: object, reason: int) -> None:
        """The broker has answered what was published or asked with ``tag``; 0x80 and more: refused (MQTT 5)."""

    def dropped(self, count: int) -> None:
        """So many messages came and can't be told."""

    def fault(self, where: str, text: str) -> None:
        """The client failed; the connection ends when that can't be mended."""


class _Client(mqtt.Client):
    """paho's client on a socket that was opened before, with the words of what ended it."""

    prepared: socket.socket | None = None
    failure: OSError | None = None

    def _create_socket(self) -> Any:
        assert self.prepared is not None  # noqa: S101  # set before reconnect() is called
        return self.prepared

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            return super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = error
            raise

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = error
            raise


class Connection:
    """One client object, one connection, never reconnected. All methods are for the event loop and never block."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        will: Will,
        subscriptions: Sequence[tuple[str, int]],
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``subscriptions``: (filter, QoS). An address of version "auto" is spoken to in 3.1.1, which all know."""
        self._address, self._owner, self._loop = address, owner, loop
        self._subscriptions = list(subscriptions)
        self.version = "5" if address.version == "5" else "3.1.1"
        self._v5 = self.version == "5"
        self.up = False
        self.told_up = False
        self.full = False  # the last message found no room
        self.reached = False  # the socket was open
        self.answered = False  # the broker speaks this version
        self.taken_over = False  # MQTT 5: another client came with our id
        self.closed_by_broker = False
        self.last_heard = time.monotonic()  # when the broker last sent anything
        self._started = time.monotonic()
        self._reached_at = self._up_since = 0.0
        self._over = False
        self._told_off = False
        self._dialling = False
        self._sock: socket.socket | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._writing = False
        self._stuck_since = 0.0  # since when the socket takes nothing
        self._events: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._inbox: deque[Incoming] = deque()
        self._drain_asked = False
        self._unacked: dict[int, tuple[object, float]] = {}  # mid: tag, when
        self._question = 0  # mid of what was asked last
        self._mute = False  # this broker says nothing when a subscription is ended that never was
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if self._v5 else True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(IN_FLIGHT)
        client.max_queued_messages_set(QUEUED)
        if address.username is not None:
            client.username_pw_set(address.username, address.password)
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_unsubscribe = self._on_unsubscribe
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        # with one of these paho leaves the writing to us
        client.on_socket_register_write = lambda *_: None
        self._client = client

    @property
    def alive(self) -> bool:
        """A socket is open, or a thread tries to open one."""
        return self._dialling or self._sock is not None

    @property
    def unacked(self) -> int:
        """Messages the broker has not acknowledged."""
        return len(self._unacked)

    @property
    def oldest_unacked_s(self) -> float:
        """How long the oldest of them has waited, s."""
        return max((time.monotonic() - since for _, since in self._unacked.values()), default=0.0)

    @property
    def up_s(self) -> float:
        """How long it has been up, s; 0 when it never was."""
        return time.monotonic() - self._up_since if self.told_up else 0.0

    def start(self) -> None:
        """Open the socket, connect, subscribe."""
        self._dialling = True
        threading.Thread(target=self._dial, name="mqtt-connect", daemon=True).start()

    def trouble(self) -> str:
        """What is wrong with a connection that has not ended, "" when nothing is."""
        now = time.monotonic()
        if self._over:
            return ""
        if not self.alive:
            return "the client has ended without a word"
        if not self.up and now - self._started > CONNECT_LIMIT_S:
            return f"no connection after {CONNECT_LIMIT_S:.0f} s"
        if self._writing and now - self._stuck_since > HUNG_S:
            return f"the client has written nothing for {now - self._stuck_since:.1f} s"
        return ""

    def publish(
        self, topic: str, payload: bytes, *, qos: int, retain: bool = False,
        expiry_s: int | None = None, tag: object = None, correlation: bytes = b"",
    ) -> bool:  # fmt: skip
        """True: written or about to be. Never kept for another connection. ``expiry_s`` and ``correlation``: MQTT 5."""
        if not self.up:
            return False
        properties = None
        if self._v5 and (expiry_s is not None or correlation):
            members: dict[str, Any] = {} if expiry_s is None else {"MessageExpiryInterval": expiry_s}
            if correlation:
                members["CorrelationData"] = correlation
            properties = _properties(PacketTypes.PUBLISH, **members)
        info = self._client.publish(topic, payload, qos, retain, properties)
        self.full = info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if qos:
            self._unacked[info.mid] = (tag, time.monotonic())
        self._write()
        return True

    def ask(self, unused_filter: str, tag: object) -> bool:
        """Have the broker answer (``acked`` with ``tag``) after all that was published before, at QoS 0 too.

        It is asked to end a subscription to ``unused_filter`` that never was, so that nothing changes; one that does
        not answer that (rumqttd) is asked to begin it. Only the last question waits for its answer. True: it was asked.
        """
        if not self.up:
            return False
        before = self._unacked.pop(self._question, None)
        if before is not None and time.monotonic() - before[1] > ANSWER_LIMIT_S:
            self._mute = True
        rc, mid = self._client.subscribe(unused_filter) if self._mute else self._client.unsubscribe(unused_filter)
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            return False
        self._question = mid
        self._unacked[mid] = (tag, time.monotonic())
        self._write()
        return True

    def disconnect(self) -> None:
        """Say goodbye: the broker drops the will."""
        self.up = False
        if self._sock is not None:
            self._paho("disconnect", self._client.disconnect)

    def abort(self) -> None:
        """End it now; what is in the client or in the kernel's buffer is not to be sent any more."""
        self.up = False
        self._over = True
        sock = self._sock
        if sock is None:
            return
        self._let_go()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    # --- opening --------------------------------------------------------------------------------------
    def _dial(self) -> None:
        """In a thread of its own: a name server may take its time."""
        sock, why = None, ""
        try:
            sock = open_socket(self._address)
        except Exception as error:
            why = sentence(error)
        try:
            self._loop.call_soon_threadsafe(self._dialled, sock, why)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            if sock is not None:
                sock.close()

    def _dialled(self, sock: socket.socket | None, why: str) -> None:
        self._dialling = False
        if self._over:
            if sock is not None:
                sock.close()
            return
        if sock is None:
            self._end(f"{NO_CONNECTION}: {why}")
            return
        self.reached, self._reached_at = True, time.monotonic()
        self._sock = self._client.prepared = sock
        self._loop.add_reader(sock, self._readable)
        self._tick = self._loop.call_later(TICK_S, self._misc)
        self._paho("connect", self._begin)

    def _begin(self) -> None:
        address = self._address
        if self._v5:
            self._client.connect_async(
                address.host, address.port, address.keepalive_s, clean_start=True,
                properties=_properties(PacketTypes.CONNECT, SessionExpiryInterval=0),
            )  # fmt: skip
        else:
            self._client.connect_async(address.host, address.port, address.keepalive_s)
        self._client.reconnect()  # on the prepared socket: sends CONNECT

    # --- event loop -----------------------------------------------------------------------------------
    def _paho(self, where: str, call: Callable[[], Any]) -> None:
        """Let paho do something, and tell what came of it. What it raises ends this connection."""
        if self._over:
            return
        try:
            call()
            self._drain()  # before the acknowledgement is written: a trigger must not wait for that
            self._flush()
        except Exception as error:
            self._fail(where, error)
            return
        self._drain()

    def _fail(self, where: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._tell(self._owner.fault, where, text)
        self._end(f"the client failed: {text}")

    def _readable(self) -> None:
        self.last_heard = time.monotonic()
        self._paho("read", self._client.loop_read)
        sock = self._sock
        if sock is None:
            return
        if hasattr(socket, "TCP_QUICKACK"):
            # against delayed ACKs: a broker with Nagle's algorithm on holds its next message back for one (40 ms)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if isinstance(sock, ssl.SSLSocket) and sock.pending():  # decrypted already: the kernel won't call again
            self._loop.call_soon(self._readable)

    def _writable(self) -> None:
        self._stuck_since = time.monotonic()  # the socket has room again
        self._paho("write", self._client.loop_write)

    def _misc(self) -> None:
        """Now and then: keep-alive, and a broker that takes the connection and says nothing."""
        self._tick = None
        self._paho("keep-alive", self._client.loop_misc)
        if not self.told_up and not self._over and time.monotonic() - self._reached_at > ANSWER_LIMIT_S:
            self._end(f"{NO_CONNECTION}: it did not answer within {ANSWER_LIMIT_S:.0f} s")
        if not self._over and self._sock is not None:
            self._tick = self._loop.call_later(TICK_S, self._misc)

    def _write(self) -> None:
        """For who publishes: it must not hear of an end before it is done."""
        try:
            self._flush()
        except Exception as error:
            self._events.append((self._fail, ("write", error)))
        if self._events:  # the write found the connection dead: told when the caller is done
            self._ask_drain()

    def _flush(self) -> None:
        """Write what can be written now; the rest when the socket has room."""
        client = self._client
        if self._sock is not None and client.want_write() and not self._writing:
            client.loop_write()
        sock = self._sock
        if sock is None:
            return
        if client.want_write() and not self._writing:
            self._writing, self._stuck_since = True, time.monotonic()
            self._loop.add_writer(sock, self._writable)
        elif self._writing and not client.want_write():
            self._writing = False
            self._loop.remove_writer(sock)

    def _drain(self) -> None:
        """Tell what came, not more messages than PER_TURN: a flood of them must not starve the event loop."""
        self._drain_asked = False
        while self._events and not self._over:
            method, arguments = self._events.popleft()
            method(*arguments)
        told = 0
        while self._inbox and self.up and told < PER_TURN and len(self._unacked) < HOLD:
            told += 1
            self._tell(self._owner.received, self, self._inbox.popleft())
        if told == PER_TURN and self._inbox:
            self._ask_drain()

    def _ask_drain(self) -> None:
        if not self._drain_asked:
            self._drain_asked = True
            self._loop.call_soon(self._drain)

    def _end(self, why: str) -> None:
        if self._over:
            return
        self.abort()
        if self._inbox:
            self._tell(self._owner.dropped, len(self._inbox))
            self._inbox.clear()
        self._tell(self._owner.ended, self, why)

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:  # the owner's bug must not take the connection down
            self._loop.call_exception_handler({"message": f"{method.__name__} failed", "exception": error})

    def _let_go(self) -> None:
        sock, self._sock, self._writing = self._sock, None, False
        if sock is None:
            return
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    # --- called by paho, inside of _paho ----------------------------------------------------------------
    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        self.answered = reason.value not in REFUSED_VERSION
        if reason.is_failure:
            self._events.append((self._end, (f"the broker refused the connection: {reason}",)))
        else:
            client.subscribe(self._subscriptions)

    def _on_subscribe(self, client: Any, data: Any, mid: int, reasons: list[ReasonCode], props: Any) -> None:
        if self.told_up:
            self._on_unsubscribe(client, data, mid, reasons, props)
            return
        answers = zip(self._subscriptions, reasons, strict=False)
        refused = "; ".join(f"{name}: {reason}" for (name, _), reason in answers if reason.is_failure)
        self._events.append((self._subscribed, (refused,)))

    def _subscribed(self, refused: str) -> None:
        self.up = self.told_up = True
        self._up_since = time.monotonic()
        self._tell(self._owner.up, self, refused)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        received_ns, received_utc = time.monotonic_ns(), utc_now()
        if len(self._inbox) >= INBOX:
            self._events.append((self._tell, (self._owner.dropped, 1)))
            return
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            self._events.append((self._tell, (self._owner.fault, "topic", f"{type(error).__name__}: {error}")))
            return
        properties = message.properties
        self._inbox.append(
            Incoming(
                topic,
                bytes(message.payload[: PAYLOAD_MAX_BYTES + 1]),
                bool(message.retain),
                received_ns,
                received_utc,
                getattr(properties, "ResponseTopic", ""),
                getattr(properties, "CorrelationData", b""),
            )
        )

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _props: Any) -> None:
        known = self._unacked.pop(mid, None)
        if known is not None:
            self._events.append((self._tell, (self._owner.acked, self, known[0], reason.value)))

    def _on_unsubscribe(self, _client: Any, _data: Any, mid: int, _reasons: Any, _props: Any) -> None:
        known = self._unacked.pop(mid, None)
        if known is not None:  # whatever it answers, it has read what came before
            self._events.append((self._tell, (self._owner.acked, self, known[0], 0)))

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _props: Any) -> None:
        if self._told_off:
            return  # paho says it twice: when the broker's word came, and when it found the socket closed
        self._told_off = True
        failure = self._client.failure
        if flags.is_disconnect_packet_from_server:
            self.closed_by_broker, self.taken_over = True, reason.value == TAKEN_OVER
            why = str(reason)
        elif failure is not None:
            self.closed_by_broker = isinstance(failure, (ConnectionResetError, BrokenPipeError))
            why = sentence(failure)
        elif reason.value == KEEP_ALIVE:
            why = f"the broker has said nothing for {self._address.keepalive_s} s"
        else:
            self.closed_by_broker = reason.value == UNSPECIFIED
            why = "the broker closed it" if self.closed_by_broker else str(reason)
        if self.closed_by_broker and not self.answered:
            why = "the broker closed it before it answered: another MQTT version, or a port for TLS?"
        self._events.append((self._end, (f"{'connection lost' if self.told_up else NO_CONNECTION}: {why}",)))

    def _on_socket_close(self, _client: Any, _data: Any, sock: Any) -> None:
        if sock is self._sock:
            self._let_go()


def _properties(packet: int, **members: Any) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for key, value in members.items():
        setattr(properties, key, value)
    return properties
