"""The terminal's app: takes what the link says, hands it to the screen in front, sends acknowledgements.

It can be ended or killed at any time: the station knows nothing of it.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.theme import Theme

from inspector.tui.ink import BACKGROUND, FOREGROUND, PALETTE
from inspector.tui.link import SILENCE_S, Gone, Link
from inspector.tui.messages import HealthWanted, PartWanted, PictureCame, RelearnWanted, StationGone, StatusCame
from inspector.tui.screens.absent import Absence, AbsentScreen
from inspector.tui.screens.alarms import AlarmsScreen
from inspector.tui.screens.base import Moment, StationScreen
from inspector.tui.screens.keys import KeysScreen
from inspector.tui.screens.pictures import PicturesScreen
from inspector.tui.screens.rejects import RejectsScreen
from inspector.tui.screens.run import RunScreen
from inspector.tui.status import Picture, Status
from inspector.tui.widgets.verdict import Headline

TICK_S = 0.5
NOTE_S = 4.0
GREY = Theme(
    "grey", primary=FOREGROUND, foreground=FOREGROUND, background=BACKGROUND, surface=BACKGROUND, panel=BACKGROUND
)


class Terminal(App[None], inherit_bindings=False):
    """Run, Alarms, Rejects, Pictures and the page of keys; a page before all of them while there is no station."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Inspector"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1,escape", "run", "Run", id="go.run"),
        Binding("2", "alarms", "Alarms", id="go.alarms"),
        Binding("3,r", "rejects", "Rejects", id="go.rejects"),
        Binding("4,p", "pictures", "Pictures", id="go.pictures"),
        Binding("question_mark", "keys", "Keys", id="go.keys"),
        Binding("a", "acknowledge", "Acknowledge", id="alarm.acknowledge"),
        Binding("q", "leave", "Leave", id="app.leave"),
        Binding("ctrl+c", "leave", "Leave", id="app.interrupt", priority=True),
    ]

    def __init__(self, socket: Path | None = None, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.register_theme(GREY)
        self.ansi_theme_dark = PALETTE
        self.theme = "ansi-dark" if plain else "grey"
        self.animation_level = "none"
        self.link = Link(self.post_message, socket, pictures=not plain)
        self._run_screen = RunScreen(pictures=not plain)
        self._absent: AbsentScreen | None = None
        self.status: Status | None = None
        self.pictures: dict[int, Picture] = {}
        self._heard = time.monotonic()  # when the last news came; at the start, when we began to wait
        self._heard_at = datetime.now()
        self._why = "No answer yet."
        self._note_until = 0.0

    def get_default_screen(self) -> RunScreen:
        """The screen at the bottom of all others."""
        return self._run_screen

    def on_mount(self) -> None:
        """Start listening."""
        self.run_worker(self.link.run(), name="link", exit_on_error=True)
        self.set_interval(TICK_S, self._tick)

    def on_status_came(self, message: StatusCame) -> None:
        """News: remember it, show it, and step out of the way if we stood there without news."""
        if self.status is not None and self.status.station.boot != message.status.station.boot:
            self.pictures = {}
        self.status = message.status
        self._heard, self._heard_at = time.monotonic(), datetime.now()
        if self._absent is not None and self.is_running:
            self._absent = None
            self.pop_screen()
        self._show()

    def on_picture_came(self, message: PictureCame) -> None:
        """Keep it, and let go those that no screen shows any more."""
        wanted = self.status.pictured() if self.status is not None else ()
        self.pictures = {seq: picture for seq, picture in self.pictures.items() if seq in wanted}
        self.pictures[message.picture.seq] = message.picture
        self._show()

    def on_station_gone(self, message: StationGone) -> None:
        """No connection: say so at once."""
        self._why = message.why
        self._show_absence()

    def _tick(self) -> None:
        age_s = time.monotonic() - self._heard
        if self._absent is not None or age_s > SILENCE_S:
            self._show_absence()
        elif self.status is not None:
            self._show()
        if self._note_until and time.monotonic() > self._note_until:
            self._say("")

    def _moment(self) -> Moment | None:
        if self.status is None:
            return None
        return Moment(self.status, float(int(time.monotonic() - self._heard)), self.pictures)

    def _show(self) -> None:
        moment = self._moment()
        if self.is_running and moment is not None and isinstance(self.screen, StationScreen):
            self.screen.show(moment)

    def _show_absence(self) -> None:
        if not self.is_running:  # messages still come while the screens are being taken down
            return
        status = self.status
        headline = Headline.of(status.last) if status is not None and status.last is not None else None
        last = f"part {headline.part}, {headline.word}" if headline else ""
        for_s = int(time.monotonic() - self._heard)
        absence = Absence(self._why, self._heard_at.strftime("%H:%M:%S"), for_s, last)
        if self._absent is None:
            self._absent = AbsentScreen(absence)
            self.push_screen(self._absent)
        else:
            self._absent.show_absence(absence)

    def action_run(self) -> None:
        """Back to the Run screen."""
        if self._absent is None and self.screen is not self._run_screen:
            self.pop_screen()
            self._show()

    def action_alarms(self) -> None:
        """The list of alarms."""
        if self._leads(AlarmsScreen):
            self.push_screen(AlarmsScreen(self._moment()))

    def action_keys(self) -> None:
        """The page of keys."""
        if self._leads(KeysScreen):
            self.push_screen(KeysScreen(self._moment()))

    def action_rejects(self) -> None:
        """The latest rejects, one at a time."""
        if self._leads(RejectsScreen):
            self.push_screen(RejectsScreen(self._moment(), pictures=not self.plain))

    def action_pictures(self) -> None:
        """How the pictures are, as pictures."""
        if self._leads(PicturesScreen):
            self.push_screen(PicturesScreen(self._moment()))

    def _leads(self, kind: type[StationScreen]) -> bool:
        """True when a key may lead to this screen; then the way is free, with Run in front."""
        if self._absent is not None or isinstance(self.screen, kind):
            return False
        self.action_run()
        return True

    def on_part_wanted(self, message: PartWanted) -> None:
        """Fetch a part for the screen that asks."""
        self.run_worker(self._bring_part(message.seq), group="part", exclusive=True)

    async def _bring_part(self, seq: int) -> None:
        try:
            judged, trouble = await self.link.part(seq), ""
        except Gone as gone:
            judged, trouble = None, f"no verdict: {gone}"
        picture = self.pictures.get(seq) or (await self.link.picture(seq) if judged else None)
        if self.is_running and isinstance(self.screen, RejectsScreen):
            self.screen.show_part(seq, judged, picture, trouble)

    def on_health_wanted(self, message: HealthWanted) -> None:
        """Fetch the charts for the screen that asks."""
        self.run_worker(self._bring_health(), group="health", exclusive=True)

    async def _bring_health(self) -> None:
        try:
            health, trouble = await self.link.health(), ""
        except Gone as gone:
            health, trouble = None, str(gone)
        if self.is_running and isinstance(self.screen, PicturesScreen):
            self.screen.show_health(health, trouble)

    def on_relearn_wanted(self, message: RelearnWanted) -> None:
        """Pass it on to the station."""
        self.run_worker(self._relearn(), group="relearn", exclusive=True)

    async def _relearn(self) -> None:
        why_not = await self.link.relearn()
        self._say(f"NOT learned anew: {why_not}" if why_not else "Learning anew from the next good parts")
        await self._bring_health()

    def action_acknowledge(self) -> None:
        """Acknowledge; the station's next message shows the new state, we never pretend it."""
        screen = self.screen
        if not isinstance(screen, StationScreen):
            return
        alarm = screen.alarm()
        if alarm is None:
            self._say("Nothing to acknowledge here")
            return
        self.run_worker(self._acknowledge(alarm.id, alarm.text), group="acknowledge")

    async def _acknowledge(self, alarm_id: str, text: str) -> None:
        why_not = await self.link.acknowledge(alarm_id)
        self._say(f"NOT acknowledged: {why_not}" if why_not else f"Acknowledged: {text}")

    def _say(self, note: str) -> None:
        self._note_until = time.monotonic() + NOTE_S if note else 0.0
        if self.is_running and isinstance(self.screen, StationScreen):
            self.screen.say(note)

    def action_leave(self) -> None:
        """Leave; nothing is asked and nothing is stopped."""
        self.exit()
