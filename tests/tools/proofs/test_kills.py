"""Two kills of a real station, and that a changed book would be found."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.plc.peers import MOSQUITTO, free_port
from tools.proofs.kills import Lane, report

pytestmark = [pytest.mark.mosquitto, pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")]
JUDGED = "(SELECT min(seq) FROM part WHERE outcome != 'NOT_INSPECTED')"


def test_the_books_survive_and_a_changed_one_is_found(tmp_path: Path) -> None:
    lane = Lane(0, free_port(), random.Random(3), tmp_path / "world")
    lane.run(2)
    assert lane.faults == []
    text, faults = report([lane], 60.0, goal_s=60.0)  # no time is asked of this machine
    assert faults == [] and "Nothing broke" in text
    assert lane.kills.total() == 2 and lane.told > 0 and len(lane.ready_s) >= 1
    assert lane.witness is not None
    ledger = tmp_path / "world" / "state" / "ledger.db"
    for tampering, words in (
        (f"UPDATE part SET code=1777 WHERE seq={JUDGED}", "1777"),
        (f"DELETE FROM part WHERE seq={JUDGED}", "the ledger has None"),
        ("UPDATE counter SET value=value - 1 WHERE name='total'", "counter total went back"),
    ):
        lane.faults.clear()
        copy = Path(shutil.copy(ledger, tmp_path / "changed.db"))
        connection = sqlite3.connect(copy)
        connection.execute("DROP TRIGGER outcome_stays")
        connection.execute(tampering)
        connection.commit()
        connection.close()
        stored, counters = dict(lane.stored), dict(lane.counters)
        lane.check(lane.witness, copy, settled=True)
        lane.stored, lane.counters = stored, counters
        assert any(words in fault for fault in lane.faults), lane.faults
