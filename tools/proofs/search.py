"""``make search``: how long it takes to find one part among 1,000,000, also while the station writes.

The file is made with the station's own schema and filled in bulk; everything after that goes the product's own way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from inspector.parts import Check, CheckOutcome, Outcome, Part, Trigger, Verdict
from inspector.station.ledger import Ledger, RecipeTag, recount, search, stories, utc_now
from inspector.wire import verdict_to_json
from tools.evidence import FOLDER
from tools.proofs.page import replace_section

ROOT = FOLDER.parents[1]
GOAL_S = 1.0
TAG = RecipeTag(1, 3, "Plate", "a" * 64, 300, "c" * 64)
WRITES_PER_S = 20
CHECKS = 3
AT_ONCE = 20_000
PARTS_PER_S = 10  # when they were inspected


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill, measure, print; 1 when the goal is missed or the counters are wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=300, help="searches of each kind")
    parser.add_argument("--starts", type=int, default=10, help="of `inspector results show`, in each case")
    parser.add_argument("--folder", type=Path, help="where the ledger is made; needs 3 kB a part")
    parser.add_argument("--write", action="store_true", help="into docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "ledger.db"
        began = time.perf_counter()
        fill(path, given.parts)
        print(
            f"{given.parts} parts in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:.0f} MB",
            flush=True,
        )
        lines, slowest_s, equal = asyncio.run(measure(path, given.parts, given.count, given.starts))
    text = "\n".join(lines)
    print(text)
    if given.write:
        replace_section("search", text)
    return 0 if slowest_s < GOAL_S and equal else 1


def verdict_of(seq: int, utc: str) -> Verdict:
    trigger = Trigger(f"P{seq % 900_000:07d}", f"c{seq}", seq * 100_000_000, utc)
    part = Part(
        seq, "0001", "top", trigger, 1, 3, TAG.name, TAG.sha, seq * 100_000_000 + 300_000_000, config=TAG.config
    )
    good = seq % 10 != 0
    outcome = CheckOutcome.PASS if good else CheckOutcome.FAIL
    code, words = (0, "Good") if good else (1001, "Hole 1 too wide")
    first = Check("hole 1", outcome, code, words, 4.02, "mm", 4.0, 3.95, 4.05)
    rest = [Check(f"hole {n}", CheckOutcome.PASS, 0, "", 4.01, "mm", 4.0, 3.95, 4.05) for n in range(2, CHECKS + 1)]
    stages = {"captured": 12_000, "accepted": 12_100, "judged": 31_000, "settled": 31_000, "turn": 31_050}
    return Verdict(
        part, Outcome.PASS if good else Outcome.FAIL, code, words, checks=(first, *rest), stages_us=stages, score=0.1
    )


def fill(path: Path, parts: int) -> None:
    """Rows as the station writes them, without its waiting for the disk after each."""
    ledger = Ledger(path, station="top", boot="0001", sim=True)
    ledger.open()
    if not ledger.shut(10.0):
        raise SystemExit(f"{path}: the disk does not answer")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    now = datetime.now(timezone.utc)
    for first in range(1, parts + 1, AT_ONCE):
        seqs = range(first, min(first + AT_ONCE, parts + 1))
        connection.execute("BEGIN")
        made = [(seq, verdict_of(seq, _text(now - timedelta(seconds=(parts - seq) / PARTS_PER_S)))) for seq in seqs]
        connection.executemany(f"INSERT INTO part VALUES({','.join('?' * 26)})", (_row(seq, v) for seq, v in made))
        connection.executemany(
            'INSERT INTO "check" VALUES(?,?,?,?,?,?,?,?,?,?,?)', (row for seq, v in made for row in _checks(seq, v))
        )
        connection.execute("COMMIT")
        if first // AT_ONCE % 10 == 0:
            print(f"{seqs[-1]} of {parts}", flush=True)
    failed = parts // 10
    counters = [("total", parts), ("PASS", parts - failed), ("FAIL", failed)]
    connection.executemany("INSERT OR REPLACE INTO counter VALUES(?, ?)", counters)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was not synced so far is now
    connection.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _row(seq: int, v: Verdict) -> tuple[object, ...]:
    p, t = v.part, v.part.trigger
    return (
        seq, p.boot, t.part_id, t.cmd_id, 1, t.source, p.recipe, p.rev, p.recipe_sha, t.received_utc, None, 300, 1,
        v.outcome.value, v.code, v.text, "", 31, t.received_utc, verdict_to_json(v).decode(), None, None,
        p.config, "", None, None,
    )  # fmt: skip


def _checks(seq: int, v: Verdict) -> Iterator[tuple[object, ...]]:
    for n, c in enumerate(v.checks):
        yield seq, n, c.step, c.outcome.value, c.code, c.value, c.unit, c.nominal, c.lower, c.upper, c.text


async def measure(path: Path, parts: int, count: int, starts: int) -> tuple[list[str], float, bool]:
    """(the section's lines, the slowest search in s, the counters equal a recount)."""
    chance = random.Random(1)
    table: list[tuple[str, list[float]]] = []

    def add(name: str, ask: Callable[[str], object], cold: bool = False, times: int = count) -> None:
        took = []
        for _ in range(times):
            part_id = f"P{chance.randrange(1, min(parts, 900_000)):07d}"
            if cold:
                forget(path)
            began = time.perf_counter()
            if not ask(part_id):
                raise SystemExit(f"{part_id} was not found")
            took.append(time.perf_counter() - began)
        table.append((name, took))
        print(f"{name}: p50 {1000 * statistics.median(took):.1f} ms, max {1000 * max(took):.1f} ms", flush=True)

    def by_id(part_id: str) -> object:
        return search(path, part_id=part_id)

    def story(part_id: str) -> object:
        return stories(path, part_id)

    def shown(part_id: str) -> object:
        return show(path, part_id)

    await asyncio.to_thread(add, "search by part id, nothing of the file in memory", by_id, True, count // 3)
    await asyncio.to_thread(add, "search by part id", by_id)
    await asyncio.to_thread(add, "the whole story of a part", story)
    await asyncio.to_thread(add, "`inspector results show`, the start of Python included", shown, False, starts)
    ledger = Ledger(path, station="top", boot="0002", sim=True)
    began = time.perf_counter()
    ledger.open()
    opened_s = time.perf_counter() - began
    stop = threading.Event()
    writing = asyncio.create_task(write(ledger, stop))
    try:
        await asyncio.to_thread(add, f"search while {WRITES_PER_S} parts/s are written", by_id)
        await asyncio.to_thread(add, "the whole story meanwhile", story)
        await asyncio.to_thread(add, "`inspector results show` meanwhile", shown, False, starts)
        began = time.perf_counter()
        damage = await ledger.check()
        checked_s = time.perf_counter() - began
    finally:
        stop.set()
        commits = await writing
        ledger.shut(30.0)
    kept, counted = await asyncio.to_thread(recount, path)
    slowest = max(max(took) for name, took in table if "results show" not in name)
    lines = [
        f"{parts} parts with {CHECKS} measured checks each, {path.stat().st_size / 1e9:.2f} GB; ids at random.",
        "",
        "| | times | p50 ms | max ms |",
        "|---|---|---|---|",
        *(
            f"| {name} | {len(took)} | {1000 * statistics.median(took):.1f} | {1000 * max(took):.1f} |"
            for name, took in table
        ),
        "",
        f"Goal: less than {GOAL_S:g} s for each search and story. Slowest: {slowest:.3f} s. The command's time is",
        "mostly the start of Python, the same whatever the ledger holds.",
        f"Opened by the station in {opened_s:.2f} s, with the short check; the check of the whole file beside its",
        f"writing took {checked_s:.1f} s and found {damage or 'nothing'}. Commits of verdicts meanwhile: p50",
        f"{1000 * statistics.median(commits):.2f} ms, max {1000 * max(commits):.1f} ms ({len(commits)} parts).",
        f"Counters {'equal' if kept == counted else f'DIFFER FROM ({kept})'} a recount: {counted}.",
    ]
    return lines, slowest, kept == counted and not damage


async def write(ledger: Ledger, stop: threading.Event) -> list[float]:
    """The station's own writing: a row for each trigger, a verdict for each row. Returns the commits' times in s."""
    took = []
    while not stop.is_set():
        seq = ledger.next_seq
        part = ledger.begin(Trigger(f"N{seq}", f"n{seq}", time.monotonic_ns(), utc_now()), TAG)
        await ledger.accept(part)
        good = verdict_of(1, utc_now())
        began = time.perf_counter()
        await ledger.close(Verdict(part, good.outcome, good.code, good.text, checks=good.checks), 31)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(1 / WRITES_PER_S)
    return took


def show(path: Path, part_id: str) -> object:
    """``inspector results show`` as it is typed."""
    command = [sys.executable, "-m", "inspector", "results", "show", part_id]
    command += ["--station", str(ROOT / "firmware_config" / "station.yaml")]
    environment = {**os.environ, "STATE_DIRECTORY": str(path.parent)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout


def forget(path: Path) -> None:
    """Have the system's memory of the file dropped."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
