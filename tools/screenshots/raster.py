"""Draws a terminal's cells as a PNG: block and line glyphs as exact rectangles, letters from a font.

A browser or an SVG renderer leaves gaps between the cells; a real console does not, and neither does this.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.color import ColorTriplet
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.strip import Strip

CELL = (10, 20)
FONT_SIZE = 16
FONTS = ("DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "Menlo.ttc", "consola.ttf")
BOLD = ("DejaVuSansMono-Bold.ttf", "LiberationMono-Bold.ttf", "Menlo.ttc", "consolab.ttf")
# arms of the line glyphs: left, right, up, down
LINES = {"─": "lr", "│": "ud", "├": "rud", "┤": "lud", "┬": "lrd", "┴": "lru", "┼": "lrud",
         "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu"}  # fmt: skip
BLOCKS = {"█": (0, 0, 1, 1), "▀": (0, 0, 1, 0.5), "▄": (0, 0.5, 1, 1), "■": (0.1, 0.3, 0.9, 0.7)}


def _font(names: tuple[str, ...]) -> ImageFont.FreeTypeFont:
    for name in names:
        try:
            return ImageFont.truetype(name, FONT_SIZE)
        except OSError:
            continue
    raise SystemExit(f"no font found: install one of {', '.join(names)} (Debian: fonts-dejavu-core)")


def _colours(style: Style | None, theme: TerminalTheme) -> tuple[ColorTriplet, ColorTriplet, bool]:
    style = style or Style()
    front = style.color.get_truecolor(theme) if style.color else theme.foreground_color
    back = style.bgcolor.get_truecolor(theme, foreground=False) if style.bgcolor else theme.background_color
    return (back, front, bool(style.bold)) if style.reverse else (front, back, bool(style.bold))


def png(strips: list[Strip], theme: TerminalTheme, path: Path) -> None:
    """Write the screen's strips as a picture."""
    wide, high = CELL
    fonts = {False: _font(FONTS), True: _font(BOLD)}
    columns = max(strip.cell_length for strip in strips)
    margin = 10
    back = tuple(theme.background_color)
    image = Image.new("RGB", (columns * wide + 2 * margin, len(strips) * high + 2 * margin), back)
    draw = ImageDraw.Draw(image)
    for row, strip in enumerate(strips):
        x, y = margin, margin + row * high
        for segment in strip:
            front, back, bold = _colours(segment.style, theme)
            for char in segment.text:
                draw.rectangle((x, y, x + wide - 1, y + high - 1), tuple(back))
                _glyph(draw, char, x, y, tuple(front), fonts[bold])
                x += wide
    image.save(path, optimize=True)


def _glyph(draw: ImageDraw.ImageDraw, char: str, x: int, y: int, ink: tuple[int, ...], font) -> None:
    wide, high = CELL
    if char in BLOCKS:
        a, b, c, d = BLOCKS[char]
        draw.rectangle((x + a * wide, y + b * high, x + c * wide - 1, y + d * high - 1), ink)
    elif char in LINES:
        middle, centre = y + high // 2 - 1, x + wide // 2 - 1
        arms = LINES[char]
        for arm, box in {
            "l": (x, middle, centre + 1, middle + 1), "r": (centre, middle, x + wide - 1, middle + 1),
            "u": (centre, y, centre + 1, middle + 1), "d": (centre, middle, centre + 1, y + high - 1),
        }.items():  # fmt: skip
            if arm in arms:
                draw.rectangle(box, ink)
    elif char != " ":
        draw.text((x, y + 1), char, ink, font)
