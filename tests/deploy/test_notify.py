"""systemd's notify protocol, spoken to a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inspector.station.notify import Notify


@pytest.fixture
def speak() -> Iterator[Callable[[], Notify]]:
    """Makes what a service has for as long as it lives."""
    made: list[Notify] = []

    def make() -> Notify:
        made.append(Notify())
        return made[-1]

    yield make
    for notify in made:
        if notify._socket is not None:
            notify._socket.close()


Speak = Callable[[], Notify]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd is to a service: a bound datagram socket, named in the environment."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        yield listener


def test_fields_arrive_as_one_datagram(manager: socket.socket, speak: Speak) -> None:
    speak().send(READY=1, STATUS="Ready; 4711 parts")
    assert manager.recv(4096) == b"READY=1\nSTATUS=Ready; 4711 parts"


def test_each_message_is_a_datagram_of_its_own(manager: socket.socket, speak: Speak) -> None:
    notify = speak()
    notify.send(WATCHDOG=1)
    notify.send(STOPPING=1)
    assert [manager.recv(4096), manager.recv(4096)] == [b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_address_begins_with_an_at_sign(monkeypatch: pytest.MonkeyPatch, speak: Speak) -> None:
    name = f"inspector-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        speak().send(READY=1)
        assert listener.recv(4096) == b"READY=1"


def test_a_full_socket_neither_blocks_nor_raises(manager: socket.socket, speak: Speak) -> None:
    notify = speak()
    manager.setblocking(False)
    for _ in range(5000):  # far more than the kernel queues (net.unix.max_dgram_qlen)
        notify.send(WATCHDOG=1)
    arrived = 0
    try:
        while True:
            manager.recv(4096)
            arrived += 1
    except BlockingIOError:
        pass
    assert 0 < arrived < 5000
    notify.send(READY=1)  # and with room again it goes on
    assert manager.recv(4096) == b"READY=1"


def test_a_vanished_manager_hurts_nobody(manager: socket.socket, speak: Speak) -> None:
    notify = speak()
    manager.close()
    notify.send(READY=1)
    os.unlink(os.environ["NOTIFY_SOCKET"])
    notify.send(READY=1)


def test_without_systemd_it_is_silent(monkeypatch: pytest.MonkeyPatch, speak: Speak) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    notify = speak()
    notify.send(READY=1)
    assert notify.watchdog_s is None


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("10000000", None, 10.0),
        ("10000000", "own", 10.0),
        ("10000000", "1", None),  # another process's watchdog, inherited
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_ours_or_none(
    monkeypatch: pytest.MonkeyPatch, speak: Speak, usec: str, pid: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is None:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert speak().watchdog_s == seconds
