"""The shipped broker configuration, run by the real mosquitto: who gets in, who hears what, what survives."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from inspector.config import load_station
from inspector.plc.contract import Topics
from tests.deploy.conftest import install, program
from tests.plc.peers import Broker, free_port, wait_for

pytestmark = pytest.mark.mosquitto
TOPICS = Topics("line1", "top")
OURS = [TOPICS.result, TOPICS.record, TOPICS.state, TOPICS.hb, TOPICS.ack, TOPICS.event, TOPICS.counters, TOPICS.info]
COMMAND = f"{TOPICS.base}/cmd/trigger"


class Client:
    """An MQTT 5 client that knows what became of each of its messages."""

    def __init__(self, port: int, user: str, password: str, *, client_id: str = "", session_s: int = 0) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.refusal: ReasonCode | None = None
        self._answered, self._subscribed = threading.Event(), threading.Event()
        self._acked: dict[int, ReasonCode] = {}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or f"test-{user}", protocol=MQTTProtocolVersion.MQTTv5
        )
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self.client.on_publish = lambda _c, _d, mid, code, _p: self._acked.__setitem__(mid, code)
        properties = Properties(1)  # CONNECT
        properties.SessionExpiryInterval = session_s
        self.client.connect("127.0.0.1", port, 5, clean_start=session_s == 0, properties=properties)
        self.client.loop_start()
        assert self._answered.wait(10), "no answer to CONNECT"

    def _on_connect(self, _c: object, _d: object, _f: object, code: ReasonCode, _p: object) -> None:
        self.refusal = code if code.is_failure else None
        self._answered.set()

    def listen(self, *filters: str) -> Client:
        self._subscribed.clear()
        self.client.subscribe([(name, mqtt.SubscribeOptions(qos=1)) for name in filters])
        assert self._subscribed.wait(10), "no answer to SUBSCRIBE"
        return self

    def say(self, topic: str, payload: str = "x", retain: bool = False) -> bool:
        """Publish, wait for the broker's answer. False: not authorized."""
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        wait_for(lambda: info.mid in self._acked, what=f"answer to {topic}")
        return not self._acked[info.mid].is_failure

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Site:
    """The broker as installed, on a port of its own, with Debian's own part of the configuration."""

    def __init__(self, folder: Path) -> None:
        mosquitto = program("mosquitto", "mosquitto")
        (folder / "etc/mosquitto").mkdir(parents=True)
        (folder / "var").mkdir()
        done = install("--root", folder, "--without-packages")
        assert done.returncode == 0, done.stderr
        self.port = free_port()
        self.etc = folder / "etc/mosquitto"
        shipped = self.etc / "conf.d/inspector.conf"
        text = shipped.read_text()
        assert "\nlistener 1883\n" in text
        text = text.replace("listener 1883", f"listener {self.port} 127.0.0.1").replace("/etc/mosquitto", str(self.etc))
        shipped.write_text(text)
        main = self.etc / "mosquitto.conf"
        lines = ["persistence true", f"persistence_location {folder}/var/", f"include_dir {self.etc}/conf.d"]
        if os.getuid() == 0:
            lines.insert(0, "user root")  # the test's folder is root's own
        main.write_text("\n".join(lines) + "\n")
        self.log = folder / "mosquitto.log"
        self.broker = Broker([mosquitto, "-c", str(main)], self.port, self.log)
        plc = load_station(folder / "etc/inspector/firmware_config/station.yaml").plc
        assert plc.username and plc.password_file
        self.passwords = dict(
            line.split(":", 1) for line in (folder / "etc/inspector/broker-passwords").read_text().splitlines()
        )
        self.passwords[plc.username] = plc.password_file.read_text().splitlines()[0]
        self.clients: list[Client] = []

    def client(self, user: str, **options: int | str) -> Client:
        self.clients.append(Client(self.port, user, self.passwords.get(user, ""), **options))  # type: ignore[arg-type]
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.broker.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.broker.start()
    yield site
    site.close()


def test_the_broker_takes_every_line_of_it(site: Site) -> None:
    assert "Error" not in site.log.read_text()
    assert "Unknown" not in site.log.read_text()


def test_only_known_users_get_in(site: Site) -> None:
    for name, user, password in (("nobody", "", ""), ("stranger", "eve", "x"), ("wrong password", "mes", "x")):
        site.clients.append(Client(site.port, user, password, client_id=name.replace(" ", "-")))
        assert site.clients[-1].refusal is not None, name
    assert site.client("mes").refusal is None


def test_the_station_speaks_and_the_plc_hears(site: Site) -> None:
    plc = site.client("plc-line1-top").listen(f"{TOPICS.base}/+", "reply/plc-line1-top/#")
    mes = site.client("mes").listen(f"{TOPICS.base}/#")
    station = site.client("station-line1-top").listen(TOPICS.cmd_filter)
    for topic in OURS:
        assert station.say(topic), topic
    assert station.say("reply/plc-line1-top/1")
    assert plc.say(COMMAND, "go")
    wait_for(lambda: station.heard == [(COMMAND, b"go")], what="the command at the station")
    wait_for(lambda: len(plc.heard) == len(OURS) + 1, what="the station's topics at the PLC")
    assert {topic for topic, _ in plc.heard} == {*OURS, "reply/plc-line1-top/1"}
    read_only = {TOPICS.record, TOPICS.state, TOPICS.event, TOPICS.counters, TOPICS.info}
    wait_for(lambda: len(mes.heard) >= len(read_only), what="the station's topics at the MES")
    assert {topic for topic, _ in mes.heard} == read_only


@pytest.mark.parametrize(
    ("user", "topics"),
    [
        ("plc-line1-top", [TOPICS.result, TOPICS.state, TOPICS.hb, "reply/plc-line1-top/1"]),  # a forged verdict
        ("mes", [TOPICS.result, TOPICS.record, COMMAND]),
        ("station-line1-top", [COMMAND, "vis/v1/line1/side/result", "reply/plc-line2-top/1", f"{TOPICS.base}/x"]),
    ],
)
def test_nobody_speaks_for_another(site: Site, user: str, topics: list[str]) -> None:
    plc = site.client("plc-line1-top", client_id="plc").listen(f"{TOPICS.base}/+", "reply/plc-line1-top/#")
    station = site.client("station-line1-top", client_id="station").listen(TOPICS.cmd_filter)
    forger = site.client(user, client_id="forger")
    assert [topic for topic in topics if forger.say(topic, "forged")] == []
    assert station.say(TOPICS.result, "true")  # what comes after them, so that the wait has an end
    assert plc.say(COMMAND, "true")
    wait_for(lambda: plc.heard and station.heard, what="the true messages")
    assert {payload for _, payload in plc.heard + station.heard} == {b"true"}


def test_nobody_hears_what_is_not_for_him(site: Site) -> None:
    mes = site.client("mes").listen("#", f"{TOPICS.base}/result", f"{TOPICS.base}/cmd/+")
    station = site.client("station-line1-top")
    plc = site.client("plc-line1-top")
    assert station.say(TOPICS.result) and station.say(TOPICS.hb) and station.say(TOPICS.ack)
    assert plc.say(COMMAND)
    assert station.say(TOPICS.record, "last")
    wait_for(lambda: (TOPICS.record, b"last") in mes.heard, what="the record")
    assert {topic for topic, _ in mes.heard} == {TOPICS.record}


def test_a_restart_keeps_state_and_waiting_records(site: Site) -> None:
    mes = site.client("mes", client_id="mes", session_s=3600).listen(TOPICS.record)
    mes.close()
    station = site.client("station-line1-top")
    assert station.say(TOPICS.state, "ready", retain=True)
    for number in range(50):
        assert station.say(TOPICS.record, str(number))
    station.close()
    assert site.broker.process is not None
    site.broker.process.terminate()
    site.broker.process.wait(10)
    site.broker.start()
    plc = site.client("plc-line1-top").listen(TOPICS.state)
    wait_for(lambda: plc.heard == [(TOPICS.state, b"ready")], what="the retained state")
    mes = site.client("mes", client_id="mes", session_s=3600)
    wait_for(lambda: len(mes.heard) >= 50, what="the records")
    assert [payload for _, payload in mes.heard] == [str(n).encode() for n in range(50)]


def test_kill_9_loses_at_most_the_last_changes(site: Site) -> None:
    station = site.client("station-line1-top")
    assert station.say(TOPICS.state, "before", retain=True)
    for number in range(60):
        assert station.say(TOPICS.info, str(number), retain=True)
    site.broker.kill()
    site.broker.start()
    plc = site.client("plc-line1-top").listen(TOPICS.state, TOPICS.info)
    wait_for(lambda: len(plc.heard) == 2, what="the retained messages")
    heard = dict(plc.heard)
    assert heard[TOPICS.state] == b"before"
    assert 39 <= int(heard[TOPICS.info]) <= 59
