"""Which cameras a GenTL producer shows, asked in a process of its own: vendor code may crash or hang.

By hand: ``python -m inspector.acquire.probe [PRODUCER.cti ...]`` (without one: all on GENICAM_GENTL64_PATH).
It prints one JSON object: ``{"producers": [path], "devices": [{serial, model, vendor, access}], "error": text}``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 20.0


@dataclass(frozen=True)
class Probed:
    """What came out: the producers loaded, the devices they show, and what is wrong ("" when nothing is)."""

    producers: tuple[str, ...]
    devices: tuple[Mapping[str, str], ...]  # serial, model, vendor, access: free, open, busy, read only, not reachable
    error: str


def probe(
    producers: Sequence[Path] = (), *, environment: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> Probed:
    """List devices in a child process; never raises, never takes longer than ``limit_s``."""
    named = ", ".join(map(str, producers)) or "on GENICAM_GENTL64_PATH"
    child = subprocess.Popen(
        [sys.executable, "-m", "inspector.acquire.probe", *map(str, producers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    with child:
        try:
            output, _ = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            return Probed((), (), f"GenTL producer {named} hangs: no answer within {limit_s:.0f} s")
    if child.returncode < 0:
        try:
            how = signal.Signals(-child.returncode).name
        except ValueError:
            how = f"signal {-child.returncode}"
        return Probed((), (), f"GenTL producer {named} crashed ({how})")
    try:
        told = json.loads(output)
        return Probed(tuple(told["producers"]), tuple(told["devices"]), told["error"] or "")
    except (ValueError, KeyError, TypeError):
        return Probed((), (), f"GenTL producer {named} ended the process (exit status {child.returncode})")


def main(arguments: Sequence[str]) -> None:
    """The child: load, list, print."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a vendor prints must not get into the answer
    told: dict[str, object] = {"producers": [], "devices": [], "error": None}
    try:
        from inspector.acquire.camera import DeviceError
        from inspector.acquire.genicam import Library, producers

        try:
            found = [Path(argument) for argument in arguments] or producers(None)
            missing = [path for path in found if not path.is_file()]
            if missing:
                raise DeviceError(f"there is no GenTL producer {missing[0]}")
            told["producers"] = [str(path) for path in found]
            library = Library(found)
            told["devices"] = library.devices()
            library.close()
        except DeviceError as error:
            told["error"] = str(error)
    except ImportError as error:
        told["error"] = f"harvesters or genicam can't be imported ({error})"
    json.dump(told, answer)
    answer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
