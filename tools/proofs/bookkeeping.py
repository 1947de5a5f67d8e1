"""Keeps the station's books as the station would, and says on the recorder's log what it was promised.

``python -m tools.proofs.bookkeeping FOLDER LOG --parts N``: a process of its own, so that it can run on a recorded
disk and be killed. The ledger is the shipped one. Each marker is JSON: ``{"try": ...}`` before a call,
``{"got": ...}`` after it returned.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.station.ledger import Ledger, RecipeTag, utc_now
from tools.faulty_disk.log import Marker

LEDGER = "ledger.db"
TAG = RecipeTag(1, 2, "Lid", "a" * 64, 300)
LANES = 4  # parts under way at a time


class Bookkeeper:
    """Does at random what a station does with its books."""

    def __init__(self, folder: Path, log: Path, *, seed: int, keep: int) -> None:
        self._chance = random.Random(seed)
        self._marker = Marker(log)
        self._keep = keep
        boot = f"{seed & 0xFFFF:04x}"
        self.ledger = Ledger(folder / LEDGER, station="vis/v1/proof/s", boot=boot, sim=True)
        self._begun = 0
        self._open: set[int] = set()  # may still be told otherwise

    def say(self, word: str, what: str, **fields: Any) -> None:
        """A marker."""
        self._marker.put(json.dumps({word: what, **fields}).encode())

    async def run(self, parts: int, *, kill: bool) -> None:
        """Open, close what was left open, inspect ``parts`` more; ``kill``: end with kill -9, as a crash would."""
        self.say("try", "open")
        self.ledger.open()
        self.say("got", "open", next_seq=self.ledger.next_seq, damaged=self.ledger.damaged is not None)
        for part in self.ledger.interrupted:
            fault = InspectionFault(Code.INTERNAL_ERROR, "the station was interrupted while it inspected this part")
            await self._close(Verdict.not_inspected(part, fault))
        beside = asyncio.create_task(self._beside())
        left = parts

        async def lane() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                if left == 0 and kill:  # in the midst of the others' parts
                    os.kill(os.getpid(), signal.SIGKILL)
                await self._part()

        await asyncio.gather(*(lane() for _ in range(LANES)))
        self.say("got", "peace", given_up=self.ledger.given_up)
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside

    async def _part(self) -> None:
        chance = self._chance
        self._begun += 1
        name = f"P{chance.randint(1, 10**6)}"
        command = f"c{os.getpid()}-{self._begun}"
        golden: Literal["", "PASS"] = "PASS" if chance.random() < 0.03 else ""
        limit_ms = chance.choice((None, 200, 1000))
        trigger = Trigger(name, command, time.monotonic_ns(), utc_now(), "mqtt", limit_ms, golden=golden)
        part = self.ledger.begin(trigger, TAG)
        self._open.add(part.seq)
        self.say("try", "accept", seq=part.seq, cmd_id=command)
        await self.ledger.accept(part)
        self.say("got", "accept", seq=part.seq)
        await asyncio.sleep(chance.choice((0, 0, 0.001)))
        verdict = _verdict(part, chance)
        if golden:
            await self._close(Verdict.not_inspected(part, InspectionFault(Code.GOLDEN_CHECK, "a golden part")))
            await self.ledger.found(verdict)
            self.say("got", "found", seq=part.seq)
            self._told(part)
            return
        await self._close(verdict)
        if chance.random() < 0.1:  # its time ran out while it was written: told otherwise
            verdict = Verdict.not_inspected(part, InspectionFault(Code.TIMEOUT, "no verdict within its time"))
            fields = {"seq": part.seq, "outcome": verdict.outcome.value, "code": verdict.code, "checks": 0}
            self.say("try", "told_first", **fields)
            if await self.ledger.told_first(verdict, chance.randint(200, 1000)):
                self.say("got", "told_first", **fields)
            await asyncio.sleep(chance.choice((0, 0.002, 0.01)))
            await self._close(verdict)
        self._told(part)
        if verdict.outcome is Outcome.NOT_INSPECTED and chance.random() < 0.3:
            self.say("try", "late", seq=part.seq)
            await self.ledger.late(_verdict(part, chance), chance.randint(400, 900))
            self.say("got", "late", seq=part.seq)
        if chance.random() < 0.2:
            path = f"2026-01-01/{part.seq}.png"
            self.say("try", "picture", seq=part.seq, path=path)
            await self.ledger.picture(part.seq, path)
            self.say("got", "picture", seq=part.seq, path=path)

    async def _close(self, verdict: Verdict) -> None:
        fields = {"seq": verdict.part.seq, "outcome": verdict.outcome.value, "code": verdict.code}
        fields["checks"] = len(verdict.checks)
        self.say("try", "close", **fields)
        await self.ledger.close(verdict, self._chance.randint(5, 400))
        self.say("got", "close", **fields)

    def _told(self, part: Part) -> None:
        """Nothing may change this part's outcome any more."""
        self._open.discard(part.seq)
        self.ledger.told_below(min(self._open, default=self.ledger.next_seq))

    async def _beside(self) -> None:
        """What goes on beside the parts: records leave, alarms, notes, pruning, check-points."""
        number = 0
        while True:
            number += 1
            await asyncio.sleep(0.005)
            waiting = await self.ledger.outbox(0, 100)
            few = len(waiting) < self._keep // 3  # of more than ``keep`` the oldest would be given up
            gone = waiting[: self._chance.randint(0, 20)] if few else waiting
            if gone:
                self.say("try", "sent", seqs=[w.seq for w in gone if not w.late])
                await self.ledger.outbox_done([w.id for w in gone])
            if number % 3 == 0:
                text = f"{os.getpid()}-{number}"
                self.say("try", "meta", value=text)
                await self.ledger.set_meta("alive", text)
                self.say("got", "meta", value=text)
            if number % 2 == 0:
                text = f"{os.getpid()}-{number}"
                await self.ledger.alarm("camera", "came", text)
                self.say("got", "alarm", text=text)
            if number % 2 == 1:
                text = f"{os.getpid()}-{number}"
                await self.ledger.audit("proof", text, "old", "new")
                self.say("got", "audit", text=text)
                await self.ledger.remember(f"r{text}", "recipe", "8.1", text.encode())
                self.say("got", "answer", cmd_id=f"r{text}", answer=text)
            if number % 7 == 0 and few:
                self.say("try", "prune", keep=self._keep)
                await self.ledger.prune(self._keep)
            if number % 10 == 0:
                await self.ledger.checkpoint()

    def end(self) -> None:
        """As a shut-down."""
        self.say("try", "shut")
        self.ledger.shut(10.0)
        self.say("got", "shut")


def _verdict(part: Part, chance: random.Random) -> Verdict:
    kind = chance.random()
    if kind < 0.7:
        return Verdict(part, Outcome.PASS, 0, "Good", checks=(Check("lid", CheckOutcome.PASS),))
    if kind < 0.9:
        code = chance.randint(1000, 1010)
        check = Check("lid", CheckOutcome.FAIL, code, "Lid wrong", value=5.87, unit="mm", lower=5.94, upper=6.06)
        return Verdict(part, Outcome.FAIL, code, "Lid wrong", checks=(check,))
    return Verdict.not_inspected(part, InspectionFault(Code.NO_FRAME, "no picture came"))


class _Careless(sqlite3.Connection):
    """For the negative control: the same ledger, but NORMAL where it says FULL."""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), *rest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one session."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--keep", type=int, default=150, help="parts the ledger remembers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", action="store_true", help="end with kill -9")
    parser.add_argument("--normal", action="store_true", help="the negative control: synchronous=NORMAL")
    given = parser.parse_args(arguments)
    if given.normal:
        connect = sqlite3.connect
        sqlite3.connect = lambda *a, **k: connect(*a, **{"factory": _Careless, **k})  # type: ignore[assignment]
    keeper = Bookkeeper(given.folder, given.log, seed=given.seed, keep=given.keep)
    asyncio.run(keeper.run(given.parts, kill=given.kill))
    keeper.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
