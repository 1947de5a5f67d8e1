"""One thread writes; what waits at the same time is committed together."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspector.station.ledger.opening import is_damage, mark_suspect
from inspector.station.ledger.reserve import Reserve
from inspector.station.ledger.rows import StorageFault

QUEUE_BOUND = 1000
BATCH = 64


@dataclass
class Write:
    """Something to be written; ``cancelled`` by whoever stopped waiting before it was begun."""

    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    cancelled: bool = False


class Writer:
    """See the module's text."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self._path, self._reserve = path, reserve
        self.queue: queue.Queue[Write | None] = queue.Queue(QUEUE_BOUND)
        self._thread: threading.Thread | None = None
        self._clean = True
        self._told_below = 0  # as on disk
        self.told_below = 0  # parts with a smaller seq have been told and the books say the same
        self.counters: dict[str, int] = {}
        self.drops = 0

    def start(self, connection: sqlite3.Connection) -> None:
        """Write through ``connection`` from now on, which is the writer's alone. Raises sqlite3.Error."""
        self.counters = dict(connection.execute("SELECT name, value FROM counter").fetchall())
        self._thread = threading.Thread(target=self._run, args=(connection,), name="ledger", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Started, and not shut yet."""
        return self._thread is not None and self._thread.is_alive()

    async def write(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Do ``work`` in a transaction; on disk when this returns. Raises StorageFault.

        Cancelled before the writer came to it, it is not done at all.
        """
        write = Write(work, asyncio.get_running_loop().create_future())
        try:
            self.queue.put_nowait(write)
        except queue.Full:
            self.drops += 1
            raise StorageFault(f"{QUEUE_BOUND} writes wait for the disk: the ledger can't take another") from None
        try:
            await write.done
        except asyncio.CancelledError:
            write.cancelled = True
            raise

    def _run(self, connection: sqlite3.Connection) -> None:
        while True:
            first = self.queue.get()
            batch = [first]
            while len(batch) < BATCH and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            writes = [w for w in batch if w is not None and not w.cancelled]
            if writes and not self.commit(connection, writes):
                for write in writes:  # one of them may be the bad one
                    self.commit(connection, [write], last=True)
            if None in batch:
                with contextlib.suppress(sqlite3.Error):
                    if self._clean:
                        connection.execute("INSERT OR REPLACE INTO meta VALUES('clean', '1')")
                    connection.execute("PRAGMA busy_timeout=100")  # somebody reads: the next start can fold it, too
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
                return

    def commit(self, connection: sqlite3.Connection, writes: list[Write], *, last: bool = False) -> bool:
        """Commit them together and tell who waits. False: they failed together and may be tried one by one."""
        told_below = self.told_below  # taken now: what the writes themselves are about is not below it
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write.work(connection)
            if told_below != self._told_below:
                connection.execute("INSERT OR REPLACE INTO meta VALUES('told_below', ?)", (str(told_below),))
            counters = dict(connection.execute("SELECT name, value FROM counter").fetchall())
            connection.execute("COMMIT")
        except Exception as error:  # whatever it is, the waiting part must hear of it
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if self._reserve.full(error) and self._reserve.spend():
                return self.commit(connection, writes, last=last)
            if is_damage(error):
                mark_suspect(self._path, str(error))
            if last or len(writes) == 1:
                fault = StorageFault(f"the ledger can't be written: {error}")
                for write in writes:
                    _resolve(write.done, fault)
                return True
            return False
        self.counters, self._told_below = counters, told_below
        for write in writes:
            _resolve(write.done, None)
        return True

    def shut(self, limit_s: float, *, clean: bool) -> bool:
        """Write what waits and close; False when the disk did not answer in time."""
        if self._thread is None:
            return True
        self._clean = clean
        with contextlib.suppress(queue.Full):
            self.queue.put(None, timeout=limit_s)
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
