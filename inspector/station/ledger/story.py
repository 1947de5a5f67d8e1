"""Everything the books know about one part, and about what was changed."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from inspector.parts import Verdict
from inspector.station.ledger.audit import problems_of
from inspector.station.ledger.reading import part_row, read_only
from inspector.station.ledger.rows import Row
from inspector.wire import verdict_from_json

ATTEMPTS_TOLD = 100
AROUND_S = 60.0
RECIPES_BACK = 200  # configurations that are looked through for the last one of a recipe


@dataclass(frozen=True)
class AlarmNote:
    """An alarm that came, was acknowledged or went."""

    utc: str
    name: str
    what: str
    text: str


@dataclass(frozen=True)
class Story:
    """One attempt at one part."""

    row: Row
    boot: str
    source: str
    sim: bool
    asked_deadline_ms: int | None
    deadline_ms: int
    closed_utc: str | None
    waits: bool  # its record is not the broker's yet
    late: Verdict | None
    late_t_ms: int | None
    late_waits: bool
    config_utc: str  # when its configuration was first seen; "" when that is not known
    config: str  # what its configuration is made of, JSON text, "" when that is not known
    alarms: tuple[AlarmNote, ...]  # from a minute before its trigger to a minute after its verdict


@dataclass(frozen=True)
class Change:
    """A row of the audit. With a new configuration, as JSON text, "" for what is not known:

    ``config`` is what it is made of, ``before`` the one before it, ``recipe_before`` the last one before it with the
    same number of its recipe.
    """

    n: int
    utc: str
    who: str
    what: str
    old: str
    new: str
    digest: str
    config: str
    before: str = ""
    recipe_before: str = ""


def stories(path: Path, part_id: str) -> list[Story]:
    """The attempts at a part, the first one first, at most the newest 100. Raises StorageFault."""

    def work(c: sqlite3.Connection) -> list[Story]:
        sql = "SELECT seq FROM part WHERE part_id = ? ORDER BY seq DESC LIMIT ?"
        return [_story(c, r[0]) for r in reversed(c.execute(sql, (part_id, ATTEMPTS_TOLD)).fetchall())]

    return read_only(path, work)


def _story(c: sqlite3.Connection, seq: int) -> Story:
    row = part_row(c, seq)
    assert row is not None  # noqa: S101  # it was there a moment ago, in the same file
    boot, source, sim, asked, deadline, closed, late, late_t_ms = c.execute(
        "SELECT boot, source, sim, asked_deadline_ms, deadline_ms, closed_utc, late, late_t_ms FROM part WHERE seq = ?",
        (seq,),
    ).fetchone()
    waiting = {bool(r[0]) for r in c.execute("SELECT late FROM outbox WHERE seq = ?", (seq,))}
    sql = "SELECT utc, content FROM configuration WHERE digest = ?"
    config_utc, config = c.execute(sql, (row.config,)).fetchone() or ("", "")
    sql = "SELECT utc, name, what, text FROM alarm WHERE utc BETWEEN ? AND ? ORDER BY id"
    around = c.execute(sql, (_moved(row.received_utc, -AROUND_S), _moved(closed or row.received_utc, AROUND_S)))
    return Story(
        row, boot, source, bool(sim), asked, deadline, closed, False in waiting,
        verdict_from_json(late) if late else None, late_t_ms, True in waiting,
        config_utc, config, tuple(AlarmNote(*r) for r in around),
    )  # fmt: skip


def _moved(utc: str, by_s: float) -> str:
    """UTC text as the books write it, so much later. Raises ValueError."""
    then = datetime.fromisoformat(utc.replace("Z", "+00:00")) + timedelta(seconds=by_s)
    return then.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def changes(path: Path, limit: int) -> tuple[list[Change], list[str]]:
    """(the newest rows of the audit, oldest first; what is wrong with its chain). Raises StorageFault."""

    def work(c: sqlite3.Connection) -> tuple[list[Change], list[str]]:
        rows = c.execute(
            "SELECT a.n, a.utc, a.who, a.what, a.old, a.new, a.digest, coalesce(k.content, ''), coalesce(b.content, '')"
            " FROM audit AS a LEFT JOIN configuration AS k ON a.what = 'configuration' AND k.digest = a.new"
            " LEFT JOIN configuration AS b ON a.what = 'configuration' AND b.digest = a.old"
            " ORDER BY a.n DESC LIMIT ?",
            (limit,),
        ).fetchall()
        found = [Change(*r) for r in reversed(rows)]
        return [replace(f, recipe_before=_recipe_before(c, f)) if f.config else f for f in found], problems_of(c, path)

    return read_only(path, work)


def _recipe_before(c: sqlite3.Connection, change: Change) -> str:
    """The configuration in which the same recipe was in force last, among the RECIPES_BACK before this one."""
    number = _recipe_of(change.config)
    if not change.before or _recipe_of(change.before) == number:
        return change.before
    older = c.execute(
        "SELECT k.content FROM audit AS a JOIN configuration AS k ON k.digest = a.new"
        " WHERE a.what = 'configuration' AND a.n < ? ORDER BY a.n DESC LIMIT ?",
        (change.n, RECIPES_BACK),
    )
    return next((str(content) for (content,) in older if _recipe_of(content) == number), "")


def _recipe_of(content: str) -> object:
    recipe = json.loads(content).get("recipe")
    return recipe.get("number") if isinstance(recipe, dict) else None
