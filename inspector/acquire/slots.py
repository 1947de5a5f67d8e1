"""The ring of one camera as its process sees it: which slots it may fill, and the passports of filled ones."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inspector.acquire.camera import DeviceError, Exposure
from inspector.acquire.unpack import Raw
from inspector.parts import FrameRef
from inspector.ring import PIXEL_TYPES, Ring


class Slots:
    """A slot is the camera's until a picture in it gets its passport, and again when the station grants it."""

    def __init__(self, camera: str, count: int, folder: Path) -> None:
        self._camera = camera
        self._folder = folder
        self._ring: Ring | None = None
        self._free: deque[int] = deque()
        self._generation = 0  # of the slot filled last, the first free one; 0: there was none
        self.count = count

    @property
    def free(self) -> int:
        """How many pictures can be taken now."""
        return len(self._free)

    @property
    def path(self) -> str:
        """The ring's file; "" before the first."""
        return str(self._ring.path) if self._ring else ""

    def fit(self, info: Mapping[str, Any]) -> None:
        """Make a ring for pictures of this width, height and pixel format, unless the present one will do.

        Raises DeviceError when there is no room for it.
        """
        dtype, channels = PIXEL_TYPES[info["pixel_format"]]
        size = int(info["width"]) * int(info["height"]) * channels * np.dtype(dtype).itemsize
        if self._ring is not None and self._ring.slot_bytes >= size:
            return
        for old in self._folder.glob(f"ring-{self._camera}-*"):
            # also what a killed process of this camera left; `top` must not touch the rings of `top-2`
            if re.fullmatch(rf"ring-{self._camera}-\d+-[0-9a-f]+", old.name):
                old.unlink(missing_ok=True)
        path = self._folder / f"ring-{self._camera}-{os.getpid()}-{time.monotonic_ns():x}"
        if self._ring is not None:
            self._ring.close()
        try:
            self._ring = Ring.create(path, self.count, size)
        except OSError as error:
            self._ring = None
            room = f"{self.count} pictures ({self.count * size / 1e6:.0f} MB) in {self._folder}"
            raise DeviceError(
                f"camera {self._camera}: no room for {room}: {error.strerror}; free some, or lower `slots`"
            ) from error
        self._free = deque(range(self.count))

    def grant(self, slots: Iterable[int]) -> None:
        """The station needs these no more."""
        # a slot of an earlier, smaller ring is nobody's any more
        self._free.extend(s for s in slots if s in range(self.count) and s not in self._free)

    def copy(self, raw: Raw) -> None:
        """The one copy of a picture's life."""
        # the slot stays free until the picture gets its passport: most strays never do
        self._generation = 0
        if self._free and self._ring is not None:
            self._generation = self._ring.fill(self._free[0], raw.shape, raw.dtype, raw.into)

    def passport(self, exposure: Exposure, triggered_ns: int, view: str, shot: int) -> FrameRef | None:
        """What was copied last, as the station's; None when no slot was free for it."""
        if not self._generation or self._ring is None:
            return None
        return FrameRef(
            camera=self._camera,
            frame_id=exposure.frame_id,
            ring=str(self._ring.path),
            slot=self._free.popleft(),
            generation=self._generation,
            width=exposure.width,
            height=exposure.height,
            pixel_format=exposure.pixel_format,
            exposure_us=exposure.exposure_us,
            gain_db=exposure.gain_db,
            device_timestamp_ns=exposure.device_timestamp_ns,
            triggered_ns=triggered_ns,
            received_ns=time.monotonic_ns(),
            offset_px=exposure.offset_px,
            view=view,
            shot=shot,
            trigger_count=exposure.trigger_count,
            exposed_ns=exposure.exposed_ns,
        )
