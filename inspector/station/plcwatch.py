"""Is the PLC's program alive, and does it take the verdicts? Both are asked only of a PLC that says so itself."""

from __future__ import annotations

import time
from collections import OrderedDict

from inspector.station.alarms import Alarms

STALE_S = 5.0
ACK_LIMIT_S = 2.0  # after a verdict was told
ACKS_MISSING = 3  # in a row
BOUND = 1000  # verdicts whose acknowledgement is waited for


class PlcWatch:
    """Counts what is missing, and raises the alarm."""

    def __init__(self, alarms: Alarms, *, acks_required: bool) -> None:
        self._alarms = alarms
        self._acks_wanted = acks_required
        self._waiting: OrderedDict[int, float] = OrderedDict()
        self._row = 0
        self._beat: int | None = None
        self._beat_at = 0.0
        self.acks_missing = 0

    def beat(self, n: int) -> None:
        """The PLC's heartbeat; only a new number is one."""
        if n != self._beat:
            self._beat, self._beat_at = n, time.monotonic()
            self._alarms.go("plc_heartbeat")

    def told(self, seq: int) -> None:
        """A verdict was handed to the link."""
        if self._acks_wanted:
            self._waiting[seq] = time.monotonic()
            if len(self._waiting) > BOUND:
                self._waiting.popitem(last=False)
                self._missing()

    def acknowledged(self, seq: int) -> None:
        """The PLC took it."""
        self._acks_wanted = True
        self._waiting.pop(seq, None)
        self._row = 0
        self._alarms.go("plc_acks")

    def check(self) -> None:
        """To be called about every second."""
        now = time.monotonic()
        while self._waiting and now - next(iter(self._waiting.values())) > ACK_LIMIT_S:
            self._waiting.popitem(last=False)
            self._missing()
        if self._beat is not None and now - self._beat_at > STALE_S:
            self._alarms.come("plc_heartbeat", f"no new `n` on cmd/hb for {STALE_S:.0f} s, the last was {self._beat}")

    def _missing(self) -> None:
        self.acks_missing += 1
        self._row += 1
        if self._row >= ACKS_MISSING:
            self._alarms.come("plc_acks", f"{self._row} in a row, {self.acks_missing} since the start")
