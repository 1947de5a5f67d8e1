"""The registers behind the features, as camera.xml has them."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Register:
    """Where a feature's value lies."""

    address: int
    format: str  # of struct
    symbols: dict[str, int]  # of an enumeration


@functools.cache
def _description() -> dict[str, ElementTree.Element]:
    """The nodes of camera.xml by name."""
    root = ElementTree.parse(Path(__file__).with_name("camera.xml")).getroot()
    return {node.get("Name", ""): node for node in root}


@functools.cache
def register_of(feature: str) -> Register:
    """The register of a feature. ValueError: there is none, or one for each value of a selector."""
    nodes, space = _description(), "{http://www.genicam.org/GenApi/Version_1_1}"
    node = nodes.get(feature)
    value = None if node is None else node.findtext(f"{space}pValue")
    if node is None or value is None:
        raise ValueError(f"feature is {feature!r}, allowed is a feature of camera.xml that has a register of its own")
    register = nodes[value]
    if register.find(f"{space}pIndex") is not None:
        raise ValueError(f"feature is {feature!r}, which has a register for each value of its selector")
    length = register.findtext(f"{space}Length")
    unsigned = register.findtext(f"{space}Sign") == "Unsigned"
    if register.tag == f"{space}FloatReg":
        kind = "<d"
    else:
        kind = {("4", True): "<I", ("4", False): "<i", ("8", True): "<Q", ("8", False): "<q"}[(length or "", unsigned)]
    entries = node.findall(f"{space}EnumEntry")
    symbols = {entry.get("Name", ""): int(entry.findtext(f"{space}Value") or "0", 0) for entry in entries}
    return Register(int(register.findtext(f"{space}Address") or "0", 0), kind, symbols)
