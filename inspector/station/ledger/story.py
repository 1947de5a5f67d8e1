"""Everything the books know about one part, and about what was changed."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from inspector.parts import Verdict
from inspector.station.ledger.audit import problems_of
from inspector.station.ledger.reading import part_row, read_only
from inspector.station.ledger.rows import Row
from inspector.wire import verdict_from_json

ATTEMPTS_TOLD = 100
AROUND_S = 60.0


@dataclass(frozen=True)
class AlarmNote:
    """An alarm that came, was acknowledged or went."""

    utc: str
    name: str
    what: str
    text: str


@dataclass(frozen=True)
class Story:
    """One attempt at one part."""

    row: Row
    boot: str
    source: str
    sim: bool
    asked_deadline_ms: int | None
    deadline_ms: int
    closed_utc: str | None
    waits: bool  # its record is not the broker's yet
    late: Verdict | None
    late_t_ms: int | None
    late_waits: bool
    config_utc: str  # when its configuration was first seen; "" when that is not known
    config: str  # what its configuration is made of, JSON text, "" when that is not known
    alarms: tuple[AlarmNote, ...]  # from a minute before its trigger to a minute after its verdict


@dataclass(frozen=True)
class Change:
    """A row of the audit. ``config`` is what a new configuration is made of, JSON text."""

    n: int
    utc: str
    who: str
    what: str
    old: str
    new: str
    digest: str
    config: str


def stories(path: Path, part_id: str) -> list[Story]:
    """The attempts at a part, the first one first, at most the newest 100. Raises StorageFault."""

    def work(c: sqlite3.Connection) -> list[Story]:
        sql = "SELECT seq FROM part WHERE part_id = ? ORDER BY seq DESC LIMIT ?"
        return [_story(c, r[0]) for r in reversed(c.execute(sql, (part_id, ATTEMPTS_TOLD)).fetchall())]

    return read_only(path, work)


def _story(c: sqlite3.Connection, seq: int) -> Story:
    row = part_row(c, seq)
    assert row is not None  # noqa: S101  # it was there a moment ago, in the same file
    boot, source, sim, asked, deadline, closed, late, late_t_ms = c.execute(
        "SELECT boot, source, sim, asked_deadline_ms, deadline_ms, closed_utc, late, late_t_ms FROM part WHERE seq = ?",
        (seq,),
    ).fetchone()
    waiting = {bool(r[0]) for r in c.execute("SELECT late FROM outbox WHERE seq = ?", (seq,))}
    sql = "SELECT utc, content FROM configuration WHERE digest = ?"
    config_utc, config = c.execute(sql, (row.config,)).fetchone() or ("", "")
    sql = "SELECT utc, name, what, text FROM alarm WHERE utc BETWEEN ? AND ? ORDER BY id"
    around = c.execute(sql, (_moved(row.received_utc, -AROUND_S), _moved(closed or row.received_utc, AROUND_S)))
    return Story(
        row, boot, source, bool(sim), asked, deadline, closed, False in waiting,
        verdict_from_json(late) if late else None, late_t_ms, True in waiting,
        config_utc, config, tuple(AlarmNote(*r) for r in around),
    )  # fmt: skip


def _moved(utc: str, by_s: float) -> str:
    """UTC text as the books write it, so much later. Raises ValueError."""
    then = datetime.fromisoformat(utc.replace("Z", "+00:00")) + timedelta(seconds=by_s)
    return then.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def changes(path: Path, limit: int) -> tuple[list[Change], list[str]]:
    """(the newest rows of the audit, oldest first; what is wrong with its chain). Raises StorageFault."""

    def work(c: sqlite3.Connection) -> tuple[list[Change], list[str]]:
        rows = c.execute(
            "SELECT a.n, a.utc, a.who, a.what, a.old, a.new, a.digest, coalesce(k.content, '') FROM audit AS a"
            " LEFT JOIN configuration AS k ON a.what = 'configuration' AND k.digest = a.new ORDER BY a.n DESC LIMIT ?",
            (limit,),
        ).fetchall()
        return [Change(*r) for r in reversed(rows)], problems_of(c, path)

    return read_only(path, work)
