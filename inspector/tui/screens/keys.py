"""All keys on one page."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult

from inspector.tui.ink import DIM, STRONG, TEXT, Line
from inspector.tui.screens.base import StationScreen
from inspector.tui.widgets.lines import Lines

ROWS = (
    ("1", "Run: is the line fine, and if not, what is it?"),
    ("2", "Alarms: what is wrong, since when, why it matters, what to do"),
    ("3 or r", "Rejects: the latest ones, one at a time, held still"),
    ("4 or p", "Pictures: do they still look as when they were learned?"),
    ("← →", "on Rejects: newer, older"),
    ("↑ ↓", "on Alarms and Pictures: choose"),
    ("n n", "on Pictures: forget the limits, learn new ones from good parts"),
    ("a", "acknowledge: on Alarms the chosen alarm, else the most urgent one"),
    ("Esc", "back to Run"),
    ("?", "this page"),
    ("q", "leave the terminal; the station runs on, and nothing is asked"),
)
SIGNS = (
    ("■ · ?", "in the row of parts: rejected, passed, not inspected"),
    ("├──┼─■─┤", "a value (■) between its limits, the nominal value (┼) between them"),
    ("├──┼───┤■", "a value above its limit; to the left of ├ it is below"),
    ("↑ ▀─▄ ↓", "on Pictures: above, within and below the limits, oldest parts left"),
    ("UNACK ack", "an alarm that stands: not yet acknowledged, and acknowledged"),
    ("RTN", "gone by itself, and nobody has acknowledged it"),
)


class Page(Lines[str]):
    """The keys and signs."""

    def draw(self, value: str, width: int, height: int) -> list[Line]:
        """A row for each."""
        rows: list[Line] = [[(f" {value}", STRONG)]]
        rows += [[(f"   {key:10}", STRONG), (words, TEXT)] for key, words in ROWS]
        rows += [[], [(" SIGNS", STRONG)]]
        rows += [[(f"   {sign:10}", TEXT), (words, DIM)] for sign, words in SIGNS]
        return rows


class KeysScreen(StationScreen):
    """Help."""

    KEYS: ClassVar[str] = "Esc back  1 Run  2 Alarms  3 Rejects  4 Pictures"

    def body(self) -> ComposeResult:
        """One page."""
        yield Page("KEYS")
