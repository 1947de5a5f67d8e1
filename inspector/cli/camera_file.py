"""Camera files as text: whole ones with units and ranges to read, and one with a few changes for a single visit."""

from __future__ import annotations

import contextlib
import json
import math
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from inspector.acquire.features import Value, split
from inspector.acquire.visit import Feature, Visit
from inspector.cli.camera_base import Trouble
from inspector.config import load_camera_file
from inspector.yamlfile import FileError

SetOption = Annotated[
    Optional[list[str]],  # noqa: UP007,UP045 - typer reads this on Python 3.10 too
    typer.Option("--set", metavar="FEATURE=VALUE", help="Otherwise than the camera file; may be given several times."),
]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # to one YAML reader or another no texts
_CHANGE = re.compile(r"([A-Za-z]\w*(?:\[[^\]]*\])?)=(.+)", re.DOTALL)
_LONGEST = 120
_INDENT = "  "


@contextlib.contextmanager
def changed(visit: Visit, changes: Sequence[str] | None) -> Iterator[Visit]:
    """The visit with ``Feature=Value`` changes to its camera file, which stays as it is. Raises Trouble, FileError."""
    if not changes:
        yield visit
        return
    found = [_CHANGE.fullmatch(change) for change in changes]
    wrong = [change for change, match in zip(changes, found, strict=True) if match is None]
    if wrong:
        raise Trouble(f"--set {wrong[0]}: allowed is Feature=Value or Feature[Selector=Entry]=Value")
    file = load_camera_file(Path(visit.camera_file))
    with tempfile.TemporaryDirectory(prefix="inspector-set-") as folder:
        path = Path(folder) / "set.yaml"
        path.write_text("features:\n" + "".join(f"  {m[1]}: {m[2]}\n" for m in found if m), encoding="utf-8")
        try:
            asked = load_camera_file(path).features
        except FileError as error:
            raise Trouble("\n".join(f"--set {p.removeprefix(f'{path}:')}" for p in error.problems)) from None
        model = Feature("DeviceModelName", "", "RO", file.model, "", "", "") if file.model else None
        path.write_text(text_of([model] if model else [], {**file.features, **asked}), encoding="utf-8")
        yield replace(visit, camera_file=str(path))


def text_of(features: Sequence[Feature], values: Mapping[str, Value], serial: str = "") -> str:
    """A camera file: categories as headings, unit and range behind each value. It reads back as ``values``."""
    by_name = {feature.name: feature for feature in features}
    model = by_name["DeviceModelName"].value if "DeviceModelName" in by_name else ""
    lines = [f"# All settings of {_one_line(model) or 'camera'} {_one_line(serial)}".rstrip() + "."]
    lines.append("# `inspector camera apply` sets them again; the station takes this file as `features:`.")
    lines += [f"model: {scalar(model)}"] if model else []
    lines.append("features:")
    groups: dict[str, list[str]] = {}
    for key in values:
        feature = by_name.get(split(key)[0])
        groups.setdefault(feature.category if feature else "", []).append(key)
    category = ""
    for key, value in values.items():
        feature = by_name.get(split(key)[0])
        if feature is not None and feature.category != category:
            category = feature.category
            lines.append(f"{_INDENT}# --- {_one_line(category)}")
        entry = f"{_INDENT}{key}: {scalar(value)}"
        comment = _comment(feature) if feature is not None else ""
        width = max(len(f"{_INDENT}{k}: {scalar(values[k])}") for k in groups[feature.category if feature else ""])
        if not comment:
            lines.append(entry)
        elif width + len(comment) + 4 <= _LONGEST:
            lines.append(f"{entry:<{width}}  # {comment}")
        else:
            lines += textwrap.wrap(comment, _LONGEST, initial_indent=f"{_INDENT}# ", subsequent_indent=f"{_INDENT}# ")
            lines.append(entry)
    return "\n".join(lines) + "\n"


def _comment(feature: Feature) -> str:
    allowed = "" if feature.allowed == "true, false" else feature.allowed
    return _one_line(", ".join(filter(None, (feature.unit, allowed))))


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def scalar(value: Value) -> str:
    """A value as YAML 1.2 reads it back: texts that could be anything else are quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    if isinstance(value, int):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
