"""A disk and a clock that can be made faulty, around a process that knows nothing of it.

A small library (``shim.c``) is loaded before all others into the process and its children; a memory-mapped control
file steers it at any time from outside. For files below one folder it makes ``fsync`` slow, lets the disk be full,
gives a file bad sectors, and records all that goes to the disk; for the whole process tree it shifts the wall clock.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path

from tools.compiling import compiled

SHIM = Path(__file__).resolve().parent / "build" / "faulty_disk.so"
ENVIRONMENT = "FAULTY_DISK_CONTROL"

# control_layout.h
_MAGIC, _VERSION, _BYTES, _PATH_BYTES = b"FAULTDSK", 1, 4096, 1024
_DELAY, _OFFSET, _FULL, _RECORDING = (12, "<I"), (16, "<q"), (24, "<I"), (28, "<I")
_SYNCS, _DELAYED, _REFUSED, _UNRECORDED = (32, "<Q"), (40, "<Q"), (48, "<Q"), (56, "<Q")
_FOLDER, _LOG = 64, 64 + _PATH_BYTES
_BAD_INODE, _BAD_FROM, _BAD_TO, _UNREAD = (2112, "<Q"), (2120, "<q"), (2128, "<q"), (2136, "<Q")

SYNC_DELAY_MAX_MS = 600_000
CLOCK_OFFSET_MAX_S = 10 * 366 * 86_400


def build() -> Path:
    """Compile the shim when its sources are newer and return it. RuntimeError says what is missing."""
    return compiled(SHIM, "the faulty disk")


class FaultyDisk:
    """The control file of a faulty disk; start processes with ``environment`` and turn the knobs while they run.

    ``folder``: only files below it are touched; the clock is that of the whole process. Raises ValueError for a path
    or a value out of range, RuntimeError when the shim can't be built.
    """

    def __init__(self, control_path: Path, folder: Path) -> None:
        folder = folder.resolve()
        if len(os.fsencode(folder)) >= _PATH_BYTES:
            raise ValueError(f"folder has {len(os.fsencode(folder))} bytes, allowed are {_PATH_BYTES - 1}")
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder")
        self.control_path = control_path.resolve()
        self.folder = folder
        self._shim = build()
        new = self.control_path.with_name(f"{self.control_path.name}.{os.getpid()}.new")
        page = bytearray(_BYTES)
        page[:12] = _MAGIC + struct.pack("<I", _VERSION)
        page[_FOLDER : _FOLDER + len(os.fsencode(folder))] = os.fsencode(folder)
        new.write_bytes(page)
        new.replace(self.control_path)
        with self.control_path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _BYTES)

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment, beside what it has anyway."""
        before = [p for p in os.environ.get("LD_PRELOAD", "").split() if p != str(self._shim)]
        return {ENVIRONMENT: str(self.control_path), "LD_PRELOAD": " ".join([*before, str(self._shim)])}

    @property
    def sync_delay_ms(self) -> int:
        """How much longer each fsync and fdatasync takes; one that waits notices when it becomes shorter."""
        return self._get(_DELAY)

    @sync_delay_ms.setter
    def sync_delay_ms(self, value: int) -> None:
        if not 0 <= value <= SYNC_DELAY_MAX_MS:
            raise ValueError(f"sync_delay_ms is {value}, allowed is 0 to {SYNC_DELAY_MAX_MS}")
        self._set(_DELAY, value)

    @property
    def clock_offset_s(self) -> float:
        """How far the wall clock goes ahead (negative: behind). Times in files' properties stay the true ones."""
        return self._get(_OFFSET) / 1e9

    @clock_offset_s.setter
    def clock_offset_s(self, value: float) -> None:
        if not abs(value) <= CLOCK_OFFSET_MAX_S:
            raise ValueError(f"clock_offset_s is {value}, allowed is up to {CLOCK_OFFSET_MAX_S} either way")
        self._set(_OFFSET, round(value * 1e9))

    @property
    def full(self) -> bool:
        """No write may make a file longer (ENOSPC); writing over what is there goes on, as on a real full disk."""
        return bool(self._get(_FULL))

    @full.setter
    def full(self, value: bool) -> None:
        self._set(_FULL, int(value))

    def bad_sectors(self, path: Path | None, first_byte: int = 0, size_bytes: int = 512) -> None:
        """Nothing can be read there (EIO) from now on, wherever the file is moved to; None: everything can."""
        self._set(_BAD_INODE, 0)
        if path is not None:
            self._set(_BAD_FROM, first_byte)
            self._set(_BAD_TO, first_byte + size_bytes)
            self._set(_BAD_INODE, path.stat().st_ino)

    def record_to(self, path: Path | None) -> None:
        """Write all that goes to the disk from now on into a log (``tools.faulty_disk.log`` reads it); None: stop.

        One log a control file: processes that have begun with one go on with it.
        """
        if path is None:
            self._set(_RECORDING, 0)
            return
        name = os.fsencode(path.resolve())
        if len(name) >= _PATH_BYTES:
            raise ValueError(f"the log's path has {len(name)} bytes, allowed are {_PATH_BYTES - 1}")
        if path.resolve().is_relative_to(self.folder):
            raise ValueError(f"the log {path} must not lie in the folder that is recorded, {self.folder}")
        self._map[_LOG : _LOG + _PATH_BYTES] = name.ljust(_PATH_BYTES, b"\0")
        self._set(_RECORDING, 1)

    @property
    def syncs(self) -> int:
        """How many fsync and fdatasync came, in all processes."""
        return self._get(_SYNCS)

    @property
    def delayed(self) -> int:
        """How many of them were made slow."""
        return self._get(_DELAYED)

    @property
    def refused(self) -> int:
        """How many writes found the disk full."""
        return self._get(_REFUSED)

    @property
    def unread(self) -> int:
        """How many reads met a bad sector."""
        return self._get(_UNREAD)

    @property
    def unrecorded(self) -> int:
        """How many records the log could not take: it is worth nothing when this is not 0."""
        return self._get(_UNRECORDED)

    def close(self) -> None:
        """Let go of the control file, with every fault ended; the processes go on."""
        with contextlib.suppress(ValueError):  # closed before
            self.sync_delay_ms, self.clock_offset_s, self.full = 0, 0.0, False
            self.bad_sectors(None)
            self.record_to(None)
        self._map.close()

    def __enter__(self) -> FaultyDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, field: tuple[int, str]) -> int:
        return int(struct.unpack_from(field[1], self._map, field[0])[0])

    def _set(self, field: tuple[int, str], value: int) -> None:
        struct.pack_into(field[1], self._map, field[0], value)
