"""What an MES does: hear every record in a session that the broker keeps, and hold them against the station's word."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tools.plc_simulator import forms

KEPT = 1_000_000  # records that are remembered
IDENTITY = ("part_id", "cmd_id", "verdict", "code", "recipe", "rev", "t_ms", "late")


class Records:
    """Starts at once; all is safe to be asked at any time. ``faults``: see :meth:`summary`."""

    def __init__(self, host: str, port: int, base: str, client_id: str) -> None:
        self.faults: Counter[str] = Counter()
        self.texts: list[str] = []
        self.by_id: dict[str, tuple[Any, ...]] = {}
        self.by_seq: dict[int, tuple[Any, ...]] = {}
        self.repeated = 0
        self.connects = 0
        self.last_came = time.monotonic()
        self.highest = 0
        self._topic = f"{base}/record"
        self._lock = threading.Lock()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_message = self._came
        self._client.connect_async(host, port, 5)
        self._client.loop_start()

    def close(self) -> None:
        """End; the broker keeps the session."""
        self._client.disconnect()
        self._client.loop_stop()

    def forget(self) -> None:
        """End, and the broker's session with it."""
        self._client.unsubscribe(self._topic)
        time.sleep(0.1)
        self.close()

    def summary(self) -> dict[str, Any]:
        """Plain JSON. ``missing``: numbers between the first and the last that never came, by the order of seq."""
        with self._lock:
            numbers = sorted(self.by_seq)
            span = numbers[-1] - numbers[0] + 1 if numbers else 0
            return {
                "records": len(self.by_id),
                "late_records": len(self.by_id) - len(self.by_seq),
                "repeated": self.repeated,
                "missing": span - len(numbers),
                "connects": self.connects,
                "faults": dict(self.faults),
                "fault_texts": self.texts[:100],
            }

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            self.connects += 1
            client.subscribe(self._topic, 1)

    def _came(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.last_came = time.monotonic()
            try:
                self._read(message.payload, message.retain)
            except Exception as error:  # noqa: BLE001  paho would go on without a word
                self._fault("internal", repr(error))

    def _read(self, payload: bytes, retained: bool) -> None:
        if retained:
            self._fault("retained", payload[:80].decode("ascii", "replace"))
        record, odd = forms.read("record", payload)
        if odd:
            self._fault("form", f"{odd[0]} in {payload[:120]!r}")
            return
        name, seq, late = record["id"], record["seq"], record["late"]
        content = tuple(record[key] for key in IDENTITY)
        known = self.by_id.get(name)
        if known is not None:
            self.repeated += 1
            if known != content:
                self._fault("differs", f"{name} was {known}, now {content}")
            return
        if len(self.by_id) >= KEPT:
            self._fault("internal", f"more than {KEPT} records")
            return
        self.by_id[name] = content
        if name != f"{record['station']}-{seq}" + ("-late" if late else ""):
            self._fault("id", f"{name} for seq {seq}")
        if late:
            return
        if seq < self.highest:
            self._fault("order", f"{name} came after seq {self.highest}")
        self.highest = max(seq, self.highest)
        self.by_seq[seq] = content

    def _fault(self, rule: str, text: str) -> None:
        self.faults[rule] += 1
        if len(self.texts) < 1000:
            self.texts.append(f"{rule}: {text}"[:300])
