"""`run`, `results` and `demo` from a shell: what they print, and how they fail."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspector.cli.demo import compare_books
from inspector.station.ledger import Row
from tests.walk.harness import Walk


def cli(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inspector", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_results_of_a_running_station(walk: Walk) -> None:
    walk.show(False)
    bad = walk.plc.inspect(part_id="bad-one")

    def results(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return cli("results", command, *arguments, "--station", str(walk.station_file))

    listed = results("list", "--json", "--limit", "1")
    (row,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["seq"], row["part_id"], row["outcome"], row["code"]) == (bad["seq"], "bad-one", "FAIL", 1001)
    assert row["verdict"]["checks"][0]["step"] == "lid"
    story = results("show", "bad-one").stdout
    assert "attempt 1" in story and "lid" in story and "Lid wrong" in story and " ms judged" in story
    assert "FAIL" in results("list", "--outcome", "fail").stdout
    count = results("count")
    assert count.returncode == 0 and "recount" in count.stdout and "total" in count.stdout
    alarms = results("alarms", "--json")
    assert alarms.returncode == 0
    assert all({"utc", "name", "what", "text"} == json.loads(line).keys() for line in alarms.stdout.splitlines())
    assert results("list", "--outcome", "maybe").returncode == 2


def test_results_without_a_station_or_a_ledger(tmp_path: Path, walk: Walk) -> None:
    missing = cli("results", "list", "--station", str(tmp_path / "none.yaml"))
    assert missing.returncode == 1 and "none.yaml" in missing.stderr and "Traceback" not in missing.stderr
    other = tmp_path / "state"
    environment = {**walk.environment, "STATE_DIRECTORY": str(other)}
    none = cli("results", "list", "--station", str(walk.station_file), env=environment)
    assert none.returncode == 1 and "there is no ledger" in none.stderr


def test_run_without_its_file_is_one_sentence(tmp_path: Path) -> None:
    done = cli("run", str(tmp_path / "none.yaml"))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    (tmp_path / "bad.yaml").write_text("line: [")
    done = cli("run", str(tmp_path / "bad.yaml"))
    assert done.returncode == 2 and "bad.yaml:1" in done.stderr and "Traceback" not in done.stderr


def test_a_demo_on_a_taken_port_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cli("demo", "--parts", "1", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2 and "is taken" in done.stderr and "Traceback" not in done.stderr


def row(cmd_id: str = "c1", outcome: str | None = "PASS", code: int = 0, seq: int = 1, part_id: str = "P1") -> Row:
    return Row(seq, part_id, cmd_id, 1, 1, 1, "a", "", outcome, code, "", "", 1, None, False, None)


def part(verdict: str = "PASS", decision: str = "pass", **more: Any) -> dict[str, Any]:
    values = {"cmd_id": "c1", "part_id": "P1", "verdict": verdict, "code": 0, "seq": 1, "decision": decision}
    return values | more


@pytest.mark.parametrize(
    ("book", "ledger", "words"),
    [
        ([part()], [row()], None),
        ([], [], None),
        ([part("", "reject")], [], None),
        ([part("", "reject")], [row()], None),
        ([part("", "pass")], [row()], "passed without a verdict"),
        ([part()], [], "the ledger has nothing"),
        ([part()], [row(), row(seq=2)], "2 rows in the ledger"),
        ([part()], [row(outcome="NOT_INSPECTED", code=300)], "the PLC got"),
        ([part(code=1001, verdict="FAIL")], [row(outcome="FAIL", code=1002)], "the PLC got"),
        ([part(seq=2)], [row()], "the PLC got"),
        ([part(part_id="P2")], [row()], "the PLC got"),
        ([part()], [row(), row("c2", seq=2)], "not sent by the PLC"),
        ([part()], [row(outcome=None)], "the PLC got"),
        ([part()], [row(), row("", "NOT_INSPECTED", 201, 2, "")], None),
        ([part()], [row(), row("", "PASS", 0, 2, "")], "seq 2: PASS for no part"),
    ],
)
def test_books_are_compared_part_by_part(book: list[dict[str, Any]], ledger: list[Row], words: str | None) -> None:
    problems = compare_books(book, ledger)
    assert (problems == []) if words is None else (len(problems) == 1 and words in problems[0]), problems
