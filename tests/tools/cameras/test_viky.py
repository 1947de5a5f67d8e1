from __future__ import annotations

from typing import Any

import pytest

from tools.cameras.viky import judge, main


def one(**more: Any) -> dict[str, Any]:
    good = {"serial": "0", "frames": 10_000, "lost": 0, "incomplete": 0, "odd": [], "distinct": 100}
    return good | {"grown_mb": 0.1, "reopen_grown_mb": 1.0, "descriptors": [7, 7]} | more


def test_what_is_broken_is_seen() -> None:
    assert judge([one()]) == []
    bad = {"odd": ["picture 3 where 4 was due"], "incomplete": 1, "distinct": 1, "grown_mb": 6.0, "descriptors": [7, 8]}
    assert len(judge([one(**bad)])) == 5


def test_a_producer_of_others_is_listed_looked_at_and_refused_for_parts(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--short"])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "> camera 0 has no TriggerMode: it sends pictures when it likes" in told
    assert "| 0 | 215 |" in told
