"""Whatever is done to the books, in whatever order and wherever it ends: the counters equal a recount."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.parts import Outcome, Part
from inspector.station.ledger import Ledger, StorageFault, recount, search, verify_audit
from inspector.station.ledger.writer import Write
from tests.station.ledgerrig import golden, measured
from tests.station.test_ledger import TAG, doubtful, failed, passed, trigger

OPERATIONS = st.sampled_from(
    [
        "begin",
        "golden",
        "accept",
        "pass",
        "fail",
        "doubt",
        "late",
        "found",
        "tell",
        "sent",
        "prune",
        "audit",
        "together",
    ]
)


class Books:
    """One life of a ledger: operations on any of its parts, then a clean end or a cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger(path, station="s", boot="0001", sim=False)
        self.ledger.open()
        self.parts: list[Part] = list(self.ledger.interrupted)

    async def do(self, operation: str, which: int) -> None:
        ledger = self.ledger
        if operation in ("begin", "golden") or not self.parts:
            new = golden(ledger) if operation == "golden" else ledger.begin(trigger(f"P{which % 3}"), TAG)
            self.parts.append(new)
            return
        part = self.parts[which % len(self.parts)]
        waiting = await ledger.outbox(0, 5) if operation == "sent" else []
        verdict = {"pass": passed, "fail": failed, "doubt": doubtful, "late": passed, "found": measured}.get(operation)
        if operation in ("pass", "fail", "doubt") and verdict is not None:
            await ledger.close(verdict(part), which)
        elif operation == "accept":
            await ledger.accept(part)
        elif operation == "late":
            await ledger.late(passed(part), which)
        elif operation == "found":
            await ledger.found(measured(part))
        elif operation == "tell":
            ledger.told_below(part.seq)
        elif operation == "sent":
            await ledger.outbox_done([w.id for w in waiting])
        elif operation == "prune":
            await ledger.prune(which % 5)
        elif operation == "audit":
            await ledger.audit("test", operation, str(which))
        else:  # one of them is refused: the others must not suffer
            await asyncio.gather(ledger.close(doubtful(part), 1), ledger.accept(part), return_exceptions=True)

    def end(self, *, killed: bool) -> None:
        """``killed``: in the middle of a transaction, the connection is gone and nothing is said at the end."""
        if killed:
            self.ledger._writer.queue.put(Write(_die, asyncio.get_running_loop().create_future()))
            self.ledger._writer._thread.join(5.0)  # type: ignore[union-attr]
        assert self.ledger.shut(5.0)


def _die(connection: sqlite3.Connection) -> None:
    """What a kill leaves: rows of a transaction that never ended, and a writer that is gone."""
    connection.execute("INSERT INTO counter VALUES('half', 1)")
    connection.execute("DELETE FROM part")
    connection.interrupt()
    connection.close()
    sys.exit()  # ends this thread alone


LIFE = st.tuples(st.booleans(), st.lists(st.tuples(OPERATIONS, st.integers(0, 40)), max_size=25))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is the kill
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(LIFE, min_size=1, max_size=3))
def test_counters_equal_a_recount(lives: list[tuple[bool, list[tuple[str, int]]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        told: dict[int, str] = {}
        for killed, operations in lives:
            asyncio.run(live(path, operations, told, killed=killed))
            kept, counted = recount(path)
            assert kept == counted
            assert verify_audit(path) == []


async def live(path: Path, operations: list[tuple[str, int]], told: dict[int, str], *, killed: bool) -> None:
    books = Books(path)
    highest = books.ledger.next_seq
    for row in search(path, limit=100):
        if row.seq in told:
            assert row.outcome == told[row.seq], "an outcome that was told has changed"
        assert row.seq < highest
    for operation, which in operations:
        try:
            await books.do(operation, which)
        except StorageFault:
            assert operation in ("accept", "pass", "fail", "doubt")
    books.end(killed=killed)
    for row in search(path, limit=100):
        if row.outcome is not None:
            told[row.seq] = row.outcome
            assert row.golden == "" or row.outcome in tuple(Outcome)
