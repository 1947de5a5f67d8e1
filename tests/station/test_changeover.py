"""A change of recipe when something goes wrong at the worst moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from inspector.config import StationConfig
from inspector.parts import InspectionFault
from inspector.station.alarms import Alarms
from inspector.station.changeover import Changeover
from inspector.station.children import ChildGone
from inspector.station.digest import Configuration
from inspector.station.ledger import Ledger
from inspector.wire import Loaded
from tests.station.ledgerrig import opened


class Rig:
    """What stands around a changeover: a judge and cameras that do as they are told. The ledger is the real one."""

    text = "as told"

    def __init__(self, ledger: Ledger, config: StationConfig, preload: tuple[int, ...] = ()) -> None:
        self.loaded: Loaded | None = None
        self.serial = "A"
        self.breaks: Exception | None = None
        self.go_on = asyncio.Event()
        self.shelf: set[Path] = set()
        self.unfit: set[Path] = set()
        self.prepared: list[Path] = []
        self.notes: list[tuple[str, str]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.changeover = Changeover(
            ledger=ledger, cameras=self, judge=self, alarms=Alarms(lambda alarm, what: None),  # type: ignore[arg-type]
            configuration=Configuration(config), recipes=lambda: {n: Path(f"{n}.yaml") for n in (1, 2)},
            preload=preload, remember=self.remember, spawn=self.spawn, depth=lambda: 0, told=lambda: None,
        )  # fmt: skip

    async def remember(self, key: str, value: str) -> None:
        self.notes.append((key, value))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    # judge
    @property
    def ready(self) -> bool:
        return self.loaded is not None

    async def load(self, path: Path) -> Loaded:
        self.loaded = None
        if self.breaks is not None:
            raise self.breaks
        self.loaded = Loaded(str(path), int(path.stem), 1, f"Recipe {path.stem}", path.stem * 64, 300, ("top",))
        return self.loaded

    async def unload(self) -> None:
        self.loaded = None

    async def prepare(self, path: Path) -> str:
        await self.go_on.wait()
        self.prepared.append(path)
        if path in self.unfit:
            return "the judge died"
        self.shelf.add(path)
        return ""

    # cameras
    def plan(self, *_: Any) -> None:
        pass

    def identities(self) -> dict[str, dict[str, str]]:
        return {"top": {"serial": self.serial}}


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    return StationConfig.model_validate(
        {
            "line": "press2", "station": "top", "name": "Top", "recipes": tmp_path, "recipe": 1, "state_dir": tmp_path,
            "runtime_dir": tmp_path, "cameras": {"top": {"serial": "A", "features": tmp_path / "camera.yaml"}},
        }
    )  # fmt: skip


async def test_whatever_breaks_a_change_it_is_answered_and_nothing_is_judged(
    tmp_path: Path, config: StationConfig
) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        rig = Rig(ledger, config)
        assert await rig.changeover.load(1, Path("1.yaml")) is None
        assert rig.changeover.refusal() is None
        rig.breaks = ChildGone("judge does not read its messages")
        fault = await rig.changeover.load(2, Path("2.yaml"), asked_by="plc:c1")
        assert isinstance(fault, InspectionFault) and "does not read" in fault.text
        refusal = rig.changeover.refusal()
        assert (rig.loaded, rig.changeover.changing) == (None, "") and rig.notes[-1] == ("recipe", "2")
        assert refusal is not None and refusal.code == 303
        await asyncio.gather(*rig.tasks)


async def test_a_camera_that_was_exchanged_while_recipes_were_made_ready_is_another_configuration(
    tmp_path: Path, config: StationConfig
) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        rig = Rig(ledger, config, preload=(2,))
        await rig.changeover.configuration.measure()
        await rig.changeover.load(1, Path("1.yaml"))
        before = rig.changeover.tag().config
        filling = asyncio.create_task(rig.changeover.fill())
        while not rig.changeover.changing:
            await asyncio.sleep(0)
        rig.serial = "B"
        rig.changeover.look()  # the camera was opened
        rig.go_on.set()
        await filling
        assert before and rig.changeover.tag().config not in ("", before)
        await asyncio.gather(*rig.tasks)


async def test_a_judge_that_died_gets_its_recipes_back_one_in_each_pause(tmp_path: Path, config: StationConfig) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        rig = Rig(ledger, config, preload=(1, 2, 3))
        rig.go_on.set()
        rig.unfit = {Path("2.yaml")}
        await rig.changeover.first(1, Path("1.yaml"), lambda: None)
        assert rig.shelf == {Path("1.yaml")}

        async def pauses(count: int) -> list[Path]:
            rig.prepared.clear()
            for _ in range(count):
                rig.changeover.refill()
                await asyncio.gather(*rig.tasks)
            return rig.prepared

        assert await pauses(2) == [], "nothing is missing that can be made ready"
        rig.shelf.clear()
        loaded, rig.loaded = rig.loaded, None
        assert await pauses(1) == [], "the judge is not back yet"
        rig.loaded = loaded
        rig.changeover.refill()
        refusal = rig.changeover.refusal()
        assert refusal is not None and refusal.code == 402, "nothing is inspected meanwhile"
        assert await pauses(3) == [Path("1.yaml")] and rig.changeover.refusal() is None
        rig.unfit.clear()
        await rig.changeover.fill()  # a stop: everything is tried again
        assert rig.shelf == {Path("1.yaml"), Path("2.yaml")}
        rig.shelf.clear()
        assert await pauses(5) == [Path("1.yaml"), Path("2.yaml")]


async def test_the_limits_of_a_recipe_are_in_its_configuration(config: StationConfig) -> None:
    made_of = Configuration(config)
    await made_of.measure()
    seen = set()
    for expect in ("6.00 ±0.06 mm", "6.00 ±0.05 mm"):
        says = {"recipe": 1, "measure": {"bore": {"tool": "diameter", "expect": expect}}}
        loaded = Loaded("1.yaml", 1, 1, "Plate", "1" * 64, 300, ("top",), says=json.dumps(says))
        assert made_of.update(loaded, {"top": {"serial": "A"}})
        assert made_of.content["recipe"]["says"] == says
        seen.add(made_of.digest)
    assert len(seen) == 2
