"""Space put by: a file that is given back when the disk is full, so that result rows go on."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

RESERVE_BYTES = 8 * 1024 * 1024  # a thousand parts, once the write-ahead log begins again
SHARE = 8  # at most this part of what is free
LEAST_BYTES = 64 * 1024  # less is not worth a file


class Reserve:
    """See the module's text. ``spent`` from the first full disk until there is space again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._given_bytes = 0
        self.spent = False

    def full(self, error: Exception) -> bool:
        """The error means that the disk is full; SQLite doesn't always find this word for it."""
        text = str(error)
        if "is full" in text:
            return True
        with contextlib.suppress(OSError):
            return "disk I/O error" in text and shutil.disk_usage(self._path.parent).free < LEAST_BYTES
        return False

    def make(self) -> None:
        """Put space by when there is enough of it. Never raises: without it, things are as they are."""
        with contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size >= LEAST_BYTES:
                self.spent = False
                return
            free = shutil.disk_usage(self._path.parent).free
            if free < 2 * self._given_bytes:  # what was given back is not room that somebody made
                return
            size = min(RESERVE_BYTES, free // SHARE)
            if size < LEAST_BYTES:
                return
            unfinished = self._path.with_name(self._path.name + ".tmp")
            try:
                descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, size)
                finally:
                    os.close(descriptor)
                unfinished.rename(self._path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                return
            self.spent, self._given_bytes = False, 0

    def spend(self) -> bool:
        """Give it back; True when that freed anything. Never raises."""
        first, self.spent = not self.spent, True
        try:
            self._given_bytes = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return False
        return first
