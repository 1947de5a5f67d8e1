"""The station is not there: said calmly, with what to do. It goes away by itself."""

from __future__ import annotations

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.screen import Screen

from inspector.tui.ink import DIM, LOUD, STRONG, TEXT, Line
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import span, wrap

TO_DO = (
    ("systemctl start inspector", "where it is installed as a service"),
    ("inspector run", "by hand"),
    ("inspector doctor", "says what is missing"),
)


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there is nothing to see, since when, and what was seen last."""

    why: str
    since: str
    for_s: int
    last: str = ""


class AbsencePage(Lines[Absence]):
    """The sentence, in the upper third of the window."""

    def draw(self, value: Absence, width: int, height: int) -> list[Line]:
        """A few lines with air around them; fewer in a small window."""
        room = max(min(width - 6, 74), 10)
        rows: list[Line] = [[] for _ in range(max(height // 5, 0))]
        rows.append([("   ", TEXT), (" THE STATION IS NOT THERE ", LOUD)])
        rows.append([])
        rows += [[("   ", TEXT), (line, STRONG)] for line in wrap(value.why, room, 4)]
        rows.append([(f"   Since {value.since}, for{span(value.for_s)}.", TEXT)])
        if value.last:
            rows.append([(f"   Last seen: {value.last}", TEXT)])
        rows.append([])
        rows.append([("   A PLC without the station's answer rejects every part: no bad part passes.", TEXT)])
        rows.append([])
        for n, (command, words) in enumerate(TO_DO):
            rows.append([(f"   {'' if n else 'What to do':15}", DIM), (f"{command:28}", TEXT), (words, DIM)])
        rows.append([])
        rows.append([("   Trying again by itself; this page goes away when the station is back.", DIM)])
        rows.append([("   q leaves.", DIM)])
        return rows


class AbsentScreen(Screen[None]):
    """Stands in front of everything else while there is no news."""

    DEFAULT_CSS = "AbsentScreen { layout: vertical; overflow: hidden; }"

    def __init__(self, absence: Absence) -> None:
        super().__init__()
        self.page = AbsencePage(absence)

    def compose(self) -> ComposeResult:
        """One page."""
        yield self.page

    def show_absence(self, absence: Absence) -> None:
        """Newer words."""
        self.page.show(absence)
