"""The Alarms screen: what is wrong, since when, why it matters, what to do."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from inspector.tui.screens.base import Moment, StationScreen
from inspector.tui.status import Alarm
from inspector.tui.widgets.alarms import AlarmDetail, AlarmList, AlarmTable
from inspector.tui.widgets.lines import Rule
from inspector.tui.widgets.plc import PlcLine


class AlarmsScreen(StationScreen):
    """The list above, the chosen alarm's meaning below."""

    DEFAULT_CSS = """
    AlarmsScreen AlarmDetail { height: 8; }
    """
    KEYS: ClassVar[str] = "1 Run  3 Rejects  ↑ ↓ choose  a acknowledge  ? keys"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "alarm above", id="alarms.up"),
        Binding("down", "choose(1)", "alarm below", id="alarms.down"),
    ]

    def __init__(self, moment: Moment | None = None) -> None:
        super().__init__(moment)
        self.list = AlarmList(())

    def body(self) -> ComposeResult:
        """Table and detail."""
        yield AlarmTable()
        yield Rule((), id="lower_rule")
        yield AlarmDetail()
        yield PlcLine()

    def fill(self, moment: Moment) -> None:
        """The choice stays with its alarm, wherever the list moves it."""
        super().fill(moment)
        self.query_one(PlcLine).show(moment.status.links.get("plc"))
        urgent = moment.status.urgent()
        standing = tuple(alarm for alarm in urgent if alarm.state != "RTN")
        gone = tuple(alarm for alarm in urgent if alarm.state == "RTN")
        self._choose(AlarmList(standing + gone, self.list.chosen))

    def _choose(self, alarms: AlarmList) -> None:
        chosen = alarms.alarm
        self.list = AlarmList(alarms.alarms, chosen.id if chosen else "")
        self.query_one(AlarmTable).show(self.list)
        self.query_one(AlarmDetail).show(chosen)

    def action_choose(self, step: int) -> None:
        """Choose the alarm above or below."""
        alarms = self.list.alarms
        if alarms:
            at = min(max(self.list.index + step, 0), len(alarms) - 1)
            self._choose(AlarmList(alarms, alarms[at].id))

    def alarm(self) -> Alarm | None:
        """The chosen alarm, when it waits for an acknowledgement."""
        chosen = self.list.alarm
        return chosen if chosen is not None and chosen.waits else None
