"""Beginning and end of a station's life, crashes in between, and what it remembers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inspector.station.ledger import recount, search
from tests.acquire.rig import write_yaml
from tests.plc.peers import freeze, wait_for
from tests.walk.harness import BASE, LIMIT_S, Walk, recipe

Make = Callable[..., Walk]


def run_again(walk: Walk, file: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inspector", "run", str(file or walk.station_file)]
    return subprocess.run(command, env=walk.environment, capture_output=True, text=True, timeout=LIMIT_S)


def test_stop_start_crash_and_what_is_remembered(make_walk: Make, tmp_path: Path) -> None:
    """One long life, because each start costs seconds."""
    walk = make_walk(plc={"host": "127.0.0.1", "port": 1})
    walk.config["plc"]["port"] = walk.port
    write_yaml(walk.station_file, walk.config)

    # the broker is not there yet, and that is no reason not to start
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(LIMIT_S)
    walk.environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    walk.start(ready=False, broker=False)
    said = notify.recv(4096).decode()
    while "READY=1" not in said:
        assert "WATCHDOG=1" in said  # it lives, but is not ready yet
        said = notify.recv(4096).decode()
    walk.wait_status(lambda s: s["recipe"] is not None and s["recipe"]["number"] == 1, "the recipe")
    while "READY=1" in (said := notify.recv(4096).decode()):
        pass  # said again when all recipes lie ready
    assert "WATCHDOG=1" in said
    walk.wait_status(lambda s: "plc_link" in {a["id"] for a in s["alarms"]}, "the link's alarm")

    # what was retained before is refused when it comes, and does nothing
    walk.broker.start()
    for name, fields in {"stop": {"cmd_id": "old1"}, "trigger": {"cmd_id": "old2", "part_id": "OLD"}}.items():
        walk.plc.send(name, fields, retain=True)
    walk.wait_ready()
    wait_for(lambda: len(walk.plc.of("ack")) >= 2, LIMIT_S, "refusals")
    retained = [a for a in walk.plc.of("ack") if a["code"] == 401]
    live = [r for r in walk.plc.of("result") if r["part_id"] == "OLD"]
    assert len(retained) == 2 or live  # the station may have been there first: then they were not retained
    for name in ("stop", "trigger"):
        walk.plc.client.publish(f"{BASE}/cmd/{name}", b"", qos=1, retain=True).wait_for_publish(LIMIT_S)
    walk.calm()

    # a second station on the same folder
    second = run_again(walk)
    assert second.returncode == 2
    assert second.stderr.strip().splitlines()[-1].startswith("another station is running")

    # stopped with parts under way: every one has its verdict, nothing is left behind
    assert walk.plc.command("recipe", recipe=2)["phase"] == "done"
    walk.plc.wait_state(ready=True, recipe=2)
    assert walk.plc.inspect()["verdict"] == "FAIL"
    children = walk.children()
    assert len(children) == 3
    with walk.frozen("recipe"):
        under_way = [walk.plc.trigger(deadline_ms=9000) for _ in range(3)]
        wait_for(lambda: walk.status()["queues"]["in flight"]["depth"] == 3, LIMIT_S, "three under way")
        status, took_s = walk.stop()
    assert status == 0, walk.log
    assert took_s < 3.0, walk.log
    for cmd_id in under_way:
        result = walk.plc.wait_result(cmd_id)
        assert (result["verdict"], result["code"]) == ("NOT_INSPECTED", 402)
    assert walk.plc.wait_state(state="OFFLINE")["ready"] is False
    assert all(walk.rows()[cmd_id].outcome == "NOT_INSPECTED" for cmd_id in under_way)
    walk.books_are_honest()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    left = sorted(p.name for p in (walk.folder / "run").iterdir() if p.is_file() or p.is_socket())
    assert left == ["station.lock"]
    assert "Traceback" not in walk.log and "never retrieved" not in walk.log

    # the next start goes on with the recipe that ran, and counts on
    last_seq = walk.plc.of("result")[-1]["seq"]
    walk.environment.pop("NOTIFY_SOCKET")
    notify.close()
    walk.start()
    assert walk.plc.state["recipe"] == 2
    first = walk.plc.inspect()
    assert (first["verdict"], first["seq"]) == ("FAIL", last_seq + 1)

    # a stored answer survives the restart: the same trigger is not inspected twice
    stored = walk.plc.results(under_way[0])
    walk.plc.trigger(stored[0]["part_id"], cmd_id=under_way[0], deadline_ms=9000)
    wait_for(lambda: len(walk.plc.results(under_way[0])) == len(stored) + 1, LIMIT_S, "the stored answer")
    again = walk.plc.results(under_way[0])[-1]
    assert (again["dup"], again["seq"], again["code"]) == (True, stored[0]["seq"], 402)

    # killed while a part is under way: the will speaks, the books are closed at the next start
    assert walk.plc.command("stop")["phase"] == "done"
    assert walk.plc.command("start")["phase"] == "done"
    walk.plc.wait_state(ready=True)
    with walk.frozen("recipe"):
        open_part = walk.plc.trigger(deadline_ms=9000)
        wait_for(lambda: open_part in walk.rows(), LIMIT_S, "its row")
        children = walk.children()
        walk.kill()
    walk.plc.wait_state(state="OFFLINE", ready=False)
    wait_for(lambda: not any(psutil.pid_exists(c.pid) for c in children), LIMIT_S, "the end of the children")
    walk.start()
    row = walk.rows()[open_part]
    assert (row.outcome, row.code) == ("NOT_INSPECTED", 302) and "interrupted" in (row.text or "")
    assert walk.plc.results(open_part) == []  # its time was over long ago
    wait_for(lambda: row.seq in {r["seq"] for r in walk.plc.of("record")}, LIMIT_S, "its record")
    after = walk.plc.inspect()
    assert after["seq"] > row.seq and after["boot"] != first["boot"]
    walk.books_are_honest()

    # stopped stays stopped; a recipe that failed does not make room for the one before
    assert walk.plc.command("stop")["phase"] == "done"
    walk.plc.wait_state(state="STOPPED")
    broken = recipe(3)
    broken["compare"]["lid"]["level"] = 999
    walk.write_recipe(broken)
    assert walk.plc.command("recipe", recipe=3)["code"] == 303
    walk.stop()
    before = len(walk.plc.of("state"))
    walk.start(ready=False)
    wait_for(lambda: len(walk.plc.of("state")) > before and walk.plc.state["state"] == "STOPPED", LIMIT_S, "state")
    assert walk.plc.command("start")["ok"] is False
    walk.wait_status(lambda s: s["code"] == 303, "recipe 3 can't run")
    assert walk.plc.inspect()["verdict"] == "NOT_INSPECTED"
    assert "Traceback" not in walk.log


def test_records_survive_an_outage_with_a_crash_inside_and_results_do_not(make_walk: Make) -> None:
    walk = make_walk().start()
    before = [walk.plc.inspect() for _ in range(2)]
    with walk.frozen("recipe"):
        under_way = [walk.plc.trigger() for _ in range(3)]
        wait_for(lambda: walk.status()["queues"]["in flight"]["depth"] == 3, LIMIT_S, "three under way")
        walk.broker.kill()
    wait_for(lambda: all(walk.rows()[c].outcome == "PASS" for c in under_way), LIMIT_S, "their verdicts on disk")
    wait_for(lambda: walk.metric("inspector_untold_total") == 3, LIMIT_S, "three that could not be told")
    assert walk.status()["ready"] is True or "plc_link" in walk.alarms()
    walk.kill()
    rows = walk.rows()
    walk.start(ready=False, broker=False)
    walk.wait_status(lambda s: s["ready"], "Ready without a broker")
    walk.wait_status(lambda s: "plc_link" in {a["id"] for a in s["alarms"]}, "the outage on the screen")
    assert walk.station is not None
    station = psutil.Process(walk.station.pid)
    freeze(station.pid)  # the reader is there first: the embedded broker keeps nothing for who is away
    walk.broker.start()
    plc = walk.new_plc()
    plc.wait_subscribed()
    station.resume()
    plc.wait_state(ready=True)
    wanted = [rows[cmd_id].seq for cmd_id in under_way]
    wait_for(lambda: set(wanted) <= {r["seq"] for r in plc.of("record")}, LIMIT_S, "the records of the outage")
    records = [(r["seq"], r["verdict"], r["late"]) for r in plc.of("record") if r["seq"] in wanted]
    assert records == [(seq, "PASS", False) for seq in wanted]
    assert plc.of("result") == []  # nothing stale
    after = plc.inspect()
    assert after["seq"] > max(wanted)
    wait_for(lambda: walk.status()["queues"]["outbox"]["depth"] == 0, LIMIT_S, "an empty outbox")
    assert sorted(r.seq for r in search(walk.ledger)) == [r["seq"] for r in before] + wanted + [after["seq"]]
    walk.books_are_honest()


def test_every_record_arrives_in_order_when_the_broker_was_away(make_walk: Make) -> None:
    """The line goes on while the record's reader is away: nothing is lost, nothing is out of order."""
    walk = make_walk().start()
    told = []
    for n in range(40):
        if n in (10, 25):  # QoS 1 records in flight die with the broker
            assert walk.station is not None
            station = psutil.Process(walk.station.pid)
            freeze(station.pid)  # the reader is there first: the embedded broker keeps nothing for who is away
            walk.broker.kill()
            walk.broker.start()
            walk.plc.wait_subscribed()
            station.resume()
            wait_for(lambda: walk.plc.state.get("ready"), LIMIT_S, "link back")
            walk.wait_status(lambda s: s["links"]["plc"]["state"] == "ok", "link back")
        if n == 30:
            walk.kill()
            walk.plc.wait_state(state="OFFLINE")
            walk.start()
        cmd_id = walk.plc.trigger()
        told.append(walk.plc.wait_result(cmd_id)["seq"])
    wait_for(lambda: set(told) <= {r["seq"] for r in walk.plc.of("record")}, LIMIT_S, "all records")
    first = list(dict.fromkeys(r["seq"] for r in walk.plc.of("record")))
    assert [seq for seq in first if seq in set(told)] == told
    ids = {r["seq"]: r["id"] for r in walk.plc.of("record")}
    assert len(set(ids.values())) == len(ids)
    walk.books_are_honest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"recipes": "nowhere"}, "there is no folder"),
        ({"line": "a" * 12, "station": "b" * 12}, "characters"),
        ({"plc": {"host": "127.0.0.1", "cert_file": "station.yaml", "key_file": "station.yaml"}}, "ca_file"),
        ({"state_dir": "station.yaml/state"}, "station.yaml"),
    ],
)
def test_a_station_file_that_cannot_be_used_is_one_sentence(
    make_walk: Make, change: dict[str, object], words: str
) -> None:
    walk = make_walk(**change)
    done = run_again(walk)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_ledger_of_other_software_is_refused_and_a_damaged_one_moved_aside(make_walk: Make) -> None:
    walk = make_walk()
    walk.ledger.parent.mkdir()
    walk.ledger.write_bytes(os.urandom(20_000))
    walk.start()
    assert walk.alarms()["ledger_damaged"] == "UNACK"
    assert walk.plc.inspect()["verdict"] == "PASS"
    assert len(list(walk.ledger.parent.glob("ledger-damaged-*.db"))) == 1
    began = time.monotonic()
    assert walk.stop()[0] == 0
    assert time.monotonic() - began < LIMIT_S
    import sqlite3

    with sqlite3.connect(walk.ledger) as connection:
        connection.execute("PRAGMA user_version=77")
    connection.close()
    done = run_again(walk)
    assert done.returncode == 2 and "schema 77" in done.stderr
    command = [sys.executable, "-m", "inspector", "results", "list", "--station", str(walk.station_file), "--json"]
    listed = subprocess.run(command, env=walk.environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert json.loads(listed.stdout.splitlines()[0])["outcome"] == "PASS"


def test_a_full_disk_rejects_parts_and_the_station_is_back_by_itself(make_walk: Make, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system needs root and the right to mount")
    try:
        archive = {"folder": str(tmp_path / "pictures"), "budget_mb": 50, "min_free_mb": 1}
        walk = make_walk(state_dir=str(small), archive=archive).start()
        assert walk.plc.inspect()["verdict"] == "PASS"
        descriptor = os.open(small / "filler", os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(descriptor, b"\0" * 4096)
        os.close(descriptor)
        told = [walk.plc.inspect() for _ in range(20)]
        doubtful = [r for r in told if r["code"] == 305]
        assert doubtful and all(r["verdict"] == "NOT_INSPECTED" for r in doubtful)
        assert [r["code"] for r in told] == sorted(r["code"] for r in told)  # once it is full, none passes
        walk.plc.wait_state(ready=False, code=305)
        assert walk.alarms()["ledger"] == "UNACK"
        (small / "filler").unlink()
        walk.plc.wait_state(ready=True)
        assert walk.plc.inspect()["verdict"] == "PASS"
        wait_for(lambda: walk.metric("inspector_unwritten") == 0, LIMIT_S, "the books complete")
        rows = {row.cmd_id: row for row in search(small / "ledger.db", limit=100)}
        assert [rows[r["cmd_id"]].outcome for r in told] == [r["verdict"] for r in told]
        assert recount(small / "ledger.db")[0] == recount(small / "ledger.db")[1]
        assert walk.stop()[0] == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
