"""The books: one row a trigger, one verdict a row, on disk before anybody is told.

SQLite with a write-ahead log and ``synchronous=FULL``: a commit that was acknowledged survives a power cut.
One thread writes; what waits at the same time is committed together. Check-points run in a thread of their
own, so that the walk of a part never waits for one. Two processes may read while the station writes.
"""

from inspector.station.ledger.audit import verify_audit
from inspector.station.ledger.books import MAX_AHEAD, Ledger
from inspector.station.ledger.exporting import ExportError, export
from inspector.station.ledger.reading import alarm_log, read_only, recount, search
from inspector.station.ledger.rows import PRUNED, SEQ_MAX, Answer, RecipeTag, Row, StorageFault, Waiting, utc_now
from inspector.station.ledger.schema import SCHEMA_VERSION
from inspector.station.ledger.story import Change, Story, changes, stories

__all__ = [
    "MAX_AHEAD", "PRUNED", "SCHEMA_VERSION", "SEQ_MAX", "Answer", "Change", "ExportError", "Ledger", "RecipeTag",
    "Row", "StorageFault", "Story", "Waiting", "alarm_log", "changes", "export", "read_only", "recount", "search",
    "stories", "utc_now", "verify_audit",
]  # fmt: skip
