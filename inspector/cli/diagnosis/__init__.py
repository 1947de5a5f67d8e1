"""What ``inspector doctor`` looks at: one file for each kind of thing, each a list of findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "MISSING"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table. Only MISSING keeps a station from working."""

    what: str
    level: Level
    found: str
    fix: str = ""  # the command that mends it; "" only with ok
