"""Which cameras a GenTL producer shows, asked in a process of its own: vendor code may crash or hang.

By hand: ``python -m inspector.acquire.probe [PRODUCER.cti ...]`` (without one: all on GENICAM_GENTL64_PATH).
It prints one JSON object: ``{"producers": [path], "devices": [{serial, model, vendor, access, transport, where}],
"error": text}``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inspector.acquire import apart
from inspector.acquire.camera import DeviceError

LIMIT_S = 20.0


@dataclass(frozen=True)
class Probed:
    """What came out: the producers loaded, the devices they show, and what is wrong ("" when nothing is)."""

    producers: tuple[str, ...]
    devices: tuple[Mapping[str, str], ...]  # of Library.devices(); access: free, open, busy, read only, not reachable
    error: str


def probe(
    producers: Sequence[Path] = (), *, environment: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> Probed:
    """List devices in a child process; never raises, never takes longer than ``limit_s``."""
    named = ", ".join(map(str, producers)) or "on GENICAM_GENTL64_PATH"
    try:
        told = apart.ask("inspector.acquire.probe", [*map(str, producers)], limit_s=limit_s, environment=environment)
    except apart.Died as how:
        return Probed((), (), f"GenTL producer {named} {how}")
    except DeviceError as error:
        return Probed((), (), str(error))
    return Probed(tuple(told["producers"]), tuple(told["devices"]), "")


def main(arguments: Sequence[str]) -> None:
    """The child: load, list, print."""
    apart.tell(lambda: _look([Path(argument) for argument in arguments]))


def _look(named: Sequence[Path]) -> Mapping[str, object]:
    from inspector.acquire.genicam import Library, producers

    found = list(named) or producers(None)
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise DeviceError(f"there is no GenTL producer {missing[0]}")
    library = Library(found)
    devices = library.devices()
    library.close()
    return {"producers": [str(path) for path in found], "devices": devices}


if __name__ == "__main__":
    main(sys.argv[1:])
