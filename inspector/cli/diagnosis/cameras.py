"""GenTL producers, and each configured camera by its serial number."""

from __future__ import annotations

import os
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


def cameras(config: StationConfig, root: Path, limit_s: float = LIMIT_S) -> list[Finding]:
    """One probe for each producer that is named, one for all on the path."""
    found: list[Finding] = []
    environment = service_environment(root)
    for producer in sorted({camera.producer for camera in config.cameras.values()}, key=str):
        probed = probe([producer] if producer else [], environment=environment, limit_s=limit_s)
        found.append(_producers(probed, producer))
        for name, camera in config.cameras.items():
            if camera.producer == producer:
                found.append(_camera(name, camera.serial, probed))
    return found


def _producers(probed: Probed, named: Path | None) -> Finding:
    if probed.error:
        if named is None:
            fix = (
                "install your camera maker's GenTL package, then"
                f" echo {PATH}=FOLDER | sudo tee -a /etc/inspector/environment"
            )
        else:
            fix = f"ldd {named}    # and `producer:` in the station file"
        return Finding("GenTL producer", "MISSING", probed.error, fix)
    return Finding("GenTL producer", "ok", ", ".join(probed.producers))


def _camera(name: str, serial: str, probed: Probed) -> Finding:
    what = f"camera {name}"
    if probed.error:
        return Finding(what, "MISSING", f"{serial} can't be looked for without a producer", "mend the producer first")
    for device in probed.devices:
        if device["serial"] == serial:
            text = " ".join(filter(None, (device["vendor"], device["model"], serial)))
            if device["access"] in _USABLE:
                return Finding(what, "ok", f"{text}, {_USABLE[device['access']]}")
            fix = "give camera and network interface addresses in one subnet, close other programs that use the camera"
            return Finding(what, "MISSING", f"{text} is {device['access']}", fix)
    serials = ", ".join(device["serial"] for device in probed.devices) or "none"
    fix = "inspector camera list    # then power, cable, or `serial:` in the station file"
    return Finding(what, "MISSING", f"no device with serial {serial} (found: {serials})", fix)
