"""What the PLC does with a message: with JSON everything the station says, or only the twins of a weak PLC."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from tools.plc_simulator import compact
from tools.plc_simulator.book import Book
from tools.plc_simulator.rule import Answer, Refused, Slot, Watch, offer, parse_result
from tools.plc_simulator.wire import ALL, Message
from tools.plc_simulator.witness import Witness

SILENCE_NS = 3_000_000_000  # beside the deadline, before a numbered answer may be trusted again


class Ear(Protocol):
    """One way to read what the station says and to send it a trigger."""

    subscriptions: tuple[tuple[str, int], ...]

    def heard(self, message: Message) -> None: ...

    def trigger(self, slot: Slot, now_ns: int) -> tuple[str, bytes] | None: ...

    def gone(self, slot: Slot, now_ns: int) -> None: ...


class JsonEar:
    """``listeners``: called with topic and members of each message whose form is right."""

    subscriptions = ALL

    def __init__(self, watch: Watch, register: dict[str, Slot], book: Book, witness: Witness) -> None:
        self._watch, self._register, self._book, self._witness = watch, register, book, witness
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []

    def heard(self, message: Message) -> None:
        """A message came."""
        members = self._witness.saw(message.topic, message.payload, message.retained, message.arrived_ns)
        if message.topic == "state":
            self._watch.state(message.payload)
        elif message.topic == "hb":
            self._watch.heartbeat(message.payload, message.retained, message.arrived_ns)
        elif message.topic == "result":
            self._result(message)
        if members and not message.retained:
            for listener in self.listeners:
                listener(message.topic, members)

    def trigger(self, slot: Slot, now_ns: int) -> tuple[str, bytes]:
        """Topic and payload."""
        if not slot.cmd_id:
            return "cmd/count", json.dumps({"schema": "1.0", "count": int(slot.part_id)}).encode()
        ids = {"cmd_id": slot.cmd_id, "part_id": slot.part_id}
        self._witness.sent(slot.cmd_id, slot.part_id, now_ns, slot.deadline_ms)
        return "cmd/trigger", json.dumps({"schema": "1.0", **ids, "deadline_ms": slot.deadline_ms}).encode()

    def gone(self, slot: Slot, now_ns: int) -> None:
        """Nothing to do: answers are known by their ids."""

    def _result(self, message: Message) -> None:
        try:
            answer = parse_result(message.payload, message.retained, message.arrived_ns)
            offer(self._watch, self._register, answer)
        except Refused as refused:
            self._book.strays[refused.rule] += 1
            if refused.rule in ("retained", "invalid"):
                self._mark(message.payload, refused.rule)
            elif refused.rule == "unmatched":
                self._book.came_after_gate(answer.cmd_id or answer.part_id, answer.verdict)

    def _mark(self, payload: bytes, rule: str) -> None:
        """A refused message that names a part on the belt tells why that part will be rejected."""
        try:
            members = json.loads(payload)
            cmd_id = members["cmd_id"] or members["part_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        slot = self._register.get(cmd_id) if isinstance(cmd_id, str) else None
        if slot is not None and slot.answer is None:
            slot.refused = rule


class WeakEar:
    """``result/c``, or ``result/b`` with its way back to the right number; one message at a time, 100 bytes each."""

    def __init__(
        self, kind: str, watch: Watch, register: dict[str, Slot], book: Book, witness: Witness, deadline_ms: int
    ) -> None:
        self.binary = kind == "binary"
        self.subscriptions = (("result/b" if self.binary else "result/c", 1), ("hb/c", 0))
        self._watch, self._register, self._book, self._witness = watch, register, book, witness
        self._silence_ns = deadline_ms * 1_000_000 + SILENCE_NS
        self._last: int | None = None  # number of the last trigger's answer; None: not known
        self._highest = 0
        self._silent_until_ns = 0
        self._probed = False
        watch.ready = True  # nothing tells it: a station that is not ready answers N

    def heard(self, message: Message) -> None:
        """A message came."""
        self._witness.messages[message.topic] += 1
        self._watch.ready = True
        if message.retained:
            self._witness.fault("retained", f"{message.topic} was stored by the broker")
            self._book.strays["retained"] += 1
        elif message.topic == "hb/c":
            if len(message.payload) != 1:
                self._witness.fault("form", f"hb/c has {len(message.payload)} bytes")
            else:
                self._watch.beat(message.payload[0], message.arrived_ns)
        else:
            try:
                self._result(message)
            except compact.Unreadable as error:
                self._witness.fault("form", f"{message.topic}: {error}")
                self._book.strays["invalid"] += 1
            except Refused as refused:
                self._book.strays[refused.rule] += 1

    def trigger(self, slot: Slot, now_ns: int) -> tuple[str, bytes] | None:
        """Topic and payload; None: nothing may be sent now."""
        if self.binary and not self._expect(slot, now_ns):
            return None
        self._witness.sent(slot.cmd_id, slot.part_id, now_ns, slot.deadline_ms)
        return "cmd/c", f"T;{slot.cmd_id};{slot.part_id}".encode()

    def gone(self, slot: Slot, now_ns: int) -> None:
        """A part went through the gate, or its timer is over: without an answer the numbers are in doubt."""
        if self.binary and slot.announced and slot.answer is None and not slot.refused:
            slot.refused = "missing"
            self._doubt(now_ns)

    def _expect(self, slot: Slot, now_ns: int) -> bool:
        if self._last is None:
            slot.refused = "resync"
            if now_ns < self._silent_until_ns:
                return False
            if self._probed and self._highest:
                self._last, self._probed, slot.refused = self._highest, False, ""
            else:
                self._probed = True
                self._silent_until_ns = now_ns + self._silence_ns
                return True
        self._last += 1
        slot.known_by = f"#{self._last}"
        return True

    def _doubt(self, now_ns: int) -> None:
        self._last, self._probed, self._highest = None, False, 0
        self._silent_until_ns = now_ns + self._silence_ns

    def _result(self, message: Message) -> None:
        twin = (compact.read_binary if self.binary else compact.read_text)(message.payload)
        if (twin.verdict == "PASS") != (twin.code == 0):
            self._witness.fault("form", f"{message.topic}: {twin.verdict} with code {twin.code}")
        if twin.flags & compact.DUP:
            raise Refused("replayed", "sent again")
        if twin.seq <= self._watch.seq:
            self._witness.fault("seq_back", f"{message.topic}: {twin.seq} after {self._watch.seq}")
        self._highest = max(self._highest, twin.seq)
        key = f"#{twin.seq}" if twin.part_id is None else twin.part_id.rstrip(" ")
        slot = self._register.get(key)
        if slot is None:
            self._watch.take_seq(twin.seq)
            if self.binary and self._last is not None and twin.seq != self._last:
                self._doubt(message.arrived_ns)
            self._book.strays["unmatched"] += 1
            self._book.came_after_gate(key, twin.verdict)
            return
        age_ms = (message.arrived_ns - slot.sent_ns) / 1e6
        self._witness.aged(slot.cmd_id, twin.verdict, slot.sent_ns, age_ms, slot.deadline_ms)
        answer = Answer(
            twin.seq, "", slot.part_id, slot.cmd_id, twin.verdict, twin.code, "", twin.t_ms, False, message.arrived_ns
        )
        offer(self._watch, {slot.cmd_id: slot}, answer)
