"""Imports point one way, siblings never meet, and each vendor has one room. Read from the source, not by running it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "inspector"

BASE = {
    "parts", "codes", "wire", "yamlfile", "limits", "ring", "child", "config", "pixels", "picture", "overlay", "tool",
}  # fmt: skip
SECTIONS = {"prepare", "locate", "measure", "read", "compare", "defects"}
MACHINERY = {"infer", "calibrate"}
# who may import whom, beside itself; the base may import the base
MAY = {
    "cli": {"station", "plc", "acquire", "recipe", "archive", "tui", *MACHINERY, *BASE},
    "station": {"plc", *BASE},  # the others are its children, spoken to through wire
    "recipe": {*SECTIONS, *MACHINERY, *BASE},
    "teach": {*SECTIONS, *MACHINERY, *BASE},
    "plc": BASE,
    "acquire": BASE,
    "archive": BASE,
    **dict.fromkeys(SECTIONS, {*MACHINERY, *BASE}),
    **dict.fromkeys(MACHINERY, BASE),
    **dict.fromkeys(BASE, BASE),
    "tui": {"parts", "codes", "wire"},
    "__main__": {"cli"},
    "__init__": set(),
}
VENDORS = {
    "harvesters": {"acquire/genicam/"},
    "genicam": {"acquire/genicam/"},
    "tensorrt": {"infer/tensorrt.py"},
    "tensorrt_rtx": {"infer/tensorrt.py"},
    "pycuda": {"infer/tensorrt.py"},
    "onnxruntime": {"infer/onnx_cpu.py"},
    "paho": {"plc/mqtt.py"},
    "sqlite3": {"station/ledger/"},
    "pyarrow": {"station/ledger/parquet.py"},
    "textual": {"tui/"},
    "rich": {"tui/"},
}
# imports by a name made at run time: the command line, the tools' folders, two makes of one vendor
DYNAMIC = {"__main__.py", "recipe/registry.py", "infer/tensorrt.py"}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def room(path: str) -> str:
    """`station` of station/line.py, `parts` of parts.py."""
    return path.split("/")[0].removesuffix(".py")


def breaches(path: str, source: str) -> list[str]:
    """What is wrong with the imports of inspector/PATH."""
    tree = ast.parse(source)
    found = []
    for line, name in imported(tree):
        top, *rest = name.split(".")
        if top == "inspector" and rest and rest[0] != "__version__":
            if rest[0] != room(path) and rest[0] not in MAY[room(path)]:
                found.append(f"inspector/{path}:{line}: {room(path)} must not import {rest[0]}")
        elif top in VENDORS and not any(path.startswith(place) for place in VENDORS[top]):
            found.append(f"inspector/{path}:{line}: {top} belongs to {', '.join(VENDORS[top])} alone")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and path not in DYNAMIC:
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in ("import_module", "__import__"):
                found.append(f"inspector/{path}:{node.lineno}: {name} is for {', '.join(sorted(DYNAMIC))}")
    return found


def test_every_room_has_its_rule() -> None:
    assert {room(str(path.relative_to(PACKAGE))) for path in SOURCES} <= set(MAY)
    assert len(SOURCES) > 50


def test_imports_point_one_way() -> None:
    found = [b for path in SOURCES for b in breaches(str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("measure/caliper.py", "from inspector.locate import template"),
        ("measure/caliper.py", "from inspector import locate"),
        ("station/line.py", "import inspector.recipe.judge"),
        ("parts.py", "from inspector.station.line import Line"),
        ("tui/app.py", "def f():\n    from inspector.config import load_station"),
        ("plc/contract.py", "import paho.mqtt.client as mqtt"),
        ("recipe/judge.py", "import onnxruntime"),
        ("station/feed.py", "import sqlite3"),
        ("station/feed.py", "import importlib\nimportlib.import_module('cv2')"),
    ],
)
def test_a_breach_is_seen(path: str, source: str) -> None:
    assert len(breaches(path, source)) == 1


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        (
            "inspector.station.wiring",
            ("cv2", "harvesters", "genicam", "onnx", "onnxruntime", "tensorrt", "pycuda", "zxingcpp", "textual"),
        ),
        ("inspector.acquire.process", ("cv2", "onnxruntime", "tensorrt", "pycuda", "paho", "sqlite3", "textual")),
        ("inspector.recipe.process", ("harvesters", "genicam", "paho", "sqlite3", "textual", "uvicorn")),
        ("inspector.archive.process", ("harvesters", "genicam", "onnxruntime", "paho", "sqlite3", "textual")),
    ],
)
def test_a_process_loads_only_what_is_its_own(module: str, strangers: tuple[str, ...]) -> None:
    code = f"import sys, {module}\nprint(sorted(set({strangers!r}) & set(sys.modules)))"
    # measuring coverage loads modules of its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.stdout) == ("", "[]\n")


# --- PASS comes from one place ---------------------------------------------------------------------------
def pass_values(source: str) -> list[int]:
    """Lines on which Outcome.PASS is a value: not compared with, not a key of a table."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if _is_pass(node):
            parent = parents[node]
            if isinstance(parent, ast.Attribute):  # Outcome.PASS.value
                node, parent = parent, parents[parent]
            if isinstance(parent, ast.Tuple | ast.Set | ast.List):  # in (Outcome.PASS, ...)
                node, parent = parent, parents[parent]
            compared = isinstance(parent, ast.Compare)
            key = isinstance(parent, ast.Dict) and node in parent.keys
            if not compared and not key:
                found.append(node.lineno)
    return found


def _is_pass(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "PASS" and isinstance(node.value, ast.Name) and node.value.id == "Outcome"
    called = node.func if isinstance(node, ast.Call) else node.value if isinstance(node, ast.Subscript) else None
    if not isinstance(called, ast.Name) or called.id != "Outcome":
        return False
    given = node.args[0] if isinstance(node, ast.Call) else node.slice  # type: ignore[attr-defined]
    return isinstance(given, ast.Constant) and given.value == "PASS"


def test_only_the_decision_makes_a_pass() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in SOURCES
        if (lines := pass_values(path.read_text(encoding="utf-8")))
    }
    assert list(found) == ["recipe/decide.py"]
    assert len(found["recipe/decide.py"]) == 1


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x = Outcome.PASS", 1),
        ("f(outcome=Outcome.PASS)", 1),
        ("def f():\n    return Outcome.PASS if a else b", 1),
        ("x = Outcome('PASS')", 1),
        ("x = Outcome['PASS']", 1),
        ("x = {'a': Outcome.PASS}", 1),
        ("x = a is Outcome.PASS", 0),
        ("x = a in (Outcome.PASS, Outcome.FAIL)", 0),
        ("x = {Outcome.PASS: 1}", 0),
        ("x = CheckOutcome.PASS", 0),
    ],
)
def test_a_second_pass_is_seen(source: str, count: int) -> None:
    assert len(pass_values(source)) == count


def test_outcomes_are_read_back_only_where_verdicts_are() -> None:
    """Outcome(text) could make a PASS too: only what reads a verdict that was made before may do so."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Outcome":
                found.add(str(path.relative_to(PACKAGE)))
    assert found <= {"wire.py", "station/ledger.py", "tui/status.py"}, found
