"""What ``inspector results export`` accepts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

import typer


def allowed(option: str, value: str, values: Iterable[str]) -> None:
    """Exit with status 2 and a sentence unless ``value`` is one of them."""
    if value not in values:
        typer.echo(f"{option}: found {value}, allowed: {', '.join(values)}", err=True)
        raise typer.Exit(2)


def utc(option: str, text: str) -> str:
    """An instant as the books write it: UTC unless it says otherwise; "" stays "". Exits with status 2."""
    if not text:
        return ""
    try:
        then = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        if then.tzinfo is None:
            then = then.replace(tzinfo=timezone.utc)
        return then.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (ValueError, OverflowError):
        typer.echo(f"{option}: found {text}, allowed: UTC as 2026-01-31 or 2026-01-31T06:00:00", err=True)
        raise typer.Exit(2) from None
