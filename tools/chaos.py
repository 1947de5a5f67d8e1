"""``make chaos``: kill -9 the camera process, the judge, the station, the broker and the terminal, one after another.

A simulated line runs all the while. For each kill the report says what the PLC saw and how long it took until the
next good verdict (PASS or FAIL, by the PLC's own book). Exit status 1 when a part passed that should not have, a
trigger was left without a decision, or the books differ.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil

from inspector.cli.demo import ROOT, World, compare_books
from inspector.station.ledger import recount, search
from tools.benchmarks.machine import describe

GATE_MS = 1500  # the simulated line's way from camera to gate
VICTIMS = ("camera", "judge", "archive", "station", "broker", "terminal")
MODULES = {
    "camera": "inspector.acquire.process",
    "judge": "inspector.recipe.process",
    "archive": "inspector.archive.process",
}


@dataclass(frozen=True)
class Kill:
    """One kill -9."""

    victim: str
    pid: int
    when: datetime


class Terminal:
    """The operator's terminal on a pseudo terminal of 80x24."""

    def __init__(self, world: World) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inspector", "tui", "--socket", str(world.config.feed_socket)],
            cwd=ROOT,
            env={**world.environment, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.drawn_bytes = 0
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            self.drawn_bytes += len(data)


def find(world: World, terminal: Terminal, victim: str) -> int:
    """Process id of a victim. Raises SystemExit when it is not there."""
    if victim == "terminal":
        return terminal.process.pid
    kept = {k.name: k.process for k in world.kept}
    if victim in kept:
        process = kept[victim]
        if process is None:
            raise SystemExit(f"{victim} is not running")
        return process.pid
    station = kept["station"]
    if station is not None:
        for child in psutil.Process(station.pid).children():
            if MODULES[victim] in child.cmdline():
                return child.pid
    raise SystemExit(f"{victim} is not running")


def run(world: World, rate: float, pause_s: float, victims: Sequence[str]) -> tuple[list[Kill], dict[str, Any], int]:
    """Run the line, kill, and return kills, the PLC's book and the line's exit status."""
    kills: list[Kill] = []
    line = subprocess.Popen(
        [*world.line_arguments(0, rate, 5, None, None), "--quiet"],
        cwd=ROOT,
        env=world.environment,
        stdin=subprocess.DEVNULL,
    )
    terminal = Terminal(world)

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kept in world.kept:
                kept.tend()
            time.sleep(0.02)

    try:
        wait(pause_s + 8)  # the recipe loads, the first parts pass
        for victim in victims:
            pid = find(world, terminal, victim)
            kills.append(Kill(victim, pid, datetime.now(timezone.utc)))
            os.kill(pid, signal.SIGKILL)
            print(f"{kills[-1].when:%H:%M:%S} killed {victim} ({pid})", flush=True)
            wait(pause_s)
    finally:
        line.terminate()
        code = line.wait(30)
        if terminal.process.poll() is None:
            terminal.process.kill()
        terminal.process.wait(5)
    book: dict[str, Any] = json.loads((world.folder / "book.json").read_text(encoding="utf-8"))
    return kills, book, code


def judge(kills: list[Kill], book: dict[str, Any], pause_s: float) -> list[dict[str, Any]]:
    """What happened after each kill."""
    rows = [(_time(r["sent_utc"]), r) for r in book["rows"]]
    # a part that is on its way to the gate may be hurt too: the PLC decides there
    way = timedelta(milliseconds=GATE_MS)
    result = []
    for kill in kills:
        after = [
            (sent, r) for sent, r in rows if kill.when - way <= sent < kill.when - way + timedelta(seconds=pause_s)
        ]
        hurt = [r for _, r in after if r["verdict"] not in ("PASS", "FAIL") or r["by"] == "rule"]
        good = [
            sent + timedelta(milliseconds=r["latency_ms"])
            for sent, r in after
            if sent >= kill.when and r["verdict"] in ("PASS", "FAIL") and r["by"] == "verdict"
        ]
        saw: dict[str, int] = {}
        for r in hurt:
            words = (
                f"NOT_INSPECTED {r['code']}"
                if r["verdict"] == "NOT_INSPECTED"
                else f"rule: {r['why'].replace('_', ' ')}"
            )
            saw[words] = saw.get(words, 0) + 1
        result.append(
            {
                "victim": kill.victim,
                "saw": ", ".join(f"{n} x {w}" for w, n in saw.items()) or "nothing: every part got its verdict",
                "next_good_s": (min(good) - kill.when).total_seconds() if good else None,
                "parts": len(after),
            }
        )
    return result


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write docs/evidence/chaos.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--pause-s", type=float, default=15.0, help="between kills")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--port", type=int, default=18850)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence" / "chaos.md")
    given = parser.parse_args(arguments)
    world = World(port=given.port, identity="command", recipe=1, folder=ROOT / "var" / "chaos")
    with world:
        kills, book, code = run(world, given.rate, given.pause_s, VICTIMS * given.rounds)
    ledger = world.config.state_dir / "ledger.db"
    problems = compare_books(book["rows"], search(ledger, limit=1_000_000))
    kept, counted = recount(ledger)
    if kept != counted:
        problems.append(f"counters {kept}, recount {counted}")
    text = report(given, judge(kills, book, given.pause_s), book["summary"], problems)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, encoding="utf-8")
    print(text)
    return 1 if problems or code or book["summary"]["dangerous"] else 0


def report(
    given: argparse.Namespace, events: list[dict[str, Any]], summary: dict[str, Any], problems: list[str]
) -> str:
    """The evidence page."""
    by_rule = {k: v for k, v in summary["rejected_by_rule"].items() if v}
    lines = [
        "# kill -9, one after another, while the line runs",
        "",
        f"`make chaos`, {datetime.now(timezone.utc):%Y-%m-%d}, {describe()}. {given.rate:g} parts/s, software trigger,",
        f"{given.pause_s:g} s between kills. The demo starts the station and the broker again 1 s after they died, as",
        "systemd would; camera, judge and archive are the station's own to restart; nobody restarts the terminal.",
        "",
        "| killed | what the PLC saw | next good verdict after |",
        "|---|---|---|",
    ]
    for e in events:
        after = f"{e['next_good_s']:.1f} s" if e["next_good_s"] is not None else "never"
        lines.append(f"| {e['victim']} | {e['saw']} | {after} |")
    lines += [
        "",
        f"PLC's book: {summary['sent']} sent, {summary['decided']} decided, {summary['passed']} passed,",
        f"{summary['rejected_by_verdict']} rejected by verdict, {sum(by_rule.values())} by rule {by_rule or ''},",
        f"**{summary['dangerous']} dangerous passes**.",
        f"Triggers without a decision: {summary['sent'] - summary['decided']}.",
        "",
        "Confusion matrix: " + json.dumps(summary["confusion"]) + ".",
        "",
        "The PLC's book and the ledger are equal." if not problems else "The books differ: " + "; ".join(problems[:10]),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
