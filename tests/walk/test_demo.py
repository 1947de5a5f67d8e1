"""The command a newcomer types first, whole: broker, camera, station, line, books."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inspector.cli.demo import ROOT
from tests.plc.peers import free_port

pytest.importorskip("iotcore")
pytestmark = pytest.mark.alone  # whole lines with their real deadlines, which no part may miss


def demo(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "inspector", "demo", "--folder", str(folder), "--port", str(free_port()), *arguments]


@pytest.mark.parametrize("identity", ["command", "announced", "counted"])
def test_every_trigger_one_verdict_and_both_books_equal(tmp_path: Path, identity: str) -> None:
    done = subprocess.run(
        demo(tmp_path / "d", "--parts", "12", "--identity", identity, "--rate", "3"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 triggers sent, 12 verdicts received, 12 rows in the ledger" in done.stdout
    assert "The PLC's book and the ledger are equal." in done.stdout
    book = json.loads((tmp_path / "d" / "book.json").read_text(encoding="utf-8"))
    assert book["summary"]["dangerous"] == 0 and book["summary"]["sent"] == 12
    assert {row["verdict"] for row in book["rows"]} == {"PASS", "FAIL"}
    assert all((row["verdict"] == "PASS") is row["good"] for row in book["rows"])


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = demo(tmp_path / "d", "--parts", "1", "--port", str(taken.getsockname()[1]))
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "is taken" in done.stderr and "Traceback" not in done.stderr


def test_in_a_terminal_the_screen_shows_and_leaving_it_ends_the_demo(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        demo(tmp_path / "d", "--rate", "5"),
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    seen, end = b"", time.monotonic() + 90
    try:
        while b"JUDGE ok" not in seen and time.monotonic() < end:
            if select.select([master], [], [], 1.0)[0]:
                seen += os.read(master, 65536)
        assert b"JUDGE ok" in seen, seen[-2000:]
        os.write(master, b"q")
        while process.poll() is None and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):  # the other end is closed
                    seen += os.read(master, 65536)
        assert process.poll() == 0, seen[-2000:]
        assert b"PLC's book:" in seen
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        os.close(master)
