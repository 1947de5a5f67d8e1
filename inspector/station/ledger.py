"""The books: one row a trigger, one verdict a row, on disk before anybody is told.

SQLite with a write-ahead log and ``synchronous=FULL``: a commit that was acknowledged survives a power cut.
One thread writes; what waits at the same time is committed together. Check-points run in a thread of their
own, so that the walk of a part never waits for one. Two processes may read while the station writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from inspector.codes import Code
from inspector.parts import InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.wire import verdict_from_json, verdict_to_json

T = TypeVar("T")
_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
QUEUE_BOUND = 1000
BATCH = 64
REMEMBERED_COMMANDS = 2000
READ_LIMIT_S = 5.0
PRUNED = "pruned "  # counters of rows that were forgotten
PRUNED_AT_ONCE = 500
ALARM_NOTES_KEPT = 100_000
SEQ_MAX = 2_147_483_647
MAX_AHEAD = 1000  # verdicts that may have been told before their rows were on disk when the power went

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE part(
  seq INTEGER PRIMARY KEY, boot TEXT NOT NULL, part_id TEXT NOT NULL, cmd_id TEXT NOT NULL,
  attempt INTEGER NOT NULL, source TEXT NOT NULL, recipe INTEGER NOT NULL, rev INTEGER NOT NULL,
  recipe_sha TEXT NOT NULL, received_utc TEXT NOT NULL, asked_deadline_ms INTEGER, deadline_ms INTEGER NOT NULL,
  sim INTEGER NOT NULL, outcome TEXT, code INTEGER, text TEXT, cls TEXT, t_ms INTEGER, closed_utc TEXT,
  verdict TEXT, late TEXT, picture TEXT) STRICT;
CREATE INDEX part_by_id ON part(part_id);
CREATE INDEX part_open ON part(seq) WHERE outcome IS NULL;
CREATE TABLE outbox(
  id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, late INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE INDEX outbox_by_seq ON outbox(seq);
CREATE TABLE alarm(
  id INTEGER PRIMARY KEY AUTOINCREMENT, utc TEXT NOT NULL, name TEXT NOT NULL, what TEXT NOT NULL,
  text TEXT NOT NULL) STRICT;
"""


class StorageFault(InspectionFault):
    """The books can't be written now; the part is NOT_INSPECTED."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.STORAGE_FULL, text)


@dataclass(frozen=True, slots=True)
class RecipeTag:
    """The recipe a part is judged by, as the books name it."""

    number: int
    rev: int
    name: str
    sha: str
    deadline_ms: int
    config: str = ""  # digest of the whole configuration


@dataclass(frozen=True, slots=True)
class Row:
    """One part as the books have it. ``outcome`` is None while it is open."""

    seq: int
    part_id: str
    cmd_id: str
    attempt: int
    recipe: int
    rev: int
    recipe_sha: str
    received_utc: str
    outcome: str | None
    code: int | None
    text: str | None
    cls: str | None
    t_ms: int | None
    picture: str | None
    late: bool
    verdict: Verdict | None


@dataclass
class _Write:
    """Something to be written; ``cancelled`` by whoever stopped waiting before it was begun."""

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    cancelled: bool = False


def utc_now() -> str:
    """UTC as ISO 8601 with ms and Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Ledger:
    """See the module's text. Used from the event loop's thread; ``open`` first."""

    def __init__(self, path: Path, *, station: str, boot: str, sim: bool) -> None:
        self._path = path
        self._station = station
        self._boot = boot
        self._sim = sim
        self._queue: queue.Queue[_Write | None] = queue.Queue(QUEUE_BOUND)
        self._thread: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="ledger reader")
        self._reading: sqlite3.Connection | None = None  # belongs to the reader's thread
        self._clean = True
        self._next_seq = 1
        self._commands: OrderedDict[str, tuple[int, tuple[str, int | None]]] = OrderedDict()
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self.counters: dict[str, int] = {}
        self.highest_seq = 0  # on disk when it was opened
        self.damaged: Path | None = None  # an unreadable ledger that was moved aside at start
        self.interrupted: list[Part] = []
        self.drops = 0

    # --- opening -------------------------------------------------------------------------------------
    def open(self) -> None:
        """Open or make the file, close what a crash left open, start the writer. Raises OSError, StorageFault.

        A damaged file is moved aside (``damaged`` tells) and inspection goes on with a new one.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StorageFault(f"ledger {self._path} can't be opened: {error}") from error
            self._move_aside()
            connection = self._connect()
        try:
            self._start_from(connection)
        except sqlite3.Error as error:
            connection.close()
            raise StorageFault(f"ledger {self._path} can't be written: {error}") from error
        self._thread = threading.Thread(target=self._run, args=(connection,), name="ledger", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=2.0)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            problems = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problems != "ok":
                raise sqlite3.DatabaseError(problems)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                raise StorageFault(
                    f"ledger {self._path} has schema {version}; this software knows {SCHEMA_VERSION}. "
                    "Install the software that wrote it, or move the file away"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self) -> None:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        aside = self._path.with_name(f"{self._path.stem}-damaged-{stamp}{self._path.suffix}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self.damaged = aside
        _log.error("the ledger is damaged; it was moved to %s and a new one was begun", aside)

    def _start_from(self, connection: sqlite3.Connection) -> None:
        highest = connection.execute("SELECT max(seq) FROM part").fetchone()[0]
        clean = _meta(connection, "clean") != "0"
        self.highest_seq = highest or 0
        self._next_seq = self.highest_seq + 1
        if highest is not None and not clean:
            # a NOT_INSPECTED may have been told before its row was on disk: no seq is used twice
            self._next_seq += MAX_AHEAD
        if self._next_seq > SEQ_MAX:
            self._next_seq = 1
        rows = connection.execute(
            "SELECT cmd_id, seq, part_id, asked_deadline_ms FROM part WHERE cmd_id != '' ORDER BY seq DESC LIMIT ?",
            (REMEMBERED_COMMANDS,),
        ).fetchall()
        for cmd_id, seq, part_id, deadline in reversed(rows):
            self._commands[cmd_id] = (seq, (part_id, deadline))
        attempts = connection.execute(
            "SELECT part_id, max(attempt) FROM part WHERE seq > ? GROUP BY part_id",
            (self.highest_seq - REMEMBERED_COMMANDS,),
        )
        self._attempts.update(attempts.fetchall())
        open_rows = connection.execute("SELECT * FROM part WHERE outcome IS NULL ORDER BY seq").fetchall()
        names = [d[1] for d in connection.execute("PRAGMA table_info(part)")]
        self.interrupted = [self._part_of(dict(zip(names, row, strict=True))) for row in open_rows]
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO meta VALUES('clean', '0')")
        connection.execute("COMMIT")
        self.counters = dict(connection.execute("SELECT name, value FROM counter").fetchall())

    def _part_of(self, row: dict[str, Any]) -> Part:
        trigger = Trigger(
            row["part_id"], row["cmd_id"], 0, row["received_utc"], row["source"], row["asked_deadline_ms"]
        )
        return Part(
            seq=row["seq"],
            boot=row["boot"],
            station=self._station,
            trigger=trigger,
            recipe=row["recipe"],
            rev=row["rev"],
            recipe_name="",
            recipe_sha=row["recipe_sha"],
            deadline_ns=row["deadline_ms"] * 1_000_000,
            attempt=row["attempt"],
            sim=bool(row["sim"]),
        )

    # --- the walk of a part --------------------------------------------------------------------------
    @property
    def next_seq(self) -> int:
        """The number of the next part."""
        return self._next_seq

    def known(self, cmd_id: str) -> tuple[int, tuple[str, int | None]] | None:
        """(seq, (part_id, deadline_ms)) of a trigger command that was taken before, None for a new one."""
        return self._commands.get(cmd_id) if cmd_id else None

    def begin(self, trigger: Trigger, recipe: RecipeTag) -> Part:
        """Number a trigger; nothing is on disk yet."""
        seq = self._next_seq
        self._next_seq = seq + 1 if seq < SEQ_MAX else 1
        # a refused trigger may have no readable part_id: two of them are not the same part
        attempt = self._attempts.get(trigger.part_id, 0) + 1 if trigger.part_id else 1
        self._attempts[trigger.part_id] = attempt
        self._attempts.move_to_end(trigger.part_id)
        if len(self._attempts) > REMEMBERED_COMMANDS:
            self._attempts.popitem(last=False)
        if trigger.cmd_id:
            self._commands[trigger.cmd_id] = (seq, (trigger.part_id, trigger.deadline_ms))
            if len(self._commands) > REMEMBERED_COMMANDS:
                self._commands.popitem(last=False)
        limit_ms = trigger.deadline_ms or recipe.deadline_ms
        return Part(
            seq=seq,
            boot=self._boot,
            station=self._station,
            trigger=trigger,
            recipe=recipe.number,
            rev=recipe.rev,
            recipe_name=recipe.name,
            recipe_sha=recipe.sha,
            deadline_ns=trigger.received_ns + limit_ms * 1_000_000,
            attempt=attempt,
            sim=self._sim,
            config=recipe.config,
        )

    async def accept(self, part: Part) -> None:
        """Put the part's row on disk. Raises StorageFault."""
        row = _part_row(part)
        await self._write(lambda c: _insert_part(c, row))

    async def close(self, verdict: Verdict, t_ms: int, record: bytes) -> None:
        """Commit the verdict, its record for the outbox and the counters, all or nothing. Raises StorageFault.

        Cancelled before the writer came to it, it is not done at all; after that a second ``close`` of the same
        part replaces the first.
        """
        await self._write(lambda c: self._close(c, verdict, t_ms, record))

    def _close(self, connection: sqlite3.Connection, verdict: Verdict, t_ms: int, record: bytes) -> None:
        part = verdict.part
        before = connection.execute("SELECT outcome FROM part WHERE seq=?", (part.seq,)).fetchone()
        if before is None:
            _insert_part(connection, _part_row(part))
        elif before[0] is not None:  # told otherwise in the meantime: the last word counts
            _count(connection, before[0], -1)
            connection.execute("DELETE FROM outbox WHERE seq=? AND late=0", (part.seq,))
        connection.execute(
            "UPDATE part SET outcome=?, code=?, text=?, cls=?, t_ms=?, closed_utc=?, verdict=? WHERE seq=?",
            (
                verdict.outcome.value, verdict.code, verdict.text, verdict.cls, t_ms, utc_now(),
                verdict_to_json(verdict).decode(), part.seq,
            ),
        )  # fmt: skip
        connection.execute("INSERT INTO outbox(seq, late, payload) VALUES(?, 0, ?)", (part.seq, record))
        _count(connection, verdict.outcome.value, 1)

    async def late(self, verdict: Verdict, record: bytes) -> None:
        """A verdict that came after its part's deadline: kept beside the one that was told, never instead of it."""

        def work(c: sqlite3.Connection) -> None:
            seq = verdict.part.seq
            before = c.execute("SELECT late IS NOT NULL FROM part WHERE seq=?", (seq,)).fetchone()
            if before is None:  # told, but the disk has not taken it yet
                _insert_part(c, _part_row(verdict.part))
            elif before[0]:
                return
            c.execute("UPDATE part SET late=? WHERE seq=?", (verdict_to_json(verdict).decode(), seq))
            c.execute("INSERT INTO outbox(seq, late, payload) VALUES(?, 1, ?)", (seq, record))
            _count(c, "late", 1)

        await self._write(work)

    async def picture(self, seq: int, path: str) -> None:
        """Note where a part's picture was stored."""
        await self._write(lambda c: c.execute("UPDATE part SET picture=? WHERE seq=?", (path, seq)) and None)

    async def alarm(self, name: str, what: str, text: str) -> None:
        """Note that an alarm came, was acknowledged or went."""
        row = (utc_now(), name, what, text)
        await self._write(lambda c: c.execute("INSERT INTO alarm(utc, name, what, text) VALUES(?,?,?,?)", row) and None)

    # --- the outbox ----------------------------------------------------------------------------------
    async def outbox(self, after: int, limit: int) -> list[tuple[int, int, bytes]]:
        """Waiting records (id, seq, payload) with an id above ``after``, oldest first."""

        def work(c: sqlite3.Connection) -> list[tuple[int, int, bytes]]:
            sql = "SELECT id, seq, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?"
            return [(r[0], r[1], bytes(r[2])) for r in c.execute(sql, (after, limit))]

        return await self._read(work)

    async def outbox_done(self, ids: Sequence[int]) -> None:
        """These records are the broker's now."""
        rows = [(i,) for i in ids]
        await self._write(lambda c: c.executemany("DELETE FROM outbox WHERE id=?", rows) and None)

    async def prune(self, keep: int) -> None:
        """Forget the oldest closed parts beyond the newest ``keep``, a few at a time, none whose record still waits."""
        await self._write(lambda c: _prune(c, keep))

    async def outbox_depth(self) -> int:
        """How many records wait."""
        return await self._read(lambda c: int(c.execute("SELECT count(*) FROM outbox").fetchone()[0]))

    # --- reading and notes ---------------------------------------------------------------------------
    async def set_meta(self, key: str, value: str) -> None:
        """Remember a fact over restarts."""
        await self._write(lambda c: c.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value)) and None)

    async def meta(self, key: str) -> str | None:
        """A fact that :meth:`set_meta` remembered."""
        return await self._read(lambda c: _meta(c, key))

    async def get(self, seq: int) -> Row | None:
        """One part, or None."""
        return await self._read(lambda c: _row(c, seq))

    async def codes(self, limit: int) -> list[tuple[int, str, int]]:
        """Reject codes of the last 1,000 parts, most frequent first: (code, text, count)."""
        return await self._read(lambda c: _codes(c, limit))

    @property
    def depth(self) -> int:
        """Writes that wait."""
        return self._queue.qsize()

    # --- the writer ----------------------------------------------------------------------------------
    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        write = _Write(work, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            self.drops += 1
            raise StorageFault(f"{QUEUE_BOUND} writes wait for the disk: the ledger can't take another") from None
        try:
            return await write.done
        except asyncio.CancelledError:
            write.cancelled = True
            raise

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, work)
        except RuntimeError as error:  # a screen still asks while the station shuts down
            raise StorageFault(f"ledger {self._path} is closed") from error
        try:
            return await asyncio.wait_for(reading, READ_LIMIT_S)
        except asyncio.TimeoutError:
            raise StorageFault(f"ledger {self._path} can't be read: the disk does not answer") from None

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In the reader's thread: one connection that stays open, made anew after any trouble."""
        try:
            if self._reading is None:
                self._reading = _open_read_only(self._path)
            return work(self._reading)
        except (sqlite3.Error, ValueError) as error:
            self._end_reading()
            raise StorageFault(f"ledger {self._path} can't be read: {error}") from error

    def _end_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()

    def _run(self, connection: sqlite3.Connection) -> None:
        while True:
            first = self._queue.get()
            batch = [first]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            writes = [w for w in batch if w is not None and not w.cancelled]
            if writes and not self._commit(connection, writes):
                for write in writes:  # one of them may be the bad one
                    self._commit(connection, [write], last=True)
            if None in batch:
                with contextlib.suppress(sqlite3.Error):
                    if self._clean:
                        connection.execute("INSERT OR REPLACE INTO meta VALUES('clean', '1')")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
                return

    def _commit(self, connection: sqlite3.Connection, writes: list[_Write], *, last: bool = False) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write.work(connection)
            counters = dict(connection.execute("SELECT name, value FROM counter").fetchall())
            connection.execute("COMMIT")
        except Exception as error:  # whatever it is, the waiting part must hear of it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if last or len(writes) == 1:
                fault = StorageFault(f"the ledger can't be written: {error}")
                for write in writes:
                    _resolve(write.done, fault)
                return True
            return False
        self.counters = counters
        for write in writes:
            _resolve(write.done, None)
        return True

    async def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, beside the walk. Call it now and then."""

        def work() -> None:
            with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path, timeout=1.0)) as c:
                c.execute("PRAGMA wal_checkpoint(PASSIVE)")

        await asyncio.to_thread(work)

    def shut(self, limit_s: float, *, clean: bool = True) -> bool:
        """Write what waits and close; False when the disk did not answer in time.

        ``clean`` False: verdicts were told whose rows are missing, so the next start must leave numbers out.
        """
        if self._thread is None:
            return True
        self._clean = clean
        with contextlib.suppress(RuntimeError):  # told so twice
            self._readers.submit(self._end_reading)
        self._readers.shutdown(wait=False)
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=limit_s)
        self._thread.join(limit_s)
        return not self._thread.is_alive()


def _resolve(done: asyncio.Future[Any], fault: Exception | None) -> None:
    def settle() -> None:
        if done.done():
            return
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        done.get_loop().call_soon_threadsafe(settle)


def _part_row(part: Part) -> tuple[Any, ...]:
    t = part.trigger
    return (
        part.seq, part.boot, t.part_id, t.cmd_id, part.attempt, t.source, part.recipe, part.rev, part.recipe_sha,
        t.received_utc, t.deadline_ms, part.deadline_ms, int(part.sim),
    )  # fmt: skip


def _insert_part(connection: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    connection.execute(
        "INSERT INTO part(seq, boot, part_id, cmd_id, attempt, source, recipe, rev, recipe_sha, received_utc,"
        " asked_deadline_ms, deadline_ms, sim) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
        row,
    )
    _count(connection, "total", 1)


def _count(connection: sqlite3.Connection, name: str, step: int) -> None:
    connection.execute(
        "INSERT INTO counter VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = value + excluded.value", (name, step)
    )


def _prune(connection: sqlite3.Connection, keep: int) -> None:
    rows = connection.execute(
        "SELECT seq, outcome, late IS NOT NULL FROM part WHERE seq <= (SELECT max(seq) FROM part) - ?"
        " AND outcome IS NOT NULL AND seq NOT IN (SELECT seq FROM outbox) ORDER BY seq LIMIT ?",
        (keep, PRUNED_AT_ONCE),
    ).fetchall()
    for seq, outcome, late in rows:
        connection.execute("DELETE FROM part WHERE seq=?", (seq,))
        for name in ("total", outcome, *(("late",) if late else ())):
            _count(connection, PRUNED + name, 1)
    connection.execute("DELETE FROM alarm WHERE id <= (SELECT max(id) FROM alarm) - ?", (ALARM_NOTES_KEPT,))


def _meta(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return None if row is None else str(row[0])


_ROW = (
    "SELECT seq, part_id, cmd_id, attempt, recipe, rev, recipe_sha, received_utc, outcome, code, text, cls, t_ms,"
    " picture, late IS NOT NULL, verdict FROM part"
)


def _to_row(r: Sequence[Any]) -> Row:
    return Row(*(*r[:14], bool(r[14]), verdict_from_json(r[15]) if r[15] else None))


def _row(connection: sqlite3.Connection, seq: int) -> Row | None:
    found = connection.execute(f"{_ROW} WHERE seq=?", (seq,)).fetchone()
    return None if found is None else _to_row(found)


def _codes(connection: sqlite3.Connection, limit: int) -> list[tuple[int, str, int]]:
    sql = (
        "SELECT code, max(text), count(*) AS n FROM (SELECT code, text, outcome FROM part ORDER BY seq DESC LIMIT 1000)"
        " WHERE outcome = ? GROUP BY code ORDER BY n DESC, code LIMIT ?"
    )
    return [(r[0], r[1], r[2]) for r in connection.execute(sql, (Outcome.FAIL.value, limit))]


def _open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)


def read_only(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do ``work`` on the ledger without being able to change it; also while the station runs.

    Raises StorageFault when the file is missing, damaged or not a ledger.
    """
    if not path.is_file():
        raise StorageFault(f"there is no ledger {path}")
    try:
        with contextlib.closing(_open_read_only(path)) as connection:
            return work(connection)
    except (sqlite3.Error, ValueError) as error:  # ValueError: a verdict of some other software
        raise StorageFault(f"ledger {path} can't be read: {error}") from error


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
    return read_only(path, lambda c: [_to_row(r) for r in c.execute(sql, (*values, limit))])


def recount(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """(the counters as kept, the same counted from the rows): equal in honest books. Raises StorageFault."""

    def work(c: sqlite3.Connection) -> tuple[dict[str, int], dict[str, int]]:
        kept = dict(c.execute("SELECT name, value FROM counter WHERE value != 0").fetchall())
        counted = dict(c.execute("SELECT outcome, count(*) FROM part WHERE outcome IS NOT NULL GROUP BY outcome"))
        total = c.execute("SELECT count(*), count(late) FROM part").fetchone()
        counted |= {k: v for k, v in (("total", total[0]), ("late", total[1])) if v}
        for name in [n for n in kept if n.startswith(PRUNED)]:  # forgotten rows count on
            counted[name[len(PRUNED) :]] = counted.get(name[len(PRUNED) :], 0) + kept.pop(name)
        return kept, counted

    return read_only(path, work)


def alarm_log(path: Path, limit: int = 50) -> list[dict[str, str]]:
    """The newest alarm notes. Raises StorageFault."""

    def work(c: sqlite3.Connection) -> list[dict[str, str]]:
        rows = c.execute("SELECT utc, name, what, text FROM alarm ORDER BY id DESC LIMIT ?", (limit,))
        return [dict(zip(("utc", "name", "what", "text"), r, strict=True)) for r in rows]

    return read_only(path, work)
