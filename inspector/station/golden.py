"""Golden parts: known good and bad ones that show that the station still finds what it must find.

A golden part walks like any other, but is no product: the line is told NOT_INSPECTED 502, and what was found goes
to whoever announced it. One that failed holds Ready false until one with the same expectation has passed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from inspector.codes import Code
from inspector.config import GoldenConfig
from inspector.parts import InspectionFault, Trigger, Verdict
from inspector.plc.contract import GoldenCommand

_log = logging.getLogger(__name__)

ARMED_S = 60.0  # an announced golden part that has not come by then will not come
MEMORY = "golden"  # its key in the ledger's notes


@dataclass(frozen=True)
class Challenge:
    """The last golden part with one expectation: when, as the monotonic clock counts, and what came of it."""

    at: float
    ok: bool
    text: str
    config: str
    seq: int


@dataclass(frozen=True)
class Armed:
    """The next part is the golden part; ``answer`` takes what was found, or the fault when none came."""

    command: GoldenCommand
    until: float
    answer: Callable[[Verdict | None, InspectionFault | None], None]


class Golden:
    """What golden parts have shown, and which is awaited."""

    def __init__(self, config: GoldenConfig, config_digest: Callable[[], str]) -> None:
        self._config = config
        self._digest = config_digest
        self._last: dict[str, Challenge] = {}
        self._passed: dict[str, Challenge] = {}
        self._under_way: dict[int, Armed] = {}
        self.armed: Armed | None = None

    # --- the part that comes ---------------------------------------------------------------------------
    def arm(
        self, command: GoldenCommand, answer: Callable[[Verdict | None, InspectionFault | None], None]
    ) -> InspectionFault | None:
        """The next part is this one's. Returns why not."""
        if self.armed is not None or self._under_way:
            return InspectionFault(Code.NOT_READY, "a golden part is awaited or under way already")
        self.armed = Armed(command, time.monotonic() + ARMED_S, answer)
        return None

    def claim(self, trigger: Trigger) -> tuple[Trigger, Armed | None]:
        """A part has come: it is the golden part when one is awaited."""
        self.check()
        armed, self.armed = self.armed, None
        return (trigger, None) if armed is None else (replace(trigger, golden=armed.command.expect), armed)

    def begun(self, seq: int, armed: Armed | None) -> None:
        """The golden part has its number."""
        if armed is not None:
            self._under_way[seq] = armed

    def found(self, verdict: Verdict) -> bool:
        """What was found in a golden part; True when it is what must be found."""
        expect = verdict.part.trigger.golden
        ok = verdict.outcome.value == expect
        said = f"expected {expect}, found {verdict.outcome.value} {verdict.code}"
        text = said if ok else f"{said}: {verdict.text}"
        challenge = Challenge(time.monotonic(), ok, text, verdict.part.config, verdict.part.seq)
        self._last[expect] = challenge
        if ok:
            self._passed[expect] = challenge
        armed = self._under_way.pop(verdict.part.seq, None)
        if armed is not None:
            armed.answer(verdict, None if ok else InspectionFault(Code.GOLDEN_FAILED, text))
        return ok

    def unsure(self, told: Iterable[tuple[int, str]]) -> None:
        """(seq, what must be found) of golden parts that were told before a crash, which took what was found."""
        for seq, expect in told:
            last = self._last.get(expect)
            if last is None or last.seq < seq:
                text = (
                    f"expected {expect}, found unknown: the station was interrupted before it was noted; show it again"
                )
                self._last[expect] = Challenge(time.monotonic(), False, text, "", seq)

    def check(self) -> None:
        """A golden part that does not come is forgotten, and that is said. Call it now and then."""
        armed = self.armed
        if armed is not None and time.monotonic() > armed.until:
            self.armed = None
            text = f"no part came within {ARMED_S:.0f} s: the next part is a product again"
            armed.answer(None, InspectionFault(Code.TIMEOUT, text))

    # --- what they have shown --------------------------------------------------------------------------
    @property
    def failed(self) -> str:
        """What the last golden part did not show, "" when all is well."""
        return next((f"golden part {one.text}" for one in self._last.values() if not one.ok), "")

    @property
    def overdue(self) -> str:
        """Which golden part should have been shown by now, "" when none."""
        limit_s = self._config.every_h * 3600
        for expect in self._config.expect if self.asked else ():
            passed = self._passed.get(expect)
            if passed is None:
                return f"the golden part that must {expect} has not been shown yet"
            if limit_s and time.monotonic() - passed.at > limit_s:
                return f"the golden part that must {expect} is overdue: every {self._config.every_h:g} h"
            if self._config.after_change and passed.config != self._digest():
                return f"the configuration has changed since the golden part that must {expect} was shown"
        return ""

    @property
    def asked(self) -> bool:
        """The station's settings want golden parts."""
        return self._config.every_h > 0 or self._config.after_change

    def refusal(self) -> InspectionFault | None:
        """Why no product may be inspected now."""
        text = self.failed or (self.overdue if self._config.required else "")
        return InspectionFault(Code.GOLDEN_FAILED, text) if text else None

    @property
    def ok(self) -> bool:
        """None has failed, none is overdue."""
        return not self.failed and not self.overdue

    @property
    def age_s(self) -> int:
        """Since all that are wanted were last found as expected; -1 when one of them never was."""
        wanted = self._config.expect if self.asked else tuple(self._passed)
        ages = [time.monotonic() - self._passed[e].at for e in wanted if e in self._passed]
        return int(max(ages)) if ages and len(ages) == len(wanted) else -1

    # --- over restarts ---------------------------------------------------------------------------------
    def memory(self) -> str:
        """To be kept in the ledger."""
        now, wall = time.monotonic(), time.time()

        def told(challenges: Iterable[tuple[str, Challenge]]) -> dict[str, Any]:
            return {
                expect: {"at": wall - (now - c.at), "ok": c.ok, "text": c.text, "config": c.config, "seq": c.seq}
                for expect, c in challenges
            }

        return json.dumps({"last": told(self._last.items()), "passed": told(self._passed.items())})

    def remember(self, memory: str | None) -> None:
        """What :meth:`memory` said before the restart. The time between is counted by the wall clock."""
        if not memory:
            return
        now, wall = time.monotonic(), time.time()
        try:
            self._recall(json.loads(memory), now, wall)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error("what golden parts have shown can't be read (%s): they are to be shown again", error)
            self._last.clear()
            self._passed.clear()

    def _recall(self, tree: Any, now: float, wall: float) -> None:
        for name, into in (("last", self._last), ("passed", self._passed)):
            for expect, c in tree[name].items():
                at = now - max(0.0, wall - float(c["at"]))
                into[expect] = Challenge(at, bool(c["ok"]), str(c["text"]), str(c["config"]), int(c["seq"]))
