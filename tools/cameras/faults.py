"""``make faults``: every fault of the virtual camera against a whole station, and what it did about it.

For each kind of producer (a maker's own transport layer, GigE Vision) and each way of triggering (on command, by a
wire with announced parts) a station runs with broker and PLC, and 4 to 5 parts a second pass. What touches one part
strikes twice, at a good part and at a bad one. Exit status 1 when a part passed that must not, had a verdict by
another part's picture, had not exactly one answer, or when noticing or recovering took too long.
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
from pathlib import Path
from textwrap import fill

from inspector.station.alarms import CATALOGUE
from tools.cameras.belt import LATE_S, LIMITS, PERIOD_S, WINDOW_MS, Part
from tools.cameras.matrix import COMMAND, FAULTS, WAYS
from tools.cameras.page import replace_section
from tools.cameras.strikes import BACK_LIMIT_S, NOTICE_LIMIT_S, Found, Row, run

PERSONALITIES = ("Custom", "GEV")
SHORT = ("DropFrame", "Disconnect Strict")
NOTHING_BROKEN = """**Nothing was broken**: no part passed that was touched, unless its picture is whole and its own; no
verdict was made by another part's picture; each trigger had one answer; the ledger's counters equal a recount."""
ALARMS = {entry.text for entry in CATALOGUE.values()}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _worst(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{max(known):.1f}" if known else "-"


def _tell(who: str, row: Row) -> None:
    noticed, back = _worst([s.noticed_s for s in row.strikes]), _worst([s.recovered_s for s in row.strikes])
    print(f"{who} noticed {noticed} s, back {back} s, {_answers(row)}", flush=True)


def _answers(row: Row) -> str:
    """What the touched parts got, and how many others paid for it."""
    own: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for found in row.strikes:
        own.update(_said(part) for part in found.touched)
        others.update(_said(part) for part in found.parts if part not in found.touched and not part.right)
    told = ", ".join(f"{n} x {what}" for what, n in own.items()) or "nobody was"
    return told + ("; others: " + ", ".join(f"{n} x {what}" for what, n in others.items()) if others else "")


def _said(part: Part) -> str:
    if not part.answers or part.right:
        return part.verdict or "no answer"
    code = str(part.answers[0]["code"])
    return code if part.verdict == "NOT_INSPECTED" else f"{part.verdict} {code}"


def _sentence(rows: Sequence[Row]) -> str:
    """What the first part that was not inspected was told."""
    for row in rows:
        for found in row.strikes:
            for part in found.parts:
                if part.verdict == "NOT_INSPECTED":
                    return _plain(part.text)
    return ""


def _alarms(rows: Sequence[Row]) -> str:
    told: dict[str, None] = {}
    strays: set[str] = set()
    for found in (s for row in rows for s in row.strikes):
        strays.update(found.strays)
        for notice in found.notices:
            if notice.level in ("alarm", "warn"):
                alarm = notice.what.partition(":")[0]
                told[alarm if alarm in ALARMS else "an event that names the part"] = None
    return "; ".join([*told, *([f"counted: {', '.join(sorted(strays))}"] if strays else [])])


def _plain(text: str) -> str:
    """As the station said it; of the producer's own sentence only what the source said."""
    text = re.sub(r"GenTL exception: [^(]*\(Message from the source: ([^)]*)\) \(ID: -?\d+\)", r"GenTL: \1", text)
    return text.removeprefix("Not inspected: ").replace("|", "/").split("\n")[0]


def report(found: dict[tuple[str, str], Found], took_s: float) -> str:
    """The section of the page."""
    strikes = [s for one in found.values() for row in one.rows for s in row.strikes]
    noticed = [s.noticed_s for s in strikes if s.noticed_s is not None]
    back = [s.recovered_s for s in strikes if s.recovered_s is not None]
    judged, unread = sum(one.judged for one in found.values()), sum(one.unread for one in found.values())
    calm, calm_lost = sum(one.calm for one in found.values()), sum(one.calm_lost for one in found.values())
    late, late_s = sum(one.late for one in found.values()), max(one.late_s for one in found.values())
    broken = [f"- **broken**: {kind}, {way}: {what}" for (kind, way), one in found.items() for what in one.broken]
    cells = sum(len(one.rows) for one in found.values())
    periods = " or ".join(f"{1000 * PERIOD_S[way]:.0f}" for way in WAYS)
    figures = (
        f"{len(strikes)} strikes in {cells} cells, at good and at bad parts, in {took_s / 60:.1f} minutes. "
        f"A part came every {periods} ms; two cameras, one of them in the recipe, which locates a mark and looks "
        f"whether a lid is there. `window_ms: {WINDOW_MS}`, `trigger_limit_ms: {LIMITS['trigger_limit_ms']}`, all else "
        f"as shipped. **Noticed after {max(noticed, default=0):.1f} s at most** (limit {NOTICE_LIMIT_S:g} s). **First "
        f"right verdict {max(back, default=0):.1f} s at most after the camera's return** (limit {BACK_LIMIT_S:g} s)."
    )
    proof = (
        f"{judged} PASS and FAIL; of {judged - unread} the part's number was read in the kept pixels. The other "
        f"{unread} were blurred, shifted or noisy on purpose, or not kept. Of {calm} parts between the faults "
        f"{calm_lost} were not inspected: that is what the machine's other work does to a line without any fault. "
        f"{late} messages took longer than {1000 * LATE_S:.0f} ms from the PLC to the station (at most "
        f"{1000 * late_s:.0f} ms): what picture their parts got is not counted, as no station can know of it."
    )
    how = (
        "Good and bad parts come in turns, so that a neighbour's picture would give the other verdict; FAIL is right "
        "for a bad part. `others` came after the struck part and paid as well. Seconds are the slowest strike's, first "
        "`Custom`, then `GEV`; `-`: nobody was hurt, there was nothing to notice. Where they differ, both are told."
    )
    lines = [fill(figures, 118), "", fill(proof, 118), "", *(broken or [NOTHING_BROKEN]), "", fill(how, 118)]
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
        for same in zip(*(one.rows for (_, w), one in found.items() if w == way), strict=True):
            seconds = [
                " / ".join(_worst([getattr(s, what) for s in row.strikes]) for row in same)
                for what in ("noticed_s", "recovered_s")
            ]
            told = "<br>".join(dict.fromkeys(_answers(row) for row in same))
            lines.append(f"| {' | '.join([same[0].fault.name, told, _sentence(same), *seconds, _alarms(same)])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section of docs/evidence/cameras.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="two faults, one producer, on command; no page")
    parser.add_argument("--only", default="", help="faults whose names hold this; no page")
    parser.add_argument("--way", choices=WAYS, help="no page")
    parser.add_argument("--personality", choices=PERSONALITIES, help="no page")
    given = parser.parse_args(arguments)
    ways = [given.way] if given.way else WAYS[:1] if given.short else WAYS
    kinds = [given.personality] if given.personality else PERSONALITIES[:1] if given.short else PERSONALITIES
    faults = [f for f in FAULTS if given.only.lower() in f.name.lower() and (not given.short or f.name in SHORT)]
    began = time.monotonic()
    found: dict[tuple[str, str], Found] = {}
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, ThreadPoolExecutor(len(kinds)) as both:
            runs = {kind: both.submit(run, way, kind, faults, _made(Path(folder) / kind), _tell) for kind in kinds}
            for kind, running in runs.items():
                found[kind, way] = running.result()
    text = report(found, time.monotonic() - began)
    print(text)
    if not (given.short or given.only or given.way or given.personality):
        replace_section("faults", text)
    return 1 if any(one.broken for one in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
