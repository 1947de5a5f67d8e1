"""The proof about identity in short, and that it can fail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cameras.identity import MODES, _kept, _report
from tools.virtual_camera.control import build

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.alone
def test_no_part_gets_another_parts_picture() -> None:
    build()
    # slow and wide: a busy machine must not decide what is said
    pace = ["--parts", "50", "--period-ms", "100", "--window-ms", "40", "--rate", "0.01"]
    command = [sys.executable, "-m", "tools.cameras.identity", *pace, "--mode"]
    with contextlib.ExitStack() as all_modes:
        running = {
            mode: all_modes.enter_context(
                subprocess.Popen([*command, mode], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            for mode in MODES
        }
        for mode, process in running.items():
            output, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
            found = json.loads(output)
            assert found["mode"] == mode and _kept(found), found
            assert found["good"] > 10 and found["faults"]
            worse = {**found, "wrong total": 1}
            assert not _kept(worse)


def test_the_report_names_every_mode() -> None:
    names = "parts announced good refused named|without a verdict|several verdicts|wrong total|belt total|of nobody"
    names += "|faulted and good|untouched and refused|not named total|count set|by PLC"
    first, *rest = names.split("|")
    zero = dict.fromkeys([*first.split(), *rest], 0)
    more = {
        "faults": {"late frame": 3},
        "ledger honest": True,
        "held up": 0,
        "held up and wrong": [],
        "camera": {"missed": 0},
    }
    found = [{**zero, "mode": mode, **more} for mode in MODES]

    class Given:
        parts, period_ms, window_ms, rate = 100, 20.0, 6, 0.01

    text = _report(Given(), found, 60.0)  # type: ignore[arg-type]
    assert "| | command | announced | counted | counted, start |" in text
    assert "| fault: late frame | 3 | 3 | 3 | 3 |" in text
