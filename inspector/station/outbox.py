"""Records on their way to the broker: in order, at least once, however long the link is down.

A broker may say that it took a record for nobody: neither a connected reader nor a session waits for it (MQTT 5). Where
there was a reader in the last days, such a record stays here until he is back: after a power cut the station may find
the broker before he does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from inspector.parts import InspectionFault
from inspector.station.ledger import Ledger, Waiting

_log = logging.getLogger(__name__)

IN_FLIGHT = 10
RETRY_S = 10.0
PACE_S = 0.1
COUNT_EVERY_S = 1.0
UNREAD_RETRY_S = 5.0  # after a record that nobody took
READER_GONE_S = 7 * 86400.0  # nobody reads for so long: records are not kept for a reader any more
READER_NOTED_S = 3600.0
READER = "record_read"  # in the ledger: UTC of a record that was read, in s since 1970


class Outbox:
    """Hands records to the link and forgets them when the broker has taken them."""

    def __init__(
        self,
        ledger: Ledger,
        send: Callable[[int, bytes], bool],
        payload: Callable[[Waiting], bytes],
        settled_below: Callable[[], int],
        owed: Callable[[], Collection[int]] = tuple,
    ) -> None:
        """``settled_below()``: records of smaller seqs can't change any more; others are not sent yet.

        ``owed()``: seqs whose picture is on its way to the archive; their records wait for its name.
        """
        self._ledger = ledger
        self._send = send
        self._payload = payload
        self._settled_below = settled_below
        self._owed = owed
        self._in_flight: OrderedDict[int, float] = OrderedDict()
        self._acked: list[int] = []
        self._last_id = 0
        self._rounds = 0  # counts the times that everything was begun again from the oldest
        self._wake = asyncio.Event()
        self._counted_at = 0.0
        self._read_at = 0.0  # UTC in s since 1970: when somebody read a record
        self._noted_at = 0.0  # the same, as the ledger has it
        self._unread = False  # the reader is away: one record at a time asks whether he is back
        self._unread_until = 0.0  # and none before
        self.depth = 0

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def acked(self, outbox_id: int, read: bool) -> None:
        """The broker has it; ``read`` False: for nobody."""
        now = time.time()
        if read:
            self._read_at, self._unread = now, False
        elif abs(now - self._read_at) < READER_GONE_S:
            self._unread, self._unread_until = True, time.monotonic() + UNREAD_RETRY_S
            self.link_down()
            return
        self._in_flight.pop(outbox_id, None)
        self._acked.append(outbox_id)
        self._wake.set()

    def link_down(self) -> None:
        """What was in flight is sent again, from the oldest on."""
        self._in_flight.clear()
        self._last_id = 0
        self._rounds += 1
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        with contextlib.suppress(InspectionFault, ValueError):
            self._read_at = self._noted_at = float(await self._ledger.meta(READER) or 0.0)
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1.0)
            self._wake.clear()
            # a trouble with the disk is told by those who wait for a verdict; here it only means later
            with contextlib.suppress(InspectionFault):
                await self._settle()
                more = await self._offer()
                if time.monotonic() - self._counted_at > COUNT_EVERY_S:
                    self._counted_at = time.monotonic()
                    self.depth = await self._ledger.outbox_depth()
                if not more:
                    await asyncio.sleep(PACE_S)  # records have time: several at once cost the walk less

    async def _settle(self) -> None:
        done, self._acked = self._acked, []
        if done:
            try:
                await self._ledger.outbox_done(done)
            except InspectionFault:
                self._acked = done + self._acked
                raise
        if abs(self._read_at - self._noted_at) > READER_NOTED_S:
            await self._ledger.set_meta(READER, f"{self._read_at:.0f}")
            self._noted_at = self._read_at

    async def _offer(self) -> bool:
        """Send what may be sent; True when more is waiting than could be."""
        now = time.monotonic()
        if now < self._unread_until:
            return False
        if self._in_flight and now - next(iter(self._in_flight.values())) > RETRY_S:
            self.link_down()  # an acknowledgement went missing: begin again from the oldest
        bound = 1 if self._unread else IN_FLIGHT  # he must not get later ones before the oldest
        while len(self._in_flight) < bound:
            # taken before the read: what is read may be replaced by what is told meanwhile
            settled_below, owed, this_round = self._settled_below(), self._owed(), self._rounds
            rows = await self._ledger.outbox(self._last_id, bound - len(self._in_flight))
            if this_round != self._rounds:
                continue
            if not rows:
                return False
            for row in rows:
                if row.seq >= settled_below or row.seq in owed:
                    return False
                payload = self._made(row)
                if payload is None:
                    await self._ledger.outbox_give_up([row.id])  # it must not hold up all that follow
                    if this_round != self._rounds:
                        break
                elif self._send(row.id, payload):
                    self._in_flight[row.id] = now
                else:
                    return False
                self._last_id = row.id
        return True

    def _made(self, row: Waiting) -> bytes | None:
        try:
            return self._payload(row)
        except Exception:
            _log.exception("the record of part %d can't be made", row.seq)
            return None
