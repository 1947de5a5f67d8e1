"""When a picture was exposed, on the host's monotonic clock, from the camera's own timestamps.

Where the camera's clock can be read, it is read between two looks at ours; the shortest of several such readings says
what the offset is, to half the time it took. Two readings some time apart give the drift. Where it can't be read (or
speaks of another clock than the pictures do), the shortest way a picture took so far stands for the offset.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from inspector.acquire.genicam.nodes import Nodes

DRIFT = 100e-6  # a quartz; while the drift is not known yet
APART_NS = 1_000_000_000  # readings must be so far apart to tell a drift
KEPT = 6
KEPT_APART_NS = 5_000_000_000
RESET_NS = 100_000_000  # no drift explains this: the camera's clock was set anew
DELIVERY_NS = 50_000_000  # exposure's end to arrival, at most, where it can only be guessed
GUESSED_FROM = 8  # pictures
GUESSED_KEPT = 64
PLAUSIBLE_NS = 10_000_000_000  # from exposure to arrival


@dataclass(frozen=True)
class Reading:
    """The camera's clock and ours at one instant, known to ``uncertainty_ns``."""

    device_ns: int
    host_ns: int
    uncertainty_ns: int


class Clock:
    """Maps one camera's timestamps, in ns, to ``time.monotonic_ns()``."""

    def __init__(self, look: Callable[[], int] | None) -> None:
        """``look`` reads the camera's clock; None: it can't be read."""
        self._look = look
        self._readings: deque[Reading] = deque(maxlen=KEPT)
        self._ways: deque[int] = deque(maxlen=GUESSED_KEPT)
        self._read = look is not None
        self._proven = False

    def measure(self, times: int, limit_s: float) -> None:
        """Read the camera's clock up to so often, for so long. May raise what ``look`` raises."""
        if self._look is None or not self._read:
            return
        end, best = time.monotonic() + limit_s, None
        for _ in range(times):
            before = time.monotonic_ns()
            device_ns = self._look()
            after = time.monotonic_ns()
            reading = Reading(device_ns, (before + after) // 2, (after - before) // 2 + 1)
            if best is None or reading.uncertainty_ns < best.uncertainty_ns:
                best = reading
            if time.monotonic() > end:
                break
        if best is not None:
            self._keep(best)

    def _keep(self, reading: Reading) -> None:
        if self._readings:
            expected, doubt = self._mapped(reading.device_ns)
            newest, off = self._readings[-1], abs(expected - reading.host_ns)
            if off > RESET_NS or reading.device_ns < newest.device_ns:
                self._readings.clear()
            elif reading.uncertainty_ns > doubt and off <= reading.uncertainty_ns + doubt:
                return  # it took long, and tells nothing that is not known better
            elif len(self._readings) > 1 and newest.host_ns - self._readings[-2].host_ns < KEPT_APART_NS:
                self._readings.pop()  # the older ones tell the drift better
        self._readings.append(reading)

    def _mapped(self, device_ns: int) -> tuple[int, int]:
        newest, oldest = self._readings[-1], self._readings[0]
        ahead, span = device_ns - newest.device_ns, newest.device_ns - oldest.device_ns
        if span < APART_NS:
            return newest.host_ns + ahead, newest.uncertainty_ns + int(abs(ahead) * DRIFT)
        rate = (newest.host_ns - oldest.host_ns) / span
        doubt = (newest.uncertainty_ns + oldest.uncertainty_ns) / span
        return newest.host_ns + round(ahead * rate), newest.uncertainty_ns + int(abs(ahead) * doubt)

    def host(self, device_ns: int, received_ns: int, exposure_us: float) -> tuple[int, int]:
        """Host's time of a picture's timestamp and its uncertainty, both in ns; (0, 0): it can't be told.

        ``received_ns``: when the picture came.
        """
        if not device_ns:
            return 0, 0
        if self._read and self._readings:
            found, uncertainty = self._mapped(device_ns)
            if not self._proven:  # pictures may be stamped by another clock: the producer's, for one
                self._proven = -uncertainty - 1_000_000 <= received_ns - found <= PLAUSIBLE_NS
                self._read = self._proven
            if self._read:
                return found, uncertainty
        self._ways.append(received_ns - device_ns - int(exposure_us * 1000))
        if len(self._ways) < GUESSED_FROM:
            return 0, 0
        return device_ns + min(self._ways), DELIVERY_NS


def reader(nodes: Nodes) -> Callable[[], int] | None:
    """How this camera's clock is read, in ns; None when it can't be."""
    tick_ns = ticks(nodes)
    for command, value in (
        ("TimestampLatch", "TimestampLatchValue"),
        ("GevTimestampControlLatch", "GevTimestampValue"),  # SFNC 1
    ):
        if nodes.has(command) and nodes.has(value) and nodes.writable(command):

            def latched(command: str = command, value: str = value) -> int:
                nodes.write(command, True)
                return round(int(nodes.read(value)) * tick_ns)

            return latched
    if nodes.has("Timestamp") and nodes.readable("Timestamp"):
        return lambda: round(int(nodes.read("Timestamp")) * tick_ns)
    return None


def ticks(nodes: Nodes) -> float:
    """How many ns one count of the camera's timestamps is."""
    if nodes.has("GevTimestampTickFrequency") and nodes.readable("GevTimestampTickFrequency"):
        frequency_hz = int(nodes.read("GevTimestampTickFrequency"))
        return 1e9 / frequency_hz if frequency_hz > 0 else 1.0
    return 1.0
