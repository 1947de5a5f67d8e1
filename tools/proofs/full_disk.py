"""``make fulldisk``: the disk under a running line gets full, and has space again; three sizes of disk.

The state directory lies on a small tmpfs. Somebody else fills it: once to the last byte, and a second time again and
again, whenever there is a byte of room. Every trigger must get its one verdict in time all the while, an alarm must
come and go, and when there is space again everything that was told must stand in the books.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inspector.cli.demo import ROOT
from inspector.station.ledger import alarm_log, recount, search
from tools.proofs.page import replace_section
from tools.proofs.witness import SmallWorld, Witness

RATE = 4.0  # parts a second
DEADLINE_MS = 300
OVER_MS = 10  # that much later than its deadline a verdict may leave
STORAGE_FULL = 305
RECIPE = 2  # keeps its pictures, on the same disk
READY_LIMIT_S = 60.0
RECOVERY_LIMIT_S = 20.0
CHUNK = 64 * 1024


@contextmanager
def small_disk(size_mb: int) -> Iterator[Path]:
    """A tmpfs of that size, gone afterwards. Raises PermissionError for who is not root."""
    if os.geteuid() != 0:
        raise PermissionError("a small disk can be mounted by root only")
    with tempfile.TemporaryDirectory(prefix="fulldisk-") as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "inspector-fulldisk", folder],
            check=True, timeout=10,
        )  # fmt: skip
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=False, timeout=10)


class Filler:
    """Something else that writes on the disk; ``greedy``: again whenever there is room."""

    def __init__(self, disk: Path, *, greedy: bool) -> None:
        self.full_ns = 0  # when there was no more room, monotonic; what the station gives back later changes nothing
        self._path = disk / "somebody-elses"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(greedy,), daemon=True)
        self._thread.start()

    def _fill(self, greedy: bool) -> None:
        with self._path.open("ab", buffering=0) as file:
            while True:
                for size in (CHUNK, 4096, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * size) and not self._over.is_set():
                            pass
                self.full_ns = self.full_ns or time.monotonic_ns()
                if not greedy or self._over.wait(0.05):
                    return

    def give_back(self) -> None:
        """The space is there again."""
        self._over.set()
        self._thread.join(30)
        self._path.unlink()


@dataclass
class Phase:
    """What the PLC saw of the triggers of one time."""

    name: str
    began_ns: int
    sent: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0  # trigger sent to result here


@dataclass
class Run:
    """One disk."""

    size_mb: int
    phases: list[Phase] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    alarm_s: list[float] = field(default_factory=list)  # from full to the first event that tells of it
    good_again_s: list[float] = field(default_factory=list)  # from space to the first PASS or FAIL
    rows: int = 0
    transport_ms: float = 0.0

    def run(self, port: int, folder: Path, phase_s: float, *, again: bool = True) -> None:
        """Full once, space, and ``again`` full all the time, space. Whatever goes wrong is a fault."""
        with small_disk(self.size_mb) as disk:
            settings = {"state_dir": str(disk), "archive": {"budget_mb": 1000, "min_free_mb": 4}}
            with SmallWorld(
                port=port, identity="command", recipe=RECIPE, folder=folder, broker="mosquitto", settings=settings
            ) as world:
                witness = Witness(world, rate=RATE, deadline_ms=DEADLINE_MS)
                try:
                    if not witness.wait_ready(READY_LIMIT_S):
                        raise TimeoutError(f"not Ready within {READY_LIMIT_S:.0f} s: {witness.state}")
                    self._phases(witness, disk, phase_s, (False, True) if again else (False,))
                finally:
                    witness.close()
                    self.faults += witness.faults
            self._judge(witness)
            self._books(witness, disk / "ledger.db")

    def _phases(self, witness: Witness, disk: Path, phase_s: float, fillers: Sequence[bool]) -> None:
        self._phase("before", phase_s / 2)
        for greedy in fillers:
            filler = Filler(disk, greedy=greedy)
            end = time.monotonic() + 60
            while not filler.full_ns and time.monotonic() < end:
                time.sleep(0.01)
            full_ns = filler.full_ns
            self._phase("full, and filled again at once" if greedy else "full", phase_s)
            came = [
                at for at, e in witness.events if at > full_ns and (e["code"] == STORAGE_FULL or "isk" in e["text"])
            ]
            if came:
                self.alarm_s.append((came[0] - full_ns) / 1e9)
            else:
                self.faults.append(f"{self.phases[-1].name}: no event told of it")
            filler.give_back()
            free_at = time.monotonic_ns()
            self._phase("space again", phase_s)
            good = [
                arrived_ns
                for sent in list(witness.triggers.values())
                for arrived_ns, result in sent.results[:1]
                if arrived_ns > free_at and result["verdict"] in ("PASS", "FAIL")
            ]
            if good:
                self.good_again_s.append((min(good) - free_at) / 1e9)
            else:
                self.faults.append("no PASS or FAIL after there was space again")
        end = time.monotonic() + RECOVERY_LIMIT_S
        while time.monotonic() < end and (witness.state["fault"] or witness.state["warn"]):
            time.sleep(0.1)
        if witness.state["fault"] or witness.state["warn"] or not witness.state["ready"]:
            self.faults.append(f"an alarm did not go away by itself: {witness.state}")
        witness.pause(True)
        time.sleep(2.0)  # the last answers

    def _phase(self, name: str, seconds: float) -> None:
        """What is sent from now on belongs to it, until the next one begins."""
        self.phases.append(Phase(name, time.monotonic_ns()))
        time.sleep(seconds)

    def _judge(self, witness: Witness) -> None:
        """Every trigger has its answer, a right one and in time."""
        begins = [phase.began_ns for phase in self.phases]
        for cmd_id, sent in witness.triggers.items():
            number = bisect.bisect_right(begins, sent.sent_ns) - 1
            if number < 0:  # the station was not Ready yet
                continue
            phase = self.phases[number]
            phase.sent += 1
            if not sent.results:
                self.faults.append(f"{phase.name}: {cmd_id} got no verdict")
                continue
            arrived_ns, result = sent.results[0]
            took_ms = (arrived_ns - sent.sent_ns) / 1e6
            phase.slowest_ms = max(phase.slowest_ms, took_ms)
            if number == 0:
                self.transport_ms = max(self.transport_ms, took_ms - result["t_ms"])
            words = result["verdict"] + (f" {result['code']}" if result["verdict"] == "NOT_INSPECTED" else "")
            phase.verdicts[words] += 1
            if result["verdict"] == "NOT_INSPECTED" and result["code"] != STORAGE_FULL:
                self.faults.append(f"{phase.name}: {cmd_id} was answered {result['code']} {result['reason']}")
            if max(took_ms - self.transport_ms, result["t_ms"]) > DEADLINE_MS + OVER_MS:
                words = f"after {took_ms:.0f} ms ({result['t_ms']} by itself)"
                self.faults.append(f"{phase.name}: {cmd_id} was answered {words}")

    def _books(self, witness: Witness, ledger: Path) -> None:
        kept, counted = recount(ledger)
        if kept != counted:
            self.faults.append(f"counters {kept}, recount {counted}")
        rows = {row.cmd_id: row for row in search(ledger, limit=1_000_000)}
        self.rows = len(rows)
        for cmd_id, sent in witness.triggers.items():
            result, row = sent.first, rows.get(cmd_id)
            if result is None:
                continue
            said = (result["seq"], result["verdict"], result["code"])
            if row is None or (row.seq, row.outcome, row.code) != said:
                self.faults.append(f"{cmd_id}: the PLC got {said}, the ledger has {row and (row.seq, row.outcome)}")
        notes = Counter(note["what"] for note in alarm_log(ledger, 1000))
        if not notes:
            self.faults.append("no alarm stands in the books")


def report(runs: Sequence[Run], phase_s: float) -> tuple[str, list[str]]:
    """The section, and what was broken."""
    faults = [f"{run.size_mb} MB, {fault}" for run in runs for fault in run.faults]
    words = (
        f"{RATE:g} triggers a second, deadline {DEADLINE_MS} ms, {phase_s:g} s a phase. Ledger, pictures and reserve "
        "lie on a tmpfs that something else fills to the last byte: once, then again whenever there is a byte of room. "
        "Times are as the PLC sees them."
    )
    lines = [
        textwrap.fill(words, 118),
        "",
        "| disk | phase | triggers | answers | slowest ms |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        for phase in run.phases:
            answers = ", ".join(f"{n} {word}" for word, n in sorted(phase.verdicts.items()))
            lines.append(f"| {run.size_mb} MB | {phase.name} | {phase.sent} | {answers} | {phase.slowest_ms:.0f} |")
    again, alarms = ([s for run in runs for s in getattr(run, name)] for name in ("good_again_s", "alarm_s"))
    if again and alarms:
        words = (
            f"The alarm came {max(alarms):.1f} s after the disk was full, at most; the first PASS or FAIL came "
            f"{max(again):.1f} s after there was space again, at most. Nobody touched the station."
        )
        lines += ["", textwrap.fill(words, 118)]
    words = (
        "Every trigger was answered once and in time, an alarm came each time and went by itself, the counters equal a "
        "recount, and every verdict that was told stands in the books. **Nothing broke.**"
    )
    lines += ["", "**Broken:**", *(f"- {f}" for f in faults[:20])] if faults else ["", textwrap.fill(words, 118)]
    return "\n".join(lines), faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write the section. 1 when anything was broken, 2 without the right to mount."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="16,48,160", help="MB of the disks")
    parser.add_argument("--seconds", type=float, default=15, help="of each phase")
    parser.add_argument("--port", type=int, default=21310)
    parser.add_argument("--write", action="store_true", help="write the section of docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    runs = []
    for size_mb in (int(size) for size in given.sizes.split(",")):
        run = Run(size_mb)
        runs.append(run)
        try:
            run.run(given.port, ROOT / "var" / "fulldisk", given.seconds)
        except PermissionError as error:
            print(f"fulldisk: {error}; run it as root", file=sys.stderr)
            return 2
        except (OSError, TimeoutError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            run.faults.append(f"{type(error).__name__}: {error}")
        print(f"{size_mb} MB: {sum(p.sent for p in run.phases)} triggers, {len(run.faults)} faults", flush=True)
    text, faults = report(runs, given.seconds)
    print(text)
    if given.write:
        replace_section("fulldisk", text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
