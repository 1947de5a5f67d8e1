"""The verdict: block letters that are read from across the hall, and the sentence under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspector.parts import Outcome
from inspector.tui.ink import DIM, DOUBT, LOUD, STRONG, TEXT, Line, spread
from inspector.tui.letters import block, halves
from inspector.tui.status import Judged, Status
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, wrap

WORDS = {Outcome.PASS: "PASS", Outcome.FAIL: "REJECT", Outcome.NOT_INSPECTED: "NOT INSPECTED"}
NOT_READY = "NOT READY"


@dataclass(frozen=True, slots=True)
class Headline:
    """What the operator is told first: a word, a sentence, and which part in what time."""

    word: str
    code: int
    text: str
    part: str
    time: str

    @classmethod
    def of(cls, judged: Judged) -> Headline:
        """The headline of one part."""
        verdict = judged.verdict
        text = verdict.text
        if verdict.outcome is Outcome.PASS and not text:
            count = len(verdict.checks)
            text = f"All {count} checks in order" if count > 1 else "The one check is in order"
        time = f"{judged.t_ms:.0f} of {verdict.part.deadline_ms} ms"
        part = verdict.part.trigger.part_id
        return cls(WORDS[verdict.outcome], verdict.code, text, part, f"{time}, late" if judged.late else time)

    @classmethod
    def now(cls, status: Status) -> Headline | None:
        """The newest part's headline; when no part can be inspected, that, whatever the last part was."""
        last = cls.of(status.last) if status.last is not None else None
        if status.ready:
            return last
        text = status.text or f"The station is in state {status.state.lower()}: every part is rejected"
        part = f"{last.part} {last.word}" if last else ""
        return cls(NOT_READY, status.code, text, part, "")


class Banner(Lines[str]):
    """The verdict's word. PASS is plain, REJECT is a bright slab, doubt is coloured."""

    def draw(self, value: str, width: int, height: int) -> list[Line]:
        """Block letters in the middle, or the bare word when there is no room for them."""
        style = {"PASS": STRONG, "REJECT": LOUD}.get(value, DOUBT)
        dots = block(value, width - 1, 2 * height - 1)
        if dots is None:
            rows = ["" for _ in range(height)]
            rows[height // 2] = value.center(width)
        else:
            high, wide = dots.shape
            above, before = (2 * height - high + 1) // 2, (width - wide) // 2
            canvas = np.zeros((2 * height, width), np.bool_)
            canvas[above : above + high, before : before + wide] = dots
            rows = halves(canvas)
        return [[(row.ljust(width), style)] for row in rows]


class Sentence(Lines[Headline]):
    """Code and plain sentence in two rows, part and time in the last."""

    def draw(self, value: Headline, width: int, height: int) -> list[Line]:
        """Always the same rows, however long the sentence is."""
        code = f"{value.code}  " if value.code else ""
        rows = wrap(code + value.text, width - 2, height - 1)
        rows += [""] * (height - 1 - len(rows))
        time = f"{value.time} "
        part = clip(value.part, width - len(time) - 8)
        style = TEXT if value.word == "PASS" else STRONG
        last = spread([(" part ", DIM), (part, TEXT)], [(time, TEXT)], width) if value.part else []
        return [*([(f" {row}", style)] for row in rows), last]
