from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plc.peers import MOSQUITTO, Broker, Peer, free_port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    port = free_port()
    command = [sys.executable, "-m", "iotcore", "--port", str(port), "--listen", "127.0.0.1"]
    broker = Broker(command, port, tmp_path / "broker.log").start()
    yield broker
    broker.close()


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[[str], Broker]]:
    """mosquitto with these lines of configuration."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    brokers: list[Broker] = []

    def make(lines: str = "allow_anonymous true\n", listener: str = "") -> Broker:
        assert MOSQUITTO is not None
        port = free_port()
        file = tmp_path / f"mosquitto-{port}.conf"
        user = "user root\n" if os.getuid() == 0 else ""
        file.write_text(f"{user}set_tcp_nodelay true\nlistener {port} 127.0.0.1\n{listener}{lines}")
        brokers.append(Broker([MOSQUITTO, "-c", str(file)], port, tmp_path / "mosquitto.log"))
        return brokers[-1].start()

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Peers of a bare link, whose tests send words of their own where a station sends the contract's payloads."""
    peers: list[Peer] = []

    def make(*arguments: Any, checked: bool = False, **named: Any) -> Peer:
        peers.append(Peer(*arguments, checked=checked, **named))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()
