"""A PLC small enough not to disturb what it measures: sends triggers, keeps each result by its cmd_id."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

_NODELAY = (6, 1, 1)  # TCP_NODELAY: a trigger must not wait for company


def _at_once(_client: Any, _data: Any, sock: Any) -> None:
    sock.setsockopt(*_NODELAY)


class SmallPlc:
    """Connected until ``close``. Results that nobody asked for are kept too."""

    def __init__(self, port: int, base: str) -> None:
        self._base = base
        self._news = threading.Condition()
        self._number = 0
        self._run = f"{os.getpid():x}{time.time_ns() & 0xFFFF:x}"
        self.results: dict[str, dict[str, Any]] = {}
        self.doubled = 0  # second answers to one trigger
        self.state: dict[str, Any] = {}
        self.states = 0
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"small-plc-{self._run}")
        self._mqtt.on_socket_open = _at_once
        self._mqtt.on_connect = lambda client, *_: client.subscribe([(f"{base}/result", 1), (f"{base}/state", 1)])
        self._mqtt.on_message = self._came
        self._mqtt.connect("127.0.0.1", port)
        self._mqtt.loop_start()

    def _came(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        with self._news:
            if message.topic.endswith("/state"):
                self.state, self.states = body, self.states + 1
            else:
                self.doubled += body["cmd_id"] in self.results
                self.results[body["cmd_id"]] = body
            self._news.notify_all()

    def trigger(self, deadline_ms: int | None = None) -> str:
        """A part has come; returns its cmd_id."""
        self._number += 1
        cmd_id = f"{self._run}-{self._number}"
        more = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
        body = {"schema": "1.0", "cmd_id": cmd_id, "part_id": f"P{self._number}", **more}
        self._mqtt.publish(f"{self._base}/cmd/trigger", json.dumps(body), qos=1)
        return cmd_id

    def wait(self, cmd_id: str, limit_s: float = 5.0) -> dict[str, Any]:
        """The result of this trigger; {} when none came in time."""
        with self._news:
            self._news.wait_for(lambda: cmd_id in self.results, limit_s)
            return self.results.get(cmd_id, {})

    def wait_ready(self, limit_s: float = 30.0, since: int = 0) -> bool:
        """Wait until the station says Ready, in a state that is not one of the first ``since``."""
        with self._news:
            return self._news.wait_for(lambda: self.states > since and bool(self.state.get("ready")), limit_s)

    def close(self) -> None:
        """Disconnect."""
        self._mqtt.disconnect()
        self._mqtt.loop_stop()
