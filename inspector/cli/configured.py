"""What a configuration in the books is made of, in few words, and what differs between two of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from inspector.station.ledger import Change

_DIGEST = re.compile("[0-9a-f]{64}")
_SAYS = "recipe.says."
_TWICE = tuple(f"{_SAYS}{name}" for name in ("recipe", "rev", "name"))  # said beside it, too
_SOFTWARE = ("inspector", "code", "python")  # the others follow


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, value) of everything in it; digests are shortened."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield name, text[:12] if _DIGEST.fullmatch(text) else text


def short(content: str) -> Iterator[tuple[str, str]]:
    """(name, words) of what people ask for first. ``content``: JSON text."""
    config = json.loads(content)
    recipe = config.get("recipe", {})
    yield "recipe", _recipe(recipe)
    models, files = dict(recipe.get("models", {})), dict(recipe.get("artefacts", {}))
    backend = f", run by {recipe['backend']}" if recipe.get("backend") else ""
    yield "models", _digests(models) + backend if models else "none"
    calibration = _calibrations(recipe.get("says", {}))
    calibrated = _digests({name: sha for name, sha in files.items() if name in calibration})
    yield "calibration", calibrated or ("none" if recipe.get("says") else "not known")
    software = config.get("software", {})
    ordered = {name: software[name] for name in (*_SOFTWARE, *sorted(software)) if name in software}
    yield "software", ", ".join(f"{name} {_word(value)}" for name, value in ordered.items())


def differences(change: Change) -> Iterator[str]:
    """What is another than before, old -> new, one line each. The recipe and its cameras: than when it last judged."""
    new, old = json.loads(change.config), json.loads(change.before) if change.before else {}
    if not old:
        yield from (f"{name}  {words}" for name, words in short(change.config))
        return
    recipe, before = new.get("recipe", {}), old.get("recipe", {})
    if recipe.get("number") != before.get("number"):
        yield f"recipe: {_recipe(before)} -> {_recipe(recipe)}"
        then = json.loads(change.recipe_before) if change.recipe_before else new
        old |= {name: then.get(name, {}) for name in ("recipe", "cameras")}  # it may look through other cameras
        if old["recipe"] != recipe:
            yield f"recipe {recipe.get('number')} is not what it was when it judged before:"
    yield from _between(old, new)


def _between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    was, now = dict(flat(old)), dict(flat(new))
    steps_were, steps_are = _steps(old), _steps(new)
    known = any(name.startswith(_SAYS) for name in was) and any(name.startswith(_SAYS) for name in now)
    told_whole = steps_are.keys() ^ steps_were.keys()
    for section, step in sorted(told_whole) if known else ():
        word, fields = ("new", steps_are) if (section, step) in steps_are else ("gone", steps_were)
        whole = {"tool": "", **fields[section, step]}  # that first
        words = ", ".join(f"{field} {value}" for field, value in flat(whole))
        yield f"{section} {step}: {word} ({words})"
    passed_over = [*_TWICE, *(f"{_SAYS}{section}.{step}." for section, step in told_whole)]
    if not known:
        passed_over.append(_SAYS[:-1])
    for name in dict.fromkeys((*now, *was)):
        if was.get(name) != now.get(name) and not name.startswith(tuple(passed_over)):
            yield f"{_label(name, steps_are)} {was.get(name, '-')} -> {now.get(name, '-')}"


def _steps(config: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """Steps of the recipe, by section and name."""
    says = config.get("recipe", {}).get("says", {})
    return {
        (section, step): fields
        for section, steps in says.items()
        if isinstance(steps, dict)
        for step, fields in steps.items()
        if isinstance(fields, dict) and "tool" in fields
    }


def _label(name: str, steps: Mapping[tuple[str, str], Any]) -> str:
    """``measure bore_left: expect`` of ``recipe.says.measure.bore_left.expect``; others keep their name."""
    if not name.startswith(_SAYS):
        return f"{name}:"
    section, _, rest = name.removeprefix(_SAYS).partition(".")
    step = next((step for of, step in steps if of == section and rest.startswith(f"{step}.")), "")
    if step:
        return f"{section} {step}: {rest.removeprefix(f'{step}.')}"
    return f"recipe: {section}{'.' if rest else ''}{rest}"


def _recipe(recipe: Mapping[str, Any]) -> str:
    return f"{recipe.get('number', '?')} rev {recipe.get('rev', '?')} {recipe.get('name', '')}".rstrip()


def _digests(shas: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {_word(sha)}" for name, sha in shas.items())


def _word(text: str) -> str:
    return text[:12] if _DIGEST.fullmatch(text) else text


def _calibrations(says: Any) -> set[str]:
    """Names of the calibration files that a recipe speaks of, for all pictures or for one camera or view."""
    found = says.get("calibration") if isinstance(says, dict) else None
    own = {found.partition("@")[0]} if isinstance(found, str) else set()
    inner = (_calibrations(value) for value in says.values()) if isinstance(says, dict) else ()
    return own.union(*inner)
