"""What the PLC may ask, and what it is answered. The station and its books are the real ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plc.peers import MOSQUITTO, wait_for
from tests.walk.harness import LIMIT_S, Walk, recipe


def test_a_good_part_passes_and_a_bad_one_fails(walk: Walk) -> None:
    good = walk.plc.inspect()
    assert (good["verdict"], good["code"], good["dup"]) == ("PASS", 0, False)
    walk.show(False)
    bad = walk.plc.inspect()
    assert (bad["verdict"], bad["code"]) == ("FAIL", 1001)
    assert bad["reason"].startswith("Lid wrong")
    assert bad["seq"] == good["seq"] + 1
    row = walk.rows()[bad["cmd_id"]]
    assert (row.seq, row.outcome, row.code, row.part_id) == (bad["seq"], "FAIL", 1001, bad["part_id"])
    wait_for(lambda: {good["seq"], bad["seq"]} <= {r["seq"] for r in walk.plc.of("record")}, LIMIT_S, "records")
    walk.books_are_honest()


def test_the_same_part_again_is_another_attempt(walk: Walk) -> None:
    first, second = walk.plc.inspect(part_id="again"), walk.plc.inspect(part_id="again")
    assert (first["attempt"], second["attempt"]) == (1, 2)


def test_a_trigger_delivered_twice_is_inspected_once(walk: Walk) -> None:
    first = walk.plc.inspect(part_id="twice")
    exposed = walk.control.counters(0).exposed
    walk.plc.trigger("twice", cmd_id=first["cmd_id"])
    wait_for(lambda: len(walk.plc.results(first["cmd_id"])) == 2, LIMIT_S, "the stored answer")
    again = walk.plc.results(first["cmd_id"])[1]
    assert again["dup"] is True
    assert {k: again[k] for k in ("seq", "verdict", "code")} == {k: first[k] for k in ("seq", "verdict", "code")}
    assert walk.control.counters(0).exposed == exposed


def test_a_trigger_delivered_twice_under_way_is_answered_once(walk: Walk) -> None:
    with walk.frozen("recipe"):
        cmd_id = walk.plc.trigger("under way", deadline_ms=1500)
        walk.plc.trigger("under way", cmd_id=cmd_id, deadline_ms=1500)
        time.sleep(0.3)
        assert walk.plc.results(cmd_id) == []
    assert walk.plc.wait_result(cmd_id)["verdict"] == "PASS"
    walk.plc.inspect()
    assert len(walk.plc.results(cmd_id)) == 1


def test_a_used_cmd_id_with_other_content_is_refused(walk: Walk) -> None:
    first = walk.plc.inspect(part_id="one")
    walk.plc.trigger("other", cmd_id=first["cmd_id"])
    wait_for(lambda: [r for r in walk.plc.of("result") if r["part_id"] == "other"], LIMIT_S, "a result")
    result = next(r for r in walk.plc.of("result") if r["part_id"] == "other")
    assert (result["verdict"], result["code"], result["cmd_id"]) == ("NOT_INSPECTED", 404, "")
    assert [a["code"] for a in walk.plc.acks(first["cmd_id"])] == [404]


BAD_TRIGGERS = {
    "not JSON": b"{part 7}",
    "a list": b"[1, 2]",
    "no part_id": b'{"schema":"1.0","cmd_id":"b1"}',
    "a number for an id": b'{"schema":"1.0","cmd_id":"b2","part_id":7}',
    "deadline too short": b'{"schema":"1.0","cmd_id":"b3","part_id":"B3","deadline_ms":1}',
    "another major": b'{"schema":"2.0","cmd_id":"b4","part_id":"B4"}',
    "not UTF-8": b"\xff\xfe\x00",
    "too long": b'{"schema":"1.0","cmd_id":"b5","part_id":"' + b"x" * 15_000 + b'"}',
}
# the embedded broker takes neither an empty command nor one of 1 MB: mosquitto hands them on
HUGE = {"nothing": b"", "1 MB": b'{"schema":"1.0","cmd_id":"b6","part_id":"' + b"x" * 1_000_000 + b'"}'}


@pytest.mark.parametrize("what", BAD_TRIGGERS)
def test_a_bad_trigger_gets_one_refusal_and_one_verdict(walk: Walk, what: str) -> None:
    acks, results = len(walk.plc.of("ack")), len(walk.plc.of("result"))
    walk.plc.send("trigger", BAD_TRIGGERS[what])
    wait_for(lambda: len(walk.plc.of("result")) > results, LIMIT_S, "a result")
    result = walk.plc.of("result")[results]
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 400)
    good = walk.plc.inspect()
    assert good["verdict"] == "PASS"
    assert [a["code"] for a in walk.plc.of("ack")[acks:]] == [400]
    assert len(walk.plc.of("result")) == results + 2


@pytest.mark.parametrize("name", ["recipe", "start", "get", "reset_counters", "fly", "result"])
@pytest.mark.parametrize("payload", [b"{", b"{}", b"x" * 15_000], ids=["cut", "empty", "long"])
def test_a_bad_command_gets_one_refusal(walk: Walk, name: str, payload: bytes) -> None:
    acks, results = len(walk.plc.of("ack")), len(walk.plc.of("result"))
    walk.plc.send(name, payload)
    wait_for(lambda: len(walk.plc.of("ack")) > acks, LIMIT_S, "an ack")
    get = walk.plc.command("get", seq=2_000_000_000)  # answered after whatever the bad one may have caused
    assert get["code"] == 400
    refusal, *rest = walk.plc.of("ack")[acks:]
    assert (refusal["phase"], refusal["ok"], refusal["code"]) == ("refused", False, 400)
    assert [a["cmd"] for a in rest] == ["get"]
    assert len(walk.plc.of("result")) == results
    assert walk.plc.state["ready"] is True


@pytest.mark.mosquitto
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_empty_and_huge_payloads_do_no_harm(make_walk: Callable[..., Walk], tmp_path: Path) -> None:
    walk = make_walk()
    assert MOSQUITTO is not None
    file = tmp_path / "mosquitto.conf"
    user = "user root\n" if os.getuid() == 0 else ""
    file.write_text(f"{user}set_tcp_nodelay true\nlistener {walk.port} 127.0.0.1\nallow_anonymous true\n")
    walk.broker.command = [MOSQUITTO, "-c", str(file)]
    walk.start()
    for count, payload in enumerate(HUGE.values(), 1):
        walk.plc.send("trigger", payload)
        walk.plc.send("fly", payload)
        wait_for(lambda n=count: len(walk.plc.of("ack")) == 2 * n, LIMIT_S, "refusals")  # type: ignore[misc]
    assert {a["code"] for a in walk.plc.of("ack")} == {400}
    assert walk.plc.inspect()["verdict"] == "PASS"
    # an empty payload clears a retained message and stands for no part
    assert [r["code"] for r in walk.plc.of("result")] == [400, 0]
    walk.books_are_honest()


def test_stopped_refuses_at_once_and_start_makes_ready(walk: Walk) -> None:
    assert walk.plc.command("stop")["phase"] == "done"
    state = walk.plc.wait_state(ready=False, state="STOPPED")
    assert state["code"] == 402
    result = walk.plc.inspect()
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 402)
    assert result["t_ms"] < result["deadline_ms"]
    assert walk.plc.command("start")["phase"] == "done"
    walk.plc.wait_state(ready=True, state="EXECUTE")
    assert walk.plc.inspect()["verdict"] == "PASS"


def test_a_command_delivered_twice_is_done_once(walk: Walk) -> None:
    cmd_id = walk.plc.ask("stop")
    wait_for(lambda: walk.plc.acks(cmd_id), LIMIT_S, "an ack")
    walk.plc.command("start")
    walk.plc.ask("stop", cmd_id=cmd_id)
    wait_for(lambda: len(walk.plc.acks(cmd_id)) == 2, LIMIT_S, "the same ack")
    assert walk.plc.acks(cmd_id)[0] == walk.plc.acks(cmd_id)[1]
    walk.plc.wait_state(ready=True)
    other = walk.plc.of("ack")
    walk.plc.ask("start", cmd_id=cmd_id)
    wait_for(lambda: len(walk.plc.of("ack")) > len(other), LIMIT_S, "a refusal")
    assert walk.plc.of("ack")[-1]["code"] == 404


def test_get_tells_the_stored_verdict(walk: Walk) -> None:
    told = walk.plc.inspect()
    stored = walk.plc.command("get", seq=told["seq"])
    assert (stored["ok"], stored["verdict"], stored["part_id"]) == (True, "PASS", told["part_id"])
    assert (stored["seq"], stored["verdict_code"]) == (told["seq"], 0)


def test_counters_are_reset_but_never_seq(walk: Walk) -> None:
    before = walk.plc.inspect()["seq"]
    assert walk.status()["counters"]["total"] > 0
    assert walk.plc.command("reset_counters")["phase"] == "done"
    zero = {"total": 0, "pass": 0, "fail": 0, "not_inspected": 0, "late": 0, "golden": 0}
    walk.wait_status(lambda s: s["counters"] == zero, "counters 0")
    assert walk.plc.inspect()["seq"] == before + 1
    walk.wait_status(lambda s: s["counters"]["pass"] == 1, "one pass")
    walk.books_are_honest()


def test_an_ack_needs_no_answer_and_reset_fault_gets_one(walk: Walk) -> None:
    result = walk.plc.inspect()
    acks = len(walk.plc.of("ack"))
    walk.plc.ask("ack", seq=result["seq"])
    assert walk.plc.command("reset_fault")["phase"] == "done"
    assert len(walk.plc.of("ack")) == acks + 1


def test_recipe_change_with_parts_in_flight_mixes_none(walk: Walk) -> None:
    before = [walk.plc.trigger() for _ in range(3)]
    change = walk.plc.ask("recipe", recipe=2)
    during = walk.plc.trigger()
    wait_for(lambda: [a for a in walk.plc.acks(change) if a["phase"] == "done"], LIMIT_S, "recipe 2")
    after = walk.plc.trigger()
    phases = [(a["phase"], a["recipe"]) for a in walk.plc.acks(change)]
    assert phases == [("accepted", 1), ("done", 2)]
    for cmd_id in before:
        result = walk.plc.wait_result(cmd_id)
        assert (result["verdict"], result["recipe"]) == ("PASS", 1)
    refused = walk.plc.wait_result(during)
    assert (refused["verdict"], refused["code"]) == ("NOT_INSPECTED", 402)
    result = walk.plc.wait_result(after)  # the same picture is bad for recipe 2
    assert (result["verdict"], result["recipe"], result["code"]) == ("FAIL", 2, 1002)
    states = [(s["recipe"], s["ready"]) for s in walk.plc.of("state")]
    assert (1, False) in states or (0, False) in states


def test_an_unknown_recipe_is_refused_and_the_old_one_goes_on(walk: Walk) -> None:
    refused = walk.plc.command("recipe", recipe=77)
    assert (refused["ok"], refused["code"]) == (False, 403)
    assert walk.plc.inspect()["verdict"] == "PASS"


@pytest.mark.parametrize("what", ["wrong rev", "broken file"])
def test_a_recipe_that_cannot_run_leaves_the_station_not_ready(walk: Walk, what: str) -> None:
    if what == "wrong rev":
        refused = walk.plc.command("recipe", recipe=2, rev=9)
        assert refused["code"] == 403
    else:
        broken = recipe(3)
        broken["compare"]["lid"]["region"] = "everywhere"
        walk.write_recipe(broken)
        refused = walk.plc.command("recipe", recipe=3)
        assert refused["code"] == 303 and "r3.yaml" in refused["text"]
    assert refused["phase"] == "refused"
    assert walk.plc.wait_state(ready=False)["code"] == 303
    result = walk.plc.inspect()
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 303)
    assert walk.alarms()["recipe"] == "UNACK"
    assert walk.plc.command("recipe", recipe=1)["phase"] == "done"
    walk.plc.wait_state(ready=True, recipe=1)
    assert walk.plc.inspect()["verdict"] == "PASS"


def test_sign_of_life_counts_and_no_result_is_retained(walk: Walk) -> None:
    walk.plc.inspect()
    beats = walk.plc.of("hb")
    wait_for(lambda: len(walk.plc.of("hb")) > len(beats) + 3, LIMIT_S, "heartbeats")
    numbers = [hb["n"] for hb in walk.plc.of("hb")][-4:]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert walk.plc.of("hb")[-1]["seq"] == walk.plc.of("result")[-1]["seq"]
    late_comer = walk.new_plc()
    late_comer.wait_state(ready=True)
    wait_for(lambda: late_comer.of("hb"), LIMIT_S, "heartbeat")
    kinds = {m.topic.rpartition("/")[2] for m in late_comer.messages if m.retain}
    assert kinds <= {"state", "info", "counters"} and "state" in kinds


def test_an_id_belongs_to_one_command_whatever_it_was(walk: Walk) -> None:
    walk.calm()
    cmd_id = walk.plc.trigger()
    walk.plc.wait_result(cmd_id)

    def refused() -> list[dict[str, Any]]:
        return [a for a in walk.plc.of("ack") if a["code"] == 404 and cmd_id in a["text"]]

    walk.plc.ask("stop", cmd_id=cmd_id)
    wait_for(refused, LIMIT_S, "a refusal")
    assert refused()[0]["cmd"] == "stop" and walk.plc.state["ready"]
    reset = walk.plc.ask("reset_fault")
    wait_for(lambda: walk.plc.acks(reset), LIMIT_S, "its answer")
    walk.plc.trigger("X1", cmd_id=reset)
    wait_for(lambda: [r for r in walk.plc.of("result") if r["part_id"] == "X1"], LIMIT_S, "a verdict")
    (result,) = [r for r in walk.plc.of("result") if r["part_id"] == "X1"]
    assert (result["verdict"], result["code"], result["cmd_id"]) == ("NOT_INSPECTED", 404, "")
