"""Commands without an id, as a weak PLC sends them: the station is the real ledger's, the disk is slow."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from inspector.parts import InspectionFault
from inspector.plc.contract import PackState, StopCommand
from inspector.station.desk import Asker, CommandDesk
from inspector.station.ledger import Ledger, RecipeTag
from tests.station.ledgerrig import opened


class Station:
    """As much of one as a stop needs."""

    pack_state = PackState.STOPPED

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.changeover = self
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def set_stopped(self, stopped: bool) -> None:
        self.spawn(self.ledger.set_meta("stopped", "1"))

    async def fill(self) -> None:
        pass

    def tag(self) -> RecipeTag:
        return RecipeTag(1, 1, "Lid", "", 300)

    def refusal(self) -> InspectionFault | None:
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
