"""A wire fires the camera: pictures meet their parts by count and exposure time, over the true path."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.acquire.rig import WIRED, write_yaml
from tests.plc.peers import wait_for
from tests.walk.harness import LIMIT_S, Walk

WINDOW_MS = 100  # a busy machine must not decide what a test says


def wired(make_walk: Callable[..., Walk], **identity: Any) -> Walk:
    walk = make_walk(identity={"window_ms": WINDOW_MS, **identity})
    write_yaml(walk.folder / "top.yaml", {"features": WIRED})
    return walk.start(ready=identity.get("plc_counts") != "start")


def quiet() -> None:
    """So long that windows of one part and the next don't meet."""
    time.sleep(2.2 * WINDOW_MS / 1000)


def by_id(walk: Walk, part_id: str) -> list[dict[str, Any]]:
    return [r for r in walk.plc.of("result") if r["part_id"] == part_id]


def wait_id(walk: Walk, part_id: str) -> dict[str, Any]:
    wait_for(lambda: by_id(walk, part_id), LIMIT_S, f"result of part {part_id}\n{walk.log}")
    return by_id(walk, part_id)[0]


def count(walk: Walk, number: int) -> None:
    walk.plc.send("count", {"count": number})


def golden(walk: Walk) -> str:
    """The next part is the golden part."""
    cmd_id = walk.plc.ask("golden", expect="PASS")
    wait_for(lambda: walk.plc.acks(cmd_id), LIMIT_S, "accepted")
    return cmd_id


def wait_event(walk: Walk, words: str) -> None:
    wait_for(lambda: [e for e in walk.plc.of("event") if words in e["text"]], LIMIT_S, f"event {words!r}")


def test_announced_parts(make_walk: Callable[..., Walk]) -> None:
    walk = wired(make_walk, mode="announced")
    for n, good in enumerate([True, False, True]):
        walk.show(good, n)
        cmd_id = walk.plc.trigger(f"A{n}")
        walk.control.pulse(0)
        assert walk.plc.wait_result(cmd_id)["verdict"] == ("PASS" if good else "FAIL")
        quiet()
    # the picture may come first
    walk.show(False, 3)
    walk.control.pulse(0)
    assert walk.plc.wait_result(walk.plc.trigger("A3"))["verdict"] == "FAIL"
    quiet()
    # one pulse never reaches the camera, one picture is lost on its way: both are named, and the next part is good
    walk.show(True, 4)
    walk.control.arm(0, "LoseTrigger")
    cmd_id = walk.plc.trigger("A4")
    walk.control.pulse(0)
    lost = walk.plc.wait_result(cmd_id)
    assert (lost["verdict"], lost["code"]) == ("NOT_INSPECTED", 201)
    wait_event(walk, "part A4: no trigger pulse reached camera top within 100 ms")
    quiet()
    walk.control.arm(0, "DropFrame")
    cmd_id = walk.plc.trigger("A5")
    walk.control.pulse(0)
    assert walk.plc.wait_result(cmd_id)["code"] == 201
    wait_event(walk, "part A5: camera top counted pulse")
    quiet()
    # nobody announced this one: it has a verdict all the same, and is named
    walk.control.pulse(0)
    assert wait_id(walk, "")["code"] == 201
    wait_event(walk, "came, and no part was announced within 100 ms of it (the last part announced before it was A5)")
    assert walk.alarms()["books"] == "UNACK"
    quiet()
    walk.show(True, 7)
    cmd_id = walk.plc.trigger("A7")
    walk.control.pulse(0)
    assert walk.plc.wait_result(cmd_id)["verdict"] == "PASS"
    walk.books_are_honest()


def test_announced_two_pulses_at_once_are_nobodys(make_walk: Callable[..., Walk]) -> None:
    walk = wired(make_walk, mode="announced", announced="before")
    cmd_id = walk.plc.trigger("B1")
    time.sleep(0.03)  # it must be there before the pulse
    walk.control.pulse(0)
    time.sleep(0.02)
    walk.control.pulse(0)
    refused = walk.plc.wait_result(cmd_id)
    assert (refused["verdict"], refused["code"]) == ("NOT_INSPECTED", 201)
    wait_event(walk, "part B1: camera top took two pictures within 100 ms")


def test_counted_with_each_part(make_walk: Callable[..., Walk]) -> None:
    walk = wired(make_walk, mode="counted")
    for n, good in ((17, True), (18, False)):
        walk.show(good, n)
        count(walk, n)
        walk.control.pulse(0)
        assert wait_id(walk, str(n))["verdict"] == ("PASS" if good else "FAIL")
        quiet()
    count(walk, 18)  # delivered twice: one part
    walk.control.pulse(0)  # and the message about 19 is lost
    quiet()
    quiet()
    count(walk, 20)
    walk.control.pulse(0)
    assert wait_id(walk, "19")["code"] == 201
    wait_event(walk, "the PLC's message about part 19 was lost")
    assert wait_id(walk, "20")["verdict"] == "FAIL"
    assert len(by_id(walk, "18")) == 1
    walk.show(True, 21)
    quiet()
    announced = golden(walk)
    count(walk, 21)
    walk.control.pulse(0)
    assert (wait_id(walk, "21")["verdict"], wait_id(walk, "21")["code"]) == ("NOT_INSPECTED", 502)
    wait_for(lambda: [a for a in walk.plc.acks(announced) if a.get("part_id") == "21" and a["ok"]], LIMIT_S, "found")
    refused = walk.plc.command("trigger", part_id="X")  # ids are not this station's mode
    assert refused["phase"] == "refused" and "count" in refused["text"]
    assert wait_id(walk, "X")["code"] == 400


def test_counted_by_the_station(make_walk: Callable[..., Walk]) -> None:
    walk = wired(make_walk, mode="counted", plc_counts="start")
    wait_for(lambda: "cmd/count" in walk.plc.state.get("text", ""), LIMIT_S, f"wants the count\n{walk.log}")
    assert walk.plc.command("count", count=41)["phase"] == "done"
    walk.plc.wait_state(ready=True)
    for n, good in ((42, True), (43, False)):
        walk.show(good, n)
        walk.control.pulse(0)
        assert wait_id(walk, str(n))["verdict"] == ("PASS" if good else "FAIL")
        quiet()
    walk.control.arm(0, "DropFrame")
    walk.control.pulse(0)
    assert wait_id(walk, "44")["code"] == 201  # counted, though its picture is lost
    quiet()
    walk.show(True, 45)
    walk.control.pulse(0)
    assert wait_id(walk, "45")["verdict"] == "PASS"
    quiet()
    announced = golden(walk)
    walk.control.pulse(0)
    assert (wait_id(walk, "46")["verdict"], wait_id(walk, "46")["code"]) == ("NOT_INSPECTED", 502)
    wait_for(lambda: [a for a in walk.plc.acks(announced) if a.get("part_id") == "46" and a["ok"]], LIMIT_S, "found")
    # a camera that was away has lost its count: the station says so, and guesses nothing
    walk.control.disconnect(0, gone_ms=300)
    wait_for(lambda: "was away" in walk.plc.state.get("text", ""), LIMIT_S, "lost its count")
    assert not walk.plc.state["ready"]
    assert walk.plc.command("count", count=50)["phase"] == "done"
    walk.plc.wait_state(ready=True)
    walk.control.pulse(0)
    assert wait_id(walk, "51")["verdict"] == "PASS"


@pytest.mark.parametrize("gone", ["pulled", "killed"])
def test_a_lost_camera_costs_the_parts_meanwhile(make_walk: Callable[..., Walk], gone: str) -> None:
    walk = wired(make_walk, mode="announced")
    if gone == "pulled":
        walk.control.disconnect(0, gone_ms=700)
    else:
        walk.child("acquire").kill()
    wait_for(lambda: not walk.plc.state["ready"], LIMIT_S, "not Ready")
    assert walk.plc.inspect()["verdict"] == "NOT_INSPECTED"
    walk.plc.wait_state(ready=True)
    time.sleep(1.2)  # the line stands: nothing of before can still come
    cmd_id = walk.plc.trigger()
    walk.control.pulse(0)
    assert walk.plc.wait_result(cmd_id)["verdict"] == "PASS"
