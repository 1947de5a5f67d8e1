"""``inspector tui``: attach an operator's terminal to the running station. Leaving it stops nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer


def tui(
    socket: Annotated[
        Optional[Path],  # noqa: UP007,UP045 - typer reads this on Python 3.10 too
        typer.Option(help="The station's feed; without it INSPECTOR_FEED or the usual places are used."),
    ] = None,
    plain: Annotated[
        bool, typer.Option(help="For a serial line or a console: 16 colours, no picture, two repaints a second.")
    ] = False,
) -> None:
    """Show the line: verdict, checks, picture, counts, alarms. Needs 80x24; `?` lists the keys, `q` leaves."""
    # Textual reads this when it is imported; a station tells no more than ten times a second
    os.environ.setdefault("TEXTUAL_FPS", "2" if plain else "10")
    from inspector.tui.app import Terminal

    Terminal(socket, plain).run(mouse=False)
