"""The Pictures screen: do the pictures still look as they did when they were learned, and if not, why?"""

from __future__ import annotations

import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from inspector.tui.health import Health, patches
from inspector.tui.messages import HealthWanted, RelearnWanted
from inspector.tui.screens.base import Moment, StationScreen
from inspector.tui.widgets.lines import Rule
from inspector.tui.widgets.pictures import CameraLines, CauseLines, Choice, PatchCharts, PatchTable, PicturesHead

ASK_EVERY_S = 2.0
SURE_S = 4.0  # a second press so soon after the first means it


class PicturesScreen(StationScreen):
    """All patches above, the chosen one's charts below them, then the likely cause and the cameras."""

    KEYS: ClassVar[str] = "1 Run  2 Alarms  3 Rejects  ↑ ↓ choose  n anew  ? keys"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "patch above", id="pictures.up"),
        Binding("down", "choose(1)", "patch below", id="pictures.down"),
        Binding("n", "relearn", "learn anew", id="pictures.relearn"),
    ]

    def __init__(self, moment: Moment | None = None) -> None:
        super().__init__(moment)
        self.health: Health | None = None
        self.trouble = ""
        self.chosen = ""
        self._asked_at = float("-inf")
        self._sure_until = float("-inf")

    def body(self) -> ComposeResult:
        """From the whole to the one."""
        yield PicturesHead()
        yield PatchTable()
        yield Rule((), id="lower_rule")
        yield PatchCharts()
        yield Rule((), id="cause_rule")
        yield CauseLines()
        yield CameraLines()

    def fill(self, moment: Moment) -> None:
        """The charts are asked for apart from the status, and less often: they are much to send."""
        super().fill(moment)
        if self.health is None:
            self.query_one(PicturesHead).show((None, self.trouble))
        now = time.monotonic()
        if now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = now
            self.post_message(HealthWanted())

    def show_health(self, health: Health | None, trouble: str = "") -> None:
        """Newer charts, or why there are none; the choice stays with its patch."""
        if health is not None:
            self.health = health
        self.trouble = trouble
        self.query_one(PicturesHead).show((self.health, trouble))
        self.query_one(CameraLines).show(self.health)
        self._choose(0)

    def _choose(self, step: int) -> None:
        if self.health is None:
            return
        found = patches(self.health)
        names = [patch.name for patch in found]
        at = names.index(self.chosen) if self.chosen in names else 0
        at = min(max(at + step, 0), max(len(found) - 1, 0))
        choice = Choice(found, at)
        self.chosen = choice.patch.name if choice.patch else ""
        self.query_one(PatchTable).show(choice)
        self.query_one(PatchCharts).show(choice.patch)
        self.query_one(CauseLines).show((self.health, choice.patch))

    def action_choose(self, step: int) -> None:
        """Choose the patch above or below."""
        self._choose(step)

    def action_relearn(self) -> None:
        """Pressed twice: what the pictures look like from now on is how they are meant to look."""
        now = time.monotonic()
        if now < self._sure_until:
            self._sure_until = float("-inf")
            self.post_message(RelearnWanted())
            return
        self._sure_until = now + SURE_S
        parts = self.health.learned.of if self.health else 0
        self.say(f"n again: forget these limits, learn new ones from the next {parts} good parts")
