"""A camera's node map as :class:`inspector.acquire.features.Nodes`, with one clear sentence for whatever fails."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from inspector.acquire.features import SELECTED_MAX, Value
from inspector.acquire.genicam.vendor import VENDOR_ERRORS, genapi, words
from inspector.acquire.visit import Feature

_COMMAND_LIMIT_S = 3.0  # a command of a camera file (UserSetLoad ...) is done by then
READABLE = (genapi.EAccessMode.RO, genapi.EAccessMode.RW)
_KEPT = (genapi.IInteger, genapi.IFloat, genapi.IEnumeration, genapi.IBoolean, genapi.IString)
_WRITABLE = (genapi.EAccessMode.WO, genapi.EAccessMode.RW)


class Nodes:
    """A node map as :class:`inspector.acquire.features.Nodes`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map
        self._category: dict[str, str] = {}

    def read(self, name: str) -> Value:
        """See :class:`~inspector.acquire.features.Nodes`."""
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.ICommand):
                return bool(node.is_done())
            value: Value = node.value
            return value

    def write(self, name: str, value: Value) -> None:
        """See :class:`~inspector.acquire.features.Nodes`."""
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.ICommand):
                _execute(node, value)
                return
            if isinstance(node, genapi.IEnumeration) and value not in _entries(node):
                raise ValueError(f"allowed: {', '.join(_entries(node))}")
            if node.get_access_mode() not in _WRITABLE:
                raise ValueError("it can't be written now (read only, or locked by another feature)")
            if isinstance(node, (genapi.IInteger, genapi.IFloat)):
                value = _number(node, value)
            if isinstance(node, genapi.IBoolean) and not isinstance(value, bool):
                raise ValueError("allowed: true or false")
            try:
                node.value = value
            except VENDOR_ERRORS as error:
                hint = f"; allowed: {_range(node)}" if isinstance(node, (genapi.IInteger, genapi.IFloat)) else ""
                raise ValueError(f"the camera refused: {words(error)}{hint}") from error

    def entries(self, name: str) -> list[str]:
        """What an enumeration can be set to now."""
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.IInteger):
                return [str(n) for n in range(node.min, min(node.max, node.min + SELECTED_MAX) + 1, node.inc)]
            return _entries(node)

    def select(self, selector: str, entry: str) -> None:
        """See :class:`~inspector.acquire.features.Nodes`."""
        with _as_value_error(selector):
            node = self._node(selector)
            if str(node.value) != entry:
                self.write(selector, int(entry) if isinstance(node, genapi.IInteger) else entry)

    def unit(self, name: str) -> str:
        """See :class:`~inspector.acquire.features.Nodes`."""
        node = self._node(name)
        return str(node.unit) if isinstance(node, (genapi.IInteger, genapi.IFloat)) else ""

    def is_command(self, name: str) -> bool:
        """See :class:`~inspector.acquire.features.Nodes`."""
        return self.has(name) and isinstance(self._node(name), genapi.ICommand)

    def settings(self) -> list[str]:
        """See :class:`~inspector.acquire.features.AllNodes`."""
        found: dict[str, None] = {}
        for category in self.categories():
            for node in category.features:
                name = str(node.node.name)
                if isinstance(node, _KEPT) and node.node.is_streamable() and not node.node.is_selector():
                    # some selector's entry may make it writable: looked at when it is read
                    self._category.setdefault(name, str(category.node.name))
                    found.setdefault(name)
        return list(found)

    def category(self, name: str) -> str:
        """See :class:`~inspector.acquire.features.AllNodes`."""
        return self._category.get(name, "")

    def selectors(self, name: str) -> list[str]:
        """See :class:`~inspector.acquire.features.AllNodes`."""
        with _as_value_error(name):
            return [str(f.node.name) for f in self._node(name).node.selecting_features]

    def writable(self, name: str) -> bool:
        """True when it can be set now."""
        with contextlib.suppress(*VENDOR_ERRORS, ValueError):
            return bool(self._node(name).get_access_mode() in _WRITABLE)
        return False

    def readable(self, name: str) -> bool:
        """True when it can be read now."""
        with contextlib.suppress(*VENDOR_ERRORS, ValueError):
            return bool(self._node(name).get_access_mode() in READABLE)
        return False

    def code(self, name: str) -> int:
        """The number behind an enumeration's entry."""
        with _as_value_error(name):
            return int(self._node(name).get_int_value())

    def stands(self, selector: str, entry: str) -> bool:
        """True when the selector is on this entry."""
        with contextlib.suppress(ValueError):
            return str(self.read(selector)) == entry
        return False

    def categories(self) -> list[Any]:
        """Categories below Root, in the camera's order, those within others too."""
        open_ones, result = [self._map.get_node("Root")] if self.has("Root") else [], []
        while open_ones:
            category = open_ones.pop(0)
            result.append(category)
            inner = [f for f in category.features if isinstance(f, genapi.ICategory)]
            open_ones = [*inner, *open_ones]
        return result

    def features(self, category: Any) -> list[Feature]:
        """What stands in a category itself."""
        name = str(category.node.name)
        return [_feature(f, name) for f in category.features if not isinstance(f, genapi.ICategory)]

    def look_again(self) -> None:
        """Forget what is cached here, so that reads show what the camera holds now."""
        self._map._invalidate_nodes()

    def has(self, name: str) -> bool:
        """True when the camera's description has this feature."""
        return bool(self._map.has_node(name))

    def _node(self, name: str) -> Any:
        if not self._map.has_node(name):
            raise ValueError("this camera has no such feature")
        return self._map.get_node(name)


def _feature(node: Any, category: str) -> Feature:
    mode = node.get_access_mode()
    access = {genapi.EAccessMode.RO: "RO", genapi.EAccessMode.RW: "RW", genapi.EAccessMode.WO: "WO"}.get(mode, "NA")
    value = unit = allowed = ""
    try:
        if isinstance(node, genapi.ICommand):
            value = "(command)"
        elif access in ("RO", "RW"):
            value = node.to_string() if isinstance(node, genapi.IRegister) else str(node.value)
            if isinstance(node, (genapi.IInteger, genapi.IFloat)):
                unit, allowed = node.unit, _range(node, unit=False)
            elif isinstance(node, genapi.IEnumeration):
                allowed = ", ".join(_entries(node))
            elif isinstance(node, genapi.IBoolean):
                allowed = "true, false"
    except (*VENDOR_ERRORS, AttributeError, TypeError) as error:
        value = f"(can't be read: {words(error)})"
    visibility = genapi.EVisibility(node.node.visibility).name
    return Feature(str(node.node.name), category, access, value[:200], unit, allowed, visibility)


def _execute(node: Any, value: Value) -> None:
    if value is not True:
        raise ValueError("a command; allowed: true")
    node.execute()
    end = time.monotonic() + _COMMAND_LIMIT_S
    while not node.is_done():
        if time.monotonic() > end:
            raise ValueError(f"the command was not done after {_COMMAND_LIMIT_S:g} s")
        time.sleep(0.005)


def _number(node: Any, value: Value) -> int | float:
    if isinstance(value, (str, bool)):
        raise ValueError(f"allowed: a number from {_range(node)}")
    if not node.min <= value <= node.max:  # also refuses what is not a number
        raise ValueError(f"allowed: {_range(node)}")
    if isinstance(node, genapi.IFloat):
        return float(value)
    if not float(value).is_integer():
        raise ValueError(f"allowed: a whole number from {_range(node)}")
    return int(value)


def _entries(node: Any) -> list[str]:
    """What an enumeration can be set to now; every camera knows entries that it does not have."""
    return [e.symbolic for e in node.entries if e.get_access_mode() in READABLE]


def _range(node: Any, *, unit: bool = True) -> str:
    """``16 to 1280 in steps of 4 us``."""
    stepped = isinstance(node, genapi.IInteger) or node.has_inc()
    step = f" in steps of {node.inc:g}" if stepped and node.inc != 1 else ""
    of = f" {node.unit}" if unit and node.unit else ""
    return f"{node.min:.15g} to {node.max:.15g}{step}{of}"


@contextlib.contextmanager
def _as_value_error(name: str) -> Iterator[None]:
    try:
        yield
    except VENDOR_ERRORS as error:
        raise ValueError(f"the camera refused: {words(error)}") from error
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"not a value {name} can take ({error})") from error
