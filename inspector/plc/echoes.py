"""The station listens to itself: what the broker throws away without a word, and who else speaks in its name."""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 256  # own messages of a topic
LATE_S = 1.0  # the broker has said something else so long after a message, and not that message
FOREIGN_COUNT = 2  # different strange messages; one could be our own, from a connection long lost
FOREIGN_WITHIN_S = 10.0
FOREIGN_HOLDS_S = 15.0  # after the last one


class Echoes:
    """Own messages that come back, by topic. Has no clock of its own: ``now_s`` is any monotonic one."""

    def __init__(self) -> None:
        self._own: dict[str, OrderedDict[bytes, None]] = {}
        self._awaited_s: dict[str, float] = {}  # since when a topic's echo is missing
        self._foreign: OrderedDict[bytes, float] = OrderedDict()
        self._foreign_until_s = float("-inf")

    def sent(self, topic: str, payload: bytes, now_s: float) -> None:
        """A message of ours is on its way; its echo is to come."""
        own = self._own.setdefault(topic, OrderedDict())
        own[payload] = None
        if len(own) > REMEMBERED:
            own.popitem(last=False)
        self._awaited_s.setdefault(topic, now_s)

    def heard(self, topic: str, payload: bytes, now_s: float) -> None:
        """A message came on one of our topics."""
        if payload in self._own.get(topic, ()):
            self._awaited_s.pop(topic, None)
            return
        self._foreign[payload] = now_s
        self._foreign.move_to_end(payload)
        while len(self._foreign) > FOREIGN_COUNT or now_s - next(iter(self._foreign.values())) > FOREIGN_WITHIN_S:
            self._foreign.popitem(last=False)
        if len(self._foreign) >= FOREIGN_COUNT:
            self._foreign_until_s = now_s + FOREIGN_HOLDS_S

    def forget_awaited(self) -> None:
        """A new connection: what was under way in the old one does not come any more."""
        self._awaited_s.clear()

    def missing(self, last_heard_s: float) -> set[str]:
        """Topics whose messages the broker does not send back. ``last_heard_s``: its last sign of life."""
        return {topic for topic, since_s in self._awaited_s.items() if last_heard_s - since_s > LATE_S}

    def foreign(self, now_s: float) -> bool:
        """Somebody else publishes on our topics."""
        return now_s < self._foreign_until_s
