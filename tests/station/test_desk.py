"""What is on disk before a command is answered, and what a restart makes of one that was not done. Real ledgers."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.config import GoldenConfig
from inspector.parts import InspectionFault
from inspector.plc.contract import Command, GoldenCommand, PackState, RecipeCommand, StopCommand
from inspector.station.changeover import FILLING
from inspector.station.desk import Asker, CommandDesk
from inspector.station.golden import Golden
from inspector.station.ledger import Ledger, RecipeTag, StorageFault
from tests.station.ledgerrig import opened, query


class Station:
    """As much of one as these commands need."""

    pack_state = PackState.STOPPED

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.changeover = self
        self.tasks: list[asyncio.Task[None]] = []
        self.golden = Golden(GoldenConfig(), lambda: "")
        self.changing = self.busy_with = ""
        self.troubles: list[str] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def set_stopped(self, stopped: bool) -> None:
        self.spawn(self.ledger.set_meta("stopped", "1"))

    async def fill(self) -> None:
        pass

    async def filled(self, limit_s: float) -> None:
        await asyncio.sleep(0.01)
        self.changing = self.busy_with = ""

    def recipes(self) -> dict[int, Path]:
        return {}

    def trouble(self, what: str, detail: str) -> None:
        self.troubles.append(detail)

    def tag(self) -> RecipeTag:
        return RecipeTag(1, 1, "Lid", "", 300)

    def refusal(self, golden: bool = False) -> InspectionFault | None:
        return None

    def publish_state(self) -> None:
        pass


async def test_a_stop_without_an_id_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        station, answers = Station(ledger), asyncio.Queue[bytes](10)
        desk = CommandDesk(station, ledger)  # type: ignore[arg-type]
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the station's writer waits for this one
            desk.ask(StopCommand(""), Asker("plc", answers.put_nowait))
            await asyncio.sleep(0.1)
            assert answers.empty()
            other.execute("COMMIT")
        assert b'"done"' in await asyncio.wait_for(answers.get(), 10)
        assert await ledger.meta("stopped") == "1"
        await asyncio.gather(*station.tasks)


async def told(desk: CommandDesk, command: Command) -> bytes:
    answers = asyncio.Queue[bytes](10)
    desk.ask(command, Asker("plc", answers.put_nowait))
    return await asyncio.wait_for(answers.get(), 10)


@pytest.mark.parametrize("cmd_id", ["c1", ""])
async def test_who_made_the_station_do_it_is_on_disk_before_he_is_answered(tmp_path: Path, cmd_id: str) -> None:
    path, seen = tmp_path / "ledger.db", asyncio.Queue[list[tuple[object, ...]]](10)
    with opened(path) as ledger:
        station = Station(ledger)
        desk = CommandDesk(station, ledger)  # type: ignore[arg-type]
        asker = Asker("plc", lambda answer: seen.put_nowait(query(path, "SELECT who, what, new FROM audit")))
        desk.ask(StopCommand(cmd_id), asker)
        assert await asyncio.wait_for(seen.get(), 10) == [(f"plc:{cmd_id}" if cmd_id else "plc", "stop", "STOPPED")]
        await asyncio.gather(*station.tasks)


async def test_what_a_full_disk_has_not_taken_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"

    async def full(*_: Any) -> None:
        raise StorageFault("the ledger can't be written: database or disk is full")

    with opened(path) as ledger:
        station = Station(ledger)
        desk = CommandDesk(station, ledger)  # type: ignore[arg-type]
        with monkeypatch.context() as disk:
            disk.setattr(ledger, "remember", full)
            assert b'"done"' in await told(desk, StopCommand("c1")), "it is stopped all the same"
            await asyncio.gather(*station.tasks)
            desk.check()
            await asyncio.gather(*station.tasks)
        assert len(station.troubles) == 2 and query(path, "SELECT * FROM audit") == []
        for _ in range(2):
            desk.check()
            await asyncio.gather(*station.tasks)
        assert query(path, "SELECT who, what FROM audit") == [("plc:c1", "stop")]
        assert query(path, "SELECT cmd_id FROM command") == [("c1",)]


async def test_a_golden_part_that_a_restart_forgets_is_refused_to_who_announced_it(tmp_path: Path) -> None:
    path, command = tmp_path / "ledger.db", GoldenCommand("g1", "FAIL")
    with opened(path) as ledger:
        desk = CommandDesk(Station(ledger), ledger)  # type: ignore[arg-type]
        assert b'"accepted"' in await told(desk, command)
        assert b"accepted" in bytes(query(path, "SELECT answer FROM command")[0][0])  # type: ignore[arg-type]
    for told_now in (True, False):  # once: after the next restart it is an answered command like any other
        with opened(path) as ledger:
            desk = CommandDesk(Station(ledger), ledger)  # type: ignore[arg-type]
            assert await desk.recall() is told_now
            assert len(desk.forgotten) == told_now
            again = await told(desk, command)
            assert b'"refused"' in again and b'"code":402' in again and (not told_now or again == desk.forgotten[0])
    assert query(path, "SELECT who, what, old FROM audit") == [("station", "golden", "expected FAIL")]


async def test_a_change_of_recipe_waits_while_others_are_made_ready(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        station = Station(ledger)
        station.changing = station.busy_with = FILLING
        desk = CommandDesk(station, ledger)  # type: ignore[arg-type]
        assert b"there is no recipe 9" in await told(desk, RecipeCommand("r1", 9, None))
