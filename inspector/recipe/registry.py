"""Which tools there are: every file in a section's folder that defines a tool of that section."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from functools import cache
from typing import Literal

from inspector.tool import SECTIONS, Tool


@cache
def tools(section: str) -> dict[str, type[Tool]]:
    """Tools of a section by the value of their ``tool`` key, sorted.

    A tool that can't be imported raises: a station must not run with a tool silently missing.
    """
    package = importlib.import_module(f"inspector.{section}")
    base = SECTIONS[section]
    found: dict[str, type[Tool]] = {}
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for thing in vars(importlib.import_module(module.name)).values():
            if not (isinstance(thing, type) and issubclass(thing, base) and thing.__module__ == module.name):
                continue
            name = tool_name(thing)
            if name is None:
                continue
            if name in found:
                raise TypeError(f"{thing.__module__}: tool {name!r} is also in {found[name].__module__}")
            found[name] = thing
    return dict(sorted(found.items()))


def tool_name(tool: type[Tool]) -> str | None:
    """The value of the ``tool`` key, None for a base class that leaves it open."""
    annotation = tool.model_fields["tool"].annotation
    if typing.get_origin(annotation) is not Literal:
        return None
    return str(typing.get_args(annotation)[0])
