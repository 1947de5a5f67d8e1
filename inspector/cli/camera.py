"""``inspector camera``: which cameras there are, what they are set to, and pictures to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from numpy.typing import NDArray

from inspector.acquire import visit
from inspector.acquire.camera import DeviceError, Exposure
from inspector.acquire.probe import probe
from inspector.acquire.visit import Feature
from inspector.cli import camera_live, camera_reference, camera_settings
from inspector.cli.camera_base import (
    CameraArgument,
    ProducerOption,
    StationOption,
    columns,
    exposure_of,
    known,
    new_file,
    png,
    told,
    write_file,
)
from inspector.cli.camera_file import SetOption, changed
from inspector.cli.figures import figures
from inspector.config import load_camera_file
from inspector.pixels import decode

_WIDTH = 34  # of the column with the values

app = typer.Typer(no_args_is_help=True, help="Cameras: list, look at, set up, save and compare their settings.")
app.command("live")(camera_live.live_camera)
app.command("reference")(camera_reference.reference)
app.command("save")(camera_settings.save)
app.command("apply")(camera_settings.apply)
app.command("diff")(camera_settings.diff)


@app.command("list")
def list_cameras(station: StationOption = None, producer: ProducerOption = None) -> None:
    """List GenTL producers and their cameras, and which of them are the station's."""
    with told():
        station_s = known(station, producer)
        seen: set[str] = set()
        troubles = []
        for path in station_s.producers():
            probed = probe([path] if path else [])
            if probed.error:
                troubles.append(probed.error)
                continue
            for name in probed.producers:
                typer.echo(f"producer  {name}")
            rows = [("serial", "model", "vendor", "wire", "access", "station's camera")]
            for device in probed.devices:
                names = [n for n, c in station_s.cameras.items() if c.serial == device["serial"]]
                seen.update(names)
                serial, model, vendor, wire, access = (
                    device[key] for key in ("serial", "model", "vendor", "transport", "access")
                )
                rows.append((serial, model, vendor, wire, access, ", ".join(names)))
            typer.echo("\n".join(columns(rows)) if len(rows) > 1 else "  no camera; check power, cable and addresses")
        for name, camera in station_s.cameras.items():
            if name not in seen:
                troubles.append(f"camera {name} of the station, serial {camera.serial}, is not there")
        if troubles:
            raise DeviceError("\n".join(troubles))


@app.command("show")
def show_camera(
    camera: CameraArgument,
    every: Annotated[bool, typer.Option("--all", help="Expert and guru features too.")] = False,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Show a camera's features with what they may be, and where they differ from its camera file."""
    with told():
        asked, config = known(station, producer).named(camera)
        features, differences = visit.features(asked)
        wanted = {key.split("[")[0] for key in load_camera_file(config.features).features} if config else set()
        shown = [f for f in features if every or f.name in wanted or (f.visibility == "Beginner" and f.access != "NA")]
        typer.echo("\n".join(_listed(shown, wanted)))
        if len(shown) < len(features):
            typer.echo(f"\n{len(features) - len(shown)} more with --all")
        if config is not None:
            typer.echo(f"\n* set by {config.features}" + ("; all as it wants" if not differences else "; differs now:"))
            typer.echo("\n".join(f"  {difference}" for difference in differences), nl=bool(differences))


@app.command("snapshot")
def snapshot(
    camera: Annotated[str, typer.Argument(help="The station's name for it.")],
    output: Annotated[
        Optional[Path],  # noqa: UP007,UP045
        typer.Option("--output", "-o", help="PNG file; default CAMERA.png."),
    ] = None,
    wait_s: Annotated[float, typer.Option(min=0.1, max=600, help="How long to wait for the picture.")] = 10.0,
    settings: SetOption = None,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Take one picture with the camera file's settings and write it as lossless PNG."""
    with told():
        station_s = known(station, producer)
        asked, _ = station_s.of_the_station(camera)
        file = output or Path(f"{camera}.png")
        new_file(file, ".png", force=True)
        if station_s.wired:
            typer.echo(f"waiting up to {wait_s:g} s for a pulse on the trigger wire", err=True)
        with changed(asked, settings) as as_set, tempfile.TemporaryDirectory() as folder:
            exposure, raw = visit.picture(replace(as_set, wait_s=wait_s, pixels=str(Path(folder) / "pixels.npy")))
        shown = decode(raw, exposure.pixel_format)
        write_file(file, png(shown))
        typer.echo("\n".join([str(file), *_figures(exposure, raw, shown)]))


def _listed(features: Sequence[Feature], wanted: set[str]) -> Iterator[str]:
    width = max((len(f.name) for f in features), default=0)
    category = ""
    for feature in features:
        if feature.category != category:
            category = feature.category
            yield f"{category}"
        value = f"{feature.value} {feature.unit}".strip()
        mark = "*" if feature.name in wanted else " "
        allowed = f"  {feature.allowed}" if feature.allowed and feature.access != "RO" else ""
        yield f"{mark} {feature.name.ljust(width)}  {feature.access}  {value.ljust(_WIDTH)}{allowed}".rstrip()


def _figures(exposure: Exposure, raw: NDArray[Any], shown: NDArray[Any]) -> Iterator[str]:
    """What to look at when lens and light are set up."""
    found = figures(raw, shown, exposure.pixel_format)
    yield f"  size       {exposure.width}x{exposure.height} px, {exposure.pixel_format}"
    yield f"  exposure   {exposure_of(exposure)}"
    yield f"  mean       {found.mean:.1f} of {found.white}"
    yield f"  saturated  {found.saturated:.2%} of the values are {found.white}"
    yield f"  focus      {found.focus:.2f} (turn the lens for the most; same scene only)"
