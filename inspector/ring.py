"""Pictures between processes: a file of equal slots, mapped by everyone, each slot written exactly once a use.

A camera process creates the ring and owns all slots; it copies a picture into one, bumps the slot's
generation and passes it on; the station hands it back when nobody looks any more
(:class:`inspector.wire.Grant`). Readers look at the pixels in place. A generation that
is not the passport's means that the slot holds another picture, and then nothing is judged by it.

A plain mapped file is used instead of ``multiprocessing.shared_memory``: before Python 3.13 the resource
tracker of a child that exits unlinks what others still use.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspector.codes import Code
from inspector.parts import FrameRef, InspectionFault

_MAGIC = b"INSPRING"
_HEADER = struct.Struct("<8sIIQ")  # magic, version, slots, slot_bytes
_SLOT = struct.Struct("<QQ")  # generation, bytes used
_PAGE = 4096
_VERSION = 1

PIXEL_TYPES: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    # what a slot may hold, after unpacking: SFNC name -> numpy type, channels
    "Mono8": (np.uint8, 1),
    "Mono10": (np.uint16, 1),
    "Mono12": (np.uint16, 1),
    "Mono14": (np.uint16, 1),
    "Mono16": (np.uint16, 1),
    "BayerRG8": (np.uint8, 1),
    "BayerGB8": (np.uint8, 1),
    "BayerGR8": (np.uint8, 1),
    "BayerBG8": (np.uint8, 1),
    "BayerRG10": (np.uint16, 1),
    "BayerGB10": (np.uint16, 1),
    "BayerGR10": (np.uint16, 1),
    "BayerBG10": (np.uint16, 1),
    "BayerRG12": (np.uint16, 1),
    "BayerGB12": (np.uint16, 1),
    "BayerGR12": (np.uint16, 1),
    "BayerBG12": (np.uint16, 1),
    "RGB8": (np.uint8, 3),
    "BGR8": (np.uint8, 3),
}


class Ring:
    """One camera's slots. Writers and readers may be in different processes."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Map an existing ring. Raises OSError, or ValueError when the file is not a ring."""
        flags = os.O_RDWR if writable else os.O_RDONLY
        fd = os.open(path, flags | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if size < _PAGE:
                raise ValueError(f"{path}: {size} bytes is too short for a ring")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, size, access=access)
        finally:
            os.close(fd)
        self.slots: int
        self.slot_bytes: int
        magic, version, self.slots, self.slot_bytes = _HEADER.unpack_from(self._map, 0)
        if magic != _MAGIC or version != _VERSION or size != _size(self.slots, self.slot_bytes):
            self._map.close()
            raise ValueError(f"{path}: not a picture ring of this version")
        self.path = path

    @classmethod
    def create(cls, path: Path, slots: int, slot_bytes: int) -> Ring:
        """Make a ring of ``slots`` pictures of at most ``slot_bytes`` bytes each, all its memory reserved.

        Raises OSError, also when there is not enough space.
        """
        slot_bytes = -(-slot_bytes // _PAGE) * _PAGE
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # reserved now: running out later would be a SIGBUS in the middle of a part
            os.posix_fallocate(fd, 0, _size(slots, slot_bytes))
            os.pwrite(fd, _HEADER.pack(_MAGIC, _VERSION, slots, slot_bytes), 0)
            # a start no other ring has had: a passport of an earlier ring can't fit this one
            for slot in range(slots):
                os.pwrite(fd, _SLOT.pack(time.monotonic_ns(), 0), _HEADER.size + slot * _SLOT.size)
        except OSError:
            path.unlink(missing_ok=True)  # what could be reserved would block the next try
            raise
        finally:
            os.close(fd)
        return cls(path, writable=True)

    def write(self, slot: int, image: NDArray[Any]) -> int:
        """Copy ``image`` into the slot; returns the new generation. Raises ValueError when it does not fit."""
        return self.fill(slot, image.shape, image.dtype, lambda target: np.copyto(target, image))

    def fill(self, slot: int, shape: tuple[int, ...], dtype: DTypeLike, put: Callable[[NDArray[Any]], None]) -> int:
        """Let ``put`` write a picture of this shape into the slot (the one copy of its life).

        Returns the new generation. Raises ValueError when it does not fit, and what ``put`` raises: the slot then
        holds no picture.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot} is not one of {self.slots}")
        if size > self.slot_bytes:
            raise ValueError(f"a picture of {size} bytes does not fit a slot of {self.slot_bytes}")
        generation = self._generation(slot) + 1
        # a reader in between sees no valid picture
        _SLOT.pack_into(self._map, self._head(slot), generation, 0)
        put(np.frombuffer(self._map, dtype, math.prod(shape), self._start(slot)).reshape(shape))
        _SLOT.pack_into(self._map, self._head(slot), generation + 1, size)
        return generation + 1

    def read(self, ref: FrameRef) -> NDArray[Any]:
        """The picture as a read-only view, (H, W) or (H, W, 3). Raises InspectionFault when it is gone."""
        if not self.still(ref):
            raise InspectionFault(Code.NO_FRAME, f"picture of camera {ref.camera} was overwritten before it was judged")
        try:
            dtype, channels = PIXEL_TYPES[ref.pixel_format]
        except KeyError:
            raise InspectionFault(
                Code.NO_FRAME,
                f"camera {ref.camera} sends {ref.pixel_format}; allowed: {', '.join(PIXEL_TYPES)}",
            ) from None
        shape = (ref.height, ref.width) if channels == 1 else (ref.height, ref.width, channels)
        count = ref.height * ref.width * channels
        used = self._used(ref.slot)
        if min(ref.width, ref.height) < 1 or count * np.dtype(dtype).itemsize != used:
            text = f"camera {ref.camera}: {used} bytes are not a picture of {ref.width}x{ref.height} {ref.pixel_format}"
            raise InspectionFault(Code.NO_FRAME, text)
        view = np.frombuffer(self._map, dtype, count, self._start(ref.slot)).reshape(shape)
        view.flags.writeable = False
        return view

    def still(self, ref: FrameRef) -> bool:
        """True while the slot holds the picture of this passport."""
        return 0 <= ref.slot < self.slots and self._generation(ref.slot) == ref.generation > 0

    def close(self) -> None:
        """Unmap; views that are still held keep the memory until they go."""
        try:
            self._map.close()
        except BufferError:
            return  # a view lives on; the mapping goes with it

    def _head(self, slot: int) -> int:
        return _HEADER.size + slot * _SLOT.size

    def _start(self, slot: int) -> int:
        return _heads(self.slots) + slot * self.slot_bytes

    def _generation(self, slot: int) -> int:
        generation: int = _SLOT.unpack_from(self._map, self._head(slot))[0]
        return generation

    def _used(self, slot: int) -> int:
        used: int = _SLOT.unpack_from(self._map, self._head(slot))[1]
        return used


class RingReader:
    """Every camera's present ring, mapped once, for the processes that read several cameras.

    A camera process that is started anew makes a new ring; the old one is let go, or its memory would never be free.
    """

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}  # by camera

    def ring(self, ref: FrameRef) -> Ring:
        """The ring this picture lies in. Raises InspectionFault when it can't be mapped."""
        found = self._rings.get(ref.camera)
        if found is None or str(found.path) != ref.ring or not found.still(ref):
            # or it may be a new file under the same name
            try:
                found = Ring(Path(ref.ring), writable=False)
            except (OSError, ValueError) as error:
                raise InspectionFault(
                    Code.NO_FRAME, f"pictures of camera {ref.camera} can't be read: {error}"
                ) from None
            old = self._rings.get(ref.camera)
            self._rings[ref.camera] = found
            if old is not None:
                old.close()
        return found

    def read(self, ref: FrameRef) -> NDArray[Any]:
        """See :meth:`Ring.read`."""
        return self.ring(ref).read(ref)

    def still(self, ref: FrameRef) -> bool:
        """See :meth:`Ring.still`."""
        return self.ring(ref).still(ref)


def _heads(slots: int) -> int:
    return -(-(_HEADER.size + slots * _SLOT.size) // _PAGE) * _PAGE


def _size(slots: int, slot_bytes: int) -> int:
    return _heads(slots) + slots * slot_bytes
