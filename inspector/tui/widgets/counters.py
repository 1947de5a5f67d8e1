"""Counts, the trend of rejects, the most frequent codes and the strip of recent parts."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.parts import Outcome
from inspector.tui.ink import DIM, DOUBT, STRONG, TEXT, Line, Span, length, spread
from inspector.tui.status import CodeCount, Counters, Latency, Recent, RejectTrend, Status
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, count, seconds_between, span

LABEL = 11
IDLE_S = 10.0
PARTS = 150  # in the strip
_MARK: dict[Outcome, Span] = {
    Outcome.PASS: ("·", DIM),
    Outcome.FAIL: ("■", STRONG),
    Outcome.NOT_INSPECTED: ("?", DOUBT),
}


def label(text: str) -> Span:
    """The name of a row."""
    return (f" {text:{LABEL - 1}}", DIM)


def trend(values: tuple[float, ...], rows: int, bar: int) -> list[str]:
    """Bars of ``bar`` cells, two steps a row, under the largest value; a value above 0 is never invisible."""
    top = max(values, default=0.0)
    steps = [0 if v <= 0 or top <= 0 else max(1, round(v / top * 2 * rows)) for v in values]
    lines = []
    for row in reversed(range(rows)):
        cells = [" ▄█"[min(max(step - 2 * row, 0), 2)] * bar for step in steps]
        lines.append(" ".join(cells))
    return lines


def kind(code: CodeCount) -> str:
    """What the code is about; the values after the colon are one part's alone."""
    return code.text.partition(":")[0]


def bars(codes: tuple[CodeCount, ...], width: int) -> Line:
    """Codes with their counts and bars in one row, as many as fit."""
    line: Line = []
    for code in codes:
        most = codes[0].count or 1
        text = f"{code.code} {clip(kind(code), 15)} {code.count} "
        bar = "█" * max(1, round(6 * code.count / most))
        if length(line) + len(text) + len(bar) > width:
            break
        line += [(text, TEXT), (f"{bar}  ", DIM)]
    return line


@dataclass(frozen=True, slots=True)
class Tally:
    """What the lower part of the Run screen shows."""

    counters: Counters
    trend: RejectTrend
    codes: tuple[CodeCount, ...]
    recent: tuple[Recent, ...]
    latency: Latency
    idle: str

    @classmethod
    def of(cls, status: Status) -> Tally:
        """The tally in a status; ``idle`` is said when the last part is long ago."""
        idle_s = seconds_between(status.recent[-1].utc, status.now_utc) if status.recent else None
        idle = f"last part{span(idle_s)} ago" if idle_s is not None and idle_s >= IDLE_S else ""
        return cls(status.counters, status.rejects_per_hour, status.codes, status.recent, status.latency_ms, idle)


class Counts(Lines[Tally]):
    """Five rows, or six when there is room for a taller trend (the codes then have their own place)."""

    def draw(self, value: Tally, width: int, height: int) -> list[Line]:
        """The same rows in the same places, whatever the numbers are."""
        wide = height >= 6
        c = value.counters
        share = f"{100 * c.passed / c.total:.2f} %" if c.total else "- %"
        total: Line = [
            label("total"),
            (f"{count(c.total)} parts    pass {count(c.passed)}    reject {count(c.fail)}    ", TEXT),
            (f"not inspected {count(c.not_inspected)}    {share}", TEXT),
        ]
        per_hour: Line = [("now ", DIM), (f"{value.trend.now:.0f} per h ", STRONG)]
        rows: list[Line] = [total]
        for n, bar in enumerate(trend(value.trend.history, 2 if wide else 1, 3)):
            first = label("rejects/h") if n == 0 else label("")
            rows.append(spread([first, (bar, DIM)], per_hour if n == (1 if wide else 0) else [], width))
        if not wide:
            rows.append([label("why"), *(bars(value.codes, width - LABEL) or [("no rejects", DIM)])])
        rows += self._strip(value.recent, width, 2 if wide else 1)
        legend: Line = [label(""), ("· pass   ■ reject   ? not inspected", DIM)]
        ms = value.latency
        times = f"answers in {ms.p50:.0f} ms, 99 % in {ms.p99:.0f}" if ms.p50 and ms.p99 else ""
        rows.append(spread(legend, [(f"{value.idle or times} ", STRONG if value.idle else DIM)], width))
        return rows

    def _strip(self, recent: tuple[Recent, ...], width: int, rows: int) -> list[Line]:
        """The newest part is at the right end of the last row."""
        room = min(width - LABEL - 1, PARTS // rows)
        shown = recent[-room * rows :]
        lines: list[Line] = []
        for row in range(rows):
            until = len(shown) - (rows - 1 - row) * room
            part = shown[max(until - room, 0) : max(until, 0)]
            name = label(f"last {room * rows}") if row == 0 else label("")
            lines.append([name, (" " * (room - len(part)), TEXT), *(_MARK[one.outcome] for one in part)])
        return lines


class Codes(Lines[tuple[CodeCount, ...]]):
    """Why parts were rejected, most frequent first, one code a row."""

    def draw(self, value: tuple[CodeCount, ...], width: int, height: int) -> list[Line]:
        """Code, words, count, bar."""
        rows: list[Line] = [[(" why parts were rejected", DIM)]]
        if not value:
            return [*rows, [(" no rejects", DIM)]]
        most = max(code.count for code in value) or 1
        words = width - 26
        for code in value[: height - 1]:
            bar = "█" * max(1, round(12 * code.count / most))
            rows.append([(f" {code.code:4} {clip(kind(code), words):{words}} {code.count:5} ", TEXT), (bar, DIM)])
        return rows
