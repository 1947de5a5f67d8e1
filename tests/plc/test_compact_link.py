"""The twins through a broker: with their verdict or not at all, and who listens to what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from inspector.plc.compact import Twins
from tests.plc.peers import Broker, Peer
from tests.plc.test_link import TOPICS, Make, make_station, until

__all__ = ["make_station"]  # a fixture

ALL = {"result_c": True, "result_b": True, "hb_c": True}


def names(peer: Peer) -> list[str]:
    return [m.topic.removeprefix(f"{TOPICS.base}/") for m in peer.messages]


async def test_twins_follow_their_verdict_and_are_never_kept(
    broker: Broker, make_station: Make, make_peer: Make
) -> None:
    station = await make_station(broker.port, compact=ALL).up()
    peer: Peer = make_peer(broker.port, "vis/#")
    for n in (b"1", b"2"):
        assert station.link.result(b"r" + n, 1, Twins(b"c" + n, b"b" + n))
    assert station.link.heartbeat(b"hb", b"\x07")
    assert station.link.heartbeat(b"hb")
    await until(lambda: len(peer.messages) == 9)
    results = [m.payload for m in peer.messages if "result" in m.topic]
    assert results == [b"r1", b"c1", b"b1", b"r2", b"c2", b"b2"]
    assert names(peer)[:3] == ["result", "result/c", "result/b"]
    assert [m.payload for m in peer.on("hb/c")] == [b"\x07"]
    assert {m.qos for m in peer.on("result/c") + peer.on("result/b")} == {1}
    late: Peer = make_peer(broker.port, "vis/#")
    assert station.link.info(b"i")
    await until(lambda: late.messages)
    assert names(late) == ["info"], "nothing of a verdict stays at the broker"


async def test_after_an_outage_no_twin_is_stale(broker: Broker, make_station: Make, make_peer: Make) -> None:
    station = await make_station(broker.port, compact=ALL).up()
    broker.freeze()  # the connection stands, nothing is acknowledged
    assert station.link.result(b"in flight", 1, Twins(b"in flight", b"in flight"))
    broker.kill()
    await until(lambda: station.listener.downs)
    assert not station.link.result(b"while down", 1, Twins(b"while down", b"while down"))
    assert not station.link.heartbeat(b"while down", b"\x01")
    broker.start()
    await station.ups(2)
    peer: Peer = make_peer(broker.port, "vis/#")
    assert station.link.result(b"fresh", 1, Twins(b"fresh", b"fresh"))
    await until(lambda: len(peer.messages) >= 3)
    await asyncio.sleep(0.3)
    assert {m.payload for m in peer.messages} == {b"fresh"} and len(peer.messages) == 3


@pytest.mark.mosquitto
async def test_a_twin_expires_as_its_verdict_does(
    make_mosquitto: Callable[..., Broker], make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    peer: Peer = make_peer(broker.port, "vis/#", version="5")
    station = await make_station(broker.port, version="5", compact=ALL).up()
    assert station.link.result(b"r", 3, Twins(b"c", b"b"))
    assert station.link.heartbeat(b"hb", b"\x07")
    await until(lambda: len(peer.messages) == 5)
    got = {
        name: (m.qos, m.properties.MessageExpiryInterval) for name, m in zip(names(peer), peer.messages, strict=True)
    }
    assert got == {"result": (1, 3), "result/c": (1, 3), "result/b": (1, 3), "hb": (0, 2), "hb/c": (0, 2)}


@pytest.mark.mosquitto
async def test_a_plc_that_reads_one_twin_alone_counts_as_listening(
    make_mosquitto: Callable[..., Broker], make_station: Make, make_peer: Make
) -> None:
    broker = make_mosquitto()
    station = await make_station(broker.port, version="5", compact=ALL).up()
    peer: Peer = make_peer(broker.port, TOPICS.result_b)
    for _ in range(3):
        assert station.link.result(b"r", 1, Twins(b"c", b"b"))
    await until(lambda: len(peer.messages) == 3)
    await until(lambda: station.link._connection and not station.link._connection.unacked)
    assert station.listener.warned("nobody_listens") == []
    peer.close()
    assert station.link.result(b"r", 1, Twins(b"c", b"b"))
    await until(lambda: "nobody_listens" in station.link.troubles)
    assert station.listener.warned("nobody_listens") == ["no client is subscribed to result, result/c, result/b"]
    again: Peer = make_peer(broker.port, TOPICS.result_c)
    assert station.link.result(b"r", 1, Twins(b"c", b"b"))
    await until(lambda: again.messages and not station.link.troubles)
