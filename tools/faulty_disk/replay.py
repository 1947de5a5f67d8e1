"""What a disk may hold after the power went: everything that was synced, and any part of the rest.

The model of a disk:
- What a file's last completed sync covers is there. Of what was written since, each sector of 512 bytes holds what it
  held before, or what one of the writes since then made of it; the last one may be torn inside the sector. Bytes that
  a write did not touch stay (SQLite assumes the same of a disk: ``SQLITE_IOCAP_POWERSAFE_OVERWRITE``).
- A file that grew is as long as what is kept of it, or as long as it was; holes are zeros.
- Truncating is done in order. What was written behind the end of a truncated file needs the truncating before it.
- Names (created, renamed, removed) change in order, as a journal does it; a sync of a folder makes all of them sure,
  a sync of a file none.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from tools.faulty_disk.log import Operation, Record

SECTOR = 512


class Cut(Enum):
    """What happens to what was not synced."""

    NOTHING = "nothing is kept"
    EVERYTHING = "everything is kept"
    IN_ORDER = "kept up to a moment, the last write torn"
    ANY_SECTOR = "each sector for itself"


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: deque[tuple[int, bytes | None]] = field(default_factory=deque)  # data None: truncated to offset
    done: int = 0  # operations that are durable
    begun: dict[int, int] = field(default_factory=dict)  # of each sync that runs: how many operations it covers

    def settle(self, upto: int) -> None:
        """These operations are on the disk."""
        while self.done < upto and self.pending:
            offset, data = self.pending.popleft()
            _apply(self.durable, offset, data)
            self.done += 1


class Disk:
    """Follows a log; ``cut`` tells what would be left if the power went now.

    ``lag``: syncs are not counted (a disk, or a setting, that does not care); instead what is older than so many
    operations of its file is on the disk.
    """

    def __init__(self, *, lag: int | None = None) -> None:
        self._lag = lag
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._named: deque[tuple[Operation, str, str, int]] = deque()  # not sure yet
        self.syncs = 0

    def apply(self, record: Record) -> None:
        """The next record."""
        kind = record.operation
        if kind in (Operation.WRITE, Operation.TRUNCATE):
            file = self._files.setdefault(record.inode, _File())
            file.pending.append((record.offset, record.data if kind is Operation.WRITE else None))
            if self._lag is not None:
                file.settle(file.done + len(file.pending) - self._lag)
        elif kind is Operation.SYNC_BEGIN:
            file = self._files.setdefault(record.inode, _File())
            file.begun[record.offset] = file.done + len(file.pending)
        elif kind is Operation.SYNC_END:
            file = self._files.setdefault(record.inode, _File())
            covered = file.begun.pop(record.offset, 0)
            self.syncs += 1
            if self._lag is None:
                file.settle(covered)
        elif kind is Operation.FOLDER_SYNC:
            self.syncs += 1
            if self._lag is None:
                self._settle_names(len(self._named))
        elif kind is not Operation.MARKER:
            if kind is Operation.CREATE:
                self._files[record.inode] = _File()
            self._named.append((kind, record.name, record.data.decode(), record.inode))
            if self._lag is not None:
                self._settle_names(len(self._named) - self._lag // 20)

    def _settle_names(self, count: int) -> None:
        for _ in range(max(count, 0)):
            _rename(self._names, *self._named.popleft())

    def cut(self, chance: random.Random, how: Cut | None = None) -> dict[str, bytes]:
        """The files by name as the disk may hold them."""
        how = how or chance.choice(list(Cut))
        names = dict(self._names)
        kept = {Cut.NOTHING: 0, Cut.EVERYTHING: len(self._named)}.get(how, chance.randint(0, len(self._named)))
        for operation in list(self._named)[:kept]:
            _rename(names, *operation)
        return {name: _left(self._files.get(inode, _File()), chance, how) for name, inode in names.items()}


def _rename(names: dict[str, int], kind: Operation, name: str, new: str, inode: int) -> None:
    if kind is Operation.CREATE:
        names[name] = inode
    elif kind is Operation.UNLINK:
        names.pop(name, None)
    elif name in names:
        names[new] = names.pop(name)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _left(file: _File, chance: random.Random, how: Cut) -> bytes:
    content = bytearray(file.durable)
    pending = list(file.pending)
    if how is Cut.NOTHING or not pending:
        return bytes(content)
    if how is Cut.EVERYTHING:
        for offset, data in pending:
            _apply(content, offset, data)
        return bytes(content)
    if how is Cut.IN_ORDER:
        whole = chance.randint(0, len(pending) - 1)
        for offset, data in pending[:whole]:
            _apply(content, offset, data)
        offset, data = pending[whole]
        if data is not None:
            _apply(content, offset, data[: chance.randint(0, len(data))])
        return bytes(content)
    return bytes(_any_sector(content, pending, chance))


def _any_sector(content: bytearray, pending: list[tuple[int, bytes | None]], chance: random.Random) -> bytearray:
    """Truncations in order, as many as it happens; between them each sector for itself."""
    truncations = [i for i, (_, data) in enumerate(pending) if data is None]
    done = chance.randint(0, len(truncations))
    keep = chance.choice((0.1, 0.5, 0.9))
    start = 0
    for end in [*truncations[:done], truncations[done] if done < len(truncations) else len(pending)]:
        _scatter(content, pending[start:end], chance, keep, None)
        if end < len(pending) and end in truncations[:done]:
            _apply(content, pending[end][0], None)
        start = end + 1
    if done < len(truncations):  # this one is not done: what came after it reaches only what it would have left
        border = min(pending[i][0] for i in truncations[done:])
        _scatter(content, [p for p in pending[start:] if p[1] is not None], chance, keep, min(border, len(content)))
    return content


def _scatter(
    content: bytearray, writes: list[tuple[int, bytes | None]], chance: random.Random, keep: float, border: int | None
) -> None:
    sectors: dict[int, list[tuple[int, bytes]]] = {}
    for offset, data in writes:
        assert data is not None  # noqa: S101 - truncations stand between
        for first in range(offset - offset % SECTOR, offset + len(data), SECTOR):
            begin, end = max(first, offset), min(first + SECTOR, offset + len(data))
            if border is None or end <= border:
                sectors.setdefault(first, []).append((begin, data[begin - offset : end - offset]))
    longest = max((patches[-1][0] + len(patches[-1][1]) for patches in sectors.values()), default=0)
    for patches in sectors.values():
        count = len(patches) if chance.random() < keep else chance.randint(0, len(patches) - 1)
        for begin, data in patches[:count]:
            _apply(content, begin, data)
        if count < len(patches) and chance.random() < 0.3:  # torn
            begin, data = patches[count]
            _apply(content, begin, data[: chance.randint(0, len(data))])
    if longest > len(content) and chance.random() < 0.5:
        content.extend(bytes(longest - len(content)))
