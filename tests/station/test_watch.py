"""The watchdog is fed only while work gets done; loops go on after a bug; statuses of a station that never started."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector.parts import InspectionFault
from inspector.station import feed, wiring
from inspector.station.alarms import Alarms
from inspector.station.ledger import StorageFault
from inspector.station.wiring import StartError, Station
from tests.walk.harness import Walk

Make = Callable[..., Walk]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What systemd hears."""
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ears.bind(str(tmp_path / "notify"))
    ears.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")

    def listen() -> list[str]:
        said = []
        while True:
            try:
                said.append(ears.recv(4096).decode())
            except BlockingIOError:
                return said

    yield listen
    ears.close()


@pytest.fixture
def make_walk(tmp_path: Path) -> Iterator[Make]:
    made: list[Walk] = []

    def make(**options: Any) -> Walk:
        made.append(Walk(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def test_the_watchdog_is_fed_by_progress_alone(make_walk: Make, heard: Callable[[], list[str]]) -> None:
    station = Station(make_walk().station_file)
    station._notify_alive()
    (said,) = heard()
    assert said.startswith("WATCHDOG=1\nSTATUS=not Ready: ")
    station._ledger_ok_at = time.monotonic() - wiring.DISK_STALL_S - 1
    station._notify_alive()
    assert heard() == []
    station._ledger_ok_at = time.monotonic()
    station.ledger.open()
    try:
        part = station.ledger.begin(_trigger(), station.control.tag())
        station.line._busy[1] = replace(part, deadline_ns=time.monotonic_ns() - int((wiring.STUCK_S + 1) * 1e9))
        station._notify_alive()
        assert heard() == []
        station.line._busy.clear()
        task = asyncio.create_task(station._watchdog(0.04))
        await asyncio.sleep(0.2)
        task.cancel()
        assert len(heard()) >= 2
    finally:
        assert station._notify._socket is not None
        station._notify._socket.close()
        station.ledger.shut(5.0)


def _trigger() -> Any:
    from inspector.parts import Trigger

    return Trigger("P", "", time.monotonic_ns(), "2026-01-01T00:00:00.000Z")


async def test_a_loop_with_a_bug_goes_on_and_says_so(make_walk: Make, caplog: pytest.LogCaptureFixture) -> None:
    station = Station(make_walk().station_file)
    runs = 0

    async def bug() -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError("a bug in a loop")

    station._keep_running("buggy", bug)
    station._note("a note", bug())
    end = time.monotonic() + 10
    while runs < 3:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    for task in station._loops:
        task.cancel()
    assert "a bug in a loop" in caplog.text and "a note" in caplog.text
    assert station._notes == set()


async def test_a_disk_that_hangs_while_the_log_is_folded_is_an_alarm(
    make_walk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = Station(make_walk().station_file)
    station.ledger.open()
    monkeypatch.setattr(wiring, "COUNTERS_EVERY_S", 0.0)
    monkeypatch.setattr(wiring, "DISK_LIMIT_S", 0.05)
    back, released, folds = threading.Event(), asyncio.Event(), 0

    def fold() -> None:
        nonlocal folds
        folds += 1
        back.wait(30.0)

    async def hang(work: Any) -> None:
        await asyncio.wait_for(released.wait(), 30.0)

    monkeypatch.setattr(station.ledger, "_fold", fold)
    housekeeping = asyncio.create_task(station._housekeeping())
    try:
        end = time.monotonic() + 10
        while not folds:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        monkeypatch.setattr(station.ledger, "_write", hang)
        while not station.alarms.holds("ledger"):
            assert time.monotonic() < end, "nobody looks after the disk"
            await asyncio.sleep(0.02)
        assert folds == 1  # no second thread that hangs
    finally:
        back.set()
        released.set()
        housekeeping.cancel()
        monkeypatch.undo()
        await asyncio.gather(*station._notes, return_exceptions=True)
        station.ledger.shut(5.0)


async def test_a_disk_that_fails_is_an_alarm_until_it_takes_writes_again(make_walk: Make) -> None:
    station = Station(make_walk().station_file)
    station.ledger.open()
    try:
        await station._disk_alive()
        assert station.alarms.listed() == []
        whole = station.ledger._write

        async def broken(work: Any) -> Any:
            raise StorageFault("the ledger can't be written: disk I/O error")

        station.ledger._write = broken  # type: ignore[method-assign]
        await station._disk_alive()
        assert station.alarms.holds("ledger")
        refusal = station.control.refusal()
        assert refusal is not None and not station.control.ready
        station.ledger._write = whole  # type: ignore[method-assign]
        await station._disk_alive()
        assert not station.alarms.holds("ledger")
    finally:
        for task in station._notes:
            task.cancel()
        station.ledger.shut(5.0)


async def test_a_runtime_folder_that_cannot_be_used_is_one_sentence(make_walk: Make) -> None:
    walk = make_walk()
    (walk.folder / "run").write_text("a file in the way")
    with pytest.raises(StartError, match="run"):
        Station(walk.station_file)


async def test_old_troubles_end_and_many_waiting_records_are_one(make_walk: Make) -> None:
    station = Station(make_walk().station_file)
    station.control.trouble("overrun", "1 so far")
    station._clear_old_troubles()
    assert station.alarms.holds("overrun")
    station.control.troubled_at["overrun"] = time.monotonic() - wiring.TROUBLE_OVER_S - 1
    station.outbox.depth = 2000
    station._clear_old_troubles()
    assert not station.alarms.holds("overrun") and station.alarms.holds("outbox")
    station.outbox.depth = 10
    station._clear_old_troubles()
    assert not station.alarms.holds("outbox")
    station.control.trouble("bugs", "again")
    refusal = station.control.refusal()
    assert refusal is not None and "again" in refusal.text and station.control.pack_state.name == "ABORTED"
    station._archive_trouble("disk", "full")
    station._archive_trouble("disk", None)
    assert isinstance(station.alarms, Alarms) and not station.alarms.holds("disk")
    assert isinstance(refusal, InspectionFault)
    for task in station._notes:
        task.cancel()


async def test_screens_that_read_nothing_make_room(make_walk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STUCK_S", 0.5)
    monkeypatch.setattr(feed, "PAUSE_S", 0.0005)
    monkeypatch.setattr(feed, "SCREENS_BOUND", 3)
    walk = make_walk()
    station = Station(walk.station_file)
    station.feed._json = lambda: b"x" * 100_000  # type: ignore[method-assign]  # soon more than a socket holds
    station.feed.start()
    stuck = []
    try:
        for _ in range(feed.SCREENS_BOUND):
            client = socket.socket(socket.AF_UNIX)
            stuck.append(client)
            while client.connect_ex(str(walk.socket)):
                await asyncio.sleep(0.01)
            client.sendall(b"GET /v1/events HTTP/1.1\r\nHost: s\r\n\r\n")
        end = time.monotonic() + 20
        full = False
        while not full or station.feed._screens:
            full = full or station.feed._screens == feed.SCREENS_BOUND
            station.feed.changed()
            assert time.monotonic() < end, f"{station.feed._screens} screens are still attached"
            await asyncio.sleep(0.001)
    finally:
        for client in stuck:
            client.close()
        await station.feed.stop(2.0)
    assert not walk.socket.exists()
