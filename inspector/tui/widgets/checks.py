"""Every check of a part with its value between its limits, failing ones first."""

from __future__ import annotations

from inspector.parts import Check, CheckOutcome
from inspector.tui.gauge import gauge
from inspector.tui.ink import DIM, DOUBT, STRONG, TEXT, Line
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, quantity

_RANK = {CheckOutcome.FAIL: 0, CheckOutcome.MISSING: 1, CheckOutcome.PASS: 2}
GAUGE = 11


def in_order(checks: tuple[Check, ...]) -> list[Check]:
    """Failing first, then what could not be told, then the good ones; each in the recipe's order."""
    return sorted(checks, key=lambda check: _RANK[check.outcome])


def _finding(check: Check) -> str:
    """What a check without limits has to say for itself."""
    if check.outcome is CheckOutcome.MISSING:
        return check.text or "nothing to judge"
    if check.findings:
        worst = max(check.findings, key=lambda f: f.area)
        more = f" +{len(check.findings) - 1}" if len(check.findings) > 1 else ""
        return f"{worst.label} {quantity(worst.length, worst.unit)}{more}"
    if check.found:
        return check.found
    if check.value is not None:
        return quantity(check.value, check.unit)
    return check.text if check.outcome is CheckOutcome.FAIL and check.text else ""


class Checks(Lines[tuple[Check, ...]]):
    """One row a check: name, value, and the value between its limits."""

    def draw(self, value: tuple[Check, ...], width: int, height: int) -> list[Line]:
        """As many rows as there are; the last one counts those for which there is no room."""
        checks = in_order(value)
        rows = [self._row(check, width) for check in checks[:height]]
        if len(checks) > height > 0:
            rest = checks[height - 1 :]
            bad = sum(check.outcome is not CheckOutcome.PASS for check in rest)
            what = f"{bad} of them not in order" if bad else "all in order"
            rows[-1] = [(f"  + {len(rest)} more, {what}", STRONG if bad else DIM)]
        return rows

    def _row(self, check: Check, width: int) -> Line:
        mark = {CheckOutcome.PASS: "  ", CheckOutcome.FAIL: "► ", CheckOutcome.MISSING: "? "}[check.outcome]
        style = {CheckOutcome.PASS: TEXT, CheckOutcome.FAIL: STRONG, CheckOutcome.MISSING: DOUBT}[check.outcome]
        limited = (check.lower is not None or check.upper is not None) and check.value is not None
        number = quantity(check.value, check.unit) if limited and check.value is not None else ""
        if not limited or check.outcome is CheckOutcome.MISSING or len(number) > 14:
            name = f"{clip(check.step, min(24, width // 2 - 4)):12} "
            return [(mark, style), (name, style), (clip(_finding(check), width - 2 - len(name)), style)]
        room = min(width - 2 - GAUGE - 2 - 10, 30)
        line = gauge(check.value, check.lower, check.upper, check.nominal, GAUGE)
        return [(f"{mark}{clip(check.step, room):{room}}", style), (f"{number:>10} ", style), (line, style)]
