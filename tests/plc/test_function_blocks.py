"""The Structured Text of docs/plc/function-blocks.md, run against every point of the PLC's rule."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from inspector.plc import contract
from inspector.plc.compact import parse_text, result_text
from inspector.plc.contract import parse_command
from tests.plc.examples import failed, not_inspected, part, passed
from tests.plc.structured_text import PAGE, library

LIBRARY = library(PAGE.read_text(encoding="utf-8"))
GATE = 1200


class Plc:
    """The page's program, one cycle a call. A part is triggered at once; its ids are those of the examples."""

    def __init__(self, now_ms: int = 1000, encoder: int = 0, approved: str = "") -> None:
        self.program = LIBRARY["Vision"]()
        self.now_ms, self.encoder, self.n = now_ms, encoder, 0
        self.program.approved = approved
        self.beat()
        self.cycle(eye=True, part_id="A004711")
        self.program.lane.part[0].cmd_id = "plc1-000815"

    def cycle(self, after_ms: int = 10, **inputs: Any) -> None:
        self.now_ms = (self.now_ms + after_ms) % 2**32
        pulses = {"eye": False, "hb_came": False, "state_came": False, "result_came": False, "link_up": True}
        self.program(**{**pulses, **inputs}, now_ms=self.now_ms, encoder=self.encoder)

    def beat(self, *, ready: bool = True, new: bool = True) -> None:
        self.n += new
        self.cycle(hb_came=True, hb_n=self.n, hb_ready=ready)

    def result(self, payload: bytes | None = None, *, after_ms: int = 40, **changed: Any) -> None:
        members = json.loads(payload or contract.result_payload(passed(), t_ms=48)) | changed
        self.cycle(after_ms, result=filled(members), result_came=True)

    def at_gate(self, after_ms: int = 500) -> bool:
        """Did it pass?"""
        self.encoder = (self.encoder + GATE + 2**31) % 2**32 - 2**31
        self.cycle(after_ms)
        assert self.program.gate.decided and self.program.gate.part_id == "A004711"
        return bool(self.program.gate_open)


def filled(members: dict[str, Any]) -> Any:
    """What a PLC's JSON reader makes of a result."""
    result = LIBRARY["ST_VisionResult"]()
    for name in ("retained", "seq", "boot", "part_id", "cmd_id", "verdict", "code", "cfg", "dup"):
        setattr(result, name, members.get(name, False))
    result.valid = members.get("valid", True)
    return result


def test_a_good_part_passes() -> None:
    plc = Plc()
    plc.result()
    assert plc.at_gate()


def test_counters_of_the_plc_may_wrap_on_the_way() -> None:
    plc = Plc(now_ms=2**32 - 30, encoder=2**31 - 100)
    plc.result()
    assert plc.at_gate()


def test_nothing_comes_and_the_part_is_rejected() -> None:
    assert not Plc().at_gate()


@pytest.mark.parametrize("verdict", [failed(), not_inspected()])
def test_only_a_pass_passes(verdict: Any) -> None:
    plc = Plc()
    plc.result(contract.result_payload(verdict, t_ms=48))
    assert not plc.at_gate()


@pytest.mark.parametrize(
    "changed",
    [
        {"valid": False}, {"retained": True}, {"verdict": "pass"}, {"verdict": "FAIL"}, {"code": 1},
        {"part_id": "A004712"},
        {"cmd_id": "plc1-000816"}, {"cmd_id": ""}, {"after_ms": 320}, {"cfg": "00000000"},
    ],
)  # fmt: skip
def test_each_point_of_the_rule_rejects(changed: dict[str, Any]) -> None:
    plc = Plc(approved="5be1c04d")
    plc.result(**changed)
    assert not plc.at_gate()


def test_the_first_verdict_is_final() -> None:
    plc = Plc()
    plc.result(contract.result_payload(failed(), t_ms=48))
    plc.result(seq=4712)
    assert not plc.at_gate()


@pytest.mark.parametrize(
    ("before", "now", "passes"),
    [
        ((4710, "3fa9"), (4711, "3fa9"), True),
        ((4711, "3fa9"), (4711, "3fa9"), False),
        ((4712, "3fa9"), (4711, "3fa9"), False),
        ((4710, "0001"), (4711, "3fa9"), True),
    ],
)
def test_seq_and_boot_must_be_new(before: tuple[int, str], now: tuple[int, str], passes: bool) -> None:
    plc = Plc()
    plc.result(part_id="other", cmd_id="other", seq=before[0], boot=before[1], after_ms=1)
    plc.result(seq=now[0], boot=now[1])
    assert plc.at_gate() is passes


def test_a_boot_that_was_there_before_is_not_new() -> None:
    plc = Plc()
    for boot in ("3fa9", "0002"):
        plc.result(part_id="other", cmd_id="other", boot=boot, after_ms=1)
    plc.result(seq=9999)
    assert not plc.at_gate()


def test_a_missing_seq_is_told() -> None:
    plc = Plc()
    plc.result(part_id="other", cmd_id="other", seq=4709, after_ms=1)
    plc.result()
    assert plc.program.take.gap and plc.at_gate()


def test_the_link_must_be_alive_when_the_verdict_comes_and_at_the_gate() -> None:
    plc = Plc()
    for _ in range(3):
        plc.cycle(1001)
        plc.beat(new=False)  # the same n again is no sign of life
    plc.program.lane.part[0].sent_ms = plc.now_ms
    plc.result()
    assert not plc.at_gate()

    plc = Plc()
    plc.result()
    assert not plc.at_gate(after_ms=3001)

    plc = Plc()
    plc.beat(ready=False)
    plc.result()
    assert not plc.at_gate()

    plc = Plc()
    plc.cycle(state_came=True, state_ready=False)
    plc.result()
    plc.beat()
    assert not plc.at_gate(), "it was not ready when the verdict came"

    plc = Plc()
    plc.cycle(link_up=False)
    plc.result()
    assert not plc.at_gate(), "after a reconnect nothing is trusted before a heartbeat has come"


def test_what_the_trigger_block_sends_is_taken_by_the_station() -> None:
    plc = Plc()
    command: Any = parse_command("trigger", plc.program.trigger.payload.encode(), False)
    assert (command.cmd_id, command.part_id, command.deadline_ms) == ("plc1-1", "A004711", 300)
    lane, block = LIBRARY["ST_VisionLane"](), LIBRARY["FB_VisionTrigger"]()
    for number in range(17):
        for here, edge in ((True, True), (True, False), (False, False)):
            block(part_here=here, part_id=f"P{number}", text_link=True, lane=lane)
            assert block.publish is (edge and number < 16)
        text: Any = parse_text(block.payload.encode(), False)
        assert (text.cmd_id, text.part_id) == (f"plc1-{min(number, 15) + 1}", f"P{min(number, 15)}")
    assert block.overflow


# --- result/c
def read(text: bytes) -> Any:
    block = LIBRARY["FB_VisionReadText"]()
    block(text=text.decode("ascii"))
    return block.result


def taken(texts: list[bytes], now_ms: int = 50) -> tuple[bool, Any]:
    """Is the part of the examples good after these?"""
    lane, take = LIBRARY["ST_VisionLane"](), LIBRARY["FB_VisionTake"]()
    lane.part[3].used, lane.part[3].part_id, lane.part[3].cmd_id = True, "A004711", "plc1-000815"
    for text in texts:
        take(came=True, result=read(text), healthy=True, now_ms=now_ms, text_link=True, lane=lane)
    return lane.part[3].good, take


def text_of(verdict: Any, *, dup: bool = False, **of_part: Any) -> bytes:
    return result_text(
        replace(verdict, part=part(**of_part)) if of_part else verdict, t_ms=48, dup=dup, warn=False, id_width=16
    )


def test_text_is_read_as_json_is() -> None:
    for verdict in (passed(), failed(), not_inspected()):
        result, members = read(text_of(verdict)), json.loads(contract.result_payload(verdict, t_ms=48))
        assert result.valid and not result.dup
        assert (result.verdict, result.code, result.seq) == (members["verdict"], members["code"], members["seq"])
        assert result.part_id == "A004711         "
    assert read(text_of(passed(), dup=True)).dup


@pytest.mark.parametrize("at", range(45))
def test_a_byte_that_is_wrong_never_makes_another_good_part(at: int) -> None:
    text = text_of(passed())
    for byte in b"~;P\x7fA":
        spoiled = text[:at] + bytes([byte]) + text[at + 1 :]
        good, _ = taken([spoiled])
        assert good is (spoiled == text), spoiled
    assert not taken([text[:at]])[0] and not taken([text + b" " * (at + 1)])[0]


def test_text_points_of_the_rule() -> None:
    assert taken([text_of(passed())])[0]
    assert not taken([text_of(failed())])[0]
    assert not taken([text_of(passed(), dup=True)])[0]
    assert not taken([text_of(passed())], now_ms=301)[0]
    assert not taken([text_of(passed(), part_id="A00471")])[0], "another part's, whose id is a piece of this one's"
    good, take = taken([text_of(passed(), seq=5000, part_id="other"), text_of(passed())])
    assert not good and take.seq_back
    good, _ = taken([text_of(passed(), seq=5000, part_id="other"), *2 * [text_of(passed(), seq=4000, part_id="other")],
                     text_of(passed(), seq=5001)])  # fmt: skip
    assert not good, "the station's book was lost: nothing passes until somebody has looked"
