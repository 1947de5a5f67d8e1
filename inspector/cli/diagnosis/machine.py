"""The computer: disk, clock, service. Everything is read below ``root``, so that a test can be one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from inspector.cli.diagnosis import Finding, existing
from inspector.config import StationConfig

INODES = 20_000
_VOLATILE = ("tmpfs", "ramfs", "overlay", "squashfs")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
_TIME_ERROR = 5  # adjtimex: the clock is not synchronised


def disk(config: StationConfig, root: Path) -> list[Finding]:
    """Space, inodes and filesystem under ledger and pictures."""
    folder = config.state_dir
    there = existing(folder)
    kind = _filesystem(root, there)
    if not os.access(there, os.W_OK) and not _service_file(root):
        return [Finding("state folder", "MISSING", f"{there} is not writable", f"sudo install -d -o $USER {folder}")]
    found = [_space(config, there)]
    status = os.statvfs(there)
    if status.f_files and status.f_favail < INODES:
        fix = f"remove small files: sudo du --inodes -xS {there} | sort -n | tail"
        found.append(Finding("inodes", "warn", f"{status.f_favail} free on {there}; each picture takes one", fix))
    if kind in _NETWORK:
        fix = f"mount a local disk at {folder}"
        found.append(Finding("filesystem", "MISSING", f"{there} is {kind}: a ledger can't be safe on a network", fix))
    elif kind in _VOLATILE:
        fix = f"mount a disk at {folder}"
        found.append(Finding("filesystem", "warn", f"{there} is {kind}: the ledger is lost with the power", fix))
    else:
        found.append(Finding("filesystem", "ok", f"{there} is {kind or 'unknown'}"))
    return found


def _space(config: StationConfig, there: Path) -> Finding:
    status = os.statvfs(there)
    free_mb = status.f_bavail * status.f_frsize // (1024 * 1024)
    limit_mb, budget_mb = config.archive.min_free_mb, config.archive.budget_mb
    if free_mb < limit_mb:
        what = f"{there} has {free_mb} MB free; below {limit_mb} (archive.min_free_mb) no picture is kept"
        return Finding("disk space", "MISSING", what, f"sudo du -xh {there} | sort -h | tail    # and make room")
    if free_mb < budget_mb:
        what = f"{there} has {free_mb} MB free, the pictures may take {budget_mb} (archive.budget_mb)"
        return Finding("disk space", "warn", what, "make room, or lower `archive: budget_mb` in the station file")
    return Finding("disk space", "ok", f"{there} has {free_mb} MB free")


def service(config: StationConfig, root: Path) -> list[Finding]:
    """The unit, and the folder for sockets and pictures under way."""
    unit = _service_file(root)
    if unit is None:
        found = [Finding("service", "MISSING", "inspector.service is not installed", "sudo sh deploy/install.sh")]
    elif not (root / "etc/systemd/system/multi-user.target.wants/inspector.service").is_symlink():
        what = "inspector.service is installed but does not start with the power"
        found = [Finding("service", "MISSING", what, "sudo systemctl enable inspector")]
    else:
        found = [Finding("service", "ok", f"{unit} is enabled")]
    folder = config.runtime_dir
    there = existing(folder)
    if folder.is_dir() and os.access(folder, os.W_OK):
        found.append(Finding("runtime folder", "ok", str(folder)))
    elif unit is not None:
        found.append(Finding("runtime folder", "ok", f"{folder}: the service makes it for itself"))
    elif os.access(there, os.W_OK):
        found.append(Finding("runtime folder", "ok", f"{folder} can be made"))
    else:
        fix = f"sudo install -d -o $USER {folder}"
        found.append(Finding("runtime folder", "MISSING", f"{there} is not writable", fix))
    return found


def clock(root: Path) -> list[Finding]:
    """Is the time of day the network's? Verdicts don't need it, their time stamps do."""
    if (root / "run/systemd/timesync/synchronized").exists() or (root == Path("/") and _kernel_clock_synchronised()):
        return [Finding("clock", "ok", "synchronised")]
    return [Finding("clock", "warn", "not synchronised: time stamps may be wrong", "sudo timedatectl set-ntp true")]


def _kernel_clock_synchronised() -> bool:
    timex = ctypes.create_string_buffer(512)  # struct timex with modes = 0: read only
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR


def _service_file(root: Path) -> Path | None:
    folders = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
    return next((p for f in folders if (p := root / f / "inspector.service").is_file()), None)


def _filesystem(root: Path, path: Path) -> str:
    """Type of the filesystem with ``path`` on it, "" when unknown."""
    try:
        lines = (root / "proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        place = Path(fields[1].replace("\\040", " "))
        if path.resolve().is_relative_to(place) and len(place.parts) >= best:  # a later mount hides an earlier one
            best, kind = len(place.parts), fields[2]
    return kind
