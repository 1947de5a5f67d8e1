"""The twins and the Sparkplug payload, read by the simulator's own code from stored bytes."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tools.plc_simulator import compact, sparkplug

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "plc" / "golden"
VECTORS = ROOT / "tests" / "plc" / "sparkplug" / "vectors" / "npm.json"
SKIPPED = ("DataSet", "Template")
FLOATS = ("Float", "Double")
LONGS = ("Int64", "UInt64", "DateTime")


@pytest.mark.parametrize(
    ("name", "verdict", "code", "t_ms", "flags"),
    [
        ("pass", "PASS", 0, 48, 0),
        ("fail", "FAIL", 1210, 52, 0),
        ("not_inspected", "NOT_INSPECTED", 300, 300, 0),
        ("dup", "PASS", 0, 48, compact.DUP),
        ("attempt", "PASS", 0, 48, 8),
    ],
)
def test_the_twins_are_read_as_the_page_has_them(name: str, verdict: str, code: int, t_ms: int, flags: int) -> None:
    text = compact.read_text((GOLDEN / f"{name}.c.bin").read_bytes())
    binary = compact.read_binary((GOLDEN / f"{name}.b.bin").read_bytes())
    assert text == compact.Twin(4711, "A004711         ", verdict, code, t_ms, flags)
    assert binary == compact.Twin(4711, None, verdict, code, t_ms, flags)


def test_other_widths_and_a_nul_behind() -> None:
    for name, width in (("pass_24", 24), ("pass_32", 32), ("pass_nul", 16)):
        assert compact.read_text((GOLDEN / f"{name}.c.bin").read_bytes()).part_id == "A004711".ljust(width)
    assert compact.crc16(b"123456789") == 0x29B1


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"0000004711;A004711         ;P;0000;00048;000",
        b"0000004711;A004711         ;P;0000;00048;00000",
        b"000000471x;A004711         ;P;0000;00048;0000",
        b"0000004711,A004711         ;P;0000;00048;0000",
        b"0000004711;A004711         ;P;0000;00048;00zz",
        b"0" * 101,
    ],
)
def test_text_that_is_no_twin_is_refused(wrong: bytes) -> None:
    with pytest.raises(compact.Unreadable):
        compact.read_text(wrong)


def test_one_flipped_bit_spoils_a_binary_twin() -> None:
    right = (GOLDEN / "pass.b.bin").read_bytes()
    for bit in range(len(right) * 8):
        spoilt = bytearray(right)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(compact.Unreadable):
            compact.read_binary(bytes(spoilt))


def _meant(metric: dict[str, Any]) -> Any:
    value, kind = metric.get("value"), metric["type"]
    if value is None:
        return None
    if kind in LONGS:
        return int(value)
    if kind in FLOATS:
        return float(value)
    return bytes.fromhex(value) if kind in ("Bytes", "File") else value


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text(encoding="utf-8")), ids=lambda vector: vector["name"])
def test_what_npm_wrote_is_read_as_it_was_meant(vector: dict[str, Any]) -> None:
    read = sparkplug.read(bytes.fromhex(vector["hex"]))
    meant = vector["payload"]
    assert read.seq == (None if "seq" not in meant else int(meant["seq"]))
    assert read.timestamp_ms == int(meant["timestamp"]) and len(read.metrics) == len(meant["metrics"])
    for metric, wanted in zip(read.metrics, meant["metrics"], strict=True):
        assert metric.name == wanted.get("name", "")
        assert metric.alias == (int(wanted["alias"]) if "alias" in wanted else None)
        assert metric.historical == bool(wanted.get("isHistorical"))
        if wanted["type"] in SKIPPED:
            continue
        value = _meant(wanted)
        if value is None or value == value:
            assert metric.value == (pytest.approx(value) if wanted["type"] == "Float" else value)
        else:
            assert metric.value != metric.value


@pytest.mark.parametrize("data", [b"\x12\x05\x0a", b"\x08", b"\x0b", b"\x12\x03\x0a\x05a", b"\x10\x01", b"\xff" * 12])
def test_bytes_that_are_no_payload_are_refused(data: bytes) -> None:
    with pytest.raises(sparkplug.Malformed):
        sparkplug.read(data)


def test_the_judge_uses_no_code_of_the_station() -> None:
    """Nor does anything that it uses."""
    seen: set[Path] = set()
    waiting = sorted((ROOT / "tools" / "plc_simulator").glob("*.py"))
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                assert name.split(".")[0] not in ("inspector", "tests"), f"{file.name} imports {name}"
                place = ROOT / name.replace(".", "/")
                waiting += [found for found in (place.with_suffix(".py"), place / "__init__.py") if found.is_file()]
    assert len(seen) > 20
