from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inspector.parts import Outcome
from inspector.plc import contract
from inspector.plc.contract import PackState, StationState
from inspector.plc.sparkplug.node import (
    ALIASES,
    COUNTERS,
    DEVICE_METRICS,
    EdgeNode,
    Message,
    Result,
    Step,
)
from inspector.plc.sparkplug.orders import Order
from inspector.plc.sparkplug.payload import DataType, Metric, Payload, decode, encode
from tests.plc.examples import failed, not_inspected, passed
from tests.plc.sparkplug.stored import NOW_MS, rebirth

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sparkplug.md"
NCMD = "spBv1.0/plant/NCMD/press2"
DCMD = "spBv1.0/plant/DCMD/press2/top"
STATE = "spBv1.0/STATE/scada"
READY = StationState(PackState.EXECUTE, True, False, 7, 3, "3fa9", 4711, 0, 86400, config="5be1c04d" + "0" * 56)
RESULT = Result(4711, "A004711", 2, 1210, 0.5, 52, 7, NOW_MS - 40)


def station(**options: Any) -> EdgeNode:
    return EdgeNode("plant", "press2", "top", **options)


def born(**options: Any) -> EdgeNode:
    node = station(**options)
    node.will(NOW_MS)
    node.connected(NOW_MS)
    return node


def state(online: object, timestamp: object) -> bytes:
    return json.dumps({"online": online, "timestamp": timestamp}).encode()


def only(step: Step) -> Message:
    assert len(step.publish) == 1
    return step.publish[0]


def by_alias(message: Message) -> dict[str, Metric]:
    names = {alias: name for name, alias in ALIASES.items()}
    return {names[metric.alias or 0]: metric for metric in decode(message.payload).metrics}


class Host:
    """A host application that takes nothing it may not take: what the specification asks of an edge node."""

    def __init__(self) -> None:
        self.online = False
        self.device = False
        self.bd_seq: int | None = None
        self.will_bd_seq: int | None = None
        self.seq: int | None = None
        self.names: dict[int, tuple[str, int | None]] = {}
        self.values: dict[str, object] = {}
        self.history: list[dict[str, object]] = []

    def connect(self, will: Message) -> None:
        assert (will.topic, will.qos, will.retain) == ("spBv1.0/plant/NDEATH/press2", 1, False)
        bd_seq = self.death(will)
        if self.will_bd_seq is not None:
            assert bd_seq == (self.will_bd_seq + 1) % 256
        self.will_bd_seq = bd_seq

    @staticmethod
    def death(message: Message) -> int:
        payload = decode(message.payload)
        assert payload.seq is None
        assert [(metric.name, metric.datatype) for metric in payload.metrics] == [("bdSeq", DataType.INT64)]
        bd_seq = payload.metrics[0].value
        assert isinstance(bd_seq, int)
        assert 0 <= bd_seq <= 255
        return bd_seq

    def take(self, message: Message) -> None:
        namespace, group, kind, node, *device = message.topic.split("/")
        assert (namespace, group, node) == ("spBv1.0", "plant", "press2")
        assert message.retain is False
        if kind == "NDEATH":
            assert message.qos == 1
            assert self.death(message) == self.bd_seq == self.will_bd_seq
            self.lost()
            return
        assert message.qos == 0
        payload = decode(message.payload)
        assert payload.timestamp_ms is not None
        assert payload.seq is not None
        assert all(metric.timestamp_ms is not None for metric in payload.metrics)
        if kind == "NBIRTH":
            assert payload.seq == 0
            metrics = {metric.name: metric for metric in payload.metrics}
            assert metrics["bdSeq"].value == self.will_bd_seq
            assert metrics["Node Control/Rebirth"].value is False
            assert metrics["Node Control/Rebirth"].alias is None
            self.bd_seq, self.online, self.device, self.names = self.will_bd_seq, True, False, {}
        else:
            assert self.online
            assert self.seq is not None
            assert payload.seq == (self.seq + 1) % 256
            assert device == ["top"]
        self.seq = payload.seq
        if kind == "DBIRTH":
            assert not self.device
            self.device = True
            for metric in payload.metrics:
                assert metric.name
                assert metric.alias is not None
                assert metric.alias not in self.names
                assert metric.datatype is not None
                assert metric.is_null == (metric.value is None)
                self.names[metric.alias] = (metric.name, metric.datatype)
                self.values[metric.name] = metric.value
            assert list(name for name, _ in self.names.values()) == list(DEVICE_METRICS)
        if kind == "DDATA":
            assert self.device
            assert payload.metrics
            told: dict[str, object] = {}
            for metric in payload.metrics:
                assert metric.name is None
                assert metric.alias is not None
                name, kind_told = self.names[metric.alias]
                assert metric.datatype == kind_told
                told[name] = metric.value
            if all(metric.is_historical for metric in payload.metrics):
                self.history.append(told)
            else:
                assert not any(metric.is_historical for metric in payload.metrics)
                self.values |= told

    def lost(self) -> None:
        self.online = self.device = False


class Life(RuleBasedStateMachine):
    """Any order of events: the host never sees anything that breaks the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.node = station(primary_host="scada")
        self.node.resume(250)
        self.host = Host()
        self.link = "down"
        self.now_ms = NOW_MS
        self.scada: tuple[bool, int] | None = None  # the newest STATE, retained by the broker
        self.live: Result | None = None
        self.seq = 0

    def do(self, step: Step) -> None:
        for message in step.publish:
            assert self.link == "up"
            self.host.take(message)
        if step.disconnect:
            assert self.link == "up"
            self.link = "down"
            self.node.disconnected()

    @precondition(lambda self: self.link == "down")
    @rule(early=st.booleans())
    def connect(self, early: bool) -> None:
        self.host.connect(self.node.will(self.now_ms))
        self.link = "up"
        retained = None if self.scada is None else state(*self.scada)
        if retained and early:
            self.do(self.node.received(STATE, retained, now_ms=self.now_ms))
            assert not self.node.born  # not before the subscriptions are confirmed
        self.do(self.node.connected(self.now_ms))
        if retained and not early:
            assert not self.node.born  # what the host told in the last connection is over
            self.do(self.node.received(STATE, retained, now_ms=self.now_ms))

    @precondition(lambda self: self.link == "up")
    @rule()
    def lose(self) -> None:
        self.link = "down"
        self.node.disconnected()
        self.host.lost()

    @rule(online=st.booleans())
    def tell_host_state(self, online: bool) -> None:
        self.now_ms += 1
        self.scada = (online, self.now_ms)
        if self.link == "up":
            self.do(self.node.received(STATE, state(online, self.now_ms), now_ms=self.now_ms))

    @precondition(lambda self: self.link == "up")
    @rule(online=st.booleans())
    def tell_old_host_state(self, online: bool) -> None:
        if self.scada is not None:
            before = self.node.born
            assert self.node.received(STATE, state(online, NOW_MS - 1), now_ms=self.now_ms) == Step()
            assert self.node.born == before

    @precondition(lambda self: self.link == "up")
    @rule(value=st.booleans())
    def ask_rebirth(self, value: bool) -> None:
        step = self.node.received(NCMD, rebirth(value), now_ms=self.now_ms)
        assert len(step.publish) == (2 if value and self.node.born else 0)
        self.do(step)

    @rule(outcome=st.sampled_from([1, 2, 3]), historical=st.booleans(), times=st.integers(1, 150))
    def judge(self, outcome: int, historical: bool, times: int) -> None:
        for _ in range(times):
            self.seq += 1
            self.now_ms += 1
            result = replace(RESULT, seq=self.seq, verdict=outcome, taken_ms=self.now_ms)
            step = self.node.result(result, now_ms=self.now_ms, historical=historical)
            assert len(step.publish) == (1 if self.node.born else 0)
            self.do(step)
            if not historical:
                self.live = result
            elif step.publish:
                assert self.host.history[-1]["Result/Seq"] == self.seq

    @rule(ready=st.booleans())
    def change_state(self, ready: bool) -> None:
        self.do(self.node.state(replace(READY, ready=ready), now_ms=self.now_ms))

    @rule(total=st.integers(0, 3))
    def count(self, total: int) -> None:
        self.do(self.node.counters({"total": total}, now_ms=self.now_ms))

    @rule()
    def stop(self) -> None:
        was_born = self.node.born
        step = self.node.stop(self.now_ms)
        assert len(step.publish) == (1 if was_born else 0)
        self.do(step)

    @invariant()
    def both_agree(self) -> None:
        scada_online = self.scada is not None and self.scada[0]
        assert self.node.born == self.host.online == self.host.device == (self.link == "up" and scada_online)
        if self.host.online and self.live is not None:
            assert self.host.values["Result/Seq"] == self.live.seq
            assert self.host.values["Result/Verdict"] == self.live.verdict


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_births_come_at_once_without_a_primary_host() -> None:
    node = station(properties={"Version": "0.1.0"})
    host = Host()
    assert node.subscriptions == ((NCMD, 1), (DCMD, 1))
    host.connect(node.will(NOW_MS))
    step = node.connected(NOW_MS)
    assert [message.topic for message in step.publish] == [
        "spBv1.0/plant/NBIRTH/press2",
        "spBv1.0/plant/DBIRTH/press2/top",
    ]
    for message in step.publish:
        host.take(message)
    names = {metric.name: metric for metric in decode(step.publish[0].payload).metrics}
    assert names["Properties/Version"].value == "0.1.0"
    assert names["Properties/Version"].datatype == DataType.STRING
    assert set(host.values.values()) == {None}  # nothing was judged yet: null, not 0


def test_bd_seq_goes_on_after_a_restart_and_wraps() -> None:
    assert [Host.death(node.will(NOW_MS)) for node in [station()] * 3] == [0, 1, 2]
    node = station()
    node.resume(254)
    assert [Host.death(node.will(NOW_MS)) for _ in range(3)] == [255, 0, 1]
    assert node.bd_seq == 1


def test_rebirth_keeps_bd_seq_and_starts_seq_again() -> None:
    node = born()
    node.result(RESULT, now_ms=NOW_MS)
    step = node.received(NCMD, rebirth(), now_ms=NOW_MS + 5)
    birth, device = (decode(message.payload) for message in step.publish)
    assert (birth.seq, device.seq) == (0, 1)
    assert birth.metrics[0] == Metric("bdSeq", 0, DataType.INT64, timestamp_ms=NOW_MS + 5)
    told = {metric.name: metric for metric in device.metrics}
    assert told["Result/Seq"].value == 4711
    assert told["Result/Seq"].timestamp_ms == NOW_MS - 40  # its own time: it is no new verdict
    assert told["State/Ready"].is_null


def test_seq_counts_every_message_from_0_to_255_and_again() -> None:
    node = station()
    node.will(NOW_MS)
    said = [*node.connected(NOW_MS).publish]
    said += [only(node.result(replace(RESULT, seq=number), now_ms=NOW_MS)) for number in range(1, 600)]
    assert [decode(message.payload).seq for message in said] == [number % 256 for number in range(601)]


def test_each_connection_waits_for_its_own_host_state() -> None:
    node = station(primary_host="scada")
    for _ in range(2):
        node.will(NOW_MS)
        assert node.connected(NOW_MS) == Step()
        assert len(node.received(STATE, state(True, 6), now_ms=NOW_MS).publish) == 2
        node.disconnected()


def test_a_verdict_is_one_message_by_aliases() -> None:
    message = only(born().result(Result.of(failed(), t_ms=52), now_ms=NOW_MS + 60))
    assert message.topic == "spBv1.0/plant/DDATA/press2/top"
    assert (message.qos, message.retain) == (0, False)
    told = by_alias(message)
    assert {name: metric.value for name, metric in told.items()} == {
        "Result/Seq": 4711, "Result/PartId": "A004711", "Result/Verdict": 2, "Result/Code": 1210,
        "Result/Score": pytest.approx(0.914, abs=1e-6), "Result/TMs": 52, "Result/Recipe": 7,
        "Result/Config": contract.short_config(failed().part.config),
    }  # fmt: skip
    assert {metric.timestamp_ms for metric in told.values()} == {NOW_MS}  # of the picture, not of now
    assert {metric.name for metric in told.values()} == {None}


@pytest.mark.parametrize(("verdict", "number"), [(passed(), 1), (failed(), 2), (not_inspected(), 3)])
def test_verdicts_have_the_numbers_of_the_binary_twin(verdict: Any, number: int) -> None:
    assert Result.of(verdict, t_ms=1).verdict == number


def test_a_score_that_is_no_number_is_told_as_in_result() -> None:
    odd = replace(failed(), score=float("nan"))
    assert Result.of(odd, t_ms=1).score == 0.0
    assert Result.of(replace(failed(), score=1e300), t_ms=1).score == contract.FLOAT_MAX


def test_history_leaves_the_last_values_alone() -> None:
    node = born()
    node.result(RESULT, now_ms=NOW_MS)
    old = replace(RESULT, seq=4700, taken_ms=NOW_MS - 9_000)
    told = by_alias(only(node.result(old, now_ms=NOW_MS, historical=True)))
    assert all(metric.is_historical and metric.timestamp_ms == NOW_MS - 9_000 for metric in told.values())
    again = {metric.name: metric for metric in decode(
        node.received(NCMD, rebirth(), now_ms=NOW_MS).publish[1].payload
    ).metrics}  # fmt: skip
    assert again["Result/Seq"].value == 4711
    assert not again["Result/Seq"].is_historical


def test_state_and_counters_are_told_by_exception() -> None:
    node = born()
    first = by_alias(only(node.state(READY, now_ms=NOW_MS)))
    assert set(first) == {name for name in DEVICE_METRICS if name.startswith("State/")}
    assert node.state(replace(READY, seq=4712, uptime_s=86_430), now_ms=NOW_MS + 1) == Step()
    assert first["State/Config"].value == "5be1c04d"
    lost = replace(READY, ready=False, code=200, text="Camera top is lost" + "!" * 200, fault=True)
    changed = by_alias(only(node.state(lost, now_ms=NOW_MS + 2)))
    assert set(changed) == {"State/Ready", "State/Code", "State/Text", "State/Fault"}
    assert len(str(changed["State/Text"].value)) == contract.TEXT_MAX
    totals = {"total": 5, "pass": 4, "fail": 1, "not_inspected": 0, "late": 0}
    assert set(by_alias(only(node.counters(totals, now_ms=NOW_MS)))) == set(COUNTERS.values())
    assert node.counters(totals, now_ms=NOW_MS) == Step()
    more = by_alias(only(node.counters(totals | {"total": 6, "pass": 5}, now_ms=NOW_MS)))
    assert {name: metric.value for name, metric in more.items()} == {"Counters/Total": 6, "Counters/Pass": 5}
    with pytest.raises(ValueError, match="found 'parts', allowed: total, pass, fail, not_inspected, late"):
        node.counters({"parts": 1}, now_ms=NOW_MS)


def test_the_same_verdict_twice_is_told_twice() -> None:
    node = born()
    first, second = (only(node.result(RESULT, now_ms=NOW_MS)) for _ in range(2))
    assert decode(first.payload).metrics == decode(second.payload).metrics


def test_an_answer_is_told_whole_every_time() -> None:
    node = born()
    for _ in range(2):
        told = by_alias(only(node.answer(Order("a", "stop").answered("done"), now_ms=NOW_MS)))
        assert {name: metric.value for name, metric in told.items()} == {
            "Command/Id": "a", "Command/Name": "stop", "Command/Arg": "", "Command/AnswerPhase": "done",
            "Command/AnswerCode": 0, "Command/AnswerText": "",
        }  # fmt: skip
    assert node.received(DCMD, b"", now_ms=NOW_MS) == Step()  # not the node's own


def test_what_happened_while_away_is_in_the_births() -> None:
    node = station()
    assert node.result(RESULT, now_ms=NOW_MS) == Step()
    assert node.state(READY, now_ms=NOW_MS) == Step()
    node.will(NOW_MS)
    told = {m.name: m.value for m in decode(node.connected(NOW_MS).publish[1].payload).metrics}
    assert (told["Result/Seq"], told["State/State"], told["State/Config"]) == (4711, "EXECUTE", "5be1c04d")


def test_the_primary_host_is_waited_for() -> None:
    node = station(primary_host="scada")
    assert node.subscriptions == ((NCMD, 1), (DCMD, 1), (STATE, 1))
    first = Host.death(node.will(NOW_MS))
    assert node.connected(NOW_MS) == Step()
    assert node.received(STATE, state(False, 5), now_ms=NOW_MS) == Step()
    assert node.received("spBv1.0/STATE/other", state(True, 9), now_ms=NOW_MS) == Step()
    assert node.received(NCMD, rebirth(), now_ms=NOW_MS) == Step()  # a rebirth is none before the birth
    assert len(node.received(STATE, state(True, 6), now_ms=NOW_MS).publish) == 2
    assert node.received(STATE, state(False, 5), now_ms=NOW_MS) == Step()  # older than what is known
    gone = node.received(STATE, state(False, 6), now_ms=NOW_MS)  # a host's will has the time of its birth
    assert Host.death(only(gone)) == first
    assert gone.disconnect
    assert not node.born
    assert node.received(STATE, state(True, 7), now_ms=NOW_MS) == Step()  # this connection is over
    assert Host.death(node.will(NOW_MS)) == first + 1


def test_a_newer_host_is_told_the_births_though_nobody_said_that_the_old_one_went() -> None:
    node = born(primary_host="scada")
    assert len(node.received(STATE, state(True, 6), now_ms=NOW_MS).publish) == 2
    audience = node.audience
    assert node.received(STATE, state(True, 6), now_ms=NOW_MS) == Step()  # the same one says it again
    assert node.audience == audience
    assert len(node.received(STATE, state(True, 7), now_ms=NOW_MS).publish) == 2  # the broker had died with both
    assert node.audience > audience


def test_the_audience_is_the_same_while_nobody_can_have_missed_anything() -> None:
    node = born(primary_host="scada")
    seen = []
    for online, lost in ((True, False), (True, True), (False, True), (True, True)):
        if lost:
            node.disconnected()
            node.will(NOW_MS)
            node.connected(NOW_MS)
        node.received(STATE, state(online, 6), now_ms=NOW_MS)
        seen.append(node.audience)
    first, again, gone, back = seen
    assert first == again < gone == back
    node.received(NCMD, rebirth(), now_ms=NOW_MS)  # somebody has missed something
    assert node.audience > back
    alone = born()
    before = alone.audience
    alone.will(NOW_MS)
    alone.connected(NOW_MS)
    assert alone.audience > before  # nobody says who is there


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"OFFLINE", b"\xff", b"[true]", b"{}", state("true", 1), state(1, 1), state(True, None), state(True, 1.5),
        state(True, True), state(True, -1), b"[" * 500, b'{"online":true,"timestamp":1}' + b" " * 500,
    ],
)  # fmt: skip
def test_a_wrong_host_state_changes_nothing(payload: bytes) -> None:
    node = born(primary_host="scada")
    with pytest.raises(ValueError, match="^STATE: "):
        node.received(STATE, payload, now_ms=NOW_MS)
    assert not node.born
    assert len(node.received(STATE, state(True, 0), now_ms=NOW_MS).publish) == 2


@pytest.mark.parametrize(
    "metric",
    [
        Metric("Node Control/Rebirth", False, DataType.BOOLEAN),
        Metric("Node Control/Rebirth", 1, DataType.INT32),
        Metric("Node Control/Rebirth", None, DataType.BOOLEAN, is_null=True),
        Metric("node control/rebirth", True, DataType.BOOLEAN),
        Metric("Node Control/Reboot", True, DataType.BOOLEAN),
        Metric(None, True, DataType.BOOLEAN, alias=1),
    ],
)
def test_other_commands_do_nothing(metric: Metric) -> None:
    assert born().received(NCMD, encode(Payload(NOW_MS, (metric,))), now_ms=NOW_MS) == Step()


def test_a_rebirth_needs_no_datatype() -> None:
    asked = encode(Payload(metrics=(Metric("Node Control/Rebirth", True),)))
    assert len(born().received(NCMD, asked, now_ms=NOW_MS).publish) == 2


def test_a_broken_command_is_refused_and_changes_nothing() -> None:
    node = born()
    with pytest.raises(ValueError, match="cut off"):
        node.received(NCMD, b"\x08", now_ms=NOW_MS)
    assert decode(only(node.result(RESULT, now_ms=NOW_MS)).payload).seq == 2


def test_a_value_that_cannot_be_told_changes_nothing() -> None:
    node = born()
    with pytest.raises(ValueError, match="allowed for INT32"):
        node.result(replace(RESULT, t_ms=2**31), now_ms=NOW_MS)
    assert decode(only(node.result(RESULT, now_ms=NOW_MS)).payload).seq == 2
    away = station()
    with pytest.raises(ValueError, match="allowed for INT64"):
        away.counters({"total": 2**63}, now_ms=NOW_MS)
    away.will(NOW_MS)
    assert len(away.connected(NOW_MS).publish) == 2


def test_a_will_comes_before_each_connection() -> None:
    node = born()
    node.disconnected()
    with pytest.raises(RuntimeError, match="will"):
        node.connected(NOW_MS)


def test_a_stop_without_birth_says_no_death() -> None:
    node = station(primary_host="scada")
    assert node.stop(NOW_MS) == Step()
    node.will(NOW_MS)
    node.connected(NOW_MS)
    assert node.stop(NOW_MS) == Step(disconnect=True)
    assert node.stop(NOW_MS) == Step()


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", " a", "a\0b", "a\n", "x" * 65, "\ud800"])
@pytest.mark.parametrize("what", ["group", "node", "device", "primary_host"])
def test_ids_that_break_a_topic_are_refused(what: str, name: str) -> None:
    ids = {"group": "plant", "node": "press2", "device": "top", what: name}
    if what == "primary_host" and not name:
        return  # none
    with pytest.raises(ValueError, match=f"^{what}: found "):
        EdgeNode(ids["group"], ids["node"], ids["device"], primary_host=ids.get("primary_host", ""))


def test_other_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="group: found 'STATE'"):
        EdgeNode("STATE", "press2", "top")
    for wrong in (-1, 256):
        with pytest.raises(ValueError, match=f"bdSeq: found {wrong}, allowed: 0..255"):
            station().resume(wrong)
    with pytest.raises(ValueError, match="Properties/Version"):
        station(properties={"Version": "\ud800"})
    assert EdgeNode("Werk Süd", "press 2", "Ä").subscriptions == (
        ("spBv1.0/Werk Süd/NCMD/press 2", 1), ("spBv1.0/Werk Süd/DCMD/press 2/Ä", 1),
    )  # fmt: skip


def test_metrics_have_types_that_all_readers_take() -> None:
    allowed = {DataType.INT32, DataType.INT64, DataType.STRING, DataType.FLOAT, DataType.BOOLEAN}
    assert set(DEVICE_METRICS.values()) <= allowed
    assert set(Outcome) == {Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED}
    assert len({name.lower() for name in DEVICE_METRICS}) == len(DEVICE_METRICS)  # hosts may ignore case


def test_the_page_has_every_metric_with_alias_and_type() -> None:
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert [(name, kind.upper(), int(alias)) for alias, name, kind in rows] == [
        (name, kind.name, ALIASES[name]) for name, kind in DEVICE_METRICS.items()
    ]
