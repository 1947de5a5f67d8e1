"""The list of alarms and what one of them means."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.tui.ink import DIM, MARK, PRIORITY, REVERSE, STRONG, TEXT, Line, spread
from inspector.tui.status import Alarm
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, clock, wrap


@dataclass(frozen=True, slots=True)
class AlarmList:
    """Alarms, most urgent first, and the id of the chosen one."""

    alarms: tuple[Alarm, ...]
    chosen: str = ""

    @property
    def index(self) -> int:
        """Where the chosen alarm stands; 0 when it is gone."""
        return next((n for n, alarm in enumerate(self.alarms) if alarm.id == self.chosen), 0)

    @property
    def alarm(self) -> Alarm | None:
        """The chosen alarm."""
        return self.alarms[self.index] if self.alarms else None


def row(alarm: Alarm, width: int, mark: str) -> Line:
    """``► 2▲  UNACK  14:31:50  what   do this``."""
    colour = PRIORITY[alarm.priority]
    state = {"UNACK": "UNACK", "ACK": "ack", "RTN": "RTN"}[alarm.state]
    style = colour + REVERSE if alarm.state == "UNACK" else colour
    room = max(width - 26, 10)
    what = room * 11 // 20
    head: Line = [(f" {mark} ", STRONG), (f"{MARK[alarm.priority]} {state:5} ", style)]
    words = f" {clock(alarm.since_utc)}  {clip(alarm.text, what - 2):{what}}{clip(alarm.action, room - what)}"
    return [*head, (words, DIM if alarm.state == "RTN" else TEXT)]


class AlarmTable(Lines[AlarmList]):
    """All alarms; those that are gone but were never acknowledged stand under a line of their own."""

    def draw(self, value: AlarmList, width: int, height: int) -> list[Line]:
        """A window on the list that always holds the chosen alarm."""
        active = sum(alarm.state != "RTN" for alarm in value.alarms)
        waiting = sum(alarm.waits for alarm in value.alarms)
        head: Line = [(" ALARMS", STRONG), (f"    {active} active   {waiting} to acknowledge", TEXT)]
        if not value.alarms:
            return [head, [], [("   nothing to do: there are no alarms", DIM)]]
        room = max(width - 26, 10)
        columns = f"   pri state  since     {'what':{room * 11 // 20}}do this"
        rows: list[Line] = []
        at = 0
        for n, alarm in enumerate(value.alarms):
            if alarm.state == "RTN" and (n == 0 or value.alarms[n - 1].state != "RTN"):
                rows += [[], [("   cleared, not yet acknowledged", DIM)]]
            at = len(rows) if n == value.index else at
            rows.append(row(alarm, width, "►" if n == value.index else " "))
        space = height - 4
        top = min(max(at - space // 2, 0), max(len(rows) - space, 0))
        below = len(rows) - top - space
        hints = [f"▲ {top} rows above" if top > 0 else "", f"▼ {below} rows below" if below > 0 else ""]
        return [
            head,
            [(columns, DIM)],
            *rows[top : top + space],
            *[[] for _ in range(space - len(rows))],
            [],
            [("   " + "   ".join(h for h in hints if h), DIM)],
        ]


class NewestAlarms(Lines[tuple[Alarm, ...]]):
    """The most urgent alarms on the wide Run screen."""

    def draw(self, value: tuple[Alarm, ...], width: int, height: int) -> list[Line]:
        """As many rows as there are; the last one counts the rest."""
        if not value:
            return [[(" no alarms", DIM)]]
        rows = [row(alarm, width, " ") for alarm in value[:height]]
        if len(value) > height:
            rows[-1] = [(f"   + {len(value) - height + 1} more on screen 2", DIM)]
        return rows


class AlarmDetail(Lines[Alarm]):
    """Why the chosen alarm matters and what to do about it."""

    def draw(self, value: Alarm, width: int, height: int) -> list[Line]:
        """What, why, do this, since: the same rows for every alarm, unless what needs more than three to be whole."""
        code = f" ({value.code})" if value.code else ""
        named = [(name, wrap(words or "-", width - 18, 2)) for name, words in _meaning(value)]
        spare = height - 4 - sum(len(lines) for _, lines in named)
        what = wrap(value.text + code, width - 2, max(3 + spare, 1))
        room = 2 if len(what) <= 3 else 1
        what += [""] * (3 - len(what))
        rows: list[Line] = [[(f" {line}", STRONG)] for line in what]
        for name, lines in named:
            lines += [""] * (room - len(lines))
            rows += [[(f" {name if n == 0 else '':16}", DIM), (line, TEXT)] for n, line in enumerate(lines)]
        times = "time" if value.count == 1 else "times"
        gone = ", gone by itself" if value.state == "RTN" else ""
        since = f"{clock(value.since_utc)}   seen {value.count} {times}{gone}"
        right: Line = [(f"priority {value.priority} of 3 ", PRIORITY[value.priority])]
        return [*rows, spread([(f" {'Since':16}", DIM), (since, TEXT)], right, width)]


def _meaning(alarm: Alarm) -> tuple[tuple[str, str], ...]:
    return ("Why it matters", alarm.why), ("Do this", alarm.action)
