"""A few cuts of a real, recorded ledger: it keeps what it promised, and what does not keep it is found."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.faulty_disk.log import Operation, read
from tools.faulty_disk.replay import Cut, Disk
from tools.proofs.bookkeeping import LEDGER
from tools.proofs.power_cuts import LAG, Tally, cut, record
from tools.proofs.promises import Promises


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books")
    record(folder / "state", folder / "log", sessions=3, parts=30, seed=1)
    return folder / "log"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def test_nothing_that_was_acknowledged_is_lost(log: Path, tmp_path: Path) -> None:
    tally = Tally("honest")
    cut(log, tmp_path / "cut", tally, 40, 1)
    assert tally.cuts == tally.whole == 40 and tally.acknowledged > 1000
    assert not tally.bad_cuts


def test_a_disk_that_does_not_care_for_syncs_is_found_out(log: Path, tmp_path: Path) -> None:
    tally = Tally("careless")
    cut(log, tmp_path / "cut", tally, 20, 1, lag=LAG)
    assert tally.bad_cuts["lost"] > 0 and tally.most_lost > 0


def test_synchronous_normal_is_found_out(tmp_path: Path) -> None:
    record(tmp_path / "state", tmp_path / "log", sessions=1, parts=60, seed=1, normal=True)
    tally = Tally("normal")
    cut(tmp_path / "log", tmp_path / "cut", tally, 20, 1)
    assert tally.bad_cuts["lost"] > 0


@pytest.mark.parametrize(
    ("tampering", "kind"),
    [
        ("DELETE FROM part WHERE seq = (SELECT max(seq) FROM part)", "lost"),
        ("DELETE FROM outbox", "lost"),
        ("DELETE FROM alarm", "lost"),
        ("DELETE FROM command", "lost"),
        ('DELETE FROM "check" WHERE seq = (SELECT max(seq) FROM "check")', "changed"),
        ("UPDATE audit SET new = 'else' WHERE n = 1", "audit"),
        ("UPDATE counter SET value = value + 1 WHERE name = 'PASS'", "counters"),
        ("UPDATE part SET outcome = 'FAIL', code = 77 WHERE outcome = 'PASS'", "changed"),
    ],
)
def test_tampering_is_found_out(log: Path, tmp_path: Path, tampering: str, kind: str) -> None:
    disk, promises = Disk(), Promises()
    for one in read(log):
        if one.operation is Operation.MARKER:
            promises.mark(one.data)
        else:
            disk.apply(one)
    for name, content in disk.cut(random.Random(1), Cut.EVERYTHING).items():
        if not name.endswith("-shm"):
            (tmp_path / name).write_bytes(content)
    assert not promises.broken(tmp_path / LEDGER)
    connection = sqlite3.connect(tmp_path / LEDGER)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')
    connection.execute(tampering)
    connection.commit()
    connection.close()
    assert promises.broken(tmp_path / LEDGER)[kind] > 0
