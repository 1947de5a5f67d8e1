"""Colours and lines. Grey is normal; colour means abnormal and is never decoration.

All styles are written in the terminal's own 16 colours. In ``--plain`` they go out as they are; else
:data:`PALETTE` turns them into shades that stay apart even when a terminal maps them back to 16.
"""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.strip import Strip

from inspector.tui.words import plain

TEXT = Style(color="white")
DIM = Style(color="bright_black")
STRONG = Style(color="bright_white", bold=True)
LOUD = Style(color="bright_white", bold=True, reverse=True)
DOUBT = Style(color="bright_yellow", bold=True)  # not inspected, not ready
PRIORITY = {
    1: Style(color="bright_red", bold=True),
    2: Style(color="bright_yellow", bold=True),
    3: Style(color="bright_cyan", bold=True),
}
MARK = {1: "1■", 2: "2▲", 3: "3○"}
REVERSE = Style(reverse=True)

BACKGROUND = "#1c1c1c"
FOREGROUND = "#bcbcbc"
_NORMAL = [(28, 28, 28), (205, 0, 0), (0, 160, 0), (190, 150, 0), (70, 120, 200), (160, 80, 160), (0, 150, 150)]
_BRIGHT = [(108, 108, 108), (255, 95, 95), (95, 215, 95), (255, 215, 95), (95, 135, 255), (215, 135, 215),
           (95, 215, 215), (238, 238, 238)]  # fmt: skip
PALETTE = TerminalTheme((28, 28, 28), (188, 188, 188), [*_NORMAL, (188, 188, 188)], _BRIGHT)

Span = tuple[str, Style]
Line = list[Span]


def length(line: Line) -> int:
    """Cells that the line takes."""
    return sum(len(text) for text, _ in line)


def crop(line: Line, width: int) -> Line:
    """The line's first ``width`` cells."""
    out: Line = []
    for text, style in line:
        if width <= 0:
            break
        out.append((text[:width], style))
        width -= len(text)
    return out


def spread(left: Line, right: Line, width: int) -> Line:
    """Left and right parts with room between; the right one is whole, the left one gives way."""
    right = crop(right, width)
    left = crop(left, width - length(right) - (1 if right and left else 0))
    return [*left, (" " * (width - length(left) - length(right)), TEXT), *right]


def strip(line: Line, width: int, base: Style) -> Strip:
    """Exactly ``width`` cells for the screen; here, and only here, text becomes code page 437."""
    spans = crop([(plain(text), style) for text, style in line], width)
    segments = [Segment(text, base + style) for text, style in spans]
    used = length(spans)
    return Strip([*segments, Segment(" " * (width - used), base)], width)
