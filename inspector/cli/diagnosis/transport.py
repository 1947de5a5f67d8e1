"""What the cameras' wires need of the computer: interfaces and socket buffers for GigE, memory for USB3."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inspector.cli.diagnosis import Finding, number

JUMBO_MTU = 8000
RMEM_BYTES = 16 * 1024 * 1024
USBFS_MB = 256
# GenTL's transport types that are surely neither; Custom and Mixed may be anything
_GIGE = ("GEV", "Ethernet")
_USB = ("U3V", "UVC")
_OTHER = ("CL", "CLHS", "CXP", "IIDC", "PCI")

Device = Mapping[str, str]
"""Of :func:`inspector.acquire.probe.probe`: serial, transport and where among others."""


def network(root: Path, devices: Sequence[Device] | None = None) -> list[Finding]:
    """What GigE cameras need of their interfaces and of the kernel. ``devices``: the station's; None: not known."""
    if not _wanted(devices, (*_USB, *_OTHER)):
        return [Finding("GigE interface", "ok", f"not wanted: the cameras are {_transports(devices)}")]
    folder = root / "sys/class/net"
    used: dict[str, list[str]] = {}
    for device in devices or ():
        name = _interface_of(device, root) if device.get("transport") not in (*_USB, *_OTHER) else ""
        if name:
            used.setdefault(name, []).append(device["serial"])
    if used:
        return [*(_one(folder / name, serials) for name, serials in sorted(used.items())), _receive_buffer(root)]
    return [_any(folder), _receive_buffer(root)]


def usb(root: Path, devices: Sequence[Device] | None = None) -> list[Finding]:
    """Memory for USB3 Vision transfers. ``devices``: the station's; None: not known."""
    found = number(root / "sys/module/usbcore/parameters/usbfs_memory_mb")
    if found is None:
        return [Finding("USB memory", "ok", "this kernel has no USB")]
    if not _wanted(devices, (*_GIGE, *_OTHER)):
        return [Finding("USB memory", "ok", f"not wanted: the cameras are {_transports(devices)}")]
    if 0 < found < USBFS_MB:  # 0 is no limit
        fix = (
            "sudo sh deploy/install.sh    # until the next boot: "
            "echo 1000 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"
        )
        return [Finding("USB memory", "warn", f"usbfs_memory_mb {found}; USB3 cameras want {USBFS_MB}", fix)]
    return [Finding("USB memory", "ok", f"usbfs_memory_mb {found}")]


def _wanted(devices: Sequence[Device] | None, others: tuple[str, ...]) -> bool:
    return not devices or any(device.get("transport") not in others for device in devices)


def _transports(devices: Sequence[Device] | None) -> str:
    return ", ".join(sorted({device["transport"] for device in devices or ()}))


def _interface_of(device: Device, root: Path) -> str:
    """Name of the interface a camera is on, "" when its maker's texts do not tell.

    They hold an interface's name, or an address (the camera's or the interface's): its route leads there.
    """
    words = device.get("where", "")
    names = {path.name for path in (root / "sys/class/net").glob("*") if path.name != "lo"}
    for word in re.findall(r"[A-Za-z0-9_.-]+", words):
        if word in names:
            return str(word)
    for text in re.findall(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", words):
        try:
            name = _route(ipaddress.IPv4Address(text), root)
        except ValueError:
            continue
        if name in names:
            return name
    return ""


def _route(address: ipaddress.IPv4Address, root: Path) -> str:
    """The interface whose own subnet the address is in; behind a gateway there is no camera."""
    try:
        lines = (root / "proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except (OSError, UnicodeDecodeError):
        return ""
    best, name = 0, ""
    for line in lines:
        fields = line.split()
        try:
            to, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
        except (IndexError, ValueError):
            continue
        if mask > best and int(address) & mask == to:  # the longest mask is the largest number
            best, name = mask, fields[0]
    return name


def _one(folder: Path, serials: Sequence[str]) -> Finding:
    """The interface that cameras are known to be on."""
    mtu, name = number(folder / "mtu"), folder.name
    text = f"{name} MTU {mtu}, of {' and '.join(serials)}"
    if mtu is None or mtu < JUMBO_MTU:
        return Finding("GigE interface", "warn", f"{text}; GigE cameras want 9000", _larger(name))
    return Finding("GigE interface", "ok", text)


def _any(folder: Path) -> Finding:
    mtus = {}
    for interface in sorted(folder.glob("*")):
        mtu = number(interface / "mtu")
        # only hardware has a device; wireless is no place for a camera
        if mtu is not None and (interface / "device").exists() and not (interface / "wireless").exists():
            mtus[interface.name] = mtu
    text = ", ".join(f"{name} MTU {mtu}" for name, mtu in mtus.items())
    if not mtus:
        return Finding("GigE interface", "warn", "no wired network interface", "plug one in, if your camera is GigE")
    if max(mtus.values()) < JUMBO_MTU:
        return Finding("GigE interface", "warn", f"{text}; GigE cameras want 9000", _larger(next(iter(mtus))))
    return Finding("GigE interface", "ok", text)


def _larger(name: str) -> str:
    return f"sudo ip link set dev {name} mtu 9000    # the camera's interface; the switch must allow it too"


def _receive_buffer(root: Path) -> Finding:
    found = number(root / "proc/sys/net/core/rmem_max")
    if found is None or found < RMEM_BYTES:
        fix = "sudo sh deploy/install.sh    # until the next boot: sudo sysctl -w net.core.rmem_max=33554432"
        return Finding("receive buffer", "warn", f"net.core.rmem_max {found}; GigE cameras want {RMEM_BYTES}", fix)
    return Finding("receive buffer", "ok", f"net.core.rmem_max {found}")
