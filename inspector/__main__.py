"""``inspector``: every sub-command is a small file in cli/, and only the one that is asked for is loaded."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer

from inspector import __version__

_COMMANDS = ("run", "demo", "tui", "doctor", "camera", "recipe", "model", "results")


def _add(app: typer.Typer, name: str) -> None:
    module: Any = importlib.import_module(f"inspector.cli.{name}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(getattr(module, name))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"inspector {__version__}")
        raise typer.Exit


def build(asked: str | None) -> typer.Typer:
    """The command line; with ``asked`` one of the commands, that command alone (the station must stay small)."""
    app = typer.Typer(
        help="Inspector: a visual inspection station. Every trigger gets exactly one verdict.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    ) -> None:
        """Inspector: a visual inspection station. Every trigger gets exactly one verdict."""

    for name in (asked,) if asked in _COMMANDS else _COMMANDS:
        _add(app, str(name))
    return app


def main() -> None:
    """Entry point of the command ``inspector``."""
    build(sys.argv[1] if len(sys.argv) > 1 else None)()


if __name__ == "__main__":
    main()
