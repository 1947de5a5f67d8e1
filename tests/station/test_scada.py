"""The desk for SCADA beside real books; the whole of it runs in tests/walk/test_sparkplug.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from inspector.config import StationConfig, load_station
from inspector.parts import Verdict
from inspector.plc.contract import PackState, StationState
from inspector.station import scada as module
from inspector.station.alarms import Alarms
from inspector.station.ledger import Ledger
from inspector.station.scada import LIVE_BOUND, TOLD, ScadaDesk
from inspector.yamlfile import FileError
from tests.plc.peers import free_port
from tests.plc.test_link import until
from tests.station.test_ledger import TAG, passed, trigger

STATION = """\
line: t
station: s
name: Test
plc:
  sparkplug: {group: plant, node: press2, broker: {host: 127.0.0.1, port: PORT}}
cameras:
  top: {serial: "1", features: top.yaml}
recipes: .
recipe: 1
"""


class Station:
    """As much of a station as the desk asks."""

    def order(self, name: str, payload: bytes, *, retained: bool, answer: Callable[[bytes], None]) -> None:
        raise AssertionError("nobody ordered anything")

    def station_state(self) -> StationState:
        return StationState(PackState.EXECUTE, True, False, 1, 2, "0000", 1, 0, 10)

    def counters(self) -> Mapping[str, int]:
        return {"total": 5, "golden": 1}


def station_file(folder: Path, *changes: tuple[str, str]) -> Path:
    (folder / "top.yaml").write_text("features: {Width: 640}\n")
    text = STATION.replace("PORT", str(free_port()))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "station.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    return load_station(station_file(tmp_path))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db", station="s", boot="0000", sim=False)
    ledger.open()
    yield ledger
    ledger.shut(5.0)


def desk_of(config: StationConfig, ledger: Ledger, alarms: Alarms | None = None) -> ScadaDesk:
    return ScadaDesk(
        config=config, ledger=ledger, alarms=alarms or Alarms(lambda alarm, what: None), commands=Station(),
        settled_below=lambda: ledger.next_seq, loop=asyncio.get_running_loop(),
    )  # fmt: skip


async def judged(ledger: Ledger, count: int) -> list[Verdict]:
    verdicts = []
    for _ in range(count):
        verdicts.append(passed(ledger.begin(trigger(), TAG)))
        await ledger.close(verdicts[-1], 1)
    return verdicts


async def test_history_begins_when_it_is_switched_on(config: StationConfig, ledger: Ledger, tmp_path: Path) -> None:
    await judged(ledger, 5)
    ledger.shut(5.0)
    again = Ledger(tmp_path / "ledger.db", station="s", boot="0001", sim=False)
    again.open()
    try:
        first = desk_of(config, again)
        await first.open()
        assert first.depth == 0
        await first.keep()
        await judged(again, 3)
        assert first.depth == 3
        assert await again.meta(TOLD) == "5"
        later = desk_of(config, again)  # it was away meanwhile
        await later.open()
        assert later.depth == 3
    finally:
        again.shut(5.0)


async def test_without_a_broker_verdicts_wait_in_the_ledger_not_in_memory(
    config: StationConfig, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    monkeypatch.setattr(module, "KEEP_EVERY_S", 0.0)
    alarms = Alarms(lambda alarm, what: None)
    desk = desk_of(config, ledger, alarms)
    await desk.open()
    (verdict,) = await judged(ledger, 1)
    for _ in range(LIVE_BOUND + 7):
        desk.verdict(verdict, 1)
    assert desk.drops == 7
    tasks = [asyncio.create_task(work()) for work in desk.works.values()]
    try:
        await until(lambda: any("no connection to the broker" in alarm.text for alarm in alarms.listed()))
        assert desk.depth == 1
        (alarm,) = alarms.listed()
        assert alarm.entry.priority == 3
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        await desk.stop(0.5)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("group: plant", "group: a/b", "sparkplug.group: found 'a/b': allowed: 1 to 64 printable characters"),
        ("group: plant", "group: STATE", "that is where host applications tell their state"),
        ("group: plant, ", "", "sparkplug.group: missing"),
        ("node: press2", 'node: ""', "sparkplug.node: found ''"),
        ("node: press2", "device: '#'", "sparkplug.device: found '#'"),
        ("node: press2", f"primary_host: {'x' * 65}", "sparkplug.primary_host: found"),
        ("host: 127.0.0.1, ", "", "sparkplug.broker.host: missing"),
        ("host: 127.0.0.1", "host: h, ca_file: no.pem", "sparkplug.broker.ca_file: there is no file"),
        ("node: press2", "qos: 1", "sparkplug.qos: unknown key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(old: str, new: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as problems:
        load_station(station_file(tmp_path, (old, new)))
    assert "station.yaml:5: plc." in str(problems.value)
    assert says in str(problems.value)


def test_the_password_of_its_broker_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x\n")
    file = station_file(tmp_path, ("host: 127.0.0.1", "host: h, username: u, password_file: secret"))
    sparkplug = load_station(file).plc.sparkplug
    assert sparkplug is not None
    assert sparkplug.broker is not None
    assert sparkplug.broker.password_file == tmp_path / "secret"
