"""Who changed what: a chain that tells when somebody touched it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from inspector.station.ledger import changes, verify_audit
from tests.station.ledgerrig import opened, query


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A ledger with six rows in its audit, two of them of configurations."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        await ledger.configuration("ab" * 32, '{"recipe": 1}')
        await ledger.configuration("ab" * 32, '{"recipe": 1}')  # it is in force already
        for n in range(3):
            await ledger.audit("operator", "start", f"schön {n}", '"\n')
    with opened(path) as ledger:
        await ledger.configuration("cd" * 32, '{"recipe": 2}', "plc")
        await ledger.audit("plc", "stop")
    return path


def tamper(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TRIGGER audit_stays; DROP TRIGGER audit_is_kept;" + ";".join(statements))


async def test_the_chain_of_an_honest_ledger_is_whole(path: Path) -> None:
    assert verify_audit(path) == []
    rows, problems = changes(path, 3)
    assert problems == [] and [(r.n, r.who, r.what) for r in rows] == [
        (4, "operator", "start"),
        (5, "plc", "configuration"),
        (6, "plc", "stop"),
    ]
    assert (rows[1].old, rows[1].new, rows[1].config) == ("ab" * 32, "cd" * 32, '{"recipe": 2}')


@pytest.mark.parametrize("sql", ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit WHERE n = 6"])
async def test_sqlite_refuses_changes(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE n = 3", "row 3 was changed after it was written"),
        ("UPDATE audit SET utc = '2020-01-01T00:00:00.000Z' WHERE n = 1", "row 1 was changed after it was written"),
        ("DELETE FROM audit WHERE n = 3", "row 3 is missing; the next one is 4"),
        ("DELETE FROM audit WHERE n = 1", "row 1 is missing; the next one is 2"),
        ("DELETE FROM audit WHERE n > 4", "it ends with row 4, but row 6 has been written"),
        ("DELETE FROM audit", "it ends with row 0, but row 6 has been written"),
        ("UPDATE audit SET previous = digest WHERE n = 2", "row 2 does not follow row 1"),
    ],
)
async def test_the_first_broken_row_is_named(path: Path, sql: str, said: str) -> None:
    tamper(path, sql)
    (problem,) = verify_audit(path)
    assert said in problem


async def test_a_tail_cut_off_together_with_its_note_is_noticed(path: Path) -> None:
    last = query(path, "SELECT digest FROM audit WHERE n = 4")[0][0]
    tamper(path, "DELETE FROM audit WHERE n > 4", f"UPDATE meta SET value = '4 {last}' WHERE key = 'audit_head'")
    (problem,) = verify_audit(path)
    assert "row 6 has been written" in problem


@pytest.mark.parametrize("torn", ["", "4", "4 0123456789abcdef", "4 0123456789abcdef" + "\0" * 49])
async def test_a_head_outside_that_a_power_cut_tore_says_nothing(path: Path, torn: str) -> None:
    path.with_suffix(".audit").write_text(torn, encoding="ascii")
    assert verify_audit(path) == []
