"""The rows that frame every screen: status, most urgent alarm, keys."""

from __future__ import annotations

from inspector.tui.ink import DIM, LOUD, MARK, PRIORITY, REVERSE, STRONG, TEXT, Line, Span, length, spread
from inspector.tui.status import Alarm, LinkState, Status
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, clock, size, span

STALE_S = 2.0
_STATES = {"EXECUTE": "RUN"}


def _worst(links: list[tuple[str, LinkState]]) -> tuple[str, LinkState]:
    """A lost link before one that is off, before one that is ok; among equals the first."""
    order = {"lost": 0, "off": 1, "ok": 2}
    return min(links, key=lambda item: order[item[1].state])


def link_groups(links: dict[str, LinkState]) -> list[tuple[str, LinkState]]:
    """The links by the short names of the status line; several cameras are shown as their worst."""
    cameras = [(name.removeprefix("camera").strip(), state) for name, state in links.items() if name[:6] == "camera"]
    out: list[tuple[str, LinkState]] = []
    for name, state in links.items():
        if name[:6] != "camera":
            out.append((name.upper(), state))
        elif not any(label.startswith("CAM") for label, _ in out):
            worst, worst_state = _worst(cameras)
            several = len(cameras) > 1 and worst_state.state != "ok"
            out.append((f"CAM {worst}" if several else "CAM", worst_state))
    return out


def link_spans(label: str, link: LinkState, wide: bool) -> Line:
    """``PLC ok``, ``PLC lost  12 s`` in reverse, ``PLC off``."""
    if link.state == "lost":
        return [(f"{label} lost{span(link.since_s)}", LOUD), ("  ", TEXT)]
    detail = f" {clip(link.text, 12)}" if wide and link.text and link.state == "ok" else ""
    return [(f"{label} {link.state}", TEXT), (f"{detail}  ", DIM)]


class StatusLine(Lines[tuple[Status, float]]):
    """Station, state, recipe, links, time. The value is the status and its age in s."""

    DEFAULT_CSS = "StatusLine { height: 1; }"

    def draw(self, value: tuple[Status, float], width: int, height: int) -> list[Line]:
        """The right part is whole; what gives way in a small window is the recipe's name."""
        status, age_s = value
        wide = width >= 120
        state = _STATES.get(status.state, status.state)
        running = status.ready and status.state == "EXECUTE"
        name = status.station.name.upper()
        left: Line = [
            (f" {clip(name, 32 if wide else 16)}  ", STRONG),
            (state, TEXT if running else LOUD),
        ]
        if status.station.sim:
            left.append((" sim", DIM))
        if status.recipe is not None:
            recipe = status.recipe
            left += [(f"   {recipe.number} {recipe.name}", TEXT), (f"  {recipe.sha[:6]}", DIM)]
        else:
            left.append(("   no recipe", LOUD))
        right: Line = []
        for label, link in link_groups(status.links):
            if wide or link.state != "ok" or label in ("PLC", "CAM", "JUDGE"):
                right += link_spans(label, link, wide)
        if wide and status.disk.budget_bytes > 0:
            share = 100 * status.disk.used_bytes / status.disk.budget_bytes
            right.append((f"disk {share:.0f} %, {size(status.disk.free_bytes)} free  ", DIM))
        fresh = age_s < STALE_S
        time: Span = (clock(status.now_utc), TEXT) if fresh else (f"{int(age_s):2d} s old", LOUD)
        right += [time, (" ", TEXT)]
        room = width - length(right) - 1
        if status.recipe is not None and length(left) > room:
            del left[-1]  # the hash: the names say more to an operator
        if length(left) > room:
            left[0] = (f" {clip(name, 12)}  ", STRONG)
        if status.recipe is not None and length(left) > room:
            left[-1] = (clip(left[-1][0], max(room - length(left[:-1]), 6)), TEXT)
        return [spread(left, right, width)]


class TopAlarm(Lines[tuple[Alarm, ...]]):
    """The most urgent alarm; the row stays when there is none, so nothing ever jumps."""

    DEFAULT_CSS = "TopAlarm { height: 1; }"

    def draw(self, value: tuple[Alarm, ...], width: int, height: int) -> list[Line]:
        """``2▲ UNACK  what: do this        1 of 3   a ack``."""
        if not value:
            return [[(" no alarms", DIM)]]
        alarm = value[0]
        colour = PRIORITY[alarm.priority]
        right: Line = [(f"  1 of {len(value)}", TEXT), ("   a ack " if alarm.waits else "   2 list ", DIM)]
        text = f"{alarm.text}: {alarm.action}" if alarm.action else alarm.text
        state = f" {MARK[alarm.priority]} {alarm.state:5} "
        room = width - length(right) - len(state) - 3
        style = colour + REVERSE if alarm.state == "UNACK" else colour
        return [spread([(state, style), (f" {clip(text, room)}", TEXT)], right, width)]


class Keys(Lines[tuple[str, str]]):
    """What the keys do, or for a moment what came of the last one. The value is (keys, note)."""

    DEFAULT_CSS = "Keys { height: 1; }"

    def draw(self, value: tuple[str, str], width: int, height: int) -> list[Line]:
        """Keys left; the note stands in their place and in reverse."""
        keys, note = value
        if note:
            return [[(" ", TEXT), (f" {clip(note, width - 4)} ", LOUD)]]
        return [spread([(f" {keys}", DIM)], [("q leaves, line runs on ", DIM)], width)]
