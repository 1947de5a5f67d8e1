"""The latest rejects, one at a time: it stays on the screen while the line goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from inspector.parts import Outcome
from inspector.tui.ink import DIM, STRONG, TEXT, Line, spread
from inspector.tui.messages import PartWanted
from inspector.tui.screens.base import Moment, StationScreen
from inspector.tui.status import Judged, Picture, Recent
from inspector.tui.widgets.checks import Checks
from inspector.tui.widgets.lines import Bar, Lines
from inspector.tui.widgets.picture import PictureBox, View
from inspector.tui.widgets.verdict import Banner, Headline, Sentence
from inspector.tui.words import clip, clock


@dataclass(frozen=True, slots=True)
class Place:
    """Which reject is shown, among how many, and what is wrong with showing it."""

    part: Recent | None
    number: int
    count: int
    trouble: str = ""


class PlaceLine(Lines[Place]):
    """``REJECT 2 of 5   09:59:59   part P004799``."""

    DEFAULT_CSS = "PlaceLine { height: 1; }"

    def draw(self, value: Place, width: int, height: int) -> list[Line]:
        """One line."""
        if value.part is None:
            return [[(" REJECTS", STRONG), ("    none among the recent parts", TEXT)]]
        when = f"   {clock(value.part.utc)}   part {clip(value.part.part_id, 32)}"
        right: Line = [(f"{value.trouble} ", STRONG)] if value.trouble else [("1 is the newest ", DIM)]
        return [spread([(f" REJECT {value.number} of {value.count}", STRONG), (when, TEXT)], right, width)]


class RejectsScreen(StationScreen):
    """One reject, held until another one is chosen."""

    DEFAULT_CSS = """
    RejectsScreen #left { width: 39; }
    RejectsScreen Banner { height: 6; }
    RejectsScreen Sentence { height: 4; }
    RejectsScreen.-wide #left { width: 54; }
    RejectsScreen.-wide Banner { height: 9; }
    """
    KEYS: ClassVar[str] = "1 Run  2 Alarms  4 Pictures  ← newer  → older  ? keys"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "newer reject", id="rejects.newer"),
        Binding("right", "step(1)", "older reject", id="rejects.older"),
    ]

    def __init__(self, moment: Moment | None = None, *, pictures: bool = True) -> None:
        super().__init__(moment)
        self.pictures = pictures
        self.seq: int | None = None
        self.trouble = ""

    def body(self) -> ComposeResult:
        """As on Run, without the counts."""
        yield PlaceLine()
        with Horizontal():
            with Vertical(id="left"):
                yield Banner()
                yield Sentence()
                if self.pictures:
                    yield Checks()
            yield Bar(())
            yield PictureBox() if self.pictures else Checks()

    def _rejects(self) -> list[Recent]:
        recent = self.moment.status.recent if self.moment else ()
        return [part for part in reversed(recent) if part.outcome is Outcome.FAIL]

    def fill(self, moment: Moment) -> None:
        """The chosen reject stays; it is let go only when it is no longer among the recent parts."""
        super().fill(moment)
        rejects = self._rejects()
        seqs = [part.seq for part in rejects]
        if self.seq not in seqs:
            self._choose(seqs[0] if seqs else None)
        at = seqs.index(self.seq) if self.seq is not None else 0
        place = Place(rejects[at] if rejects else None, at + 1, len(rejects), self.trouble)
        self.query_one(PlaceLine).show(place)

    def _choose(self, seq: int | None) -> None:
        self.seq, self.trouble = seq, ""
        self._show(None, None)
        if seq is not None:
            self.post_message(PartWanted(seq))

    def action_step(self, step: int) -> None:
        """The next older or newer reject."""
        seqs = [part.seq for part in self._rejects()]
        if self.moment is not None and self.seq in seqs:
            at = seqs.index(self.seq) + step
            if 0 <= at < len(seqs):
                self._choose(seqs[at])
                self.fill(self.moment)

    def show_part(self, seq: int, judged: Judged | None, picture: Picture | None, trouble: str = "") -> None:
        """What was asked for; an answer about another part than the chosen one is too late."""
        if seq == self.seq and self.moment is not None:
            self.trouble = trouble
            self._show(judged, picture)
            self.fill(self.moment)

    def _show(self, judged: Judged | None, picture: Picture | None) -> None:
        headline = Headline.of(judged) if judged else None
        self.query_one(Banner).show(headline.word if headline else None)
        self.query_one(Sentence).show(headline)
        self.query_one(Checks).show(judged.verdict.checks if judged else None)
        if self.pictures:
            self.query_one(PictureBox).show(View.of(judged.verdict, picture) if judged else None)
