"""Making a file ready to be written: checked, of this software's schema, or moved aside."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from inspector.station.ledger.rows import StorageFault
from inspector.station.ledger.schema import SCHEMA_VERSION, migrate, version_of

_log = logging.getLogger(__name__)


def connect(path: Path) -> sqlite3.Connection:
    """The writer's connection to a healthy ledger of this schema, made or migrated when need be.

    Raises sqlite3.DatabaseError for a damaged file, StorageFault for one that newer software wrote.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        problems = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problems != "ok":
            raise sqlite3.DatabaseError(problems)
        version = version_of(connection)
        if version > SCHEMA_VERSION:
            raise StorageFault(
                f"ledger {path} has schema {version}; this software knows {SCHEMA_VERSION}. "
                "Install the software that wrote it, or move the file away"
            )
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def move_aside(path: Path) -> Path:
    """Rename a damaged ledger and what belongs to it; returns its new name. Raises OSError."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.stem}-damaged-{stamp}{path.suffix}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    _log.error("the ledger is damaged; it was moved to %s and a new one was begun", aside)
    return aside
