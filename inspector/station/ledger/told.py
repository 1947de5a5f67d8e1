"""What was told before the ledger had it: a small file beside the ledger, so that the books never say anything else.

At its deadline a part is told NOT_INSPECTED, whatever the disk does. Its row may be open then, or missing, or say
PASS, when a commit ended too late. So it is put down here before it is told; a station that dies before the row is
right puts it right at its next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inspector.parts import Outcome, Verdict
from inspector.station.ledger.writes import close_part
from inspector.wire import verdict_from_json, verdict_to_json

_log = logging.getLogger(__name__)

FILE_BYTES = 64 * 1024  # of blanks, written once: what goes into them needs no space; about 50 verdicts
BOUND = 200  # lines that wait for a disk that does not answer
LIMIT_BYTES = 4 * 1024 * 1024  # more than the line can owe the ledger
Told = tuple[Verdict, int]  # with its time from trigger to result, in ms


class ToldFirst:
    """One line a verdict, each with its checksum, written in place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # apart from each other: while a sync hangs, what is written outlives at least this process
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="ledger told")
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="ledger told sync")
        self._end = 0  # bytes in use; belongs to the writing thread
        self._tasks: set[asyncio.Task[bool]] = set()
        self._owed: set[int] = set()  # parts whose rows are not right yet
        self.drops = 0  # lines that were not written, as there were too many

    async def note(self, verdict: Verdict, t_ms: int, limit_s: float) -> bool:
        """Put it down; True when it is on disk, False when that failed or takes longer than ``limit_s``."""
        if len(self._tasks) >= BOUND:
            self.drops += 1
            return False
        self._owed.add(verdict.part.seq)
        rest = b"%d %s" % (t_ms, verdict_to_json(verdict))
        task = asyncio.create_task(self._put(b"%08x %s\n" % (zlib.crc32(rest), rest)), name="told first")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait([task], timeout=limit_s)
        return bool(done) and task.result()

    async def _put(self, line: bytes) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writing, self._write, line)
            await loop.run_in_executor(self._syncing, self._sync)
        except (OSError, RuntimeError) as error:  # RuntimeError: shut meanwhile
            _log.warning("%s: %s", self._path, error)
            return False
        return True

    def settled(self, seq: int) -> None:
        """The ledger says the same now."""
        if seq in self._owed:
            self._owed.discard(seq)
            if not self._owed:
                with contextlib.suppress(RuntimeError):  # shut meanwhile: the next start finds nothing to put right
                    self._writing.submit(self._blank)

    def read(self) -> list[Told]:
        """What was told first by the last run, oldest first. A line that a crash tore was not told."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            _log.error("%s: %s", self._path, error)
            return []
        found: list[Told] = []
        for line in lines:
            crc, _, rest = line.strip().partition(b" ")
            t_ms, _, verdict = rest.partition(b" ")
            with contextlib.suppress(ValueError):
                if int(crc, 16) == zlib.crc32(rest):
                    found.append((verdict_from_json(verdict), int(t_ms)))
        return [(verdict, t_ms) for verdict, t_ms in found if verdict.outcome is Outcome.NOT_INSPECTED]

    def make(self) -> None:
        """Begin with an empty file of full size; to be called before the first ``note``. Never raises."""
        try:
            new = not self._path.exists()
            if not new and self._path.read_bytes() == b" " * FILE_BYTES:
                return
            self._end = FILE_BYTES if new else max(FILE_BYTES, self._path.stat().st_size)
            self._blank()
            self._sync()
            if new:
                self._sync_folder()
        except OSError as error:  # a full disk, perhaps: then lines take space of their own
            _log.warning("%s: %s", self._path, error)
            self._end = 0

    def shut(self) -> None:
        """Wait for nothing; what is written is written."""
        self._writing.shutdown(wait=False)
        self._syncing.shutdown(wait=False)

    # --- in the threads ------------------------------------------------------------------------------
    def _write(self, line: bytes) -> None:
        if self._end + len(line) > LIMIT_BYTES:
            self.drops += 1
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        with self._opened() as descriptor:
            if os.pwrite(descriptor, line, self._end) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += len(line)

    def _blank(self) -> None:
        with self._opened() as descriptor:
            os.pwrite(descriptor, b" " * min(self._end, FILE_BYTES), 0)
            if self._end > FILE_BYTES:
                os.ftruncate(descriptor, FILE_BYTES)
        self._end = 0

    def _sync(self) -> None:
        with self._opened() as descriptor:
            os.fdatasync(descriptor)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def put_right(connection: sqlite3.Connection, told: Sequence[Told]) -> list[int]:
    """Have the ledger say what was told; returns the seqs of parts of which it did not. Raises sqlite3.Error."""
    wrong = [(verdict, t_ms) for verdict, t_ms in told if _differs(connection, verdict)]
    if not wrong:
        return []
    connection.execute("BEGIN IMMEDIATE")
    try:
        # it keeps what was told from being changed; what these rows say never was
        connection.execute("DELETE FROM meta WHERE key = 'told_below'")
        for verdict, t_ms in wrong:
            close_part(connection, verdict, t_ms)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return [verdict.part.seq for verdict, _ in wrong]


def _differs(connection: sqlite3.Connection, verdict: Verdict) -> bool:
    part = verdict.part
    row = connection.execute("SELECT boot, outcome, code FROM part WHERE seq=?", (part.seq,)).fetchone()
    if row is None:
        oldest = connection.execute("SELECT min(seq) FROM part").fetchone()[0]
        return oldest is None or part.seq > oldest  # an older one was forgotten since
    return row[0] == part.boot and tuple(row[1:]) != (verdict.outcome.value, verdict.code)
