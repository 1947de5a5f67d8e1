"""A byte budget for a folder of pictures: oldest passes go first, rejects last."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

_UNFINISHED = ".tmp"
RANKS = ("pass", "not_inspected", "fail")  # in the order in which they go


@dataclass
class Retention:
    """Knows what the folder holds; the folder is read once, at the start."""

    folder: Path
    budget_bytes: int
    min_free_bytes: int
    used_bytes: int = 0
    dropped: int = 0
    _files: dict[str, OrderedDict[Path, int]] = field(default_factory=dict)  # sizes, oldest first

    def __post_init__(self) -> None:
        for rank in RANKS:
            (self.folder / rank).mkdir(parents=True, exist_ok=True)
            found = []
            for path in (self.folder / rank).rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # somebody is tidying up
                    if path.name.endswith(_UNFINISHED):
                        path.unlink()
                    elif path.is_file():
                        status = path.stat()
                        found.append((status.st_mtime_ns, path, status.st_size))
            self._files[rank] = OrderedDict((path, size) for _, path, size in sorted(found))
            self.used_bytes += sum(self._files[rank].values())

    def free_bytes(self) -> int:
        """Free space where the pictures lie."""
        return shutil.disk_usage(self.folder).free

    def room(self, size: int, rank: str) -> str:
        """Make room for ``size`` bytes; "" when there is, otherwise why not.

        A picture never pushes out one that ranks higher than itself.
        """
        allowed = RANKS[: RANKS.index(rank) + 1]
        while self.used_bytes + size > self.budget_bytes or self.free_bytes() - size < self.min_free_bytes:
            if not any(self._remove_oldest(r) for r in allowed):
                if self.free_bytes() - size < self.min_free_bytes:
                    free, floor = self.free_bytes() // 1_000_000, self.min_free_bytes // 1_000_000
                    return f"{free} MB are free, at least {floor} MB must stay free"
                return f"the pictures' budget of {self.budget_bytes // 1_000_000} MB is used up by rejects"
        return ""

    def _remove_oldest(self, rank: str) -> bool:
        files = self._files[rank]
        if not files:
            return False
        path, size = files.popitem(last=False)
        try:
            path.unlink(missing_ok=True)  # somebody may have copied it off and deleted it
        except OSError:
            files[path] = size  # not ours to delete: it still takes its place, and is tried last
            files.move_to_end(path)
            return False
        self.used_bytes -= size
        self.dropped += 1
        return True

    def write(self, rank: str, name: str, data: bytes, *, synced: bool = True) -> Path:
        """Write a whole file or none: temporary name, fsync, rename. Raises OSError.

        ``synced`` False: for what can be made again; a power cut may take it, and the disk is left to the ledger.
        """
        path = self.folder / rank / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + _UNFINISHED)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        files = self._files[rank]
        self.used_bytes += len(data) - files.pop(path, 0)
        files[path] = len(data)
        return path
