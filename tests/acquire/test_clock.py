"""A camera's timestamps on the host's clock: readings, drift, a clock set anew, and cameras that tell none."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from inspector.acquire.genicam.clock import DELIVERY_NS, GUESSED_FROM, Clock

MS = 1_000_000


class Hosts:
    """The host's clock, moved by hand; each reading of the camera takes a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 5_000 * MS
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(time, "monotonic", lambda: self.now_ns / 1e9)
        self.offset_ns, self.rate, self.takes_ns = 777_000 * MS, 1.0, 200_000

    def device(self, host_ns: int) -> int:
        return int(self.offset_ns + host_ns * self.rate)

    def look(self) -> int:
        self.now_ns += self.takes_ns // 2
        read = self.device(self.now_ns)
        self.now_ns += self.takes_ns // 2
        return read


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return Hosts(monkeypatch)


def told(host: Hosts, clock: Clock, ago_ms: float = 5.0) -> tuple[int, int]:
    """Error and stated uncertainty of a picture exposed so long ago, in ns."""
    truth = host.now_ns - int(ago_ms * MS)
    found, uncertainty = clock.host(host.device(truth), host.now_ns, 1000.0)
    return abs(found - truth), uncertainty


@pytest.mark.parametrize("rate", [1.0, 1 + 80e-6, 1 - 80e-6])
def test_readings_are_as_good_as_they_say(rate: float, host: Hosts) -> None:
    host.rate = rate
    clock = Clock(host.look)
    clock.measure(8, 1.0)
    for _ in range(200):
        error, uncertainty = told(host, clock)
        assert error <= uncertainty < 2 * MS
        host.now_ns += 500 * MS
        clock.measure(1, 0.0)


def test_a_drift_is_learned(host: Hosts) -> None:
    host.rate = 1.01
    clock = Clock(host.look)
    clock.measure(8, 1.0)
    for _ in range(8):
        host.now_ns += 500 * MS
        clock.measure(1, 0.0)
    host.now_ns += 3000 * MS
    error, uncertainty = told(host, clock)
    assert error <= uncertainty < 1 * MS


def test_the_shortest_of_several_readings_counts(host: Hosts) -> None:
    takes = iter([9 * MS, 40_000, 7 * MS])

    def look() -> int:
        host.takes_ns = next(takes)
        return host.look()

    clock = Clock(look)
    clock.measure(3, 1.0)
    error, uncertainty = told(host, clock, 20)
    assert error <= uncertainty < 30_000


def test_a_reading_that_took_long_takes_nothing_away(host: Hosts) -> None:
    clock = Clock(host.look)
    for _ in range(6):
        clock.measure(1, 0.0)
        host.now_ns += 1000 * MS
    host.takes_ns = 40 * MS
    clock.measure(1, 0.0)
    error, uncertainty = told(host, clock)
    assert error <= uncertainty < 1 * MS


def test_a_clock_that_is_set_anew_is_met_again(host: Hosts) -> None:
    clock = Clock(host.look)
    for _ in range(5):
        clock.measure(1, 0.0)
        host.now_ns += 1000 * MS
    host.offset_ns = -4_000 * MS
    clock.measure(1, 0.0)
    error, uncertainty = told(host, clock)
    assert error <= uncertainty < 1 * MS


@pytest.mark.parametrize("readable", [True, False])
def test_timestamps_of_another_clock_are_guessed_from_the_shortest_way(readable: bool, host: Hosts) -> None:
    """The camera's clock can't be read, or is not the one that stamps its pictures."""
    look: Callable[[], int] | None = host.look if readable else None
    clock = Clock(look)
    clock.measure(8, 1.0)
    stamps_ns = 10**18  # before the host's

    def way(delivery_ms: float) -> tuple[int, int]:
        host.now_ns += 300 * MS
        exposed_ns = host.now_ns - int((1 + delivery_ms) * MS)
        found, uncertainty = clock.host(exposed_ns + stamps_ns, host.now_ns, 1000.0)
        return (found - exposed_ns, uncertainty) if found else (0, 0)

    for number in range(GUESSED_FROM - 1):
        assert way(3 + number) == (0, 0)  # too few to tell
    late, uncertainty = way(4)
    assert late == 3 * MS and uncertainty == DELIVERY_NS
    late, _ = way(500)  # one that came late is known to be old
    assert late == 3 * MS


def test_no_timestamp_is_no_time(host: Hosts) -> None:
    clock = Clock(host.look)
    clock.measure(1, 0.0)
    assert clock.host(0, host.now_ns, 1000.0) == (0, 0)
