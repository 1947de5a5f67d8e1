"""Everything the station said, held against its word. A broken word is a fault, and a fault fails the run.

The gate's rule (rule.py) says what may open the gate; this says what a station may say at all: one verdict for each
trigger, numbers that rise, nothing old, nothing stored, every command answered once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tools.plc_simulator import forms

KEPT = 100_000  # triggers and numbers that are remembered
TOLERANCE_MS = 500  # the network and two clocks: what is later than its deadline by more is late
TEXTS_KEPT = 1000


@dataclass
class Told:
    """A trigger of ours and what came for it."""

    part_id: str
    sent_ns: int
    deadline_ms: int
    again: int = 0  # how often it was sent once more
    refused: bool = False  # sent with other content: a 404 has no cmd_id
    first: tuple[Any, ...] = ()


class Witness:
    """``tolerance_ms``: what a message may take on its way, both directions together, beyond its deadline."""

    def __init__(self, tolerance_ms: int = TOLERANCE_MS, approved: str = "") -> None:
        self.faults: Counter[str] = Counter()
        self.texts: deque[str] = deque(maxlen=TEXTS_KEPT)
        self.messages: Counter[str] = Counter()
        self.late = 0  # came after deadline and tolerance by our clock: never used, and stale when over an outage
        self.oldest_ms = 0.0  # the oldest answer that came, by our clock
        self.copies = 0
        self.unexplained = 0  # verdicts for nobody: a pulse without a message
        self.last: dict[str, Any] = {}  # the last answer that was no copy
        self.by_seq: OrderedDict[int, tuple[Any, ...]] = OrderedDict()
        self._tolerance_ms, self._approved = tolerance_ms, approved
        self._sent: OrderedDict[str, Told] = OrderedDict()
        self._boot, self.highest = "", 0
        self._over: set[str] = set()
        self._lost_ns = 0

    def fault(self, rule: str, text: str) -> None:
        """The station broke its word."""
        self.faults[rule] += 1
        self.texts.append(f"{datetime.now(timezone.utc):%H:%M:%S.%f} {rule}: {text}"[:300])

    def sent(self, cmd_id: str, part_id: str, now_ns: int, deadline_ms: int) -> None:
        """A trigger went out."""
        told = self._sent.get(cmd_id)
        if told is not None:
            told.again += 1
            told.sent_ns = now_ns  # its copy's age counts from here
            return
        self._sent[cmd_id] = Told(part_id, now_ns, deadline_ms)
        if len(self._sent) > KEPT:
            self._sent.popitem(last=False)

    def answered(self, cmd_id: str) -> bool:
        """Its first verdict came."""
        told = self._sent.get(cmd_id)
        return told is not None and bool(told.first)

    def saw(self, topic: str, payload: bytes, retained: bool, arrived_ns: int) -> dict[str, Any]:
        """A message on a topic below the base; its members when its form is right, else {}."""
        self.messages[topic] += 1
        if topic not in forms.FIELDS:
            self.fault("topic", f"nothing is said on {topic}")
            return {}
        if retained and topic not in forms.RETAINED:
            self.fault("retained", f"{topic} was stored by the broker")
        members, odd = forms.read(topic, payload)
        if odd:
            self.fault("form", f"{topic}: {odd[0]} in {payload[:120]!r}")
            return {}
        if topic == "state" and members.get("state") == "OFFLINE":
            self.lost(arrived_ns)
        if topic == "result" and not retained:
            self._result(members, arrived_ns)
        return members

    def _result(self, result: dict[str, Any], arrived_ns: int) -> None:
        seq, boot, cmd_id = result["seq"], result["boot"], result["cmd_id"]
        content = tuple(result[key] for key in ("part_id", "cmd_id", "verdict", "code", "reason", "recipe", "rev"))
        known = self.by_seq.get(seq)
        copy = known is not None and known == content
        if known is not None and not copy:
            self.fault("seq_reused", f"{seq} was {known}, now {content}")
        self.by_seq[seq] = content
        if len(self.by_seq) > KEPT:
            self.by_seq.popitem(last=False)
        told = self._sent.get(cmd_id)
        if result["dup"]:
            self.copies += 1
            self._again(result, content, told)
        elif copy:
            self.copies += 1  # QoS 1 may bring the same message twice
        else:
            self.last = result
            self._order(seq, boot)
            self._first(result, content, told)
        if told is not None and not (copy and not result["dup"]):
            age_ms = (arrived_ns - told.sent_ns) / 1e6
            self.aged(cmd_id, result["verdict"], told.sent_ns, age_ms, told.deadline_ms)
        if self._approved and result["verdict"] != "NOT_INSPECTED" and "cfg" not in result:
            self.fault("form", f"result {seq} does not say its configuration")

    def _order(self, seq: int, boot: str) -> None:
        if boot in self._over:
            self.fault("boot_again", f"{seq} came from boot {boot}, which is over")
        if boot != self._boot:
            if self._boot:
                self._over.add(self._boot)
            self._boot = boot
        if seq <= self.highest:
            self.fault("seq_back", f"{seq} after {self.highest}")
        self.highest = max(seq, self.highest)

    def _first(self, result: dict[str, Any], content: tuple[Any, ...], told: Told | None) -> None:
        seq, cmd_id = result["seq"], result["cmd_id"]
        if not cmd_id:
            self.unexplained += not result["part_id"]
            return  # a refused command, a counted part or a pulse that nobody explains
        if told is None:
            self.fault("unasked", f"result {seq} for {cmd_id}, which we did not send")
        elif told.part_id != result["part_id"]:
            self.fault("other_part", f"{cmd_id} was sent for {told.part_id}, answered for {result['part_id']}")
        elif told.first:
            self.fault("doubled", f"{cmd_id} was {told.first}, now {content} without dup")
        else:
            told.first = content

    def _again(self, result: dict[str, Any], content: tuple[Any, ...], told: Told | None) -> None:
        if told is None or not told.again:
            self.fault("unasked", f"result {result['seq']} with dup, but {result['cmd_id']!r} was sent once")
        elif told.first and told.first != content:
            self.fault("doubled", f"{result['cmd_id']} was {told.first}, with dup it is {content}")

    def lost(self, now_ns: int) -> None:
        """The station or our own link is gone: what was sent before must not be answered out of time afterwards."""
        self._lost_ns = now_ns

    def aged(self, cmd_id: str, verdict: str, sent_ns: int, age_ms: float, deadline_ms: int) -> None:
        """How long it took from the trigger to its answer, by our clock."""
        self.oldest_ms = max(self.oldest_ms, age_ms)
        if age_ms <= deadline_ms + self._tolerance_ms:
            return
        self.late += 1
        if sent_ns < self._lost_ns:
            self.fault("stale", f"{cmd_id} {verdict} came after {age_ms:.0f} of {deadline_ms} ms, over an outage")

    def summary(self) -> dict[str, Any]:
        """The sums as plain JSON."""
        return {
            "faults": dict(self.faults),
            "fault_texts": list(self.texts),
            "messages": dict(self.messages),
            "late_by_our_clock": self.late,
            "oldest_answer_ms": round(self.oldest_ms, 1),
            "copies": self.copies,
            "verdicts_for_nobody": self.unexplained,
        }
