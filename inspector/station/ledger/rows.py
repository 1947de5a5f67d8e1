"""What goes into the books and what comes out of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from inspector.codes import Code
from inspector.parts import InspectionFault, Verdict

SEQ_MAX = 2_147_483_647
PRUNED = "pruned "  # counters of rows that were forgotten


class StorageFault(InspectionFault):
    """The books can't be written now; the part is NOT_INSPECTED."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.STORAGE_FULL, text)


@dataclass(frozen=True, slots=True)
class RecipeTag:
    """The recipe a part is judged by, as the books name it."""

    number: int
    rev: int
    name: str
    sha: str
    deadline_ms: int
    config: str = ""  # digest of the whole configuration


@dataclass(frozen=True, slots=True)
class Row:
    """One part as the books have it. ``outcome`` is None while it is open."""

    seq: int
    part_id: str
    cmd_id: str
    attempt: int
    recipe: int
    rev: int
    recipe_sha: str
    received_utc: str
    outcome: str | None
    code: int | None
    text: str | None
    cls: str | None
    t_ms: int | None
    picture: str | None
    late: bool
    verdict: Verdict | None
    config: str = ""
    golden: str = ""  # of a golden part, what must be found: PASS or FAIL
    found: Verdict | None = None  # of a golden part, what was found


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that the broker doesn't have yet: what is to be said, not yet how."""

    id: int
    seq: int
    late: bool  # ``verdict`` came after the deadline; the control path was told NOT_INSPECTED
    verdict: Verdict
    t_ms: int  # from the trigger's receipt to the verdict
    picture: str  # the stored file, "" for none


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command was answered; the same command gets it again."""

    name: str
    content: str  # tells whether it is the same command
    answer: bytes


def utc_now() -> str:
    """UTC as ISO 8601 with ms and Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
