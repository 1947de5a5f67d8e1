"""Reads a recipe's text into a :class:`~inspector.recipe.model.Spec` and reports every fault at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from inspector.limits import Amount, Limits
from inspector.recipe.model import SECTION_NAMES, Head, Patch, Spec, deadline_ms
from inspector.recipe.registry import tools
from inspector.tool import OF_VIEWS, CompareTool, DefectsTool, LocateTool, MeasureTool, ReadTool, Reject, Tool
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
    problems += _views(file, spec)
    problems += _references(file, spec)
    problems += _patches(file, spec)
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


def _views(file: YamlFile, spec: Spec) -> list[str]:
    head, problems = spec.head, []
    if head.views and head.cameras:
        text = "found beside views; allowed: one of them, a view names its camera itself"
        problems.append(file.problem(["cameras"], text))
    if any(view.camera for view in head.views.values()):
        problems += [
            file.problem(["views", name], "camera: missing, allowed: a camera in every view, or in none")
            for name, view in head.views.items()
            if view.camera is None
        ]
    exposed_ms: dict[str | None, float] = {}
    for source in spec.sources.values():
        took_ms = (source.shot.exposure_us or 0.0) * source.shot.count / 1000
        exposed_ms[source.camera] = exposed_ms.get(source.camera, 0.0) + took_ms
    if (longest := max(exposed_ms.values())) >= deadline_ms(head.verdict.within):
        allowed = f"less than the {head.verdict.within.text} of verdict.within"
        text = f"exposures of {longest:g} ms in all, allowed: {allowed}"
        problems.append(file.problem(["views"], text))
    return problems


def _whose(file: YamlFile, spec: Spec, where: Sequence[str], keys: Tool | Patch, said: str | None) -> list[str]:
    """What is wrong with a ``view`` or ``camera`` key."""
    views, cameras = list(spec.head.views), list(spec.head.cameras)
    problems = []
    if keys.view is not None and keys.view not in views:
        allowed = ", ".join(views) or "no view key, as the recipe has no views"
        problems.append(file.problem([*where, "view"], f"found {keys.view!r}, allowed: {allowed}"))
    if keys.camera is not None and (views or keys.camera not in cameras):
        none = f"view: {', '.join(views)}" if views else "no camera key, as the recipe names no cameras"
        allowed = ", ".join(cameras if not views else ()) or none
        problems.append(file.problem([*where, "camera"], f"found {keys.camera!r}, allowed: {allowed}"))
    if not problems and said is None and len(spec.sources) > 1:
        kind = "view" if views else "camera"
        problems.append(file.problem(where, f"{kind}: missing, allowed: {', '.join(spec.sources)}"))
    return problems


def _references(file: YamlFile, spec: Spec) -> list[str]:
    problems = []
    names = list(spec.steps)
    written = {name for section in SECTION_NAMES for name in (file.data.get(section) or {})}
    for index, (name, tool) in enumerate(spec.steps.items()):
        where = (tool.section, name)
        problems += _whose(file, spec, where, tool, spec.said(tool))
        for key, target, sections in tool.references():
            if sections == OF_VIEWS:
                problems += _other_view(file, spec, (*where, key), tool, target)
                continue
            fits = [n for n in names[:index] if spec.steps[n].section in sections]
            if target in fits:
                problems += _same_source(file, spec, (*where, key), target, tool)
                continue
            if target in written and target not in names:
                continue  # it has its own problem already
            problems.append(file.problem([*where, key], _unknown(target, fits, names, sections)))
    return problems


def _unknown(target: str, fits: list[str], names: list[str], sections: Sequence[str]) -> str:
    close = difflib.get_close_matches(target, fits, 1)
    why = "which is not an earlier step" if target in names else "which is no step"
    text = f"found {target!r}, {why} of {' or '.join(sections)}; allowed: {', '.join(fits) or 'none'}"
    return text + (f" (did you mean {close[0]}?)" if close else "")


def _same_source(file: YamlFile, spec: Spec, where: Sequence[str], target: str, tool: Tool) -> list[str]:
    """A place found in one picture is no place in another: the part may have moved, the camera looks elsewhere."""
    theirs, ours = spec.source_of(spec.steps[target]), spec.source_of(tool)
    if theirs.name == ours.name:
        return []
    kind = f"view ({theirs.name})" if theirs.view else f"camera ({theirs.name})"
    return [file.problem(where, f"found {target!r}, which looks through another {kind}")]


def _other_view(file: YamlFile, spec: Spec, where: Sequence[str], tool: Tool, target: str) -> list[str]:
    views = spec.head.views
    if target not in views:
        allowed = ", ".join(views) or "views of the recipe, which has none"
        return [file.problem(where, f"found {target!r}, allowed: {allowed}")]
    ours = spec.source_of(tool)
    if views[target].camera == ours.camera:
        return []
    text = f"found {target!r}, which another camera takes ({views[target].camera}, not {ours.camera})"
    return [file.problem(where, text)]


def _patches(file: YamlFile, spec: Spec) -> list[str]:
    problems = []
    located = [name for name, tool in spec.steps.items() if tool.section == "locate"]
    for name, patch in (spec.head.health.patches if spec.head.health else {}).items():
        where = ("health", "patches", name)
        problems += _whose(file, spec, where, patch, spec.patch_said(patch))
        if patch.fixture is None:
            continue
        if patch.fixture not in located:
            problems.append(file.problem([*where, "fixture"], _unknown(patch.fixture, located, located, ("locate",))))
        elif spec.patch_source(patch).name != spec.source_of(spec.steps[patch.fixture]).name:
            theirs = spec.source_of(spec.steps[patch.fixture]).name
            text = f"found {patch.fixture!r}, which looks through another {'view' if spec.head.views else 'camera'}"
            problems.append(file.problem([*where, "fixture"], f"{text} ({theirs})"))
    return problems


def _units(file: YamlFile, spec: Spec) -> list[str]:
    problems = []
    for name, tool in spec.steps.items():
        calibrated = spec.source_of(tool).calibration is not None
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
