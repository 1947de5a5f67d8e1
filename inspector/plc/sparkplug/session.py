"""The edge node on the wire: connection after connection, each with its own will, for as long as the station lives.

It stands beside the PLC's link, on a connection of its own, and nothing waits for it. What can't be handed over ends
the session: after a gap in ``seq`` the host would have to ask for a rebirth, a new session begins with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Protocol

from inspector.plc.dial import Address
from inspector.plc.mqtt import Connection, Incoming, Will
from inspector.plc.sparkplug.node import EdgeNode, Step

_log = logging.getLogger(__name__)

RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)  # before the first, second ... try in a row
STABLE_S = 5.0  # births that held for so long start the row anew
CHECK_S = 1.0
REFUSED = 0x80  # reason codes of MQTT 5 from here on
_DEATH = "NDEATH"


class Listener(Protocol):
    """Who uses the session. Called in the event loop; none of it may raise."""

    async def remember(self, bd_seq: int) -> None:
        """The number of the connection that is about to be tried: to be kept over restarts. Has a time limit."""

    def born(self) -> None:
        """Births are out, or out again: data may be told."""

    def died(self, *, confirmed: bool) -> None:
        """No more data. ``confirmed``: the broker has taken all that was told."""

    def taken(self, mark: object) -> None:
        """The broker has taken all that was told before :meth:`Session.mark` was given this mark."""

    def ordered(self, payload: bytes, *, retained: bool) -> None:
        """A DCMD, of any content."""


def now_ms() -> int:
    """UTC, ms since 1970."""
    return time.time_ns() // 1_000_000


class Session:
    """Owner of the connections. All methods are for the event loop's thread and never block."""

    def __init__(
        self, node: EdgeNode, address: Address, client_id: str, listener: Listener, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.node = node
        self._address, self._client_id, self._listener, self._loop = address, client_id, listener, loop
        self._connection: Connection | None = None
        self._over = asyncio.Event()  # the connection is
        self._deaths = asyncio.Event()  # the broker has taken our NDEATH
        self._stopping = False
        self._lives = False  # births were told, and no death
        self._waits_for_host = False
        self._refused = ""
        self._births = 0
        self._born_at = 0.0
        self.text = "not connected yet"
        self.since = time.monotonic()
        self.drops = 0  # commands that came and could not be taken
        self.bad = 0  # messages of others that are not what they should be

    @property
    def connected(self) -> bool:
        """Connected and subscribed, as far as anybody can know."""
        return self._connection is not None and self._connection.up

    @property
    def born(self) -> bool:
        """A host may take data."""
        return self.connected and self.node.born

    @property
    def rebirths(self) -> int:
        """How often births were told again, for whatever reason."""
        return max(0, self._births - 1)

    async def run(self) -> None:
        """Connect and keep connected, until cancelled."""
        tries = 0
        while not self._stopping:
            if self._connection is not None:  # this was begun anew after an error
                self._connection.abort()
            self._born_at = 0.0
            await self._one_connection()
            held_s = self._loop.time() - self._born_at if self._born_at else 0.0
            tries = 0 if held_s >= STABLE_S or self._waits_for_host else tries + 1
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])

    async def _one_connection(self) -> None:
        will = self.node.will(now_ms())
        await self._listener.remember(self.node.bd_seq)
        self._over.clear()
        self._waits_for_host = False
        self._connection = connection = Connection(
            self._address,
            self._client_id,
            Will(will.topic, will.payload, will.qos, will.retain),
            self.node.subscriptions,
            self,
            self._loop,
        )
        connection.start()
        while not self._over.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._over.wait(), CHECK_S)
            trouble = connection.trouble()
            if trouble and connection is self._connection:
                self._end(connection, trouble)

    async def stop(self, limit_s: float) -> None:
        """Say NDEATH and goodbye, within ``limit_s``."""
        self._stopping = True
        connection = self._connection
        if connection is None:
            return
        deadline = self._loop.time() + limit_s
        self._deaths.clear()
        step = self.node.stop(now_ms())
        if step.publish and self._publish(step):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._deaths.wait(), limit_s / 2)
        self._died(confirmed=self._deaths.is_set())
        if connection.up:
            connection.disconnect()
        while connection.alive and self._loop.time() < deadline:
            await asyncio.sleep(0.005)
        connection.abort()
        self._connection = None

    def tell(self, step: Step) -> bool:
        """Publish a step of the node. False: nothing is connected, nothing was to be told, or the session is over."""
        return bool(step.publish) and self._publish(step)

    def mark(self, mark: object) -> bool:
        """Ask the broker whether it has all that was told until now. False: not connected. See Listener.taken."""
        return self._connection is not None and self._connection.ask(self.node.unused_filter, mark)

    # --- owner of the connection ---------------------------------------------------------------------
    def up(self, connection: Connection, refused: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection or self._stopping:
            return
        self._refused = f"the broker refused a subscription: {refused}" if refused else ""
        if refused:
            _log.warning("sparkplug: %s", self._refused)
        self._is("waiting for the primary host")
        self._do(self.node.connected(now_ms()))

    def ended(self, connection: Connection, why: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is self._connection:
            self._end(connection, why)

    def received(self, connection: Connection, incoming: Incoming) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection or self._stopping:
            return
        if incoming.topic == self.node.device_command_topic:
            if self.born:  # no answer could be told before
                self._listener.ordered(incoming.payload, retained=incoming.retained)
            else:
                self.drops += 1
            return
        try:
            step = self.node.received(incoming.topic, incoming.payload, now_ms=now_ms())
        except ValueError as error:
            self.bad += 1
            _log.warning("sparkplug: %s: %s", incoming.topic, error)
            return
        self._do(step)

    def acked(self, connection: Connection, tag: object, reason: int) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        if connection is not self._connection or reason >= REFUSED:
            return
        if tag == _DEATH:
            self._deaths.set()
        else:
            self._listener.taken(tag)

    def dropped(self, count: int) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        self.drops += count

    def fault(self, where: str, text: str) -> None:
        """See :class:`~inspector.plc.mqtt.Owner`."""
        _log.error("sparkplug: %s: %s", where, text)

    # --- what follows ----------------------------------------------------------------------------------
    def _do(self, step: Step) -> None:
        connection, births = self._connection, len(step.publish) > 1
        if not self._publish(step) or connection is None:
            return
        if births:
            self._births += 1
            self._born_at = self._born_at or self._loop.time()
            self._lives = True
            self._is(self._refused)
            self._listener.born()
        if step.disconnect:  # the primary host has gone
            self._waits_for_host = True
            self._is("the primary host is offline")
            self._died(confirmed=False)  # it may have gone long before anybody noticed
            connection.disconnect()

    def _publish(self, step: Step) -> bool:
        connection = self._connection
        if connection is None or not connection.up:
            return False
        for message in step.publish:
            tag = _DEATH if message.qos else None
            if not connection.publish(message.topic, message.payload, qos=message.qos, retain=message.retain, tag=tag):
                self._end(connection, "the broker takes no more messages")
                return False
        return True

    def _end(self, connection: Connection, why: str) -> None:
        connection.abort()
        self._connection = None
        self.node.disconnected()
        if not self._waits_for_host:
            self._is(why)
        self._over.set()
        self._died(confirmed=False)

    def _died(self, *, confirmed: bool) -> None:
        if self._lives:
            self._lives = False
            self._listener.died(confirmed=confirmed)

    def _is(self, text: str) -> None:
        if text != self.text:
            self.text, self.since = text, time.monotonic()
