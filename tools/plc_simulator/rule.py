"""The PLC's rule: which messages may open the gate. Pure, without clock and wire.

The gate passes a part only for a PASS that is valid, its own, fresh, in time and from a station that is ready and
alive. Everything else, silence included, is a reject.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

RESULT_LIMIT_BYTES = 512
HEARTBEAT_LIMIT_NS = 3_000_000_000
SEQ_MAX = 2_147_483_647
RULES = (
    "no_link",
    "missing",
    "late",
    "unmatched",
    "retained",
    "replayed",
    "invalid",
    "not_ready",
    "heartbeat_stale",
    "unapproved",
    "resync",
    "stopped",
)


class Refused(Exception):
    """A message on ``result`` that may not be used; ``rule`` says why in one word."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


@dataclass(frozen=True)
class Answer:
    """A verdict as it came."""

    seq: int
    boot: str
    part_id: str
    cmd_id: str
    verdict: str
    code: int
    reason: str
    t_ms: int
    dup: bool
    arrived_ns: int
    cfg: str = ""  # short form of the configuration's digest


@dataclass
class Slot:
    """One place of the shift register: a part between the camera and the gate."""

    part_id: str
    cmd_id: str
    sent_ns: int
    deadline_ms: int
    announced: bool  # False: the link was down when the part stood before the camera
    answer: Answer | None = None
    refused: str = ""  # why a message for this part was not used
    known_by: str = ""  # where an answer has no cmd_id: its part_id, or the number it must have

    @property
    def key(self) -> str:
        """What its answer is known by: counted parts have no command of their own."""
        return self.known_by or self.cmd_id or self.part_id


@dataclass(frozen=True)
class Decision:
    """What the gate does. ``by``: the station's verdict decided, or the PLC's own rule ``why``."""

    passed: bool
    by: Literal["verdict", "rule"]
    why: str


@dataclass
class Watch:
    """What the PLC knows of the station: last verdict, ready, heartbeat, link."""

    link: bool = False
    ready: bool = False
    heartbeat_ns: int | None = None
    heartbeat_n: int | None = None
    boot: str = ""
    seq: int = 0
    old_boots: set[str] = field(default_factory=set)
    text: str = ""  # what the station says it lacks
    gaps: int = 0  # numbers skipped between the verdicts that were used
    approved: str = ""  # the one configuration whose verdicts may open the gate; "" for any

    def link_changed(self, up: bool) -> None:
        """Without a link nothing is known."""
        self.link = up
        if not up:
            self.ready, self.heartbeat_ns = False, None

    def state(self, payload: bytes) -> None:
        """A message on ``state``; anything unreadable means not ready."""
        members = _object(payload)
        self.ready = members.get("ready") is True and _major(members) and members.get("state") == "EXECUTE"
        self.text = str(members.get("text", ""))

    def heartbeat(self, payload: bytes, retained: bool, now_ns: int) -> None:
        """A message on ``hb``. It counts only when its number moves and it is not a stored one."""
        members = _object(payload)
        n = members.get("n")
        if retained or not isinstance(n, int) or n == self.heartbeat_n:
            return
        self.heartbeat_n, self.heartbeat_ns = n, now_ns
        self.ready = members.get("ready") is True

    def beat(self, n: int, now_ns: int) -> None:
        """``hb/c``: its one byte, which says nothing of ready."""
        if n != self.heartbeat_n:
            self.heartbeat_n, self.heartbeat_ns = n, now_ns

    def alive(self, now_ns: int) -> bool:
        """A heartbeat within the last 3 s."""
        return self.heartbeat_ns is not None and now_ns - self.heartbeat_ns <= HEARTBEAT_LIMIT_NS

    def take(self, answer: Answer) -> None:
        """Check order and freshness by seq and boot. Raises :class:`Refused` "replayed"."""
        if answer.boot in self.old_boots:
            raise Refused("replayed", f"boot {answer.boot} is over")
        if answer.boot == self.boot and answer.seq <= self.seq:
            raise Refused("replayed", f"seq {answer.seq} after {self.seq}")
        if answer.boot != self.boot and self.boot:
            if len(self.old_boots) >= 1000:
                self.old_boots.clear()
            self.old_boots.add(self.boot)
        self.boot = answer.boot
        self.take_seq(answer.seq)

    def take_seq(self, seq: int) -> None:
        """The last number that came."""
        if self.seq and seq > self.seq + 1:
            self.gaps += seq - self.seq - 1
        self.seq = seq


def parse_result(payload: bytes, retained: bool, arrived_ns: int) -> Answer:
    """Read a message on ``result``. Raises :class:`Refused` "retained" or "invalid"."""
    if retained:
        raise Refused("retained", "a stored result")
    if len(payload) > RESULT_LIMIT_BYTES:
        raise Refused("invalid", f"{len(payload)} bytes")
    members = _object(payload)
    if not _major(members):
        raise Refused("invalid", "no JSON object of schema 1")
    found: dict[str, object] = {}
    for key, kind in _TYPES.items():
        value = members.get(key)
        if type(value) is not kind:
            raise Refused("invalid", f"{key} is {value!r}"[:60])
        found[key] = value
    used = {key: found[key] for key in _USED}
    cfg = members.get("cfg", "")
    if not isinstance(cfg, str):
        raise Refused("invalid", f"cfg is {cfg!r}"[:60])
    answer = Answer(arrived_ns=arrived_ns, cfg=cfg, **used)  # type: ignore[arg-type]
    if not 1 <= answer.seq <= SEQ_MAX:
        raise Refused("invalid", f"seq is {answer.seq}")
    if answer.verdict == "PASS" and answer.code != 0:
        raise Refused("invalid", f"PASS with code {answer.code}")
    return answer


_TYPES: dict[str, type] = {
    **dict.fromkeys(("seq", "attempt", "code", "recipe", "rev", "t_ms", "deadline_ms"), int),
    **dict.fromkeys(("boot", "part_id", "cmd_id", "verdict", "reason", "cls", "ts"), str),
    **dict.fromkeys(("score", "thr"), float),
    **dict.fromkeys(("sim", "dup"), bool),
}
_USED = ("seq", "boot", "part_id", "cmd_id", "verdict", "code", "reason", "t_ms", "dup")


def offer(watch: Watch, register: dict[str, Slot], answer: Answer) -> Slot:
    """Put an answer to its part in the shift register. The first answer is final.

    It is found by cmd_id, or by part_id where parts are counted.

    Raises :class:`Refused` "unmatched", "replayed" or "doubled" (a second verdict with a number of its own: the
    station broke its word); a part that a refused answer meant is marked with why.
    """
    slot = register.get(answer.cmd_id or answer.part_id)
    try:
        if slot is None:
            raise Refused("unmatched", f"{answer.cmd_id or answer.part_id} is not on the belt")
        if (answer.cmd_id, answer.part_id) != (slot.cmd_id, slot.part_id):
            raise Refused("unmatched", f"part {answer.part_id} answered for {slot.part_id}")
        watch.take(answer)
        if slot.answer is not None:
            raise Refused("doubled", f"second answer for {slot.part_id}")
    except Refused as refused:
        if slot is not None and slot.answer is None:
            slot.refused = refused.rule
        raise
    slot.answer = answer
    return slot


def decide(slot: Slot, watch: Watch, now_ns: int) -> Decision:
    """What the gate does with the part that arrives at it now."""
    answer = slot.answer
    if answer is None or slot.refused == "resync":
        if slot.refused == "resync":
            return Decision(False, "rule", "resync")
        if not slot.announced:
            return Decision(False, "rule", "no_link")
        if slot.refused:
            return Decision(False, "rule", slot.refused)
        return Decision(False, "rule", "missing" if watch.link else "no_link")
    if answer.verdict != "PASS":
        return Decision(False, "verdict", answer.verdict)
    if watch.approved and answer.cfg != watch.approved:
        return Decision(False, "rule", "unapproved")
    if slot.refused == "unmatched":  # somebody else's answer came under this part's number: doubt
        return Decision(False, "rule", "unmatched")
    if answer.arrived_ns - slot.sent_ns > slot.deadline_ms * 1_000_000:
        return Decision(False, "rule", "late")
    if not watch.link:
        return Decision(False, "rule", "no_link")
    if not watch.alive(now_ns):
        return Decision(False, "rule", "heartbeat_stale")
    if not watch.ready:
        return Decision(False, "rule", "not_ready")
    return Decision(True, "verdict", "PASS")


def _major(members: dict[str, object]) -> bool:
    schema = members.get("schema")
    return isinstance(schema, str) and schema.split(".")[0] == "1"


def _object(payload: bytes) -> dict[str, object]:
    try:
        tree = json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
