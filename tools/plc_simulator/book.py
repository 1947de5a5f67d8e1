"""The PLC's own book: one row a part, the sums, and what they say at the end."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tools.plc_simulator.rule import RULES, Decision, Slot

ROWS_KEPT = 200_000
VERDICTS = ("PASS", "FAIL", "NOT_INSPECTED", "other", "none")


@dataclass(frozen=True)
class Row:
    """One part. ``verdict`` "" and ``seq`` 0 when no usable answer came before the gate."""

    part_id: str
    part_number: int
    good: bool
    defect: str
    cmd_id: str
    sent_utc: str
    verdict: str
    code: int
    reason: str
    t_ms: int
    latency_ms: float | None  # trigger sent to result received, by the PLC's clock
    seq: int
    boot: str
    decision: str  # pass | reject
    by: str  # verdict | rule
    why: str
    cfg: str = ""  # short form of the configuration that judged
    after_gate: str = ""  # a verdict that came after the part had gone


class Book:
    """Counts everything; keeps the last rows."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque(maxlen=ROWS_KEPT)
        self.records: dict[int, tuple[Any, ...]] | None = None  # by seq; None where nobody listened
        self.other_triggers: list[str] = []  # cmd_ids that were sent for no part
        self.after_gate = 0  # verdicts that came when their part had gone
        self.sent = 0
        self.announced = 0
        self.decided = 0
        self.passed = 0
        self.by_verdict: Counter[str] = Counter()
        self.by_rule: Counter[str] = Counter()
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.strays: Counter[str] = Counter()  # messages on `result` that were not used
        self.dangerous: deque[str] = deque(maxlen=1000)
        self.dangerous_count = 0
        self.extra: dict[str, Any] = {}

    def part_sent(self, announced: bool) -> None:
        """A part left the camera."""
        self.sent += 1
        self.announced += announced

    def part_decided(
        self, slot: Slot, decision: Decision, *, number: int, good: bool, defect: str, sent_utc: str
    ) -> Row:
        """A part went through the gate."""
        answer = slot.answer
        row = Row(
            slot.part_id,
            number,
            good,
            defect,
            slot.cmd_id,
            sent_utc,
            answer.verdict if answer else "",
            answer.code if answer else 0,
            answer.reason if answer else "",
            answer.t_ms if answer else 0,
            round((answer.arrived_ns - slot.sent_ns) / 1e6, 2) if answer else None,
            answer.seq if answer else 0,
            answer.boot if answer else "",
            "pass" if decision.passed else "reject",
            decision.by,
            decision.why,
            answer.cfg if answer else "",
        )
        self.rows.append(row)
        self.decided += 1
        verdict = row.verdict or "none"
        self.matrix["good" if good else "bad", verdict if verdict in VERDICTS else "other"] += 1
        if decision.passed:
            self.passed += 1
            if not good:
                self.dangerous_count += 1
                self.dangerous.append(row.part_id)
        else:
            (self.by_verdict if decision.by == "verdict" else self.by_rule)[decision.why] += 1
        return row

    def came_after_gate(self, cmd_id: str, verdict: str) -> None:
        """A verdict for a part that has gone: noted in its row when that is among the last ones."""
        for back in range(1, min(len(self.rows), 100) + 1):
            if cmd_id and cmd_id in (self.rows[-back].cmd_id, self.rows[-back].part_id):
                self.after_gate += 1
                self.rows[-back] = replace(self.rows[-back], after_gate=verdict[:20])
                return

    @property
    def consistent(self) -> bool:
        """Every part that was sent was decided, once."""
        total = self.passed + self.by_verdict.total() + self.by_rule.total()
        return self.sent == self.decided == total == self.matrix.total()

    def summary(self) -> dict[str, Any]:
        """The sums as plain JSON."""
        latencies = sorted(row.latency_ms for row in self.rows if row.latency_ms is not None)
        return {
            "sent": self.sent,
            "announced": self.announced,
            "decided": self.decided,
            "passed": self.passed,
            "rejected_by_verdict": self.by_verdict.total(),
            "verdicts_of_rejected": dict(self.by_verdict),
            "rejected_by_rule": {rule: self.by_rule[rule] for rule in RULES},
            "dangerous": self.dangerous_count,
            "dangerous_parts": list(self.dangerous),
            "false_rejects": self.matrix["good", "FAIL"],
            "confusion": {
                truth: {verdict: self.matrix[truth, verdict] for verdict in VERDICTS}
                for truth in ("good", "bad")
            },
            "latency_ms": {
                "n": len(latencies),
                "p50": _percentile(latencies, 50),
                "p99": _percentile(latencies, 99),
            },
            "strays": dict(self.strays),
            "after_gate": self.after_gate,
            "consistent": self.consistent,
            **self.extra,
        }

    def write(self, path: Path) -> None:
        """Write summary and rows; a reader never sees half a book."""
        whole: dict[str, Any] = {"summary": self.summary(), "rows": [asdict(row) for row in self.rows]}
        whole["other_triggers"] = self.other_triggers
        if self.records is not None:
            whole["records"] = self.records
        text = json.dumps(whole, indent=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def text(self) -> str:
        """The sums for people, at most 80 columns."""
        summary = self.summary()
        latency = summary["latency_ms"]
        rules = [f"{name.replace('_', ' ')} {n}" for name, n in summary["rejected_by_rule"].items() if n]
        verdicts = [f"{name} {n}" for name, n in summary["verdicts_of_rejected"].items()]
        lines = [
            "",
            f"PLC's book: {self.sent} parts sent, {self.decided} decided"
            f" ({'consistent' if self.consistent else 'NOT CONSISTENT'})",
            f"  passed                {self.passed:6d}",
            f"  rejected by verdict   {summary['rejected_by_verdict']:6d}   {', '.join(verdicts)}",
            f"  rejected by rule      {sum(self.by_rule.values()):6d}   {', '.join(rules)}",
            f"  dangerous (bad part passed) {self.dangerous_count}",
            "",
            "  truth \\ verdict " + "".join(f"{name:>14}" for name in VERDICTS if name != "other"),
        ]
        for truth in ("good", "bad"):
            counts = "".join(f"{self.matrix[truth, name]:14d}" for name in VERDICTS if name != "other")
            lines.append(f"  {truth:15} {counts}")
        if self.strays:
            lines.append("  messages not used: " + ", ".join(f"{k} {n}" for k, n in self.strays.items()))
        if faults := self.extra.get("faults"):
            lines.append("  FAULTS of the station: " + ", ".join(f"{name} {n}" for name, n in faults.items()))
        if latency["n"]:
            lines.append(f"  trigger to result: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")
        return "\n".join(line[:80].rstrip() for line in lines)


def _percentile(values: list[float], percent: int) -> float | None:
    """Nearest rank; None without values."""
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None
