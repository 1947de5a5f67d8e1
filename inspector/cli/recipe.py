"""``inspector recipe``: check recipes, try one on a picture, write their schema."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np
import typer

from inspector.parts import Check, CheckOutcome, Frame, Outcome, Part, Trigger, Verdict
from inspector.wire import verdict_to_json
from inspector.yamlfile import FileError

if TYPE_CHECKING:
    from inspector.recipe.model import Spec

app = typer.Typer(help="Check recipes, try one on pictures, make references, write the schema.", no_args_is_help=True)


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
    picture: Annotated[
        Path | None,
        typer.Argument(help="A picture as the camera takes it, for a recipe of one view.", metavar="PICTURE"),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            help="The picture of one view (or of one camera, in a recipe that names cameras): once for each, "
            "for a view of several shots once for each shot.",
            metavar="NAME=FILE",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the picture with the verdict drawn over it (PNG); of several, one file for each view."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    part_id: Annotated[str, typer.Option(help="The part id, for recipes that read it.")] = "try",
    backend: Annotated[str, typer.Option(help="What runs the models: auto, cpu or tensorrt.")] = "cpu",
) -> None:
    """Judge the pictures of one part as the station would.

    Exit status 0 for PASS, 3 for FAIL, 4 for NOT_INSPECTED, 1 for errors.
    """
    from inspector.recipe.judge import judge
    from inspector.recipe.load import load_recipe

    if backend not in ("auto", "cpu", "tensorrt"):
        raise typer.BadParameter(f"found {backend!r}, allowed: auto, cpu, tensorrt", param_hint="--backend")
    if out is not None and out.suffix.lower() != ".png":
        raise typer.BadParameter(f"found {out.name!r}, allowed: a name that ends in .png", param_hint="--out")
    try:
        recipe = load_recipe(recipe_file, backend=backend)  # type: ignore[arg-type]
    except FileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    try:
        frames = _frames(recipe.spec, picture, view or [])
        now = time.monotonic_ns()
        trigger = Trigger(part_id, "", now, "", "operator")
        deadline_ns = now + recipe.deadline_ms * 1_000_000
        part = Part(1, "", "", trigger, recipe.number, recipe.rev, recipe.name, recipe.sha, deadline_ns)
        verdict = judge(recipe, part, frames)
    except FileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    finally:
        recipe.close()
    if out is not None:
        _draw(out, frames, verdict)
    if as_json:
        typer.echo(json.dumps(json.loads(verdict_to_json(verdict)), indent=2, ensure_ascii=False))
    else:
        typer.echo(_table(verdict))
    raise typer.Exit({Outcome.PASS: 0, Outcome.FAIL: 3, Outcome.NOT_INSPECTED: 4}[verdict.outcome])


def _frames(spec: Spec, picture: Path | None, views: list[str]) -> list[Frame]:
    """The pictures that were named, each with its view. Raises FileError."""
    from inspector.picture import as_frame, read_picture

    sources = list(spec.sources.values())
    names = ", ".join(f"{s.name}=FILE" + (f" ({s.shot.count} times)" if s.shot.count > 1 else "") for s in sources)
    if picture is not None:
        if views:
            raise typer.BadParameter("found beside --view; allowed: one of them", param_hint="PICTURE")
        if len(sources) > 1 or sources[0].shot.count > 1:
            raise typer.BadParameter(
                f"the recipe needs several pictures; allowed: --view {names}", param_hint="PICTURE"
            )
        views = [f"{sources[0].name}={picture}"]
    elif not views:
        allowed = f"--view {names}" if sources[0].name else "a picture file"
        raise typer.BadParameter(f"missing, allowed: {allowed}", param_hint="PICTURE")
    frames: list[Frame] = []
    shots = dict.fromkeys(spec.sources, 0)
    for given in views:
        name, _, file = given.partition("=")
        if name not in spec.sources or not file or (not name and picture is None):
            allowed = names if sources[0].name else "no --view, as the recipe has one picture"
            raise typer.BadParameter(f"found {given!r}, allowed: {allowed}", param_hint="--view")
        source = spec.sources[name]
        exposure_us = source.shot.exposure_us or 0.0
        image = read_picture(Path(file))
        frames.append(as_frame(image, source.camera or "file", source.view, shots[name], exposure_us))
        shots[name] += 1
    return frames


@app.command()
def reference(
    out: Annotated[Path, typer.Argument(help="The reference to write, 16 bit PNG.", metavar="OUT.png")],
    pictures: Annotated[list[Path], typer.Argument(help="Equal pictures of one plain target.", metavar="PICTURE...")],
) -> None:
    """Average pictures into a flat or dark reference for flat_field; prints its pin for the recipe."""
    from inspector.picture import read_picture

    if out.suffix.lower() != ".png":
        raise typer.BadParameter(f"found {out.name!r}, allowed: a name that ends in .png", param_hint="OUT.png")
    try:
        total = np.zeros(0)
        kinds: list[str] = []
        for path in pictures:
            image = read_picture(path)
            colour = "colour" if image.ndim == 3 else "grey"
            kinds.append(f"{image.shape[1]}x{image.shape[0]} px {8 * image.itemsize} bit {colour}")
            if kinds[-1] != kinds[0]:
                raise FileError([f"{path}: {kinds[-1]}, allowed: {kinds[0]} as {pictures[0]}"])
            total = total + image if total.size else image.astype(np.float64)
    except FileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    scale = 257 if "8 bit" in kinds[0] else 1  # 8 bit pictures get a finer grey in 16 bit, deeper ones their own
    mean = np.rint(total * (scale / len(pictures))).astype(np.uint16)
    good, data = cv2.imencode(".png", mean if mean.ndim == 2 else cv2.cvtColor(mean, cv2.COLOR_RGB2BGR))
    _write(out, data.tobytes() if good else b"")
    typer.echo(f"{out.name}@sha256:{hashlib.sha256(data.tobytes()).hexdigest()[:12]}")


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


def _draw(out: Path, frames: list[Frame], verdict: Verdict) -> None:
    """Every view's first picture with what was checked on it, in one file or beside each other."""
    from inspector.overlay import draw

    firsts = [frame for frame in frames if frame.ref.shot == 0]
    for frame in firsts:
        path = out if len(firsts) == 1 else out.with_name(f"{out.stem}-{frame.ref.source}{out.suffix}")
        good, data = cv2.imencode(".png", cv2.cvtColor(draw(frame.image, verdict, frame.ref), cv2.COLOR_RGB2BGR))
        _write(path, data.tobytes() if good else b"")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
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
    lines += ["", *_health(verdict)] if verdict.health else []
    took = f"judged in {verdict.stages_us.get('judge', 0) / 1000:.1f} ms"
    return "\n".join([head, "", *(line.rstrip() for line in lines), "", took])


def _health(verdict: Verdict) -> list[str]:
    """How good the pictures are, a line for each patch; grey is of 0..255."""
    rows = [("picture", "brightness", "contrast", "sharpness", "noise", "saturated")]
    rows += [
        (
            f"{h.view}: {h.patch}" if h.view else h.patch,
            f"{h.brightness_grey:.1f}",
            f"{h.contrast_grey:.1f}",
            f"{h.sharpness:.2e}",
            f"{h.noise_grey:.2f}",
            f"{100 * h.saturated_share:.1f} %",
        )
        for h in verdict.health
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


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
