"""``make kills``: kill -9 of the whole station, 1,000 times, at random moments, while a PLC goes on sending triggers.

Two stations side by side. A life ends while the station starts, while it inspects, or while it shuts down, at the
moment its ledger is folded (the check-point). It is started again at once. After every start that became Ready the
books are compared with all that was ever told and with all that ever stood in them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import statistics
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspector.cli.demo import ROOT
from inspector.station.ledger import recount
from tools.proofs.page import replace_section
from tools.proofs.witness import SmallWorld, Witness

RATE = 8.0  # parts a second
DEADLINE_MS = 800
READY_LIMIT_S = 30.0  # then the proof is over
GOAL_S = 5.0
SETTLED_S = 3.0  # a verdict younger than that may still be replaced: its part's time ran out while it was written
RECIPE_EVERY = 40  # lives, at random


@dataclass
class Lane:
    """One station and its life."""

    number: int
    port: int
    chance: random.Random
    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    ready_s: list[float] = field(default_factory=list)
    slowest: str = ""  # what the station said meanwhile
    faults: list[str] = field(default_factory=list)
    stored: dict[int, tuple[str, int, str]] = field(default_factory=dict)  # by seq: outcome, code, cmd_id
    counters: dict[str, int] = field(default_factory=dict)
    told: int = 0
    unstored: int = 0
    replaced: int = 0
    repeated: int = 0
    checks: int = 0
    unfolded: int = 0  # kills that left a part of the log to be folded
    recipe: int = 1
    witness: Witness | None = None

    def run(self, count: int, over: threading.Event | None = None) -> None:
        """Kill ``count`` times, or until ``over``. Whatever goes wrong is a fault."""
        try:
            with SmallWorld(
                port=self.port, identity="command", recipe=1, folder=self.folder, broker="mosquitto"
            ) as world:
                self._live(world, count, over or threading.Event())
        except Exception as error:
            self.faults.append(f"lane {self.number}: {type(error).__name__}: {error}")

    def _live(self, world: SmallWorld, count: int, over: threading.Event) -> None:
        station = next(k for k in world.kept if k.name == "station")
        ledger = world.config.state_dir / "ledger.db"
        witness = self.witness = Witness(world, rate=RATE, deadline_ms=DEADLINE_MS, seed=self.number)
        started, boot = time.monotonic(), ""
        try:
            while True:
                moment = self.chance.choices(("start", "work", "check-point"), (0.2, 0.6, 0.2))[0]
                if self.kills.total() == count or over.is_set():
                    moment = "last"
                if moment == "start":
                    time.sleep(self.chance.uniform(0.0, 1.5))
                else:
                    if not witness.wait_ready(READY_LIMIT_S, not_boot=boot):
                        raise TimeoutError(f"not Ready within {READY_LIMIT_S:.0f} s; state {witness.state}")
                    if boot:  # the first start is nobody's restart
                        self._took(time.monotonic() - started, started, witness)
                    boot = witness.state["boot"]
                    self.check(witness, ledger)
                    if moment == "last":
                        break
                    if self.chance.random() < 1 / RECIPE_EVERY:
                        self._change_recipe(witness)
                    time.sleep(self.chance.uniform(0.0, 1.2))
                process = station.process
                assert process is not None  # noqa: S101
                if moment == "check-point":
                    self._shut_until_check_point(process.pid, ledger)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                process.wait(10)
                if moment == "check-point":
                    wal = ledger.with_name(f"{ledger.name}-wal")
                    self.unfolded += wal.is_file() and wal.stat().st_size > 0
                self.kills[moment] += 1
                boot = witness.state.get("boot", boot)
                station.process, station.died_at = None, float("-inf")
                started = time.monotonic()
                station.tend()
            witness.pause(True)
            time.sleep(SETTLED_S + 1)
            self.check(witness, ledger, settled=True)
        finally:
            witness.close()
            self.faults += witness.faults
            self.repeated = witness.duplicates

    def _took(self, seconds: float, started: float, witness: Witness) -> None:
        if seconds > max(self.ready_s, default=0.0):
            said = [(at - started, payload) for at, payload in list(witness.states) if at > started]
            self.slowest = "; ".join(
                f"{at:.1f} s {payload['state']}{'' if payload['ready'] else ' (' + payload.get('text', '') + ')'}"
                for at, payload in said
            )
        self.ready_s.append(seconds)

    def _shut_until_check_point(self, pid: int, ledger: Path) -> None:
        """Ask the station to stop, and return when the first page of its log is written into the ledger."""
        before = ledger.stat().st_mtime_ns
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                if ledger.stat().st_mtime_ns != before:
                    time.sleep(self.chance.choice((0.0, 0.0, 0.0005, 0.002)))
                    return
            time.sleep(0.0002)

    def _change_recipe(self, witness: Witness) -> None:
        wanted = 3 - self.recipe
        if witness.command("recipe", recipe=wanted).get("ok"):
            self.recipe = wanted
        else:
            self.faults.append(f"the change to recipe {wanted} was not done: {witness.state}")

    # --- the books
    def check(self, witness: Witness, ledger: Path, *, settled: bool = False) -> None:
        """After a start: is everything there that was, and does it say the same? ``settled``: nothing is under way."""
        self.checks += 1
        fault = self.faults.append
        if witness.state["recipe"] != self.recipe:
            fault(f"recipe {witness.state['recipe']} runs, {self.recipe} was chosen")
        aside = [p.name for p in ledger.parent.glob("*damaged*")]
        if aside and not any("moved aside" in f for f in self.faults):
            fault(f"the ledger was moved aside: {aside}")
        told = [(cmd, s.first, s.results[0][0]) for cmd, s in list(witness.triggers.items()) if s.first is not None]
        with contextlib.closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                fault(f"quick_check: {problem}")
            rows = connection.execute(
                "SELECT seq, outcome, code, cmd_id, received_utc FROM part WHERE outcome IS NOT NULL"
            ).fetchall()
            counters = dict(connection.execute("SELECT name, value FROM counter"))
        now = {r[0]: (r[1], r[2], r[3]) for r in rows}
        told_seqs = {payload["seq"] for _, payload, _ in told}
        for seq, old in self.stored.items():
            new = now.get(seq)
            if new == old:
                continue
            if new is not None and seq not in told_seqs and old[0] != "NOT_INSPECTED" and new[0] == "NOT_INSPECTED":
                self.replaced += 1  # never told: its part's time ran out
            else:
                fault(f"seq {seq} was {old}, is {new}")
        self.stored = now
        commands = Counter(row[2] for row in now.values() if row[2])
        fault_twice = [cmd for cmd, n in commands.items() if n > 1]
        if fault_twice:
            fault(f"more than one row for {fault_twice[:3]}")
        self._compare(told, now, settled)
        for name in ("total", "PASS", "FAIL", "NOT_INSPECTED"):
            if counters.get(name, 0) < self.counters.get(name, 0) and (name == "total" or not self.replaced):
                fault(f"counter {name} went back from {self.counters[name]} to {counters.get(name, 0)}")
        self.counters = counters
        kept, counted = recount(ledger)
        if kept != counted:
            fault(f"counters {kept}, recount {counted}")

    def _compare(self, told: Sequence[tuple[str, dict[str, object], int]], now: dict[int, tuple[str, int, str]],
                 settled: bool) -> None:  # fmt: skip
        self.told, self.unstored = len(told), 0
        for cmd_id, payload, arrived_ns in told:
            row = now.get(int(str(payload["seq"])))
            said = (payload["verdict"], payload["code"], cmd_id)
            if row == said:
                continue
            if row is None and said[0] == "NOT_INSPECTED":
                self.unstored += 1  # told first, as the contract allows: the disk had not taken it
            elif row is None and not settled and time.monotonic_ns() - arrived_ns < 1e9:
                continue  # told while we looked
            else:
                self.faults.append(f"seq {payload['seq']}: the PLC got {said}, the ledger has {row}")


def report(lanes: Sequence[Lane], took_s: float, goal_s: float = GOAL_S) -> tuple[str, list[str]]:
    """The section, and what was broken; ``goal_s``: most a start may take."""
    kills: Counter[str] = sum((lane.kills for lane in lanes), Counter())
    ready = sorted(s for lane in lanes for s in lane.ready_s)
    faults = [f for lane in lanes for f in lane.faults]
    if not ready:
        faults.append("no station became Ready again")
        return "\n".join(["**Broken:**", *(f"- {f}" for f in faults[:20])]), faults
    p50, p99 = statistics.median(ready), ready[min(len(ready) - 1, int(len(ready) * 0.99))]
    if ready[-1] > goal_s:
        faults.append(f"Ready {ready[-1]:.1f} s after a start, goal {goal_s:g} s")
    told, rows = sum(lane.told for lane in lanes), sum(len(lane.stored) for lane in lanes)
    words = (
        f"{kills.total()} kills of the station's process in {took_s / 60:.1f} minutes: {kills['start']} while it "
        f"started, {kills['work']} while it inspected, {kills['check-point']} while it shut down and folded its "
        f"log (in {sum(lane.unfolded for lane in lanes)} of them the check-point was not over). "
        f"Stations side by side on this machine: {len(lanes)}, {RATE:g} triggers a second each, started again at once. "
        f"**Ready again {p50:.2f} s after the start at the median, p99 {p99:.2f} s, at most {ready[-1]:.2f} s** "
        f"(goal {goal_s:g} s, recipe without models)."
    )
    slowest = max(lanes, key=lambda lane: max(lane.ready_s, default=0.0)).slowest
    more = (
        f"{told} triggers were answered, {sum(lane.repeated for lane in lanes)} answers came again for a repeated "
        f"trigger, {rows} verdicts stand in the books. {sum(lane.checks for lane in lanes)} times, after each start, "
        "the ledger was whole (quick_check), no counter and no seq had gone back, no stored verdict had changed, every "
        "PASS and FAIL ever told stood in it the same, no trigger had two verdicts, the same recipe ran. "
        f"{sum(lane.unstored for lane in lanes)} NOT_INSPECTED were told and not on disk when the station died, as the "
        f"contract allows; {sum(lane.replaced for lane in lanes)} verdicts that nobody had been told were replaced by "
        "NOT_INSPECTED because their part's time had run out."
    )
    lines = [textwrap.fill(words, 118), "", textwrap.fill(more, 118), ""]
    lines += [textwrap.fill(f"What the station said in its slowest start: {slowest}.", 118), ""] if slowest else []
    lines += (
        [f"**Broken:** {len(faults)} times"] + [f"- {f}" for f in faults[:20]] if faults else ["**Nothing broke.**"]
    )
    return "\n".join(lines), faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, check, write the section. 1 when anything was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="kills, over all lanes")
    parser.add_argument("--lanes", type=int, default=2, help="stations side by side")
    parser.add_argument("--port", type=int, default=21300, help="of the first lane's broker; the others' follow")
    parser.add_argument("--seconds", type=float, default=5400, help="end then, however many kills there were")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the section of docs/evidence/plc.md")
    given = parser.parse_args(arguments)
    lanes = [
        Lane(i, given.port + i, random.Random(given.seed * 100 + i), ROOT / "var" / "kills" / str(i))
        for i in range(given.lanes)
    ]
    began, over = time.monotonic(), threading.Event()
    share = -(-given.count // given.lanes)
    threads = [threading.Thread(target=lane.run, args=(share, over)) for lane in lanes]
    for thread in threads:
        thread.start()
    shown = 0
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            kills = sum(lane.kills.total() for lane in lanes)
            if kills // 50 > shown:
                shown = kills // 50
                latest = [s for lane in lanes for s in lane.ready_s[-25:]]
                print(
                    f"{kills} kills, {time.monotonic() - began:.0f} s, Ready after {statistics.median(latest):.2f} s,"
                    f" {sum(len(lane.faults) for lane in lanes)} faults",
                    flush=True,
                )
            if time.monotonic() - began > given.seconds:
                over.set()
    except KeyboardInterrupt:
        over.set()
    for thread in threads:
        thread.join(120)
    text, faults = report(lanes, time.monotonic() - began)
    print(text)
    if given.write:
        replace_section("kills", text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
