"""Engines as data: what a cached one depends on, where it lies, how it is built apart, what its errors mean.

Nothing here needs a GPU. An engine (a TensorRT plan) is executable code, so one is loaded only from a folder that
nobody else can write to, and only when it is the very file that was stored there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ENGINES_MAX = 8  # in a cache folder; the ones unused longest go first
ENGINE_BYTES_MAX = 2 * 1024**3
BUILD_LIMIT_S = 840.0  # while a station waits for its recipe (9.5 minutes on an Orin); less than the station waits
_SAID_BYTES = 8192

log = logging.getLogger(__name__)


class EngineError(Exception):
    """An engine can't be built or loaded; the text says why and what to do."""


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on; another value of any of it needs another engine."""

    onnx_sha256: str
    module: str  # tensorrt | tensorrt_rtx
    version: str
    gpu: str
    sm: str  # compute capability without the dot: 87
    flags: str

    @property
    def digest(self) -> str:
        """32 hex digits, the name of the cached file."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


class EngineCache:
    """Built engines in one folder: ``<digest>.engine`` with ``<digest>.json`` (key and sha256) beside it."""

    def __init__(self, folder: Path) -> None:
        """Raises EngineError when the folder can't be used, or others could write to it."""
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = folder.stat()
        except OSError as error:
            raise EngineError(f"the engine cache {folder} can't be used: {error.strerror}") from None
        if info.st_uid != os.geteuid():
            raise EngineError(f"the engine cache {folder} belongs to user {info.st_uid}, allowed is {os.geteuid()}")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = stat.S_IMODE(info.st_mode)
            raise EngineError(
                f"the engine cache {folder} has mode {mode:o}, others can write to it; run: chmod 700 {folder}"
            )

    def load(self, key: EngineKey) -> bytes | None:
        """The stored engine, or None when there is none or it is not the file that was stored."""
        engine, sidecar = self._paths(key)
        try:
            note = json.loads(sidecar.read_text(encoding="utf-8"))
            data = _read_own(engine)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("cached engine %s can't be used and is built again: %s", engine.name, error)
            return None
        wanted = {"key": asdict(key), "sha256": hashlib.sha256(data).hexdigest()}
        if note != wanted:
            log.warning("cached engine %s is damaged and is built again", engine.name)
            return None
        with contextlib.suppress(OSError):
            os.utime(engine)  # the time of last use, for `_tidy`
        return data

    def store(self, key: EngineKey, data: bytes) -> None:
        """Keep an engine for the next start. A full disk costs a rebuild, not a part: it is only logged."""
        engine, sidecar = self._paths(key)
        note = {"key": asdict(key), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            _write_durably(engine, data)
            _write_durably(sidecar, json.dumps(note, indent=1).encode())
            self._tidy()
        except OSError as error:
            log.warning("engine %s is not cached: %s", engine.name, error)

    def forget(self, key: EngineKey) -> None:
        """Drop a stored engine."""
        for path in self._paths(key):
            path.unlink(missing_ok=True)

    def _paths(self, key: EngineKey) -> tuple[Path, Path]:
        return self.folder / f"{key.digest}.engine", self.folder / f"{key.digest}.json"

    def _tidy(self) -> None:
        engines = sorted(self.folder.glob("*.engine"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for old in engines[ENGINES_MAX:]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)


def build_apart(module: str, onnx: bytes, limit_s: float) -> bytes:
    """The engine for ``onnx``, built with ``module`` in a process of its own.

    A builder may take minutes and gigabytes, and may crash; the judge shares none of that. Raises EngineError.
    """
    with tempfile.TemporaryDirectory(prefix="inspector-engine-") as folder:  # mode 0700
        plan = Path(folder) / "engine"
        said = Path(folder) / "said"
        command = [sys.executable, "-m", "inspector.infer.tensorrt", module, str(plan), str(round(limit_s))]
        try:
            with said.open("wb") as errors:
                done = subprocess.run(
                    command, input=onnx, stdout=subprocess.DEVNULL, stderr=errors, timeout=limit_s, check=False
                )
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{module} did not build the engine within {limit_s:g} s; build it ahead, into the station's cache:"
                " inspector model check FOLDER --backend tensorrt --cache DIR"
            ) from None
        if done.returncode == 0 and plan.is_file() and plan.stat().st_size > 0:
            return plan.read_bytes()
        lines = said.read_bytes()[-_SAID_BYTES:].decode("utf-8", "replace").strip().splitlines()
        why = explain(lines[-1:]) if done.returncode >= 0 else f"the builder was killed by signal {-done.returncode}"
        raise EngineError(f"{module} built no engine: {why}")


_STUB = "the CUDA driver is a stub library: install the NVIDIA driver of this machine"
_DRIVER = "no CUDA driver, or one older than TensorRT needs: install a newer NVIDIA driver"
_MEANINGS = (
    # what the library logs -> what it means and what to do
    ("cudaerror 34", _STUB),
    ("stub library", _STUB),
    ("cudaerror 35", _DRIVER),
    ("driver version is insufficient", _DRIVER),
    ("no cuda-capable device", "no CUDA device was found: check the GPU and its driver"),
    ("unsupported_cc", "this TensorRT does not support this GPU's compute capability"),
    ("compute capability", "the engine was built for another GPU than this one"),
    ("incompatible device", "the engine was built for another GPU than this one"),
    ("version tag", "the engine was built by another version of TensorRT"),
    ("serialization version", "the engine was built by another version of TensorRT"),
    ("out of memory", "the GPU has too little free memory for this model"),
    ("plugin not found", "the model uses an operator that TensorRT does not know"),
)


def explain(messages: Iterable[str]) -> str:
    """What a library's log means, in one sentence, with its own last words behind."""
    said = [m.strip() for m in messages if m.strip()]
    if not said:
        return "it gave no reason"
    # the first error is the cause, what follows are its consequences
    for message in said:
        for sign, meaning in _MEANINGS:
            if sign in message.lower():
                return f"{meaning} ({message[:200]})"
    return said[0][:300]


def _read_own(path: Path) -> bytes:
    """The bytes of a plain file that only we can write to. Raises OSError or ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
            raise ValueError("it is not our own file")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError(f"others can write to it (mode {stat.S_IMODE(info.st_mode):o})")
        if info.st_size > ENGINE_BYTES_MAX:
            raise ValueError(f"it is {info.st_size} bytes long, at most {ENGINE_BYTES_MAX} are allowed")
        return stream.read()


def _write_durably(path: Path, data: bytes) -> None:
    """Whole or not at all, also when the power fails: temporary file, fsync, rename, fsync of the folder."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
