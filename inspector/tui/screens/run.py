"""The Run screen: is the line fine, and if not, what is it?"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from inspector.parts import Verdict
from inspector.tui.screens.base import Moment, StationScreen
from inspector.tui.status import REJECTS, Picture
from inspector.tui.widgets.alarms import NewestAlarms
from inspector.tui.widgets.checks import Checks
from inspector.tui.widgets.counters import Codes, Counts, Tally
from inspector.tui.widgets.lines import Bar, Rule
from inspector.tui.widgets.picture import PictureBox, Rejects, View, rejects_of
from inspector.tui.widgets.verdict import Banner, Headline, Sentence
from inspector.tui.words import seconds_between

LEFT, LEFT_WIDE, TALLY_WIDE = 39, 54, 88
PICTURE_WAIT_S = 1.5


class RunScreen(StationScreen):
    """Verdict and checks left, the picture right, the counts below."""

    DEFAULT_CSS = """
    RunScreen #left { width: 39; }
    RunScreen Banner { height: 6; }
    RunScreen Sentence { height: 3; }
    RunScreen Codes, RunScreen #above_codes, RunScreen #below, RunScreen Rejects { display: none; }
    RunScreen #lower { height: 5; }
    RunScreen #more { display: none; width: 1fr; }
    RunScreen.-plain Codes { display: block; }
    RunScreen.-wide #left { width: 54; }
    RunScreen.-wide Banner { height: 9; }
    RunScreen.-wide Sentence { height: 4; }
    RunScreen.-wide Codes { display: block; height: 8; }
    RunScreen.-wide #above_codes { display: block; }
    RunScreen.-wide Rejects { display: block; height: 8; }
    RunScreen.-wide #above_rejects { display: block; }
    RunScreen.-wide #lower { height: 6; }
    RunScreen.-wide Counts { width: 88; }
    RunScreen.-wide #more { display: block; }
    RunScreen #above_rejects { display: none; }
    """
    KEYS: ClassVar[str] = "1 Run  2 Alarms  3 Rejects  4 Pictures  a ack  ? keys"

    def __init__(self, moment: Moment | None = None, *, pictures: bool = True) -> None:
        super().__init__(moment)
        self.pictures = pictures
        self.shown: tuple[Verdict, Picture] | None = None
        self.set_class(not pictures, "-plain")

    def body(self) -> ComposeResult:
        """Without pictures the checks have the right side."""
        with Horizontal():
            with Vertical(id="left"):
                yield Banner()
                yield Sentence()
                if self.pictures:
                    yield Checks()
                yield Rule((), id="above_codes")
                yield Codes()
            yield Bar((), id="middle")
            with Vertical():
                if self.pictures:
                    yield PictureBox()
                    yield Rule((), id="above_rejects")
                    yield Rejects()
                else:
                    yield Checks()
        yield Rule((), id="lower_rule")
        with Horizontal(id="lower"):
            yield Counts()
            with Horizontal(id="more"):
                yield Bar(())
                yield NewestAlarms()

    def place(self, width: int, wide: bool) -> None:
        """Give a window between the two layouts a fair left side; join the lines."""
        left = LEFT_WIDE if wide else min(max(LEFT, width // 2 - 1), LEFT_WIDE)
        self.query_one("#left").styles.width = left
        self.query_one("#upper", Rule).show(((left, "┬"),))
        cross = ((-9, "┼" if self.pictures else "┤"),) if wide else ()
        self.query_one("#middle", Bar).show(cross)
        below = ((left, "┴"), (TALLY_WIDE, "┬")) if wide else ((left, "┴"),)
        self.query_one("#lower_rule", Rule).show(below)

    def fill(self, moment: Moment) -> None:
        """Hand each widget its value."""
        super().fill(moment)
        status = moment.status
        headline = Headline.now(status)
        self.query_one(Banner).show(headline.word if headline else None)
        self.query_one(Sentence).show(headline or Headline("", 0, "Ready. No part has come yet.", "", ""))
        self.query_one(Checks).show(status.last.verdict.checks if status.last else None)
        self.query_one(Codes).show(status.codes)
        self.query_one(Counts).show(Tally.of(status))
        self.query_one(NewestAlarms).show(status.urgent())
        if self.pictures:
            self.query_one(PictureBox).show(self._view(moment))
            self.query_one(Rejects).show(rejects_of(status.recent, moment.pictures, REJECTS))

    def _view(self, moment: Moment) -> View | None:
        """The newest part's picture; while that is on its way, the one before, under its own name and box."""
        last = moment.status.last
        if last is None:
            return None
        verdict = last.verdict
        picture = moment.pictures.get(verdict.part.seq)
        if picture is not None:
            self.shown = (verdict, picture)
        elif not verdict.frames or not _fresh(verdict, moment.status.now_utc):
            self.shown = None
        return View.of(*self.shown) if self.shown else View.of(verdict, None)


def _fresh(verdict: Verdict, now_utc: str) -> bool:
    """True while this part's picture may still be on its way."""
    age_s = seconds_between(verdict.part.trigger.received_utc, now_utc)
    return age_s is not None and age_s < PICTURE_WAIT_S
