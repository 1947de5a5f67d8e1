"""``make cycles``: 500 times the cable out and in while parts run, then kill -9 of everything with parts under way.

A whole station: broker, ``inspector run``, camera process, judge, archive. What must hold: every time back in service
within 10 s of the camera's return; memory of station and camera process together never 50 MB above where it was after
the warm-up; descriptors as before; one ring in the runtime folder, no other kept alive by a mapping; no verdict that
the picture shown does not give. After kill -9 of all processes at once the next start is Ready by itself, and has
removed what was left. Exit status 1 when one of these is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from inspector.station.ledger import recount, search
from tests.acquire.rig import SOFTWARE, write_yaml
from tests.walk.harness import BASE, Walk, recipe
from tools.cameras.page import replace_section
from tools.cameras.plc import SmallPlc

ROWS, COLUMNS = 1024, 1280
GONE_MS = 40
BACK_LIMIT_S = 10.0
GROWTH_LIMIT_MB = 50.0
CALM_LIMIT_S = 10.0
PACE_S = 0.01
UNDER_WAY = 3  # parts when everything is killed
PARTS = ("station", "acquire", "recipe", "archive")
NAMES = {"station": "station", "acquire": "camera process", "recipe": "judge", "archive": "archive"}


@dataclass(frozen=True)
class Way:
    """How the cable goes out."""

    name: str
    style: str
    share: float  # of all cycles
    block_ms: int = 1000


WAYS = (
    Way("Silent: frames just stop", "Silent", 0.25),
    Way("Error: calls fail", "Error", 0.25),
    Way("Strict: letting go fails, too", "Strict", 0.25),
    Way("Block: a call hangs for 0.3 s", "Block", 0.2, 300),
    Way("Block: a call hangs for 4 s", "Block", 0.05, 4000),
)


@dataclass
class Figures:
    """Of all processes at one moment."""

    rss_mb: dict[str, float] = field(default_factory=dict)
    pss_mb: dict[str, float] = field(default_factory=dict)
    descriptors: dict[str, int] = field(default_factory=dict)
    behind: dict[str, Counter[str]] = field(default_factory=dict)  # what stands behind the descriptors
    threads: dict[str, int] = field(default_factory=dict)

    def other(self, before: Figures) -> list[str]:
        """Which processes have other descriptors than before."""
        found = []
        for name in sorted(before.behind.keys() & self.behind.keys()):
            more, less = self.behind[name] - before.behind[name], before.behind[name] - self.behind[name]
            # SQLite closes a connection's descriptor only when no other one has a lock on the file: it keeps one,
            # of the first checkpoint, and uses it again
            more -= Counter({what: 1 for what in more if what.endswith("/ledger.db")})
            if more or less:
                found.append(f"descriptors of the {NAMES[name]}: new {dict(more)}, gone {dict(less)}")
        return found

    @property
    def watched_mb(self) -> float:
        """Station and camera process together."""
        return self.rss_mb["station"] + self.rss_mb["acquire"]


@dataclass
class Block:
    """What the cycles of one way came to."""

    way: Way
    back_s: list[float] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    respawns: int = 0
    peak_mb: float = 0.0
    after: Figures = field(default_factory=Figures)
    never: int = 0


class Run:
    """The station, its PLC, and what went wrong so far."""

    def __init__(self, folder: Path, runtime: Path, seed: int) -> None:
        quick = recipe(1, keep={"reject": "none", "pass": "none", "not_inspected": "none"}, within="2 s")
        self.walk = Walk(folder, files=[quick], sensor=(ROWS, COLUMNS), runtime_dir=str(runtime))
        write_yaml(folder / "top.yaml", {"features": {**SOFTWARE, "Height": ROWS}})
        self.runtime = runtime
        self._chance = random.Random(seed)
        self.pictures = {good: _picture(good) for good in (False, True)}
        self.broken: list[str] = []
        self._open = contextlib.ExitStack()
        self._open.callback(self.walk.close)
        try:
            self.walk.broker.start()
            self.plc = SmallPlc(self.walk.port, BASE)
            self._open.callback(self.plc.close)
            self.start_s = self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> float:
        """Start the station; seconds until Ready."""
        began, since = time.monotonic(), self.plc.states
        self.walk.start(ready=False, broker=False)
        if not self.plc.wait_ready(30.0, since):
            raise SystemExit(f"the station was not Ready within 30 s\n{self.walk.log}")
        return time.monotonic() - began

    def close(self) -> None:
        """End everything."""
        self._open.close()

    # --- parts
    def part(self) -> str:
        """One part; its outcome, "none" when the station did not answer."""
        good = self._chance.random() < 0.5
        self.walk.control.show(0, self.pictures[good])
        told = self.plc.wait(self.plc.trigger())
        outcome = str(told.get("verdict", "none"))
        if outcome == ("FAIL" if good else "PASS"):
            self.broken.append(f"{outcome} on a {'good' if good else 'bad'} part")
        if outcome == "none":
            self.broken.append("a trigger without an answer")
        return outcome

    def cycle(self, way: Way, into: Block) -> None:
        """Out, in, and parts until one is judged again."""
        before = self._camera_pid()
        self.walk.control.disconnect(0, gone_ms=GONE_MS, style=way.style, block_ms=way.block_ms)
        returned = time.monotonic() + GONE_MS / 1000
        hurt = False
        while True:
            outcome = self.part()
            into.verdicts[outcome] += 1
            judged = outcome in ("PASS", "FAIL")
            hurt = hurt or not judged
            if judged and (hurt or time.monotonic() - returned > 1.0):
                break
            if time.monotonic() - returned > BACK_LIMIT_S:
                self.broken.append(f"{way.style}: not back within {BACK_LIMIT_S:g} s")
                into.never += 1
                self.plc.wait_ready()
                break
            time.sleep(PACE_S)
        into.back_s.append(max(0.0, time.monotonic() - returned))
        into.respawns += self._camera_pid() != before
        into.peak_mb = max(into.peak_mb, self._watched_mb())

    # --- looking
    @property
    def station(self) -> subprocess.Popen[bytes]:
        """The running station."""
        if self.walk.station is None:
            raise SystemExit("the station was not started")
        return self.walk.station

    def processes(self) -> dict[str, psutil.Process]:
        """The station and its children."""
        found = {"station": psutil.Process(self.station.pid)}
        for child in self.walk.children():
            with contextlib.suppress(psutil.Error):
                module = re.search(r"inspector\.(\w+)\.process", " ".join(child.cmdline()))
                if module:
                    found[module[1]] = child
        return found

    def _camera_pid(self) -> int:
        process = self.processes().get("acquire")
        return process.pid if process else 0

    def _watched_mb(self) -> float:
        total = 0.0
        for name, process in self.processes().items():
            if name in ("station", "acquire"):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss / 1e6
        return total

    def figures(self) -> Figures:
        """Of every process, now."""
        found = Figures()
        for name, process in self.processes().items():
            memory = process.memory_full_info()
            found.rss_mb[name], found.pss_mb[name] = memory.rss / 1e6, memory.pss / 1e6
            found.descriptors[name], found.threads[name] = process.num_fds(), process.num_threads()
            found.behind[name] = _behind(process.pid)
        return found

    def calm(self, like: Figures | None = None) -> Figures:
        """Figures at rest: all processes there and, when ``like`` is given, with as many descriptors as it soon."""
        end = time.monotonic() + CALM_LIMIT_S
        while True:
            with contextlib.suppress(psutil.Error):
                found = self.figures()
                settled = like is None or not found.other(like)
                if set(PARTS) <= found.rss_mb.keys() and (settled or time.monotonic() > end):
                    return found
            if time.monotonic() > end + CALM_LIMIT_S:
                raise SystemExit(f"a process is missing: {sorted(self.processes())}\n{self.walk.log}")
            time.sleep(0.1)

    def left_over(self) -> list[str]:
        """Rings that are too many, and memory files of nobody."""
        found = []
        rings = [p.name for p in self.runtime.glob("ring-*")]
        camera = self._camera_pid()
        if len(rings) != 1 or f"-{camera}-" not in rings[0]:
            found.append(f"rings in the runtime folder: {rings}, camera process {camera}")
        known = {"feed.sock", "station.lock", "previews", *rings}
        found += [f"{p.name} in the runtime folder" for p in self.runtime.iterdir() if p.name not in known]
        for name, process in self.processes().items():
            for mapped in _mapped(process.pid):
                if "(deleted)" in mapped and "ring-" in mapped:
                    found.append(f"{NAMES[name]} keeps {mapped}")
                elif mapped.startswith("/dev/shm/") and not mapped.startswith(str(self.runtime)):  # noqa: S108
                    found.append(f"{NAMES[name]} maps {mapped}")
        return found


def _picture(good: bool) -> NDArray[np.uint8]:
    """A lid that is there or not, beside something bright: an empty picture would not be judged."""
    image = np.full((ROWS, COLUMNS), 60, np.uint8)
    image[200:400, 600:900] = 180
    if good:
        image[10:100, 150:450] = 220
    return image


def _behind(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[re.sub(r"\d+-[0-9a-f]+|:\[\d+\]", "...", os.readlink(entry))] += 1
    return found


def _mapped(pid: int) -> Iterator[str]:
    """Files a process has mapped."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            file = line.split(None, 5)[5:]
            if file and file[0].startswith("/"):
                yield file[0]


# --- the two proofs ------------------------------------------------------------------------------------
def cables(run: Run, ways: Sequence[Way], cycles: int, warm_up: int) -> tuple[Figures, list[Block]]:
    """All cycles; figures after the warm-up, and what came out of each way."""
    warm = Block(WAYS[0])
    for number in range(warm_up):
        run.cycle(ways[-1 - number % len(ways)], warm)  # the last ones leave the camera process as it is
    for _ in range(20):
        run.part()
    before = run.calm()
    print(f"warm: {before.watched_mb:.1f} MB, descriptors {before.descriptors}", flush=True)
    blocks = []
    for way in ways:
        block = Block(way)
        for _ in range(max(1, round(cycles * way.share / sum(w.share for w in ways)))):
            run.cycle(way, block)
        for _ in range(10):
            run.part()
        block.after = run.calm(before)
        blocks.append(block)
        print(
            f"{way.name}: {len(block.back_s)} cycles, back after {statistics.median(block.back_s):.2f} s, "
            f"{block.after.watched_mb:.1f} MB, most {block.peak_mb:.1f} MB, {block.respawns} respawns",
            flush=True,
        )
    grown = max(max(b.peak_mb, b.after.watched_mb) for b in blocks) - before.watched_mb
    if grown >= GROWTH_LIMIT_MB:
        run.broken.append(f"memory grew by {grown:.1f} MB")
    last = blocks[-1].after
    run.broken += last.other(before)
    run.broken += run.left_over()
    if run.plc.doubled:
        run.broken.append(f"{run.plc.doubled} triggers with two answers")
    return before, blocks


@dataclass(frozen=True)
class Crash:
    """One kill -9 of everything."""

    left: tuple[str, ...]  # in the runtime folder, right after
    unanswered: int
    closed: int  # of them: NOT_INSPECTED in the ledger after the start
    ready_s: float


def crash(run: Run) -> Crash:
    """Parts under way, kill -9 of the station and all its children at once, start again."""
    run.walk.control.show(0, run.pictures[True])
    run.walk.control.arm(0, "Delay", delay_ms=300)  # so that the parts are surely under way
    sent = [run.plc.trigger() for _ in range(UNDER_WAY)]
    time.sleep(0.1)
    victims = list(run.processes().values())
    for process in victims:
        os.kill(process.pid, signal.SIGKILL)
    run.station.wait(10)
    psutil.wait_procs(victims, 10)
    time.sleep(0.5)  # a result that was on its way comes
    left = tuple(sorted(re.sub(r"\d+-[0-9a-f]+$", "...", p.name) for p in run.runtime.iterdir()))
    unanswered = [cmd_id for cmd_id in sent if cmd_id not in run.plc.results]
    ready_s = run.start()
    for _ in range(5):
        if run.part() not in ("PASS", "FAIL"):
            run.broken.append("after kill -9 of everything: Ready, and a part was not judged")
    rows = {row.cmd_id: row for row in search(run.walk.ledger, limit=100_000)}
    closed = [i for i in unanswered if i in rows and rows[i].outcome == "NOT_INSPECTED"]
    odd = [i for i in unanswered if i in rows and rows[i].outcome not in ("NOT_INSPECTED", "PASS", "FAIL")]
    kept, counted = recount(run.walk.ledger)
    if odd or kept != counted:
        run.broken.append(f"after kill -9 of everything: {len(odd)} open rows, counters {kept}, recount {counted}")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(run.runtime / "feed.sock")):
            run.broken.append("after kill -9 of everything: nobody answers at the feed's socket")
    run.broken += [f"after kill -9 of everything: {what}" for what in run.left_over()]
    return Crash(left, len(unanswered), len(closed), ready_s)


# --- the report ----------------------------------------------------------------------------------------
def report(run: Run, before: Figures, blocks: list[Block], crashes: list[Crash], took_s: float) -> str:
    """The section's text."""
    total = sum(len(b.back_s) for b in blocks)
    grown = max(max(b.peak_mb, b.after.watched_mb) for b in blocks) - before.watched_mb
    after = blocks[-1].after
    lines = [
        f"{total} cycles against a whole station in {took_s / 60:.0f} min ({COLUMNS}x{ROWS} Mono8, parts all the",
        f"while, the camera gone for {GONE_MS} ms and then without the settings it had). Back: from the camera's",
        "return to the first part judged again. MB: station and camera process together (RSS), after the way's last",
        "cycle and at most after any of its cycles.",
        "",
        "| how the cable goes out | cycles | back p50 / max s | camera process started anew | MB | most MB |",
        "|---|---|---|---|---|---|",
    ]
    for b in blocks:
        back = f"{statistics.median(b.back_s):.2f} / {max(b.back_s):.2f}"
        lines.append(
            f"| {b.way.name} | {len(b.back_s)} | {back} | {b.respawns} | {b.after.watched_mb:.1f} | {b.peak_mb:.1f} |"
        )
    verdicts: Counter[str] = sum((b.verdicts for b in blocks), Counter())
    lines += [
        "",
        f"**Most growth at any time: {max(grown, 0.0):.1f} MB** over {before.watched_mb:.1f} MB after the warm-up",
        f"(goal < {GROWTH_LIMIT_MB:g} MB).",
        f"Parts: {', '.join(f'{n} {v}' for v, n in sorted(verdicts.items()))}; one answer to each trigger, PASS on",
        "good parts and FAIL on bad ones alone.",
        "",
        "| process | RSS MB before, after | PSS MB | descriptors | threads |",
        "|---|---|---|---|---|",
    ]
    for name in PARTS:
        lines.append(
            f"| {NAMES[name]} | {before.rss_mb[name]:.1f}, {after.rss_mb[name]:.1f} "
            f"| {before.pss_mb[name]:.1f}, {after.pss_mb[name]:.1f} "
            f"| {before.descriptors[name]}, {after.descriptors[name]} | {before.threads[name]}, {after.threads[name]} |"
        )
    if after.descriptors["station"] != before.descriptors["station"]:
        lines += [
            "",
            "The station's one descriptor more is of the ledger: SQLite keeps it, once, after the first checkpoint.",
        ]
    ready_s = sorted(c.ready_s for c in crashes)
    lines += [
        "",
        f"Then {len(crashes)} times kill -9 of station, camera process, judge and archive at once, {UNDER_WAY} parts",
        f"under way each time. Left behind: {', '.join(crashes[0].left)}. The next start was Ready after",
        f"{statistics.median(ready_s):.1f} s (at most {ready_s[-1]:.1f} s; the first start: {run.start_s:.1f} s), with",
        f"one ring, its own. Of {sum(c.unanswered for c in crashes)} triggers without an answer "
        f"{sum(c.closed for c in crashes)} stood in the ledger, and were",
        "closed as NOT_INSPECTED; the ledger's counters equal a recount.",
        "",
        "Every promise held." if not run.broken else "**Broken:** " + "; ".join(_shown(run.broken)) + ".",
    ]
    return "\n".join(lines)


def _shown(broken: Sequence[str]) -> list[str]:
    return [f"{n} x {what}" if n > 1 else what for what, n in Counter(broken).items()][:20]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section (not with ``--short``)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--crashes", type=int, default=10)
    parser.add_argument("--way", type=int, choices=range(len(WAYS)), help="one way alone, nothing written")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a few cycles, one crash, nothing written")
    given = parser.parse_args(arguments)
    ways = WAYS if given.way is None else WAYS[given.way :][:1]
    if given.short:
        given.cycles, given.warm_up, given.crashes, ways = 4, 2, 1, ways[:4]  # the last one takes long
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="inspector-cycles-") as folder,
        tempfile.TemporaryDirectory(prefix="inspector-cycles-", dir=memory) as runtime,
    ):
        run = Run(Path(folder), Path(runtime), given.seed)
        try:
            before, blocks = cables(
                run, WAYS if given.way is None else WAYS[given.way :][:1], given.cycles, given.warm_up
            )
            crashes = [crash(run) for _ in range(given.crashes)]
            text = report(run, before, blocks, crashes, time.monotonic() - began)
        finally:
            run.close()
    print(text)
    if not given.short and given.way is None:
        replace_section("cycles", text)
    return 1 if run.broken else 0


if __name__ == "__main__":
    sys.exit(main())
