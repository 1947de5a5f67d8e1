"""Which commands have been taken before, in memory; the books have them for the next start."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from datetime import datetime, timezone

from inspector.station.ledger.rows import Answer

KEPT = 2000
KEPT_S = 600.0  # and as many more as came within this time
BOUND = 100_000
Content = tuple[str, int | None]


class Commands:
    """Triggers by cmd_id, the last 2000 or ten minutes of them, whichever is more; the last 2000 other commands."""

    def __init__(self) -> None:
        self._triggers: OrderedDict[str, tuple[int, Content, float]] = OrderedDict()
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def load(self, connection: sqlite3.Connection) -> None:
        """Take over what was remembered before. Raises sqlite3.Error."""
        sql = (
            "SELECT cmd_id, seq, part_id, asked_deadline_ms, received_utc FROM part WHERE cmd_id != ''"
            " ORDER BY seq DESC LIMIT ?"
        )
        newest_first: list[tuple[str, tuple[int, Content, float]]] = []
        for cmd_id, seq, part_id, deadline, utc in connection.execute(sql, (BOUND,)):
            age_s = _age_s(utc)
            if len(newest_first) >= KEPT and age_s > KEPT_S:
                break
            newest_first.append((cmd_id, (seq, (part_id, deadline), time.monotonic() - age_s)))
        self._triggers.update(reversed(newest_first))
        rows = connection.execute("SELECT cmd_id, name, content, answer FROM command ORDER BY rowid")
        self._answers.update((r[0], Answer(r[1], r[2], bytes(r[3]))) for r in rows)

    def trigger(self, cmd_id: str) -> tuple[int, Content] | None:
        """(seq, content) of a trigger that was taken before."""
        found = self._triggers.get(cmd_id)
        return None if found is None else found[:2]

    def taken(self, cmd_id: str, seq: int, content: Content) -> None:
        """A trigger was taken."""
        now = time.monotonic()
        self._triggers[cmd_id] = (seq, content, now)
        self._triggers.move_to_end(cmd_id)
        while len(self._triggers) > KEPT:
            if len(self._triggers) <= BOUND and now - next(iter(self._triggers.values()))[2] <= KEPT_S:
                break
            self._triggers.popitem(last=False)

    def answer(self, cmd_id: str) -> Answer | None:
        """What another command was answered."""
        return self._answers.get(cmd_id)

    def answers(self, name: str) -> list[tuple[str, Answer]]:
        """(cmd_id, answer) of all that have this name, oldest first."""
        return [(cmd_id, answer) for cmd_id, answer in self._answers.items() if answer.name == name]

    def answered(self, cmd_id: str, answer: Answer) -> None:
        """A command was answered."""
        self._answers[cmd_id] = answer
        self._answers.move_to_end(cmd_id)
        if len(self._answers) > KEPT:
            self._answers.popitem(last=False)


def _age_s(utc: str) -> float:
    """How long ago that was, by a clock that may have been set since: never less than 0."""
    try:
        then = datetime.fromisoformat(utc.replace("Z", "+00:00"))
        return max(0.0, (datetime.now(timezone.utc) - then).total_seconds())
    except (ValueError, TypeError):
        return 0.0
