"""Room for the picture rings, the limits of a process, and how fast the processor is there when it is needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from inspector.cli.diagnosis import Finding, existing
from inspector.config import CameraConfig, StationConfig, load_camera_file
from inspector.yamlfile import FileError

_MB = 1e6
CORES_RULE = "90-inspector-cpu.rules"  # of deploy/udev
_FILE_SIZE = re.compile(r"^Max file size\s+(\d+)\s", re.MULTILINE)


def rings(config: StationConfig, root: Path) -> list[Finding]:
    """Is there room for every camera's slots, and may a process write files as large?"""
    needed, unknown = 0, []
    largest = 0
    for name, camera in config.cameras.items():
        size = ring_bytes(camera)
        if size is None:
            unknown.append(name)
        else:
            needed, largest = needed + size, max(largest, size)
    folder = existing(config.runtime_dir)
    status = os.statvfs(folder)
    # a running station has reserved its rings already
    free = status.f_bavail * status.f_frsize + sum(_size(path) for path in folder.glob("ring-*"))
    text = f"{needed / _MB:.0f} MB for pictures under way, {free / _MB:.0f} MB free in {folder}"
    if unknown:
        text += f" (not counted: {', '.join(unknown)}; no Width and Height in the camera file)"
    if needed > free:
        fix = f"lower `slots:` in the station file, or make room: sudo mount -o remount,size={_grown(needed)}M {folder}"
        return [Finding("picture rings", "MISSING", text, fix)]
    limit = _file_limit(root)
    if limit is not None and largest > limit:
        what = f"{text}, but a file may have {limit / _MB:.0f} MB at most (ulimit -f)"
        fix = "ulimit -f unlimited    # for the service: sudo systemctl edit inspector, LimitFSIZE=infinity"
        return [Finding("picture rings", "warn", what, fix)]
    return [Finding("picture rings", "ok", text)]


def ring_bytes(camera: CameraConfig) -> int | None:
    """Bytes of a camera's ring after its camera file; None when that does not say how large a picture is."""
    try:
        features = load_camera_file(camera.features).features
    except FileError:
        return None
    width, height, name = features.get("Width"), features.get("Height"), str(features.get("PixelFormat", "Mono8"))
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    depth = 3 if name.startswith(("RGB", "BGR")) else 1 if re.search(r"\D8$", name) else 2  # unpacked
    return camera.slots * width * height * depth


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it has just been taken away
        return 0


def _grown(needed: int) -> int:
    return int(needed / _MB * 1.5) + 64


def _file_limit(root: Path) -> int | None:
    try:
        found = _FILE_SIZE.search((root / "proc/self/limits").read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found.group(1)) if found else None


def processor(root: Path) -> list[Finding]:
    """A processor that sleeps between two parts takes its time to wake up."""
    return [*_clock(root), *_sleep(root)]


def _sleep(root: Path) -> list[Finding]:
    """May the station ask that no core sleeps while a part is under way?"""
    if not (root / "dev/cpu_dma_latency").exists():
        return [Finding("CPU sleep", "ok", "this kernel takes no wishes about it")]
    if any((root / folder / CORES_RULE).is_file() for folder in ("etc/udev/rules.d", "usr/lib/udev/rules.d")):
        return [Finding("CPU sleep", "ok", "cores stay awake while a part is under way")]
    return [Finding("CPU sleep", "warn", "cores may sleep while a part is under way", "sudo sh deploy/install.sh")]


def _clock(root: Path) -> list[Finding]:
    governors: dict[str, int] = {}
    for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")):
        try:
            name = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        governors[name] = governors.get(name, 0) + 1
    if not governors:
        return [Finding("CPU clock", "ok", "not governed by this kernel")]
    text = ", ".join(f"{name} on {count}" for name, count in governors.items())
    if set(governors) != {"performance"}:
        board = (root / "etc/nv_tegra_release").is_file()
        fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        fix = "sudo systemctl enable --now inspector-clocks    # see deploy/JETSON.md" if board else fix
        return [Finding("CPU clock", "warn", f"{text}: parts take longer after a pause", fix)]
    return [Finding("CPU clock", "ok", text)]
