"""The whole simulator as a process, against a scripted station over a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.plc.peers import Broker, wait_for
from tools.virtual_camera.control import CameraControl

BASE = "vis/v1/demo/top"
UTC = "2026-05-12T14:31:50.123Z"
Script = Callable[["FakeStation", dict[str, Any], int], None]


class FakeStation:
    """Answers triggers as a script says; beats its heart; knows nothing of parts."""

    def __init__(self, port: int, script: Script, ready: bool = True) -> None:
        self.script, self.ready, self.beating = script, ready, True
        self.boot, self.seq, self.n = "a1b2", 100, 0
        self.triggers: list[dict[str, Any]] = []
        self.timers: list[threading.Timer] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="station")
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port, 5)
        self.client.loop_start()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat)
        self._heart.start()

    def result(self, trigger: dict[str, Any], verdict: str = "PASS", code: int = 0, **changes: Any) -> bytes:
        if "seq" not in changes:
            self.seq += 1
        members = {
            "schema": "1.0",
            "seq": self.seq,
            "boot": self.boot,
            "part_id": trigger["part_id"],
            "cmd_id": trigger["cmd_id"],
            "attempt": 1,
            "verdict": verdict,
            "code": code,
            "reason": "ok" if verdict == "PASS" else "",
            "cls": "",
            "score": 0.0,
            "thr": 0.0,
            "recipe": 1,
            "rev": 1,
            "ts": UTC,
            "t_ms": 5,
            "deadline_ms": 300,
            "sim": True,
            "dup": False,
            **changes,
        }
        return json.dumps(members).encode()

    def tell(self, payload: bytes, retain: bool = False) -> None:
        self.client.publish(f"{BASE}/result", payload, 1, retain)

    def later(self, delay_s: float, payload: bytes) -> None:
        timer = threading.Timer(delay_s, self.tell, [payload])
        self.timers.append(timer)
        timer.start()

    def set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._tell_state()

    def _tell_state(self) -> None:
        number = {"state": "EXECUTE", "state_nr": 6} if self.ready else {"state": "STOPPED", "state_nr": 2}
        flags = dict.fromkeys(("busy", "fault", "warn", "sim"), False)
        counts = dict.fromkeys(("recipe", "rev", "code", "queue", "seq", "uptime_s"), 0)
        more = {"ts": UTC, "ready": self.ready, "text": "", "boot": self.boot}
        state = {"schema": "1.0", **number, **flags, **counts, **more}
        self.client.publish(f"{BASE}/state", json.dumps(state), 1, True)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{BASE}/cmd/+", 1)
        self._tell_state()

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        trigger = json.loads(message.payload)
        self.triggers.append(trigger)
        self.script(self, trigger, int(trigger["part_id"][1:]))

    def _beat(self) -> None:
        while not self._stop.wait(0.2):
            if self.beating:
                self.n += 1
                self.client.publish(f"{BASE}/hb", self._heartbeat(), 0)

    def _heartbeat(self) -> bytes:
        state = "EXECUTE" if self.ready else "STOPPED"
        return json.dumps({"n": self.n, "ready": self.ready, "state": state, "seq": self.seq}).encode()

    def close(self) -> None:
        self._stop.set()
        self._heart.join(5)
        for timer in self.timers:
            timer.join(5)
        self.client.disconnect()
        self.client.loop_stop()


class Bench:
    """A broker, a control file, three pictures, and the command line."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.lens = CameraControl.create(folder / "control", 1)
        self.book_file = folder / "book.json"
        (folder / "pictures").mkdir()
        for name, grey in (("a", 50), ("b", 100), ("c", 150)):
            cv2.imwrite(str(folder / "pictures" / f"{name}.png"), np.full((64, 96), grey, np.uint8))
        self.truth = folder / "truth.csv"
        self.truth.write_text("file,good,defect\na.png,1,\nb.png,1,\nc.png,0,scratch\n")
        self.stations: list[FakeStation] = []
        self.processes: list[subprocess.Popen[str]] = []

    def station(self, script: Script, ready: bool = True) -> FakeStation:
        self.stations.append(FakeStation(self.broker.port, script, ready))
        return self.stations[-1]

    def command(self, *extra: str) -> list[str]:
        given: dict[str, str] = {
            "--broker": f"127.0.0.1:{self.broker.port}",
            "--control": str(self.folder / "control"),
            "--book": str(self.book_file),
            "--pictures": str(self.folder / "pictures"),
            "--truth": str(self.truth),
            "--parts": "12",
            "--rate": "20",
            "--deadline-ms": "300",
            "--gate-ms": "600",
            "--ready-wait-s": "20",
        }
        given |= dict(zip(extra[::2], extra[1::2], strict=True))
        words = [word for pair in given.items() for word in pair]
        return [sys.executable, "-m", "tools.plc_simulator", *words]

    def start(self, *extra: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*extra), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes.append(process)
        return process

    def run(self, *extra: str) -> tuple[int, str]:
        process = self.start(*extra)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def book(self) -> dict[str, Any]:
        return json.loads(self.book_file.read_text())

    @property
    def summary(self) -> dict[str, Any]:
        return self.book["summary"]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate(timeout=10)
        for station in self.stations:
            station.close()
        self.lens.close()


@pytest.fixture
def bench(broker: Broker, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(broker, tmp_path)
    yield bench
    bench.close()


def truthful(station: FakeStation, trigger: dict[str, Any], number: int) -> None:
    """Every third part is bad."""
    station.tell(
        station.result(trigger) if number % 3 else station.result(trigger, "FAIL", 1210, reason="scratch")
    )


def test_a_good_station(bench: Bench) -> None:
    station = bench.station(truthful)
    status, output = bench.run()
    assert status == 0, output
    summary = bench.summary
    assert (summary["sent"], summary["passed"], summary["rejected_by_verdict"]) == (12, 8, 4)
    assert summary["dangerous"] == summary["false_rejects"] == sum(summary["rejected_by_rule"].values()) == 0
    assert summary["confusion"]["good"]["PASS"] == 8 and summary["confusion"]["bad"]["FAIL"] == 4
    assert summary["latency_ms"]["n"] == 12 and summary["latency_ms"]["p50"] > 0
    assert len({trigger["cmd_id"] for trigger in station.triggers}) == 12
    assert [row["part_id"] for row in bench.book["rows"]] == [f"P{n:06d}" for n in range(1, 13)]
    assert {row["part_id"]: row["cmd_id"] for row in bench.book["rows"]} == {
        trigger["part_id"]: trigger["cmd_id"] for trigger in station.triggers
    }
    bad = bench.book["rows"][2]
    assert (bad["good"], bad["defect"], bad["verdict"], bad["code"], bad["decision"]) == (
        False, "scratch", "FAIL", 1210, "reject",
    )  # fmt: skip
    lines = output.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith("Book: "))
    assert lines[0].split()[:3] == ["P000001", "good", "PASS"]
    assert lines[-1] == f"Book: {bench.book_file}"


def test_every_way_a_result_can_be_wrong(bench: Bench) -> None:
    def script(station: FakeStation, trigger: dict[str, Any], number: int) -> None:
        good = station.result(trigger)
        if number == 1:
            pass  # nothing at all
        elif number == 2:
            station.later(0.4, good)  # after the deadline, before the gate
        elif number == 3:
            station.later(0.9, good)  # after the gate
        elif number == 4:
            station.tell(station.result(trigger, seq=station.seq, part_id="P999999"))
        elif number == 5:
            station.tell(station.result(trigger, seq=station.seq, cmd_id="somebody-elses"))
        elif number == 6:
            station.tell(station.result(trigger, seq=7))  # older than what came before
        elif number == 7:
            station.tell(station.result(trigger, seq=station.seq, t_ms="5"))
        elif number == 8:
            station.tell(station.result(trigger, "NOT_INSPECTED", 300, reason="timeout"))
        elif number == 9:
            station.tell(station.result(trigger, "FAIL", 1210))
            station.tell(station.result(trigger))  # a second, better verdict
        elif number == 10:
            station.tell(good)
            station.tell(good)  # the same once more, as QoS 1 may
        elif number == 11:
            station.tell(station.result(trigger, "PASSED"))
        else:
            station.tell(good)

    bench.truth.write_text("file,good\na.png,1\n")
    bench.station(script)
    status, output = bench.run("--rate", "8")
    assert status == 1 and "FAULTS of the station" in output
    why = {row["part_number"]: (row["decision"], row["by"], row["why"]) for row in bench.book["rows"]}
    assert why == {
        1: ("reject", "rule", "missing"),
        2: ("reject", "rule", "late"),
        3: ("reject", "rule", "missing"),
        4: ("reject", "rule", "unmatched"),
        5: ("reject", "rule", "missing"),
        6: ("reject", "rule", "replayed"),
        7: ("reject", "rule", "invalid"),
        8: ("reject", "verdict", "NOT_INSPECTED"),
        9: ("reject", "verdict", "FAIL"),
        10: ("pass", "verdict", "PASS"),
        11: ("reject", "verdict", "PASSED"),
        12: ("pass", "verdict", "PASS"),
    }
    assert bench.book["rows"][2]["after_gate"] == "PASS"
    strays = bench.summary["strays"]
    assert strays["doubled"] == 1, "two verdicts for one part are told apart from one verdict sent twice"
    assert strays["unmatched"] == 3 and strays["invalid"] == 1 and strays["replayed"] >= 2
    broken = {"other_part": 1, "unasked": 1, "seq_back": 3, "form": 2, "doubled": 1}
    assert bench.summary["faults"] == broken
    assert bench.summary["late_by_our_clock"] == bench.summary["after_gate"] == 1


def test_a_stored_result_opens_no_gate(bench: Bench) -> None:
    """The broker hands a retained message out as retained only at a subscription: here, after an outage."""

    def script(station: FakeStation, trigger: dict[str, Any], number: int) -> None:
        station.tell(station.result(trigger), retain=True)

    station = bench.station(script)
    station.tell(station.result({"part_id": "P000001", "cmd_id": "of-old"}), retain=True)
    station.seq -= 1
    status, _ = bench.run("--parts", "2")
    assert bench.summary["strays"]["retained"] == 1
    assert bench.summary["passed"] == 2, "live copies come without the flag"
    assert status == 1 and bench.summary["faults"]["retained"] == 1


def test_not_ready_and_silent_stations_pass_nothing(bench: Bench) -> None:
    def script(station: FakeStation, trigger: dict[str, Any], number: int) -> None:
        station.tell(station.result(trigger))
        if number == 4:
            station.set_ready(False)
        if number == 12:
            station.set_ready(True)

    bench.truth.write_text("file,good\na.png,1\n")
    bench.station(script)
    status, _ = bench.run("--rate", "8", "--parts", "20", "--gate-ms", "300")
    assert status == 0
    summary = bench.summary
    assert summary["rejected_by_rule"]["not_ready"] >= 6
    assert summary["passed"] + summary["rejected_by_rule"]["not_ready"] == 20
    assert summary["passed"] >= 6, "and the belt never stopped"


def test_a_heart_that_stops_is_noticed(bench: Bench) -> None:
    def script(station: FakeStation, trigger: dict[str, Any], number: int) -> None:
        station.beating = number < 2
        station.tell(station.result(trigger))

    bench.truth.write_text("file,good\na.png,1\n")
    bench.station(script)
    status, _ = bench.run("--rate", "5", "--parts", "25")
    assert status == 0
    assert bench.summary["rejected_by_rule"]["heartbeat_stale"] >= 5
    assert bench.book["rows"][-1]["why"] == "heartbeat_stale"


def test_a_dangerous_pass_is_found_and_fails_the_run(bench: Bench) -> None:
    bench.station(lambda station, trigger, number: station.tell(station.result(trigger)))
    status, output = bench.run("--parts", "6")
    assert status == 1
    assert bench.summary["dangerous"] == 2
    assert bench.summary["dangerous_parts"] == ["P000003", "P000006"]
    assert "dangerous (bad part passed) 2" in output


def test_the_broker_dies_and_comes_back(bench: Bench) -> None:
    bench.truth.write_text("file,good\na.png,1\n")
    station = bench.station(truthful)
    process = bench.start("--parts", "0", "--rate", "10")
    wait_for(lambda: len(station.triggers) >= 14, 30)
    bench.broker.kill()
    time.sleep(1.5)
    bench.broker.start()
    seen = len(station.triggers)
    wait_for(lambda: len(station.triggers) >= seen + 15, 30)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    summary = bench.summary
    assert summary["sent"] == summary["decided"] >= 30
    assert summary["connects"] == 2
    assert summary["rejected_by_rule"]["no_link"] >= 5
    assert len(station.triggers) == len({t["cmd_id"] for t in station.triggers}), "no trigger was sent twice"
    assert [row["part_number"] for row in bench.book["rows"]] == list(range(1, summary["sent"] + 1))
    numbers = [row["part_number"] for row in bench.book["rows"] if row["decision"] == "pass"]
    assert numbers[0] < 10 and numbers[-1] > seen, "passing again after the outage"


def test_a_stop_runs_the_belt_empty_and_a_second_one_halts_it(bench: Bench) -> None:
    station = bench.station(truthful)
    process = bench.start("--parts", "0", "--gate-ms", "30000")
    wait_for(lambda: len(station.triggers) >= 3, 30)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
    summary = bench.summary
    assert summary["sent"] == summary["decided"] == summary["rejected_by_rule"]["stopped"] >= 3


def test_a_station_that_is_never_ready(bench: Bench) -> None:
    bench.station(truthful, ready=False)
    status, output = bench.run("--ready-wait-s", "1")
    assert status == 1
    assert "was not ready within 1 s: it does not say why" in output
    assert bench.summary["sent"] == 0
    bench.broker.kill()
    status, output = bench.run("--ready-wait-s", "1")
    assert status == 1 and "no link to the broker" in output


def test_wired_mode_pulses_the_cameras_line(bench: Bench) -> None:
    edges = bench.lens._pages[0]["rising"][0]
    before = int(edges[1])
    bench.station(truthful)
    status, _ = bench.run("--mode", "announced", "--parts", "5")
    assert status == 0
    assert int(bench.lens._pages[0]["rising"][0][1]) - before == 5


def test_rendered_parts_are_numbered_and_known(bench: Bench) -> None:
    """The real renderer, drawn ahead in its own process."""
    bench.station(lambda station, trigger, number: station.tell(station.result(trigger, "FAIL", 100)))
    command = bench.command("--parts", "4", "--rate", "10", "--defect-rate", "0.5", "--seed", "3")
    for option in ("--pictures", "--truth"):
        at = command.index(option)
        del command[at : at + 2]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stdout.splitlines() if line.startswith("P0")]
    from tools.part_renderer import mixed_run

    expected = [(r.truth.part_number, r.truth.good, r.truth.defect or "") for r in mixed_run(4, 3, 0.5)]
    rows = bench.book["rows"]
    assert [(row["part_number"], row["good"], row["defect"]) for row in rows] == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--broker", "nonsense"), "HOST:PORT"),
        (("--rate", "0"), "allowed: 0.01 to 1000"),
        (("--control", "missing"), "--control missing"),
        (("--truth", "missing.csv"), "missing.csv"),
    ],
)
def test_wrong_use_is_told_in_one_line(bench: Bench, change: tuple[str, str], words: str) -> None:
    status, output = bench.run(*change)
    assert status == 2
    assert words in output and "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,good\na.png,1\n", "truth.csv:1: no column 'file'"),
        ("file,good\na.png,maybe\n", "truth.csv:2: good: found 'maybe'"),
        ("file,good\na.png,1\nz.png,1\n", "truth.csv:3: there is no file"),
        ("file,good\n", "no pictures"),
    ],
)
def test_a_broken_list_of_pictures(bench: Bench, text: str, words: str) -> None:
    bench.truth.write_text(text)
    status, output = bench.run()
    assert status == 2
    assert words in output


def test_the_child_that_draws_dies_with_its_parent(bench: Bench) -> None:
    bench.station(truthful)
    process = bench.start("--parts", "0")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: children.read_text().split(), 20)
    child = int(children.read_text().split()[0])
    process.kill()
    process.communicate(timeout=10)

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] == "Z"
        except OSError:
            return True

    wait_for(gone, 20)
    assert not (os.path.exists(bench.book_file))
