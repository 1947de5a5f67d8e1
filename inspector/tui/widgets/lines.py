"""The base of all widgets: a value in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from textual.strip import Strip
from textual.widget import Widget

from inspector.tui.ink import DIM, Line, strip

T = TypeVar("T")


class Lines(Widget, Generic[T]):
    """Draws ``value`` with :meth:`draw`; repaints only when the value or the size is another one."""

    DEFAULT_CSS = "Lines { width: 1fr; height: 1fr; }"

    def __init__(self, value: T | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.value = value
        self._drawn: tuple[tuple[int, int], Sequence[Line]] | None = None

    def show(self, value: T | None) -> None:
        """Take a new value; None means there is nothing to show."""
        if value != self.value:
            self.value = value
            self._drawn = None
            self.refresh()

    def draw(self, value: T, width: int, height: int) -> Sequence[Line]:
        """The lines for this value; longer or more lines than there is room for are cut off."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        width, height = self.size
        if self._drawn is None or self._drawn[0] != (width, height):
            lines = () if self.value is None else self.draw(self.value, width, height)
            self._drawn = ((width, height), lines)
        lines = self._drawn[1]
        return strip(lines[y] if y < len(lines) else [], width, self.rich_style)


class Rule(Lines[tuple[tuple[int, str], ...]]):
    """A horizontal line; its value is the junctions in it: column and glyph."""

    DEFAULT_CSS = "Rule { height: 1; }"

    def draw(self, value: tuple[tuple[int, str], ...], width: int, height: int) -> list[Line]:
        """One line of dashes."""
        glyphs = ["─"] * width
        for at, glyph in value:
            if 0 <= at < width:
                glyphs[at] = glyph
        return [[("".join(glyphs), DIM)]]


class Bar(Lines[tuple[tuple[int, str], ...]]):
    """A vertical line; its value is the junctions in it: row (from below when negative) and glyph."""

    DEFAULT_CSS = "Bar { width: 1; }"

    def draw(self, value: tuple[tuple[int, str], ...], width: int, height: int) -> list[Line]:
        """The same glyph in every row but those of the junctions."""
        glyphs = ["│"] * height
        for at, glyph in value:
            if -height <= at < height:
                glyphs[at] = glyph
        return [[(glyph, DIM)] for glyph in glyphs]
