"""Text for an operator: code page 437 only, plain numbers, local times.

Code page 437 because a Linux console's font and a serial terminal have exactly these glyphs; anything else
would be a blank box, or two cells wide, and shift the whole line.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime

# the pictures that code page 437 has at 1..31, besides what Python's codec knows
_PICTURES = "☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼⌂"
CP437 = frozenset("".join(bytes([n]).decode("cp437") for n in (*range(32, 127), *range(128, 255))) + _PICTURES)
_LIKE = {
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"',
    "–": "-", "—": "-", "−": "-", "…": ".", "×": "x", "ø": "o", "Ø": "O", "μ": "µ", "Δ": "D", "ł": "l",
    "Ł": "L", "®": "R", "©": "c", "€": "E", "●": "•", "✓": "√", "⌀": "φ",
}  # fmt: skip


def _glyph(char: str) -> str:
    if char in CP437:
        return char
    if char in _LIKE:
        return _LIKE[char]
    base = unicodedata.normalize("NFKD", char)[0]
    return base if base in CP437 else "?"


def plain(text: str) -> str:
    """The text in code page 437, one cell for each character; what has no glyph becomes its letter or ``?``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_glyph(char) for char in unicodedata.normalize("NFC", text))


def clip(text: str, width: int) -> str:
    """At most ``width`` characters; ``..`` says that something is missing."""
    if len(text) <= width:
        return text
    return text[: max(width - 2, 0)] + ".."[: max(width, 0)]


def wrap(text: str, width: int, rows: int) -> list[str]:
    """Words over at most ``rows`` lines of ``width``; the last line is clipped when it is too much."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < rows - 1 and len(rest) > width:
        cut = rest.rfind(" ", 0, width + 1)
        cut = cut if cut > width // 3 else width
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*lines, clip(rest, width)] if rest else lines


def count(number: int) -> str:
    """4812 -> ``4 812``."""
    return f"{number:,}".replace(",", " ")


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DECIMALS = {"mm": 3, "px": 2, "deg": 2, "grey": 1, "count": 0, "mm2": 3, "px2": 0, "%": 1}


def number(value: float, unit: str) -> str:
    """A measured value with the decimals that suit its unit."""
    return f"{value:.{_DECIMALS.get(unit, 2)}f}"


def quantity(value: float, unit: str) -> str:
    """A measured value with its unit; counts and ratios have none."""
    shown = number(value, unit)
    return shown if unit in ("", "count") else f"{shown} {unit}"


def utc(text: str) -> datetime | None:
    """The moment an ISO 8601 text names, None when it names none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def clock(text: str) -> str:
    """``14:32:07`` by this machine's clock, from ISO 8601 in UTC; dashes when there is none."""
    moment = utc(text)
    return moment.astimezone().strftime("%H:%M:%S") if moment else "--:--:--"


def day(text: str) -> str:
    """``22 Nov 14:32`` by this machine's clock, from ISO 8601 in UTC; dashes when there is none."""
    moment = utc(text)
    if moment is None:
        return "--"
    local = moment.astimezone()
    return f"{local.day} {_MONTHS[local.month - 1]} {local:%H:%M}"


def seconds_between(earlier: str, later: str) -> float | None:
    """Seconds from one ISO 8601 text to another; None when one names no moment."""
    a, b = utc(earlier), utc(later)
    return None if a is None or b is None else max((b - a).total_seconds(), 0.0)


def span(seconds: float) -> str:
    """`` 12 s``, ``  3 min``, ``  2 h``: a duration, its number three wide so that a count does not jump."""
    if seconds < 120:
        return f"{int(seconds):3d} s"
    if seconds < 7200:
        return f"{int(seconds // 60):3d} min"
    return f"{int(seconds // 3600):3d} h"


def size(amount: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
