"""The station as systemd starts it: its folders from the environment, ready, alive and stopping told by notify."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.deploy.conftest import ROOT

LIMIT_S = 60.0


class Manager:
    """What systemd is to the station."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self.heard: list[dict[str, str]] = []

    def wait(self, field: str, limit_s: float = LIMIT_S) -> dict[str, str]:
        """The next message with this field."""
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                break
            self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))
            if field in self.heard[-1]:
                return self.heard[-1]
        raise AssertionError(f"no {field} within {limit_s} s; heard {self.heard}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@pytest.fixture
def station(tmp_path: Path, manager: Manager) -> Iterator[subprocess.Popen[bytes]]:
    """`inspector run` with the virtual camera and no broker at all."""
    yaml = YAML()
    demo = ROOT / "firmware_config/demo.yaml"
    config = yaml.load(demo.read_text(encoding="utf-8"))
    camera = config["cameras"]["top"]
    for key in ("producer", "features"):
        camera[key] = str((demo.parent / camera[key]).resolve())
    config["recipes"] = str(ROOT / "recipes")
    config["plc"]["port"] = 1  # nobody listens there
    config["state_dir"], config["runtime_dir"] = "/nowhere/state", "/nowhere/run"  # systemd's folders go first
    file = tmp_path / "station.yaml"
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(config, out)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "2000000",
        "STATE_DIRECTORY": str(tmp_path / "state"),
        "RUNTIME_DIRECTORY": str(tmp_path / "run"),
    }
    environment.pop("WATCHDOG_PID", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "inspector", "run", str(file)],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(10)


def test_ready_alive_stopping(station: subprocess.Popen[bytes], manager: Manager, tmp_path: Path) -> None:
    ready = manager.wait("READY")
    assert ready["READY"] == "1"
    assert ready["STATUS"]
    for _ in range(3):
        assert manager.wait("WATCHDOG", 10.0)["WATCHDOG"] == "1"
    assert (tmp_path / "state/ledger.db").is_file()
    assert (tmp_path / "run/feed.sock").is_socket()
    station.send_signal(signal.SIGTERM)
    assert manager.wait("STOPPING", 10.0)["STOPPING"] == "1"
    assert station.wait(10) == 0


def test_a_stopped_process_is_silent(station: subprocess.Popen[bytes], manager: Manager) -> None:
    """Pings come from the loop that does the work, not from a thread beside it."""
    manager.wait("READY")
    manager.wait("WATCHDOG", 10.0)
    station.send_signal(signal.SIGSTOP)
    with pytest.raises(AssertionError, match="no SOON"):
        manager.wait("SOON", 0.5)  # what was on its way
    before = len(manager.heard)
    with pytest.raises(AssertionError, match="no WATCHDOG"):
        manager.wait("WATCHDOG", 2.0)
    assert len(manager.heard) == before
    station.send_signal(signal.SIGCONT)
    manager.wait("WATCHDOG", 10.0)
