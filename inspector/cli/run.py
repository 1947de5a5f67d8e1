"""``inspector run``: the station, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from inspector.yamlfile import FileError

SWITCH_INTERVAL_S = 0.0002


def run(
    station: Annotated[Path, typer.Argument(help="The station file, firmware_config/station.yaml for example.")],
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
) -> None:
    """Run the station until SIGTERM or Ctrl-C. Exit status 2: it can't start, and the reason is on stderr."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format="station: %(levelname)s: %(message)s",
    )
    from inspector.station.wiring import StartError, run_station

    # the link's and the ledger's threads wait for the interpreter no longer than this (Python's own: 5 ms)
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    try:
        asyncio.run(run_station(station))
    except (FileError, StartError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
