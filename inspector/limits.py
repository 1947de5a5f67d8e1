"""A tolerance as it stands on a drawing: ``6.00 ±0.05 mm``, ``at least 2.40 mm``, ``2.0 to 3.0 mm``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

UNITS = ("mm", "px", "deg", "grey", "count", "mm2", "px2", "%")
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_UNIT = r"(?:\s*(?P<unit>mm2|px2|mm|px|deg|grey|count|%))?"
_PATTERNS = (
    re.compile(rf"^(?P<nominal>{_NUMBER})\s*(?:±|\+/-)\s*(?P<both>\d+(?:\.\d+)?){_UNIT}$"),
    re.compile(
        rf"^(?P<nominal>{_NUMBER})\s*\+(?P<plus>\d+(?:\.\d+)?)\s*/\s*-(?P<minus>\d+(?:\.\d+)?){_UNIT}$"
    ),
    re.compile(rf"^at least (?P<lower>{_NUMBER}){_UNIT}$"),
    re.compile(rf"^at most (?P<upper>{_NUMBER}){_UNIT}$"),
    re.compile(rf"^(?P<lower>{_NUMBER}) to (?P<upper>{_NUMBER}){_UNIT}$"),
)
ALLOWED = "6.00 ±0.05 mm, 36.00 +0.08/-0.04 mm, at least 2.4 mm, at most 1.0 mm, 2.0 to 3.0 mm"


@dataclass(frozen=True)
class Limits:
    """Inclusive limits; ``None`` on a side means that side is open."""

    nominal: float | None
    lower: float | None
    upper: float | None
    unit: str
    text: str

    def hold(self, value: float) -> bool:
        """True when ``value`` is a number within the limits."""
        return (
            math.isfinite(value)
            and (self.lower is None or value >= self.lower)
            and (self.upper is None or value <= self.upper)
        )


def parse(text: str) -> Limits:
    """Read a callout. Raises ValueError that shows what is allowed."""
    for pattern in _PATTERNS:
        match = pattern.match(text.strip())
        if match is None:
            continue
        got = match.groupdict()
        unit = got["unit"] or ""
        if got.get("nominal") is not None:
            nominal = float(got["nominal"])
            plus = float(got.get("plus") or got.get("both") or 0)
            minus = float(got.get("minus") or got.get("both") or 0)
            # decimals as written: 6.00 - 0.05 must be 5.95 exactly, or a part on the limit fails
            digits = 9
            return Limits(nominal, round(nominal - minus, digits), round(nominal + plus, digits), unit, text)
        lower = float(got["lower"]) if got.get("lower") else None
        upper = float(got["upper"]) if got.get("upper") else None
        if lower is not None and upper is not None and lower > upper:
            raise ValueError("the lower limit is above the upper limit")
        return Limits(None, lower, upper, unit, text)
    raise ValueError(f"not a tolerance; allowed are {ALLOWED}")


def _validate(value: Any) -> Limits:
    if isinstance(value, Limits):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not a tolerance; allowed are {ALLOWED}")
    return parse(value)


Expect = Annotated[
    Limits,
    BeforeValidator(_validate),
    PlainSerializer(lambda limits: limits.text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["6.00 ±0.05 mm", "at least 2.4 mm", "2.0 to 3.0 mm"]}),
]
