"""``inspector model``: which model packages there are, and whether one is sound and runs on this machine."""

from __future__ import annotations

import statistics
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from inspector.infer.backend import Session, Wish, open_session, unavailable
from inspector.infer.package import PACKAGE_FILE, Package, find_packages, load_package
from inspector.parts import InspectionFault
from inspector.yamlfile import FileError

TIMED_RUNS = 20
BUILD_AHEAD_S = 1800.0  # nobody waits for this one but the person who typed it
WIDTH = 100  # characters a line
SHA_DIGITS = 12  # what a recipe pins at least

app = typer.Typer(no_args_is_help=True, help="Model packages: list them, check one.")


@app.command("list")
def list_models(
    models: Annotated[Path, typer.Option(help="Folder with the packages, one folder each.")] = Path("recipes/models"),
) -> None:
    """Show every model package, its digest for a recipe, and what would run it here."""
    if not models.is_dir():
        typer.echo(f"{models}: no such folder; name the folder that holds the packages with --models", err=True)
        raise typer.Exit(1)
    folders = find_packages(models)
    if not folders:
        typer.echo(f"{models}: no model package in it (a folder with a {PACKAGE_FILE})", err=True)
        raise typer.Exit(1)
    backend = "cpu" if unavailable("tensorrt") else "tensorrt"
    broken = 0
    for folder in folders:
        try:
            package = load_package(folder)
        except FileError as error:
            broken += 1
            typer.echo(str(error), err=True)
            continue
        typer.echo("\n".join(_described(package, backend)))
    if broken:
        raise typer.Exit(1)


@app.command("check")
def check_model(
    folder: Annotated[Path, typer.Argument(help="The package's folder.")],
    backend: Annotated[str, typer.Option(help="What has to run it: auto, cpu or tensorrt.")] = "auto",
    cache: Annotated[
        Optional[Path],  # noqa: UP007,UP045 - typer reads this on Python 3.10 too
        typer.Option(help="Folder for built engines, the station's to build ahead; none: built for this check only."),
    ] = None,
) -> None:
    """Check every file of a package, prove its reference outputs on this machine, and time a run."""
    try:
        package = load_package(folder)
        began = time.perf_counter()
        session = open_session(package, _wish(backend), cache, build_limit_s=BUILD_AHEAD_S)
    except FileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except InspectionFault as fault:
        typer.echo(f"{folder}: {fault.text}", err=True)
        raise typer.Exit(1) from None
    try:
        ready_s = time.perf_counter() - began
        typer.echo("\n".join([*_described(package, session.backend), *_proven(session, ready_s)]))
    finally:
        session.close()


def _wish(text: str) -> Wish:
    for wish in ("auto", "cpu", "tensorrt"):
        if text == wish:
            return wish
    raise typer.BadParameter(f"found {text!r}, allowed: auto, cpu, tensorrt", param_hint="--backend")


def _described(package: Package, backend: str) -> Iterator[str]:
    width, height = package.size_px
    labels = ", ".join(f"{label.name} from {label.threshold:g}" for label in package.labels)
    across, down = package.field_mm
    yield f"{package.name}@sha256:{package.sha[:SHA_DIGITS]}  version {package.version}  {package.spec.licence}"
    yield f"  input    {width}x{height} px, {package.mm_per_px:g} mm per px ({across:g} x {down:g} mm)"
    yield f"  labels   {labels}"
    for name, score in package.spec.scores.items():
        yield textwrap.fill(f"  score    {name}: {_flat(score)}", WIDTH, subsequent_indent=" " * 11)
    yield f"  runs on  {backend}"


def _proven(session: Session, ready_s: float) -> Iterator[str]:
    package, limits = session.package, session.package.spec.reference
    agreement = ", ".join(f"{label} {value:.4f}" for label, value in session.proof.agreement.items())
    yield f"  proof    {len(package.reference_inputs)} reference inputs; differs by at most"
    yield f"           {session.proof.max_difference:.6f} (allowed {limits.tolerance:g}); overlap {agreement}"
    yield f"           (at least {limits.agreement:g})"
    times = _times_ms(session)
    yield f"  time     {statistics.median(times):.2f} ms a run, slowest of {len(times)}: {max(times):.2f} ms;"
    yield f"           ready after {ready_s:.2f} s"
    if session.note:
        yield f"  note     {session.note}"


def _times_ms(session: Session) -> list[float]:
    batch = {session.package.input.name: session.package.reference_inputs[:1]}
    times = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        session.run(batch)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def _flat(score: Any) -> str:
    """Nested figures on one line: ``parts 600, scratch (missed 0, of 150)``."""
    if isinstance(score, Mapping):
        return ", ".join(
            f"{key} ({_flat(value)})" if isinstance(value, Mapping) else f"{key} {_flat(value)}"
            for key, value in score.items()
        )
    return str(score)
