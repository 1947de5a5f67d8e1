"""Keeps the processor's cores from sleeping while a part is under way.

A part's walk wakes one core or another eight times; each that sleeps takes 0.05 to 0.2 ms to wake. Linux takes a
wish about that through ``/dev/cpu_dma_latency``: while the file is open, no core sleeps so deeply that waking it
takes longer than the number of microseconds written there (the kernel's ``Documentation/power/pm_qos_interface.rst``).
The wish is made at a part's trigger and taken back after its verdict: cores that never sleep would heat a box
without a fan. Who may not write the file (``deploy/udev``) has a station that is some tenths of a ms slower.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

DEVICE = Path("/dev/cpu_dma_latency")
_NOW = struct.pack("=i", 0)
_WHENEVER = struct.pack("=i", 2_000_000_000)  # PM_QOS_CPU_LATENCY_DEFAULT_VALUE, in us: no wish

_log = logging.getLogger(__name__)


class Awake:
    """The station's wish, for the whole computer. Never raises: a station that can't wish goes on without."""

    def __init__(self, device: Path = DEVICE) -> None:
        self._wished = False
        self._file: int | None = None
        try:
            self._file = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            _log.info("cores may sleep while a part is under way: %s", error)
            return
        self._write(_WHENEVER)  # opening it alone is no wish on all kernels

    def wish(self, awake: bool) -> None:
        """``awake``: from now on cores answer at once; else they may sleep."""
        if awake != self._wished:
            self._wished = awake
            self._write(_NOW if awake else _WHENEVER)

    def close(self) -> None:
        """Wish nothing any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, wish: bytes) -> None:
        if self._file is None:
            return
        try:
            os.write(self._file, wish)
        except OSError as error:
            _log.warning("no more wishes about sleeping cores: %s", error)
            self.close()
