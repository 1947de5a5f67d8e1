"""``make faults``: every fault of the virtual camera against a whole station, and what it did about it.

For each kind of producer (a maker's own transport layer, GigE Vision) and each way of triggering (on command, by a
wire with announced parts) a station runs with broker and PLC, and 6 parts a second pass. Each fault strikes twice,
once at a good part and once at a bad one. Exit status 1 when a part passed that must not, had a verdict by another
part's picture, had not exactly one answer, or when noticing or recovering took too long.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from inspector.station.ledger import recount
from tools.cameras.belt import PERIOD_S, Belt, Notice, Part
from tools.cameras.matrix import COMMAND, FAULTS, WAYS, Fault
from tools.cameras.page import replace_section

PERSONALITIES = ("Custom", "GEV")
NOTICE_LIMIT_S = 2.0
BACK_LIMIT_S = 10.0
GIVE_UP_S = 14.0
CALM_PARTS = 4  # so many right ones in a row, and the station has got over it
MISSING_SHARE = 0.02  # of the pictures: more unproven verdicts are no proof
SHORT = ("DropFrame", "WrongFrameId +100", "Disconnect Strict")


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
    waited = not found.fault.calm or found.parts[-1].sent_s - found.at_s > NOTICE_LIMIT_S + 2 * PERIOD_S
    return waited and len(answered) >= CALM_PARTS and all(p.right for p in answered[-CALM_PARTS:])


def judge(row: Row) -> None:
    """Note what must not be."""
    for found in row.strikes:
        touched = found.touched
        hurt = [p for p in found.parts if not p.right]
        for part in found.parts:
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
            row.broken.append(f"{len(hurt)} parts were hurt: {_plain(hurt[0].text)}")
        if (hurt or row.fault.noticed) and (found.noticed_s is None or found.noticed_s > NOTICE_LIMIT_S):
            row.broken.append(f"noticed after {_seconds(found.noticed_s)}")
        if found.recovered_s is None or found.recovered_s > BACK_LIMIT_S:
            row.broken.append(f"back after {_seconds(found.recovered_s)}")


def run(way: str, personality: str, faults: Sequence[Fault], folder: Path) -> tuple[list[Row], list[str]]:
    """All faults at one station; returns the rows, and what is wrong with its books."""
    rows: list[Row] = []
    belt = Belt(folder, way, personality)
    try:
        for fault in faults:
            if way in fault.ways:
                rows.append(Row(fault, [strike(belt, fault, good=n == 0) for n in range(fault.strikes)]))
                print(f"{personality:6} {way:9} {fault.name:36} {_figures([rows[-1]])}", flush=True)
        missing = belt.read_books()
        for row in rows:
            judge(row)
        wrong = [p for p in belt.parts.values() if p.pixels not in (None, p.number)]
        problems = [f"part {p.number} was judged by the picture of part {p.pixels}" for p in wrong]
        if missing > MISSING_SHARE * len(belt.parts):
            problems.append(f"{missing} of {len(belt.parts)} pictures were not kept: too little was proven")
        kept, counted = recount(belt.walk.ledger)
        if kept != counted:
            problems.append(f"the ledger's counters {kept} are not its rows {counted}")
        return rows, problems
    finally:
        belt.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# --- the page ---------------------------------------------------------------------------------------------
def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _worst(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{max(known):.1f}" if known else "-"


def _figures(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"noticed {_worst([s.noticed_s for s in row.strikes])} s, back {_worst([s.recovered_s for s in row.strikes])} s"
        f", {_answers(row)}"
        for row in rows
    )


def _answers(row: Row) -> str:
    """What the touched parts got, and how many others paid for it."""
    told: Counter[str] = Counter()
    for found in row.strikes:
        for part in found.parts:
            what = part.verdict if part.right else _said(part)
            if part in found.touched:
                told[what] += 1
            elif not part.right:
                told[f"{what} (another part)"] += 1
    own = ", ".join(f"{n} x {what}" for what, n in told.items() if not what.endswith("(another part)"))
    more = ", ".join(f"{n} x {what.partition(' (')[0]}" for what, n in told.items() if what.endswith("(another part)"))
    return own + (f"; others: {more}" if more else "")


def _said(part: Part) -> str:
    if not part.answers:
        return "no answer"
    answer = part.answers[0]
    return f"{answer['code']}" if part.verdict == "NOT_INSPECTED" else f"{part.verdict} {answer['code']}"


def _sentence(rows: Sequence[Row]) -> str:
    """What the first part that was not inspected was told."""
    for row in rows:
        for found in row.strikes:
            for part in found.parts:
                if part.verdict == "NOT_INSPECTED":
                    return _plain(part.text)
    return ""


def _alarms(rows: Sequence[Row]) -> str:
    texts: dict[str, None] = {}
    strays: Counter[str] = Counter()
    for row in rows:
        for found in row.strikes:
            strays.update(found.strays)
            for notice in found.notices:
                if notice.level in ("alarm", "warn"):
                    texts[re.sub(r"\d+", "N", _plain(notice.what).partition(":")[0])] = None
    told = [*texts, *([f"strays: {', '.join(sorted(strays))}"] if strays else [])]
    return "; ".join(told)


def _plain(text: str) -> str:
    return text.removeprefix("Not inspected: ").replace("|", "/").split("\n")[0]


def report(found: dict[tuple[str, str], list[Row]], problems: list[str], took_s: float) -> str:
    """The section of the page."""
    rows = [row for part in found.values() for row in part]
    parts = [p for row in rows for s in row.strikes for p in s.parts]
    noticed = [s.noticed_s for row in rows for s in row.strikes if s.noticed_s is not None]
    back = [s.recovered_s for row in rows for s in row.strikes if s.recovered_s is not None]
    broken = [f"{p} {w}, {row.fault.name}: {b}" for (p, w), part in found.items() for row in part for b in row.broken]
    lines = [
        f"{len(rows)} cells, each struck at a good and at a bad part: {len(parts)} parts in {took_s / 60:.1f} minutes,",
        f"{1 / PERIOD_S:.1f} parts/s, limits of the station as shipped. Two cameras, recipe for one of them.",
        f"**Noticed after {max(noticed, default=0):.1f} s at most** (limit {NOTICE_LIMIT_S:g} s), **first right",
        f"verdict {max(back, default=0):.1f} s at most after the camera's return** (limit {BACK_LIMIT_S:g} s).",
        "",
        "Every PASS and FAIL was held against the part's number in the kept pixels. "
        + ("**Nothing was broken.**" if not broken + problems else "**Broken:**"),
        *(f"- {one}" for one in broken + problems),
        "",
        "A good part's right verdict is PASS, a bad part's FAIL. `others` came after it and paid as well. Seconds are",
        "the slowest strike, first `Custom`, then `GEV`; `-`: there was nothing to notice.",
    ]
    for way in WAYS:
        if not any(w == way for _, w in found):
            continue
        lines += [
            "",
            f"### {'Fired on command' if way == COMMAND else 'Fired by a wire, parts announced'}",
            "",
            "| fault | parts struck | what they were told | noticed s | back s | alarms, counts |",
            "|---|---|---|---|---|---|",
        ]
        by_personality = [part for (_, w), part in found.items() if w == way]
        for same in zip(*by_personality, strict=True):
            noticed_s = " / ".join(_worst([s.noticed_s for s in row.strikes]) for row in same)
            back_s = " / ".join(_worst([s.recovered_s for s in row.strikes]) for row in same)
            answers = list(dict.fromkeys(_answers(row) for row in same))
            told = answers[0] if len(answers) == 1 else "<br>".join(_answers(row) for row in same)
            cells = (same[0].fault.name, told, _sentence(same), noticed_s, back_s, _alarms(same))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section of docs/evidence/cameras.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="three faults, one producer, on command; no page")
    parser.add_argument("--only", default="", help="faults whose names hold this; no page")
    parser.add_argument("--way", choices=WAYS, help="no page")
    parser.add_argument("--personality", choices=PERSONALITIES, help="no page")
    given = parser.parse_args(arguments)
    ways = [given.way] if given.way else WAYS[:1] if given.short else WAYS
    kinds = [given.personality] if given.personality else PERSONALITIES[:1] if given.short else PERSONALITIES
    faults = [f for f in FAULTS if given.only.lower() in f.name.lower() and (not given.short or f.name in SHORT)]
    began = time.monotonic()
    found: dict[tuple[str, str], list[Row]] = {}
    problems: list[str] = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, ThreadPoolExecutor(len(kinds)) as both:
            runs = {kind: both.submit(run, way, kind, faults, _made(Path(folder) / kind)) for kind in kinds}
            for kind, running in runs.items():
                found[kind, way], wrong = running.result()
                problems += [f"{kind} {way}: {one}" for one in wrong]
    text = report(found, problems, time.monotonic() - began)
    print(text)
    if not (given.short or given.only or given.way or given.personality):
        replace_section("faults", text)
    return 1 if problems or any(row.broken for part in found.values() for row in part) else 0


if __name__ == "__main__":
    sys.exit(main())
