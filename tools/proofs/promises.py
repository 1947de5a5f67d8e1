"""What the books promised up to a moment, and whether a ledger keeps it."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspector.station.ledger import Ledger, StorageFault, recount, verify_audit

_log = logging.getLogger(__name__)


@dataclass
class _Part:
    cmd_id: str = ""
    accepted: bool = False
    tried: list[tuple[str, int, int]] = field(default_factory=list)  # (outcome, code, checks) of each close begun
    kept: int = -1  # the last of them that was acknowledged
    kept_at: int = -1  # when that one was begun
    sent_at: int = -1  # when its record was last said to be the broker's
    late: bool = False
    found: bool = False
    picture: str = ""


class Promises:
    """Reads the markers of :mod:`tools.proofs.bookkeeping`."""

    def __init__(self) -> None:
        self._now = 0
        self._parts: dict[int, _Part] = {}
        self._begun_at: dict[tuple[int, int], int] = {}
        self._floor = 0  # parts up to this seq may be forgotten
        self._alarms: list[str] = []
        self._audits: list[str] = []
        self._answers: dict[str, str] = {}
        self._notes: list[str] = []
        self._noted = -1
        self.acknowledged = 0

    def mark(self, words: bytes) -> None:
        """The next marker."""
        self._now += 1
        marker = json.loads(words)
        word = "got" if "got" in marker else "try"
        handler = getattr(self, f"_{word}_{marker[word]}", None)
        if handler is not None:
            handler(marker)
        self.acknowledged += word == "got"

    def _try_accept(self, m: dict[str, Any]) -> None:
        self._parts[m["seq"]] = _Part(m["cmd_id"])

    def _got_accept(self, m: dict[str, Any]) -> None:
        self._parts[m["seq"]].accepted = True

    def _try_close(self, m: dict[str, Any]) -> None:
        part = self._parts[m["seq"]]
        part.tried.append((m["outcome"], m["code"], m["checks"]))
        self._begun_at[(m["seq"], len(part.tried) - 1)] = self._now

    def _got_close(self, m: dict[str, Any]) -> None:
        part = self._parts[m["seq"]]
        part.kept = len(part.tried) - 1
        part.kept_at = self._begun_at[(m["seq"], part.kept)]

    # told, and its row is not right yet: from the answer on it is as good as closed
    _try_told_first = _try_close
    _got_told_first = _got_close

    def _got_late(self, m: dict[str, Any]) -> None:
        self._parts[m["seq"]].late = True

    def _got_found(self, m: dict[str, Any]) -> None:
        self._parts[m["seq"]].found = True

    def _got_audit(self, m: dict[str, Any]) -> None:
        self._audits.append(m["text"])

    def _got_answer(self, m: dict[str, Any]) -> None:
        self._answers[m["cmd_id"]] = m["answer"]

    def _got_picture(self, m: dict[str, Any]) -> None:
        self._parts[m["seq"]].picture = m["path"]

    def _try_sent(self, m: dict[str, Any]) -> None:
        for seq in m["seqs"]:
            self._parts[seq].sent_at = self._now

    def _try_prune(self, m: dict[str, Any]) -> None:
        self._floor = max(self._floor, max(self._parts, default=0) - int(m["keep"]))

    def _got_alarm(self, m: dict[str, Any]) -> None:
        self._alarms.append(m["text"])

    def _try_meta(self, m: dict[str, Any]) -> None:
        self._notes.append(m["value"])

    def _got_peace(self, m: dict[str, Any]) -> None:
        if m["given_up"]:
            raise ValueError(f"{m['given_up']} records were given up: the work must leave room for all")

    def _got_meta(self, m: dict[str, Any]) -> None:
        self._noted = self._notes.index(m["value"])

    # --- is it kept? ---------------------------------------------------------------------------------
    def broken(self, path: Path) -> Counter[str]:
        """Open the ledger as the station would and look. Counts what is wrong by kind; nothing is all right.

        ``corrupt``: SQLite finds the file damaged, or the ledger moved it aside. ``unopened``: it can't be opened;
        ``crashed``: by a bug.
        ``lost``: something acknowledged is missing. ``changed``: something stands there that was never written.
        ``counters``: not equal to a recount. ``audit``: the chain is broken. ``seq``: the next number was given before.
        """
        wrong: Counter[str] = Counter()
        ledger = Ledger(path, station="vis/v1/proof/s", boot="ffff", sim=True)
        try:
            ledger.open()
        except StorageFault as fault:
            _log.critical("not opened: %s", fault)
            return Counter(unopened=1)
        except Exception:
            _log.critical("the ledger's start ended in a bug", exc_info=True)
            return Counter(crashed=1)
        next_seq, damaged = ledger.next_seq, ledger.damaged
        self._remembers(ledger, wrong)
        if not ledger.shut(10.0):
            wrong["unopened"] += 1
        if damaged is not None:
            wrong["corrupt"] += 1
        with contextlib.closing(sqlite3.connect(path)) as connection:
            if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                wrong["corrupt"] += 1
            self._compare(connection, wrong)
        kept, counted = recount(path)
        wrong["counters"] += kept != counted
        counted_parts = kept.get("total", 0) + kept.get("golden", 0)
        wrong["lost"] += max(0, sum(p.accepted for p in self._parts.values()) - counted_parts)
        wrong["audit"] += len(verify_audit(path))
        wrong["seq"] += next_seq <= max((s for s, p in self._parts.items() if p.accepted or p.kept >= 0), default=0)
        return +wrong

    def _remembers(self, ledger: Ledger, wrong: Counter[str]) -> None:
        """The same command again must get the same answer."""
        for seq, part in self._parts.items():
            if part.accepted and seq > self._floor:
                known = ledger.known(part.cmd_id)
                wrong["lost"] += known is None or known[0] != seq
        for cmd_id, text in self._answers.items():
            answer = ledger.answered(cmd_id)
            wrong["lost"] += answer is None or answer.answer != text.encode()

    def _compare(self, connection: sqlite3.Connection, wrong: Counter[str]) -> None:
        checks = dict(connection.execute('SELECT seq, count(*) FROM "check" GROUP BY seq').fetchall())
        sql = "SELECT seq, outcome, code, late IS NOT NULL, picture, found IS NOT NULL FROM part"
        rows = {r[0]: r[1:] for r in connection.execute(sql).fetchall()}
        wrong["changed"] += len(checks.keys() - rows.keys())
        waiting = {r[0] for r in connection.execute("SELECT seq FROM outbox WHERE late=0")}
        for seq, part in self._parts.items():
            if seq not in rows:
                wrong["lost"] += (part.accepted or part.kept >= 0) and seq > self._floor
                wrong["lost"] += part.kept >= 0 and part.sent_at < part.kept_at  # its record never left
                continue
            outcome, code, late, picture, found = rows[seq]
            word = (outcome, code, checks.get(seq, 0))
            if outcome is None:
                wrong["lost"] += part.kept >= 0
            elif word not in part.tried:
                wrong["changed"] += 1
            elif word not in part.tried[max(part.kept, 0) :]:
                wrong["lost"] += 1  # an older word than the one that was acknowledged
            wrong["lost"] += part.kept >= 0 and part.sent_at < part.kept_at and seq not in waiting
            wrong["lost"] += part.late and not late
            wrong["lost"] += part.found and not found
            wrong["lost"] += bool(part.picture) and picture != part.picture
        wrong["changed"] += len(rows.keys() - self._parts.keys())
        alarms = {r[0] for r in connection.execute("SELECT text FROM alarm")}
        wrong["lost"] += sum(text not in alarms for text in self._alarms)
        audits = {r[0] for r in connection.execute("SELECT what FROM audit")}
        wrong["lost"] += sum(text not in audits for text in self._audits)
        note = connection.execute("SELECT value FROM meta WHERE key='alive'").fetchone()
        if self._noted >= 0 and (note is None or self._notes.index(note[0]) < self._noted):
            wrong["lost"] += 1
