"""Questions to the books: also while the station writes, also from another process."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from inspector.parts import Outcome
from inspector.station.ledger.rows import PRUNED, Row, StorageFault, Waiting
from inspector.station.ledger.schema import SCHEMA_VERSION, version_of
from inspector.wire import verdict_from_json

T = TypeVar("T")

_ROW = (
    "SELECT seq, part_id, cmd_id, attempt, recipe, rev, recipe_sha, received_utc, outcome, code, text, cls, t_ms,"
    " picture, late IS NOT NULL, verdict, config, golden, found FROM part"
)
_WAITING = (
    "SELECT o.id, o.seq, o.late, CASE o.late WHEN 0 THEN p.verdict ELSE p.late END,"
    " CASE o.late WHEN 0 THEN p.t_ms ELSE p.late_t_ms END, p.picture"
    " FROM outbox AS o LEFT JOIN part AS p ON p.seq = o.seq WHERE o.id > ? ORDER BY o.id LIMIT ?"
)


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that can change nothing. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0, check_same_thread=False)


def read_only(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do ``work`` on the ledger without being able to change it; also while the station runs.

    Raises StorageFault when the file is missing, damaged or not a ledger.
    """
    if not path.is_file():
        raise StorageFault(f"there is no ledger {path}")
    try:
        with contextlib.closing(open_read_only(path)) as connection:
            version = version_of(connection)
            if 0 < version < SCHEMA_VERSION:
                raise StorageFault(
                    f"ledger {path} has schema {version}; the station brings it to {SCHEMA_VERSION} when it starts"
                )
            return work(connection)
    except (sqlite3.Error, ValueError) as error:  # ValueError: a verdict of some other software
        raise StorageFault(f"ledger {path} can't be read: {error}") from error


def meta_of(connection: sqlite3.Connection, key: str) -> str | None:
    """A fact that was remembered. Raises sqlite3.Error."""
    row = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return None if row is None else str(row[0])


def to_row(r: Sequence[Any]) -> Row:
    """A row of the table ``part``. Raises ValueError."""
    verdict, found = (verdict_from_json(text) if text else None for text in (r[15], r[18]))
    return Row(*(*r[:14], bool(r[14]), verdict, r[16], r[17], found))


def part_row(connection: sqlite3.Connection, seq: int) -> Row | None:
    """One part, or None. Raises sqlite3.Error, ValueError."""
    found = connection.execute(f"{_ROW} WHERE seq=?", (seq,)).fetchone()
    return None if found is None else to_row(found)


def rows_after(connection: sqlite3.Connection, seq: int, limit: int) -> list[Row]:
    """Parts with a seq above ``seq``, oldest first. Raises sqlite3.Error, ValueError."""
    return [to_row(r) for r in connection.execute(f"{_ROW} WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))]


def waiting_records(connection: sqlite3.Connection, after: int, limit: int) -> tuple[list[Waiting], list[int]]:
    """(records that wait, oldest first; ids of those that no record can be made of). Raises sqlite3.Error."""
    found, unreadable = [], []
    for outbox_id, seq, late, verdict, t_ms, picture in connection.execute(_WAITING, (after, limit)):
        try:
            found.append(
                Waiting(outbox_id, seq, bool(late), verdict_from_json(verdict or ""), t_ms or 0, picture or "")
            )
        except ValueError:
            unreadable.append(outbox_id)
    return found, unreadable


def frequent_codes(connection: sqlite3.Connection, limit: int) -> list[tuple[int, str, int]]:
    """Reject codes of the last 1,000 parts, most frequent first: (code, text, count). Raises sqlite3.Error."""
    sql = (
        "SELECT code, max(text), count(*) AS n FROM (SELECT code, text, outcome FROM part ORDER BY seq DESC LIMIT 1000)"
        " WHERE outcome = ? GROUP BY code ORDER BY n DESC, code LIMIT ?"
    )
    return [(r[0], r[1], r[2]) for r in connection.execute(sql, (Outcome.FAIL.value, limit))]


def search(path: Path, *, part_id: str | None = None, outcome: str | None = None, limit: int = 20) -> list[Row]:
    """Parts, newest first; ``part_id`` and ``outcome`` narrow the search. Raises StorageFault."""
    where, values = [], []
    if part_id is not None:
        where.append("part_id = ?")
        values.append(part_id)
    if outcome is not None:
        where.append("outcome = ?")
        values.append(outcome)
    sql = f"{_ROW} {'WHERE ' + ' AND '.join(where) if where else ''} ORDER BY seq DESC LIMIT ?"
    return read_only(path, lambda c: [to_row(r) for r in c.execute(sql, (*values, limit))])


def recount(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """(the counters as kept, the same counted from the rows): equal in honest books. Raises StorageFault.

    Golden parts are counted as golden and as nothing else.
    """

    def work(c: sqlite3.Connection) -> tuple[dict[str, int], dict[str, int]]:
        c.execute("BEGIN")  # both from one moment, also while the station writes
        kept = dict(c.execute("SELECT name, value FROM counter WHERE value != 0").fetchall())
        counted = counted_rows(c)
        for name in [n for n in kept if n.startswith(PRUNED)]:  # forgotten rows count on
            counted[name[len(PRUNED) :]] = counted.get(name[len(PRUNED) :], 0) + kept.pop(name)
        return kept, counted

    return read_only(path, work)


def counted_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """What the rows themselves say, only what is not 0. Raises sqlite3.Error."""
    sql = "SELECT outcome, count(*) FROM part WHERE outcome IS NOT NULL AND golden = '' GROUP BY outcome"
    counted = dict(connection.execute(sql).fetchall())
    sums = connection.execute("SELECT count(*), count(late) FROM part WHERE golden = ''").fetchone()
    golden = connection.execute("SELECT count(*) FROM part WHERE golden != ''").fetchone()[0]
    return counted | {k: v for k, v in (("total", sums[0]), ("late", sums[1]), ("golden", golden)) if v}


def alarm_log(path: Path, limit: int = 50) -> list[dict[str, str]]:
    """The newest alarm notes. Raises StorageFault."""

    def work(c: sqlite3.Connection) -> list[dict[str, str]]:
        rows = c.execute("SELECT utc, name, what, text FROM alarm ORDER BY id DESC LIMIT ?", (limit,))
        return [dict(zip(("utc", "name", "what", "text"), r, strict=True)) for r in rows]

    return read_only(path, work)
