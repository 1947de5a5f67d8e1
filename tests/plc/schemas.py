"""What a station publishes, held against ``inspector/plc/schemas``: strictly, byte by byte, topic by topic.

The schemas let a reader take fields that a later 1.x adds. Here every field must stand in its schema, and a float
must be written as one: JSON Schema itself takes ``1`` and ``1.0`` for the same number, a PLC's parser may not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

FOLDER = Path(__file__).resolve().parents[2] / "inspector" / "plc" / "schemas"
NAMES = tuple(sorted(file.relative_to(FOLDER).as_posix()[: -len(".schema.json")] for file in FOLDER.rglob("*.json")))
PUBLISHED = tuple(name for name in NAMES if not name.startswith("cmd/"))
COMMANDS = tuple(name for name in NAMES if name.startswith("cmd/"))

_BASE = re.compile(r"vis/v1/[a-z0-9_-]+/[a-z0-9_-]+/")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]{1,6}")
_COMPACT = {  # not JSON: their lengths are their schema
    "result/c": re.compile(rb"[0-9]{10};[ -~]{16}([ -~]{8}){0,2};[PFN];[0-9]{4};[0-9]{5};[0-9A-Fa-f]{4}\0?"),
    "result/b": re.compile(rb".{12}", re.S),
    "hb/c": re.compile(rb".", re.S),
}  # fmt: skip


@cache
def schema(name: str) -> dict[str, Any]:
    """The file for this topic, as it is shipped."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def strict(node: Any) -> Any:
    """A copy in which no object takes a field that it does not list."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    copy = {key: strict(value) for key, value in node.items()}
    if copy.get("type") == "object" and "properties" in copy:
        copy.setdefault("additionalProperties", False)
    return copy


def _pattern(_validator: Any, pattern: str, found: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    # in JSON Schema $ is the end; in Python it is also before a line end
    if isinstance(found, str) and not re.search(pattern.replace("$", r"\Z"), found):
        yield jsonschema.ValidationError(f"{found!r} does not match {pattern!r}")


def _type(validator: Any, kind: str, found: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    # the type checker is left alone: `minimum` and `maximum` ask it whether 1 is a number
    if kind in ("integer", "number"):
        fits = type(found) is (int if kind == "integer" else float)
    else:
        fits = validator.is_type(found, kind)
    if not fits:
        yield jsonschema.ValidationError(f"{found!r} is not of type {kind!r}")


_Typed: Any = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern, "type": _type})


@cache
def validator(name: str, *, as_published: bool = True) -> Any:
    """Compiled once. ``as_published``: no field more than the schema has; else as a reader checks."""
    found = schema(name)
    return _Typed(strict(found) if as_published else found)


class _Unfit(ValueError):
    pass


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise _Unfit(f"{text}: a float has a decimal point, no exponent, 6 decimals at most")
    return float(text)


def _constant(text: str) -> float:
    raise _Unfit(f"{text} is no JSON")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Unfit("a member stands twice")
    return members


def read(payload: bytes) -> Any:
    """The payload as JSON with the contract's own rules for bytes. Raises ValueError."""
    if not all(32 <= byte < 127 for byte in payload):
        raise _Unfit("not printable ASCII in one line")
    return json.loads(payload, object_pairs_hook=_members, parse_float=_float, parse_constant=_constant)


def complaint(topic: str, payload: bytes, *, qos: int | None = None, retained: bool = False) -> str:
    """What is wrong with a message of a station, "" when nothing is.

    ``topic`` in full, or what stands behind the station's base. What isn't a station's topic is not looked at:
    commands, answers on a PLC's own topic, everything outside of ``vis/v1``. ``qos``: as received with a
    subscription of 1; None: not known.
    """
    name = topic
    if "/" in topic and topic not in _COMPACT:
        base = _BASE.match(topic)
        if base is None or topic.startswith(f"{base[0]}cmd/"):
            return ""
        name = topic[base.end() :]
    if name in _COMPACT:
        fits = _COMPACT[name].fullmatch(payload) and not retained
        return "" if fits else f"{name}: {len(payload)} bytes, retained {retained}: {payload[:80]!r}"
    if name not in PUBLISHED:
        return f"{name}: a topic without a schema: {payload[:300]!r}"
    says = schema(name)
    if retained and not says["x-retain"]:
        return f"{name}: retained"
    if qos is not None and qos < says["x-qos"]:  # higher: some brokers raise it to the subscription's
        return f"{name}: QoS {qos}, at least {says['x-qos']}"
    limit = says.get("x-max-bytes")
    if limit and len(payload) > limit:
        return f"{name}: {len(payload)} bytes, not at most {limit}: {payload[:300]!r}"
    return _wrong(name, payload)


def _wrong(name: str, payload: bytes) -> str:
    try:
        members = read(payload)
    except ValueError as error:
        return f"{name}: {error}: {payload[:300]!r}"
    error = best_match(validator(name).iter_errors(members))
    return "" if error is None else f"{name}: {error.json_path}: {error.message}: {payload[:600]!r}"


def refused(name: str, members: Any) -> bool:
    """True when a reader's schema refuses this object."""
    return not validator(name, as_published=False).is_valid(members)
