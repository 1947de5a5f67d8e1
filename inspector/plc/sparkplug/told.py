"""Which verdicts SCADA has been told: Sparkplug's data is QoS 0, nobody confirms it.

What was sent shortly before a connection or its host went away may never have arrived. So a verdict counts as told
for good only after :data:`DOUBT_S`; when a session ends, what is younger is told again. Twice is allowed, a gap not.
"""

from __future__ import annotations

from collections import deque

DOUBT_S = 60.0  # a broker takes 1.5 keep-alives of the host to notice that it has gone
AHEAD_MAX = 10_000  # told before older ones were
MARK_EVERY_S = 1.0


class Told:
    """Numbers of verdicts. ``reach``: everything up to it is told; ``settled``: it surely arrived. ``now`` is in s."""

    def __init__(self, settled: int) -> None:
        self.settled = settled
        self.reach = settled
        self._ahead: set[int] = set()
        self._marks: deque[tuple[float, int]] = deque()  # when, how far it reached; as many as fit into DOUBT_S

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

    def pass_time(self, now: float) -> None:
        """Call it about once a second: what was told long enough ago is settled."""
        if not self._marks or now - self._marks[-1][0] >= MARK_EVERY_S:
            self._marks.append((now, self.reach))
        while self._marks and now - self._marks[0][0] >= DOUBT_S:
            self.settled = self._marks.popleft()[1]

    def confirm(self) -> None:
        """The broker has taken something that was sent after everything else."""
        self.settled = self.reach
        self._marks.clear()

    def session_ended(self) -> None:
        """Who knows what of the last :data:`DOUBT_S` arrived."""
        self.reach = self.settled
        self._ahead.clear()
        self._marks.clear()
