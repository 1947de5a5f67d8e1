"""The station for SCADA: what happens here as Sparkplug's data, what was missed again from the books, and its orders.

It stands beside the walk of a part and is told of a verdict last of all. It never waits for SCADA, and nobody waits
for it: what it can't tell now it reads from the ledger later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from inspector import __version__
from inspector.config import StationConfig
from inspector.parts import InspectionFault, Verdict
from inspector.plc.contract import StationState
from inspector.plc.dial import Address
from inspector.plc.sparkplug.node import COUNTERS, EdgeNode, Result, Step
from inspector.plc.sparkplug.orders import Order, OrderRefused, read_order
from inspector.plc.sparkplug.session import Session, now_ms
from inspector.plc.sparkplug.told import Told
from inspector.station.alarms import Alarms
from inspector.station.ledger import Ledger

_log = logging.getLogger(__name__)

LIVE_BOUND = 500  # verdicts on their way from the walk; one more is read from the books later
REPLAY_AT_ONCE = 10
REPLAY_EVERY_S = 0.1
LOOK_EVERY_S = 1.0
MARK_EVERY_S = 1.0
MARK_LIMIT_S = 10.0  # without an answer, before the broker is asked again
TOTALS_EVERY_S = 5.0
KEEP_EVERY_S = 5.0
DISK_LIMIT_S = 2.0
PATIENCE_S = 30.0  # without a birth, before it is an alarm
ORDERS_A_SECOND = 20
BD_SEQ, TOLD = "sparkplug_bd_seq", "sparkplug_told"  # facts in the ledger


class Commands(Protocol):
    """Who does what SCADA orders, and knows how the station is."""

    def order(self, name: str, payload: bytes, *, retained: bool, answer: Callable[[bytes], None]) -> None:
        """Do the PLC's command ``name``; ``answer`` gets each of its acks, now or later."""

    def station_state(self) -> StationState:
        """How it is now."""

    def counters(self) -> Mapping[str, int]:
        """Totals by the names of the topic ``counters``."""


class ScadaDesk:
    """See the module's text. Also the session's listener."""

    def __init__(
        self,
        *,
        config: StationConfig,
        ledger: Ledger,
        alarms: Alarms,
        commands: Commands,
        settled_below: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``settled_below()``: verdicts of smaller numbers have been told to the PLC and are final.

        Raises ValueError for ids that can't be used, LinkError for certificates and passwords.
        """
        plc = config.plc
        assert plc.sparkplug is not None  # noqa: S101  # else nobody makes this desk
        wanted = plc.sparkplug
        node = EdgeNode(
            wanted.group,
            wanted.node,
            wanted.device or config.station,
            primary_host=wanted.primary_host or "",
            properties={
                "Version": __version__, "Serial": socket.gethostname()[:64], "Line": config.line,
                "Station": config.station, "Name": config.name,
            },
        )  # fmt: skip
        client_id = f"{plc.client_id or f'{config.line}-{config.station}'}-sp"
        self.session = Session(node, Address.of(wanted.broker or plc), client_id, self, loop)
        self._ledger, self._alarms, self._commands = ledger, alarms, commands
        self._settled_below = settled_below
        self._told = Told(0)
        self._kept = -1  # what the ledger has of it
        self._live: deque[tuple[Verdict, int]] = deque()
        self._wake = asyncio.Event()
        self._essence: tuple[object, ...] = ()
        self._totals_at = self._kept_at = self._marked_at = 0.0
        self._rounds = 0
        self._audience = 0  # to whom it was told: see EdgeNode.audience
        self._asked: tuple[int, float] | None = None  # of the broker: does it have all up to this seq, told when?
        self._unborn_since: float | None = time.monotonic()
        self._orders: deque[float] = deque()
        self._drops = 0
        self.replayed = 0

    @property
    def drops(self) -> int:
        """Verdicts that had to go by way of the books, and commands that were not taken."""
        return self._drops + self.session.drops

    @property
    def depth(self) -> int:
        """At most so many verdicts are still to be told."""
        return self._told.missing(self._settled_below())

    @property
    def works(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What goes on as long as the station lives."""
        return {"sparkplug session": self.session.run, "sparkplug": self.run, "sparkplug replay": self.keep_up}

    async def open(self) -> None:
        """Read where the last life ended. Raises StorageFault."""
        bd_seq, told = await self._ledger.meta(BD_SEQ), await self._ledger.meta(TOLD)
        if bd_seq is not None:
            self.session.node.resume(int(bd_seq))
        # switched on for the first time: what was before is not its history; in a new ledger there is nothing before
        highest = self._ledger.highest_seq
        self._told = Told(min(int(told), highest) if told is not None else highest)

    def verdict(self, verdict: Verdict, t_ms: int) -> None:
        """A verdict was told to the PLC ``t_ms`` after its trigger. Takes no time."""
        if len(self._live) >= LIVE_BOUND:
            self._drops += 1
            return
        self._live.append((verdict, t_ms))
        self._wake.set()

    def changed(self) -> None:
        """Something about the station may have changed. Takes no time."""
        self._wake.set()

    # --- as long as the station lives ------------------------------------------------------------------
    async def run(self) -> None:
        """Tell what happens, until cancelled."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
            self._wake.clear()
            self._tell_live()
            self._tell_state()
            await asyncio.sleep(0)  # one turn of the loop: a flood of verdicts is told in one go

    async def keep_up(self) -> None:
        """Tell what was missed, note in the ledger how far it came, look after the alarm, until cancelled."""
        while True:
            behind = await self._replay() if self.session.born else False
            now = time.monotonic()
            if self.session.born:
                self._told.pass_time(now)
                self._mark(now)
            if now - self._kept_at > KEEP_EVERY_S:
                self._kept_at = now
                await self.keep()
                self._look()
            await asyncio.sleep(REPLAY_EVERY_S if behind else LOOK_EVERY_S)

    def _mark(self, now: float) -> None:
        """Have the broker say how much it has taken."""
        reach = self._told.reach
        waits_s = MARK_LIMIT_S if self._asked is not None else MARK_EVERY_S
        if reach > self._told.surely_taken and now - self._marked_at >= waits_s:
            self._marked_at, asked = now, (reach, now)
            self._asked = asked if self.session.mark(asked) else None

    async def stop(self, limit_s: float) -> None:
        """Tell what is left, say NDEATH, within ``limit_s``, and note it in the ledger."""
        self._tell_live()
        self._tell_state()
        await self.session.stop(limit_s)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.keep(), limit_s)

    async def keep(self) -> None:
        """Note in the ledger how far SCADA was told. A disk that does not take it is told of elsewhere."""
        settled = self._told.settled
        if settled != self._kept:
            with contextlib.suppress(asyncio.TimeoutError, InspectionFault):
                await asyncio.wait_for(self._ledger.set_meta(TOLD, str(settled)), DISK_LIMIT_S)
                self._kept = settled

    # --- telling -----------------------------------------------------------------------------------------
    def _tell_live(self) -> None:
        while self._live:
            verdict, t_ms = self._live.popleft()
            # away or not: it is the last value of the next birth
            if self._tell_verdict(verdict, t_ms):
                self._told.add(verdict.part.seq)

    def _tell_state(self) -> None:
        """State when it matters, all of it and the totals now and then."""
        state, now = self._commands.station_state(), time.monotonic()
        essence = (state.state, state.ready, state.recipe, state.rev, state.code, state.text, state.fault, state.warn)
        if essence == self._essence and now - self._totals_at < TOTALS_EVERY_S:
            return
        self._essence = essence
        node = self.session.node
        self._tell(lambda: node.state(state, now_ms=now_ms()))
        if now - self._totals_at >= TOTALS_EVERY_S:
            self._totals_at = now
            counters = {name: n for name, n in self._commands.counters().items() if name in COUNTERS}
            self._tell(lambda: node.counters(counters, now_ms=now_ms()))

    async def _replay(self) -> bool:
        """Some of the verdicts that were missed; True when there are more."""
        # both are taken before the read: what is read may be of another session, or not final yet
        settled_below, this_round = self._settled_below(), self._rounds
        if self._told.reach >= settled_below - 1:
            return False
        try:
            rows = await self._ledger.rows_after(self._told.reach, REPLAY_AT_ONCE)
        except InspectionFault:
            return False  # told by those who wait for a verdict; here it only means later
        if this_round != self._rounds:
            return True
        final = [row for row in rows if row.seq < settled_below]
        for row in final:
            if row.verdict is not None and row.seq not in self._told:
                if not self._tell_verdict(row.verdict, row.t_ms or 0, historical=True):
                    return False
                self.replayed += 1
            self._told.skip_to(row.seq)
        if len(final) < REPLAY_AT_ONCE:
            self._told.skip_to(settled_below - 1)  # no other number below was given to a part
            return False
        return True

    def _tell_verdict(self, verdict: Verdict, t_ms: int, *, historical: bool = False) -> bool:
        return self._tell(
            lambda: self.session.node.result(Result.of(verdict, t_ms=t_ms), now_ms=now_ms(), historical=historical)
        )

    def _tell(self, step: Callable[[], Step]) -> bool:
        try:
            return self.session.tell(step())
        except ValueError as error:  # a value that Sparkplug can't hold; the books have it
            _log.error("sparkplug: %s", error)
            return True

    def _look(self) -> None:
        since = self._unborn_since
        if since is None:
            self._alarms.go("scada")
        elif time.monotonic() - since > PATIENCE_S:
            self._alarms.come("scada", self.session.text)

    # --- the session's listener --------------------------------------------------------------------------
    async def remember(self, bd_seq: int) -> None:
        """See :class:`~inspector.plc.sparkplug.session.Listener`."""
        try:
            await asyncio.wait_for(self._ledger.set_meta(BD_SEQ, str(bd_seq)), DISK_LIMIT_S)
        except (asyncio.TimeoutError, InspectionFault):
            _log.warning("sparkplug: bdSeq %d could not be put on disk", bd_seq)

    def born(self) -> None:
        """See :class:`~inspector.plc.sparkplug.session.Listener`."""
        self._unborn_since = None
        self._new_round()
        audience = self.session.node.audience
        if audience != self._audience:
            self._audience = audience
            self._told.host_lost(time.monotonic())
        self._alarms.go("scada")
        self._wake.set()

    def died(self, *, confirmed: bool) -> None:
        """See :class:`~inspector.plc.sparkplug.session.Listener`."""
        self._unborn_since = time.monotonic()
        if confirmed:
            self._told.confirm()
        self._new_round()

    def taken(self, mark: object) -> None:
        """See :class:`~inspector.plc.sparkplug.session.Listener`."""
        if self._asked is not None and mark == self._asked:
            self._told.taken(*self._asked)
            self._asked = None

    def _new_round(self) -> None:
        """What the broker had not surely taken is told again. What is read or asked just now is of the old round."""
        self._rounds += 1
        self._asked = None
        self._told.connection_lost()

    def ordered(self, payload: bytes, *, retained: bool) -> None:
        """See :class:`~inspector.plc.sparkplug.session.Listener`."""
        now = time.monotonic()
        while self._orders and now - self._orders[0] > 1.0:
            self._orders.popleft()
        if len(self._orders) >= ORDERS_A_SECOND:
            self._drops += 1
            return
        self._orders.append(now)
        try:
            order = read_order(payload)
        except OrderRefused as refused:
            _log.warning("sparkplug: command refused: %s", refused)
            answer = refused.answer
            self._tell(lambda: self.session.node.answer(answer, now_ms=now_ms()))
            return
        self._commands.order(
            order.name, order.command(), retained=retained, answer=lambda ack: self._answer(order, ack)
        )

    def _answer(self, order: Order, ack: bytes) -> None:
        self._tell(lambda: self.session.node.answer(order.answered_by(ack), now_ms=now_ms()))
