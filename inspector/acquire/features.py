"""Apply a camera file to a node map, read it back, and name every difference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from inspector.acquire.camera import SettingsError

Value = bool | int | float | str


class Nodes(Protocol):
    """A camera's features by SFNC name. Both raise ValueError with a sentence when it can't be done."""

    def read(self, name: str) -> Value:
        """The feature's value now."""
        ...

    def write(self, name: str, value: Value) -> None:
        """Set the feature, or execute it when it is a command."""
        ...


def split(key: str) -> tuple[str, str, str]:
    """``ChunkEnable[ChunkSelector=FrameID]`` -> (ChunkEnable, ChunkSelector, FrameID); no selector: empty texts."""
    name, _, rest = key.partition("[")
    selector, _, entry = rest.rstrip("]").partition("=")
    return name, selector, entry


def same(wanted: Value, found: Value) -> bool:
    """Equal as far as a camera can: floats may be rounded to the device's step (0.5 %)."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return isinstance(wanted, bool) and isinstance(found, bool) and wanted == found
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float)):
        if isinstance(wanted, int) and isinstance(found, int):
            return wanted == found
        return math.isclose(float(wanted), float(found), rel_tol=0.005, abs_tol=1e-6)
    return str(wanted) == str(found)


def apply(nodes: Nodes, wanted: Mapping[str, Value]) -> None:
    """Set every feature in the file's order, then read all of them back. Raises SettingsError with every trouble."""
    troubles: list[str] = []
    for key, value in wanted.items():
        name, selector, entry = split(key)
        try:
            if selector:
                nodes.write(selector, entry)
            nodes.write(name, value)
        except ValueError as error:
            troubles.append(f"{key}: wanted {value}, {error}")
    if troubles:
        raise SettingsError("; ".join(troubles))
    differences = differing(nodes, wanted)
    if differences:
        raise SettingsError("; ".join(differences))


def differing(nodes: Nodes, wanted: Mapping[str, Value]) -> list[str]:
    """Every feature whose value now is not the wanted one: ``ExposureTime: wanted 1000, found 500``."""
    result = []
    for key, value in wanted.items():
        name, selector, entry = split(key)
        try:
            if selector and str(nodes.read(selector)) != entry:
                nodes.write(selector, entry)
            found = nodes.read(name)
        except ValueError as error:
            result.append(f"{key}: wanted {value}, {error}")
            continue
        if not same(value, found):
            result.append(f"{key}: wanted {value}, found {found}")
    return result
