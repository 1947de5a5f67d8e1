from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plc.peers import Broker, free_port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    port = free_port()
    command = [sys.executable, "-m", "iotcore", "--port", str(port), "--listen", "127.0.0.1"]
    broker = Broker(command, port, tmp_path / "broker.log").start()
    yield broker
    broker.close()
