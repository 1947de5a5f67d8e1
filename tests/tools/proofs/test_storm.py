"""The storm's own parts: the cable that can be cut, and what is said of a fault."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.plc.peers import free_port, wait_for
from tools.proofs.proxy import Proxy
from tools.proofs.storm import Strike, judge

T0 = datetime(2026, 5, 12, 14, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything again."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                one, _ = server.accept()
            except OSError:
                return
            with one:
                try:
                    while data := one.recv(1000):
                        one.sendall(data)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def test_a_cable_that_carries_swallows_and_is_cut(echo: int) -> None:
    port = free_port()
    proxy = Proxy(port, echo)
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as one:
            one.settimeout(0.3)
            one.sendall(b"carried")
            assert one.recv(100) == b"carried"
            proxy.swallowing = True
            one.sendall(b"swallowed")
            with pytest.raises(TimeoutError):
                one.recv(100)
            proxy.refusing = True
            proxy.cut()
            one.settimeout(2)
            with pytest.raises(ConnectionResetError):
                one.recv(100)
        proxy.swallowing = False
        # The reset may come before connect() has returned: both are a refusal.
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 2) as refused:
            refused.settimeout(2)
            refused.recv(100)
        proxy.refusing = False
        with socket.create_connection(("127.0.0.1", port), 2) as again:
            again.sendall(b"again")
            assert again.recv(100) == b"again"
            wait_for(lambda: proxy.connections == 2, 2)
    finally:
        proxy.close()


def test_what_is_said_of_a_fault() -> None:
    def row(second: float, verdict: str, why: str, by: str = "verdict", code: int = 0) -> dict[str, Any]:
        sent = (T0 + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
        return {"sent_utc": sent, "verdict": verdict, "code": code, "by": by, "why": why, "latency_ms": 10.0}

    rows = [
        row(1, "PASS", "PASS"), row(8.6, "", "missing", "rule"), row(10, "", "missing", "rule"),
        row(11, "NOT_INSPECTED", "NOT_INSPECTED", code=302), row(12, "PASS", "PASS"),
        row(19, "", "no_link", "rule"),
    ]  # fmt: skip
    strikes = [
        Strike("link cut", "1 s", T0 + timedelta(seconds=10), T0 + timedelta(seconds=11)),
        Strike("broker killed", "", T0 + timedelta(seconds=20), T0 + timedelta(seconds=20)),
    ]
    first, second = judge(strikes, rows)
    assert first["saw"] == {"rule: missing": 2, "NOT_INSPECTED 302".replace("_", " "): 1}
    assert first["next_good_s"] == pytest.approx(1.01)
    assert second["saw"] == {"rule: no link": 1} and second["next_good_s"] is None
