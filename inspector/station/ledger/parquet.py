"""Parquet through pyarrow, the extra ``export``: the only file that knows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from inspector.station.ledger.exporting import Column

GROUP = 20_000  # rows that wait in memory to become one row group
_TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


class ParquetSink:
    """One file, row group by row group."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._schema = pa.schema([pa.field(c.name, _TYPES[c.kind]) for c in columns])
        self._bools = {i for i, c in enumerate(columns) if c.kind == "bool"}
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Sequence[Any]] = []

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """More rows."""
        self._rows += rows
        if len(self._rows) >= GROUP:
            self._write()

    def _write(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        arrays = [
            pa.array([bool(v) for v in values] if i in self._bools else values, type=field.type)
            for i, (values, field) in enumerate(zip(columns, self._schema, strict=True))
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        """That was all."""
        try:
            if self._rows:
                self._write()
        finally:
            self._writer.close()
