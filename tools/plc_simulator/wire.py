"""The PLC's MQTT client: subscribes to the station, sends triggers, and keeps nothing for later."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

RETRY_S = 0.5
SILENT_S = 10.0  # heartbeats come every second: a link without any for so long is no link
INBOX = 10_000
_END = 4.0  # s a try to connect may take


@dataclass(frozen=True)
class Message:
    """``topic`` is the part after the station's base."""

    topic: str
    payload: bytes
    retained: bool
    arrived_ns: int


@dataclass(frozen=True)
class LinkChanged:
    """The link is up (subscribed), or gone."""

    up: bool


class Wire:
    """One client object a connection, so that a trigger can't be sent again after an outage."""

    def __init__(self, host: str, port: int, base: str) -> None:
        self._subscriptions: tuple[tuple[str, int], ...] = ALL
        self.inbox: queue.Queue[Message | LinkChanged] = queue.Queue(INBOX)
        self.lost_messages = 0
        self.connects = 0
        self._host, self._port, self.base = host, port, base
        self._client: mqtt.Client | None = None
        self._up = False
        self._over = threading.Event()  # the connection of the present client ended
        self._over.set()
        self._next_try = 0.0
        self._last_heard = 0.0

    def subscribe(self, topics: tuple[tuple[str, int], ...]) -> None:
        """What to hear, from the next connection on: topic below the base, QoS."""
        self._subscriptions = topics

    @property
    def up(self) -> bool:
        return self._up and not self._over.is_set()

    def maintain(self) -> None:
        """To be called often: connects again when the connection has ended. Never blocks."""
        now = time.monotonic()
        if self._up and now - self._last_heard > SILENT_S:
            self._end()
        if not self._over.is_set():
            if not self._up and now > self._next_try + _END:
                self._end()
            return
        if now < self._next_try:
            return
        self._next_try = now + RETRY_S
        self._drop()
        self._over = threading.Event()
        self._client = self._connect(self._over)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """True when it is on its way. False: the link is down and the message is gone."""
        client = self._client
        if client is None or not self.up:
            return False
        info = client.publish(f"{self.base}/{topic}", payload, 1, retain)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def close(self) -> None:
        self._up = False
        if self._client is not None:
            self._client.disconnect()
            time.sleep(0.05)
        self._drop()

    def _end(self) -> None:
        was_up, self._up = self._up, False
        self._over.set()
        if was_up:
            self._put(LinkChanged(False))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        sock = client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # type: ignore[arg-type]
        client.disconnect()

    def _connect(self, over: threading.Event) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.reconnect_delay_set(0, 0)
        client.max_queued_messages_set(64)

        def mine() -> bool:
            return self._over is over and not over.is_set()

        def opened(_c: Any, _d: Any, sock: Any) -> None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def acknowledge_now(c: mqtt.Client, *_: Any) -> None:
            # a delayed ACK (40 ms) keeps a broker with Nagle's algorithm on from sending the next message
            sock: Any = c.socket()
            if sock is not None and hasattr(socket, "TCP_QUICKACK"):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

        def connected(c: mqtt.Client, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                over.set()
            else:
                c.subscribe([(f"{self.base}/{name}", qos) for name, qos in self._subscriptions])

        def subscribed(*_: Any) -> None:
            if mine():
                self._last_heard = time.monotonic()
                self._up = True
                self.connects += 1
                self._put(LinkChanged(True))

        def message(_c: Any, _d: Any, message: mqtt.MQTTMessage) -> None:
            if not mine():
                return
            arrived_ns = time.monotonic_ns()
            acknowledge_now(_c)
            self._last_heard = arrived_ns / 1e9
            topic = message.topic.removeprefix(f"{self.base}/")
            self._put(Message(topic, bytes(message.payload), bool(message.retain), arrived_ns))

        def ended(*_: Any) -> None:
            if mine():
                self._end()

        client.on_socket_open = opened
        client.on_connect = connected
        client.on_connect_fail = ended
        client.on_subscribe = subscribed
        client.on_message = message
        client.on_publish = acknowledge_now
        client.on_disconnect = ended
        client.connect_timeout = _END
        client.connect_async(self._host, self._port, 5)
        client.loop_start()
        return client

    def _put(self, item: Message | LinkChanged) -> None:
        try:
            self.inbox.put_nowait(item)
        except queue.Full:
            self.lost_messages += 1


ALL = (("state", 1), ("hb", 0), ("result", 1), ("ack", 1), ("event", 1), ("counters", 1), ("info", 1))
"""What a PLC that reads JSON hears; records are the MES's."""
