from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tools.plc_simulator.rule import Answer, Refused, Slot, Watch, decide, offer, parse_result

MS = 1_000_000
SENT = 10_000 * MS
NOW = SENT + 1500 * MS
GOOD = {
    "schema": "1.0",
    "seq": 5,
    "boot": "a1b2",
    "part_id": "P1",
    "cmd_id": "c-1",
    "verdict": "PASS",
    "code": 0,
    "reason": "ok",
    "t_ms": 40,
    "dup": False,
}
MORE = {
    "attempt": 1, "cls": "", "score": 0.0, "thr": 0.0, "recipe": 7, "rev": 3, "ts": "2026-05-12T14:31:50.123Z",
    "deadline_ms": 300, "sim": False,
}  # fmt: skip


def slot(**changes: Any) -> Slot:
    return replace(Slot("P1", "c-1", SENT, 1000, True), **changes)


def answer(**changes: Any) -> Answer:
    members = {key: value for key, value in GOOD.items() if key != "schema"}
    return Answer(**{"arrived_ns": SENT + 50 * MS, **members, **changes})  # type: ignore[arg-type]


def watch(**changes: Any) -> Watch:
    return replace(Watch(link=True, ready=True, heartbeat_ns=NOW - 500 * MS, boot="a1b2", seq=4), **changes)


@pytest.mark.parametrize(
    ("in_slot", "seen", "passed", "by", "why"),
    [
        ({"answer": answer()}, {}, True, "verdict", "PASS"),
        ({"answer": answer(dup=True)}, {}, True, "verdict", "PASS"),
        ({"answer": answer(verdict="FAIL", code=1110)}, {}, False, "verdict", "FAIL"),
        ({"answer": answer(verdict="NOT_INSPECTED", code=300)}, {}, False, "verdict", "NOT_INSPECTED"),
        ({"answer": answer(verdict="pass")}, {}, False, "verdict", "pass"),
        ({"answer": answer(verdict="")}, {}, False, "verdict", ""),
        ({"answer": answer(verdict="PASS2")}, {}, False, "verdict", "PASS2"),
        ({}, {}, False, "rule", "missing"),
        ({}, {"link": False}, False, "rule", "no_link"),
        ({"announced": False}, {}, False, "rule", "no_link"),
        ({"refused": "retained"}, {}, False, "rule", "retained"),
        ({"refused": "invalid"}, {}, False, "rule", "invalid"),
        ({"refused": "replayed"}, {}, False, "rule", "replayed"),
        ({"refused": "unmatched"}, {}, False, "rule", "unmatched"),
        ({"answer": answer(), "refused": "unmatched"}, {}, False, "rule", "unmatched"),
        ({"answer": answer(arrived_ns=SENT + 1000 * MS)}, {}, True, "verdict", "PASS"),
        ({"answer": answer(arrived_ns=SENT + 1000 * MS + 1)}, {}, False, "rule", "late"),
        ({"answer": answer(verdict="FAIL", arrived_ns=SENT + 1200 * MS)}, {}, False, "verdict", "FAIL"),
        ({"answer": answer()}, {"link": False}, False, "rule", "no_link"),
        ({"answer": answer()}, {"ready": False}, False, "rule", "not_ready"),
        ({"answer": answer()}, {"heartbeat_ns": NOW - 3000 * MS}, True, "verdict", "PASS"),
        ({"answer": answer()}, {"heartbeat_ns": NOW - 3000 * MS - 1}, False, "rule", "heartbeat_stale"),
        ({"answer": answer()}, {"heartbeat_ns": None}, False, "rule", "heartbeat_stale"),
    ],
)
def test_gate(in_slot: dict[str, Any], seen: dict[str, Any], passed: bool, by: str, why: str) -> None:
    decision = decide(slot(**in_slot), watch(**seen), NOW)
    assert (decision.passed, decision.by, decision.why) == (passed, by, why)


def message(**changes: Any) -> bytes:
    members: dict[str, Any] = {**GOOD, **MORE, **changes}
    return json.dumps({key: value for key, value in members.items() if value is not None}).encode()


def test_a_valid_result_is_read() -> None:
    assert parse_result(message(new_field=1.5), False, SENT + 50 * MS) == answer()


@pytest.mark.parametrize(
    ("payload", "retained", "rule"),
    [
        (message(), True, "retained"),
        (b"", False, "invalid"),
        (b"PASS", False, "invalid"),
        (b"[]", False, "invalid"),
        (b"[" * 500, False, "invalid"),
        (message()[:-1], False, "invalid"),
        (message().replace(b"ok", "ö".encode()), False, "invalid"),
        (message(reason="x" * 512), False, "invalid"),
        (message(schema="2.0"), False, "invalid"),
        (message(schema=None), False, "invalid"),
        (message(schema=1), False, "invalid"),
        (message(seq=0), False, "invalid"),
        (message(seq=2**31), False, "invalid"),
        (message(seq=True), False, "invalid"),
        (message(seq="5"), False, "invalid"),
        (message(seq=5.0), False, "invalid"),
        (message(verdict=1), False, "invalid"),
        (message(verdict=None), False, "invalid"),
        (message(dup="false"), False, "invalid"),
        (message(part_id=None), False, "invalid"),
        (message(score=0), False, "invalid"),
        (message(attempt=None), False, "invalid"),
        (message(code=100), False, "invalid"),
    ],
)
def test_an_unusable_result_is_refused(payload: bytes, retained: bool, rule: str) -> None:
    with pytest.raises(Refused) as error:
        parse_result(payload, retained, 0)
    assert error.value.rule == rule


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"cmd_id": "c-9"}, "unmatched"),
        ({"part_id": "P2"}, "unmatched"),
        ({"seq": 4}, "replayed"),
        ({"seq": 3}, "replayed"),
        ({"boot": "0000"}, "replayed"),
    ],
)
def test_an_answer_that_is_not_this_parts_own_is_refused(changes: dict[str, Any], rule: str) -> None:
    mine = slot()
    with pytest.raises(Refused) as error:
        offer(watch(old_boots={"0000"}), {"c-1": mine}, answer(**changes))
    assert error.value.rule == rule
    assert mine.answer is None
    assert not decide(mine, watch(), NOW).passed


def test_the_first_answer_is_final() -> None:
    mine, seen = slot(), watch()
    offer(seen, {"c-1": mine}, answer(verdict="FAIL", code=100))
    with pytest.raises(Refused) as copy:
        offer(seen, {"c-1": mine}, answer(verdict="FAIL", code=100))
    assert copy.value.rule == "replayed"
    with pytest.raises(Refused) as other:
        offer(seen, {"c-1": mine}, answer(seq=6))
    assert other.value.rule == "doubled"
    assert decide(mine, seen, NOW).why == "FAIL"


def test_a_restart_of_the_station_is_followed_and_its_past_refused() -> None:
    seen = watch()
    register = {f"c-{n}": Slot(f"P{n}", f"c-{n}", SENT, 1000, True) for n in range(1, 4)}
    offer(seen, register, answer())
    offer(seen, register, answer(boot="ffff", seq=8, part_id="P2", cmd_id="c-2"))
    assert (seen.boot, seen.seq, seen.gaps) == ("ffff", 8, 2)
    with pytest.raises(Refused):
        offer(seen, register, answer(boot="a1b2", seq=9, part_id="P3", cmd_id="c-3"))


def test_a_heartbeat_counts_when_its_number_moves() -> None:
    seen = Watch(link=True)
    seen.heartbeat(b'{"n":1,"ready":true}', True, NOW)
    assert not seen.alive(NOW) and not seen.ready, "a stored heartbeat is no sign of life"
    seen.heartbeat(b'{"n":1,"ready":true}', False, NOW)
    assert seen.alive(NOW) and seen.ready
    seen.heartbeat(b'{"n":1,"ready":true}', False, NOW + 4000 * MS)
    assert not seen.alive(NOW + 4000 * MS), "a station that repeats itself is stuck"
    seen.heartbeat(b"nonsense", False, NOW + 5000 * MS)
    assert not seen.alive(NOW + 5000 * MS)
    seen.heartbeat(b'{"n":2,"ready":false}', False, NOW + 5000 * MS)
    assert seen.alive(NOW + 5000 * MS) and not seen.ready


@pytest.mark.parametrize(
    ("payload", "ready"),
    [
        (b'{"schema":"1.0","state":"EXECUTE","ready":true}', True),
        (b'{"schema":"1.7","state":"EXECUTE","ready":true}', True),
        (b'{"schema":"2.0","state":"EXECUTE","ready":true}', False),
        (b'{"schema":"1.0","state":"EXECUTE","ready":"true"}', False),
        (b'{"schema":"1.0","state":"EXECUTE","ready":1}', False),
        (b'{"schema":"1.0","state":"STOPPED","ready":true}', False),
        (b'{"schema":"1.0","state":"OFFLINE","ready":false,"code":900}', False),
        (b"", False),
    ],
)
def test_only_a_clear_state_means_ready(payload: bytes, ready: bool) -> None:
    seen = Watch(link=True, ready=True)
    seen.state(payload)
    assert seen.ready is ready


def test_without_a_link_nothing_is_known() -> None:
    seen = watch()
    seen.link_changed(False)
    assert not seen.ready and not seen.alive(NOW)
