"""The computer: network, USB, disk, clock, service. Everything is read below ``root``, so that a test can be one."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from inspector.cli.diagnosis import Finding
from inspector.config import PlcConfig, StationConfig

JUMBO_MTU = 8000
RMEM_BYTES = 16 * 1024 * 1024
USBFS_MB = 256
INODES = 20_000
_VOLATILE = ("tmpfs", "ramfs", "overlay", "squashfs")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
_TIME_ERROR = 5  # adjtimex: the clock is not synchronised


def broker(plc: PlcConfig, limit_s: float = 2.0) -> list[Finding]:
    """Somebody listens there. User, password and certificates are proved by the station itself."""
    where = f"{plc.host}:{plc.port}"
    try:
        socket.create_connection((plc.host, plc.port), limit_s).close()
    except OSError as error:
        if plc.host in ("localhost", "127.0.0.1", "::1"):
            fix = "sudo apt install mosquitto && sudo sh deploy/install.sh    # or: sudo systemctl start mosquitto"
        else:
            fix = f"ping {plc.host}    # then `plc:` in the station file, and the broker's firewall"
        return [Finding("MQTT broker", "MISSING", f"{where}: {error.strerror or error}", fix)]
    return [Finding("MQTT broker", "ok", f"{where} answers (`journalctl -u inspector` says whether it lets us in)")]


def network(root: Path) -> list[Finding]:
    """What GigE cameras need of the interfaces and of the kernel."""
    return [_jumbo(root / "sys/class/net"), _receive_buffer(root)]


def _jumbo(folder: Path) -> Finding:
    mtus = {}
    for interface in sorted(folder.glob("*")):
        mtu = _number(interface / "mtu")
        # only hardware has a device; wireless is no place for a camera
        if mtu is not None and (interface / "device").exists() and not (interface / "wireless").exists():
            mtus[interface.name] = mtu
    text = ", ".join(f"{name} MTU {mtu}" for name, mtu in mtus.items())
    if not mtus:
        return Finding("GigE interface", "warn", "no wired network interface", "plug one in, if your camera is GigE")
    if max(mtus.values()) < JUMBO_MTU:
        name = next(iter(mtus))
        fix = f"sudo ip link set dev {name} mtu 9000    # the camera's interface; the switch must allow it too"
        return Finding("GigE interface", "warn", f"{text}; GigE cameras want 9000", fix)
    return Finding("GigE interface", "ok", text)


def _receive_buffer(root: Path) -> Finding:
    found = _number(root / "proc/sys/net/core/rmem_max")
    if found is None or found < RMEM_BYTES:
        fix = "sudo sh deploy/install.sh    # until the next boot: sudo sysctl -w net.core.rmem_max=33554432"
        return Finding("receive buffer", "warn", f"net.core.rmem_max {found}; GigE cameras want {RMEM_BYTES}", fix)
    return Finding("receive buffer", "ok", f"net.core.rmem_max {found}")


def usb(root: Path) -> list[Finding]:
    """Memory for USB3 Vision transfers."""
    found = _number(root / "sys/module/usbcore/parameters/usbfs_memory_mb")
    if found is None:
        return [Finding("USB memory", "ok", "this kernel has no USB")]
    if 0 < found < USBFS_MB:  # 0 is no limit
        fix = (
            "sudo sh deploy/install.sh    # until the next boot: "
            "echo 1000 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"
        )
        return [Finding("USB memory", "warn", f"usbfs_memory_mb {found}; USB3 cameras want {USBFS_MB}", fix)]
    return [Finding("USB memory", "ok", f"usbfs_memory_mb {found}")]


def disk(config: StationConfig, root: Path) -> list[Finding]:
    """Space, inodes and filesystem under ledger and pictures."""
    folder = config.state_dir
    there = _existing(folder)
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
    there = _existing(folder)
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


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


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


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None
