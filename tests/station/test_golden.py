"""When golden parts, acknowledgements and heartbeats are missed: by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from inspector.config import GoldenConfig
from inspector.parts import Check, CheckOutcome, InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.plc.contract import GoldenCommand
from inspector.station import golden, plcwatch
from inspector.station.alarms import Alarms
from inspector.station.golden import Golden
from inspector.station.plcwatch import PlcWatch


class Clock:
    now, wall = 1000.0, 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.wall

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for room in (golden, plcwatch):
        monkeypatch.setattr(room, "time", clock)
    return clock


def found(expect: Any, outcome: str, seq: int = 7, config: str = "a" * 64) -> Verdict:
    part = Part(seq, "0001", "s", Trigger("G", "c", 0, "", golden=expect), 1, 1, "", "", 0, config=config)
    if outcome == "PASS":
        return Verdict(part, Outcome.PASS, 0, "Good", checks=(Check("lid", CheckOutcome.PASS),))
    return Verdict(part, Outcome(outcome), 1001, "Lid wrong")


def make(**settings: Any) -> Golden:
    return Golden(GoldenConfig(**settings), lambda: "a" * 64)


def code(fault: InspectionFault | None) -> int:
    return 0 if fault is None else fault.code


def test_nothing_is_asked_of_a_station_without_golden_parts(clock: Clock) -> None:
    station = make()
    assert (station.ok, station.age_s, station.refusal()) == (True, -1, None)


def test_each_wanted_part_is_overdue_by_itself(clock: Clock) -> None:
    station = make(every_h=8, required=True)
    assert code(station.refusal()) == 501 and station.age_s == -1
    station.found(found("PASS", "PASS"))
    assert "must FAIL" in station.overdue and station.age_s == -1
    clock.later(3600)
    station.found(found("FAIL", "FAIL"))
    assert station.ok and station.refusal() is None and station.age_s == 3600
    clock.later(7 * 3600 + 1)
    assert "must PASS" in station.overdue and not station.ok and code(station.refusal()) == 501
    station.found(found("PASS", "PASS"))
    assert station.ok and station.age_s == 7 * 3600 + 1


def test_what_is_overdue_but_not_required_is_only_told(clock: Clock) -> None:
    station = make(every_h=1)
    assert not station.ok and station.refusal() is None


@pytest.mark.parametrize("outcome", ["PASS", "NOT_INSPECTED"])
def test_one_that_failed_holds_until_the_same_has_passed_over_restarts_too(clock: Clock, outcome: str) -> None:
    before = make()
    assert before.found(found("FAIL", outcome)) is False
    before.found(found("PASS", "PASS"))
    clock.later(60)
    station = make()
    station.remember(before.memory())
    assert code(station.refusal()) == 501 and station.age_s == 60
    assert station.found(found("FAIL", "FAIL")) is True
    assert station.refusal() is None


def test_one_whose_finding_a_crash_took_holds_until_the_same_has_passed(clock: Clock) -> None:
    before = make()
    before.found(found("FAIL", "FAIL", seq=7))
    station = make()
    station.remember(before.memory())
    station.unsure([(7, "FAIL")])  # noted after all
    assert station.refusal() is None
    station.unsure([(8, "FAIL")])
    assert code(station.refusal()) == 501 and "show it again" in station.failed
    station.found(found("FAIL", "FAIL", seq=9))
    assert station.refusal() is None


def test_a_clock_that_was_set_back_makes_no_golden_part_younger_than_new(clock: Clock) -> None:
    before = make(every_h=1, expect=["PASS"])
    before.found(found("PASS", "PASS"))
    clock.wall -= 7200
    station = make(every_h=1, expect=["PASS"])
    station.remember(before.memory())
    assert station.age_s == 0


def test_another_configuration_wants_golden_parts_anew(clock: Clock) -> None:
    station = make(after_change=True, required=True, expect=["FAIL"])
    station.found(found("FAIL", "FAIL", config="b" * 64))
    assert "configuration has changed" in station.overdue
    station.found(found("FAIL", "FAIL"))
    assert station.ok


def test_a_golden_part_that_does_not_come_is_forgotten_and_that_is_said(clock: Clock) -> None:
    station, answers = make(), []
    command = GoldenCommand("c", "PASS")
    assert station.arm(command, lambda verdict, fault: answers.append((verdict, code(fault)))) is None
    assert code(station.arm(command, lambda verdict, fault: None)) == 402
    clock.later(59)
    station.check()
    assert answers == []
    clock.later(2)
    product = Trigger("P", "c2", 0, "")
    assert station.claim(product) == (product, None), "the part that comes now is a product"
    assert answers == [(None, 300)] and station.ok


def test_only_the_next_part_is_golden(clock: Clock) -> None:
    station, answers = make(), []
    station.arm(GoldenCommand("c", "FAIL"), lambda verdict, fault: answers.append(code(fault)))
    product = Trigger("P", "c2", 0, "")
    first, armed = station.claim(product)
    station.begun(7, armed)
    assert first == replace(product, golden="FAIL") and station.claim(product) == (product, None)
    assert code(station.arm(GoldenCommand("d", "FAIL"), lambda verdict, fault: None)) == 402, "it is under way"
    station.found(found("FAIL", "PASS"))
    assert answers == [501]


def test_settings_that_ask_for_nothing_are_refused() -> None:
    for wrong in ({"required": True}, {"expect": ["PASS", "PASS"]}, {"expect": []}, {"every_h": -1}):
        with pytest.raises(ValidationError):
            GoldenConfig.model_validate(wrong)


# --- the PLC ------------------------------------------------------------------------------------------
@pytest.fixture
def alarms() -> Alarms:
    return Alarms(lambda alarm, what: None)


def test_acknowledgements_are_missed_once_one_has_come(clock: Clock, alarms: Alarms) -> None:
    watch = PlcWatch(alarms, acks_required=False)
    for seq in range(1, 9):
        watch.told(seq)
    clock.later(10)
    watch.check()
    assert watch.acks_missing == 0 and not alarms.holds("plc_acks"), "this PLC sends none"
    watch.acknowledged(8)

    def told(*seqs: int) -> None:
        for seq in seqs:
            watch.told(seq)
        clock.later(3)
        watch.check()

    told(9, 10)
    assert watch.acks_missing == 2 and not alarms.holds("plc_acks")
    told(11)
    assert watch.acks_missing == 3 and alarms.holds("plc_acks")
    watch.told(12)
    watch.acknowledged(12)
    assert not alarms.holds("plc_acks")


def test_acknowledgements_that_are_required_are_missed_from_the_start(clock: Clock, alarms: Alarms) -> None:
    watch = PlcWatch(alarms, acks_required=True)
    for seq in range(1, plcwatch.BOUND + 4):
        watch.told(seq)
    assert watch.acks_missing == 3 and alarms.holds("plc_acks"), "no more than a thousand are waited for"


def test_a_heartbeat_is_one_by_its_number(clock: Clock, alarms: Alarms) -> None:
    watch = PlcWatch(alarms, acks_required=False)
    later: Callable[[float], None] = clock.later
    later(100)
    watch.check()
    assert not alarms.holds("plc_heartbeat"), "none was ever seen"
    watch.beat(1)
    later(4)
    watch.beat(1)
    later(2)
    watch.check()
    assert alarms.holds("plc_heartbeat")
    watch.beat(2)
    assert not alarms.holds("plc_heartbeat")
