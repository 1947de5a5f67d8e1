"""The shim's log: everything that went to the disk, in the order in which it happened, and markers between."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_HEAD = struct.Struct("<IHHQqQ")  # struct record of control_layout.h


class Operation(IntEnum):
    """What was done."""

    CREATE = 1  # name
    WRITE = 2  # offset, data
    TRUNCATE = 3  # offset: the new size
    SYNC_BEGIN = 4  # offset: a number
    SYNC_END = 5  # the same number: what was written before its begin is on the disk
    FOLDER_SYNC = 6
    RENAME = 7  # name, data: the new name
    UNLINK = 8  # name
    MARKER = 9  # data: the program's own words


@dataclass(frozen=True, slots=True)
class Record:
    """One of them. ``name`` is relative to the folder that was recorded."""

    operation: Operation
    inode: int
    offset: int
    time_ns: int
    name: str
    data: bytes


class LogError(Exception):
    """The log is not whole; one sentence."""


def read(path: Path) -> Iterator[Record]:
    """All records, oldest first. Raises LogError when the log is damaged or cut off."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                raise LogError(f"{path}: cut off at byte {file.tell()}")
            size, operation, name_size, inode, offset, time_ns = _HEAD.unpack(head)
            rest = file.read(size - _HEAD.size)
            if size < _HEAD.size + name_size or len(rest) != size - _HEAD.size:
                raise LogError(f"{path}: no record ends at byte {file.tell()}")
            try:
                kind = Operation(operation)
            except ValueError:
                raise LogError(f"{path}: operation {operation} before byte {file.tell()}") from None
            yield Record(kind, inode, offset, time_ns, os.fsdecode(rest[:name_size]), rest[name_size:])


class Marker:
    """Writes a program's own words between the records."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def put(self, words: bytes) -> None:
        """All that was acknowledged before stands before it in the log."""
        head = _HEAD.pack(_HEAD.size + len(words), Operation.MARKER, 0, 0, 0, time.monotonic_ns())
        if os.write(self._descriptor, head + words) != _HEAD.size + len(words):
            raise LogError("the log could not take a marker")

    def close(self) -> None:
        os.close(self._descriptor)
