from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.plc.schemas import complaint

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


_held: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody else gets, neither another test process nor a connection as its own end.

    It stays bound until this process ends. A broker can listen on it all the same, as often as it is started: both say
    SO_REUSEADDR, and this one does not listen.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    return int(holder.getsockname()[1])


def wait_for(condition: Callable[[], Any], limit_s: float = 10.0, what: str = "condition") -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {limit_s} s"
        time.sleep(0.005)


def freeze(pid: int) -> None:
    """Stop a process. On a busy machine some of its threads go on for a while: this waits until all stand."""
    os.kill(pid, signal.SIGSTOP)

    def stands() -> bool:
        try:
            told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
        except OSError:
            return False  # a thread ended meanwhile
        return all(text.rpartition(") ")[2][0] in "TZX" for text in told)

    wait_for(stands, what=f"process {pid} stands")


class Broker:
    """A broker as a process of its own that can be killed and started again on its port."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.command, self.port, self._log = command, port, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Broker:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self._listens, what=f"broker on port {self.port}")
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        assert self.process is not None
        freeze(self.process.pid)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the broker ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True


class Peer:
    """A plain client on the other side: what a PLC sees, with no help.

    ``checked``: whatever came from a station is held against the contract's schemas when the peer is closed (not
    while the test runs, so that nothing is slower for it); False where a test sends words of its own.
    """

    own: tuple[str, ...] = ()  # ends of topics that the test publishes itself

    def __init__(
        self, port: int, *filters: str, version: str = "3.1.1", username: str = "", checked: bool = True
    ) -> None:
        self.checked = checked
        protocol = MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        if username:
            self.client.username_pw_set(username, "secret")
        self.messages: list[mqtt.MQTTMessage] = []
        self._filters, self._subscribed = filters, threading.Event()
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _c, _d, message: self.messages.append(message)
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port, 5)
        self.client.loop_start()
        assert self._subscribed.wait(10), "not subscribed"

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(name, 1) for name in self._filters or ("peer/none",)])

    def on(self, topic_end: str) -> list[mqtt.MQTTMessage]:
        return [message for message in list(self.messages) if message.topic.endswith(topic_end)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        # nothing of it leads back here: it closes its sockets when it goes, not when somebody collects rings
        self.client.on_connect = self.client.on_subscribe = self.client.on_message = None
        if self.checked:
            wrong = self.complaints()
            assert not wrong, f"{len(wrong)} messages break the contract, the first: {wrong[0]}"

    def complaints(self) -> list[str]:
        """What is wrong with the messages so far, oldest first."""
        each = (
            complaint(m.topic, m.payload, qos=m.qos, retained=m.retain)
            for m in list(self.messages)
            if not m.topic.endswith(self.own)
        )
        return [text for text in each if text]
