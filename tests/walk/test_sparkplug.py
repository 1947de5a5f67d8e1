"""The whole station as a Sparkplug edge node, with SCADA on a broker of its own that can be taken away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inspector.station.ledger import read_only, verify_audit
from tests.acquire.rig import write_yaml
from tests.plc.peers import MOSQUITTO, Broker, free_port, wait_for
from tests.plc.sparkplug.host import Host
from tests.walk.harness import LIMIT_S, Walk

pytestmark = pytest.mark.mosquitto
DEVICE = "DCMD/press2/s"


@dataclass
class Plant:
    walk: Walk
    broker: Broker
    host: Host

    def order(self, **values: Any) -> dict[str, Any]:
        """The last answer to a command."""
        before = len(self.answers())
        self.host.write(DEVICE, {f"Command/{name}": value for name, value in values.items()})
        wait_for(lambda: len(self.answers()) > before, LIMIT_S, "an answer")
        wait_for(lambda: self.answers()[-1]["Command/AnswerPhase"] != "accepted", LIMIT_S, "the last answer")
        return self.answers()[-1]

    def answers(self) -> list[dict[str, Any]]:
        return [one.values for one in self.host.of("DDATA") if "Command/Id" in one.values]

    def wait_seq(self, seq: int) -> None:
        wait_for(lambda: seq in self.host.seqs(), LIMIT_S, f"verdict {seq}, there are {self.host.seqs()}")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    folder: Path = tmp_path_factory.mktemp("scada")
    port = free_port()
    user = "user root\n" if os.getuid() == 0 else ""
    (folder / "m.conf").write_text(f"{user}listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = Broker([MOSQUITTO, "-c", str(folder / "m.conf")], port, folder / "m.log").start()
    own = {"host": "127.0.0.1", "port": port, "keepalive_s": 2}
    # whoever comes back first after a broker's death: the station waits for its host
    scada = {"group": "plant", "node": "press2", "primary_host": "scada", "broker": own}
    (folder / "walk").mkdir()
    walk = Walk(folder / "walk")
    host = Host(port, name="scada", announces=True)
    try:
        walk.config["plc"]["sparkplug"] = scada
        write_yaml(walk.station_file, walk.config)
        yield Plant(walk.start(), broker, host)
        assert host.complaints == []
    finally:
        host.close()
        walk.close()
        broker.close()


def test_scada_sees_births_and_every_verdict(plant: Plant) -> None:
    birth, device = plant.host.wait("NBIRTH", 1), plant.host.wait("DBIRTH", 1)
    assert birth.values["bdSeq"] == 0
    assert (birth.values["Properties/Line"], birth.values["Properties/Name"]) == ("t", "Test")
    assert len(device.values) == 33
    good = plant.walk.plc.inspect()
    plant.walk.show(False)
    bad = plant.walk.plc.inspect()
    plant.walk.show(True)
    plant.wait_seq(bad["seq"])
    told = {one.values["Result/Seq"]: one.values for one in plant.host.of("DDATA") if "Result/Seq" in one.values}
    assert {key: told[bad["seq"]][f"Result/{key}"] for key in ("PartId", "Verdict", "Code", "Recipe")} == {
        "PartId": bad["part_id"], "Verdict": 2, "Code": bad["code"], "Recipe": 1,
    }  # fmt: skip
    assert told[good["seq"]]["Result/Verdict"] == 1
    assert told[bad["seq"]]["Result/Config"] == bad["cfg"] != ""
    assert plant.walk.status()["links"]["scada"]["state"] == "ok"
    plant.host.write("NCMD/press2", {"Node Control/Rebirth": True})
    again = plant.host.wait("DBIRTH", 2)
    assert (again.values["Result/Seq"], again.values["State/State"]) == (bad["seq"], "EXECUTE")
    assert again.values["State/Config"] == again.values["Result/Config"] == bad["cfg"]

    def times(seq: int) -> int:
        return sum(one.values.get("Result/Seq") == seq for one in plant.host.of("DDATA"))

    wait_for(lambda: times(good["seq"]) > 1 and times(bad["seq"]) > 1, LIMIT_S, "both again")


def test_scada_orders_and_is_answered(plant: Plant) -> None:
    plc = plant.walk.plc
    assert plant.order(Id="1", Name="stop")["Command/AnswerPhase"] == "done"
    plc.wait_state(ready=False, state="STOPPED")
    assert plant.order(Id="1", Name="stop")["Command/AnswerPhase"] == "done"  # the same once more: told, not done
    assert plant.order(Id="1", Name="start")["Command/AnswerCode"] == 404
    assert plant.order(Id="2", Name="start")["Command/AnswerPhase"] == "done"
    plc.wait_state(ready=True)
    assert plant.order(Id="3", Name="recipe", Arg="2")["Command/AnswerPhase"] == "done"
    plc.wait_state(ready=True, recipe=2)
    assert plant.order(Id="4", Name="recipe", Arg="1")["Command/AnswerPhase"] == "done"
    unknown = plant.order(Id="5", Name="recipe", Arg="9")
    assert (unknown["Command/AnswerPhase"], unknown["Command/AnswerCode"]) == ("refused", 403)
    for name in ("trigger", "golden", "get", "ack"):
        refused = plant.order(Id="6", Name=name)
        assert (refused["Command/AnswerPhase"], refused["Command/AnswerCode"]) == ("refused", 400)
    assert plant.order(Id="7", Name="selftest")["Command/AnswerPhase"] == "done"
    assert not [a for a in plc.of("ack") if a["cmd_id"].startswith("sp:")]  # the PLC is not told of them

    def changes() -> list[tuple[str, str]]:
        return read_only(plant.walk.ledger, lambda c: c.execute("SELECT who, what FROM audit").fetchall())

    wait_for(lambda: ("sparkplug:sp:7", "selftest") in changes(), LIMIT_S, "the log of changes")
    by_scada = [(who, what) for who, what in changes() if who.startswith("sparkplug") and what != "configuration"]
    wanted = ["stop", "start", "recipe", "recipe", "recipe", "selftest"]  # each once
    assert by_scada == [(f"sparkplug:sp:{id}", what) for id, what in zip((1, 2, 3, 4, 5, 7), wanted, strict=True)]
    plant.walk.calm()


def test_a_golden_part_is_no_product(plant: Plant) -> None:
    plc = plant.walk.plc
    plc.ask("golden", expect="PASS")
    seq = plc.inspect()["seq"]
    plant.wait_seq(seq)
    (told,) = [one.values for one in plant.host.of("DDATA") if one.values.get("Result/Seq") == seq]
    assert (told["Result/Verdict"], told["Result/Code"]) == (3, 502)


def test_what_scada_missed_is_told_as_history(plant: Plant) -> None:
    plc = plant.walk.plc
    doubtful = plc.inspect()["seq"]  # nobody confirms it
    plant.wait_seq(doubtful)
    before = len(plant.host.seqs(historical=True))
    plant.broker.kill()
    missed = [plc.inspect()["seq"] for _ in range(12)]  # the PLC notices nothing
    deaths = len(plant.host.of("NBIRTH"))
    plant.broker.start()
    birth = plant.host.wait("NBIRTH", deaths + 1)
    assert int(birth.values["bdSeq"] or 0) > 0
    plant.wait_seq(missed[-1])
    history = plant.host.seqs(historical=True)[before:]
    assert history == sorted(history)
    assert {doubtful, *missed} <= set(history)
    live = plc.inspect()["seq"]
    plant.wait_seq(live)
    assert live not in plant.host.seqs(historical=True)
    assert sorted(set(plant.host.seqs())) == list(range(1, live + 1))  # twice is allowed, a gap not


def test_a_killed_station_is_dead_and_comes_back_with_the_next_number(plant: Plant) -> None:
    last = plant.walk.plc.inspect()["seq"]
    births = len(plant.host.of("NBIRTH"))
    number = plant.host.of("NBIRTH")[-1].values["bdSeq"]
    plant.walk.kill()
    assert plant.host.wait("NDEATH", 1).values["bdSeq"] == number
    plant.walk.start()
    assert plant.host.wait("NBIRTH", births + 1).values["bdSeq"] == int(number or 0) + 1
    # nobody knows what SCADA had of the last minute: it is told again
    wait_for(lambda: last in plant.host.seqs(historical=True), LIMIT_S, "history")
    after = plant.walk.plc.inspect()["seq"]
    plant.wait_seq(after)
    told = len(plant.host.told)
    plant.walk.stop()
    assert plant.host.wait("NDEATH", 2).values["bdSeq"] == int(number or 0) + 1
    plant.walk.start()
    plant.host.wait("DBIRTH", births + 2)
    final = plant.walk.plc.inspect()["seq"]
    plant.wait_seq(final)
    plant.walk.wait_status(lambda s: s["queues"]["scada"]["depth"] == 0, "nothing more to tell")
    repeated = [one for one in plant.host.told[told:] if one.historical and "Result/Seq" in one.values]
    assert repeated == []  # a goodbye that the broker has taken leaves no doubt
    assert verify_audit(plant.walk.ledger) == []
