"""A whole station with the real link, and a PLC that reads and writes nothing but the twins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acquire.rig import write_yaml
from tests.plc.peers import Peer, wait_for
from tests.plc.test_compact import decode_binary, decode_text
from tests.walk.harness import BASE, LIMIT_S, Walk

ALL = {"result_c": True, "result_b": True, "cmd_c": True, "hb_c": True}


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    walk = Walk(tmp_path_factory.mktemp("weak"))
    walk.config["plc"]["compact"] = ALL
    write_yaml(walk.station_file, walk.config)
    try:
        yield walk.start()
    finally:
        walk.close()


class WeakPlc(Peer):
    """Sends text, reads fixed offsets."""

    def __init__(self, port: int) -> None:
        super().__init__(port, f"{BASE}/result/+", f"{BASE}/hb/c", f"{BASE}/result", f"{BASE}/ack", f"{BASE}/state")

    def send(self, text: str | bytes, *, retain: bool = False) -> None:
        payload = text.encode() if isinstance(text, str) else text
        self.client.publish(f"{BASE}/cmd/c", payload, qos=1, retain=retain).wait_for_publish(LIMIT_S)

    def next_results(self, before: int) -> tuple[dict[str, Any], dict[str, int]]:
        wait_for(lambda: len(self.on("/result/b")) > before, LIMIT_S, "a result/b")
        text = decode_text(self.on("/result/c")[before].payload)
        binary = decode_binary(self.on("/result/b")[before].payload)
        assert text is not None and binary is not None
        assert {k: text[k] for k in ("seq", "code", "t_ms", "flags")} == {
            k: binary[k] for k in ("seq", "code", "t_ms", "flags")
        }
        assert {1: "P", 2: "F", 3: "N"}[binary["verdict"]] == text["verdict"]
        return text, binary

    def inspect(self, cmd_id: str, part_id: str) -> dict[str, Any]:
        before = len(self.on("/result/b"))
        self.send(f"T;{cmd_id};{part_id}")
        return self.next_results(before)[0]


@pytest.fixture
def plc(station: Walk) -> Iterator[WeakPlc]:
    station.calm()
    plc = WeakPlc(station.port)
    yield plc
    plc.close()


def test_parts_through_the_twins_alone(station: Walk, plc: WeakPlc) -> None:
    good = plc.inspect("w1", "A1")
    assert (good["verdict"], good["code"], good["part_id"], good["flags"] & ~4) == ("P", 0, "A1".ljust(16), 0)
    station.show(False)
    bad = plc.inspect("w2", "A2")
    assert (bad["verdict"], bad["code"], bad["seq"]) == ("F", 1001, good["seq"] + 1)
    again = plc.inspect("w3", "A2")
    assert (again["verdict"], again["seq"], again["flags"] & ~4) == ("F", bad["seq"] + 1, 8)
    assert station.rows()["w1"].outcome == "PASS" and station.rows()["w2"].outcome == "FAIL"
    order = [m.topic.removeprefix(f"{BASE}/") for m in plc.messages if "/result" in m.topic]
    assert order == ["result", "result/c", "result/b"] * 3
    assert not [m for m in plc.messages if "/result" in m.topic and (m.retain or m.qos != 1)]


def test_a_stored_answer_says_so_in_the_twins_as_well(station: Walk, plc: WeakPlc) -> None:
    first = plc.inspect("d1", "D1")
    exposed = station.control.counters(0).exposed
    again = plc.inspect("d1", "D1")
    assert (again["seq"], again["verdict"], again["flags"] & ~4) == (first["seq"], "P", 2)
    before = len(plc.on("/result/b"))
    station.plc.trigger("D1", cmd_id="d1")  # the same trigger by the JSON topic
    assert plc.next_results(before)[0]["seq"] == first["seq"]
    assert station.control.counters(0).exposed == exposed
    other = plc.inspect("d1", "D2")
    assert (other["verdict"], other["code"], other["part_id"]) == ("N", 404, "D2".ljust(16))


@pytest.mark.parametrize("by_json", [False, True])
def test_an_id_that_does_not_fit_is_refused_and_says_why(station: Walk, plc: WeakPlc, by_json: bool) -> None:
    long = "PART-0123456789-ABC"
    assert plc.inspect(f"fits-{by_json}", long[:16])["verdict"] == "P"
    before, acks = len(plc.on("/result/b")), len(station.plc.of("ack"))
    if by_json:
        station.plc.trigger(long, cmd_id="l-json")
    else:
        plc.send(f"T;l-text;{long}")
    text, _ = plc.next_results(before)
    assert (text["verdict"], text["code"], text["part_id"]) == ("N", 400, " " * 16)
    wait_for(lambda: len(station.plc.of("ack")) > acks, LIMIT_S, "an ack")
    ack = station.plc.of("ack")[acks]
    assert (ack["cmd_id"], ack["cmd"], ack["phase"], ack["code"]) == (
        "l-json" if by_json else "l-text", "trigger", "refused", 400,
    )  # fmt: skip
    assert "part_id: found 19 characters, allowed: 1 to 16" in ack["text"]
    result = next(r for r in station.plc.of("result") if r["seq"] == text["seq"])
    assert (result["verdict"], result["code"], result["cmd_id"], result["part_id"]) == ("NOT_INSPECTED", 400, "", long)


@pytest.mark.parametrize("payload", [b"T", b"T;x", b"T;x;A;B", b"T;x;A\xff", b"T;" + b"x" * 6000])
def test_a_bad_text_trigger_gets_one_refusal_and_one_verdict(station: Walk, plc: WeakPlc, payload: bytes) -> None:
    before, acks = len(plc.on("/result/b")), len(plc.on("/ack"))
    plc.send(payload)
    text, _ = plc.next_results(before)
    assert (text["verdict"], text["code"]) == ("N", 400)
    good = station.plc.inspect()
    assert good["verdict"] == "PASS"
    wait_for(lambda: len(plc.on("/result/b")) == before + 2, LIMIT_S, "the good part's twin")
    assert len(plc.on("/ack")) == acks + 1


def test_commands_as_text(station: Walk, plc: WeakPlc) -> None:
    def answered(count: int) -> None:
        wait_for(lambda: len(station.plc.of("ack")) >= acks + count, LIMIT_S, f"{count} acks")

    acks = len(station.plc.of("ack"))
    plc.send("P\0\0\0")
    station.plc.wait_state(ready=False, state="STOPPED")
    assert plc.inspect("s1", "S1")["code"] == 402
    plc.send("S")
    station.plc.wait_state(ready=True)
    plc.send("P")  # has no id: it is done again, not taken for the one before
    station.plc.wait_state(ready=False, state="STOPPED")
    plc.send("S")
    station.plc.wait_state(ready=True)
    answered(4)
    plc.send("R;r1;2")
    station.plc.wait_state(ready=True, recipe=2)
    answered(6)
    got = [(a["cmd"], a["cmd_id"], a["phase"]) for a in station.plc.of("ack")[acks:]]
    ends = [("stop", "", "done"), ("start", "", "done")]
    assert got == [*ends, *ends, ("recipe", "r1", "accepted"), ("recipe", "r1", "done")]
    part = plc.inspect("r2", "R2")
    assert (part["verdict"], part["code"]) == ("F", 1002), "recipe 2 wants the lid dark"
    plc.send(f"A;{part['seq']:010d}")
    plc.send("fly")
    answered(7)
    last = station.plc.of("ack")[acks + 6 :]
    assert [(a["cmd"], a["code"]) for a in last] == [("c", 400)], "an ack of the PLC has no answer"


def test_the_heartbeat_byte_counts_with_the_heartbeat(station: Walk, plc: WeakPlc) -> None:
    wait_for(lambda: len(plc.on("/hb/c")) >= 4, LIMIT_S, "heartbeats")
    ns = [m.payload[0] for m in plc.on("/hb/c")]
    assert all(len(m.payload) == 1 for m in plc.on("/hb/c"))
    assert [(b - a) % 256 for a, b in zip(ns, ns[1:], strict=False)] == [1] * (len(ns) - 1)
    wait_for(lambda: ns[-1] in {h["n"] % 256 for h in station.plc.of("hb")}, LIMIT_S, "the same n in hb")


def test_info_tells_the_limit(station: Walk) -> None:
    assert station.plc.of("info")[-1]["id_max"] == 16


def test_a_station_that_was_not_asked_has_no_twins(tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    walk.broker.start()
    peer = Peer(walk.port, f"{BASE}/#")
    try:
        walk.start()
        acks = len(walk.plc.of("ack"))
        peer.client.publish(f"{BASE}/cmd/c", b"T;c1;A1", qos=1)
        wait_for(lambda: len(walk.plc.of("ack")) > acks, LIMIT_S, "a refusal")
        assert "unknown command c" in walk.plc.of("ack")[acks]["text"]
        assert walk.plc.inspect(part_id="P" * 32)["verdict"] == "PASS"
        wait_for(lambda: peer.on("/record") and peer.on("/hb"), LIMIT_S, "what comes behind a result")
        assert not [m for m in peer.messages if m.topic.endswith(("result/c", "result/b", "hb/c"))]
    finally:
        peer.close()
        walk.close()
