"""Reads a recipe's text into a :class:`~inspector.recipe.model.Spec` and reports every fault at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from inspector.limits import Amount, Limits
from inspector.recipe.model import SECTION_NAMES, Head, Spec
from inspector.recipe.registry import tools
from inspector.tool import CompareTool, DefectsTool, LocateTool, MeasureTool, ReadTool, Reject, Tool
from inspector.yamlfile import FileError, YamlFile

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_UNITS = {"angle": ("deg",), "share": ("%",), "grey": ("grey",), "count": ("count",)}


def read_spec(path: Path) -> tuple[Spec | None, YamlFile, list[str]]:
    """The recipe in ``path``, its text, and every problem found; no Spec when its head is unusable.

    Raises FileError only for a file that is no YAML at all.
    """
    file = YamlFile.read(path)
    problems: list[str] = []
    head: Head | None = None
    try:
        head = Head.model_validate(file.data)
    except ValidationError as error:
        problems += file.error(error).problems
    steps = dict(_steps(file, problems))
    if not problems and not any(tool.section != "prepare" for tool in steps.values()):
        problems.append(file.problem([], f"no check in it; allowed sections: {', '.join(SECTION_NAMES)}"))
    problems += _codes(file, steps, head)
    if head is None:
        return None, file, problems
    spec = Spec(path, head, steps)
    problems += _references(file, spec)
    problems += _units(file, spec)
    return spec, file, problems


def _steps(file: YamlFile, problems: list[str]) -> Iterator[tuple[str, Tool]]:
    seen: dict[str, str] = {}
    for section in SECTION_NAMES:
        steps = file.data.get(section) or {}
        if not isinstance(steps, dict):
            continue  # Head says so
        known = tools(section)
        for name, keys in steps.items():
            where = (section, name)
            if not _NAME.fullmatch(name):
                problems.append(file.problem(where, f"found {name!r}, allowed: a-z, 0-9 and _, at most 32"))
            elif name in seen:
                problems.append(file.problem(where, f"{seen[name]} has a step {name!r} too; allowed: other names"))
            elif not isinstance(keys, dict):
                problems.append(file.problem(where, f"found {keys!r}, allowed: a step, with its tool"))
            elif "tool" not in keys:
                problems.append(file.problem(where, f"tool: missing, allowed: {', '.join(known)}"))
            elif keys["tool"] not in known:
                problems.append(file.problem([*where, "tool"], f"found {keys['tool']!r}, allowed: {', '.join(known)}"))
            else:
                seen[name] = section
                try:
                    yield name, known[keys["tool"]].model_validate(keys)
                except ValidationError as error:
                    problems += file.error(error, where).problems


def fails(tool: Tool) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """Every reject code of a step: the key it stands under, the code, its words."""
    if isinstance(tool, LocateTool | MeasureTool | ReadTool | CompareTool):
        yield ("fail",), tool.fail.code, tool.fail.text
    if isinstance(tool, DefectsTool):
        for label, reject in tool.reject.items():
            if isinstance(reject, Reject):
                yield ("reject", label, "fail"), reject.fail.code, reject.fail.text


def _codes(file: YamlFile, steps: dict[str, Tool], head: Head | None) -> list[str]:
    problems = []
    used: dict[int, str] = {}
    for name, tool in steps.items():
        for key, code, _ in fails(tool):
            if code in used:
                text = f"found {code}, already used by {used[code]}; allowed: each code once"
                problems.append(file.problem([tool.section, name, *key], text))
            used.setdefault(code, name)
    if head is not None:
        for n, code in enumerate(head.verdict.first):
            if code not in used:
                codes = ", ".join(map(str, sorted(used))) or "none"
                problems.append(file.problem(["verdict", "first", n], f"found {code}, allowed: {codes}"))
    return problems


def _references(file: YamlFile, spec: Spec) -> list[str]:
    problems = []
    names = list(spec.steps)
    written = {name for section in SECTION_NAMES for name in (file.data.get(section) or {})}
    cameras = list(spec.head.cameras)
    for index, (name, tool) in enumerate(spec.steps.items()):
        where = (tool.section, name)
        if tool.camera is not None and tool.camera not in cameras:
            allowed = ", ".join(cameras) or "no camera key, as the recipe names no cameras"
            problems.append(file.problem([*where, "camera"], f"found {tool.camera!r}, allowed: {allowed}"))
        elif tool.camera is None and len(cameras) > 1:
            problems.append(file.problem(where, f"camera: missing, allowed: {', '.join(cameras)}"))
        for key, target, sections in tool.references():
            fits = [n for n in names[:index] if spec.steps[n].section in sections]
            if target in fits:
                other = spec.steps[target]
                if spec.camera_of(other) != spec.camera_of(tool):
                    text = f"found {target!r}, which looks through another camera ({spec.camera_of(other)})"
                    problems.append(file.problem([*where, key], text))
                continue
            if target in written and target not in names:
                continue  # it has its own problem already
            close = difflib.get_close_matches(target, fits, 1)
            why = "which is not an earlier step" if target in names else "which is no step"
            text = f"found {target!r}, {why} of {' or '.join(sections)}; allowed: {', '.join(fits) or 'none'}"
            problems.append(file.problem([*where, key], text + (f" (did you mean {close[0]}?)" if close else "")))
    return problems


def _units(file: YamlFile, spec: Spec) -> list[str]:
    problems = []
    for name, tool in spec.steps.items():
        calibrated = spec.calibration_of(spec.camera_of(tool)) is not None
        length, area = ("mm", "mm2") if calibrated else ("px", "px2")
        for where, value in _values(tool):
            if isinstance(value, Limits):
                allowed = _UNITS.get(tool.measures, (length,)) if isinstance(tool, MeasureTool) else (value.unit,)
            elif value.unit in ("mm", "px"):
                allowed = (length,)
            elif value.unit in ("mm2", "px2"):
                allowed = (area,)
            else:
                continue
            if value.unit in allowed:
                continue
            found = f"found {value.text!r}"
            text = f"{found}{'' if value.unit else ' without a unit'}, allowed: {allowed[0]}"
            if value.unit in ("mm", "mm2") and not calibrated:
                text = f"{found}, but the recipe has no calibration; allowed: {allowed[0]}, or a calibration"
            problems.append(file.problem([tool.section, name, *where], text))
    return problems


def _values(model: BaseModel, where: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], Limits | Amount]]:
    """Every limit and amount in a step that the recipe states, with its path."""
    for key in model.model_fields_set:
        yield from _inside(getattr(model, key), (*where, key))


def _inside(value: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Limits | Amount]]:
    if isinstance(value, Limits | Amount):
        yield where, value
    elif isinstance(value, BaseModel):
        yield from _values(value, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _inside(inner, (*where, str(key)))


__all__ = ["FileError", "fails", "read_spec"]
