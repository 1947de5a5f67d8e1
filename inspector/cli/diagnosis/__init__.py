"""What ``inspector doctor`` looks at: one file for each kind of thing, each a list of findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warn", "MISSING"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table. Only MISSING keeps a station from working."""

    what: str
    level: Level
    found: str
    fix: str = ""  # the command that mends it; "" only with ok


def number(path: Path) -> int | None:
    """The whole number in a file of /proc or /sys; None when there is none."""
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
