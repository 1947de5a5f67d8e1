"""Camera files and node maps: apply one to the other, read back, name every difference, save all there is."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inspector.acquire.camera import SettingsError

Value = bool | int | float | str

SELECTED_MAX = 64  # values of one feature, by all its selectors together: what has more is a table, not a setting
# not settings of a picture: what harvesters sets by itself, what chooses or starts something else
EXCLUDED = frozenset({"TLParamsLocked", "UserSetDefault", "UserSetDefaultSelector"})
EXCLUDED_CATEGORIES = frozenset(
    {
        "Simulation",  # of the virtual camera: faults on demand
        "SequencerControl",  # a recipe's views are programmed into it
    }
)


class Nodes(Protocol):
    """A camera's features by SFNC name. All raise ValueError with a sentence when it can't be done."""

    def read(self, name: str) -> Value:
        """The feature's value now."""
        ...

    def write(self, name: str, value: Value) -> None:
        """Set the feature, or execute it when it is a command."""
        ...

    def select(self, selector: str, entry: str) -> None:
        """Put a selector on an entry, unless it stands there."""
        ...

    def unit(self, name: str) -> str:
        """The feature's unit, "" when it has none."""
        ...

    def is_command(self, name: str) -> bool:
        """True for what is executed, not set."""
        ...


class AllNodes(Nodes, Protocol):
    """What is needed to save a camera whole, besides."""

    def settings(self) -> Iterable[str]:
        """Every feature that can be read, set and kept in a file, in the camera's order, with its category."""
        ...

    def writable(self, name: str) -> bool:
        """True when it can be set now."""
        ...

    def category(self, name: str) -> str:
        """The category the feature stands in."""
        ...

    def selectors(self, name: str) -> Sequence[str]:
        """The selectors this feature depends on, the outer one first."""
        ...

    def entries(self, name: str) -> Sequence[str]:
        """What a selector can be put on now."""
        ...


@dataclass(frozen=True)
class Difference:
    """One feature that is not as wanted. ``found`` is None when it could not be read or set, and ``why`` says why."""

    key: str  # Feature or Feature[Selector=Entry]
    wanted: Value
    found: Value | None
    unit: str = ""
    why: str = ""

    def __str__(self) -> str:
        """``ExposureTime: wanted 1000, found 500``."""
        return f"{self.key}: wanted {self.wanted}, {self.why or f'found {self.found}'}"


def split(key: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """``Gain[GainSelector=All]`` -> (Gain, ((GainSelector, All),)); several selectors: ``Feature[A=x,B=y]``."""
    name, _, rest = key.partition("[")
    pairs = (pair.partition("=") for pair in rest.rstrip("]").split(",") if pair)
    return name, tuple((selector, entry) for selector, _, entry in pairs)


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
    """Set every feature and read all of them back. Raises SettingsError with every trouble."""
    troubles = applied(nodes, wanted)
    if troubles:
        raise SettingsError("; ".join(map(str, troubles)))


def applied(nodes: Nodes, wanted: Mapping[str, Value]) -> list[Difference]:
    """Set every feature in the file's order, and what did not take a second time: limits depend on each other.

    Returns what still differs.
    """
    refused = _write(nodes, wanted)
    left = {d.key: d for d in differing(nodes, wanted)}
    if refused or left:
        refused = _write(nodes, {key: value for key, value in wanted.items() if key in refused or key in left})
        left = {d.key: d for d in differing(nodes, wanted)}
    # what can't be set now but is as wanted is no trouble; a command is never as wanted by itself
    refused = {k: d for k, d in refused.items() if k in left or nodes.is_command(split(k)[0])}
    return [refused.get(key) or left[key] for key in wanted if key in refused or key in left]


def _write(nodes: Nodes, wanted: Mapping[str, Value]) -> dict[str, Difference]:
    """Set everything in order; returns what was refused."""
    refused = {}
    for key, value in wanted.items():
        name, selected = split(key)
        try:
            for selector, entry in selected:
                nodes.select(selector, entry)
            nodes.write(name, value)
        except ValueError as error:
            refused[key] = Difference(key, value, None, why=str(error))
    return refused


def differing(nodes: Nodes, wanted: Mapping[str, Value]) -> list[Difference]:
    """Every feature whose value now is not the wanted one; selectors stand where they stood before."""
    return [d for key, value in wanted.items() if (d := difference(nodes, key, value)) is not None]


def difference(nodes: Nodes, key: str, wanted: Value) -> Difference | None:
    """How one feature differs, None when it does not."""
    name, selected = split(key)
    try:
        with _standing(nodes, [selector for selector, _ in selected]):
            for selector, entry in selected:
                nodes.select(selector, entry)
            found = nodes.read(name)
            return None if same(wanted, found) else Difference(key, wanted, found, nodes.unit(name))
    except ValueError as error:
        return Difference(key, wanted, None, why=str(error))


@contextlib.contextmanager
def _standing(nodes: Nodes, selectors: Sequence[str]) -> Iterator[None]:
    """Selectors stand afterwards where they stood before."""
    before = [(selector, str(nodes.read(selector))) for selector in selectors]
    try:
        yield
    finally:
        for selector, entry in before:
            with contextlib.suppress(ValueError):
                nodes.select(selector, entry)


def saved(nodes: AllNodes) -> dict[str, Value]:
    """The whole feature set in a camera file's notation: what can be set again, in the camera's order.

    A feature below selectors is there once for each of their entries that the camera has. Raises ValueError.
    """
    result: dict[str, Value] = {}
    for name in nodes.settings():
        if name in EXCLUDED or nodes.category(name) in EXCLUDED_CATEGORIES:
            continue
        selectors = nodes.selectors(name)
        with _standing(nodes, selectors):
            for key in _keys(nodes, name, selectors):
                with contextlib.suppress(ValueError):  # not there with this entry
                    for selector, entry in split(key)[1]:
                        nodes.select(selector, entry)
                    if nodes.writable(name):
                        result[key] = nodes.read(name)
    return result


def _keys(nodes: AllNodes, name: str, selectors: Sequence[str]) -> list[str]:
    if not selectors:
        return [name]
    choices = [[f"{selector}={entry}" for entry in nodes.entries(selector)] for selector in selectors]
    if math.prod(map(len, choices)) > SELECTED_MAX:
        return []
    return [f"{name}[{','.join(chosen)}]" for chosen in itertools.product(*choices)]
