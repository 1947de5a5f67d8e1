"""What can be saved from a damaged ledger: the numbers, what must not be lost, and the newest parts."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspector.station.ledger import audit
from inspector.station.ledger.reading import counted_rows, open_read_only
from inspector.station.ledger.rows import PRUNED

_log = logging.getLogger(__name__)

LIMIT_S = 5.0
NEWEST_PARTS = 5000
NEWEST_ALARMS = 1000
_TABLES = (  # what, and which rows of it first
    ("meta", "WHERE key NOT IN ('clean', 'told_below')"),
    ("configuration", ""),
    ("command", "ORDER BY rowid"),
    ("audit", "ORDER BY n"),
    ("part", "WHERE seq IN (SELECT seq FROM outbox)"),
    ("outbox", "ORDER BY id"),
    ("part", f"ORDER BY seq DESC LIMIT {NEWEST_PARTS}"),
    ("check", "WHERE seq IN (SELECT seq FROM part ORDER BY seq DESC LIMIT 1000)"),
    ("alarm", f"ORDER BY id DESC LIMIT {NEWEST_ALARMS}"),
)


def salvage(damaged: Path, into: sqlite3.Connection) -> None:
    """Copy into a new ledger what can still be read of the old one, within a few seconds. Raises sqlite3.Error.

    Counters go on where they were, if they can be read: what is gone counts as forgotten.
    """
    saved: dict[str, int] = {}
    old: dict[str, int] = {}
    into.execute("BEGIN IMMEDIATE")
    try:
        for opened in (open_read_only, _without_log):
            with contextlib.suppress(sqlite3.Error), contextlib.closing(opened(damaged)) as source:
                end = time.monotonic() + LIMIT_S
                for table, which in _TABLES:
                    saved[table] = saved.get(table, 0) + _copy(source, into, table, which, end)
                counters = _readable(source, "SELECT name, value FROM counter")
                old.update((name, value) for name, value in counters if type(name) is str and type(value) is int)
            if any(saved.values()):
                break
        # a record whose part is lost can't be made
        into.execute("DELETE FROM outbox WHERE seq NOT IN (SELECT seq FROM part WHERE outcome IS NOT NULL)")
        _go_on_counting(into, old)
        words = ", ".join(f"{name} {count}" for name, count in saved.items() if count) or "nothing"
        audit.append(into, "station", "ledger damaged", damaged.name, f"rows saved: {words}")
        into.execute("COMMIT")
    except BaseException:
        into.execute("ROLLBACK")
        raise
    _log.error("saved from the damaged ledger: rows of %s", words)


def _without_log(path: Path) -> sqlite3.Connection:
    """As of the last check-point: for when the write-ahead log can't be read. Raises sqlite3.Error."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _readable(source: sqlite3.Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows until the damage."""
    with contextlib.suppress(sqlite3.Error):
        yield from source.execute(sql)


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str, which: str, end: float) -> int:
    """The columns that both know; returns how many rows came."""
    theirs = {row[1] for row in _readable(source, f'PRAGMA table_info("{table}")')}
    ours = [row[1] for row in into.execute(f'PRAGMA table_info("{table}")')]
    names = ", ".join(name for name in ours if name in theirs)
    if not names:
        return 0
    marks = ", ".join("?" * (names.count(",") + 1))
    came = 0
    for row in _readable(source, f'SELECT {names} FROM "{table}" {which}'):
        with contextlib.suppress(sqlite3.Error):  # a row that is no row of this table
            came += into.execute(f'INSERT OR IGNORE INTO "{table}"({names}) VALUES({marks})', row).rowcount
        if time.monotonic() > end:
            break
    return came


def _go_on_counting(into: sqlite3.Connection, old: dict[str, int]) -> None:
    counted = counted_rows(into)
    for name in {*counted, *(n for n in old if not n.startswith(PRUNED))}:
        total = max(old.get(name, 0), counted.get(name, 0))
        into.execute("INSERT OR REPLACE INTO counter VALUES(?, ?)", (name, total))
        gone = total - counted.get(name, 0)
        if gone:
            into.execute("INSERT OR REPLACE INTO counter VALUES(?, ?)", (PRUNED + name, gone))
