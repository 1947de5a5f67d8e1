"""``make powercuts``: the power goes 2,000 times, at random moments of the ledger's work.

The shipped ledger works in a process of its own on a recorded disk (:mod:`tools.faulty_disk`), with restarts and
kills. For each cut the files are made as a disk may hold them then (:mod:`tools.faulty_disk.replay` has the model) and
opened by the shipped ledger again; everything that was acknowledged up to that moment must be there. Two negative
controls show that the proof can fail: syncs that are not counted, and ``synchronous=NORMAL``.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.faulty_disk import FaultyDisk
from tools.faulty_disk.log import Operation, read
from tools.faulty_disk.replay import Disk
from tools.proofs.bookkeeping import LEDGER
from tools.proofs.page import replace_section
from tools.proofs.promises import Promises

ROOT = Path(__file__).resolve().parents[2]
LAG = 120  # operations of a file until a disk that does not care for syncs has written them by itself
SESSION_LIMIT_S = 300


@dataclass
class Tally:
    """What the cuts of one setting found."""

    name: str
    cuts: int = 0
    acknowledged: int = 0  # sum over the cuts
    bad_cuts: Counter[str] = field(default_factory=Counter)  # cuts by kind of trouble
    most_lost: int = 0
    whole: int = 0

    def add(self, acknowledged: int, wrong: Counter[str]) -> None:
        self.cuts += 1
        self.acknowledged += acknowledged
        self.bad_cuts.update(wrong.keys())
        self.most_lost = max(self.most_lost, wrong["lost"])
        self.whole += not wrong


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: the cuts need no real disk."""
    shared = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="powercuts-", dir=shared if os.access(shared, os.W_OK) else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def record(folder: Path, log: Path, *, sessions: int, parts: int, seed: int, normal: bool = False) -> None:
    """Let the ledger work in ``folder`` for some sessions, every second of them ended by kill -9."""
    folder.mkdir()
    with FaultyDisk(folder.parent / f"{folder.name}.control", folder) as disk:
        disk.record_to(log)
        for session in range(sessions):
            kill = session % 2 == 1
            command = [sys.executable, "-m", "tools.proofs.bookkeeping", str(folder), str(log)]
            command += ["--parts", str(parts), "--seed", str(seed * 100 + session)]
            command += ["--kill"] * kill + ["--normal"] * normal
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **disk.environment}, capture_output=True, text=True,
                timeout=SESSION_LIMIT_S,
            )  # fmt: skip
            if done.returncode != (-9 if kill else 0):
                raise RuntimeError(f"session {session} ended with {done.returncode}: {done.stderr[-2000:]}")
        if disk.unrecorded:
            raise RuntimeError(f"the log could not take {disk.unrecorded} records")


def cut(log: Path, place: Path, tally: Tally, count: int, seed: int, *, lag: int | None = None) -> None:
    """Cut the power at ``count`` random moments of the log and judge what is left."""
    chance = random.Random(seed)
    total = sum(1 for r in read(log) if r.operation is not Operation.MARKER)
    moments = Counter(chance.randrange(1, total + 1) for _ in range(count))
    disk, promises, number = Disk(lag=lag), Promises(), 0
    for one in read(log):
        if one.operation is Operation.MARKER:
            promises.mark(one.data)
            continue
        disk.apply(one)
        number += 1
        for _ in range(moments[number]):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name, content in disk.cut(chance).items():
                if name.endswith("-shm"):  # never synced by anybody: whatever is there must not matter
                    content = chance.randbytes(len(content))
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            tally.add(promises.acknowledged, promises.broken(place / LEDGER))
            if tally.cuts % 100 == 0:
                print(f"{tally.name}: {tally.cuts} cuts, {tally.whole} whole", flush=True)


def report(honest: Tally, careless: Tally, normal: Tally, took_s: float, syncs: int) -> str:
    """The section."""

    def row(t: Tally) -> str:
        kinds = (t.bad_cuts["lost"], t.bad_cuts["corrupt"] + t.bad_cuts["unopened"])
        others = sum(t.bad_cuts[k] for k in ("changed", "counters", "seq", "audit", "crashed"))
        return f"| {t.name} | {t.cuts} | {t.acknowledged:,} | {kinds[0]} | {t.most_lost} | {kinds[1]} | {others} |"

    head = "cuts with a loss | most lost in one | corrupt or not to be opened | other faults"
    words = (
        "The last two rows are the negative controls: this proof finds what it looks for. An acknowledgement is a row, "
        "a verdict, one that was told before its row was right, a late verdict, a picture's place, a note or an alarm "
        "whose call had returned. Verdicts must be "
        "the acknowledged ones, their records must wait unless they had left, counters must equal a recount, the next "
        "seq must be above all acknowledged ones. What was not synced is lost, kept in order with its last write torn, "
        "or kept by sectors of 512 bytes at random. Limits of the model: a write does not harm its neighbours in a "
        "sector (SQLite assumes so too), names change in order, as a journal does it, and nothing is written back "
        "without a sync."
    )
    lines = [
        "The shipped ledger at work, with clean restarts and kill -9;",
        f"{syncs} syncs recorded, {took_s / 60:.1f} minutes.",
        "",
        f"| setting and disk | cuts | acknowledgements checked | {head} |",
        "|---|---|---|---|---|---|---|",
        *(row(tally) for tally in (honest, normal, careless)),
        "",
        textwrap.fill(words, 118),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, cut, write the section. 1 when an honest disk lost or damaged anything, or a control found nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--recordings", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=6, help="starts of the ledger in each recording")
    parser.add_argument("--parts", type=int, default=120, help="in each session")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the section of docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    logging.disable(logging.ERROR)  # the ledger tells of each damaged file, and the controls make many
    began = time.monotonic()
    honest, careless = Tally("as shipped: FULL, an honest disk"), Tally("syncs not counted")
    normal = Tally("synchronous=NORMAL, an honest disk")
    syncs = 0
    with scratch() as folder:
        for i in range(given.recordings):
            seed, share = given.seed + i, -(-given.cuts // given.recordings)
            log = folder / f"{i}.log"
            record(folder / f"books{i}", log, sessions=given.sessions, parts=given.parts, seed=seed)
            syncs += sum(1 for r in read(log) if r.operation is Operation.SYNC_END)
            cut(log, folder / "cut", honest, share, seed)
            cut(log, folder / "cut", careless, max(share // 5, 5), seed, lag=LAG)
            log.unlink()
        log = folder / "normal.log"
        record(folder / "normal", log, sessions=given.sessions, parts=given.parts, seed=given.seed, normal=True)
        cut(log, folder / "cut", normal, max(given.cuts // 5, 10), given.seed)
    text = report(honest, careless, normal, time.monotonic() - began, syncs)
    print(text)
    if given.write:
        replace_section("powercuts", text)
    if honest.bad_cuts:
        print(f"cuts of an honest disk that broke something: {dict(honest.bad_cuts)}")
    crashed = sum(tally.bad_cuts["crashed"] for tally in (honest, careless, normal))
    if crashed:
        print(f"{crashed} times the ledger's start ended in a bug")
    blind = not normal.bad_cuts["lost"] or not (careless.bad_cuts["lost"] and careless.bad_cuts["corrupt"])
    if blind:
        print("a negative control found nothing: the proof is blind")
    return 1 if honest.bad_cuts or blind or crashed else 0


if __name__ == "__main__":
    sys.exit(main())
