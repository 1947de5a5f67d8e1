"""GenTL producers, and each configured camera by its serial number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from inspector.acquire.probe import LIMIT_S, Probed, probe
from inspector.cli.diagnosis import Finding
from inspector.config import StationConfig

PATH = "GENICAM_GENTL64_PATH"
_USABLE = {"free": "free", "open": "open", "busy": "in use, by the station if it runs", "unknown": "found"}


def service_environment(root: Path) -> dict[str, str]:
    """Where the service looks for producers: the doctor may be run from a shell that does not know."""
    if os.environ.get(PATH):
        return {}
    try:
        lines = (root / "etc/inspector/environment").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {PATH: values[PATH].strip("\"' ")} if PATH in values else {}


Probes = dict[Path | None, Probed]  # None: what is on the path
Device = Mapping[str, str]


def look(config: StationConfig, root: Path, limit_s: float = LIMIT_S) -> Probes:
    """One probe for each producer that is named, one for all on the path when there is one."""
    environment = service_environment(root)
    wanted = {camera.producer for camera in config.cameras.values()}
    if os.environ.get(PATH) or environment:
        wanted.add(None)
    return {
        producer: probe([producer] if producer else [], environment=environment, limit_s=limit_s)
        for producer in sorted(wanted, key=str)
    }


def cameras(config: StationConfig, probes: Probes) -> list[Finding]:
    """Every producer, the station's cameras, and each other device that is there."""
    found: list[Finding] = []
    for producer, probed in probes.items():
        found.append(_producers(probed, producer, any(c.producer == producer for c in config.cameras.values())))
        for name, camera in config.cameras.items():
            if camera.producer == producer:
                found.append(_camera(name, camera.serial, probed))
    serials = {camera.serial for camera in config.cameras.values()}
    others = {d["serial"]: d for probed in probes.values() for d in probed.devices if d["serial"] not in serials}
    for device in others.values():
        access = _USABLE.get(device["access"], device["access"])
        found.append(Finding("other camera", "ok", f"{_named(device)}, {access}; not in the station file"))
    return found


def devices(config: StationConfig, probes: Probes) -> list[Device] | None:
    """The station's cameras as they were found; None when one of them was not."""
    found = []
    for camera in config.cameras.values():
        probed = probes[camera.producer].devices
        device = next((d for d in probed if d["serial"] == camera.serial), None)
        if device is None:
            return None
        found.append(device)
    return found


def _producers(probed: Probed, named: Path | None, needed: bool) -> Finding:
    if probed.error and not needed:
        fix = f"correct {PATH} in /etc/inspector/environment; this station can do without"
        return Finding("GenTL producer", "warn", f"on {PATH}: {probed.error}", fix)
    if probed.error:
        if named is None:
            fix = (
                "install your camera maker's GenTL package, then"
                f" echo {PATH}=FOLDER | sudo tee -a /etc/inspector/environment"
            )
        else:
            fix = f"ldd {named}    # and `producer:` in the station file"
        return Finding("GenTL producer", "MISSING", probed.error, fix)
    where = "of the station file" if named else f"on {PATH}"
    return Finding("GenTL producer", "ok", f"{', '.join(probed.producers)} ({where})")


def _named(device: Device) -> str:
    return " ".join(filter(None, (device["vendor"], device["model"], device["serial"])))


def _camera(name: str, serial: str, probed: Probed) -> Finding:
    what = f"camera {name}"
    if probed.error:
        return Finding(what, "MISSING", f"{serial} can't be looked for without a producer", "mend the producer first")
    for device in probed.devices:
        if device["serial"] == serial:
            text = _named(device)
            if device["access"] in _USABLE:
                return Finding(what, "ok", f"{text}, {_USABLE[device['access']]}")
            fix = "give camera and network interface addresses in one subnet, close other programs that use the camera"
            return Finding(what, "MISSING", f"{text} is {device['access']}", fix)
    serials = ", ".join(device["serial"] for device in probed.devices) or "none"
    fix = "inspector camera list    # then power, cable, or `serial:` in the station file"
    return Finding(what, "MISSING", f"no device with serial {serial} (found: {serials})", fix)
