"""``inspector camera save | apply | diff``: a camera's whole settings as a file, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from inspector.acquire import visit
from inspector.acquire.features import Difference, Value, split
from inspector.acquire.visit import Visit
from inspector.cli.camera_base import (
    CameraArgument,
    ProducerOption,
    StationOption,
    Trouble,
    columns,
    known,
    new_file,
    told,
    write_file,
)
from inspector.cli.camera_file import text_of
from inspector.config import CameraFile, load_camera_file

_ABSENT = "-"
_SAME, _DIFFERENT, _CANT = 0, 1, 2
# SFNC's own, for two files: they hold no units
_UNITS = {
    "ExposureTime": "us",
    "TriggerDelay": "us",
    "LineDebouncerTime": "us",
    "Gain": "dB",
    "AcquisitionFrameRate": "Hz",
    **dict.fromkeys(("Width", "Height", "OffsetX", "OffsetY"), "px"),
}


def save(
    camera: CameraArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Camera file to write, NAME.yaml.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Write all that can be set, as the camera has it now, to a camera file: to keep, to compare, to apply again."""
    with told():
        new_file(output, ".yaml", force)
        asked, _ = known(station, producer).named(camera)
        features, _ = visit.features(asked)
        values = visit.saved(asked)
        if not values:
            raise Trouble(f"camera {asked.serial} has no feature that can be saved")
        write_file(output, text_of(features, values, asked.serial).encode())
        if load_camera_file(output).features != values:
            raise Trouble(f"{output}: what was written does not read back as the camera's settings")
        typer.echo(f"{output}: {len(values)} features")


def apply(
    camera: CameraArgument,
    file: Annotated[Path, typer.Argument(help="Camera file.")],
    user_set: Annotated[
        Optional[str],  # noqa: UP007,UP045
        typer.Option("--user-set", help="Then save them in the camera, as this user set (UserSet1 ...)."),
    ] = None,
    boot: Annotated[bool, typer.Option("--boot", help="With --user-set: the camera starts with it.")] = False,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Set a camera to a camera file, read everything back, name each difference. Exit status 1: there is one."""
    with told():
        if boot and user_set is None:
            raise Trouble("--boot says that the camera starts with a user set: name it with --user-set")
        wanted = load_camera_file(file)
        asked, _ = known(station, producer).named(camera)
        _right_model(asked, wanted, file)
        left = visit.applied(asked, wanted.features)
        if left:
            names = "\n".join(f"  {difference}" for difference in left)
            rest = "" if user_set is None else f"\nnothing was saved as {user_set}"
            raise Trouble(f"{len(left)} of {len(wanted.features)} features are not as {file} wants:\n{names}{rest}")
        typer.echo(f"{len(wanted.features)} features set and read back")
        if user_set is not None:
            visit.user_set(asked, user_set, boot=boot)
            typer.echo(f"saved in the camera as {user_set}" + (", and it starts with it" if boot else ""))


def diff(
    one: Annotated[str, typer.Argument(metavar="CAMERA|FILE", help="A camera, or a camera file.")],
    file: Annotated[
        Optional[Path],  # noqa: UP007,UP045
        typer.Argument(help="Camera file; without it the one of the station file."),
    ] = None,
    station: StationOption = None,
    producer: ProducerOption = None,
) -> None:
    """Compare a camera with a camera file, or two files. Exit status 0: the same, 1: different, 2: can't be told."""
    with told(_CANT):
        if file is not None and Path(one).is_file():
            old, new = one, str(file)
            rows = list(_between(load_camera_file(Path(one)).features, load_camera_file(file).features))
            unread: list[Difference] = []
        else:
            asked, config = known(station, producer).named(one)
            if file is None and config is None:
                raise Trouble(f"{one} is no camera of the station: name a camera file to compare it with")
            path = file or (config.features if config else Path())
            old, new = str(path), f"{one} now"
            found = visit.differences(asked, load_camera_file(path).features)
            rows, unread = list(_of_camera(found)), [difference for difference in found if difference.found is None]
        if rows:
            typer.echo("\n".join(columns([("feature", old, new, "unit"), *rows])))
        if unread:
            raise Trouble("\n".join(["what could not be compared:", *(f"  {difference}" for difference in unread)]))
        if not rows:
            typer.echo(f"{old} and {new}: the same")
        raise typer.Exit(_DIFFERENT if rows else _SAME)


def _right_model(asked: Visit, wanted: CameraFile, file: Path) -> None:
    if wanted.model is None:
        return
    model = next((f.value for f in visit.features(asked)[0] if f.name == "DeviceModelName"), "")
    if model != wanted.model:
        raise Trouble(f"{file} is for model {wanted.model}, camera {asked.serial} is {model or 'of no known model'}")


def _between(old: Mapping[str, Value], new: Mapping[str, Value]) -> Iterator[tuple[str, str, str, str]]:
    for key in dict.fromkeys((*old, *new)):
        if key not in old or key not in new or not _equal(old[key], new[key]):
            before, after = (_shown(features[key]) if key in features else _ABSENT for features in (old, new))
            yield key, before, after, _UNITS.get(split(key)[0], "")


def _equal(one: Value, other: Value) -> bool:
    """As written: what a camera rounds is a difference between two files."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _of_camera(differences: Sequence[Difference]) -> Iterator[tuple[str, str, str, str]]:
    for one in differences:
        if one.found is not None:
            yield one.key, _shown(one.wanted), _shown(one.found), one.unit


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
