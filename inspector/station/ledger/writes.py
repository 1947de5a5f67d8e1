"""What is done inside the writer's transactions: small pieces of SQL, each all or nothing with its neighbours."""

from __future__ import annotations

import sqlite3
from typing import Any

from inspector.parts import Part, Verdict
from inspector.station.ledger.rows import PRUNED, utc_now
from inspector.wire import verdict_to_json

PRUNED_AT_ONCE = 500
LOOKED_AT_ONCE = 5000  # of the oldest, some of which may have to stay
_HELD = ("total", "golden", f"{PRUNED}total", f"{PRUNED}golden")
ALARM_NOTES_KEPT = 100_000
ANSWERS_KEPT = 2000


def part_values(part: Part) -> tuple[Any, ...]:
    """A part as its row's first columns."""
    t = part.trigger
    return (
        part.seq, part.boot, t.part_id, t.cmd_id, part.attempt, t.source, part.recipe, part.rev, part.recipe_sha,
        t.received_utc, t.deadline_ms, part.deadline_ms, int(part.sim), part.config, t.golden,
    )  # fmt: skip


def insert_part(connection: sqlite3.Connection, values: tuple[Any, ...]) -> None:
    """A new part, open."""
    connection.execute(
        "INSERT INTO part(seq, boot, part_id, cmd_id, attempt, source, recipe, rev, recipe_sha, received_utc,"
        " asked_deadline_ms, deadline_ms, sim, config, golden) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        values,
    )
    count(connection, "golden" if values[-1] else "total", 1)


def count(connection: sqlite3.Connection, name: str, step: int) -> None:
    """Move a counter."""
    connection.execute(
        "INSERT INTO counter VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value", (name, step)
    )


def close_part(connection: sqlite3.Connection, verdict: Verdict, t_ms: int) -> None:
    """The verdict, its checks, its place in the outbox and the counters."""
    part = verdict.part
    seq, golden = part.seq, part.trigger.golden
    before = connection.execute("SELECT outcome FROM part WHERE seq=?", (seq,)).fetchone()
    if before is None:
        insert_part(connection, part_values(part))
    connection.execute(
        "UPDATE part SET outcome=?, code=?, text=?, cls=?, t_ms=?, closed_utc=?, verdict=? WHERE seq=?",
        (
            verdict.outcome.value, verdict.code, verdict.text, verdict.cls, t_ms, utc_now(),
            verdict_to_json(verdict).decode(), seq,
        ),
    )  # fmt: skip
    if before is not None and before[0] is not None:  # told otherwise in the meantime: the last word counts
        connection.execute("DELETE FROM outbox WHERE seq=? AND late=0", (seq,))
        connection.execute('DELETE FROM "check" WHERE seq=?', (seq,))
        if not golden:
            count(connection, before[0], -1)
    connection.executemany(
        'INSERT INTO "check" VALUES(?,?,?,?,?,?,?,?,?,?,?)',
        [
            (seq, n, c.step, c.outcome.value, c.code, c.value, c.unit, c.nominal, c.lower, c.upper, c.text)
            for n, c in enumerate(verdict.checks)
        ],
    )
    _to_outbox(connection, seq)
    if not golden:
        count(connection, verdict.outcome.value, 1)


def _to_outbox(connection: sqlite3.Connection, seq: int) -> None:
    """Records leave in the order of seq, also when a slow disk let this one's verdict be written after later ones.

    Those later ones have not left yet (they wait until this one is settled): they queue up again behind it.
    """
    ahead = connection.execute("SELECT id, seq FROM outbox WHERE seq > ? AND late=0 ORDER BY seq", (seq,)).fetchall()
    connection.execute("INSERT INTO outbox(seq, late) VALUES(?, 0)", (seq,))
    connection.executemany("DELETE FROM outbox WHERE id=?", [(id_,) for id_, _ in ahead])
    connection.executemany("INSERT INTO outbox(seq, late) VALUES(?, 0)", [(later,) for _, later in ahead])


def late_word(connection: sqlite3.Connection, verdict: Verdict, t_ms: int) -> None:
    """A verdict that came after its part's deadline, beside the one that was told."""
    seq = verdict.part.seq
    before = connection.execute("SELECT late IS NOT NULL FROM part WHERE seq=?", (seq,)).fetchone()
    if before is None:  # told, but the disk has not taken it yet
        insert_part(connection, part_values(verdict.part))
    elif before[0]:
        return
    text = verdict_to_json(verdict).decode()
    connection.execute("UPDATE part SET late=?, late_t_ms=? WHERE seq=?", (text, t_ms, seq))
    connection.execute("INSERT INTO outbox(seq, late) VALUES(?, 1)", (seq,))
    if not verdict.part.trigger.golden:
        count(connection, "late", 1)


def golden_found(connection: sqlite3.Connection, verdict: Verdict) -> None:
    """What was really found on a golden part, whose told outcome is always NOT_INSPECTED. The first word counts."""
    seq = verdict.part.seq
    if connection.execute("SELECT 1 FROM part WHERE seq=?", (seq,)).fetchone() is None:
        insert_part(connection, part_values(verdict.part))
    text = verdict_to_json(verdict).decode()
    connection.execute("UPDATE part SET found=? WHERE seq=? AND found IS NULL", (text, seq))


def remember_answer(connection: sqlite3.Connection, cmd_id: str, name: str, content: str, answer: bytes) -> None:
    """The answer of a command; the oldest beyond the bound are forgotten."""
    connection.execute("INSERT OR REPLACE INTO command VALUES(?,?,?,?,?)", (cmd_id, name, content, answer, utc_now()))
    connection.execute("DELETE FROM command WHERE rowid <= (SELECT max(rowid) FROM command) - ?", (ANSWERS_KEPT,))


def prune(connection: sqlite3.Connection, keep: int) -> int:
    """Forget old closed parts beyond the newest ``keep``, a few at a time, none whose record still waits.

    Records beyond the newest ``keep`` are given up: returns how many.
    """
    given_up = connection.execute(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE id <= (SELECT max(id) FROM outbox) - ?"
        " ORDER BY id LIMIT ?)",
        (keep, PRUNED_AT_ONCE),
    ).rowcount
    # by the counters, which equal a recount: numbers leave gaps, and counting a million rows takes its time
    held = sum(
        value if name in ("total", "golden") else -value
        for name, value in connection.execute("SELECT name, value FROM counter WHERE name IN (?, ?, ?, ?)", _HELD)
    )
    rows = connection.execute(
        "SELECT seq, outcome, late, golden FROM"
        " (SELECT seq, outcome, late IS NOT NULL AS late, golden FROM part ORDER BY seq LIMIT ?)"
        " WHERE outcome IS NOT NULL AND seq NOT IN (SELECT seq FROM outbox) LIMIT ?",
        (min(max(0, held - keep), LOOKED_AT_ONCE), PRUNED_AT_ONCE),
    ).fetchall()
    for seq, outcome, late, golden in rows:
        connection.execute("DELETE FROM part WHERE seq=?", (seq,))
        connection.execute('DELETE FROM "check" WHERE seq=?', (seq,))
        for name in ("golden",) if golden else ("total", outcome, *(("late",) if late else ())):
            count(connection, PRUNED + name, 1)
    connection.execute("DELETE FROM alarm WHERE id <= (SELECT max(id) FROM alarm) - ?", (ALARM_NOTES_KEPT,))
    return given_up
