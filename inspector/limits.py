"""Tolerances as they stand on a drawing (``6.00 ±0.05 mm``, ``at least 2.40 mm``) and amounts (``1.5 mm``)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import core_schema

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_UNIT = r"(?:\s*(?P<unit>mm2|px2|mm|px|deg|grey|count|%))?"
_PATTERNS = (
    re.compile(rf"^(?P<nominal>{_NUMBER})\s*(?:±|\+/-)\s*(?P<both>\d+(?:\.\d+)?){_UNIT}$"),
    re.compile(rf"^(?P<nominal>{_NUMBER})\s*\+(?P<plus>\d+(?:\.\d+)?)\s*/\s*-(?P<minus>\d+(?:\.\d+)?){_UNIT}$"),
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

    @property
    def words(self) -> str:
        """The limits without unit, as an operator reads them: ``5.95-6.05``, ``at least 2.40``."""
        digits = max(2, decimals(self.text)) if self.unit in ("mm", "deg", "mm2", "px") else decimals(self.text)
        if self.lower is not None and self.upper is not None:
            dash = " to " if self.lower < 0 else "-"
            return f"{self.lower:.{digits}f}{dash}{self.upper:.{digits}f}"
        if self.lower is not None:
            return f"at least {self.lower:.{digits}f}"
        return f"at most {self.upper:.{digits}f}" if self.upper is not None else "none"

    def show(self, value: float) -> str:
        """``value`` with enough decimals that a value outside the limits also reads as outside."""
        digits = max(2, decimals(self.text)) if self.unit in ("mm", "deg", "mm2", "px") else decimals(self.text)
        while digits < 6 and math.isfinite(value) and not self.hold(value) and self.hold(round(value, digits)):
            digits += 1
        return f"{value:.{digits}f}"

    def hold(self, value: float) -> bool:
        """True when ``value`` is a number within the limits."""
        return (
            math.isfinite(value)
            and (self.lower is None or value >= self.lower)
            and (self.upper is None or value <= self.upper)
        )


def decimals(text: str) -> int:
    """Most decimals that any number in ``text`` is written with."""
    return max((len(d) for d in re.findall(r"\d\.(\d+)", text)), default=0)


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


@dataclass(frozen=True)
class Amount:
    """A number with its unit as it was written: ``1.5 mm``, ``15 deg``, ``180 ms``."""

    value: float
    unit: str
    text: str


@dataclass(frozen=True)
class _Written:
    """How pydantic reads, writes and describes an :class:`Amount` of these units."""

    units: tuple[str, ...]
    example: str

    @property
    def pattern(self) -> str:
        return rf"^\d+(\.\d+)? ?({'|'.join(self.units)})$"

    def read(self, value: Any) -> Amount:
        if isinstance(value, Amount):
            return value
        if not isinstance(value, str) or not re.match(self.pattern, value.strip()):
            raise ValueError(f"allowed is a number and its unit ({', '.join(self.units)}): {self.example}")
        match = re.match(r"([\d.]+) ?(.*)", value.strip())
        return Amount(float(match[1]), match[2], value.strip()) if match else Amount(0.0, "", value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(lambda amount: amount.text)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern, "examples": [self.example]}


Length = Annotated[Amount, _Written(("mm", "px"), "1.5 mm")]
Area = Annotated[Amount, _Written(("mm2", "px2"), "0.30 mm2")]
Angle = Annotated[Amount, _Written(("deg",), "15 deg")]
Duration = Annotated[Amount, _Written(("ms", "s"), "180 ms")]
Share = Annotated[Amount, _Written(("%",), "2.5 %")]
Exposure = Annotated[Amount, _Written(("us", "ms"), "800 us")]
Gain = Annotated[Amount, _Written(("dB",), "6 dB")]
