"""One camera's picture in the terminal, for the hands that turn its lens: focus, exposure, what is lost.

It knows nothing of cameras: a :class:`Source` gives it pictures with their figures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from inspector.tui.app import GREY
from inspector.tui.ink import DIM, DOUBT, LOUD, PALETTE, STRONG, TEXT, Line, spread
from inspector.tui.widgets.lines import Bar, Lines, Rule
from inspector.tui.widgets.picture import Image, cells
from inspector.tui.words import clip

TICK_S = 0.1
PANEL = 27  # columns of the figures
CHART = 5  # rows of the histogram
STEP = 0.25  # of what is shown, for each press of an arrow
SATURATED = 0.001  # share of white values from which the exposure is too long
KEYS = "space freeze  r reset peak  + - zoom  arrows move"

Region = tuple[int, int, int, int]
"""Part of a picture: x, y, width, height in px."""


class Figures(Protocol):
    """Of a picture or of a region of it."""

    @property
    def mean(self) -> float:
        """Mean grey value."""
        ...

    @property
    def white(self) -> int:
        """The largest grey value there can be."""
        ...

    @property
    def saturated(self) -> float:
        """Share of the values that are white, 0 to 1."""
        ...

    @property
    def focus(self) -> float:
        """Grows with sharpness."""
        ...

    @property
    def histogram(self) -> Sequence[float]:
        """Share of the values in equal steps from black to white."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what the camera says about it. Equal is only the same one."""

    image: NDArray[Any]  # (H, W) or (H, W, 3) RGB, uint8 or uint16
    raw: NDArray[Any]  # the same before colours were computed
    pixel_format: str
    frame_id: int
    exposure_us: float  # 0: the camera doesn't say
    gain_db: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return int(self.image.shape[1]), int(self.image.shape[0])


class Source(Protocol):
    """Where pictures come from. Nothing here blocks."""

    def newest(self, region: Region | None) -> tuple[Picture, Figures] | None:
        """The newest picture since the last call, if there is one; from now on figures are wanted of ``region``."""
        ...

    def figures(self, picture: Picture, region: Region | None) -> Figures:
        """Figures of a part of a picture; None: of all of it."""
        ...

    @property
    def rate_hz(self) -> float:
        """Pictures a second, as they come."""
        ...

    @property
    def lost(self) -> int:
        """Pictures that the camera took and that never came."""
        ...

    @property
    def why(self) -> str:
        """Why no pictures come; "" while they do."""
        ...


@dataclass(frozen=True)
class Sight:
    """Which part of the picture is shown: zoom 0 is all of it, each step twice as large, at most pixel by pixel."""

    zoom: int = 0
    x: float = 0.5  # the middle, as a share of the picture
    y: float = 0.5

    def scale(self, size: tuple[int, int], room: tuple[int, int]) -> float:
        """Pixels of the screen for one of the picture."""
        fit = min(room[0] / size[0], room[1] / size[1])
        return max(fit, min(fit * 2.0**self.zoom, 1.0))

    def region(self, size: tuple[int, int], room: tuple[int, int]) -> Region | None:
        """The part that is shown in ``room`` (columns, rows) pixels of the screen; None: all."""
        scale = self.scale(size, room)
        if self.zoom == 0 or scale <= min(room[0] / size[0], room[1] / size[1]):
            return None
        wide, high = (min(max(round(r / scale), 1), s) for r, s in zip(room, size, strict=True))
        x, y = round(self.x * size[0] - wide / 2), round(self.y * size[1] - high / 2)
        return min(max(x, 0), size[0] - wide), min(max(y, 0), size[1] - high), wide, high

    def closer(self, size: tuple[int, int], room: tuple[int, int]) -> Sight:
        """One step nearer, but no nearer than pixel by pixel."""
        return replace(self, zoom=self.zoom + 1) if self.scale(size, room) < 1.0 else self

    def farther(self) -> Sight:
        """One step back; all of the picture is shown from its middle."""
        return replace(self, zoom=self.zoom - 1) if self.zoom > 1 else Sight()

    def moved(self, right: int, down: int, size: tuple[int, int], room: tuple[int, int]) -> Sight:
        """A step to the side, as far as there is picture."""
        region = self.region(size, room)
        if region is None:
            return self
        x, y, wide, high = region
        x = min(max(x + round(right * STEP * wide), 0), size[0] - wide)
        y = min(max(y + round(down * STEP * high), 0), size[1] - high)
        return replace(self, x=(x + wide / 2) / size[0], y=(y + high / 2) / size[1])


@dataclass(frozen=True)
class Shown:
    """A picture, and the part of it to show."""

    picture: Picture
    region: Region | None
    white: int


class Window(Lines[Shown]):
    """The picture in half blocks."""

    @property
    def room(self) -> tuple[int, int]:
        """Pixels of the screen: columns and rows."""
        return max(self.size.width, 1), max(2 * self.size.height, 2)

    def draw(self, value: Shown, width: int, height: int) -> list[Line]:
        """In the middle of the room there is."""
        image = value.picture.image
        if value.region is not None:
            x, y, wide, high = value.region
            image = image[y : y + high, x : x + wide]
        small = _fitted(image, self.room, value.white)
        lines = cells(small)
        before = (" " * ((width - small.shape[1]) // 2), TEXT)
        above: list[Line] = [[] for _ in range((height - len(lines)) // 2)]
        return [*above, *([before, *line] for line in lines)]


def _fitted(image: NDArray[Any], room: tuple[int, int], white: int) -> Image:
    """At most ``room`` (columns, rows) pixels of 8 bits, never larger than it is."""
    high, wide = image.shape[:2]
    scale = min(room[0] / wide, room[1] / high, 1.0)
    if scale < 1.0:
        to = (max(int(wide * scale), 1), max(int(high * scale), 1))
        image = cv2.resize(image, to, interpolation=cv2.INTER_AREA)
    if white == 255 and image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    return np.asarray(np.minimum(image.astype(np.float32) * (255.0 / white), 255.0), np.uint8)


@dataclass(frozen=True)
class Reading:
    """All there is to read beside the picture."""

    figures: Figures
    peak: float
    picture: Picture
    rate_hz: float
    lost: int
    scale: float


class Panel(Lines[Reading]):
    """Focus with its peak, the exposure's histogram, numbers."""

    DEFAULT_CSS = f"Panel {{ width: {PANEL}; }}"

    def draw(self, value: Reading, width: int, height: int) -> list[Line]:
        """Twenty lines; what matters most when lens and light are set up stands on top."""
        found, picture = value.figures, value.picture
        room = width - 2
        share = found.focus / value.peak if value.peak > 0 else 0.0
        wide, high = picture.size
        too_bright = found.saturated >= SATURATED
        return [
            [(" focus", DIM), (f"{found.focus:.2f}".rjust(room - 18), STRONG), (f" {share:4.0%} of peak", TEXT)],
            [(" ", TEXT), *_bar(share, room)],
            [],
            *([(" ", TEXT), (row, TEXT)] for row in _chart(found.histogram, room, CHART)),
            [(" ", TEXT), ("0" + str(found.white).rjust(min(room, len(found.histogram)) - 1), DIM)],
            _row("mean", f"{found.mean:.1f} of {found.white}", room),
            _row("saturated", f"{found.saturated:.2%}", room, loud=too_bright),
            [],
            _row("exposure", f"{picture.exposure_us:g} us" if picture.exposure_us > 0 else "not told", room),
            _row("gain", f"{picture.gain_db:.1f} dB", room),
            _row("size", f"{wide}x{high} {picture.pixel_format}", room),
            _row("shown", "1:1" if value.scale >= 1 else f"x{value.scale:.3f}", room),
            [],
            _row("rate", f"{value.rate_hz:.1f} Hz", room),
            _row("frame", str(picture.frame_id), room),
            _row("lost", str(value.lost), room, loud=value.lost > 0),
        ]


def _row(name: str, text: str, width: int, *, loud: bool = False) -> Line:
    return [(f" {name}".ljust(width + 1 - len(text)), DIM), (text, DOUBT if loud else TEXT)]


def _bar(share: float, width: int) -> Line:
    full = round(min(max(share, 0.0), 1.0) * width)
    return [("█" * full, STRONG), ("░" * (width - full), DIM)]


def _chart(histogram: Sequence[float], width: int, height: int) -> list[str]:
    """Columns of half blocks. Their heights are square roots: a few white values must be seen beside the many."""
    most = max(histogram, default=0.0)
    bars = histogram[:width]
    heights = [max(round((value / most) ** 0.5 * 2 * height), 1 if value > 0 else 0) if most else 0 for value in bars]
    return [
        "".join("█" if h >= 2 * (level + 1) else "▄" if h == 2 * level + 1 else " " for h in heights)
        for level in reversed(range(height))
    ]


class Heading(Lines[tuple[str, bool, str]]):
    """Which camera; frozen or not; the time. The value is (name, frozen, time)."""

    DEFAULT_CSS = "Heading { height: 1; }"

    def draw(self, value: tuple[str, bool, str], width: int, height: int) -> list[Line]:
        """One line."""
        name, frozen, clock = value
        left: Line = [(f" {name}  ", STRONG), (" FROZEN ", LOUD) if frozen else ("live", TEXT)]
        return [spread(left, [(f"{clock} ", TEXT)], width)]


class Note(Lines[str]):
    """Why no pictures come, in a row that is always there so that nothing jumps."""

    DEFAULT_CSS = "Note { height: 1; }"

    def draw(self, value: str, width: int, height: int) -> list[Line]:
        """Loud, or empty."""
        return [[(" ", TEXT), (f" {clip(value, width - 4)} ", LOUD)]] if value else [[]]


class Foot(Lines[str]):
    """The keys."""

    DEFAULT_CSS = "Foot { height: 1; }"

    def draw(self, value: str, width: int, height: int) -> list[Line]:
        """One line."""
        return [spread([(f" {value}", DIM)], [("q leaves ", DIM)], width)]


class LiveCamera(App[None], inherit_bindings=False):
    """The picture, its figures, and what is wrong."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Inspector"
    CSS = "Screen { layout: vertical; overflow: hidden; } Horizontal { height: 1fr; } Vertical { width: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "leave", "Leave", id="live.leave"),
        Binding("ctrl+c", "leave", "Leave", id="live.interrupt", priority=True),
        Binding("space", "freeze", "Freeze", id="live.freeze"),
        Binding("r", "reset", "Reset the peak", id="live.reset"),
        Binding("plus,equals_sign", "zoom(1)", "Closer", id="live.closer"),
        Binding("minus", "zoom(-1)", "Farther", id="live.farther"),
        Binding("left", "move(-1,0)", "Left", id="live.left"),
        Binding("right", "move(1,0)", "Right", id="live.right"),
        Binding("up", "move(0,-1)", "Up", id="live.up"),
        Binding("down", "move(0,1)", "Down", id="live.down"),
    ]

    def __init__(self, name: str, source: Source) -> None:
        super().__init__()
        self.register_theme(GREY)
        self.ansi_theme_dark = PALETTE
        self.theme = "grey"
        self.animation_level = "none"
        self._camera = name
        self._source = source
        self.sight = Sight()
        self.frozen = False
        self.peak = 0.0
        self.picture: Picture | None = None
        self._figures: Figures | None = None

    def compose(self) -> ComposeResult:
        """Two columns between the rows of the frame."""
        yield Heading()
        yield Rule(())  # its junction is where the panel begins
        with Horizontal():
            with Vertical():
                yield Window()
            yield Bar(())
            yield Panel()
        yield Note("no picture yet")
        yield Foot(KEYS)

    def on_resize(self, event: events.Resize) -> None:
        """The line between picture and figures meets the rule."""
        self.query_one(Rule).show(((event.size.width - PANEL - 1, "┬"),))

    def on_mount(self) -> None:
        """Look at the source from now on."""
        self._look()
        self.set_interval(TICK_S, self._look)

    @property
    def _room(self) -> tuple[int, int]:
        return self.query_one(Window).room

    def _region(self) -> Region | None:
        return self.sight.region(self.picture.size, self._room) if self.picture is not None else None

    def _look(self) -> None:
        if not self.query(Window):  # the timer's last turn, when the screen is already being taken down
            return
        region = self._region()
        came = self._source.newest(region)
        if came is not None and not self.frozen:
            changed = self.picture is not None and self.picture.size != came[0].size
            self.picture, self._figures = came
            if changed:  # another region of the sensor: nothing of before can be compared
                self.sight, self.peak = Sight(), 0.0
                self._figures = self._source.figures(came[0], None)
            self._take()
        self._paint()

    def _take(self) -> None:
        if self._figures is not None:
            self.peak = max(self.peak, self._figures.focus)

    def _paint(self) -> None:
        self.query_one(Heading).show((self._camera, self.frozen, time.strftime("%H:%M:%S")))
        self.query_one(Note).show(self._source.why)
        picture, found = self.picture, self._figures
        if picture is None or found is None:
            return
        self.query_one(Window).show(Shown(picture, self._region(), found.white))
        scale = self.sight.scale(picture.size, self._room)
        source = self._source
        self.query_one(Panel).show(Reading(found, self.peak, picture, source.rate_hz, source.lost, scale))

    def _aim(self, sight: Sight) -> None:
        """Show another part: its figures are another scene's."""
        if self.picture is None or sight == self.sight:
            return
        self.sight = sight
        self._figures = self._source.figures(self.picture, self._region())
        self.peak = 0.0
        self._take()
        self._paint()

    def action_freeze(self) -> None:
        """Hold the picture, or let it go on."""
        self.frozen = not self.frozen
        self._paint()

    def action_reset(self) -> None:
        """The best focus is now's."""
        self.peak = 0.0
        self._take()
        self._paint()

    def action_zoom(self, way: int) -> None:
        """Closer or farther."""
        if self.picture is not None:
            closer = self.sight.closer(self.picture.size, self._room)
            self._aim(closer if way > 0 else self.sight.farther())

    def action_move(self, right: int, down: int) -> None:
        """To the side."""
        if self.picture is not None:
            self._aim(self.sight.moved(right, down, self.picture.size, self._room))

    def action_leave(self) -> None:
        """End."""
        self.exit()
