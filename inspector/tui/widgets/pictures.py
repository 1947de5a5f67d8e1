"""The health of the pictures: every patch in a row, one of them chart by chart, the likely cause, the cameras."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.tui.gauge import gauge
from inspector.tui.health import POSITION, Books, Camera, Chart, Health, Patch
from inspector.tui.ink import DIM, LOUD, PRIORITY, STRONG, TEXT, Line, Span, spread
from inspector.tui.trend import trend
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, clock, count, day, wrap

COLUMNS = ("brightness", "contrast", "sharpness", "noise", "saturated")
NAME, CELL, CELL_MAX = 15, 12, 26
LABEL = 10
OUT = PRIORITY[2]


@dataclass(frozen=True, slots=True)
class Choice:
    """The patches and which of them is chosen."""

    patches: tuple[Patch, ...]
    index: int

    @property
    def patch(self) -> Patch | None:
        """The chosen one."""
        return self.patches[self.index] if self.patches else None


def quantity(value: float | None, unit: str) -> str:
    """Three digits or more and the unit; a share is said in percent."""
    if value is None:
        return "-"
    if unit == "share":
        return f"{100 * value:.2f} %"
    return f"{value:.{_decimals(abs(value))}f} {unit}".rstrip()


def _decimals(size: float) -> int:
    return 1 if size >= 10 else 2 if size >= 1 or not size else 3 if size >= 0.1 else 5


def change(chart: Chart) -> str:
    """How far the latest parts are from what was learned: in percent, or in the unit where percent mean nothing."""
    if chart.centre is None or chart.level is None:
        return ""
    moved = chart.level - chart.centre
    if chart.what in POSITION:
        return f"{moved:+.{2 if chart.unit == 'deg' else 1}f} {chart.unit}"
    if chart.unit == "share":
        return f"{100 * moved:+.2f} %"
    return f"{100 * moved / chart.centre:+.1f} %" if chart.centre else ""


def between(chart: Chart, cell: int = CELL) -> Span:
    """The average between its limits in ``cell`` columns; a chart that is out is never drawn inside."""
    if chart.state == "learning" or chart.average_lower is None or chart.average_upper is None:
        return (f" {'learning':{cell - 1}}", DIM)
    value = chart.average
    reach = chart.average_upper - chart.average_lower
    if value is not None and chart.state != "steady":  # also when single parts jumped and the average lags
        out = chart.average_upper + reach if chart.state == "high" else chart.average_lower - reach
        value = max(value, out) if chart.state == "high" else min(value, out)
    line = gauge(value, chart.average_lower, chart.average_upper, chart.centre, cell - 3)
    return (f"{line:{cell}}", TEXT if chart.state == "steady" else OUT)


class PicturesHead(Lines[tuple[Health | None, str]]):
    """``PICTURES   limits from 200 good parts``. The value is the health and what is wrong with getting it."""

    DEFAULT_CSS = "PicturesHead { height: 1; }"

    def draw(self, value: tuple[Health | None, str], width: int, height: int) -> list[Line]:
        """One line; how far learning is, or since when the limits hold."""
        health, trouble = value
        if trouble:
            words: Span = (f"    {trouble}", LOUD)
        elif health is None:
            words = ("    asking the station", DIM)
        elif not health.charts:
            words = ("    no picture has been measured yet", TEXT)
        elif health.learned.parts < health.learned.of:
            words = (f"    learning: {health.learned.parts} of {health.learned.of} good parts", STRONG)
        else:
            learned = health.learned
            words = (f"    limits learned from {learned.of} good parts, {day(learned.utc)}", TEXT)
        key: Line = [] if trouble else [("n learn anew ", DIM)]
        return [spread([(" PICTURES", STRONG), words], key, width)]


class PatchTable(Lines[Choice]):
    """A row a patch; each characteristic between its limits."""

    def draw(self, value: Choice, width: int, height: int) -> list[Line]:
        """A window on the list that always holds the chosen patch."""
        if not value.patches:
            return []
        cell = min(max((width - 3 - NAME) // len(COLUMNS), CELL), CELL_MAX)
        named = "".join(f"{name:{cell}}" for name in COLUMNS)
        space = height - 1
        top = min(max(value.index - space // 2, 0), max(len(value.patches) - space, 0))
        rows: list[Line] = []
        for n, patch in enumerate(value.patches[top : top + space], top):
            mark = "►" if n == value.index else " "
            by = {chart.what: chart for chart in patch.charts}
            place = any(what in by for what in POSITION)
            row: Line = [(f" {mark} ", STRONG), (f"{clip(patch.name, NAME - 1):{NAME}}", TEXT)]
            for what in POSITION if place else COLUMNS:
                row.append(between(by[what], cell) if what in by else (" " * cell, TEXT))
            rows.append([*row, ("  x, y and angle" if place else "", DIM)])
        more = f"{value.index + 1} of {len(value.patches)}"
        head = spread([(f"   {'':{NAME}}{named}", DIM)], [], width)
        if len(value.patches) > space:
            head = spread([(f"   {more:{NAME}}{named}", DIM)], [], width)
        return [head, *rows]


class PatchCharts(Lines[Patch]):
    """The chosen patch: now, learned, the change, the course of the latest parts, a word."""

    DEFAULT_CSS = "PatchCharts { height: 6; }"

    def draw(self, value: Patch, width: int, height: int) -> list[Line]:
        """A row a characteristic."""
        room = max(width - 61, 10)
        parts = max((len(chart.series) for chart in value.charts), default=0)
        course = f"last {parts} parts" if parts > 1 else ""
        rows: list[Line] = [
            [(f" {clip(value.name, 13):13}{'now':>12}{'learned':>12}{'change':>10}   {course:{room}} state", DIM)]
        ]
        for chart in value.charts:
            out = chart.state in ("low", "high")
            line = trend(chart.series, (chart.lower, chart.upper), (chart.average_lower, chart.average_upper), room)
            figures = (
                f"{quantity(chart.now, chart.unit):>12}{quantity(chart.centre, chart.unit):>12}{change(chart):>10}"
            )
            word = f"too {chart.state}" if out else chart.state
            rows.append([(f" {chart.what:13}{figures}   ", TEXT), (f"{line} ", TEXT), (word, OUT if out else DIM)])
        return rows


class CauseLines(Lines[tuple[Health, Patch | None]]):
    """What has most likely happened and what to do: of the chosen patch's view, else the first there is."""

    DEFAULT_CSS = "CauseLines { height: 4; }"

    def draw(self, value: tuple[Health, Patch | None], width: int, height: int) -> list[Line]:
        """Two rows each; the same rows whatever they say."""
        health, patch = value
        causes = health.causes
        if not causes:
            lines = wrap(_calm(health), width - LABEL - 2, 4)
            return [[(f" {'' if n else 'likely':{LABEL}}", DIM), (line, DIM)] for n, line in enumerate(lines)]
        name = "" if patch is None else _alarm(patch)
        cause = next((c for c in causes if c.alarm == name), causes[0])
        others = f" ({len(causes)} causes)" if len(causes) > 1 else ""
        since = f"; since {clock(cause.since_utc)}, part {cause.part_id}" if cause.since_utc else ""
        rows: list[Line] = []
        for label, words, style in (
            ("likely", f"{cause.text}{since}{others}", STRONG),
            ("do this", cause.action, TEXT),
        ):
            lines = wrap(words, width - LABEL - 2, 2)
            lines += [""] * (2 - len(lines))
            rows += [[(f" {label if n == 0 else '':{LABEL}}", DIM), (line, style)] for n, line in enumerate(lines)]
        return rows


def _calm(health: Health) -> str:
    """What there is to say when nothing is wrong."""
    if not health.charts:
        return "-"
    if any(chart.state == "learning" for chart in health.charts):
        return "nothing is compared before enough good parts were seen"
    if health.learned.wandered:
        names = ", ".join(health.learned.wandered)
        return f"all as learned; while it was learned, {names} wandered: the limits are wide, n learns anew"
    return "all as learned"


def _alarm(patch: Patch) -> str:
    if any(chart.what in POSITION for chart in patch.charts):
        return "position"
    return f"health:{patch.view}" if patch.view else "health"


class CameraLines(Lines[Health]):
    """A camera a row: temperature, settings, pictures that were nobody's; then the books of a wired station."""

    DEFAULT_CSS = "CameraLines { height: 2; }"

    def draw(self, value: Health, width: int, height: int) -> list[Line]:
        """As many as there is room for; the last row counts the others."""
        rows = [_camera(name, camera, width) for name, camera in value.cameras.items()]
        if value.books is not None:
            rows.append(_books(value.books))
        if len(rows) > height > 0:
            rest = len(rows) - height + 1
            rows = [*rows[: height - 1], [(f" + {rest} more: curl /v1/health on the station's socket", DIM)]]
        return rows


def _camera(name: str, camera: Camera, width: int) -> Line:
    line: Line = [(f" {clip(name, LABEL - 1):{LABEL}}", DIM)]
    if not camera.fresh:
        line.append(("lost  ", LOUD))
    if camera.temperature_c is not None:
        hot = camera.temperature_c > camera.temperature_max_c
        line.append((f"{camera.temperature_c:.1f} °C of {camera.temperature_max_c:.0f}  ", OUT if hot else TEXT))
    settings = camera.settings
    if settings.changed:
        line.append(("settings were changed: see 2  ", OUT))
    elif settings.checked_utc:
        line.append((f"settings as wanted {clock(settings.checked_utc)}  ", TEXT))
    line.append((f"{count(camera.frames)} pictures, {count(camera.failures)} failed", TEXT))
    strays = ", ".join(f"{count(n)} {what}" for what, n in camera.strays.items())
    if strays:
        line.append((f"  strays: {strays}", TEXT))
    return line


def _books(books: Books) -> Line:
    said = f"{count(books.announced)} announced, {count(books.settled)} settled, {count(books.failed)} failed, "
    return [(f" {'books':{LABEL}}", DIM), (f"{said}{count(books.unannounced)} that nobody announced", TEXT)]
