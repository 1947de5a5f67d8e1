from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inspector import child as module
from inspector.child import Channel
from inspector.wire import (
    LINE_LIMIT,
    Capture,
    CaptureFailed,
    Grant,
    Ping,
    Pong,
    Stop,
    Stray,
    decode_from_child,
    encode_to_child,
)

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Channel]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT_S)
    with ours, theirs:
        yield ours, Channel(theirs)


def test_messages_come_one_by_one_however_they_are_cut(ends: tuple[socket.socket, Channel]) -> None:
    station, channel = ends
    assert channel.receive(0.0) is None
    sent = [Ping(1), Capture(2, 3, 4), Grant((0, 5)), Stop()]
    data = b"".join(encode_to_child(message) for message in sent)
    station.sendall(b"\n" + data[:10])
    assert channel.receive(0.0) is None
    station.sendall(data[10:60])
    received = [channel.receive(1.0)]
    station.sendall(data[60:])
    while len(received) < 4:
        message = channel.receive(1.0)
        if message is not None:
            received.append(message)
    assert received == sent
    assert channel.receive(0.0) is None


def test_what_a_child_sends_is_a_line_a_message(ends: tuple[socket.socket, Channel]) -> None:
    station, channel = ends
    channel.send(Stray("extra", 2))
    channel.pong(Ping(7))
    lines = b""
    while lines.count(b"\n") < 2:
        lines += station.recv(1 << 16)
    stray, pong = (decode_from_child(line) for line in lines.splitlines())
    assert stray == Stray("extra", 2)
    assert isinstance(pong, Pong) and pong.n == 7
    assert abs(pong.rss_bytes - psutil.Process().memory_info().rss) < 50e6
    assert channel.fileno() > 0


@pytest.mark.parametrize(
    "line",
    [b"rubbish", b'{"kind": "explode"}', b'{"kind": "capture", "seq": "many"}', b"[1, 2]", b"\xff\xfe", b"null", b"{}"],
)
def test_what_is_not_a_message_ends_the_child(line: bytes, ends: tuple[socket.socket, Channel]) -> None:
    station, channel = ends
    station.sendall(line + b"\n")
    with pytest.raises(EOFError, match="not a message"):
        channel.receive(1.0)


def test_a_line_without_end_is_not_collected_for_ever(
    ends: tuple[socket.socket, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LINE_LIMIT == 4 * 1024 * 1024
    monkeypatch.setattr(module, "LINE_LIMIT", 100_000)
    station, channel = ends
    station.sendall(b"x" * 120_000)
    with pytest.raises(EOFError, match="a line without end"):
        for _ in range(10):
            assert channel.receive(1.0) is None


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_station_that_is_gone(how: str, ends: tuple[socket.socket, Channel]) -> None:
    station, channel = ends
    if how == "reset":
        channel.send(Stray("unread", 1))  # closing with something unread resets the connection
    station.close()
    with pytest.raises(EOFError, match="the station is gone"):
        channel.receive(1.0)
    with pytest.raises(EOFError, match="the station is gone"):
        channel.send(Stray("extra", 1))


def test_a_station_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    station, theirs = socket.socketpair()
    monkeypatch.setattr(module, "SEND_LIMIT_S", 0.05)
    with station, theirs:
        channel = Channel(theirs)
        with pytest.raises(EOFError, match="the station is gone"):
            for n in range(100_000):
                channel.send(CaptureFailed(n, 200, "x" * 1000))


CHILD = """
import sys, time
from inspector.child import start
from inspector.wire import Stop, Stray
channel = start(int(sys.argv[1]), "test child")
import logging
logging.info("started")
channel.send(Stray("ready", 1))
while not isinstance(channel.receive(0.1), Stop):
    pass
"""


def test_a_started_child_leaves_ctrl_c_to_the_station_and_logs_under_its_name() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT_S)
    with ours:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        assert b"ready" in ours.recv(1000)
        process.send_signal(signal.SIGINT)
        ours.sendall(encode_to_child(Ping(1)))
        ours.sendall(encode_to_child(Stop()))
        _, logged = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert logged.splitlines()[0] == "test child: INFO: started"


def test_a_started_child_dies_with_its_parent() -> None:
    middle = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]], "
    middle += "pass_fds=(int(sys.argv[2]),)); print(p.pid, flush=True); time.sleep(60)"
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT_S)
    with ours, theirs:
        parent = subprocess.Popen(
            [sys.executable, "-c", middle, CHILD, str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
        )
        assert parent.stdout is not None
        grandchild = psutil.Process(int(parent.stdout.readline()))
        assert b"ready" in ours.recv(1000)  # our end of the socket stays open: it is the signal that ends it
        os.kill(parent.pid, signal.SIGKILL)
        parent.communicate(timeout=LIMIT_S)
        assert not psutil.wait_procs([grandchild], LIMIT_S)[1]
