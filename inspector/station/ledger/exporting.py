"""The books for other programs: CSV or Parquet, a few rows at a time, also while the station writes."""

from __future__ import annotations

import contextlib
import csv
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inspector.station.ledger.reading import read_only

AT_ONCE = 2000  # rows read in one piece: nobody's snapshot is held any longer


class ExportError(Exception):
    """The export can't be made; one sentence."""


@dataclass(frozen=True)
class Column:
    """A column of an export: its name with its unit, what to select, and its type."""

    name: str
    kind: str  # text, int, float, bool
    sql: str = ""  # the name itself when empty


@dataclass(frozen=True)
class Table:
    """What can be exported."""

    columns: tuple[Column, ...]
    source: str
    key: tuple[str, ...]  # unique and rising
    utc: str  # what ``since`` and ``until`` are about


def _columns(kind: str, names: str, **sql: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, sql.get(name, "")) for name in names.split())


TABLES = {
    "parts": Table(
        (
            *_columns("int", "seq"),
            *_columns("text", "part_id cmd_id"),
            *_columns("int", "attempt"),
            *_columns("text", "outcome"),
            *_columns("int", "code"),
            *_columns("text", "text cls"),
            *_columns("float", "score threshold", score="json_extract(verdict, '$.score')",
                      threshold="json_extract(verdict, '$.thr')"),
            *_columns("int", "t_ms deadline_ms asked_deadline_ms"),
            *_columns("text", "received_utc captured_utc closed_utc",
                      captured_utc="json_extract(verdict, '$.captured_utc')"),
            *_columns("int", "recipe rev"),
            *_columns("text", "recipe_sha config boot source"),
            *_columns("bool", "sim"),
            *_columns("text", "golden golden_found late_outcome", golden_found="json_extract(found, '$.outcome')",
                      late_outcome="json_extract(late, '$.outcome')"),
            *_columns("int", "late_t_ms"),
            *_columns("text", "picture"),
        ),
        "part", ("seq",), "received_utc",
    ),
    "checks": Table(
        (
            *_columns("int", "seq n", seq='"check".seq', n='"check".n'),
            *_columns("text", "part_id received_utc step outcome", outcome='"check".outcome'),
            *_columns("int", "code", code='"check".code'),
            *_columns("float", "value"),
            *_columns("text", "unit"),  # of value, nominal, lower and upper
            *_columns("float", "nominal lower upper"),
            *_columns("text", "text", text='"check".text'),
        ),
        '"check" JOIN part ON part.seq = "check".seq', ('"check".seq', '"check".n'), "received_utc",
    ),
    "alarms": Table((*_columns("int", "id"), *_columns("text", "utc name what text")), "alarm", ("id",), "utc"),
    "changes": Table(
        (*_columns("int", "n"), *_columns("text", "utc who what old new previous digest")), "audit", ("n",), "utc"
    ),
}  # fmt: skip


class Sink(Protocol):
    """A file being written."""

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """More rows. Raises OSError."""
        ...

    def close(self) -> None:
        """That was all. Raises OSError."""
        ...


class CsvSink:
    """RFC 4180: UTF-8, a header line, CRLF, quotes where needed; an empty field is one that is not known."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\r\n")
        self._writer.writerow([c.name for c in columns])
        self._bools = [i for i, c in enumerate(columns) if c.kind == "bool"]

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """More rows."""
        for row in rows:
            fields = list(row)
            for i in self._bools:
                fields[i] = "true" if fields[i] else "false"
            self._writer.writerow(fields)

    def close(self) -> None:
        """That was all."""
        self._file.close()


def _parquet(path: Path, columns: Sequence[Column]) -> Sink:
    try:
        from inspector.station.ledger.parquet import ParquetSink
    except ImportError as error:
        raise ExportError(f"Parquet needs the package pyarrow ({error}): pip install 'inspector[export]'") from None
    return ParquetSink(path, columns)


FORMATS: dict[str, Callable[[Path, Sequence[Column]], Sink]] = {"csv": CsvSink, "parquet": _parquet}


def export(path: Path, out: Path, *, what: str = "parts", form: str = "csv", since: str = "", until: str = "") -> int:
    """Write ``out`` under a temporary name and rename it when it is whole; returns how many rows it has.

    ``since`` and ``until``: UTC as the books write it, the first included, the second not; "" for no limit.
    Raises StorageFault, ExportError.
    """
    table = TABLES[what]
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    count = 0
    try:
        try:
            with contextlib.closing(FORMATS[form](unfinished, table.columns)) as sink:
                for rows in _pieces(path, table, since, until):
                    sink.add(rows)
                    count += len(rows)
            unfinished.replace(out)
        except OSError as error:
            raise ExportError(f"{out}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count


def _pieces(path: Path, table: Table, since: str, until: str) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in the order of their key, some at a time; each piece is a read of its own. Raises StorageFault."""
    key = ", ".join(table.key)
    names = ", ".join(c.sql or c.name for c in table.columns)
    where = [f"({key}) > ({', '.join('?' * len(table.key))})"]
    limits = [value for value in (since, until) if value]
    where += [f"{table.utc} >= ?"] * bool(since) + [f"{table.utc} < ?"] * bool(until)
    sql = f"SELECT {key}, {names} FROM {table.source} WHERE {' AND '.join(where)} ORDER BY {key} LIMIT {AT_ONCE}"
    after: Sequence[Any] = [-1] * len(table.key)
    while True:
        values = (*after, *limits)

        def work(c: sqlite3.Connection, values: Sequence[Any] = values) -> list[tuple[Any, ...]]:
            return c.execute(sql, values).fetchall()

        rows = read_only(path, work)
        yield [row[len(table.key) :] for row in rows]
        if len(rows) < AT_ONCE:
            return
        after = rows[-1][: len(table.key)]
