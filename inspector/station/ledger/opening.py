"""Making a file ready to be written: checked, of this software's schema, or moved aside."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import sqlite3
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from inspector.station.ledger.reading import open_read_only
from inspector.station.ledger.rows import StorageFault
from inspector.station.ledger.salvage import salvage
from inspector.station.ledger.schema import SCHEMA_VERSION, migrate, version_of

_log = logging.getLogger(__name__)

CHECKED_AT_START_BYTES = 256 * 1024 * 1024  # below a second; a larger file is checked beside the walk
PATIENCE_S = 2.0  # with whoever else holds the file's lock
WAL_KEPT_BYTES = 16 * 1024 * 1024  # the write-ahead log's file shrinks to this when it begins again
_SAVING = "saving what can be saved of "
_DAMAGED = (sqlite3.DatabaseError, sqlite3.InternalError)  # themselves, not what is derived from them
# SQLITE_IOERR_READ, _SHORT_READ, _DATA, _CORRUPTFS, _IN_PAGE: the disk does not give back what it took. Other I/O
# errors (a full disk, one that is read-only) say nothing about the file
_UNREADABLE = (266, 522, 8202, 8458, 8714)
_READING_LIMIT_S = 10.0
_CHUNK_BYTES = 1024 * 1024


def is_damage(error: BaseException) -> bool:
    """The file is not what it should be, or can't be read where the disk is broken; waiting does not help."""
    return type(error) in _DAMAGED or getattr(error, "sqlite_errorcode", 0) in _UNREADABLE


def open_ledger(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """(the writer's connection to a healthy ledger of this schema, the damaged file that was moved aside or None).

    Raises StorageFault when it can't be opened or newer software wrote it, OSError.
    """
    suspect = suspect_mark(path)
    try:
        if not suspect.exists():
            return _connect(path), None
        _log.error("the ledger was found damaged while the station ran: %s", suspect.read_text("utf-8", "replace"))
    except sqlite3.Error as error:
        if not is_damage(error) and not _bad_sector(path, error):
            raise StorageFault(f"ledger {path} can't be opened: {error}") from error
        _log.error("ledger %s: %s", path, error)
    aside = _move_aside(path)
    try:
        connection = _connect(path)
        try:
            salvage(aside, connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StorageFault(f"a new ledger {path} can't be begun: {error}") from error
    suspect.unlink(missing_ok=True)  # only now: a start that is cut off before saves again
    return connection, aside


def _bad_sector(path: Path, error: sqlite3.Error) -> bool:
    """Python before 3.11 does not tell which I/O error it was: can the files be read?"""
    if hasattr(error, "sqlite_errorcode") or "disk I/O error" not in str(error):
        return False
    end = time.monotonic() + _READING_LIMIT_S
    try:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError), Path(f"{path}{suffix}").open("rb", buffering=0) as file:
                while file.read(_CHUNK_BYTES) and time.monotonic() < end:
                    pass
    except OSError as unreadable:
        return unreadable.errno == errno.EIO
    return False


def checked_whole(path: Path) -> bool:
    """A file of this size is checked whole at the start."""
    return path.stat().st_size <= CHECKED_AT_START_BYTES


def suspect_mark(path: Path) -> Path:
    """The file that stands beside a ledger found damaged while it was in use; it is moved aside at the next start."""
    return path.with_name(path.name + ".suspect")


def mark_suspect(path: Path, why: str) -> None:
    """Have it moved aside at the next start. Never raises."""
    with contextlib.suppress(OSError):
        suspect_mark(path).write_text(why + "\n", "utf-8")


def _aside_of_before(path: Path) -> Path | None:
    """Where a start that was cut off was moving a damaged ledger, None: there was none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        said = suspect_mark(path).read_text("utf-8").strip()
        name = said[len(_SAVING) :] if said.startswith(_SAVING) else ""
        if name.startswith(f"{path.stem}-damaged-") and "/" not in name:
            return path.with_name(name)
    return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT_BYTES}")
        version = version_of(connection)
        if version > SCHEMA_VERSION:
            raise StorageFault(
                f"ledger {path} has schema {version}; this software knows {SCHEMA_VERSION}. "
                "Install the software that wrote it, or move the file away"
            )
        if checked_whole(path):
            problems = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problems != "ok":
                raise sqlite3.DatabaseError(problems)
        if 0 < version < SCHEMA_VERSION:
            _back_up(connection, path, version)
            _log.info("ledger %s: from schema %d to %d", path, version, SCHEMA_VERSION)
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """A copy of the file as it is, when the disk has room for two; an older copy of the same schema is replaced."""
    size = path.stat().st_size
    if size > shutil.disk_usage(path.parent).free // 2:
        _log.warning("ledger %s: no room for a copy of its %d MB before the change of its schema", path, size // 10**6)
        return
    copy = path.with_name(f"{path.stem}-schema{version}{path.suffix}")
    unfinished = copy.with_name(copy.name + ".tmp")
    unfinished.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(unfinished)) as into:
            connection.backup(into)
        unfinished.replace(copy)
    except (sqlite3.Error, OSError):
        unfinished.unlink(missing_ok=True)
        raise


def _move_aside(path: Path) -> Path:
    """The mark says where to, from before the first file is moved until all is saved that can be."""
    aside = _aside_of_before(path)
    if aside is None:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        aside = path.with_name(f"{path.stem}-damaged-{stamp}{path.suffix}")
        mark_suspect(path, f"{_SAVING}{aside.name}")
    half_made = aside.exists() and path.exists()  # begun by a start that was cut off
    for suffix in ("-wal", "-shm", "") if half_made else ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            if half_made:
                Path(f"{path}{suffix}").unlink()
            else:
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    _log.error("the ledger is damaged; it was moved to %s and a new one was begun", aside)
    return aside


class LongCheck:
    """The check of the whole file beside the walk: a thread of its own, at the lowest priority, table by table."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._stopped = False

    async def run(self) -> str:
        """What is damaged, or "". A damaged file is marked, so that it is moved aside at the next start."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def tell(damage: str) -> None:
            if not done.done():
                done.set_result(damage)

        def work() -> None:
            damage = self._work()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tell, damage)

        threading.Thread(target=work, name="ledger check", daemon=True).start()
        return await done

    def stop(self) -> None:
        """Give it up, and with it what it holds of the write-ahead log."""
        self._stopped = True
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # it has just ended by itself
                self._connection.interrupt()

    def _work(self) -> str:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread alone
        try:
            with contextlib.closing(open_read_only(self._path)) as self._connection:
                tables = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
                for (name,) in tables:  # one by one: the write-ahead log may begin again in between
                    found = self._connection.execute(f'PRAGMA quick_check("{name}")').fetchone()[0]
                    if self._stopped:
                        return ""
                    if found != "ok":
                        raise sqlite3.DatabaseError(f"{name}: {found}")
        except sqlite3.Error as error:
            if self._stopped or not (is_damage(error) or _bad_sector(self._path, error)):
                _log.warning("ledger %s could not be checked: %s", self._path, error)
                return ""
            mark_suspect(self._path, str(error))
            return str(error)
        return ""
