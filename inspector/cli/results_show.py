"""The whole story of one part, for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from inspector.cli.configured import flat, short
from inspector.parts import Check, Verdict
from inspector.station.ledger import Story
from inspector.wire import verdict_to_json

WIDTH = 80  # columns
_LEFT = 13  # of them for the names
_INSTANTS = ("received", "captured", "accepted", "judged", "settled", "turn")  # of the walk; others are durations


def as_json(story: Story) -> str:
    """One line."""
    row = {k: v for k, v in asdict(story.row).items() if k not in ("verdict", "found")}
    verdicts = {"verdict": story.row.verdict, "found": story.row.found, "late": story.late}
    names = ("boot", "source", "sim", "asked_deadline_ms", "deadline_ms", "closed_utc", "late_t_ms", "config_utc")
    return json.dumps(
        {
            **row,
            **{name: getattr(story, name) for name in names},
            **{name: json.loads(verdict_to_json(v)) if v else None for name, v in verdicts.items()},
            "record_waits": story.waits,
            "late_record_waits": story.late_waits,
            "configuration": json.loads(story.config) if story.config else None,
            "alarms": [asdict(note) for note in story.alarms],
        }
    )


def as_text(story: Story, *, full: bool = False) -> str:
    """Lines of at most 80 columns; ``full``: with everything that its configuration is made of."""
    return "\n".join(_lines(story, full=full))


def _lines(story: Story, *, full: bool) -> Iterator[str]:
    row = story.row
    sim = ", simulated" if story.sim else ""
    yield f"part {row.part_id}, attempt {row.attempt}, seq {row.seq}{sim}"
    yield from _pair("trigger", f"{row.received_utc} by {story.source}, command {row.cmd_id or '-'}, boot {story.boot}")
    asked = f", asked for by the trigger: {story.asked_deadline_ms} ms" if story.asked_deadline_ms else ""
    yield from _pair("deadline", f"{story.deadline_ms} ms{asked}")
    if row.golden:
        found = _said(row.found) if row.found else "nothing"
        yield from _pair("golden part", f"expected {row.golden}, found {found}")
    if row.outcome is None:
        yield from _pair("outcome", "still open")
    else:
        yield from _pair("outcome", f"{row.outcome} {row.code} after {row.t_ms} ms: {row.text}")
        yield from _pair("class", row.cls or "")
        yield from _pair("stored", f"{story.closed_utc}, record {_record(waits=story.waits)}")
    if story.late is not None:
        late = f"{_said(story.late)} after {story.late_t_ms} ms, record {_record(waits=story.late_waits)}"
        yield from _pair("late word", late)
    yield from _pair("picture", row.picture or "not kept")
    name = f" ({row.verdict.part.recipe_name})" if row.verdict and row.verdict.part.recipe_name else ""
    yield from _pair("recipe", f"{row.recipe} rev {row.rev}{name}, sha {row.recipe_sha[:12] or '-'}")
    if row.verdict and (row.verdict.score or row.verdict.thr):
        yield from _pair("score", f"{row.verdict.score:g}, threshold {row.verdict.thr:g}")
    yield from _verdict(row.found or row.verdict)
    if row.config:
        since = f", first seen {story.config_utc}" if story.config_utc else ", what it was made of is not known"
        yield from _pair("configured", f"{row.config[:8]}{since}")
    if story.config:
        for key, value in flat(json.loads(story.config)) if full else short(story.config):
            yield from _wrapped(f"{key}  {value}", _LEFT)
    if story.alarms:
        yield "  alarms from a minute before to a minute after"
        for note in story.alarms:
            yield from _wrapped(f"{note.utc[11:-1]}  {note.what} {note.name}: {note.text}", 4)


def _verdict(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        return
    if verdict.checks:
        yield "  checks"
    for check in verdict.checks:
        yield from _check(check)
    for title, of_walk in (("time since the trigger", True), ("time it took", False)):
        found = [(name, us) for name, us in verdict.stages_us.items() if (name in _INSTANTS) == of_walk]
        if found:
            yield f"  {title}"
        for name, us in found:
            yield f"    {us / 1000:8.1f} ms {name}"


def _check(check: Check) -> Iterator[str]:
    unit = f" {check.unit}" if check.unit else ""
    value = check.found if check.value is None else f"{check.value:.4g}{unit}"
    wanted = []
    if check.nominal is not None:
        wanted.append(f"nominal {check.nominal:.4g}")
    if check.lower is not None or check.upper is not None:
        lower, upper = ("" if v is None else f"{v:.4g}" for v in (check.lower, check.upper))
        wanted.append(f"allowed {lower}..{upper}")
    words = f"{check.outcome.value:8}{check.step:16} {value}"
    if wanted:
        words += f" ({', '.join(wanted)}{unit})"
    if check.text:
        words += f" {check.code} {check.text}" if check.code else f" {check.text}"
    yield from _wrapped(words.rstrip(), 4)


def _said(verdict: Verdict) -> str:
    return f"{verdict.outcome.value} {verdict.code} ({verdict.text})"


def _record(*, waits: bool) -> str:
    return "waits for the broker" if waits else "is the broker's"


def _pair(name: str, text: str) -> Iterator[str]:
    if text:
        yield textwrap.fill(
            text, WIDTH, initial_indent=f"  {name:{_LEFT - 3}} ", subsequent_indent=" " * _LEFT, break_on_hyphens=False
        )


def _wrapped(text: str, indent: int) -> Iterator[str]:
    blanks = " " * indent
    yield textwrap.fill(
        text, WIDTH, initial_indent=blanks, subsequent_indent=blanks + "  ", break_on_hyphens=False,
        replace_whitespace=False, drop_whitespace=True,
    )  # fmt: skip
