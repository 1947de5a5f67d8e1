"""From every schema that was released to today's, and what SQLite itself refuses."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from inspector.parts import Outcome
from inspector.station.ledger import SCHEMA_VERSION, StorageFault, alarm_log, opening, recount, schema, search
from tests.station.ledgerrig import golden, measured, opened, query, released
from tests.station.test_ledger import TAG, doubtful, failed, passed, trigger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def test_a_ledger_of_0_1_0_opens_with_everything_kept(path: Path) -> None:
    released(path)
    before = query(path, "SELECT seq, part_id, cmd_id, outcome, code, t_ms, closed_utc, verdict, late FROM part")
    with pytest.raises(StorageFault, match="has schema 1; the station brings it to 2 when it starts"):
        search(path)
    with opened(path) as ledger:
        assert ledger.damaged is None
        assert ledger.counters["total"] == 12 and ledger.counters["late"] == 1
        assert [part.seq for part in ledger.interrupted] == [11, 12]
        assert ledger.known("c8") == (9, ("A3", None)) and ledger.next_seq == 12 + 1 + 1000
        rows = {row.seq: row for row in search(path)}
        assert rows[5].picture is not None and rows[5].config == "" and rows[5].golden == ""
        waiting = await ledger.outbox(0, 20)
        assert [(w.seq, w.late) for w in waiting] == [*((n, False) for n in range(4, 11)), (4, True)]
        assert all(w.verdict == rows[w.seq].verdict and w.t_ms == rows[w.seq].t_ms for w in waiting if not w.late)
        assert (waiting[-1].verdict.outcome, waiting[-1].t_ms) == (Outcome.PASS, 12)
        assert await ledger.meta("counter_base") == '{"total": 1}'
        for part in ledger.interrupted:
            await ledger.close(doubtful(part), 300)
        kept, counted = recount(path)
        assert kept == counted and kept["total"] == 12
    assert [note["what"] for note in alarm_log(path)] == ["went", "came"]
    columns = "seq, part_id, cmd_id, outcome, code, t_ms, closed_utc, verdict, late"
    assert query(path, f"SELECT {columns} FROM part WHERE seq < 11") == before[:-2]
    assert query(path, 'SELECT step, outcome, code FROM "check" WHERE seq = 5') == [("lid", "FAIL", 1001)]
    copy = path.with_name("ledger-schema1.db")
    assert query(copy, "PRAGMA user_version") == [(1,)]
    assert (
        query(copy, "SELECT seq, part_id, cmd_id, outcome, code, t_ms, closed_utc, verdict, late FROM part") == before
    )


def test_a_migrated_file_has_the_same_tables_as_a_new_one(path: Path) -> None:
    released(path)
    new = path.with_name("new.db")
    for file in (path, new):
        with opened(file):
            pass
    sql = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    assert query(path, sql) == query(new, sql)


@pytest.mark.parametrize("statement", [1, 3, 6, 9, 12, 14])
def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_schema_whole(path: Path, statement: int) -> None:
    released(path)
    tables = query(path, "SELECT sql FROM sqlite_schema ORDER BY name")
    rows = query(path, "SELECT * FROM part")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            count = 0

            def trace(_: str) -> None:
                nonlocal count
                count += 1
                if count > statement:
                    os.kill(os.getpid(), signal.SIGKILL)

            connection = sqlite3.connect(path, isolation_level=None)
            connection.set_trace_callback(trace)
            schema.migrate(connection)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the migration was over before the kill"
    assert query(path, "PRAGMA user_version") == [(1,)] and query(path, "PRAGMA quick_check") == [("ok",)]
    assert query(path, "SELECT sql FROM sqlite_schema ORDER BY name") == tables
    assert query(path, "SELECT * FROM part") == rows
    with opened(path) as ledger:
        assert ledger.damaged is None and ledger.counters["total"] == 12
    assert query(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_a_step_that_fails_is_one_sentence_and_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released(path)
    rows = query(path, "SELECT * FROM part")
    steps = (schema._STEPS[0], schema._STEPS[1] + "INSERT INTO meta VALUES('recipe', '2');")  # it is there already
    monkeypatch.setattr(schema, "_STEPS", steps)
    with pytest.raises(StorageFault, match="can't be opened: UNIQUE constraint failed"), opened(path):
        pass
    assert query(path, "PRAGMA user_version") == [(1,)] and query(path, "SELECT * FROM part") == rows
    assert not list(path.parent.glob("*damaged*"))


def test_no_room_for_a_copy_is_said_and_the_schema_changes_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released(path)
    whole = opening.shutil.disk_usage
    monkeypatch.setattr(opening.shutil, "disk_usage", lambda folder: whole(folder)._replace(free=1000))
    with opened(path):
        pass
    assert "no room for a copy" in caplog.text and not path.with_name("ledger-schema1.db").exists()


async def test_sqlite_refuses_to_change_what_was_told(path: Path) -> None:
    with opened(path) as ledger:
        a, b, c = (ledger.begin(trigger(name), TAG) for name in "abc")
        await ledger.close(failed(a), 10)
        with pytest.raises(StorageFault, match="may only become NOT_INSPECTED"):
            await ledger.close(passed(a), 11)
        await ledger.close(passed(b), 10)
        await ledger.close(doubtful(b), 12)  # not told yet: doubt may still come
        with pytest.raises(StorageFault, match="may only become NOT_INSPECTED"):
            await ledger.close(passed(b), 13)
        await ledger.close(passed(c), 10)
        ledger.told_below(c.seq + 1)
        await ledger.set_meta("any", "commit")
        with pytest.raises(StorageFault, match="that was told may not change"):
            await ledger.close(doubtful(c), 14)
        await ledger.late(passed(b), 400)  # beside it, never instead of it
        kept, counted = recount(path)
        assert kept == counted == {"total": 3, "FAIL": 1, "NOT_INSPECTED": 1, "PASS": 1, "late": 1}
    with opened(path) as ledger:  # what an earlier start closed is closed
        await ledger.set_meta("any", "commit")
        with pytest.raises(StorageFault, match="that was told may not change"):
            await ledger.close(doubtful(a), 14)
    with contextlib.closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE part SET outcome = 'PASS', code = 0 WHERE seq = 1")
    assert [row.outcome for row in search(path)] == ["PASS", "NOT_INSPECTED", "FAIL"]


async def test_golden_parts_that_were_told_without_what_was_found_are_named_at_the_next_start(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.golden_unsure == []
        for finding in (True, False):
            part = golden(ledger)
            await ledger.close(measured(part).to_tell, 5)
            if finding:
                await ledger.found(measured(part))
        await ledger.accept(golden(ledger))  # the crash came while it was inspected: nobody was told anything
    with opened(path) as ledger:
        assert ledger.golden_unsure == [(2, "PASS")]


async def test_golden_parts_are_counted_apart_and_keep_what_was_found(path: Path) -> None:
    with opened(path) as ledger:
        part = golden(ledger)
        await ledger.accept(part)
        await ledger.found(measured(part))
        await ledger.found(passed(part))  # the first word counts
        await ledger.close(doubtful(part), 20)
        await ledger.close(passed(ledger.begin(trigger(), TAG)), 20)
        assert ledger.counters == {"golden": 1, "total": 1, "PASS": 1}
        row = await ledger.get(part.seq)
        assert row is not None and (row.golden, row.outcome, row.found) == ("PASS", "NOT_INSPECTED", measured(part))
        left_open = golden(ledger)
        await ledger.accept(left_open)
    with opened(path) as ledger:
        assert [p.trigger.golden for p in ledger.interrupted] == ["PASS"]
        await ledger.outbox_done([w.id for w in await ledger.outbox(0, 9)])
        await ledger.prune(1)
        kept, counted = recount(path)
        assert kept == counted == {"golden": 2, "total": 1, "PASS": 1}


async def test_checks_are_rows_that_come_and_go_with_their_part(path: Path) -> None:
    with opened(path) as ledger:
        first, second = (ledger.begin(trigger(name), TAG) for name in "ab")
        await ledger.close(measured(first), 10)
        await ledger.close(measured(second), 10)
        row = ("width", "FAIL", 1001, 12.4, "mm", 11.5, 11.0, 12.0, "Too wide")
        sql = 'SELECT step, outcome, code, value, unit, nominal, lower, upper, text FROM "check"'
        assert query(path, sql) == [row, row]
        await ledger.close(doubtful(second), 300)
        assert query(path, 'SELECT seq FROM "check"') == [(first.seq,)]
        await ledger.outbox_done([w.id for w in await ledger.outbox(0, 9)])
        await ledger.prune(1)
        assert query(path, 'SELECT seq FROM "check"') == [] and len(search(path)) == 1


async def test_answers_and_commands_outlive_a_restart(path: Path) -> None:
    with opened(path) as ledger:
        await ledger.remember("x1", "recipe", "{2}", b"accepted")
        await ledger.remember("x2", "start", "{}", b"done")
        await ledger.remember("x1", "recipe", "{2}", b"done")
        for n in range(2500):  # ten minutes at a fast line are more than 2000
            ledger.begin(trigger(cmd_id=f"c{n}"), TAG)
        assert ledger.known("c0") == (1, ("P1", None))
    with opened(path) as ledger:
        found = ledger.answered("x1")
        assert found is not None and (found.name, found.content, found.answer) == ("recipe", "{2}", b"done")
        assert ledger.answered("x2") is not None and ledger.answered("") is None and ledger.answered("x3") is None
