"""Which verdicts SCADA has been told: Sparkplug's data is QoS 0, nobody confirms it.

Three things can keep a verdict from arriving. Our connection ends: what the broker has surely taken, because it
answered something that was sent later (:meth:`Told.taken`), need not be told again. The host goes away: it may have
been gone for as long as the broker took to notice it, so what is younger than :data:`DOUBT_S` is told again. The
station dies: so is everything that was not settled. Twice is allowed, a gap not; but where hosts come and go all the
time, what the broker took in :data:`TIMES` rounds, over the same :data:`DOUBT_S`, is settled, or the past would never
leave room for the present.
"""

from __future__ import annotations

from collections import deque

DOUBT_S = 60.0  # a broker takes 1.5 keep-alives of the host to notice that it has gone
TIMES = 5
AHEAD_MAX = 10_000  # told before older ones were
MARKS_MAX = 1000  # taken and not settled yet; about one a second comes


class Told:
    """Numbers of verdicts. ``reach``: everything up to it is told; ``settled``: it surely arrived. ``now`` is in s."""

    def __init__(self, settled: int) -> None:
        self.settled = settled
        self.reach = settled
        self._ahead: set[int] = set()
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS_MAX)  # told when, how far; the broker has it
        self._rounds: deque[tuple[float, int]] = deque(maxlen=MARKS_MAX)  # when they ended, what the broker had

    def add(self, seq: int) -> None:
        """One verdict was told just now."""
        if seq == self.reach + 1:
            self.skip_to(seq)
        elif seq > self.reach and len(self._ahead) < AHEAD_MAX:  # beyond that it is told twice
            self._ahead.add(seq)

    def skip_to(self, seq: int) -> None:
        """Everything up to ``seq`` is told, or was never given to a part."""
        if seq <= self.reach:
            return
        if seq > self.reach + 1:
            self._ahead = {ahead for ahead in self._ahead if ahead > seq}
        self.reach = seq
        while self.reach + 1 in self._ahead:
            self.reach += 1
            self._ahead.remove(self.reach)

    def __contains__(self, seq: int) -> bool:
        return seq <= self.reach or seq in self._ahead

    def missing(self, below: int) -> int:
        """At most so many verdicts with a number smaller than ``below`` are still to be told."""
        return max(0, below - 1 - self.reach - len(self._ahead))

    @property
    def surely_taken(self) -> int:
        """The broker has everything up to this one."""
        return self._marks[-1][1] if self._marks else self.settled

    def taken(self, reach: int, told_at: float) -> None:
        """The broker has answered something that was sent after everything up to ``reach``, at ``told_at``."""
        self._marks.append((told_at, reach))

    def pass_time(self, now: float) -> None:
        """What was told long enough ago, and taken, is settled. Call it now and then, while the host is there."""
        while self._marks and now - self._marks[0][0] >= DOUBT_S:
            self.settled = self._marks.popleft()[1]

    def confirm(self) -> None:
        """The broker has taken everything, and the session ends by our own will."""
        self.settled = self.reach
        self._marks.clear()

    def connection_lost(self) -> None:
        """Who knows what of the rest the broker has got."""
        self.reach = self.surely_taken
        self._ahead.clear()

    def host_lost(self, now: float) -> None:
        """Who knows what of the last :data:`DOUBT_S` the host has got."""
        self._rounds.append((now, self.surely_taken))
        self._marks.clear()
        last = list(self._rounds)
        for count in range(TIMES, len(last) + 1):
            if now - last[-count][0] >= DOUBT_S:
                self.settled = max(self.settled, min(taken for _, taken in last[-count:]))
                del last[:-count]
                self._rounds = deque(last, maxlen=MARKS_MAX)
                break
        self.connection_lost()
