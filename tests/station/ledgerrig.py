"""Ledgers for tests: opened and shut, filled, and the one that 0.1.0 wrote."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from inspector.parts import Check, CheckOutcome, Outcome, Part, Verdict
from inspector.station.ledger import Ledger
from tests.station.test_ledger import TAG, trigger

SCHEMA_1 = Path(__file__).parent / "ledgers" / "schema_1.sql"


@contextlib.contextmanager
def opened(path: Path, boot: str = "0001", limit_s: float = 5.0) -> Iterator[Ledger]:
    ledger = Ledger(path, station="cell1", boot=boot, sim=False)
    ledger.open()
    try:
        yield ledger
    finally:
        assert ledger.shut(limit_s)


def released(path: Path) -> None:
    """The file that 0.1.0 left: 10 parts of 12, two of them open, one with a late word, records that wait."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA_1.read_text("utf-8"))
        connection.execute("PRAGMA journal_mode=WAL")


def measured(part: Part) -> Verdict:
    """A FAIL with a measured check."""
    check = Check("width", CheckOutcome.FAIL, 1001, "Too wide", 12.4, "mm", 11.5, 11.0, 12.0)
    return Verdict(part, Outcome.FAIL, 1001, "Too wide", checks=(check,), stages_us={"judged": 12300}, score=0.4)


def golden(ledger: Ledger, part_id: str = "G") -> Part:
    return ledger.begin(replace(trigger(part_id), golden="PASS"), TAG)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
