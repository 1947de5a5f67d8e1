"""What only a full broker can show: MQTT 5, access lists, TLS, a subscriber that is away."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from inspector.plc.contract import OFFLINE
from inspector.plc.link import Received
from tests.plc.peers import Broker, Peer
from tests.plc.test_link import TOPICS, Make, make_station, until

__all__ = ["make_station"]  # a fixture

pytestmark = pytest.mark.mosquitto
MakeBroker = Callable[..., Broker]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_quality_retain_and_expiry(
    make_mosquitto: MakeBroker, make_station: Make, make_peer: Make, version: str
) -> None:
    broker = make_mosquitto()
    peer: Peer = make_peer(broker.port, "vis/#", version="5")
    station = await make_station(broker.port, version=version).up()
    link = station.link
    for send in (link.publish_state, link.heartbeat, link.ack, link.event, link.counters, link.info):
        assert send(b"x")
    assert link.result(b"x", 3)
    assert link.record(1, b"x")
    await until(lambda: len(peer.messages) == 8)
    got = {
        message.topic.rsplit("/", 1)[1]: (
            message.qos,
            getattr(message.properties, "MessageExpiryInterval", None),
        )
        for message in peer.messages
    }
    v5 = version == "5"
    assert got == {
        "state": (1, None),
        "hb": (0, 2 if v5 else None),
        "ack": (1, 10 if v5 else None),
        "event": (1, 3600 if v5 else None),
        "counters": (1, None),
        "info": (1, None),
        "result": (1, 3 if v5 else None),
        "record": (1, 7 * 86400 if v5 else None),
    }
    later: Peer = make_peer(broker.port, "vis/#")
    await until(lambda: len(later.messages) == 3)
    assert {message.topic.rsplit("/", 1)[1] for message in later.messages} == {"state", "counters", "info"}


async def test_nobody_listens_is_noticed_and_gets_better(
    make_mosquitto: MakeBroker, make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port, version="5").up()
    for _ in range(3):
        assert station.link.result(b"x", 1)
        assert station.link.record(1, b"x")
    await until(lambda: len(station.listener.acked) == 3)
    assert station.listener.warned("nobody_listens") == ["no client is subscribed to result"]
    assert station.listener.warned("no_record_reader") == ["no client is subscribed to record"]
    assert station.link.troubles == {"nobody_listens", "no_record_reader"}
    make_peer(broker.port, TOPICS.result)
    assert station.link.result(b"x", 1)
    await until(lambda: station.link.troubles == {"no_record_reader"})


async def test_an_access_list_that_forbids_results_is_noticed(
    make_mosquitto: MakeBroker, make_station: Make, tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {TOPICS.base}/state\ntopic read {TOPICS.base}/cmd/#\n")
    acl.chmod(0o600)
    broker = make_mosquitto(f"allow_anonymous true\nacl_file {acl}\n")
    station = await make_station(broker.port, version="5").up()
    assert station.link.publish_state(b"allowed")
    assert station.link.result(b"x", 1)
    assert station.link.record(1, b"x")
    await until(lambda: len(station.listener.warned("not_authorised")) == 2)
    assert station.listener.warned("not_authorised")[0] == "the broker refused a message on result: not authorised"
    assert station.listener.acked == [], "a record that was refused is not delivered"
    assert station.link.connected


async def test_a_wrong_password_is_told_and_a_right_one_works(
    make_mosquitto: MakeBroker, make_station: Make, tmp_path: Path
) -> None:
    passwords, right, wrong = tmp_path / "passwords", tmp_path / "right", tmp_path / "wrong"
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "station", "secret"], check=True, timeout=10)
    passwords.chmod(0o600)
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    broker = make_mosquitto(f"allow_anonymous false\npassword_file {passwords}\n")
    refused = make_station(broker.port, username="station", password_file=wrong)
    refused.link.start()
    await until(lambda: refused.listener.warned("connect_failed"))
    assert "ot authorized" in refused.listener.warned("connect_failed")[0]
    assert not refused.link.connected
    station = make_station(broker.port, username="station", password_file=right)
    assert (await station.up()).link.connected


async def test_an_asker_with_a_response_topic_is_answered_there(
    make_mosquitto: MakeBroker, make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port, version="5").up()
    peer: Peer = make_peer(broker.port, "answers/#", "vis/#", version="5")

    def ask(response_topic: str) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = response_topic
        properties.CorrelationData = b"no. 7"
        peer.client.publish(f"{TOPICS.base}/cmd/start", b"go", 1, properties=properties)

    ask("answers/plc")
    await until(lambda: station.listener.messages)
    asked: Received = station.listener.messages[0]
    assert (asked.response_topic, asked.correlation) == ("answers/plc", b"no. 7")
    assert station.link.ack(b"done", asked)
    await until(lambda: peer.on("answers/plc") and peer.on("/ack"))
    assert peer.on("answers/plc")[0].properties.CorrelationData == b"no. 7"

    # a response topic may not make the station forge a verdict or a command of its own
    for forged in (TOPICS.result, f"{TOPICS.base}/cmd/trigger", "$SYS/x"):
        ask(forged)
    await until(lambda: len(station.listener.messages) == 4)
    for message in station.listener.messages[1:]:
        assert station.link.ack(b"forged", message)
    await until(lambda: len(peer.on("/ack")) == 4)
    assert not [m for m in peer.messages if m.payload == b"forged" and not m.topic.endswith("/ack")]
    assert len(station.listener.messages) == 4


async def test_a_verdict_does_not_outlive_its_deadline_at_the_broker(
    make_mosquitto: MakeBroker, make_station: Make
) -> None:
    broker = make_mosquitto()
    got: list[str] = []
    subscribed = threading.Event()

    def plc() -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="plc",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.on_connect = lambda c, *_: c.subscribe([(TOPICS.result, 1), (TOPICS.record, 1)])
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _c, _d, message: got.append(message.payload.decode())
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        return client

    first = plc()
    await until(subscribed.is_set)
    first.disconnect()
    first.loop_stop()
    station = await make_station(broker.port, version="5").up()
    assert station.link.result(b"stale", 1)
    assert station.link.record(1, b"record")
    await asyncio.sleep(2.2)
    assert station.link.result(b"fresh", 60)
    await until(lambda: station.listener.acked)
    second = plc()
    await until(lambda: len(got) >= 2)
    await asyncio.sleep(0.2)
    second.disconnect()
    second.loop_stop()
    assert got == ["record", "fresh"]


async def test_a_command_of_a_megabyte_is_cut(make_mosquitto: MakeBroker, make_station: Make, make_peer: Make) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port).up()
    peer: Peer = make_peer(broker.port)
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"x" * 1_000_000, 1)
    await until(lambda: station.listener.messages)
    assert len(station.listener.messages[0].payload) == 4097


async def test_a_frozen_broker_counts_as_an_outage_and_its_queue_stays_its_own(
    make_mosquitto: MakeBroker, make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port, keepalive_s=2).up()
    broker.freeze()
    assert station.link.result(b"x", 1)
    await until(lambda: station.listener.downs, 20, "outage noticed by keep-alive")
    assert not station.link.result(b"never", 1)
    broker.thaw()
    await station.ups(2)
    peer: Peer = make_peer(broker.port, "vis/#")
    assert station.link.result(b"fresh", 1)
    await until(lambda: peer.on("result"))
    assert [m.payload for m in peer.on("result")] == [b"fresh"]
    assert [m.payload for m in peer.on("state") if m.retain] == [OFFLINE], "the will of the lost connection"
