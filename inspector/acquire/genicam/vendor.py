"""harvesters and genicam as the rest of this package meets them: quiet, and with one pair of errors."""

from __future__ import annotations

import logging
import warnings

with warnings.catch_warnings():  # importing harvesters changes the process's warning filters
    from genicam import genapi, gentl
    from harvesters.core import Device, DeviceInfo, Harvester, ParameterKey, ParameterSet
    from harvesters.util.pfnc import dict_by_ints

__all__ = [
    "VENDOR_ERRORS",
    "Device",
    "DeviceInfo",
    "Harvester",
    "ParameterKey",
    "ParameterSet",
    "genapi",
    "gentl",
    "pixel_format_name",
    "words",
]

for _name in [n for n in logging.root.manager.loggerDict if n.split(".")[0] == "harvesters"]:
    # each has its own handler on stderr, and prints a trace for whatever is told here in one sentence
    _theirs = logging.getLogger(_name)
    _theirs.handlers.clear()
    _theirs.propagate = True
    _theirs.setLevel(logging.CRITICAL)

# two unrelated hierarchies: either may come out of any call
VENDOR_ERRORS = (genapi.GenericException, gentl.GenericException)


def words(error: BaseException) -> str:
    """The sentence in a vendor exception, without its source position."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:160]


def pixel_format_name(code: int) -> str:
    """PFNC's name of a pixel format's number."""
    return str(dict_by_ints.get(code, f"0x{code:08X}"))
