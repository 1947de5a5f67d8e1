"""Tests that measure have the computer to themselves, though others want to run all the time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.alone import room


def test_nobody_is_beside_it_and_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    inside: list[str] = []
    together: list[int] = []
    disturbed: list[list[str]] = []
    end = threading.Event()

    def others(name: str) -> None:
        while not end.is_set():
            with room(tmp_path, alone=False):
                inside.append(name)
                together.append(len(inside))
                time.sleep(0.002)
                inside.remove(name)

    busy = [threading.Thread(target=others, args=(name,), daemon=True) for name in ("one", "two", "three")]
    for thread in busy:
        thread.start()
    try:
        for _ in range(10):
            with room(tmp_path, alone=True):
                disturbed.append(list(inside))
                time.sleep(0.005)
                disturbed.append(list(inside))
    finally:
        end.set()
        for thread in busy:
            thread.join(10)
    assert not any(thread.is_alive() for thread in busy)
    assert disturbed == [[]] * 20
    assert max(together) > 1, "those that measure nothing run side by side"


def test_a_test_that_fails_gives_its_place_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), room(tmp_path, alone=True):
        raise ZeroDivisionError
    with room(tmp_path, alone=False), room(tmp_path, alone=False):
        pass
