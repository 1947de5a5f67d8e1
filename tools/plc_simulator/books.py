"""The PLC's book against the station's, part by part.

``python -m tools.plc_simulator.books BOOK.json LEDGER.csv``: the ledger as ``inspector results export`` gives it. Exit
status 1 when they differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = ("seq", "part_id", "cmd_id", "outcome", "code")
LISTED = 30


class UnreadableBooks(Exception):
    """File, line and what is wrong there."""


@dataclass
class Comparison:
    """What was found. ``differences``: every one, part by part."""

    differences: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """For people."""
        names = {name.replace("_", " "): n for name, n in self.sums.items()}
        lines = ["Books: " + ", ".join(f"{n} {name}" for name, n in names.items())]
        lines += [f"  differs: {text}" for text in self.differences[:LISTED]]
        lines.append(f"The books differ: {len(self.differences)}." if self.differences else "The books are equal.")
        return "\n".join(lines)


def read_ledger(path: Path) -> Iterator[dict[str, str]]:
    """The rows of the station's export. Raises :class:`UnreadableBooks`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise UnreadableBooks(f"{path}:1: no column {missing[0]!r}; needed: {', '.join(COLUMNS)}")
            for row in reader:
                if not (row["seq"] or "").isdigit():
                    raise UnreadableBooks(f"{path}:{reader.line_num}: seq: found {row['seq']!r}, allowed: digits")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableBooks(f"{path}: can't be read: {error}") from None


def compare(book: dict[str, Any], ledger: Iterator[dict[str, str]]) -> Comparison:
    """``book``: as the simulator writes it, rows and, where an MES listened, records."""
    found = Comparison()
    sums, differ = found.sums, found.differences.append
    by_command: dict[str, list[dict[str, str]]] = {}
    by_seq: dict[int, dict[str, str]] = {}
    for row in ledger:
        seq = int(row["seq"])
        if seq in by_seq:
            differ(f"seq {seq}: twice in the ledger")
        by_seq[seq] = row
        by_command.setdefault(row["cmd_id"] or row["part_id"], []).append(row)
        if not row["outcome"]:
            differ(f"seq {seq} ({row['part_id']}): open in the ledger")
    sums["rows_in_the_ledger"] = len(by_seq)
    own = set(book.get("other_triggers", ()))
    for part in book["rows"]:
        _part(part, by_command.pop(part["cmd_id"] or part["part_id"], []), found)
    for name, rows in by_command.items():
        nobodys = [row for row in rows if row["outcome"] == "NOT_INSPECTED" and not row["cmd_id"]]
        sums["refused_commands"] += len(nobodys)
        sums["other_triggers"] += sum(1 for row in rows if row["cmd_id"] in own)
        strangers = [row for row in rows if row not in nobodys and row["cmd_id"] not in own]
        found.differences += [f"{name} (seq {row['seq']}): in the ledger, not sent by the PLC" for row in strangers]
    if "records" in book:
        _records(book["records"], by_seq, found)
    return found


def _part(part: dict[str, Any], rows: list[dict[str, str]], found: Comparison) -> None:
    sums, differ = found.sums, found.differences.append
    name = part["part_id"]
    sums["sent"] += 1
    if len(rows) > 1:
        differ(f"{name}: {len(rows)} rows in the ledger")
    if not part["verdict"]:
        if part["decision"] != "reject":
            differ(f"{name}: passed without a verdict")
        sums["not_told_but_in_the_ledger" if rows else "never_reached_the_station"] += 1
        return
    sums["told"] += 1
    if not rows:
        differ(f"{name}: the PLC got {part['verdict']}, the ledger has nothing")
        return
    row = rows[0]
    ours = (row["outcome"], _number(row["code"]), int(row["seq"]), row["part_id"])
    theirs = (part["verdict"], part["code"], part["seq"], name)
    if ours != theirs:
        differ(f"{name}: the PLC got {theirs}, the ledger has {ours}")
    if part.get("cfg") and part["cfg"] != row.get("config", part["cfg"])[:8]:
        differ(f"{name}: the PLC was told configuration {part['cfg']}, the ledger has {row['config']}")


def _records(records: dict[str, list[Any]], by_seq: dict[int, dict[str, str]], found: Comparison) -> None:
    """``records``: by seq, part_id, cmd_id, verdict and code."""
    found.sums["records"] = len(records)
    numbers = {int(seq) for seq in records}
    first = min(numbers, default=0)
    for seq, row in sorted(by_seq.items()):
        if seq not in numbers:
            if seq >= first:
                found.sums["records_missing"] += 1
                found.differences.append(f"{row['part_id']} (seq {seq}): its record never came")
            continue
        said = tuple(records[str(seq)][:4])
        kept = (row["part_id"], row["cmd_id"], row["outcome"], _number(row["code"]))
        if said != kept:
            found.differences.append(f"seq {seq}: the record said {said}, the ledger has {kept}")
    for seq in sorted(numbers - by_seq.keys()):
        found.differences.append(f"seq {seq}: a record came, the ledger has nothing")


def _number(text: str) -> int | None:
    return int(text) if text else None


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m tools.plc_simulator.books", description=__doc__)
    parser.add_argument("book", type=Path, help="the simulator's book (JSON)")
    parser.add_argument("ledger", type=Path, help="the station's export (CSV)")
    given = parser.parse_args(arguments)
    try:
        book = json.loads(given.book.read_text(encoding="utf-8"))
        found = compare(book, read_ledger(given.ledger))
    except (OSError, ValueError, UnreadableBooks) as error:
        print(f"books: {error}", file=sys.stderr)
        return 2
    print(found.text())
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
