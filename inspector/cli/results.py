"""``inspector results``: what the books say, also while the station runs, also when it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from inspector.config import load_station
from inspector.station.ledger import Row, StorageFault, alarm_log, recount, search
from inspector.wire import verdict_to_json
from inspector.yamlfile import FileError

OUTCOMES = ("PASS", "FAIL", "NOT_INSPECTED")


def results(
    station: Annotated[Path, typer.Option(help="The station file.")] = Path("firmware_config/station.yaml"),
    part: Annotated[Optional[str], typer.Option(help="Only this part: its whole story.")] = None,  # noqa: UP007,UP045
    outcome: Annotated[Optional[str], typer.Option(help="Only PASS, FAIL or NOT_INSPECTED.")] = None,  # noqa: UP007,UP045
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
    alarms: Annotated[bool, typer.Option("--alarms", help="The alarm log instead.")] = False,
    count: Annotated[bool, typer.Option("--count", help="The counters, and a recount of the rows.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List parts and their verdicts."""
    if outcome is not None and outcome.upper() not in OUTCOMES:
        typer.echo(f"--outcome: found {outcome}, allowed: {', '.join(OUTCOMES)}", err=True)
        raise typer.Exit(2)
    try:
        ledger = load_station(station).state_dir / "ledger.db"
        if count:
            _count(ledger)
        elif alarms:
            for note in alarm_log(ledger, limit):
                typer.echo(json.dumps(note) if as_json else "{utc}  {what:12} {name:16} {text}".format(**note))
        else:
            rows = search(ledger, part_id=part, outcome=outcome.upper() if outcome else None, limit=limit)
            _list(rows, as_json=as_json, whole=part is not None)
    except (FileError, StorageFault) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _count(ledger: Path) -> None:
    kept, counted = recount(ledger)
    for name in sorted(kept | counted):
        typer.echo(f"{name.lower():14} {kept.get(name, 0):10}   recount {counted.get(name, 0):10}")
    if kept != counted:
        typer.echo("the counters do not equal a recount", err=True)
        raise typer.Exit(1)


def _list(rows: list[Row], *, as_json: bool, whole: bool) -> None:
    for row in rows:
        if as_json:
            verdict = json.loads(verdict_to_json(row.verdict)) if row.verdict else None
            fields = {k: getattr(row, k) for k in ("seq", "part_id", "cmd_id", "outcome", "code", "t_ms", "picture")}
            typer.echo(json.dumps({**fields, "verdict": verdict}))
            continue
        words = row.outcome or "open"
        t_ms = f"{row.t_ms} ms" if row.t_ms is not None else ""
        typer.echo(
            f"{row.seq:>9}  {row.received_utc}  {row.part_id:16} {words:13} {row.code or 0:4} {t_ms:>8}  {row.text}"
        )
        if whole:
            _story(row)


def _story(row: Row) -> None:
    typer.echo(f"           attempt {row.attempt}, command {row.cmd_id or '-'}, recipe {row.recipe} rev {row.rev}")
    typer.echo(f"           recipe sha {row.recipe_sha[:12] or '-'}, picture {row.picture or 'not kept'}")
    for check in row.verdict.checks if row.verdict else ():
        value = "" if check.value is None else f"{check.value:.3f} {check.unit}"
        typer.echo(f"           {check.outcome.value:8} {check.step:16} {value or check.found:14} {check.text}")
    for name, us in (row.verdict.stages_us if row.verdict else {}).items():
        typer.echo(f"           {us / 1000:8.1f} ms {name}")
