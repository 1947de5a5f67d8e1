"""What is tried next after a connection has ended: which version of MQTT, and after how long a rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspector.plc.dial import Version

RETRY_S = (0.1, 0.5, 1.0, 2.0)  # before the first, second ... try in a row
STABLE_S = 5.0  # a connection that held for so long starts the row anew
# a broker that spoke MQTT 5 before may only be half started, or a proxy before it: ask again before 3.1.1
PATIENCE = 3
AGAIN_S = 600.0  # a broker that spoke only 3.1.1 is asked for 5 again, at a reconnect after so long
QUICK_IN_A_ROW = 4  # connections that the broker closed right after it had accepted them
CLASH_RETRY_S = 20.0  # two clients of one id must not throw each other out as fast as they can


@dataclass(frozen=True)
class Ending:
    """How a connection ended."""

    reached: bool  # the socket was open
    answered: bool  # the broker speaks the version
    up: bool
    held_s: float
    closed_by_broker: bool
    taken_over: bool


class Tries:
    """Chooses; has no clock of its own: ``now_s`` is any monotonic one."""

    def __init__(self, configured: Version) -> None:
        self._auto = configured == "auto"
        self.version: Literal["5", "3.1.1"] = "3.1.1" if configured == "3.1.1" else "5"
        self.clash: Literal["", "probable", "certain"] = ""  # by the last ending
        self.falls_back = False  # the last ending says nothing but that the other version is to be tried
        self._works: str | None = None
        self._unanswered = 0
        self._asked_for_5_s = float("-inf")
        self._row = 0
        self._quick = 0

    def ended(self, ending: Ending, now_s: float) -> float:
        """Returns the rest before the next try, s."""
        self._choose_version(ending, now_s)
        if ending.held_s >= STABLE_S:
            self._row = 0
        if ending.up:
            quick = ending.held_s < STABLE_S and ending.closed_by_broker
            self._quick = self._quick + 1 if quick else 0
        self.clash = "certain" if ending.taken_over else "probable" if self._quick >= QUICK_IN_A_ROW else ""
        if self.clash:
            return CLASH_RETRY_S
        if self.falls_back:
            return 0.0
        rest_s = RETRY_S[min(self._row, len(RETRY_S) - 1)]
        self._row += 1
        return rest_s

    def _choose_version(self, ending: Ending, now_s: float) -> None:
        self.falls_back = False
        if not self._auto:
            return
        if self.version == "5":
            self._asked_for_5_s = now_s
        if ending.up:
            self._works, self._unanswered = self.version, 0
            if now_s - self._asked_for_5_s > AGAIN_S:
                self.version = "5"
        elif ending.reached and not ending.answered:
            self._unanswered += 1
            if self.version == "3.1.1":
                self.version, self._unanswered = "5", 0
            elif self._works != "5" or self._unanswered >= PATIENCE:
                self.version, self._unanswered, self.falls_back = "3.1.1", 0, True
