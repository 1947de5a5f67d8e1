"""The proof of search, small: it measures the product, and it can fail."""

from __future__ import annotations

import pytest

from tools.proofs import search


def test_a_small_one_reaches_its_goal_and_says_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["--parts", "3000", "--count", "6", "--starts", "1"]) == 0
    said = capsys.readouterr().out
    assert "3000 parts with 3 measured checks each" in said and "while 20 parts/s are written | 6 |" in said
    assert "Counters equal a recount" in said and "found nothing" in said


def test_a_goal_that_is_missed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "GOAL_S", 0.0)
    monkeypatch.setattr(search, "show", lambda path, part_id: "found")
    assert search.main(["--parts", "50", "--count", "3", "--starts", "1"]) == 1
