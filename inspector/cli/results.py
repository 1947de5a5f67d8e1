"""``inspector results``: what the books say, also while the station runs, also when it does not."""

from __future__ import annotations

import contextlib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer

from inspector.cli import configured, results_export, results_show
from inspector.cli.results_show import WIDTH
from inspector.config import load_station
from inspector.station import ledger as books
from inspector.station.ledger import ExportError, Row, StorageFault
from inspector.wire import verdict_to_json
from inspector.yamlfile import FileError

OUTCOMES = ("PASS", "FAIL", "NOT_INSPECTED")

app = typer.Typer(no_args_is_help=True, help="The books: list, tell, count, verify and export.")
StationOption = Annotated[Path, typer.Option(help="The station file.")]
STATION = Path("firmware_config/station.yaml")
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, the newest.")]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What is wrong is one sentence, and exit status 1."""
    try:
        yield
    except (FileError, StorageFault, ExportError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def ledger_of(station: Path) -> Path:
    """The station's ledger. Raises FileError."""
    return load_station(station).state_dir / "ledger.db"


@app.command("list")
def list_parts(
    station: StationOption = STATION,
    part: Annotated[Optional[str], typer.Option(help="Only this part.")] = None,  # noqa: UP007,UP045
    outcome: Annotated[Optional[str], typer.Option(help="Only PASS, FAIL or NOT_INSPECTED.")] = None,  # noqa: UP007,UP045
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List parts and their verdicts, the newest first."""
    if outcome is not None and outcome.upper() not in OUTCOMES:
        typer.echo(f"--outcome: found {outcome}, allowed: {', '.join(OUTCOMES)}", err=True)
        raise typer.Exit(2)
    with told():
        rows = books.search(ledger_of(station), part_id=part, outcome=outcome and outcome.upper(), limit=limit)
    day = ""
    for row in rows:
        if as_json:
            typer.echo(json.dumps(_members(row)))
            continue
        if row.received_utc[:10] != day:
            day = row.received_utc[:10]
            typer.echo(f"{day} UTC")
        t_ms = f"{row.t_ms} ms" if row.t_ms is not None else ""
        outcome_or_open = f"{row.outcome or 'open'}{' golden' if row.golden else ''}"
        head = (
            f"{row.seq:>8} {row.received_utc[11:-1]} {row.part_id:12} {outcome_or_open:13} {row.code or 0:4} {t_ms:>8}"
        )
        typer.echo(textwrap.fill(f"{head}  {row.text or ''}".rstrip(), WIDTH, subsequent_indent=" " * 9))


def _members(row: Row) -> dict[str, object]:
    names = (
        "seq", "part_id", "cmd_id", "outcome", "code", "t_ms", "received_utc", "attempt", "recipe", "rev", "config",
        "golden", "late", "picture",
    )  # fmt: skip
    verdict = json.loads(verdict_to_json(row.verdict)) if row.verdict else None
    return {**{name: getattr(row, name) for name in names}, "verdict": verdict}


@app.command()
def count(station: StationOption = STATION) -> None:
    """The counters beside a recount of the rows. Exit status 1 when they differ."""
    with told():
        kept, counted = books.recount(ledger_of(station))
    for name in sorted(kept | counted):
        typer.echo(f"{name.lower():14} {kept.get(name, 0):10}   recount {counted.get(name, 0):10}")
    if kept != counted:
        typer.echo("the counters do not equal a recount", err=True)
        raise typer.Exit(1)


@app.command()
def alarms(station: StationOption = STATION, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """The alarm log, the newest first."""
    with told():
        notes = books.alarm_log(ledger_of(station), limit)
    for note in notes:
        line = "{utc} {what:12} {name:14} {text}".format(**note)
        typer.echo(json.dumps(note) if as_json else textwrap.fill(line, WIDTH, subsequent_indent=" " * 25))


@app.command()
def changes(station: StationOption = STATION, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """Who changed what; of a recipe and of all that judges: old -> new. Exit status 1 when a row was tampered with."""
    with told():
        rows, problems = books.changes(ledger_of(station), limit)
    for row in rows:
        if as_json:
            members = {k: getattr(row, k) for k in ("n", "utc", "who", "what", "old", "new", "digest")}
            typer.echo(json.dumps(members | {"config": json.loads(row.config) if row.config else None}))
            continue
        words = f"{row.old or '-'} -> {row.new or '-'}" if row.old or row.new else ""
        if row.config:
            words = f"{row.old[:8] or '-'} -> {row.new[:8]}"
        line = f"{row.n:>6} {row.utc} {row.who:12} {row.what} {words}".rstrip()
        typer.echo(textwrap.fill(line, WIDTH, subsequent_indent=" " * 7))
        if row.config:
            for line in configured.differences(row):
                typer.echo(textwrap.fill(line, WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 11))
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("the chain is whole")


@app.command()
def show(
    part: Annotated[str, typer.Argument(help="The part's id.")],
    station: StationOption = STATION,
    full: Annotated[bool, typer.Option("--full", help="With the whole configuration that judged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The whole story of one part, one attempt after another."""
    with told():
        found = books.stories(ledger_of(station), part)
    if not found:
        typer.echo(f"there is no part {part} in the ledger", err=True)
        raise typer.Exit(1)
    for story in found:
        typer.echo(results_show.as_json(story) if as_json else results_show.as_text(story, full=full))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write; it appears when it is whole.")],
    station: StationOption = STATION,
    form: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    what: Annotated[str, typer.Option(help="parts, checks, alarms or changes.")] = "parts",
    since: Annotated[str, typer.Option(help="UTC, as 2026-01-31 or 2026-01-31T06:00:00; from then on.")] = "",
    until: Annotated[str, typer.Option(help="UTC; only what was before.")] = "",
) -> None:
    """Write parts, checks, alarms or changes to a file for other programs."""
    results_export.allowed("--format", form, books.exporting.FORMATS)
    results_export.allowed("--what", what, books.exporting.TABLES)
    first, end = results_export.utc("--since", since), results_export.utc("--until", until)
    with told():
        rows = books.export(ledger_of(station), out, what=what, form=form, since=first, until=end)
    typer.echo(f"{rows} {what} written to {out}")
