"""A byte budget for a folder of pictures: oldest passes go first, rejects last."""

from __future__ import annotations

import os
import shutil
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

RANKS = ("pass", "not_inspected", "fail")  # in the order in which they go


@dataclass
class Retention:
    """Knows what the folder holds; the folder is read once, at the start."""

    folder: Path
    budget_bytes: int
    min_free_bytes: int
    used_bytes: int = 0
    dropped: int = 0
    _files: dict[str, deque[tuple[Path, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rank in RANKS:
            (self.folder / rank).mkdir(parents=True, exist_ok=True)
            found = sorted((p for p in (self.folder / rank).rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime)
            self._files[rank] = deque((p, p.stat().st_size) for p in found)
            self.used_bytes += sum(size for _, size in self._files[rank])

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
        while files:
            path, size = files.popleft()
            self.used_bytes -= size
            self.dropped += 1
            try:
                path.unlink()
            except FileNotFoundError:
                continue  # somebody copied it off and deleted it
            except OSError:
                return False
            return True
        return False

    def write(self, rank: str, name: str, data: bytes) -> Path:
        """Write a whole file or none: temporary name, fsync, rename. Raises OSError."""
        path = self.folder / rank / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._files[rank].append((path, len(data)))
        self.used_bytes += len(data)
        return path
