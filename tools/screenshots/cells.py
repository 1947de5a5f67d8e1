"""The cells of a Textual screen, as they are sent to the terminal."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.strip import Strip


def cells(app: App[Any]) -> list[Strip]:
    """One strip for each row of the screen in front. Textual has no public way to ask, hence this one place."""
    return app.screen._compositor.render_strips(app.size)  # noqa: SLF001


def text(app: App[Any]) -> str:
    """The screen as text, one line for each row, without spaces at the ends."""
    return "".join(strip.text.rstrip() + "\n" for strip in cells(app))
