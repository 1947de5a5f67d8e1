"""Versions of MQTT, and who else is at the broker: a client with our id, a station with our topics, an access list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from inspector.plc import echoes as echoes_module
from inspector.plc import link as link_module
from inspector.plc import mqtt as mqtt_module
from inspector.plc import tries as tries_module
from tests.plc.peers import Broker, Peer
from tests.plc.test_link import TOPICS, Make, Station, make_station, until

__all__ = ["make_station"]  # a fixture

pytestmark = pytest.mark.mosquitto
MakeBroker = Callable[..., Broker]


SUSPICION = "demo-top: the broker closes each connection within seconds; probably another client uses it"
CONNACK, SUBACK = bytes([0x20, 2, 0, 0]), bytes([0x90, 5, 0, 1, 1, 0, 0])
CONNACK_5, SUBACK_5 = bytes([0x20, 3, 0, 0, 0]), bytes([0x90, 5, 0, 1, 0, 1, 0])


@asynccontextmanager
async def scripted(*scripts: list[bytes]) -> AsyncIterator[int]:
    """Bytes that no broker here sends: a list for each connection, one answer for each packet. Gives the port."""

    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        for answer in scripts[min(len(writers), len(scripts)) - 1]:
            await reader.read(1000)
            writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def beat(station: Station, prefix: str, seconds: float = 0.0) -> None:
    """Heartbeats until the time is over, with what a station does every second."""
    end = asyncio.get_running_loop().time() + seconds
    n = 0
    while asyncio.get_running_loop().time() < end:
        station.link.heartbeat(f"{prefix} {n}".encode())
        n += 1
        await asyncio.sleep(0.1)
        await station.link.check()


async def test_the_version_is_found_out_and_told(
    make_mosquitto: MakeBroker, broker: Broker, make_station: Make
) -> None:
    modern = await make_station(make_mosquitto().port).up()
    assert modern.link.version == "5"
    plain = await make_station(broker.port).up()
    assert plain.link.version == "3.1.1"
    assert plain.listener.warnings == [], "a fall-back is no trouble"
    broker.kill()
    await until(lambda: plain.listener.downs)
    broker.start()
    await plain.ups(2)
    assert plain.link.version == "3.1.1"


async def test_two_stations_with_one_client_id_are_named_and_do_not_fight(
    make_mosquitto: MakeBroker, make_station: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries_module, "RETRY_S", (0.05,))
    monkeypatch.setattr(tries_module, "CLASH_RETRY_S", 1.0)
    broker = make_mosquitto()
    one = await make_station(broker.port).up()
    two = await make_station(broker.port).up()
    await until(lambda: one.listener.warned("client_id_clash") and two.listener.warned("client_id_clash"))
    assert one.listener.warned("client_id_clash") == [SUSPICION]
    before = one.listener.ups + two.listener.ups
    await asyncio.sleep(0.9)
    assert one.listener.ups + two.listener.ups <= before + 2, "they rest instead of fighting"
    monkeypatch.setattr(link_module, "CLASH_OVER_S", 0.1)
    await two.link.stop()
    await until(lambda: one.link.connected)
    await asyncio.sleep(0.2)
    await one.link.check()
    assert one.link.troubles == frozenset()


async def test_a_broker_that_says_who_came_instead_is_believed_at_once(make_station: Make) -> None:
    """Debian's mosquitto closes without a word; this is what MQTT 5 has for it."""
    async with scripted([CONNACK_5, SUBACK_5 + bytes([0xE0, 2, 0x8E, 0])]) as port:
        station = make_station(port, version="5")
        station.link.start()
        await until(lambda: station.listener.downs)
    assert station.listener.downs == ["connection lost: Session taken over"]
    assert station.listener.warned("client_id_clash") == ["demo-top: the broker gave its connection to another client"]


async def test_a_broker_that_answers_mqtt_5_in_the_words_of_3_1_1_is_understood(make_station: Make) -> None:
    async with scripted([bytes([0x20, 2, 0, 1])], [CONNACK, SUBACK]) as port:
        station = await make_station(port).up()
        assert station.link.version == "3.1.1"
        assert station.listener.warnings == []


async def test_a_topic_that_is_no_text_is_told_and_the_next_message_heard(make_station: Make) -> None:
    base = TOPICS.base.encode() + b"/cmd/"
    publishes = b"".join(bytes([0x30, len(base) + 5, 0, len(base) + 3]) + base + end for end in (b"\xff\xfea", b"all"))
    async with scripted([CONNACK, SUBACK + publishes]) as port:
        station = await make_station(port, version="3.1.1").up()
        await until(lambda: station.listener.messages)
        assert [m.name for m in station.listener.messages] == ["all"]
        assert station.listener.warned("callback_error")[0].startswith("topic: UnicodeDecodeError")
        assert station.link.connected


async def test_a_broker_that_never_answers_is_given_up(make_station: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "ANSWER_LIMIT_S", 0.5)
    async with scripted([]) as port:
        station = make_station(port, version="5")
        station.link.start()
        await until(lambda: station.listener.warned("connect_failed"))
    assert "did not answer within" in station.listener.warned("connect_failed")[0]


async def test_with_3_1_1_a_client_with_our_id_is_suspected(
    make_mosquitto: MakeBroker, make_station: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries_module, "RETRY_S", (0.05,))
    broker = make_mosquitto()
    other = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-top")
    other.reconnect_delay_set(1, 1)
    station = await make_station(broker.port, version="3.1.1").up()
    other.connect("127.0.0.1", broker.port, 5)
    other.loop_start()
    try:
        await until(lambda: station.listener.warned("client_id_clash"))
    finally:
        other.disconnect()
        other.loop_stop()
    assert station.listener.warned("client_id_clash") == [SUSPICION]
    assert station.listener.ups == tries_module.QUICK_IN_A_ROW
    assert station.link._retry is not None and station.link._retry.when() - asyncio.get_running_loop().time() > 10


async def test_another_station_on_our_topics_is_told_and_none_is_ready(
    make_mosquitto: MakeBroker, make_station: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(echoes_module, "FOREIGN_HOLDS_S", 1.0)
    broker = make_mosquitto()
    one = await make_station(broker.port).up()
    await beat(one, "one", 0.5)
    assert one.link.troubles == frozenset() and one.link.refusal == ""
    two = await make_station(broker.port, client_id="another").up()
    await asyncio.gather(beat(one, "one", 0.5), beat(two, "two", 0.5))
    for station in (one, two):
        assert station.listener.warned("other_station") == [f"a message on {TOPICS.hb} that is not ours"]
        assert "another station" in station.link.refusal
    await two.link.stop()
    await beat(one, "one again", 1.2)
    assert one.link.troubles == frozenset() and one.link.refusal == ""


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_the_broker_throws_away_in_silence_is_noticed(
    make_mosquitto: MakeBroker, make_station: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(echoes_module, "LATE_S", 0.2)
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {TOPICS.base}/event\ntopic read {TOPICS.base}/#\n")
    acl.chmod(0o600)
    broker = make_mosquitto(f"allow_anonymous true\nacl_file {acl}\n")
    station = await make_station(broker.port, version=version).up()
    assert station.link.result(b"verdict", 1)

    def told() -> set[str]:
        station.link.event(b"allowed")  # confirmed: the broker lives
        return {text.split(" ")[0] for text in station.listener.warned("not_authorised")}

    wanted = {"hb", "result"} if version == "3.1.1" else {"hb", "the"}
    deadline = asyncio.get_running_loop().time() + 5
    while told() != wanted and asyncio.get_running_loop().time() < deadline:
        await beat(station, "b", 0.1)
    assert told() == wanted
    assert (
        f"hb does not come back: the access list must let the station's user write and read {TOPICS.hb}"
        in station.listener.warned("not_authorised")
    )
    acl.write_text(f"topic readwrite {TOPICS.base}/#\n")
    broker.kill()
    broker.start()
    await station.ups(2)
    assert station.link.result(b"verdict 2", 1)
    await beat(station, "c", 0.5)
    assert "not_authorised" not in station.link.troubles


async def test_nobody_listens_stops_the_station_only_when_it_is_to(
    make_mosquitto: MakeBroker, make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    warns = await make_station(broker.port, client_id="warns").up()
    stops = await make_station(broker.port, client_id="stops", when_nobody_listens="stop").up()
    for station in (warns, stops):
        assert station.link.result(b"x", 1)
        await until(lambda s=station: "nobody_listens" in s.link.troubles)
    assert warns.link.refusal == ""
    assert stops.link.refusal.startswith("nobody reads the verdicts")
    peer: Peer = make_peer(broker.port, "vis/none")
    peer.client.publish(f"{TOPICS.base}/cmd/start", b"x", 1)
    await until(lambda: not stops.link.refusal)
    assert stops.link.result(b"x", 1)
    await until(lambda: stops.link.refusal)
    make_peer(broker.port, TOPICS.result)
    assert stops.link.result(b"x", 1)
    await until(lambda: not stops.link.refusal)


async def test_round_trips_are_measured_and_what_was_never_confirmed_is_counted(
    make_mosquitto: MakeBroker, make_station: Make
) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port).up()
    assert station.link.round_trip_ms() == {"p50": 0.0, "p99": 0.0}
    for n in range(30):
        assert station.link.event(str(n).encode())
    await until(lambda: station.link.unacked == 0)
    took = station.link.round_trip_ms()
    assert 0 < took["p50"] <= took["p99"]
    assert station.link.unconfirmed == 0
    broker.freeze()
    assert station.link.event(b"lost")
    broker.kill()
    await until(lambda: station.listener.downs)
    assert station.link.unconfirmed == 1 and station.link.version == ""
