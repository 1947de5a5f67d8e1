from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.config import PlcConfig
from inspector.plc import dial as dial_module
from inspector.plc import link as link_module
from inspector.plc import mqtt as mqtt_module
from inspector.plc import tries as tries_module
from inspector.plc.contract import OFFLINE, Topics
from inspector.plc.link import LinkError, PlcLink, Received
from tests.plc.peers import Broker, Peer, wait_for

TOPICS = Topics("demo", "top")


class Listener:
    """Keeps everything it is told, in order, and checks that it is told in the event loop's thread."""

    def __init__(self) -> None:
        self.ups = 0
        self.downs: list[str] = []
        self.messages: list[Received] = []
        self.acked: list[int] = []
        self.warnings: list[tuple[str, str]] = []
        self.threads: set[int] = set()

    def link_up(self) -> None:
        self._here()
        self.ups += 1

    def link_down(self, why: str) -> None:
        self._here()
        self.downs.append(why)

    def received(self, message: Received) -> None:
        self._here()
        self.messages.append(message)

    def record_acked(self, outbox_id: int, read: bool) -> None:
        self._here()
        self.acked.append(outbox_id)

    def warning(self, what: str, text: str) -> None:
        self._here()
        self.warnings.append((what, text))

    def warned(self, what: str) -> list[str]:
        return [text for kind, text in self.warnings if kind == what]

    def _here(self) -> None:
        self.threads.add(threading.get_ident())


async def until(condition: Callable[[], Any], limit_s: float = 15.0, what: str = "condition") -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {limit_s} s"
        await asyncio.sleep(0.005)


class Station:
    """A link with its listener."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.listener = Listener()
        config = PlcConfig(port=port, **settings)
        self.link = PlcLink(config, TOPICS, self.listener, asyncio.get_running_loop())

    async def up(self) -> Station:
        self.link.start()
        await until(lambda: self.link.connected, what="link up")
        return self

    async def ups(self, count: int) -> None:
        await until(lambda: self.listener.ups >= count, what=f"link up for the {count}. time")

    @property
    def client(self) -> Any:
        assert self.link._connection is not None
        return self.link._connection._client


@pytest.fixture
async def make_station() -> AsyncIterator[Callable[..., Station]]:
    stations: list[Station] = []

    def make(port: int, **settings: Any) -> Station:
        stations.append(Station(port, **settings))
        return stations[-1]

    yield make
    for station in stations:
        await station.link.stop()


Make = Callable[..., Any]


async def test_everything_arrives_as_the_contract_says(broker: Broker, make_station: Make, make_peer: Make) -> None:
    station = await make_station(broker.port).up()
    peer = make_peer(broker.port, "vis/#")
    link = station.link
    assert link.result(b"result", 1)
    assert link.record(7, b"record")
    assert link.publish_state(b"state")
    assert link.heartbeat(b"hb")
    assert link.ack(b"ack")
    assert link.event(b"event")
    assert link.counters(b"counters")
    assert link.info(b"info")
    await until(lambda: len(peer.messages) == 8)
    got = {m.topic.removeprefix("vis/v1/demo/top/"): m.payload for m in peer.messages}
    names = ("result", "record", "state", "hb", "ack", "event", "counters", "info")
    assert got == {name: name.encode() for name in names}
    await until(lambda: station.listener.acked == [7])
    late = make_peer(broker.port, "vis/#")
    await until(lambda: len(late.messages) == 3)
    assert sorted(m.topic.rsplit("/", 1)[1] for m in late.messages if m.retain) == [
        "counters",
        "info",
        "state",
    ]
    assert station.listener.threads == {threading.get_ident()}


async def test_commands_come_in_the_loops_thread_with_their_time(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    peer = make_peer(broker.port)
    peer.client.publish(f"{TOPICS.base}/cmd/stop", b"old", 1, retain=True).wait_for_publish(5)
    station = await make_station(broker.port).up()
    await until(lambda: len(station.listener.messages) == 1)
    before = time.monotonic_ns()
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"go", 1)
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"x" * 9_000, 1)
    peer.client.publish("vis/v1/demo/other/cmd/trigger", b"not ours", 1)
    peer.client.publish(f"{TOPICS.base}/cmd/last", b"", 1)
    await until(lambda: len(station.listener.messages) == 4)
    retained, go, huge, last = station.listener.messages
    assert (retained.name, retained.retained, retained.payload) == ("stop", True, b"old")
    assert (go.name, go.retained, go.payload) == ("trigger", False, b"go")
    assert before < go.received_ns <= time.monotonic_ns()
    assert len(huge.payload) == 4097, "a long command is cut before it is queued"
    assert last.name == "last"
    assert station.listener.threads == {threading.get_ident()}


async def test_socket_has_nodelay_and_gives_up_on_a_dead_cable(broker: Broker, make_station: Make) -> None:
    station = await make_station(broker.port).up()
    sock = station.client.socket()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == dial_module.USER_TIMEOUT_MS


async def test_broker_may_be_absent_at_start(broker: Broker, make_station: Make) -> None:
    broker.kill()
    station = make_station(broker.port)
    station.link.start()
    await until(lambda: station.listener.warned("connect_failed"))
    assert not station.link.connected
    assert station.link.down_since_ns is not None
    assert not station.link.result(b"nobody is there", 1)
    assert not station.link.record(1, b"not now")
    await asyncio.sleep(1.2)  # more than one try
    assert len(station.listener.warned("connect_failed")) == 1, "told once, not at every try"
    assert station.listener.downs == [], "what never was up can't go down"
    broker.start()
    await station.ups(1)
    assert station.link.reconnects == 0
    assert station.link.down_since_ns is None


async def test_after_an_outage_nothing_stale_arrives_and_commands_are_heard(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    station = await make_station(broker.port).up()
    link = station.link
    peer = make_peer(broker.port, TOPICS.result, TOPICS.record)
    broker.freeze()  # the connection stands, nothing is acknowledged
    assert link.result(b"in flight", 1)
    assert link.record(1, b"record in flight")
    broker.kill()
    await until(lambda: station.listener.downs)
    assert not link.result(b"while down", 1)
    assert not link.record(2, b"while down")
    assert station.listener.acked == []
    broker.start()
    await station.ups(2)
    assert link.reconnects == 1
    await until(peer.client.is_connected)
    subscribed = make_peer(broker.port, TOPICS.result, TOPICS.record)
    assert link.record(1, b"record again")
    assert link.result(b"fresh", 1)
    await until(lambda: len(subscribed.messages) == 2)
    await asyncio.sleep(0.3)
    assert [m.payload for m in subscribed.messages] == [b"record again", b"fresh"]
    assert not [m for m in peer.messages if m.payload in (b"in flight", b"while down", b"record in flight")]
    assert station.listener.acked == [1]
    peer.client.publish(f"{TOPICS.base}/cmd/start", b"still there?", 1)
    await until(lambda: station.listener.messages)


async def test_a_cut_connection_comes_back_with_a_new_client(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    station = await make_station(broker.port).up()
    first = station.client
    for count in range(2, 5):
        station.client.socket().shutdown(socket.SHUT_RDWR)
        await station.ups(count)
    assert station.client is not first
    assert station.link.reconnects == 3
    await station.link.check()
    assert threading.active_count() < 8, "threads of old clients are gone"


async def test_the_will_tells_offline_after_a_kill(broker: Broker, make_peer: Make, tmp_path: Path) -> None:
    peer: Peer = make_peer(broker.port, TOPICS.state)
    script = tmp_path / "station.py"
    script.write_text(
        "import asyncio\n"
        "from inspector.config import PlcConfig\n"
        "from inspector.plc.contract import Topics\n"
        "from inspector.plc.link import PlcLink\n"
        "class L:\n"
        "    link = None\n"
        "    def link_up(self): self.link.publish_state(b'here')\n"
        "    def link_down(self, why): pass\n"
        "    def warning(self, what, text): pass\n"
        "async def main():\n"
        "    l = L()\n"
        f"    l.link = PlcLink(PlcConfig(port={broker.port}), Topics('demo', 'top'), l,"
        " asyncio.get_running_loop())\n"
        "    l.link.start()\n"
        "    await asyncio.sleep(30)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        await until(lambda: peer.messages, what="state of the station")
        process.send_signal(signal.SIGKILL)
        await until(lambda: len(peer.messages) == 2, limit_s=5, what="will")
    finally:
        process.kill()
        process.wait(10)
    assert [m.payload for m in peer.messages] == [b"here", OFFLINE]
    late: Peer = make_peer(broker.port, TOPICS.state)
    await until(lambda: late.messages)
    assert late.messages[0].retain and late.messages[0].payload == OFFLINE


async def test_a_clean_stop_tells_offline_once_and_is_bounded(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    peer = make_peer(broker.port, TOPICS.state)
    station = await make_station(broker.port).up()
    await station.link.stop()
    await until(lambda: peer.messages)
    await asyncio.sleep(0.3)
    assert [m.payload for m in peer.messages] == [OFFLINE], "said by the station, not by the will as well"
    assert not station.link.connected
    assert not station.link.result(b"after stop", 1)
    assert station.listener.downs == []

    second = await make_station(broker.port).up()
    broker.freeze()
    begin = time.monotonic()
    await second.link.stop(limit_s=0.5)
    assert time.monotonic() - begin < 5, "a broker that hangs does not hold the station"
    broker.thaw()


async def test_a_failing_listener_is_reported_and_kills_nothing(
    broker: Broker, make_station: Make, make_peer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = await make_station(broker.port).up()
    peer = make_peer(broker.port)
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))

    def broken(_message: Received) -> None:
        raise KeyError("listener's bug")

    monkeypatch.setattr(station.listener, "received", broken)
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"1", 1)
    await until(lambda: errors)
    assert isinstance(errors[0]["exception"], KeyError)
    assert station.link.connected


async def test_a_client_that_fails_is_told_and_replaced(
    broker: Broker, make_station: Make, make_peer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = await make_station(broker.port).up()
    peer = make_peer(broker.port)

    def die(*_: Any) -> None:
        raise ZeroDivisionError("inside paho")

    monkeypatch.setattr(station.client, "_handle_publish", die)
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"1", 1)
    await until(lambda: station.listener.downs)
    assert station.listener.downs == ["the client failed: ZeroDivisionError: inside paho"]
    assert station.listener.warned("callback_error") == ["read: ZeroDivisionError: inside paho"]
    await station.ups(2)
    peer.client.publish(f"{TOPICS.base}/cmd/trigger", b"2", 1)
    await until(lambda: station.listener.messages)


async def test_a_connection_that_takes_nothing_is_noticed_and_replaced(
    broker: Broker, make_station: Make, make_peer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "HUNG_S", 0.2)
    station = await make_station(broker.port).up()
    await station.link.check()
    assert station.listener.downs == []
    broker.freeze()
    assert station.link.heartbeat(b"x" * 12_000_000), "more than the kernel takes for a broker that reads nothing"
    await asyncio.sleep(0.3)
    await station.link.check()
    assert "has written nothing" in station.listener.downs[0]
    assert station.listener.warned("client_rebuilt") == station.listener.downs
    broker.thaw()
    await station.ups(2)
    peer = make_peer(broker.port, TOPICS.hb)
    assert station.link.heartbeat(b"fresh")
    await until(lambda: peer.messages)
    assert [m.payload for m in peer.messages] == [b"fresh"], "what hung with the old client died with it"


async def test_a_name_server_that_hangs_takes_no_more_than_a_few_threads(
    broker: Broker, make_station: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, real = threading.Event(), mqtt_module.open_socket

    def slow(address: Any) -> socket.socket:
        release.wait(20)
        return real(address)

    def waiting() -> int:
        return sum(thread.name == "mqtt-connect" for thread in threading.enumerate())

    monkeypatch.setattr(mqtt_module, "open_socket", slow)
    monkeypatch.setattr(mqtt_module, "CONNECT_LIMIT_S", 0.02)
    monkeypatch.setattr(tries_module, "RETRY_S", (0.01,))
    monkeypatch.setattr(link_module, "RETRY_S", (0.05,))
    station = make_station(broker.port)
    station.link.start()
    for _ in range(40):
        await asyncio.sleep(0.01)
        await station.link.check()
        assert waiting() <= link_module.ABANDONED_MAX
    assert waiting() == link_module.ABANDONED_MAX
    assert station.listener.warned("client_rebuilt")[0] == "no connection after 0 s"
    monkeypatch.setattr(mqtt_module, "CONNECT_LIMIT_S", 20.0)
    release.set()
    await until(lambda: station.link.connected and waiting() == 0)


async def test_a_flood_of_commands_leaves_turns_to_others(broker: Broker, make_station: Make, make_peer: Make) -> None:
    station = await make_station(broker.port).up()
    peer = make_peer(broker.port, f"{TOPICS.base}/cmd/+")
    for n in range(400):
        peer.client.publish(f"{TOPICS.base}/cmd/trigger", str(n).encode(), 1)
    wait_for(lambda: len(peer.messages) == 400)  # the event loop is blocked meanwhile
    most, before = 0, 0
    while len(station.listener.messages) < 400:
        await asyncio.sleep(0)
        most, before = max(most, len(station.listener.messages) - before), len(station.listener.messages)
    assert most <= 2 * mqtt_module.PER_TURN
    assert [int(m.payload) for m in station.listener.messages] == list(range(400))
    assert station.link.commands_dropped == 0


async def test_commands_that_find_no_room_are_counted(
    broker: Broker, make_station: Make, make_peer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "INBOX", 50)
    station = await make_station(broker.port).up()
    peer = make_peer(broker.port, f"{TOPICS.base}/cmd/+")
    for n in range(400):
        peer.client.publish(f"{TOPICS.base}/cmd/trigger", str(n).encode(), 0)
    wait_for(lambda: len(peer.messages) == 400)  # the event loop is blocked: all wait in the kernel
    broker.freeze()
    while station.link.event(b"e"):  # answers would find no room: the commands wait
        pass
    await until(lambda: station.link.commands_dropped > 0)
    assert station.listener.messages == []
    assert station.listener.warned("commands_dropped")
    broker.thaw()
    await until(lambda: len(station.listener.messages) + station.link.commands_dropped == 400)
    assert len(station.listener.messages) >= 50
    assert station.link.connected


async def test_records_in_flight_are_limited_and_results_have_room(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    station = await make_station(broker.port).up()
    broker.freeze()
    handed = 0
    while station.link.record(handed, b"r"):
        handed += 1
    assert handed == link_module.RECORDS_IN_FLIGHT <= 20
    assert station.link.result(b"verdict", 1)
    await asyncio.sleep(link_module.UNACKED_WARN_S + 0.1)
    await station.link.check()
    await station.link.check()
    assert len(station.listener.warned("no_puback")) == 1
    while station.link.event(b"e"):
        pass
    assert station.listener.warned("queue_full")
    broker.thaw()
    await until(lambda: station.listener.acked == list(range(handed)))
    assert station.link.record(99, b"r")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"password_file": "missing"}, "password_file"),
        ({"ca_file": "missing"}, "ca_file"),
        ({"ca_file": "text"}, "ca_file"),
        ({"cert_file": "text", "key_file": "text"}, "need ca_file"),
    ],
)
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    config = PlcConfig.model_validate({key: tmp_path / name for key, name in settings.items()})
    with pytest.raises(LinkError, match=words):
        PlcLink(config, TOPICS, Listener(), asyncio.get_running_loop())


async def test_a_broker_that_refuses_mqtt_5_is_told_and_tried_again(broker: Broker, make_station: Make) -> None:
    station = make_station(broker.port, version="5", keepalive_s=2)
    station.link.start()
    await until(lambda: station.listener.warned("connect_failed"))
    assert not station.link.connected
    await station.link.check()
