"""The station's own hand on its books."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from inspector.parts import Part, Trigger, Verdict
from inspector.station.ledger import audit, reading, writes
from inspector.station.ledger.commands import Commands, Content
from inspector.station.ledger.guard import SeqGuard
from inspector.station.ledger.opening import (
    WAL_KEPT_BYTES,
    LongCheck,
    checked_whole,
    is_damage,
    mark_suspect,
    open_ledger,
)
from inspector.station.ledger.reserve import Reserve
from inspector.station.ledger.rows import SEQ_MAX, Answer, RecipeTag, Row, StorageFault, Waiting, utc_now
from inspector.station.ledger.told import ToldFirst, put_right
from inspector.station.ledger.writer import Writer

T = TypeVar("T")
_log = logging.getLogger(__name__)

ATTEMPTS_REMEMBERED = 2000
READ_LIMIT_S = 5.0
MAX_AHEAD = 1000  # verdicts that may have been told before their rows were on disk when the power went
TOLD_FIRST_LIMIT_S = 0.02  # so long a part is told later for the sake of the books
IN_FORCE = "config"  # in meta: digest of the configuration that was in force last


class Ledger:
    """See the package's text. Used from the event loop's thread; ``open`` first."""

    def __init__(self, path: Path, *, station: str, boot: str, sim: bool) -> None:
        self._path = path
        self._station = station
        self._boot = boot
        self._sim = sim
        self._reserve = Reserve(path.with_suffix(".reserve"))
        self._writer = Writer(path, self._reserve)
        self._guard = SeqGuard(path.with_suffix(".seq"))
        self._told_first = ToldFirst(path.with_suffix(".told"))
        self._long_check = LongCheck(path)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="ledger reader")
        self._reading: sqlite3.Connection | None = None  # belongs to the reader's thread
        self._next_seq = 1
        self._commands = Commands()
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self.highest_seq = 0  # on disk when it was opened
        self.damaged: Path | None = None  # an unreadable ledger that was moved aside at start
        self.checked = True  # whole, at the start; a large file is still to be checked
        self.interrupted: list[Part] = []
        self.golden_unsure: list[tuple[int, str]] = []  # seq, expected: told before a crash took what was found
        self.given_up = 0  # records that will never leave: too many waited, or they can't be made of their rows

    # --- opening -------------------------------------------------------------------------------------
    def open(self) -> None:
        """Open or make the file, close what a crash left open, start the writer. Raises OSError, StorageFault.

        A damaged file is moved aside (``damaged`` tells) and inspection goes on with a new one.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except (StorageFault, OSError) as error:
            if not (self._reserve.full(error) and self._reserve.spend()):
                raise
            self._open()
        self._told_first.make()  # only now: what it had is in the ledger
        self._beside()

    def _open(self) -> None:
        connection, self.damaged = open_ledger(self._path)
        self.checked = checked_whole(self._path)
        self._guard = SeqGuard(self._path.with_suffix(".seq"))
        try:
            self._start_from(connection)
            self._writer.start(connection)
        except sqlite3.Error as error:
            connection.close()
            if is_damage(error) and self.damaged is None:  # where the short check of a large file does not look
                mark_suspect(self._path, str(error))
                self._open()
                return
            raise StorageFault(f"ledger {self._path} can't be written: {error}") from error

    def _start_from(self, connection: sqlite3.Connection) -> None:
        sql = "SELECT max(seq) FROM part"
        lost = self.damaged is not None or connection.execute(sql).fetchone()[0] is None  # perhaps with the highest
        wrong = put_right(connection, self._told_first.read())
        if wrong:
            _log.warning("the ledger now says what was told of %d parts, up to seq %d", len(wrong), wrong[-1])
        highest = connection.execute(sql).fetchone()[0]
        clean = reading.meta_of(connection, "clean") != "0"
        self.highest_seq = highest or 0
        self._next_seq = self.highest_seq + 1
        if highest is not None and not clean:
            # a NOT_INSPECTED may have been told before its row was on disk: no seq is used twice
            self._next_seq += MAX_AHEAD
        if lost:
            self._next_seq = max(self._next_seq, self._guard.said + 1)
        if self._next_seq > SEQ_MAX:
            self._next_seq = 1
        self._commands = Commands()
        self._commands.load(connection)
        attempts = connection.execute(
            "SELECT part_id, max(attempt) FROM part WHERE seq > ? GROUP BY +part_id",
            (self.highest_seq - ATTEMPTS_REMEMBERED,),
        )
        self._attempts.update(attempts.fetchall())
        open_rows = connection.execute("SELECT * FROM part WHERE outcome IS NULL ORDER BY seq").fetchall()
        names = [d[1] for d in connection.execute("PRAGMA table_info(part)")]
        self.interrupted = [self._part_of(dict(zip(names, row, strict=True))) for row in open_rows]
        sql = "SELECT seq, golden FROM part WHERE seq > ? AND golden != '' AND outcome IS NOT NULL AND found IS NULL"
        unsure = connection.execute(f"{sql} ORDER BY seq", (self.highest_seq - ATTEMPTS_REMEMBERED,))
        self.golden_unsure = [(int(seq), str(golden)) for seq, golden in unsure]
        self.told_below(self._next_seq)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO meta VALUES('clean', '0')")
        connection.execute("COMMIT")
        _log.info("audit: %d rows, the last is %s", *audit.head_of(connection))

    def _part_of(self, row: dict[str, Any]) -> Part:
        trigger = Trigger(
            row["part_id"], row["cmd_id"], 0, row["received_utc"], row["source"], row["asked_deadline_ms"],
            golden=row["golden"],
        )  # fmt: skip
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
            config=row["config"],
        )

    # --- the walk of a part --------------------------------------------------------------------------
    @property
    def next_seq(self) -> int:
        """The number of the next part."""
        return self._next_seq

    def known(self, cmd_id: str) -> tuple[int, Content] | None:
        """(seq, (part_id, deadline_ms)) of a trigger command that was taken before, None for a new one."""
        return self._commands.trigger(cmd_id) if cmd_id else None

    def begin(self, trigger: Trigger, recipe: RecipeTag) -> Part:
        """Number a trigger; nothing is on disk yet."""
        seq = self._next_seq
        self._next_seq = seq + 1 if seq < SEQ_MAX else 1
        # a refused trigger may have no readable part_id: two of them are not the same part
        attempt = self._attempts.get(trigger.part_id, 0) + 1 if trigger.part_id else 1
        self._attempts[trigger.part_id] = attempt
        self._attempts.move_to_end(trigger.part_id)
        if len(self._attempts) > ATTEMPTS_REMEMBERED:
            self._attempts.popitem(last=False)
        if trigger.cmd_id:
            self._commands.taken(trigger.cmd_id, seq, (trigger.part_id, trigger.deadline_ms))
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
        values = writes.part_values(part)
        await self._write(lambda c: writes.insert_part(c, values))

    async def close(self, verdict: Verdict, t_ms: int) -> None:
        """Commit the verdict, its checks, its outbox row and the counters, all or nothing. Raises StorageFault.

        Cancelled before the writer came to it, it is not done at all; after that a second ``close`` of the same
        part replaces the first, as long as it makes it NOT_INSPECTED and it was not told yet (:meth:`told_below`).
        """
        await self._write(lambda c: self._close(c, verdict, t_ms))
        self._told_first.settled(verdict.part.seq)

    async def told_first(self, verdict: Verdict, t_ms: int) -> bool:
        """A NOT_INSPECTED is told now, whatever its row says: from here on no restart finds anything else in the books.

        True when that holds for a power cut, too; False when the disk is too slow for it. ``close`` it afterwards.
        """
        return await self._told_first.note(verdict, t_ms, TOLD_FIRST_LIMIT_S)

    def _close(self, connection: sqlite3.Connection, verdict: Verdict, t_ms: int) -> None:
        writes.close_part(connection, verdict, t_ms)

    def told_below(self, seq: int) -> None:
        """Parts with a smaller seq have been told and the books say the same: SQLite itself refuses to change them.

        It reaches the disk with the next commit.
        """
        self._writer.told_below = seq

    async def late(self, verdict: Verdict, t_ms: int) -> None:
        """A verdict that came after its part's deadline: kept beside the one that was told, never instead of it."""
        await self._write(lambda c: writes.late_word(c, verdict, t_ms))

    async def found(self, verdict: Verdict) -> None:
        """What was really found on a golden part; it is told as NOT_INSPECTED."""
        await self._write(lambda c: writes.golden_found(c, verdict))

    async def picture(self, seq: int, path: str) -> None:
        """Note where a part's picture was stored."""
        await self._write(lambda c: c.execute("UPDATE part SET picture=? WHERE seq=?", (path, seq)))

    async def alarm(self, name: str, what: str, text: str) -> None:
        """Note that an alarm came, was acknowledged or went."""
        row = (utc_now(), name, what, text)
        await self._write(lambda c: c.execute("INSERT INTO alarm(utc, name, what, text) VALUES(?,?,?,?)", row))

    # --- commands ------------------------------------------------------------------------------------
    def answered(self, cmd_id: str) -> Answer | None:
        """What a command other than a trigger was answered, also before a restart; None: it is new."""
        return self._commands.answer(cmd_id) if cmd_id else None

    def answers(self, name: str) -> list[tuple[str, Answer]]:
        """(cmd_id, last answer) of all remembered commands of this name, oldest first."""
        return self._commands.answers(name)

    async def remember(
        self, cmd_id: str, name: str, content: str, answer: bytes, change: tuple[str, str, str] | None = None
    ) -> None:
        """Keep a command's answer: at once in memory, then on disk. A later one replaces it. Raises StorageFault.

        ``change`` (who, from what, to what) goes into the audit in the same transaction; for a command without an id
        there is nothing else to keep.
        """
        if cmd_id:
            self._commands.answered(cmd_id, Answer(name, content, answer))

        def work(c: sqlite3.Connection) -> None:
            if cmd_id:
                writes.remember_answer(c, cmd_id, name, content, answer)
            heads.append(audit.append(c, change[0], name, change[1], change[2]) if change is not None else "")

        heads: list[str] = []
        await self._write(work)
        self._keep_head(heads[-1])  # nobody waits for it: the head in the ledger is there

    # --- who changed what ----------------------------------------------------------------------------
    async def audit(self, who: str, what: str, old: str = "", new: str = "") -> None:
        """Note at the end of the chain who changed what, from what to what. Raises StorageFault."""
        await self._audited(lambda c: audit.append(c, who, what, old, new))

    async def configuration(self, digest: str, content: str, who: str = "station") -> None:
        """A configuration is in force from now on: kept whole, and an audit row when it differs from the last.

        ``content`` is JSON text. Raises StorageFault.
        """

        def work(c: sqlite3.Connection) -> str:
            before = reading.meta_of(c, IN_FORCE) or ""
            if before == digest:
                return ""
            c.execute("INSERT OR IGNORE INTO configuration VALUES(?, ?, ?)", (digest, utc_now(), content))
            c.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (IN_FORCE, digest))
            return audit.append(c, who, "configuration", before, digest)

        await self._audited(work)

    async def _audited(self, work: Callable[[sqlite3.Connection], str]) -> None:
        heads: list[str] = []
        await self._write(lambda c: heads.append(work(c)))
        kept = self._keep_head(heads[-1])
        if kept is not None:
            await asyncio.wrap_future(kept)

    def _keep_head(self, head: str) -> Future[None] | None:
        """The head of the chain ("": it is as it was) into the file beside the ledger, by the reader's thread."""

        def work() -> None:
            with contextlib.suppress(OSError):
                audit.head_file(self._path).write_text(head + "\n")

        with contextlib.suppress(RuntimeError):  # shut meanwhile
            return self._readers.submit(work) if head else None
        return None

    # --- the outbox ----------------------------------------------------------------------------------
    async def outbox(self, after: int, limit: int) -> list[Waiting]:
        """Waiting records with an id above ``after``, oldest first. Raises StorageFault."""
        while True:
            found, unreadable = await self._read(lambda c: reading.waiting_records(c, after, limit))
            if unreadable:
                await self.outbox_give_up(unreadable)
            if found or not unreadable:
                return found

    async def outbox_give_up(self, ids: Sequence[int]) -> None:
        """No record can be made of these: the rows stay, the others go on."""
        _log.error("%d records can't be made of their rows; they are given up: outbox ids %s", len(ids), list(ids))
        self.given_up += len(ids)
        await self.outbox_done(ids)

    async def outbox_done(self, ids: Sequence[int]) -> None:
        """These records are the broker's now."""
        rows = [(i,) for i in ids]
        await self._write(lambda c: c.executemany("DELETE FROM outbox WHERE id=?", rows))

    async def prune(self, keep: int) -> None:
        """Forget the oldest closed parts beyond the newest ``keep``, a few at a time, none whose record still waits.

        More records than ``keep`` are not kept either: the oldest are given up, and ``given_up`` counts them.
        """

        def work(c: sqlite3.Connection) -> None:
            given_up.append(writes.prune(c, keep))

        given_up: list[int] = []
        await self._write(work)
        self.given_up += given_up[-1]

    async def outbox_depth(self) -> int:
        """How many records wait."""
        return await self._read(lambda c: int(c.execute("SELECT count(*) FROM outbox").fetchone()[0]))

    # --- reading and notes ---------------------------------------------------------------------------
    async def set_meta(self, key: str, value: str) -> None:
        """Remember a fact over restarts."""
        await self._write(lambda c: c.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value)))

    async def meta(self, key: str) -> str | None:
        """A fact that :meth:`set_meta` remembered."""
        return await self._read(lambda c: reading.meta_of(c, key))

    async def get(self, seq: int) -> Row | None:
        """One part, or None."""
        return await self._read(lambda c: reading.part_row(c, seq))

    async def rows_after(self, seq: int, limit: int) -> list[Row]:
        """Parts with a seq above ``seq``, oldest first, open ones too. Raises StorageFault."""
        return await self._read(lambda c: reading.rows_after(c, seq, limit))

    async def codes(self, limit: int) -> list[tuple[int, str, int]]:
        """Reject codes of the last 1,000 parts, most frequent first: (code, text, count)."""
        return await self._read(lambda c: reading.frequent_codes(c, limit))

    @property
    def counters(self) -> dict[str, int]:
        """As on disk: total, PASS, FAIL, NOT_INSPECTED, late, golden, and those of rows that were forgotten."""
        return self._writer.counters

    @property
    def depth(self) -> int:
        """Writes that wait."""
        return self._writer.queue.qsize()

    @property
    def drops(self) -> int:
        """Writes that were refused because too many waited."""
        return self._writer.drops + self._told_first.drops

    async def _write(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        await self._writer.write(work)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, work)
        except RuntimeError as error:  # a screen still asks while the station shuts down
            raise StorageFault(f"ledger {self._path} is closed") from error
        try:
            return await asyncio.wait_for(answer, READ_LIMIT_S)
        except asyncio.TimeoutError:
            raise StorageFault(f"ledger {self._path} can't be read: the disk does not answer") from None

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """In the reader's thread: one connection that stays open, made anew after any trouble."""
        try:
            if self._reading is None:
                self._reading = reading.open_read_only(self._path)
            return work(self._reading)
        except (sqlite3.Error, ValueError) as error:
            self._end_reading()
            raise StorageFault(f"ledger {self._path} can't be read: {error}") from error

    def _end_reading(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            connection.close()

    # --- beside the walk -----------------------------------------------------------------------------
    @property
    def checkpoint_due(self) -> bool:
        """The write-ahead log has grown, or the disk was full: fold it now."""
        return self._reserve.spent or self.wal_bytes > WAL_KEPT_BYTES

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log; beyond 16 MB somebody reads for so long that it can't begin again."""
        try:
            return Path(f"{self._path}-wal").stat().st_size
        except OSError:
            return 0

    @property
    def reserve_spent(self) -> bool:
        """The disk was full: result rows live on what was put by."""
        return self._reserve.spent

    async def checkpoint(self) -> None:
        """Fold the write-ahead log into the file, beside the walk. Call it now and then."""
        await asyncio.to_thread(self._fold)

    def _fold(self) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path, timeout=0.0)) as c:
            c.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if self.checkpoint_due:  # hardly anything is left to fold: the writer waits for a moment, or not at all
                c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._beside()

    def _beside(self) -> None:
        """What belongs beside the file: space put by, and the highest number."""
        self._reserve.make()
        if self._guard.behind(self._next_seq):
            with contextlib.suppress(OSError):  # a full disk takes it: it is written in place
                self._guard.keep(self._next_seq)

    async def check(self) -> str:
        """Check the whole file beside the walk; what is damaged, or "". It is moved aside at the next start then."""
        damage = await self._long_check.run()
        self.checked = True
        return damage

    def shut(self, limit_s: float, *, clean: bool = True) -> bool:
        """Write what waits and close; False when the disk did not answer in time.

        ``clean`` False: verdicts were told whose rows are missing, so the next start must leave numbers out.
        """
        self._long_check.stop()
        with contextlib.suppress(RuntimeError):  # told so twice
            self._readers.submit(self._end_reading)
        self._readers.shutdown(wait=False)
        self._told_first.shut()
        if self._writer.running:
            with contextlib.suppress(OSError):
                self._guard.keep(self._next_seq - 1, 0)
        return self._writer.shut(limit_s, clean=clean)
