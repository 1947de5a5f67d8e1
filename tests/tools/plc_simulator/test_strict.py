"""The judge itself: each broken word is found, and a right one is not called broken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.plc_simulator import forms
from tools.plc_simulator.books import compare
from tools.plc_simulator.ears import WeakEar
from tools.plc_simulator.encoder import Encoder
from tools.plc_simulator.host import RESULT, Node
from tools.plc_simulator.mischief import LIMIT_NS, Mischief, Rates
from tools.plc_simulator.motion import Motion
from tools.plc_simulator.rule import Slot, Watch
from tools.plc_simulator.sparkplug import Metric, Payload
from tools.plc_simulator.witness import Witness

MS = 1_000_000
S = 1_000 * MS
UTC = "2026-05-12T14:31:50.123Z"


def result(seq: int, cmd_id: str = "c-1", part_id: str = "P1", verdict: str = "PASS", **changes: Any) -> dict[str, Any]:
    return {
        "schema": "1.0", "seq": seq, "boot": "a1b2", "part_id": part_id, "cmd_id": cmd_id, "attempt": 1,
        "verdict": verdict, "code": 0 if verdict == "PASS" else 300, "reason": "ok", "cls": "", "score": 0.0,
        "thr": 0.0, "recipe": 1, "rev": 1, "ts": UTC, "t_ms": 5, "deadline_ms": 300, "sim": True, "dup": False,
        "cfg": "0123abcd", **changes,
    }  # fmt: skip


def witness(*messages: dict[str, Any], again: bool = False, age_ms: int = 20) -> Witness:
    made = Witness()
    for number in range(1, 4):
        made.sent(f"c-{number}", f"P{number}", 0, 300)
    if again:
        made.sent("c-1", "P1", 0, 300)
    for message in messages:
        made.saw("result", json.dumps(message).encode(), False, age_ms * MS)
    return made


@pytest.mark.parametrize(
    ("messages", "faults"),
    [
        ([result(1), result(2, "c-2", "P2")], {}),
        ([result(1), result(1)], {}),  # QoS 1 may do that
        ([result(1), result(1, dup=True)], {"unasked": 1}),
        ([result(1), result(2)], {"doubled": 1}),
        ([result(1), result(1, verdict="FAIL")], {"seq_reused": 1, "seq_back": 1, "doubled": 1}),
        ([result(2), result(1, "c-2", "P2")], {"seq_back": 1}),
        ([result(2), result(1, "c-2", "P2", boot="ffff")], {"seq_back": 1}),
        ([result(1), result(2, "c-2", "P2", boot="ffff"), result(3, "c-3", "P3")], {"boot_again": 1}),
        ([result(1, "c-2", "P1")], {"other_part": 1}),
        ([result(1, "c-9")], {"unasked": 1}),
        ([result(1, cfg="")], {"form": 1}),
        ([result(1, cfg="xyz")], {"form": 1}),
        ([result(1, verdict="NOT_INSPECTED", cfg="")], {}),
        ([result(1, code=502)], {"form": 1}),
    ],
)  # fmt: skip
def test_a_broken_word_is_found(messages: list[dict[str, Any]], faults: dict[str, int]) -> None:
    assert dict(witness(*messages).faults) == faults


def test_a_trigger_sent_again_is_answered_by_the_same_verdict() -> None:
    assert not witness(result(1), result(1, dup=True), again=True).faults
    other = result(1, verdict="NOT_INSPECTED", reason="timeout", dup=True)
    assert witness(result(1), other, again=True).faults["doubled"] == 1


def test_an_answer_is_stale_by_our_clock_alone() -> None:
    will = b'{"schema":"1.0","state":"OFFLINE","ready":false,"code":900}'
    for age_ms, lost_ms, stale in ((799, 100, 0), (801, None, 0), (801, 100, 1)):
        made = witness()
        made.sent("c-7", "P7", 50 * MS, 300)
        if lost_ms is not None:
            made.saw("state", will, False, lost_ms * MS)
        made.saw("result", json.dumps(result(1, "c-7", "P7")).encode(), False, (50 + age_ms) * MS)
        assert made.faults["stale"] == stale and made.late == (age_ms > 800)


@pytest.mark.parametrize(
    ("topic", "payload", "odd"),
    [
        ("hb", b'{"n":1,"ready":true,"state":"EXECUTE","seq":4}', ""),
        ("hb", b'{"n":1,"ready":true,"state":"STOPPED","seq":4}', "ready in STOPPED"),
        ("hb", b'{"n":1.0,"ready":true,"state":"EXECUTE","seq":4}', "n: found 1.0"),
        ("hb", b'{"n":1,"n":2,"ready":true,"state":"EXECUTE","seq":4}', "a name comes twice"),
        ("hb", b'{"n":1,"ready":true,"state":"EXECUTE","seq":4,"x":null}', "x: not flat"),
        ("hb", b'{"n":1,"ready":true,"state":"EXECUTE"}', "seq is missing"),
        ("state", b'{"schema":"1.0","state":"OFFLINE","ready":false,"code":900}', ""),
        ("state", b'{"schema":"1.0","state":"OFFLINE","ready":true,"code":900}', "the will is not as on the page"),
        ("event", b"[]", "no JSON object"),
        ("event", b"\xc3\xa4", "no ASCII JSON"),
        ("event", b"x" * 513, "513 bytes, allowed 512"),
        ("result", json.dumps(result(1)).encode(), ""),
        ("result", json.dumps(result(1)).replace("0.0", "0", 1).encode(), "score: found 0"),
        ("result", json.dumps(result(1)).replace("0.0", "1e3", 1).encode(), "the number 1e3"),
    ],
)
def test_the_form_of_messages(topic: str, payload: bytes, odd: str) -> None:
    found = forms.read(topic, payload)[1]
    assert (found[0] if found else "").startswith(odd) and bool(found) == bool(odd)


def test_the_encoder_knows_where_a_part_is_whatever_the_belt_did() -> None:
    encoder = Encoder(20, 100, 0)
    assert encoder.steps(S) == 2000 and encoder.when(3000) == S + S // 2 + 1
    encoder.set_speed(0, S)
    assert encoder.steps(9 * S) == 2000 and encoder.when(3000) is None and not encoder.moving
    encoder.set_speed(50, 9 * S)
    assert encoder.steps(10 * S) == 3000
    motion = Motion(encoder, 100, 0.2, 0.5, 1, 10 * S)
    for n in range(200):
        motion.tend(10 * S + n * S // 10)
    assert motion.stops > 3 and 3000 < encoder.steps(30 * S) < 3000 + 20 * 2400
    motion.hold(True, 30 * S)
    at = encoder.steps(30 * S)
    assert encoder.steps(40 * S) == at


class FakeBook:
    def __init__(self) -> None:
        self.strays: dict[str, int] = dict.fromkeys(("unmatched", "invalid", "retained", "replayed"), 0)

    def came_after_gate(self, *_: Any) -> None:
        pass


def test_without_an_id_only_the_expected_number_counts() -> None:
    """docs/plc.md: silence, one trigger whose part is rejected, silence; then each number is known beforehand."""
    register: dict[str, Slot] = {}
    ear = WeakEar("binary", Watch(link=True), register, FakeBook(), Witness(), 300)  # type: ignore[arg-type]
    silence = 300 * MS + 3 * S

    def part(now: int) -> Slot:
        slot = Slot(f"P{now}", f"c-{now}", now, 300, False)
        slot.announced = ear.trigger(slot, now) is not None
        return slot

    probe = part(S)
    assert probe.announced and probe.refused == "resync"
    assert not part(S + silence - 1).announced, "silence"
    ear._highest = 41
    first = part(S + silence)
    assert first.announced and not first.refused and first.key == "#42"
    assert part(S + silence + 1).key == "#43"
    ear.gone(first, 9 * S)  # no answer: who knows what the next number means
    assert first.refused == "missing" and not part(9 * S + 1).announced


def test_the_hosts_rules() -> None:
    from tools.plc_simulator.host import Host

    host = Host("127.0.0.1", 1, "nobody")  # nothing listens there: only its rules are wanted
    try:
        node = Node()
        born = Payload(0, 0, [Metric("bdSeq", value=7, datatype=4), Metric("Node Control/Rebirth", value=False)])
        kinds = dict(zip(RESULT, (4, 12, 3, 3, 9, 3, 3, 12), strict=True))
        device = [Metric(name, alias, datatype=kinds[name]) for alias, name in enumerate(RESULT, 1)]

        def data(
            seq: int, number: int, *, verdict: int = 1, code: int = 0, historical: bool = False, cfg: str = "0123abcd"
        ) -> Payload:
            values = (number, "P1", verdict, code, 0.0, 5, 1, cfg)
            metrics = [
                Metric("", alias, 0, kinds[name], historical, False, value)
                for alias, (name, value) in enumerate(zip(RESULT, values, strict=True), 1)
            ]
            return Payload(0, seq, metrics)

        assert host._take(node, "DDATA", data(3, 1)) and not host.faults, "we came later: ask for the births"
        host._take(node, "NBIRTH", born)
        host._take(node, "DBIRTH", Payload(0, 1, device))
        host._take(node, "DDATA", data(2, 11))
        host._take(node, "DDATA", data(3, 10, historical=True))
        host._take(node, "DDATA", data(4, 11, historical=True))
        assert not host.faults and host.by_seq[11] == ("P1", "PASS", 0)
        told = {10: ("P1", "c", "PASS", 0), 12: ("P2", "c", "PASS", 0), 13: ("P3", "c", "NOT_INSPECTED", 502)}
        assert host.missing(told) == [12, 13]
        host._take(node, "DDATA", data(5, 11, verdict=2, code=1001))
        host._take(node, "DDATA", data(6, 9))
        host._take(node, "DDATA", data(7, 14, verdict=1, code=300))
        host._take(node, "DDATA", data(8, 16, cfg=""))  # nobody knows what judged
        assert host._take(node, "DDATA", data(10, 15)), "a gap"
        host._take(node, "NDEATH", Payload(0, None, [Metric("bdSeq", value=200, datatype=4)]))
        assert host.faults == {"doubled": 1, "order": 1, "result": 2, "seq_gap": 1, "death": 1}
        host.compare({10: ("P1", "c", "FAIL", 1001)})
        assert host.faults["differs"] == 1
    finally:
        host.close()


class FakeWire:
    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        self.sent.append((topic, json.loads(payload)))
        return True


def test_each_command_has_its_one_answer() -> None:
    wire, seen = FakeWire(), Witness()
    watch = Watch(link=True, heartbeat_ns=0)
    mischief = Mischief(Rates(change_every_s=1, recipes=(1, 2)), wire, watch, seen, "run", 1)  # type: ignore[arg-type]

    def at(now: int) -> None:
        watch.heartbeat_ns = now
        mischief.tend(now)

    def ack(**changes: Any) -> None:
        mischief.heard("ack", {"cmd": "recipe", "code": 0, "text": "", "seq": 0, "recipe": 1, "rev": 1, **changes})

    at(S)
    at(3 * S)
    (_, change), *_ = wire.sent
    assert change["recipe"] == 1
    ack(cmd_id=change["cmd_id"], phase="accepted")
    ack(cmd_id=change["cmd_id"], phase="done")
    assert not seen.faults
    ack(cmd_id=change["cmd_id"], phase="done")
    ack(cmd_id="run-c999999", phase="done")
    assert seen.faults == {"ack_twice": 1, "ack_unasked": 1}
    for second in range(4, 40):
        at(second * S)
    assert seen.faults["no_answer"] == sum(1 for _ in mischief._past) - 1 > 0
    mischief.heard("info", {})
    before = seen.faults["no_answer"]
    mischief._ask("get", {"seq": 1}, ("done",))
    mischief.heard("info", {})  # the station was away: the answer may be gone
    at(mischief._now_ns + LIMIT_NS + 1)
    assert seen.faults["no_answer"] == before


def test_the_books_are_compared_part_by_part() -> None:
    def row(seq: int, verdict: str = "PASS", **changes: Any) -> dict[str, Any]:
        part = {"part_id": f"P{seq}", "cmd_id": f"c-{seq}", "verdict": verdict, "code": 0, "seq": seq}
        return {**part, "decision": "pass", "cfg": "0123abcd", **changes}

    def kept(seq: int, outcome: str = "PASS", **changes: str) -> dict[str, str]:
        more = {"outcome": outcome, "code": "0", "config": "0123abcd00", **changes}
        return {"seq": str(seq), "part_id": f"P{seq}", "cmd_id": f"c-{seq}", **more}

    def record(seq: int) -> list[Any]:
        return [f"P{seq}", f"c-{seq}", "PASS", 0]

    silent = {**row(3, ""), "decision": "reject", "seq": 0}
    book = {"rows": [row(1), row(2), silent], "records": {"1": record(1), "2": record(2)}}
    found = compare(book, iter([kept(1), kept(2)]))
    assert not found.differences and found.sums["never_reached_the_station"] == 1
    wrong: list[tuple[list[dict[str, str]], str]] = [
        ([kept(1)], "P2: the PLC got PASS, the ledger has nothing"),
        ([kept(1), kept(2, "FAIL", code="1001")], "P2: the PLC got"),
        ([kept(1), kept(2), kept(9)], "c-9 (seq 9): in the ledger, not sent"),
        ([kept(1), kept(2), kept(3)], "P3 (seq 3): its record never came"),
        ([kept(1), kept(2, "")], "seq 2 (P2): open in the ledger"),
        ([kept(1), kept(2, config="ffffffff00")], "P2: the PLC was told configuration 0123abcd"),
    ]
    for rows, words in wrong:
        assert any(words in text for text in compare(book, iter(rows)).differences), words
