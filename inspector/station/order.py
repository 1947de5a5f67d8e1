"""Results leave in the order of their triggers, and nobody waits past his own deadline for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Order:
    """Whose turn it is to be told."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, asyncio.Event] = OrderedDict()
        self._overtaken: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, seq: int) -> bool:
        return seq in self._waiting

    @property
    def first(self) -> int | None:
        """Whose turn it is; None: nobody is here."""
        return next(iter(self._waiting), None)

    def enter(self, seq: int) -> None:
        """Queue up; call it in trigger order."""
        event = asyncio.Event()
        self._waiting[seq] = event
        if len(self._waiting) == 1:
            event.set()

    async def turn(self, seq: int) -> None:
        """Wait until everybody before is told."""
        await self._waiting[seq].wait()

    def overtake(self, seq: int) -> None:
        """``seq`` can't wait any longer: whoever stands before it must not be told as valid any more."""
        for other in self._waiting:
            if other == seq:
                return
            self._overtaken.add(other)

    def overtaken(self, seq: int) -> bool:
        """A later part was told before this one."""
        return seq in self._overtaken

    def leave(self, seq: int) -> None:
        """Told; the next one may."""
        self._waiting.pop(seq, None)
        self._overtaken.discard(seq)
        if self._waiting:
            next(iter(self._waiting.values())).set()
