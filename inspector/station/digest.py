"""One digest over everything that decides a verdict: recipe, models, calibration, cameras, settings, software.

It is computed when one of them changes, never for a part: a part only carries it. What it was made of is kept in
the ledger, so that a digest of last year can still be read.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import inspector
from inspector.config import StationConfig
from inspector.wire import Loaded

# libraries that compute what a verdict is made of
LIBRARIES = ("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "tensorrt", "zxing-cpp", "rapidocr")


def canonical(content: Any) -> str:
    """Text that is the same whenever the content is: keys in order, no blanks, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def digest_of(content: Any) -> str:
    """SHA-256 over :func:`canonical`, 64 hex digits."""
    return hashlib.sha256(canonical(content).encode("ascii")).hexdigest()


def software() -> dict[str, str]:
    """Versions, and a digest of the installed package's own code. Reads some hundred files."""
    folder = Path(inspector.__file__).parent
    sums = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        sums.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        sums.update(hashlib.sha256(path.read_bytes()).digest())
    found = {"inspector": inspector.__version__, "code": sums.hexdigest(), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def settings(config: StationConfig) -> dict[str, Any]:
    """What of ``station.yaml`` can change a verdict."""
    return {
        "line": config.line,
        "station": config.station,
        "sim": config.sim,
        "identity": config.identity.model_dump(mode="json"),
        "backend": config.backend,
        "judge_threads": config.judge_threads,
        "cameras": {
            name: {"serial": c.serial, "frame_limit_ms": c.frame_limit_ms, "trigger_limit_ms": c.trigger_limit_ms}
            for name, c in config.cameras.items()
        },
    }


def recipe(loaded: Loaded) -> dict[str, Any]:
    """The recipe that judges, what it says, and what it took: templates, calibrations and models by their digests."""
    return {
        "number": loaded.number,
        "rev": loaded.rev,
        "name": loaded.name,
        "sha": loaded.sha,
        "deadline_ms": loaded.deadline_ms,
        "backend": loaded.backend,
        "models": dict(loaded.model_shas),
        "artefacts": dict(loaded.artefacts),
        "says": json.loads(loaded.says) if loaded.says else {},
    }


class Configuration:
    """What judges now. ``digest`` is "" until the recipe is loaded and every camera that it needs has been seen."""

    def __init__(self, config: StationConfig) -> None:
        self._settings = settings(config)
        self._software: dict[str, str] | None = None
        self._made_of: tuple[Any, ...] | None = None
        self.content: dict[str, Any] = {}
        self.digest = ""

    async def measure(self) -> None:
        """Read the software once, beside the loop. Raises OSError."""
        self._software = await asyncio.to_thread(software)

    def update(self, loaded: Loaded | None, cameras: Mapping[str, Mapping[str, Any]]) -> bool:
        """Look again; True when the digest is another one. ``cameras``: those of the recipe, {} of one not seen."""
        if loaded is None or self._software is None or not cameras or not all(cameras.values()):
            return False  # nothing is judged now: the digest stays what it was
        made_of = (loaded, {name: dict(found) for name, found in cameras.items()})
        if made_of == self._made_of:
            return False
        self._made_of = made_of
        content = {
            "software": self._software,
            "station": self._settings,
            "cameras": made_of[1],
            "recipe": recipe(loaded),
        }
        before, self.digest, self.content = self.digest, digest_of(content), content
        return self.digest != before

    def names(self, loaded: Loaded | None) -> bool:
        """The digest is that of this very recipe, and not of one before it."""
        return loaded is not None and self._made_of is not None and self._made_of[0] == loaded
