"""Who changed what, as a chain: each row carries the SHA-256 of the one before, so that no row can be changed,
put in or left out without all that follow telling so.

A row's digest is the SHA-256 over the canonical JSON (RFC 8785: keys sorted, no blanks, UTF-8) of its members
``n, new, old, previous, utc, what, who``; the first row's ``previous`` is 64 zeros. The newest digest is kept
in ``meta`` and in the small file beside the ledger too, and logged at every start: that is how a tail that was
cut off is noticed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from inspector.station.ledger.reading import read_only
from inspector.station.ledger.rows import utc_now

FIRST = "0" * 64
HEAD = "audit_head"  # in meta: "<n> <digest>"


def digest_of(n: int, utc: str, who: str, what: str, old: str, new: str, previous: str) -> str:
    """The digest of one row, in hex."""
    members = {"n": n, "new": new, "old": old, "previous": previous, "utc": utc, "what": what, "who": who}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def head_of(connection: sqlite3.Connection) -> tuple[int, str]:
    """(number, digest) of the newest row; (0, 64 zeros) when there is none. Raises sqlite3.Error."""
    row = connection.execute("SELECT n, digest FROM audit ORDER BY n DESC LIMIT 1").fetchone()
    return (0, FIRST) if row is None else (int(row[0]), str(row[1]))


def append(connection: sqlite3.Connection, who: str, what: str, old: str, new: str) -> str:
    """Put a row at the end of the chain; returns "number digest", the new head. Raises sqlite3.Error."""
    who, what, old, new = (text.encode("utf-8", "replace").decode() for text in (who, what, old, new))
    last, previous = head_of(connection)
    n, utc = last + 1, utc_now()
    digest = digest_of(n, utc, who, what, old, new, previous)
    connection.execute("INSERT INTO audit VALUES(?,?,?,?,?,?,?,?)", (n, utc, who, what, old, new, previous, digest))
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (HEAD, f"{n} {digest}"))
    return f"{n} {digest}"


def head_file(path: Path) -> Path:
    """Where the head of the chain is kept outside the ledger at ``path``."""
    return path.with_suffix(".audit")


def problems_of(connection: sqlite3.Connection, path: Path) -> list[str]:
    """What is wrong with the chain: the first row that is broken, a tail that is missing. Raises sqlite3.Error."""
    expected, previous = 1, FIRST
    for row in connection.execute("SELECT n, utc, who, what, old, new, previous, digest FROM audit ORDER BY n"):
        n, digest = row[0], row[7]
        if n != expected:
            return [f"audit: row {expected} is missing; the next one is {n}"]
        if row[6] != previous:
            return [f"audit: row {n} does not follow row {n - 1}: one of them was replaced"]
        if digest_of(*row[:7]) != digest:
            return [f"audit: row {n} was changed after it was written"]
        expected, previous = n + 1, digest
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (HEAD,)).fetchone()
    said = str(row[0]) if row else f"0 {FIRST}"
    if said != f"{expected - 1} {previous}":
        return [f"audit: it ends with row {expected - 1}, but row {said.split()[0]} has been written"]
    return _outside(connection, path, expected - 1)


def _outside(connection: sqlite3.Connection, path: Path, last: int) -> list[str]:
    """The head outside may be behind by what a power cut took, but the chain must go through it."""
    try:
        n, digest = head_file(path).read_text("ascii").split()
        if len(digest) != len(FIRST) or not digest.isalnum():  # torn by a power cut: nothing waits for this file
            return []
        row = connection.execute("SELECT digest FROM audit WHERE n = ?", (int(n),)).fetchone()
    except (OSError, ValueError):
        return []
    if row is None:
        return [f"audit: it ends with row {last}, but {head_file(path).name} knows that row {n} has been written"]
    return [] if row[0] == digest else [f"audit: row {n} is not the one that {head_file(path).name} knows"]


def verify_audit(path: Path) -> list[str]:
    """What is wrong with the audit of the ledger at ``path``; nothing when it is whole. Raises StorageFault."""
    return read_only(path, lambda c: problems_of(c, path))
