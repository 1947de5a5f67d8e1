"""The tables, made and changed step by step: ``user_version`` says how many steps a file has taken."""

from __future__ import annotations

import contextlib
import sqlite3

# Step 1 is the schema of 0.1.0. What was released is never edited: what changes is a new step.
_STEPS = (
    """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE part(
  seq INTEGER PRIMARY KEY, boot TEXT NOT NULL, part_id TEXT NOT NULL, cmd_id TEXT NOT NULL,
  attempt INTEGER NOT NULL, source TEXT NOT NULL, recipe INTEGER NOT NULL, rev INTEGER NOT NULL,
  recipe_sha TEXT NOT NULL, received_utc TEXT NOT NULL, asked_deadline_ms INTEGER, deadline_ms INTEGER NOT NULL,
  sim INTEGER NOT NULL, outcome TEXT, code INTEGER, text TEXT, cls TEXT, t_ms INTEGER, closed_utc TEXT,
  verdict TEXT, late TEXT, picture TEXT) STRICT;
CREATE INDEX part_by_id ON part(part_id);
CREATE INDEX part_open ON part(seq) WHERE outcome IS NULL;
CREATE TABLE outbox(
  id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, late INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
CREATE INDEX outbox_by_seq ON outbox(seq);
CREATE TABLE alarm(
  id INTEGER PRIMARY KEY AUTOINCREMENT, utc TEXT NOT NULL, name TEXT NOT NULL, what TEXT NOT NULL,
  text TEXT NOT NULL) STRICT;
""",
    # 2: records are made when they leave; golden parts; answers, checks, configurations and the audit
    """
ALTER TABLE part ADD COLUMN config TEXT NOT NULL DEFAULT '';
ALTER TABLE part ADD COLUMN golden TEXT NOT NULL DEFAULT '';
ALTER TABLE part ADD COLUMN found TEXT;
ALTER TABLE part ADD COLUMN late_t_ms INTEGER;
UPDATE part SET late_t_ms = coalesce((
  SELECT CASE WHEN json_valid(CAST(payload AS TEXT)) THEN CAST(json_extract(CAST(payload AS TEXT), '$.t_ms') AS INTEGER)
  END FROM outbox WHERE outbox.seq = part.seq AND outbox.late = 1), t_ms) WHERE late IS NOT NULL;
ALTER TABLE outbox DROP COLUMN payload;
CREATE TABLE command(
  cmd_id TEXT PRIMARY KEY, name TEXT NOT NULL, content TEXT NOT NULL, answer BLOB NOT NULL, utc TEXT NOT NULL) STRICT;
CREATE TABLE configuration(digest TEXT PRIMARY KEY, utc TEXT NOT NULL, content TEXT NOT NULL) STRICT;
CREATE TABLE audit(
  n INTEGER PRIMARY KEY, utc TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, old TEXT NOT NULL,
  new TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE "check"(
  seq INTEGER NOT NULL, n INTEGER NOT NULL, step TEXT NOT NULL, outcome TEXT NOT NULL, code INTEGER NOT NULL,
  value REAL, unit TEXT NOT NULL, nominal REAL, lower REAL, upper REAL, text TEXT NOT NULL,
  PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;
INSERT INTO "check" SELECT part.seq, c.key, json_extract(c.value, '$.step'), json_extract(c.value, '$.outcome'),
  coalesce(json_extract(c.value, '$.code'), 0), json_extract(c.value, '$.value'),
  coalesce(json_extract(c.value, '$.unit'), ''), json_extract(c.value, '$.nominal'),
  json_extract(c.value, '$.lower'), json_extract(c.value, '$.upper'), coalesce(json_extract(c.value, '$.text'), '')
  FROM part, json_each(CASE WHEN json_valid(part.verdict) THEN part.verdict ELSE '{}' END, '$.checks') AS c;
CREATE TRIGGER outcome_stays BEFORE UPDATE OF outcome, code, text, verdict ON part WHEN OLD.outcome IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'a stored outcome may only become NOT_INSPECTED') WHERE NEW.outcome IS NOT 'NOT_INSPECTED';
  SELECT RAISE(ABORT, 'an outcome that was told may not change')
    WHERE OLD.seq < (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'told_below');
END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit may not be changed'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit may not be cut'); END;
""",
)
SCHEMA_VERSION = len(_STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps the file has taken; 0 for an empty one. Raises sqlite3.Error."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that are missing, each whole or not at all. Raises sqlite3.Error."""
    for number, step in enumerate(_STEPS, start=1):
        if number <= version_of(connection):
            continue
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version={number}; COMMIT;")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
