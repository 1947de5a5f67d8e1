"""One fault at one part of a whole station, all that follows, and what of it must not be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspector.station.ledger import recount
from tools.cameras.belt import Belt, Notice, Part
from tools.cameras.matrix import Fault

NOTICE_LIMIT_S = 2.0
BACK_LIMIT_S = 10.0
GIVE_UP_S = 14.0
CALM_PARTS = 4  # so many right ones in a row, and the station has got over it
UNKEPT_SHARE = 0.02  # of the judged pictures: with more the proof has holes


@dataclass
class Strike:
    """One fault at one part, and all that followed."""

    fault: Fault
    at_s: float
    back_s: float  # when the camera was itself again
    parts: list[Part] = field(default_factory=list)  # from the one that was struck
    notices: list[Notice] = field(default_factory=list)
    strays: dict[str, int] = field(default_factory=dict)

    @property
    def touched(self) -> list[Part]:
        """Those whose own picture or identity was spoilt."""
        if self.fault.touched is None:
            return [p for p in self.parts if p.sent_s < self.back_s]
        return self.parts[: self.fault.touched]

    @property
    def noticed_s(self) -> float | None:
        """From the injection to the first thing that tells of it; None: nothing did."""
        told = [p.answered_s for p in self.parts if p.answers and not p.right]
        told += [n.at_s for n in self.notices if n.level != "info"]
        return max(0.0, min(told) - self.at_s) if told else None

    @property
    def recovered_s(self) -> float | None:
        """From the camera's return to the first right verdict of a part that came later; None: never."""
        right = [p.answered_s for p in self.parts if p.right and p.sent_s >= self.back_s]
        return min(right) - self.back_s if right else None


@dataclass
class Row:
    """A fault with one producer and one way of triggering: its strikes and what was broken."""

    fault: Fault
    strikes: list[Strike]
    broken: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What one station with one producer and one way of triggering did."""

    rows: list[Row] = field(default_factory=list)
    judged: int = 0  # PASS and FAIL
    unread: int = 0  # of these, no number could be read in the pixels: spoilt on purpose, or not kept
    unkept: int = 0
    calm: int = 0  # parts between the faults
    calm_lost: int = 0  # of these, not judged: this machine was too busy
    late: int = 0  # parts whose messages the machine has held up
    late_s: float = 0.0  # by so much at most
    problems: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """Everything that must not be."""
        return [f"{row.fault.name}: {one}" for row in self.rows for one in row.broken] + self.problems


def strike(belt: Belt, fault: Fault, *, good: bool) -> Strike:
    """Let the fault happen at a good or a bad part, and parts run on until all is well again."""
    while belt.passed < fault.after_good:
        belt.next()
    end = time.monotonic() + GIVE_UP_S
    belt.next()
    while belt.next_is_good is not good or not belt.is_calm() and time.monotonic() < end:
        belt.next()
    belt.drain()
    strays = Counter(belt.strays())
    seen = len(belt.notices)
    first = belt.next(fault.inject)
    found = Strike(fault, first.sent_s, first.sent_s + fault.gone_s, [first])
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end and not _over(found):
        found.parts.append(belt.next())
        found.notices = belt.notices[seen:]
        if found.fault.calm and found.parts[-1].sent_s - found.at_s > NOTICE_LIMIT_S:
            found.fault.calm(belt.control)
    belt.control.arm(0, "None")
    belt.drain()
    found.notices = belt.notices[seen:]
    found.strays = dict(Counter(belt.strays()) - strays)
    return found


def _over(found: Strike) -> bool:
    later = [p for p in found.parts if p.sent_s >= found.back_s and p not in found.touched]
    answered = [p for p in later if p.answers]
    long = found.parts[-1].sent_s - found.at_s > NOTICE_LIMIT_S + 0.5
    waited = long or not (found.fault.calm or (found.fault.noticed and found.noticed_s is None))
    return waited and len(answered) >= CALM_PARTS and all(p.right for p in answered[-CALM_PARTS:])


def judge(row: Row) -> None:
    """Note what must not be."""
    for found in row.strikes:
        touched = found.touched
        late = {p.number + n for p in found.parts if p.late for n in (-1, 0, 1)}
        hurt = [p for p in found.parts if not p.right and p.number not in late]
        for part in found.parts:
            if part.late and len(part.answers) == 1:
                continue
            said = f"part {part.number} ({'good' if part.good else 'bad'})"
            if len(part.answers) != 1:
                row.broken.append(f"{said} had {len(part.answers)} answers")
            elif part.pixels not in (None, part.number):
                row.broken.append(f"{said} {part.verdict} by the picture of part {part.pixels}")
            elif part.verdict == "PASS" and not part.good:
                row.broken.append(f"{said} passed")
            elif part.verdict == "PASS" and part in touched and not row.fault.may_pass:
                row.broken.append(f"{said} passed although it was touched")
            elif part.verdict == "FAIL" and part.good and part not in touched:
                row.broken.append(f"{said} failed")
        if not row.fault.hurts and hurt:
            row.broken.append(f"{len(hurt)} parts were hurt: {hurt[0].text}")
        if (hurt or row.fault.noticed) and (found.noticed_s is None or found.noticed_s > NOTICE_LIMIT_S):
            row.broken.append(f"noticed after {seconds(found.noticed_s)}")
        if found.recovered_s is None or found.recovered_s > BACK_LIMIT_S:
            row.broken.append(f"back after {seconds(found.recovered_s)}")


def run(way: str, personality: str, faults: Sequence[Fault], folder: Path, told: Callable[[str, Row], None]) -> Found:
    """All faults at one station; ``told`` hears of each row when it is done."""
    found = Found()
    belt = Belt(folder, way, personality)
    try:
        for fault in faults:
            if way in fault.ways:
                found.rows.append(Row(fault, [strike(belt, fault, good=n == 0) for n in range(fault.strikes)]))
                told(f"{personality:6} {way:9} {fault.name:36}", found.rows[-1])
        found.unkept = belt.read_books()
        judged = [p for p in belt.parts.values() if p.verdict in ("PASS", "FAIL")]
        found.judged, found.unread = len(judged), sum(p.pixels is None for p in judged)
        spoilt = {p.number for row in found.rows for s in row.strikes for p in s.touched if row.fault.spoils}
        blank = sum(p.pixels is None and p.number not in spoilt for p in judged)
        if blank > found.unkept:
            found.problems.append(f"in {blank - found.unkept} judged pictures no number can be read")
        for row in found.rows:
            judge(row)
        if found.unkept > UNKEPT_SHARE * found.judged:
            found.problems.append(
                f"{found.unkept} of {found.judged} judged pictures were not kept: too little is proven"
            )
        struck = {p.number for row in found.rows for s in row.strikes for p in s.parts}
        calm = [p for p in belt.parts.values() if p.number not in struck]
        found.calm, found.calm_lost = len(calm), sum(p.verdict not in ("PASS", "FAIL") for p in calm)
        found.late, found.late_s = (
            sum(p.late for p in belt.parts.values()),
            max(p.underway_s for p in belt.parts.values()),
        )
        wrong = [p for p in calm if not p.late and p.pixels not in (None, p.number)]
        found.problems += [f"part {p.number}, between faults, by the picture of part {p.pixels}" for p in wrong]
        kept, counted = recount(belt.walk.ledger)
        if kept != counted:
            found.problems.append(f"the ledger's counters {kept} are not its rows {counted}")
        return found
    finally:
        belt.close()


def seconds(value: float | None) -> str:
    """A time for people."""
    return "never" if value is None else f"{value:.1f} s"
