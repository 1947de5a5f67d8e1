"""The station's desk for SCADA on a real broker, with real books: no verdict is left out, whoever goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inspector.config import load_station
from inspector.station import scada as module
from inspector.station.ledger import Ledger
from inspector.station.scada import ScadaDesk
from tests.plc.peers import Broker, free_port
from tests.plc.sparkplug.host import Host
from tests.plc.test_link import until
from tests.station.test_ledger import TAG, passed, trigger
from tests.station.test_scada import STATION, desk_of
from tools.proofs.proxy import Proxy

pytestmark = pytest.mark.mosquitto


class Station:
    """Parts come, and the desk is told of each."""

    def __init__(self, desk: ScadaDesk, ledger: Ledger) -> None:
        self.desk, self._ledger = desk, ledger

    async def inspect(self, count: int) -> list[int]:
        seqs = []
        for _ in range(count):
            verdict = passed(self._ledger.begin(trigger(), TAG))
            await self._ledger.close(verdict, 1)
            self.desk.verdict(verdict, 1)
            seqs.append(verdict.part.seq)
        return seqs

    async def taken(self, seq: int) -> None:
        await until(lambda: self.desk._told.surely_taken == seq, what=f"the broker's word for {seq}")


@asynccontextmanager
async def station(folder: Path, port: int, primary_host: str) -> AsyncIterator[Station]:
    ledger = Ledger(folder / "ledger.db", station="s", boot="0000", sim=False)
    ledger.open()
    (folder / "top.yaml").write_text("features: {Width: 640}\n")
    text = STATION.replace("port: PORT", f"port: {port}, keepalive_s: 2")
    (folder / "station.yaml").write_text(text.replace("group: plant", f"group: plant, primary_host: {primary_host}"))
    desk = desk_of(load_station(folder / "station.yaml"), ledger)
    await desk.open()
    tasks = [asyncio.create_task(work()) for work in desk.works.values()]
    try:
        yield Station(desk, ledger)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        await desk.stop(0.5)
        ledger.shut(5.0)


async def test_verdicts_wait_for_the_primary_host_and_a_cut_cable_costs_no_repeats(
    tmp_path: Path, make_mosquitto: Callable[[], Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(module, "MARK_EVERY_S", 0.05)
    port = make_mosquitto().port
    cable = free_port()
    proxy = Proxy(cable, port)
    host = await asyncio.to_thread(Host, port, name="scada")
    await asyncio.to_thread(host.state, True, 1000)
    try:
        async with station(tmp_path, cable, "scada") as line:
            await until(lambda: line.desk.session.born)
            assert await line.inspect(3) == [1, 2, 3]
            await line.taken(3)
            # the same host is still there: what the broker had surely taken is not told again
            proxy.refusing = True
            proxy.cut()
            await until(lambda: not line.desk.session.connected)
            await line.inspect(2)
            proxy.refusing = False
            await until(lambda: host.seqs() == [1, 2, 3, 4, 5], what="what was missed")
            assert host.seqs(historical=True) == [4, 5]
            await line.taken(5)
            # without its host the station keeps all verdicts, and tells those again that may have met nobody
            await asyncio.to_thread(host.state, False, 1000)
            await until(lambda: not line.desk.session.born)
            await line.inspect(2)
            await until(lambda: line.desk.session.connected)
            await asyncio.sleep(0.2)
            assert host.seqs() == [1, 2, 3, 4, 5]
            assert line.desk.session.text == "waiting for the primary host"
            await asyncio.to_thread(host.state, True, 2000)
            await until(lambda: host.seqs() == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7], what="everything again")
            assert host.seqs(historical=True) == [4, 5, 1, 2, 3, 4, 5, 6, 7]
            await line.taken(7)
            # a newer host, though nobody said that the old one went: the broker may have died with it
            await asyncio.to_thread(host.state, True, 3000)
            await until(lambda: host.seqs(historical=True)[9:] == [1, 2, 3, 4, 5, 6, 7], what="everything once more")
            assert await line.inspect(1) == [8]
            await until(lambda: host.seqs()[-1] == 8)
            assert 8 not in host.seqs(historical=True)
    finally:
        proxy.close()
        await asyncio.to_thread(host.close)
    assert host.complaints == []
