"""The short form runs; how fast it is here and now is no matter of a test."""

from __future__ import annotations

from collections import Counter

import pytest

from tools.cameras.pace import Paced, lost, main
from tools.virtual_camera.control import Counters


def paced(outcomes: dict[str, int], pictures: int = 3, **counters: int) -> Paced:
    books = dict.fromkeys(Counters.__dataclass_fields__, 0) | {"triggers": 3, "exposed": 3, "delivered": 3} | counters
    took = {"left": [1.0] * pictures}
    return Paced(3, 1.0, Counter(outcomes), Counter(), took, [], {"left": Counters(**books)}, {})


def test_what_is_lost_is_seen() -> None:
    assert lost(paced({"PASS": 3})) == []
    assert lost(paced({"PASS": 3}, triggers=4, missed=1)) == [
        "camera left: triggers less parts 1",
        "camera left: missed 1",
        "camera left: triggers less deliveries 1",
    ]
    assert lost(paced({"PASS": 3}, pictures=2)) == ["camera left: 2 pictures in the ledger of 3"]
    assert "{'PASS': 2, 'NOT_INSPECTED': 1}" in lost(paced({"PASS": 2, "NOT_INSPECTED": 1}))[0]


@pytest.mark.alone
def test_the_short_form_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--short", "--announced-s", "0", "--rate", "10"])
    told = capsys.readouterr().out
    assert "| bare, before | 20 |" in told and "| bare, after | 20 |" in told
    assert "| station, `command`, left |" in told
    assert "20, 0, 0, 20; 20, 0, 0, 20" in told, told
    assert "pictures/s" in told
