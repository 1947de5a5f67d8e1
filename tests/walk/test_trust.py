"""Golden parts, the self-test, the configuration's digest, prepared recipes: why the station may be believed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from inspector.station.ledger import read_only, verify_audit
from tests.plc.peers import wait_for
from tests.walk.harness import LIMIT_S, Walk, kill, recipe


def golden(walk: Walk, expect: str, *, good: bool) -> tuple[dict[str, object], dict[str, object]]:
    """(what `result` says, what `ack` says) of a golden part."""
    cmd_id = walk.plc.ask("golden", expect=expect)
    wait_for(lambda: walk.plc.acks(cmd_id), LIMIT_S, "accepted")
    assert walk.plc.acks(cmd_id)[0]["phase"] == "accepted", walk.plc.acks(cmd_id)
    walk.show(good)
    result = walk.plc.inspect(part_id="GOLDEN")
    wait_for(lambda: len(walk.plc.acks(cmd_id)) > 1, LIMIT_S, "what was found")
    return result, walk.plc.acks(cmd_id)[-1]


def audits(walk: Walk) -> list[tuple[str, str, str, str]]:
    return read_only(walk.ledger, lambda c: c.execute("SELECT who, what, old, new FROM audit ORDER BY n").fetchall())


def test_a_golden_part_is_no_product_and_one_that_failed_holds_ready_until_it_passes(walk: Walk) -> None:
    before = walk.status()["counters"]
    result, ack = golden(walk, "FAIL", good=False)
    assert (result["verdict"], result["code"], result["reason"]) == ("NOT_INSPECTED", 502, "golden_check")
    assert (ack["phase"], ack["ok"], ack["found"], ack["found_code"]) == ("done", True, "FAIL", 1001)
    assert ack["seq"] == result["seq"] and ack["part_id"] == "GOLDEN"
    result, ack = golden(walk, "FAIL", good=True)
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 502)
    assert (ack["phase"], ack["code"], ack["found"]) == ("refused", 501, "PASS")
    state = walk.plc.wait_state(ready=False, code=501)
    assert state["golden_ok"] is False and walk.alarms()["golden"] == "UNACK"
    assert walk.plc.inspect()["code"] == 501, "no product meanwhile"
    assert walk.plc.command("reset_fault")["ok"]
    assert golden(walk, "PASS", good=True)[1]["ok"]
    assert walk.plc.state["ready"] is False, "another golden part is no proof for the one that failed"
    assert golden(walk, "FAIL", good=False)[1]["ok"]
    assert walk.plc.wait_state(ready=True)["golden_ok"] is True
    walk.show(True)
    assert walk.plc.inspect()["verdict"] == "PASS"
    walk.wait_status(lambda s: s["counters"]["golden"] == before["golden"] + 4, "golden parts have a counter of theirs")
    after = walk.status()["counters"]
    assert {k: after[k] - before[k] for k in ("total", "pass", "fail", "not_inspected")} == {
        "total": 2, "pass": 1, "fail": 0, "not_inspected": 1,
    }  # fmt: skip
    rows = [row for row in walk.rows().values() if row.seq == ack["seq"]]
    assert rows[0].golden == "FAIL" and rows[0].found is not None and rows[0].found.outcome.value == "PASS"
    walk.books_are_honest()


def test_a_golden_part_can_only_be_announced_once_and_to_a_station_that_inspects(walk: Walk) -> None:
    cmd_id = walk.plc.ask("golden", expect="PASS")
    again = walk.plc.command("golden", expect="FAIL")
    assert (again["code"], again["phase"]) == (402, "refused")
    walk.plc.inspect(part_id="GOLDEN")
    wait_for(lambda: [a for a in walk.plc.acks(cmd_id) if a["phase"] == "done"], LIMIT_S, "found")
    walk.plc.command("stop")
    assert walk.plc.command("golden", expect="PASS")["code"] == 402


def test_a_self_test_passes_and_names_what_fails(walk: Walk) -> None:
    cmd_id = walk.plc.ask("selftest")
    wait_for(lambda: len(walk.plc.acks(cmd_id)) == 2, LIMIT_S, "done")
    assert [a["phase"] for a in walk.plc.acks(cmd_id)] == ["accepted", "done"]
    walk.plc.wait_state(ready=True)
    walk.control.arm(0, "Disconnect")
    try:
        walk.plc.wait_state(ready=False, code=200)
        failed = walk.plc.command("selftest")
        assert (failed["phase"], failed["code"]) == ("refused", 500) and "camera top" in failed["text"]
        assert walk.alarms()["self_test"] == "UNACK"
    finally:
        walk.control.reconnect(0)
    walk.plc.wait_state(ready=False, code=500)
    assert walk.plc.inspect()["code"] == 500
    assert walk.plc.command("selftest")["ok"]
    walk.plc.wait_state(ready=True)


def test_a_self_test_waits_for_no_part(walk: Walk) -> None:
    with walk.frozen("recipe"):
        cmd_id = walk.plc.trigger(deadline_ms=1500)
        assert walk.plc.command("selftest")["code"] == 402
    assert walk.plc.wait_result(cmd_id)["verdict"] == "PASS"


def test_a_change_of_the_configuration_is_told_and_noted(walk: Walk) -> None:
    config = walk.plc.state["config"]
    first = walk.plc.inspect()
    assert len(config) == 64 and first["cfg"] == config[:8]
    wait_for(lambda: [r for r in walk.plc.of("record") if r["seq"] == first["seq"]], LIMIT_S, "record")
    assert next(r for r in walk.plc.of("record") if r["seq"] == first["seq"])["config"] == config
    change = walk.plc.command("recipe", recipe=2)
    other = walk.plc.wait_state(ready=True, recipe=2)["config"]
    assert other != config and walk.plc.inspect()["cfg"] == other[:8]
    wait_for(lambda: walk.plc.of("info")[-1]["config"] == other, LIMIT_S, "info")
    assert walk.plc.command("get", seq=first["seq"])["cfg"] == config[:8]
    assert (f"plc:{change['cmd_id']}", "configuration", config, other) in audits(walk)
    assert (f"plc:{change['cmd_id']}", "recipe", "1 rev 1", "2 rev 1") in audits(walk)
    walk.plc.command("recipe", recipe=1)
    assert walk.plc.wait_state(ready=True, recipe=1)["config"] == config, "the same again has the same digest"

    def content() -> dict[str, object]:
        sql = "SELECT content FROM configuration WHERE digest=?"
        found: dict[str, object] = json.loads(read_only(walk.ledger, lambda c: c.execute(sql, (config,)).fetchone())[0])
        return found

    assert {"software", "station", "cameras", "recipe"} == content().keys()
    assert verify_audit(walk.ledger) == []


def test_the_plcs_heartbeat_is_missed_once_it_was_seen(walk: Walk) -> None:
    walk.plc.send("hb", {"n": 1})
    wait_for(lambda: "plc_heartbeat" in walk.alarms(), LIMIT_S, "alarm")
    assert walk.plc.wait_state(warn=True)["ready"] is True
    walk.plc.send("hb", {"n": 1})
    assert walk.alarms()["plc_heartbeat"] != "RTN", "the same number is no sign of life"
    walk.plc.send("hb", {"n": 2})
    walk.wait_status(lambda s: {a["id"]: a["state"] for a in s["alarms"]}.get("plc_heartbeat") == "RTN", "back")


@pytest.fixture
def prepared(make_walk: Callable[..., Walk]) -> Walk:
    return make_walk(preload=[2], golden={"every_h": 8, "required": True, "expect": ["FAIL"]}).start(ready=False)


def test_over_restarts_and_with_prepared_recipes(prepared: Walk) -> None:
    walk = prepared
    state = walk.plc.wait_state(code=501)
    assert (state["ready"], state["golden_ok"], state["golden_age_s"]) == (False, False, -1)
    assert golden(walk, "FAIL", good=False)[1]["ok"]
    assert walk.plc.wait_state(ready=True)["golden_age_s"] >= 0
    walk.show(True)
    # a change between prepared recipes under load: each trigger has one verdict, none is mixed
    sent, changes = [], []
    for number in (2, 1, 2):
        sent += [walk.plc.trigger() for _ in range(3)]
        changes.append(walk.plc.ask("recipe", recipe=number))
        sent += [walk.plc.trigger() for _ in range(3)]
        wait_for(lambda: walk.plc.acks(changes[-1])[-1:] and walk.plc.acks(changes[-1])[-1]["phase"] == "done",
                 LIMIT_S, "changed")  # fmt: skip
    results = [walk.plc.wait_result(cmd_id) for cmd_id in sent]
    judged = [r for r in results if r["verdict"] != "NOT_INSPECTED"]
    assert {(r["recipe"], r["verdict"]) for r in judged} <= {(1, "PASS"), (2, "FAIL")}
    assert {r["code"] for r in results if r["verdict"] == "NOT_INSPECTED"} <= {402}
    assert all(len(walk.plc.results(cmd_id)) == 1 for cmd_id in sent)
    known = {(r["recipe"], r["cfg"]) for r in results if r["cfg"]}
    assert len(known) == len({number for number, _ in known}), "one configuration to a recipe"
    # what was edited is loaded anew, and never served from the shelf
    walk.write_recipe(recipe(2, bright=True, rev=2))
    assert walk.plc.command("recipe", recipe=1)["ok"]
    assert walk.plc.command("recipe", recipe=2, rev=2)["rev"] == 2
    assert walk.plc.inspect()["verdict"] == "PASS"
    back = len(walk.plc.of("state"))
    kill(walk.child("recipe"))
    walk.plc.wait_state(ready=False)
    walk.plc.wait_state(ready=True, recipe=2, rev=2)
    wait_for(lambda: any(s["text"] == "recipes are being made ready" for s in walk.plc.of("state")[back:]),
             LIMIT_S, "the shelf is filled again in a pause of the line")  # fmt: skip
    walk.plc.wait_state(ready=True, recipe=2, rev=2)
    # an answer survives a restart, and what it answers is not done again
    stop = walk.plc.ask("stop", cmd_id="stop-1")
    wait_for(lambda: walk.plc.acks(stop), LIMIT_S, "stopped")
    assert walk.plc.command("start")["ok"]
    answer = walk.plc.acks(stop)[-1]
    # a golden part that is awaited does not outlive the station: whoever announced it hears of it
    awaited = walk.plc.ask("golden", expect="FAIL")
    wait_for(lambda: walk.plc.acks(awaited), LIMIT_S, "accepted")
    walk.kill()
    walk.start()
    assert [(a["phase"], a["code"]) for a in walk.plc.acks(awaited)] == [("accepted", 0), ("refused", 402)]
    assert [e["code"] for e in walk.plc.of("event") if "restarted" in e["text"]] == [502]
    assert walk.plc.state["golden_ok"] is True and walk.plc.state["golden_age_s"] >= 0
    walk.plc.ask("stop", cmd_id=stop)
    wait_for(lambda: len(walk.plc.acks(stop)) == 2, LIMIT_S, "the same answer")
    assert walk.plc.acks(stop)[-1] == answer
    assert walk.plc.inspect()["verdict"] == "PASS", "it was not stopped again"
    walk.plc.ask("start", cmd_id=stop)
    wait_for(lambda: [a for a in walk.plc.of("ack") if a["code"] == 404], LIMIT_S, "refused")
    walk.books_are_honest()
    assert verify_audit(walk.ledger) == []


def test_an_awaited_golden_part_comes_before_a_self_test_that_is_due(make_walk: Callable[..., Walk]) -> None:
    walk = make_walk(self_test={"every_h": 0.0008}).start()
    walk.show(True)
    armed = walk.plc.ask("golden", expect="PASS")
    wait_for(lambda: walk.plc.acks(armed), LIMIT_S, "accepted")
    wait_for(lambda: "self_test_overdue" in walk.alarms(), LIMIT_S, "overdue: it has waited")
    walk.plc.inspect()
    wait_for(lambda: walk.plc.acks(armed)[-1]["phase"] == "done", LIMIT_S, "golden part found")
    assert walk.plc.acks(armed)[-1]["ok"]
    walk.wait_status(lambda s: {a["id"]: a["state"] for a in s["alarms"]}.get("self_test_overdue") == "RTN", "tested")
