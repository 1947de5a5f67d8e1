"""The stored vectors (see ``vectors/README.md``) and how their descriptions become payloads.

``python -m tests.plc.sparkplug.stored`` writes what this code makes of every description, and an edge node's
session, for npm to read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from inspector.plc.contract import PackState, StationState
from inspector.plc.sparkplug.node import EdgeNode, Result
from inspector.plc.sparkplug.orders import Order
from inspector.plc.sparkplug.payload import DataType, Metric, Payload, encode
from tests.plc.examples import failed

NOW_MS = 1_778_596_310_123
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


def session() -> dict[str, bytes]:
    """The messages of one edge node's session."""
    node = EdgeNode("plant", "press2", "top", properties={"Version": "0.1.0", "Serial": "ST-0042"})
    said = [node.will(NOW_MS)]
    said += node.connected(NOW_MS).publish
    said += node.result(Result.of(failed(), t_ms=52), now_ms=NOW_MS + 60).publish
    ready = StationState(PackState.EXECUTE, True, False, 7, 3, "3fa9", 4711, 0, 86400, config="5be1c04d")
    said += node.state(ready, now_ms=NOW_MS + 70).publish
    said += node.counters({"total": 1, "fail": 1}, now_ms=NOW_MS + 80).publish
    past = Result(4700, "A004700", 1, 0, 0.0, 48, 7, NOW_MS - 9_000, "5be1c04d")
    said += node.result(past, now_ms=NOW_MS + 90, historical=True).publish
    said += node.answer(Order("a1", "recipe", "7,3").answered("refused", 403, "no recipe"), now_ms=NOW_MS + 95).publish
    said += node.received(node.subscriptions[0][0], rebirth(), now_ms=NOW_MS + 100).publish
    said += node.stop(NOW_MS + 110).publish
    return {f"session {index}: {message.topic}": message.payload for index, message in enumerate(said)}


def rebirth(value: bool = True) -> bytes:
    """A host's NCMD."""
    return encode(Payload(NOW_MS, (Metric("Node Control/Rebirth", value, DataType.BOOLEAN, timestamp_ms=NOW_MS),)))


def ours() -> dict[str, bytes]:
    """What this code makes of npm's descriptions, and of an edge node's session."""
    return session() | {
        vector["name"]: encode(described(vector["payload"]))
        for vector in load("npm.json")
        if vector["name"] not in NOT_ENCODED
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps([{"name": name, "hex": data.hex()} for name, data in ours().items()]))
