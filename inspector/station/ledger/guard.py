"""The highest seq in a small file of its own, so that no seq is used twice even when the ledger is lost."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

MARGIN = 10_000  # the file names a seq so far ahead, so that it is written now and then only


class SeqGuard:
    """``above()`` was never reached by any part. Written in place: one sector, torn or whole, and it takes no space."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.said = self._read()

    def _read(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            seq, crc = self._path.read_text("ascii").split()
            if zlib.crc32(seq.encode()) == int(crc, 16):
                return int(seq)
        return 0

    def behind(self, next_seq: int) -> bool:
        """It is time to write it again."""
        return not next_seq + MARGIN // 2 <= self.said <= next_seq + 2 * MARGIN

    def keep(self, next_seq: int, margin: int = MARGIN) -> None:
        """Write that no part beyond ``next_seq + margin`` has a number yet. Raises OSError."""
        seq = str(next_seq + margin)
        line = f"{seq} {zlib.crc32(seq.encode()):08x}\n".encode("ascii").rjust(32)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, line, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.said = next_seq + margin
