"""One small disk, filled once under a real station."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.plc.peers import MOSQUITTO, free_port
from tools.proofs.full_disk import DEADLINE_MS, Run, report

pytestmark = [
    pytest.mark.alone,
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can be mounted by root only"),
]


def test_a_full_disk_costs_no_verdict_and_is_told(tmp_path: Path) -> None:
    run = Run(40)
    run.run(free_port(), tmp_path / "world", 3.0, again=False)
    text, faults = report([run], 3.0)
    assert faults == [], text
    assert [phase.name for phase in run.phases] == ["before", "full", "space again"]
    assert all(phase.sent == phase.verdicts.total() > 0 for phase in run.phases)
    assert run.alarm_s and run.good_again_s and run.rows >= sum(phase.sent for phase in run.phases)
    assert 0 < max(phase.slowest_ms for phase in run.phases) < DEADLINE_MS + 100
    run.faults.append("something")
    assert "Broken" in report([run], 3.0)[0]
