"""The stored vectors (see ``vectors/README.md``) and how their descriptions become payloads.

``python -m tests.plc.sparkplug.stored`` writes the bytes that this code makes of every description, for npm to read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from inspector.plc.sparkplug.payload import DataType, Metric, Payload, encode

VECTORS = Path(__file__).parent / "vectors"
NOT_ENCODED = {"UInt32 as npm puts it", "data set", "template"}  # types that are read over, or refused


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return vectors


def described(payload: dict[str, Any]) -> Payload:
    """A description of ``vectors/*.json`` as a payload. 64-bit integers, bytes and floats are text in it."""
    body = payload.get("body")
    return Payload(
        _integer(payload.get("timestamp")),
        tuple(_metric(metric) for metric in payload["metrics"]),
        _integer(payload.get("seq")),
        payload.get("uuid"),
        None if body is None else bytes.fromhex(body),
    )


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)


def _metric(metric: dict[str, Any]) -> Metric:
    name = metric["type"].upper()
    value = metric.get("value")
    kind = DataType[name] if name in DataType.__members__ else {"DATASET": 16, "TEMPLATE": 19}[name]
    if kind in (DataType.INT64, DataType.UINT64, DataType.DATETIME) and value is not None:
        value = int(value)
    elif kind in (DataType.FLOAT, DataType.DOUBLE) and value is not None:
        value = float(value)
    elif kind in (DataType.BYTES, DataType.FILE) and value is not None:
        value = bytes.fromhex(value)
    elif kind not in list(DataType):
        value = None
    return Metric(
        metric.get("name"), value, kind, _integer(metric.get("alias")), _integer(metric.get("timestamp")),
        bool(metric.get("isHistorical")), bool(metric.get("isTransient")),
        "value" in metric and metric["value"] is None,
    )  # fmt: skip


def ours() -> dict[str, bytes]:
    """What this code makes of npm's descriptions."""
    return {
        vector["name"]: encode(described(vector["payload"]))
        for vector in load("npm.json")
        if vector["name"] not in NOT_ENCODED
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps([{"name": name, "hex": data.hex()} for name, data in ours().items()]))
