"""``make viky``: a producer that others wrote, viky.cti of the genicam package, through the station's own code.

Its cameras have no trigger and no exposure time: they send pictures of their own. So the station must refuse them for
parts, with a sentence, and must be able to look at them: `inspector camera list`, `snapshot` and the live picture.
For each of its cameras, all at once, a process of its own opens it by the station's camera class, takes every picture
into a ring as a camera process does, and closes and opens it again and again. Exit status 1 when a picture is doubled
or out of order, is not what was asked for, when memory or descriptors grow, or when one of the commands fails.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from inspector.acquire import live
from inspector.acquire.probe import probe
from inspector.acquire.visit import Visit
from inspector.config import CameraFile
from tests.acquire.rig import World, running, write_yaml
from tools.cameras.page import replace_section

ROOT = Path(__file__).resolve().parents[2]
SIZE = (400, 400)
LOOK_S = 0.1
LIMIT_S = 5.0  # without a picture
WARM_UP = 500  # pictures before memory is looked at
GROWTH_LIMIT_MB = 5.0
REOPEN_LIMIT_MB = 10.0  # the library keeps some of each camera's description, about 0.1 MB an opening
FRAMES_EACH_OPEN = 5


def features(rate_hz: float) -> dict[str, Any]:
    """What its cameras are set to."""
    return {"Width": SIZE[1], "Height": SIZE[0], "PixelFormat": "Mono8", "AcquisitionFrameRate": rate_hz}


def producer() -> Path:
    """viky.cti of the installed genicam package."""
    found = importlib.util.find_spec("genicam")
    if found is None or found.origin is None:
        raise SystemExit("genicam is not installed")
    path = Path(found.origin).parent / "viky.cti"
    if not path.is_file():
        raise SystemExit("this genicam package has no viky.cti")
    return path


# --- one camera, in a process of its own ---------------------------------------------------------------
class Stream:
    """Takes pictures of one camera into a ring."""

    def __init__(self, serial: str, rate_hz: float, folder: Path) -> None:
        from inspector.acquire.genicam import GenicamCamera, Library
        from inspector.acquire.slots import Slots

        wanted = CameraFile(features=features(rate_hz))
        self._camera = GenicamCamera(Library([producer()]), serial, wanted, "software", may_run_free=True)
        self._slots = Slots(f"viky-{serial}", 8, folder)
        self._next_id: int | None = None
        self.frames = self.lost = self.incomplete = 0
        self.odd: list[str] = []
        self.seen: set[int] = set()  # checksums of some pictures

    def open(self) -> dict[str, Any]:
        """Open the camera and make the ring."""
        info = self._camera.open()
        self._slots.fit(info)
        self._next_id = None
        return info

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.close()

    def take(self, count: int) -> None:
        """So many pictures, each copied, looked at, and its slot given back."""
        from inspector.acquire.camera import IncompleteFrame
        from inspector.ring import Ring

        ring = Ring(Path(self._slots.path), writable=False)
        quiet_since = time.monotonic()
        wanted = self.frames + count
        while self.frames < wanted:
            try:
                exposure = self._camera.fetch(LOOK_S, self._slots.copy)
            except IncompleteFrame:
                self.incomplete += 1
                continue
            if exposure is None:
                if time.monotonic() - quiet_since > LIMIT_S:
                    raise SystemExit(f"no picture for {LIMIT_S:g} s after {self.frames}")
                continue
            quiet_since = time.monotonic()
            self._count(exposure.frame_id)
            ref = self._slots.passport(exposure, time.monotonic_ns(), "", 0)
            if ref is None or (ref.height, ref.width) != SIZE or ref.pixel_format != "Mono8":
                self.odd.append(f"picture {exposure.frame_id}: {ref}")
                continue
            if self.frames % 50 == 0:
                self.seen.add(zlib.crc32(ring.read(ref).tobytes()))
            self._slots.grant((ref.slot,))
        ring.close()

    def _count(self, frame_id: int) -> None:
        self.frames += 1
        if self._next_id is not None and frame_id != self._next_id:
            if frame_id < self._next_id:
                self.odd.append(f"picture {frame_id} where {self._next_id} was due")
            else:
                self.lost += frame_id - self._next_id
        self._next_id = frame_id + 1


def child(serial: str, frames: int, reopen: int, rate_hz: float) -> dict[str, Any]:
    """Stream, then close and open again and again."""
    process = psutil.Process()

    def grown(before: int) -> float:
        return (process.memory_info().rss - before) / 1e6

    with tempfile.TemporaryDirectory(prefix="inspector-viky-") as folder:
        stream = Stream(serial, rate_hz, Path(folder))
        stream.open()
        stream.take(min(WARM_UP, max(1, frames // 10)))
        before, descriptors, began = process.memory_info().rss, process.num_fds(), time.monotonic()
        warm = stream.frames
        stream.take(frames - warm)
        told = {
            "serial": serial,
            "rate": (stream.frames - warm) / (time.monotonic() - began),
            "grown_mb": grown(before),
        }
        before = process.memory_info().rss
        for _ in range(reopen):
            stream.close()
            stream.open()
            stream.take(FRAMES_EACH_OPEN)
        told |= {"frames": stream.frames, "lost": stream.lost, "incomplete": stream.incomplete}
        told |= {"odd": stream.odd[:5], "distinct": len(stream.seen), "reopened": reopen}
        told |= {"reopen_grown_mb": grown(before), "descriptors": [descriptors, process.num_fds()]}
        stream.close()
    return told


# --- the station's own commands ------------------------------------------------------------------------
async def _refused(folder: Path, serial: str) -> str:
    """What the camera process says about it."""
    world = World(folder, devices=1)
    try:
        world.camera("viky", features(20.0), serial=serial, producer=str(producer()))
        async with running(world, "viky", ready=False) as rig:
            return await rig.trouble()
    finally:
        world.control.close()


def commands(folder: Path, serial: str, broken: list[str]) -> dict[str, str]:
    """The camera process's refusal, and `inspector camera` on it."""
    told = {"refused": asyncio.run(_refused(folder, serial))}
    if "has no TriggerMode" not in told["refused"]:
        broken.append(f"the camera process: {told['refused']}")
    station = str(folder / "station.yaml")
    for name, arguments, expected in (
        ("list", ["--station", station], serial),
        ("snapshot", ["viky", "--station", station, "-o", str(folder / "viky.png")], f"{SIZE[1]}x{SIZE[0]} px, Mono8"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "inspector", "camera", name, *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        told[name] = done.stdout
        if done.returncode or expected not in done.stdout:
            broken.append(f"inspector camera {name}: status {done.returncode}: {done.stdout} {done.stderr}")
    file = write_yaml(folder / "live.yaml", {"features": features(20.0)})
    seen: list[int] = []
    with live.frames(Visit(serial, (str(producer()),), str(file))) as source:
        end = time.monotonic() + 2 * LIMIT_S
        while len(seen) < 10 and time.monotonic() < end:
            shown = source.next()
            if shown is not None and shown.image.shape == SIZE:
                seen.append(shown.exposure.frame_id)
    if len(seen) < 10 or seen != sorted(set(seen)):
        broken.append(f"live picture: {seen}, {source.trouble}")
    told["live"] = f"{len(seen)} pictures"
    return told


# --- the whole -----------------------------------------------------------------------------------------
def judge(found: Sequence[dict[str, Any]]) -> list[str]:
    """What is broken."""
    broken = []
    for one in found:
        who = f"camera {one['serial']}"
        broken += [f"{who}: {what}" for what in one["odd"]]
        if one["incomplete"]:
            broken.append(f"{who}: {one['incomplete']} incomplete pictures")
        if one["frames"] >= 1000 and one["distinct"] < 2:
            broken.append(f"{who}: the picture never changes")
        if one["grown_mb"] > GROWTH_LIMIT_MB or one["reopen_grown_mb"] > REOPEN_LIMIT_MB:
            broken.append(f"{who}: memory grew by {one['grown_mb']:.1f} and {one['reopen_grown_mb']:.1f} MB")
        if len(set(one["descriptors"])) > 1:
            broken.append(f"{who}: descriptors {one['descriptors']}")
    return broken


def report(given: argparse.Namespace, found: Sequence[dict[str, Any]], told: dict[str, str], broken: list[str]) -> str:
    """The section's text."""
    lines = [
        "`viky.cti` comes with the genicam package and was written by others: three cameras that run freely, without",
        f"a trigger, an exposure time or chunks we know. {given.frames:,} pictures of each, all at once,",
        f"{SIZE[1]}x{SIZE[0]} Mono8 at {given.rate:g} Hz, through the station's camera class into a ring, as a camera",
        f"process does it; then closed and opened {given.reopen} times, {FRAMES_EACH_OPEN} pictures each.",
        "",
        "| camera | pictures | pictures/s | lost by frame id | incomplete | doubled or out of order "
        "| MB more after the pictures | MB more after opening again | descriptors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        lines.append(
            f"| {one['serial']} | {one['frames']} | {one['rate']:.1f} | {one['lost']} | {one['incomplete']} "
            f"| {len(one['odd'])} | {one['grown_mb']:.1f} | {one['reopen_grown_mb']:.1f} "
            f"| {', '.join(map(str, one['descriptors']))} |"
        )
    lines += [
        "",
        "`inspector camera list`, `snapshot` and the live picture work with it. For parts it is refused:",
        f"> {told['refused']}",
        "",
        "Every promise held." if not broken else "**Broken:** " + "; ".join(broken) + ".",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section (not with ``--short``)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000, help="of each camera")
    parser.add_argument("--rate", type=float, default=100.0, help="pictures a second of each camera, 1 to 200")
    parser.add_argument("--reopen", type=int, default=20)
    parser.add_argument("--camera", help="one camera alone, in this process")
    parser.add_argument("--short", action="store_true", help="a few pictures of one camera, nothing written")
    if parser.parse_args(arguments).short:
        parser.set_defaults(frames=200, reopen=3)
    given = parser.parse_args(arguments)
    if given.camera:
        print(json.dumps(child(given.camera, given.frames, given.reopen, given.rate)))
        sys.stdout.flush()
        os._exit(0)  # its threads have nothing left to do
    broken: list[str] = []
    probed = probe([producer()])
    serials = [device["serial"] for device in probed.devices]
    if not serials:
        raise SystemExit(f"viky.cti shows no camera: {probed.error}")
    with tempfile.TemporaryDirectory(prefix="inspector-viky-") as folder:
        told = commands(Path(folder), serials[0], broken)
    command = [sys.executable, "-m", "tools.cameras.viky", "--frames", str(given.frames), "--rate", str(given.rate)]
    command += ["--reopen", str(given.reopen), "--camera"]
    running_ = [
        subprocess.Popen([*command, serial], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for serial in serials[: 1 if given.short else None]
    ]
    found = []
    limit_s = 60 + 10 * given.frames / given.rate
    for process in running_:
        try:
            output = process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            output = process.communicate()[0]
        if process.returncode:
            broken.append(f"a stream ended with status {process.returncode}")
        else:
            found.append(json.loads(output.splitlines()[-1]))
    broken += judge(found)
    text = report(given, found, told, broken)
    print(text)
    if not given.short:
        replace_section("viky", text)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
