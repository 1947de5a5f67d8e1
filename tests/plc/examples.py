"""The payload examples of ``docs/plc.md``, built by the code that ships them.

``python -m tests.plc.examples`` writes them into the page; a test fails when the page differs.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from inspector.parts import Check, CheckOutcome, Finding, FrameRef, Outcome, Part, Trigger, Verdict
from inspector.plc import contract
from inspector.plc.contract import PackState, StationState, Topics

Golden = Literal["", "PASS", "FAIL"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "plc.md"
TS = "2026-05-12T14:31:50.123Z"
WIDTH = 100


CONFIG = "5be1c04d" + 7 * "90d3fa27"


def part(seq: int = 4711, part_id: str = "A004711", cmd_id: str = "plc1-000815", golden: Golden = "") -> Part:
    trigger = Trigger(part_id, cmd_id, 1_000_000_000, TS, golden=golden)
    return Part(seq, "3fa9", "top", trigger, 7, 3, "Pump cover, left", "a3f91c" * 8, 1_300_000_000, config=CONFIG)


def passed() -> Verdict:
    check = Check("bore_left", CheckOutcome.PASS, value=6.012, unit="mm", nominal=6.0, lower=5.95, upper=6.05)
    return Verdict(part(), Outcome.PASS, 0, "Good", checks=(check,), captured_utc=TS)


def failed() -> Verdict:
    scratch = Finding(
        "scratch", 0.914, 0.52, 6.1, "mm", ((410.0, 300.0), (512.0, 300.0), (512.0, 303.5), (410.0, 303.5))
    )
    checks = (
        Check(
            "bore_left", CheckOutcome.PASS, 0, "Left bore 6.012 mm", 6.012, "mm", 6.0, 5.95, 6.05, 0.004,
            took_us=1830,
        ),
        Check(
            "face", CheckOutcome.FAIL, 1210, "Scratch on sealing face", findings=(scratch,), took_us=11200,
        ),
    )  # fmt: skip
    frame = FrameRef(
        "cam0",
        812,
        "/run/ring",
        3,
        9,
        1280,
        1024,
        "Mono8",
        850.0,
        0.0,
        88_000_111,
        1_004_000_000,
        1_021_500_000,
    )
    return Verdict(
        part(), Outcome.FAIL, 1210, "Scratch on sealing face", "scratch", 0.914, 0.6, checks, (frame,),
        {"plate-face": "3f9a1c77d20e"}, {"capture": 21500, "judge": 15300}, TS,
    )  # fmt: skip


def not_inspected() -> Verdict:
    return Verdict(part(), Outcome.NOT_INSPECTED, 300, "No verdict within 300 ms", captured_utc="")


def found_in_golden() -> Verdict:
    golden = part(4720, "GOLDEN-BAD", "plc1-000826", golden="FAIL")
    return replace(failed(), part=golden)


def examples() -> dict[str, bytes]:
    now = {"config": CONFIG, "golden_ok": True, "golden_age_s": 5400}
    ready = StationState(PackState.EXECUTE, True, False, 7, 3, "3fa9", 4711, 0, 86400, **now)
    lost = StationState(
        PackState.EXECUTE, False, False, 7, 3, "3fa9", 4711, 0, 86412, 200, "Camera top is lost", fault=True, **now
    )
    overdue = StationState(
        PackState.EXECUTE, False, False, 7, 3, "3fa9", 4719, 0, 86500, 501,
        "the golden part that must FAIL is overdue: every 8 h", warn=True, config=CONFIG,
        golden_ok=False, golden_age_s=28805,
    )  # fmt: skip
    return {
        "result PASS": contract.result_payload(passed(), t_ms=48),
        "result FAIL": contract.result_payload(failed(), t_ms=52),
        "result NOT_INSPECTED": contract.result_payload(not_inspected(), t_ms=300),
        "result golden": contract.result_payload(found_in_golden().to_tell, t_ms=51),
        "result again": contract.result_payload(passed(), t_ms=48, dup=True),
        "record": contract.record_payload(failed(), t_ms=52, late=False, image="2026-05-12/top-4711.png"),
        "state ready": contract.state_payload(ready, ts=TS),
        "state not ready": contract.state_payload(lost, ts=TS),
        "state golden overdue": contract.state_payload(overdue, ts=TS),
        "state will": contract.OFFLINE,
        "hb": contract.heartbeat_payload(123, ready=True, state=PackState.EXECUTE, seq=4711),
        "ack accepted": contract.ack_payload("recipe", "plc1-000816", "accepted", recipe=7, rev=3),
        "ack done": contract.ack_payload("recipe", "plc1-000816", "done", recipe=8, rev=1),
        "ack refused": contract.ack_payload(
            "recipe", "plc1-000817", "refused", code=403, text="there is no recipe 9", recipe=8, rev=1
        ),
        "ack get": contract.ack_payload("get", "plc1-000818", "done", recipe=7, rev=3, stored=failed()),
        "ack golden": contract.ack_payload("golden", "plc1-000825", "done", recipe=7, rev=3, found=found_in_golden()),
        "ack golden failed": contract.ack_payload(
            "golden",
            "plc1-000827",
            "refused",
            code=501,
            text="expected PASS, found FAIL 1210: Scratch on sealing face",
            recipe=7,
            rev=3,
            found=replace(failed(), part=part(4721, "GOLDEN-GOOD", "plc1-000828", golden="PASS")),
        ),
        "ack selftest": contract.ack_payload(
            "selftest", "plc1-000824", "refused", code=500, text="camera top: its cable is unplugged", recipe=7, rev=3
        ),
        "event": contract.event_payload("alarm", 200, "Camera top is lost", ts=TS),
        "counters": contract.counters_payload(
            {"total": 4812, "pass": 4731, "fail": 78, "not_inspected": 3, "late": 1, "golden": 6}, boot="3fa9", ts=TS
        ),
        "info": contract.info_payload(
            version="0.1.0", serial="ST-0042", station="top", recipes=[7, 8], boot="3fa9", config=CONFIG, ts=TS
        ),
    }


COMMANDS = {
    "cmd/trigger": b'{"schema":"1.0","cmd_id":"plc1-000815","part_id":"A004711","deadline_ms":300}',
    "cmd/count": b'{"schema":"1.0","count":4711}',
    "cmd/recipe": b'{"schema":"1.0","cmd_id":"plc1-000816","recipe":8,"rev":1}',
    "cmd/start": b'{"schema":"1.0","cmd_id":"plc1-000819"}',
    "cmd/stop": b'{"schema":"1.0","cmd_id":"plc1-000820"}',
    "cmd/ack": b'{"schema":"1.0","cmd_id":"plc1-000821","seq":4711}',
    "cmd/get": b'{"schema":"1.0","cmd_id":"plc1-000818","seq":4711}',
    "cmd/reset_fault": b'{"schema":"1.0","cmd_id":"plc1-000822"}',
    "cmd/reset_counters": b'{"schema":"1.0","cmd_id":"plc1-000823"}',
    "cmd/selftest": b'{"schema":"1.0","cmd_id":"plc1-000824"}',
    "cmd/golden": b'{"schema":"1.0","cmd_id":"plc1-000825","expect":"FAIL"}',
    "cmd/hb": b'{"schema":"1.0","n":86400}',
}
TOPICS = Topics("press2", "top")


def wrapped(payload: bytes) -> str:
    """The payload in lines, broken behind commas: without the line ends it is the payload."""
    lines, line = [], ""
    for piece in re.split(r"(?<=,)(?=[\"{])", payload.decode("ascii")):
        if line and len(line) + len(piece) > WIDTH:
            lines.append(line)
            line = ""
        line += piece
    return "\n".join([*lines, line])


def on_page(text: str) -> dict[str, str]:
    """Every ``<!-- example: NAME -->`` block of the page."""
    return dict(re.findall(r"<!-- example: (.+?) -->\n```json\n(.*?)\n```", text, flags=re.S))


def written(text: str) -> str:
    """The page with today's examples."""
    built = {**examples(), **COMMANDS}

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- example: {match[1]} -->\n```json\n{wrapped(built[match[1]])}\n```"

    return re.sub(r"<!-- example: (.+?) -->\n```json\n.*?\n?```", fresh, text, flags=re.S)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(on_page(PAGE.read_text(encoding='utf-8')))} examples\n")
