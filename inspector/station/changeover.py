"""From one recipe to another: parts under way finish on the old one, and new ones wait for the new one.

Also what that makes of the configuration, whose digest every part carries.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from inspector.codes import Code
from inspector.parts import InspectionFault
from inspector.station.alarms import Alarms
from inspector.station.cameras import Cameras
from inspector.station.digest import Configuration, canonical
from inspector.station.judging import JudgeDesk
from inspector.station.ledger import Ledger, RecipeTag, StorageFault

_log = logging.getLogger(__name__)

NO_RECIPE = RecipeTag(0, 0, "", "", 1000)
DRAIN_LIMIT_S = 10.0
FILLING = "recipes are being made ready"
STATION = "station"  # who changed something, when nobody asked for it


class Changeover:
    """Which recipe runs, and the way to another one."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        cameras: Cameras,
        judge: JudgeDesk,
        alarms: Alarms,
        configuration: Configuration,
        recipes: Callable[[], dict[int, Path]],
        preload: Sequence[int],
        remember: Callable[[str, str], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        depth: Callable[[], int],
        told: Callable[[], None],
    ) -> None:
        """``depth()``: parts under way; ``told()``: ready or not, or the configuration, has changed."""
        self._ledger, self._cameras, self._judge, self._alarms = ledger, cameras, judge, alarms
        self._recipes, self._preload = recipes, tuple(dict.fromkeys(preload))
        self._unfit: set[int] = set()  # of them, those that could not be made ready
        self._remember, self._spawn, self._depth, self._told = remember, spawn, depth, told
        self._asked_by = STATION
        self.configuration = configuration
        self.changing = ""
        self.fault = "no recipe has been loaded yet"

    def tag(self) -> RecipeTag:
        """The recipe that new parts get, with the configuration it belongs to."""
        loaded = self._judge.loaded
        if loaded is None:
            return NO_RECIPE
        digest = self.configuration.digest if self.configuration.names(loaded) else ""
        return RecipeTag(loaded.number, loaded.rev, loaded.name, loaded.sha, loaded.deadline_ms, digest)

    def refusal(self) -> InspectionFault | None:
        """Why a new part can't be judged now."""
        if self.changing:
            return InspectionFault(Code.NOT_READY, self.changing)
        if not self._judge.ready:
            if self.fault:
                return InspectionFault(Code.RECIPE_INVALID, self.fault)
            return InspectionFault(Code.INTERNAL_ERROR, f"the judge is not ready: {self._judge.text}")
        return None

    async def first(self, number: int, path: Path, loaded: Callable[[], None]) -> None:
        """The recipe to begin with; ``loaded()``: it is there, or can't be.

        The station is Ready only when the others lie ready, too: making one ready takes the judge's time.
        """
        await self._change(number, path, None, "")
        loaded()
        await self._fill()
        self._end()

    async def load(
        self, number: int, path: Path, rev: int | None = None, *, asked_by: str = ""
    ) -> InspectionFault | None:
        """Change over; parts under way finish on the old recipe first. Returns why it failed, and stays not Ready.

        ``asked_by``: whose command it is. It is remembered whether it runs or not: after a restart the one before it
        must not come back by itself.
        """
        fault = await self._change(number, path, rev, asked_by)
        self._end()
        return fault

    def _end(self) -> None:
        self.changing, self._asked_by = "", STATION
        self._look()  # a camera may have been exchanged meanwhile
        self._told()

    async def _change(self, number: int, path: Path, rev: int | None, asked_by: str) -> InspectionFault | None:
        self.changing = f"recipe {number} is being loaded"
        self._asked_by = asked_by or STATION
        self._told()
        try:
            if asked_by:
                await self._remember("recipe", str(number))
            await self._drain()
            loaded = await self._judge.load(path)
            self._cameras.plan(loaded.cameras, loaded.shots, loaded.deadline_ms)
            if loaded.number != number or rev not in (None, loaded.rev):
                raise InspectionFault(
                    Code.UNKNOWN_RECIPE,
                    f"{path.name} is recipe {loaded.number} rev {loaded.rev}, wanted: {number} rev {rev or 'any'}",
                )
            self.fault = ""
            self._alarms.go("recipe")
            self._look()
            await self._remember("recipe", str(number))
            return None
        except Exception as error:  # whatever it is: answered, and nothing goes on with half a change
            if isinstance(error, InspectionFault):
                fault = error
            else:
                _log.exception("recipe %d", number)
                fault = InspectionFault(Code.INTERNAL_ERROR, f"recipe {number}: {type(error).__name__}: {error}")
            self.fault = fault.text
            await self._judge.unload()
            self._alarms.come("recipe", fault.text.splitlines()[0])
            return fault
        except BaseException:
            self._end()
            raise

    async def fill(self) -> None:
        """Make the other recipes ready that the settings name. Nothing is inspected meanwhile: call it in a pause."""
        if not self.changing:
            try:
                await self._fill()
            finally:
                self._end()

    async def _fill(self) -> None:
        if not self._preload:
            return
        self.changing = FILLING
        self._told()
        await self._drain()
        self._unfit.clear()
        found = self._recipes()
        for number in self._preload:
            await self._make_ready(number, found.get(number))

    async def _make_ready(self, number: int, path: Path | None) -> None:
        why = "there is no such recipe" if path is None else await self._judge.prepare(path)
        if why:
            self._unfit.add(number)
            _log.warning("preload: recipe %d: %s", number, why)

    def refill(self) -> None:
        """A judge that died has come back with an empty shelf: make one recipe ready again, if one is missing.

        Nothing is inspected meanwhile: call it now and then in a pause of the line. One that can't be made ready, or
        that kills the judge, is tried again only by :meth:`fill`.
        """
        if self.changing or self._depth() or not self._judge.ready:
            return
        shelf = self._judge.shelf
        if len(shelf) + len(self._unfit) >= len(self._preload):
            return
        found = self._recipes()
        missing = [n for n in self._preload if n not in self._unfit and found.get(n) not in shelf]
        if missing:
            self.changing = FILLING
            self._spawn(self._refill(missing[0], found.get(missing[0])))

    async def _refill(self, number: int, path: Path | None) -> None:
        self._told()
        try:
            await self._make_ready(number, path)
        finally:
            self._end()

    async def filled(self, limit_s: float) -> None:
        """Wait until recipes lie ready that are being made ready, if any."""
        end = time.monotonic() + limit_s
        while self.changing == FILLING and time.monotonic() < end:
            await asyncio.sleep(0.02)

    async def _drain(self) -> None:
        end = time.monotonic() + DRAIN_LIMIT_S
        while self._depth() and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def no_recipe(self, why: str) -> None:
        """There is nothing to load: stay not Ready and say so."""
        self.fault = why
        self._alarms.come("recipe", why)
        self._told()

    def look(self) -> None:
        """A recipe was loaded anew, or a camera was opened: is this another configuration?"""
        if not self.changing:  # a change looks by itself, when recipe and cameras belong together
            self._look()

    def _look(self) -> None:
        made_of = self.configuration
        if made_of.update(self._judge.loaded, self._cameras.identities()):
            self._spawn(self._keep(made_of.digest, canonical(made_of.content), self._asked_by))
            self._told()

    async def _keep(self, digest: str, content: str, who: str) -> None:
        try:
            await self._ledger.configuration(digest, content, who)
        except StorageFault as fault:
            _log.warning("configuration %s is not on record: %s", digest[:8], fault.text)
