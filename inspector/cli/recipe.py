"""``inspector recipe``: check recipes, try one on a picture, write their schema."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from inspector.parts import Check, CheckOutcome, Outcome, Part, Trigger, Verdict
from inspector.wire import verdict_to_json
from inspector.yamlfile import FileError

app = typer.Typer(help="Check recipes, try one on a picture, write their schema.", no_args_is_help=True)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Recipes.", metavar="FILE...")],
) -> None:
    """Load each recipe with all its artefacts and say what is wrong with it. Exit status 1 when anything is."""
    from inspector.recipe.load import load_recipe

    bad = False
    for path in files:
        try:
            recipe = load_recipe(path, backend="cpu")
        except FileError as error:
            bad = True
            typer.echo(str(error), err=True)
            continue
        checks = sum(tool.section != "prepare" for tool in recipe.spec.steps.values())
        typer.echo(f"{path}: good: recipe {recipe.number} rev {recipe.rev}, {checks} steps, sha {recipe.sha[:12]}")
        recipe.close()
    raise typer.Exit(1 if bad else 0)


@app.command(name="try")
def try_(
    recipe_file: Annotated[Path, typer.Argument(help="The recipe.", metavar="RECIPE")],
    picture: Annotated[Path, typer.Argument(help="A picture as the camera takes it.", metavar="PICTURE")],
    out: Annotated[Path | None, typer.Option(help="Write the picture with the verdict drawn over it (PNG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    part_id: Annotated[str, typer.Option(help="The part id, for recipes that read it.")] = "try",
    backend: Annotated[str, typer.Option(help="What runs the models: auto, cpu or tensorrt.")] = "cpu",
) -> None:
    """Judge one picture as the station would. Exit status 0 for PASS, 3 for FAIL, 4 for NOT_INSPECTED, 1 for errors."""
    from inspector.overlay import draw
    from inspector.picture import as_frame, read_picture
    from inspector.recipe.judge import judge
    from inspector.recipe.load import load_recipe

    if backend not in ("auto", "cpu", "tensorrt"):
        raise typer.BadParameter(f"found {backend!r}, allowed: auto, cpu, tensorrt", param_hint="--backend")
    try:
        image = read_picture(picture)
        recipe = load_recipe(recipe_file, backend=backend)  # type: ignore[arg-type]
    except FileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    try:
        camera = recipe.cameras[0] if recipe.cameras else "file"
        now = time.monotonic_ns()
        trigger = Trigger(part_id, "", now, "", "operator")
        deadline_ns = now + recipe.deadline_ms * 1_000_000
        part = Part(1, "", "", trigger, recipe.number, recipe.rev, recipe.name, recipe.sha, deadline_ns)
        verdict = judge(recipe, part, [as_frame(image, camera)])
    finally:
        recipe.close()
    if out is not None:
        _write(out, draw(image, verdict))
    if as_json:
        typer.echo(json.dumps(json.loads(verdict_to_json(verdict)), indent=2, ensure_ascii=False))
    else:
        typer.echo(_table(verdict))
    raise typer.Exit({Outcome.PASS: 0, Outcome.FAIL: 3, Outcome.NOT_INSPECTED: 4}[verdict.outcome])


@app.command()
def schema(
    out: Annotated[Path, typer.Option(help="Folder for recipe.schema.json and REFERENCE.md.")] = Path("recipes"),
) -> None:
    """Write the schema (editors complete and underline by it) and the reference page, from the tools themselves."""
    from inspector.recipe.schema import write

    if not out.is_dir():
        typer.echo(f"{out}: not a folder", err=True)
        raise typer.Exit(1)
    changed = write(out)
    typer.echo("\n".join(map(str, changed)) if changed else "nothing changed")


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    if path.suffix.lower() != ".png":
        raise typer.BadParameter(f"found {path.name!r}, allowed: a name that ends in .png", param_hint="--out")
    good, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    try:
        path.write_bytes(data.tobytes() if good else b"")
    except OSError as error:
        typer.echo(f"{path}: can't be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def _table(verdict: Verdict) -> str:
    """The verdict and its checks, for people."""
    rows = [("step", "", "found", "limits", "ms", "")]
    rows += [
        (c.step, _MARK[c.outcome], _found(c), _limits(c), f"{c.took_us / 1000:.1f}", c.text) for c in verdict.checks
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)) + "  " + row[5]
        for row in rows
    ]
    head = f"{verdict.outcome.value} {verdict.code}: {verdict.text}"
    took = f"judged in {verdict.stages_us.get('judge', 0) / 1000:.1f} ms"
    return "\n".join([head, "", *(line.rstrip() for line in lines), "", took])


_MARK = {CheckOutcome.PASS: "ok", CheckOutcome.FAIL: "FAIL", CheckOutcome.MISSING: "MISSING"}


def _found(check: Check) -> str:
    if check.value is None:
        return check.found or "-"
    unit = "" if check.unit in ("", "score") else f" {check.unit}"
    sure = f" ±{2 * check.uncertainty:.3f}" if check.uncertainty is not None else ""
    return f"{check.value:.3f}{sure}{unit}"


def _limits(check: Check) -> str:
    if check.lower is not None and check.upper is not None:
        return f"{check.lower:g} to {check.upper:g}"
    if check.lower is not None:
        return f"at least {check.lower:g}"
    if check.upper is not None and "." not in check.step:
        return f"at most {check.upper:g}"
    return f"below {check.upper:g}" if check.upper is not None else ""
