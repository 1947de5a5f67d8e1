"""Answers become checks, checks become the verdict. The only place where a PASS is made.

The rules, in this order:

1. A check that failed makes the part FAIL, and so does a check with nothing to judge (MISSING) where the
   recipe says that missing is a reject. Which code the PLC gets: the first of ``verdict.first`` that failed,
   else the smallest.
2. Without such a check, any check that can't be told makes the part NOT_INSPECTED.
3. PASS is what remains: at least one check, every one of them passed.

A fault (:class:`~inspector.parts.InspectionFault`, or a tool that breaks) never comes here: it makes the whole
part NOT_INSPECTED, because what broke may have spoilt the other checks as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from inspector.codes import Code
from inspector.limits import Amount, Limits
from inspector.parts import Check, CheckOutcome, CodeRead, Finding, Located, Measured, Outcome, Part, Shape, Verdict
from inspector.recipe.model import Spec, VerdictRules
from inspector.tool import Answer, CompareTool, DefectsTool, LocateTool, MeasureTool, ReadTool, Reject, Tool


def checks_of(step: str, tool: Tool, answer: Answer, part: Part, rules: VerdictRules) -> tuple[Check, ...]:
    """The checks of one step's answer: one, for defects one a label, for prepare none.

    Raises TypeError for an answer that does not belong to the tool's section.
    """
    cannot_tell = rules.missing == "not_inspected"
    if isinstance(tool, LocateTool) and isinstance(answer, Located):
        return (_located(step, tool, answer),)
    if isinstance(tool, MeasureTool) and isinstance(answer, Measured):
        return (_measured(step, tool, tool.expect, answer, cannot_tell),)
    if isinstance(tool, CompareTool) and isinstance(answer, Measured):
        return (_measured(step, tool, tool.limits, answer, cannot_tell),)
    if isinstance(tool, ReadTool) and isinstance(answer, CodeRead):
        return (_read(step, tool, answer, part, cannot_tell),)
    if isinstance(tool, DefectsTool) and isinstance(answer, list):
        return _defects(step, tool, answer)
    raise TypeError(f"step {step}: {type(tool).__name__} answered with {type(answer).__name__}")


def consequence(step: str, cause: Check) -> Check:
    """The check of a step that could not run because an earlier one found nothing: the cause decides, not this."""
    text = f"{plain(step)}: not inspected, because {plain(cause.step).lower()} was not found"
    return Check(step, CheckOutcome.MISSING, cause.code, text, not_inspected=cause.not_inspected)


def decide(verdict: Verdict, spec: Spec) -> Verdict:
    """``verdict`` (its checks filled in) with outcome, code and sentence. Pure; see the rules above."""
    checks, rules = verdict.checks, spec.head.verdict
    bad = [c for c in checks if c.outcome is CheckOutcome.FAIL or (_missing(c) and not c.not_inspected)]
    if bad:
        order = {code: n for n, code in enumerate(rules.first)}
        code = min((c.code for c in bad), key=lambda code: (order.get(code, len(order)), code))
        worst = next(c for c in bad if c.code == code)
        others = len({c.code for c in bad}) - 1
        text = worst.text + (f" (and {others} more)" if others else "")
        failed = replace(verdict, outcome=Outcome.FAIL, code=code, text=text)
        if not worst.findings:
            return failed
        label = worst.findings[0].label
        score = max(f.score for f in worst.findings)
        return replace(failed, cls=label, score=score, thr=_threshold(spec, worst.step, label))
    unsure = next((c for c in checks if c.outcome is not CheckOutcome.PASS), None)
    if unsure is not None:
        code = unsure.code if unsure.code == Code.PART_NOT_FOUND else int(Code.MISSING_FEATURE)
        return replace(verdict, outcome=Outcome.NOT_INSPECTED, code=code, text=f"Not inspected: {unsure.text}")
    if not checks:
        return replace(verdict, code=int(Code.RECIPE_INVALID), text="Not inspected: the recipe checks nothing")
    return replace(verdict, outcome=Outcome.PASS, code=int(Code.OK), text=f"Good: {len(checks)} checks passed")


def plain(step: str) -> str:
    """A step's name for people: ``bore_left`` as ``Bore left``."""
    return step.replace("_", " ").replace(".", " ").capitalize()


def _threshold(spec: Spec, step: str, label: str) -> float:
    tool = spec.steps.get(step.removesuffix(f".{label}"))
    reject = tool.reject.get(label) if isinstance(tool, DefectsTool) else None
    return reject.score if isinstance(reject, Reject) else 0.0


def _missing(check: Check) -> bool:
    return check.outcome is CheckOutcome.MISSING


def _located(step: str, tool: LocateTool, answer: Located) -> Check:
    if answer.pose is not None:
        return Check(step, CheckOutcome.PASS, value=answer.pose.score, shapes=answer.shapes, found="found")
    cannot_tell = tool.not_found == "not_inspected"
    code = int(Code.PART_NOT_FOUND) if cannot_tell else tool.fail.code
    text = f"{tool.fail.text}: {answer.why}" if answer.why else tool.fail.text
    return Check(step, CheckOutcome.MISSING, code, text, shapes=answer.shapes, not_inspected=cannot_tell)


def _measured(step: str, tool: MeasureTool | CompareTool, limits: Limits, answer: Measured, cannot_tell: bool) -> Check:
    check = Check(
        step,
        CheckOutcome.PASS,
        unit=answer.unit,
        nominal=limits.nominal,
        lower=limits.lower,
        upper=limits.upper,
        uncertainty=answer.uncertainty,
        shapes=answer.shapes,
    )
    value = answer.value
    if value is None or not math.isfinite(value):
        text = f"{tool.fail.text}: not measured, {answer.why or 'no value'}"
        return replace(check, outcome=CheckOutcome.MISSING, code=tool.fail.code, text=text, not_inspected=cannot_tell)
    if answer.unit != limits.unit:
        raise TypeError(f"step {step}: measured in {answer.unit or 'no unit'}, limits are in {limits.unit}")
    if limits.hold(value):
        return replace(check, value=value)
    unit = f" {answer.unit}" if answer.unit else ""
    text = f"{tool.fail.text}: {limits.show(value)}{unit}, limit {limits.words}"
    return replace(
        check, outcome=CheckOutcome.FAIL, code=tool.fail.code, text=text, value=value, shapes=_alarm(answer.shapes)
    )


def _read(step: str, tool: ReadTool, answer: CodeRead, part: Part, cannot_tell: bool) -> Check:
    wanted = part.trigger.part_id if tool.expect == "part_id" else tool.expect
    if answer.text is None:
        text = f"{tool.fail.text}: not read, {answer.why or 'nothing found'}"
        return Check(step, CheckOutcome.MISSING, tool.fail.code, text, shapes=answer.shapes, not_inspected=cannot_tell)
    if answer.text == wanted:
        return Check(step, CheckOutcome.PASS, found=_short(answer.text, 200), shapes=answer.shapes)
    text = f"{tool.fail.text}: read {_short(answer.text)}, wanted {_short(wanted)}"
    return Check(
        step, CheckOutcome.FAIL, tool.fail.code, text, found=_short(answer.text, 200), shapes=_alarm(answer.shapes)
    )


def _defects(step: str, tool: DefectsTool, findings: Sequence[Finding]) -> tuple[Check, ...]:
    unknown = {f.label for f in findings} - set(tool.reject)
    if unknown:
        raise TypeError(f"step {step}: found {', '.join(sorted(unknown))}, a label without limits")
    return tuple(
        _label(f"{step}.{label}", reject, [f for f in findings if f.label == label])
        for label, reject in tool.reject.items()
        if isinstance(reject, Reject)
    )


def _label(step: str, reject: Reject, findings: list[Finding]) -> Check:
    """One label's check. Its value is what the operator judges by: the length, else the area, else the score."""
    counted = [f for f in findings if reject.counts(f)]
    shown = counted or findings
    limit: Amount | None = reject.length or reject.area
    if limit is None:
        value, upper, unit = max((f.score for f in shown), default=0.0), reject.score, "score"
        words = f"score {value:.2f}, limit {upper:.2f}"
    else:
        sizes = [f.length if reject.length is not None else f.area for f in shown]
        value, upper, unit = max(sizes, default=0.0), limit.value, limit.unit
        words = f"{value:.2f} {unit}, limit {upper:.2f}"
    if reject.count > 1:
        words = f"{len(counted)} found, limit {reject.count}; largest {words}"
    outcome = CheckOutcome.FAIL if len(counted) >= reject.count else CheckOutcome.PASS
    failed = outcome is CheckOutcome.FAIL
    return Check(
        step,
        outcome,
        reject.fail.code if failed else 0,
        f"{reject.fail.text}: {words}" if failed else "",
        value=value,
        unit=unit,
        upper=upper,
        findings=tuple(shown),
        shapes=tuple(f.shape for f in counted) if failed else tuple(replace(f.shape, role="found") for f in shown),
    )


def _alarm(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return tuple(replace(s, role="fail") if s.role == "found" else s for s in shapes)


def _short(text: str, most: int = 40) -> str:
    """What was read as it may be shown anywhere: printable, and not endless."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return clean if len(clean) <= most else clean[: most - 3] + "..."
