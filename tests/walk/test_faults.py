"""Whatever breaks beside the station: one verdict a trigger, never a PASS on doubt, and it goes on by itself."""

from __future__ import annotations

import random
import socket
import time

import cv2
import numpy as np
import psutil
import pytest

from inspector.pixels import decode
from tests.plc.peers import freeze, wait_for
from tests.walk.harness import LIMIT_S, Walk, kill, picture, recipe
from tools.part_renderer.stamp import read_stamp

SLOTS = 8


def slots_are_free(walk: Walk) -> None:
    """Nobody holds a picture any more, and the camera can fill every slot of its ring."""
    wait_for(lambda: walk.metric("inspector_camera_slots_held") == 0, LIMIT_S, "free slots")
    results = [walk.plc.inspect() for _ in range(SLOTS + 1)]
    assert [r["verdict"] for r in results] == ["PASS"] * (SLOTS + 1)


def test_a_slow_judge_costs_the_part_and_its_late_word_is_kept_apart(walk: Walk) -> None:
    with walk.frozen("recipe"):
        cmd_id = walk.plc.trigger(deadline_ms=300)
        result = walk.plc.wait_result(cmd_id)
        assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 300)
        assert result["t_ms"] >= 300
    seq = result["seq"]
    wait_for(lambda: [r for r in walk.plc.of("record") if r["seq"] == seq and r["late"]], LIMIT_S, "the late record")
    records = [(r["late"], r["verdict"]) for r in walk.plc.of("record") if r["seq"] == seq]
    assert records == [(False, "NOT_INSPECTED"), (True, "PASS")]
    assert [r["verdict"] for r in walk.plc.results(cmd_id)] == ["NOT_INSPECTED"]
    row = walk.rows()[cmd_id]
    assert (row.outcome, row.late) == ("NOT_INSPECTED", True)
    assert walk.plc.inspect()["verdict"] == "PASS"
    walk.books_are_honest()


def test_too_many_at_once_are_an_overrun(walk: Walk) -> None:
    with walk.frozen("recipe"):
        ids = [walk.plc.trigger(deadline_ms=1000) for _ in range(6)]
        time.sleep(0.3)
    results = [walk.plc.wait_result(i) for i in ids]
    assert [r["code"] for r in results[4:]] == [301, 301]
    assert all(r["verdict"] != "PASS" for r in results[4:])
    assert all(r["code"] in (0, 300) for r in results[:4])
    seqs = [r["seq"] for r in walk.plc.of("result") if r["cmd_id"] in ids]
    assert seqs == sorted(seqs) and len(seqs) == 6
    walk.wait_status(lambda s: "overrun" in {a["id"] for a in s["alarms"]}, "the alarm")
    slots_are_free(walk)


def test_a_judge_that_died_is_back_with_its_recipe(walk: Walk) -> None:
    judge = walk.child("recipe")
    freeze(judge.pid)
    cmd_id = walk.plc.trigger()
    time.sleep(0.1)
    kill(judge)
    result = walk.plc.wait_result(cmd_id)
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 302)
    refused = walk.plc.inspect()
    assert (refused["verdict"], refused["code"]) == ("NOT_INSPECTED", 302)
    assert "judge" in walk.alarms()
    walk.wait_status(lambda s: s["ready"], "Ready")
    assert walk.plc.inspect()["verdict"] == "PASS"
    assert walk.child("recipe").pid != judge.pid
    assert walk.alarms()["judge"] == "RTN"
    slots_are_free(walk)


def test_a_judge_comes_back_with_no_other_recipe_than_it_had(walk: Walk) -> None:
    walk.write_recipe(recipe(1, rev=2))
    kill(walk.child("recipe"))
    try:
        walk.wait_status(lambda s: not s["ready"], "not Ready")
        walk.plc.wait_state(ready=False, code=302)
        wait_for(lambda: "changed while the judge was away" in walk.plc.state["text"], LIMIT_S, "why")
        assert walk.plc.inspect()["verdict"] == "NOT_INSPECTED"
        assert walk.plc.command("recipe", recipe=1)["rev"] == 2
        assert walk.plc.inspect()["rev"] == 2
    finally:
        walk.write_recipe(recipe(1))
        walk.plc.command("recipe", recipe=1)


def test_a_judge_that_hangs_is_killed_and_started_again(walk: Walk) -> None:
    judge = walk.child("recipe")
    freeze(judge.pid)
    wait_for(lambda: not psutil.pid_exists(judge.pid), LIMIT_S, "the end of the judge")
    walk.wait_status(lambda s: s["ready"], "Ready")
    assert walk.plc.inspect()["verdict"] == "PASS"


def test_a_camera_process_that_died_is_back(walk: Walk) -> None:
    camera = walk.child("acquire")
    freeze(camera.pid)
    cmd_id = walk.plc.trigger()
    time.sleep(0.1)
    kill(camera)
    result = walk.plc.wait_result(cmd_id)
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 200)
    walk.wait_status(lambda s: s["ready"], "Ready")
    assert walk.alarms()["camera:top"] == "RTN"
    slots_are_free(walk)
    assert len(list((walk.folder / "run").glob("ring-top-*"))) == 1


def test_a_pulled_camera_is_noticed_and_comes_back(walk: Walk) -> None:
    walk.control.disconnect(0, style="Error")
    walk.plc.wait_state(ready=False)
    result = walk.plc.inspect()
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 200)
    walk.control.reconnect(0)
    walk.plc.wait_state(ready=True)
    assert walk.plc.inspect()["verdict"] == "PASS"


@pytest.mark.parametrize("fault", ["DropFrame", "LoseTrigger", "Incomplete"])
def test_a_picture_that_is_lost_costs_one_part(walk: Walk, fault: str) -> None:
    walk.control.arm(0, fault)
    result = walk.plc.inspect()
    assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 201)
    assert walk.plc.inspect()["verdict"] == "PASS"


def test_the_archive_dies_and_nobody_but_it_notices(walk: Walk) -> None:
    kill(walk.child("archive"))
    assert [walk.plc.inspect()["verdict"] for _ in range(6)] == ["PASS"] * 6
    walk.wait_status(lambda s: s["links"]["archive"]["state"] == "ok", "archive")
    walk.wait_status(lambda s: s["queues"]["archive"]["depth"] == 0, "archive at rest")
    kept = walk.plc.inspect()
    wait_for(lambda: walk.rows()[kept["cmd_id"]].picture, LIMIT_S, "its picture")
    slots_are_free(walk)


def test_120_parts_with_faults_keep_order_identity_and_slots(walk: Walk) -> None:
    chance = random.Random(7)
    sent: dict[str, tuple[bool, int]] = {}
    for n in range(120):
        good, number = chance.random() < 0.7, 100_000 + n
        walk.show(good, number)
        if n % 30 == 10:
            walk.control.arm(0, chance.choice(["DropFrame", "Incomplete"]))
        if n in (40, 85):
            kill(walk.child("recipe" if n == 40 else "archive"))
        sent[cmd_id := walk.plc.trigger()] = (good, number)
        walk.plc.wait_result(cmd_id)
        if n == 40:
            walk.wait_status(lambda s: s["ready"], "Ready")
    results = [r for r in walk.plc.of("result") if r["cmd_id"] in sent]
    assert [r["cmd_id"] for r in results] == list(sent)
    seqs = [r["seq"] for r in results]
    assert seqs == list(range(seqs[0], seqs[0] + 120))
    wrong = [r for r in results if r["verdict"] == ("FAIL" if sent[r["cmd_id"]][0] else "PASS")]
    assert wrong == []
    assert sum(r["verdict"] == "NOT_INSPECTED" for r in results) <= 15
    rows = walk.rows()
    assert all((rows[r["cmd_id"]].outcome, rows[r["cmd_id"]].seq) == (r["verdict"], r["seq"]) for r in results)
    # the number in the kept pixels is the one of the part that stood there
    kept = [(cmd_id, path) for cmd_id in sent if (path := rows[cmd_id].picture)]
    assert len(kept) > 40
    for cmd_id, path in chance.sample(kept, 20):
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        good, number = sent[cmd_id]
        assert read_stamp(image) == number
        assert np.array_equal(decode(image, "Mono8"), picture(good, number))
    walk.show(True)
    slots_are_free(walk)
    walk.books_are_honest()


def test_a_screen_that_never_reads_disturbs_nobody(walk: Walk) -> None:
    assert walk.station is not None
    stuck = []
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(str(walk.socket))
        client.sendall(b"GET /v1/events HTTP/1.1\r\nHost: station\r\n\r\n")
        stuck.append(client)
    process = psutil.Process(walk.station.pid)
    before = process.memory_info().rss
    assert [walk.plc.inspect()["verdict"] for _ in range(100)] == ["PASS"] * 100
    assert process.memory_info().rss - before < 20_000_000
    for client in stuck:
        client.close()
    assert walk.plc.inspect()["verdict"] == "PASS"
