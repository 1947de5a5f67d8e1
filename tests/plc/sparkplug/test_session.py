"""The edge node on a real broker, with a host that reads for itself."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from inspector.config import ScadaBrokerConfig
from inspector.plc.dial import Address, Version
from inspector.plc.sparkplug.node import EdgeNode, Step
from inspector.plc.sparkplug.session import Session, now_ms
from tests.plc.peers import Broker, free_port
from tests.plc.sparkplug.host import Host
from tests.plc.sparkplug.test_node import PAGE, RESULT
from tests.plc.test_link import until

pytestmark = pytest.mark.mosquitto


class Desk:
    """Writes down what the session tells."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.births = 0
        self.deaths: list[bool] = []
        self.orders: list[tuple[bytes, bool]] = []
        self.marks: list[object] = []

    async def remember(self, bd_seq: int) -> None:
        self.kept.append(bd_seq)

    def born(self) -> None:
        self.births += 1

    def died(self, *, confirmed: bool) -> None:
        self.deaths.append(confirmed)

    def taken(self, mark: object) -> None:
        self.marks.append(mark)

    def ordered(self, payload: bytes, *, retained: bool) -> None:
        self.orders.append((payload, retained))


@asynccontextmanager
async def session_on(
    port: int, primary_host: str = "", username: str | None = None, version: Version = "3.1.1"
) -> AsyncIterator[tuple[Session, Desk]]:
    desk = Desk()
    node = EdgeNode("plant", "press2", "top", primary_host=primary_host)
    broker = ScadaBrokerConfig(host="127.0.0.1", port=port, keepalive_s=2, username=username)
    address = replace(Address.of(broker), version=version)
    session = Session(node, address, "t-s-sp", desk, asyncio.get_running_loop())
    run = asyncio.create_task(session.run())
    try:
        yield session, desk
    finally:
        run.cancel()
        await asyncio.wait([run], timeout=5)
        await session.stop(1.0)


async def test_the_primary_host_comes_goes_and_comes_back(make_mosquitto: Callable[[], Broker]) -> None:
    port = make_mosquitto().port
    host = await asyncio.to_thread(Host, port, name="scada")
    async with session_on(port, "scada") as (session, desk):
        await until(lambda: session.connected)
        assert not session.born
        assert session.text == "waiting for the primary host"
        assert not session.tell(session.node.result(RESULT, now_ms=now_ms()))
        await asyncio.to_thread(host.state, True, 1000)
        await until(lambda: len(host.of("DBIRTH")) == 1)
        assert (session.born, session.text, desk.births, desk.kept) == (True, "", 1, [0])
        await asyncio.to_thread(host.state, False, 999)  # an old one
        for seq in range(300):
            assert session.tell(session.node.result(replace(RESULT, seq=seq), now_ms=now_ms()))
            if seq % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(host.seqs()) == 300)
        await asyncio.to_thread(host.state, False, 1000)
        await until(lambda: len(host.of("NDEATH")) == 1)
        await until(lambda: session.connected and desk.kept == [0, 1])  # with the next will, waiting
        assert (session.born, desk.deaths) == (False, [False])
        await asyncio.to_thread(host.state, True, 2000)
        await until(lambda: len(host.of("DBIRTH")) == 2)
    assert desk.deaths == [False, True]  # stopped by its own will, and the broker has taken it
    await until(lambda: len(host.of("NDEATH")) == 2)
    assert [one.values["bdSeq"] for one in host.of("NBIRTH")] == [0, 1]
    assert [one.values["bdSeq"] for one in host.of("NDEATH")] == [0, 1]
    assert host.seqs() == list(range(300))
    assert host.complaints == []
    await asyncio.to_thread(host.close)


async def test_a_rebirth_and_orders_reach_the_station(make_mosquitto: Callable[[], Broker]) -> None:
    port = make_mosquitto().port
    host = await asyncio.to_thread(Host, port)
    async with session_on(port) as (session, desk):
        await until(lambda: session.born)
        await asyncio.to_thread(host.write, "NCMD/press2", {"Node Control/Rebirth": True})
        await until(lambda: len(host.of("DBIRTH")) == 2)
        assert session.rebirths == 1
        await asyncio.to_thread(host.client.publish, "spBv1.0/plant/NCMD/press2", b"\xff", 1)
        await until(lambda: session.bad == 1)
        await asyncio.to_thread(host.write, "DCMD/press2/top", {"Command/Id": "1"})
        await until(lambda: desk.orders)
        assert not desk.orders[0][1]
        assert session.tell(session.node.answer({"Command/AnswerText": "read"}, now_ms=now_ms()))
        await until(lambda: host.of("DDATA"))
        assert host.of("DDATA")[-1].values == {"Command/AnswerText": "read"}
    assert [one.values["bdSeq"] for one in host.of("NBIRTH")] == [0, 0]
    assert host.complaints == []
    await asyncio.to_thread(host.close)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_the_broker_says_what_it_has_taken(version: Version, make_mosquitto: Callable[[], Broker]) -> None:
    broker = make_mosquitto()
    host = await asyncio.to_thread(Host, broker.port)
    async with session_on(broker.port, version=version) as (session, desk):
        assert not session.mark("too early")
        await until(lambda: session.born)
        session.tell(session.node.result(RESULT, now_ms=now_ms()))
        assert session.mark(("all", 1))
        await until(lambda: desk.marks == [("all", 1)])
        await until(lambda: host.seqs() == [RESULT.seq])
        broker.freeze()
        assert session.mark("never answered")
        await until(lambda: not session.connected)  # a broker that hangs
        broker.thaw()
        await until(lambda: session.born)
        assert desk.marks == [("all", 1)]
        # what the question names was no subscription: commands still come
        await asyncio.to_thread(host.write, "DCMD/press2/top", {"Command/Id": "1"})
        await until(lambda: desk.orders)
    await asyncio.to_thread(host.close)


async def test_a_broker_that_does_not_answer_the_question_is_asked_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rumqttd says nothing when a subscription is ended that never was."""
    pytest.importorskip("iotcore")
    port = free_port()
    broker = Broker([sys.executable, "-m", "tools.broker", "--port", str(port)], port, tmp_path / "broker.log").start()
    try:
        async with session_on(port) as (session, desk):
            await until(lambda: session.born)
            monkeypatch.setattr("inspector.plc.mqtt.ANSWER_LIMIT_S", 0.3)
            assert all(session.mark(n) for n in range(40)), "as many as would make it deaf"
            await asyncio.sleep(0.4)
            assert desk.marks == [] and session.mark("again")
            await until(lambda: desk.marks == ["again"])
            assert session.mark("once more")
            await until(lambda: desk.marks == ["again", "once more"])
            host = await asyncio.to_thread(Host, port)
            await asyncio.to_thread(host.write, "DCMD/press2/top", {"Command/Id": "1"})
            await until(lambda: desk.orders)
            await asyncio.to_thread(host.close)
            assert desk.births == 1
    finally:
        broker.close()


async def test_a_broker_that_is_away_costs_nothing_and_is_found_again(make_mosquitto: Callable[[], Broker]) -> None:
    broker = make_mosquitto()
    async with session_on(broker.port) as (session, desk):
        await until(lambda: session.born)
        broker.kill()
        await until(lambda: desk.deaths == [False])
        assert not session.tell(Step(()))
        assert not session.tell(session.node.result(RESULT, now_ms=now_ms()))
        assert "connection" in session.text
        await asyncio.to_thread(broker.start)
        await until(lambda: session.born)
        assert desk.kept == list(range(len(desk.kept)))  # one number for each try
        assert desk.births == 2


async def test_the_rights_on_the_page_are_enough(make_mosquitto: Callable[[str], Broker], tmp_path: Path) -> None:
    rights = re.findall(r"^topic .*$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert len(rights) == 4
    # who has no name is the host, and may do everything
    (tmp_path / "acl").write_text("\n".join(["topic readwrite #", "user press2", *rights, ""]))
    port = make_mosquitto(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n").port
    host = await asyncio.to_thread(Host, port, name="scada")
    async with session_on(port, "scada", "press2") as (session, desk):
        await asyncio.to_thread(host.state, True, 1000)
        await until(lambda: len(host.of("DBIRTH")) == 1)
        assert session.tell(session.node.result(RESULT, now_ms=now_ms()))
        await until(lambda: host.seqs() == [RESULT.seq])
        assert session.mark("all")
        await until(lambda: desk.marks == ["all"])
        await asyncio.to_thread(host.write, "DCMD/press2/top", {"Command/Id": "1"})
        await until(lambda: desk.orders)
        await asyncio.to_thread(host.write, "NCMD/press2", {"Node Control/Rebirth": True})
        await until(lambda: len(host.of("DBIRTH")) == 2)
    await until(lambda: host.of("NDEATH"))
    await asyncio.to_thread(host.close)


async def test_a_session_that_is_stopped_before_it_connects_ends_at_once() -> None:
    async with session_on(free_port()) as (session, desk):
        await until(lambda: desk.kept)
    assert desk.deaths == []
    assert not session.connected
