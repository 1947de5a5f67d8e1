"""The station's test of itself: cameras, recipe, ledger, disk, clock, link; each found fault is one sentence.

It runs before the station is Ready for the first time, when the PLC asks for it, and every so often in a pause of
the line. One that failed leaves the station not Ready; it is repeated until it passes.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from inspector.codes import Code
from inspector.config import SelfTestConfig
from inspector.parts import InspectionFault
from inspector.plc.contract import utc_now
from inspector.station.cameras import Cameras
from inspector.station.judging import JudgeDesk
from inspector.station.ledger import Ledger

LIMIT_S = 10.0  # each of cameras and judge
LEDGER_LIMIT_S = 2.0
RETRY_S = 10.0  # after one that failed
PAUSE_S = 2.0  # so long without a part is a pause of the line
LEAST_FREE_KB = 128  # room for the next verdicts; that it gets scarce is said long before by an alarm
EARLIEST = "2025-01-01"  # no clock of a station that runs this software can be before that
MEMORY = "self_test"  # its key in the ledger's notes


class SelfTest:
    """When it is due, what it found."""

    def __init__(
        self,
        config: SelfTestConfig,
        *,
        cameras: Cameras,
        judge: JudgeDesk,
        ledger: Ledger,
        folder: Path,
        link: Callable[[], str],
    ) -> None:
        """``folder``: whose disk must have room; ``link()``: what is wrong with the link to the PLC, "" nothing."""
        self._config = config
        self._cameras, self._judge, self._ledger = cameras, judge, ledger
        self._folder, self._link = folder, link
        self._passed_at: float | None = None
        self._ran_at = 0.0
        self.failed = ""
        self.running = False

    # --- when ------------------------------------------------------------------------------------------
    def due(self, idle_s: float) -> bool:
        """It is to be run now, as no part is under way and the last one came ``idle_s`` ago."""
        if self.running or not self._judge.ready:
            return False
        if self.failed:
            return time.monotonic() - self._ran_at > RETRY_S
        if self._cameras.lost(self._judge.loaded.cameras if self._judge.loaded else ()):
            return False  # that is told already
        if self._config.required and self.overdue:
            return True  # no part is inspected before it has passed
        return self._passed_at is None or (self._age_share > 0.9 and idle_s > PAUSE_S)

    @property
    def _age_share(self) -> float:
        """Of the period; 0 when there is none."""
        if self._passed_at is None or not self._config.every_h:
            return 0.0
        return (time.monotonic() - self._passed_at) / (self._config.every_h * 3600)

    @property
    def overdue(self) -> str:
        """Why another one is needed, "" when none is."""
        return f"the self-test is overdue: every {self._config.every_h:g} h" if self._age_share > 1.0 else ""

    def refusal(self) -> InspectionFault | None:
        """Why no part may be inspected now."""
        if self.running:
            return InspectionFault(Code.NOT_READY, "the self-test is running")
        if self.failed:
            return InspectionFault(Code.SELF_TEST, f"the self-test failed: {self.failed}")
        if self._passed_at is None:
            return InspectionFault(Code.SELF_TEST, "the self-test has not been run yet")
        if self._config.required and self.overdue:
            return InspectionFault(Code.SELF_TEST, self.overdue)
        return None

    # --- what ------------------------------------------------------------------------------------------
    async def run(self) -> str:
        """Test everything. Returns what failed, "" when nothing did. No part may be under way."""
        first = self._passed_at is None and not self.failed
        self.running = True
        try:
            problems = [problem for problem in await self._problems(first) if problem]
        except InspectionFault as fault:
            problems = [fault.text]
        finally:
            self.running = False
        self._ran_at = time.monotonic()
        self.failed = "; ".join(problems)
        if not problems:
            self._passed_at = self._ran_at
        return self.failed

    async def _problems(self, first: bool) -> list[str]:
        checks: list[Awaitable[str]] = [self._books(), self._disk()]
        if first:  # cameras and models were proven when they were opened, and the link may still be coming
            found = [self._cameras.lost(self._judge.loaded.cameras if self._judge.loaded else ()), self._clock()]
        else:
            checks += [self._cameras.check_settings(LIMIT_S), self._judge.prove(LIMIT_S)]
            found = [self._clock(), self._link()]
        return [*await asyncio.gather(*checks), *found]

    async def _books(self) -> str:
        """Written and read again."""
        now = utc_now()
        try:
            await asyncio.wait_for(self._ledger.set_meta(MEMORY, now), LEDGER_LIMIT_S)
            found = await asyncio.wait_for(self._ledger.meta(MEMORY), LEDGER_LIMIT_S)
        except asyncio.TimeoutError:
            return f"the ledger did not answer within {LEDGER_LIMIT_S:.0f} s"
        except InspectionFault as fault:
            return fault.text
        return "" if found == now else f"the ledger gave back {found!r} for {now!r}"

    async def _disk(self) -> str:
        try:
            free_kb = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free // 1000
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        text = f"{self._folder}: {free_kb} kB free, at least {LEAST_FREE_KB} kB are needed"
        return "" if free_kb >= LEAST_FREE_KB else text

    @staticmethod
    def _clock() -> str:
        now = utc_now()
        return "" if now >= EARLIEST else f"the clock says {now}, before this software was made"
