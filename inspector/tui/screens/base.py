"""What all screens of the station share: frame rows, sizes, and how a moment reaches the widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from inspector.tui.ink import TEXT, Line
from inspector.tui.status import Alarm, Picture, Status
from inspector.tui.widgets.heading import Keys, StatusLine, TopAlarm
from inspector.tui.widgets.lines import Lines, Rule

SMALLEST = (80, 24)
WIDE = (132, 40)


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known of the station now, and how old that is."""

    status: Status
    age_s: float
    pictures: Mapping[int, Picture] = field(default_factory=dict)


class TooSmall(Lines[str]):
    """One line that says how large the window must be."""

    def draw(self, value: str, width: int, height: int) -> list[Line]:
        """The sentence, cut where the window ends."""
        return [[(value, TEXT)]]


class StationScreen(Screen[None]):
    """A screen with a status line, the top alarm, and the keys; a body between them."""

    DEFAULT_CSS = """
    StationScreen { layout: vertical; overflow: hidden; }
    StationScreen Vertical, StationScreen Horizontal { overflow: hidden; }
    StationScreen > TooSmall { display: none; }
    StationScreen.-small > * { display: none; }
    StationScreen.-small > TooSmall { display: block; }
    """
    KEYS: ClassVar[str] = "1 Run  2 Alarms  3 Rejects  4 Pictures  ? keys"

    def __init__(self, moment: Moment | None = None) -> None:
        super().__init__()
        self.moment = moment
        self.note = ""

    def compose(self) -> ComposeResult:
        """The frame; a subclass gives the body."""
        yield TooSmall(f" {SMALLEST[0]}x{SMALLEST[1]} is the smallest window for this screen")
        yield StatusLine()
        yield TopAlarm()
        yield Rule((), id="upper")
        yield from self.body()
        yield Keys((self.KEYS, ""))

    def body(self) -> ComposeResult:
        """The widgets between the frame's rows."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Show what is already known."""
        if self.moment is not None:
            self.fill(self.moment)

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout by the window's size."""
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-small")
        wide = width >= WIDE[0] and height >= WIDE[1]
        self.set_class(wide, "-wide")
        self.place(width, wide)

    def place(self, width: int, wide: bool) -> None:
        """Place what CSS cannot; nothing by default."""

    def show(self, moment: Moment) -> None:
        """Take a newer moment; before the widgets are there it waits for them."""
        self.moment = moment
        if self.is_mounted:
            self.fill(moment)

    def fill(self, moment: Moment) -> None:
        """Hand the moment's values to the widgets."""
        self.query_one(StatusLine).show((moment.status, moment.age_s))
        self.query_one(TopAlarm).show(moment.status.urgent())

    def say(self, note: str) -> None:
        """Show a note in place of the keys; "" ends it."""
        self.note = note
        self.query_one(Keys).show((self.KEYS, note))

    def alarm(self) -> Alarm | None:
        """The alarm that ``a`` acknowledges: the most urgent one that waits for it."""
        if self.moment is None:
            return None
        return next((alarm for alarm in self.moment.status.urgent() if alarm.waits), None)
