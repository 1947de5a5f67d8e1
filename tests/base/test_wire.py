"""Every message between station and children survives the wire, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.parts import Check, CheckOutcome, Finding, FrameRef, Health, Outcome, Part, Shape, Trigger, Verdict
from inspector.wire import (
    CameraState,
    Capture,
    Captured,
    CaptureFailed,
    FromChild,
    Grant,
    Judge,
    Judged,
    Keep,
    Kept,
    Load,
    Loaded,
    LoadFailed,
    Looked,
    Ping,
    Pong,
    Stop,
    Stray,
    ToChild,
    decode_from_child,
    decode_to_child,
    encode_from_child,
    encode_to_child,
    verdict_from_json,
    verdict_to_json,
)

FRAME = FrameRef("top", 7, "/run/ring", 2, 9, 64, 48, "Mono8", 1000.0, 0.5, 1 << 60, 5, 6, (4, 8))
PART = Part(3, "boot", "s", Trigger("P1", "c1", 5, "2026-01-01T00:00:00Z"), 1, 2, "plate", "sha", 99)
FINDING = Finding("scratch", 0.9, 2.0, 3.0, "mm", ((1.0, 2.0), (3.0, 4.0)))
CHECK = Check("hole", CheckOutcome.FAIL, 103, "too big", 5.1, "mm", 5.0, 4.9, 5.05, findings=(FINDING,))
VERDICT = Verdict(
    PART, Outcome.FAIL, 103, "too big", checks=(CHECK,), frames=(FRAME,), stages_us={"judge": 3}, model_shas={"m": "s"}
)


@pytest.mark.parametrize(
    "message",
    [
        Ping(1),
        Stop(),
        Grant((0, 3)),
        Capture(1, 2, 3),
        Load("recipes/a.yaml"),
        Judge(PART, (FRAME,)),
        Keep(VERDICT, True),
    ],
    ids=lambda m: m.kind,
)
def test_to_a_child(message: ToChild) -> None:
    line = encode_to_child(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_to_child(line) == message


@pytest.mark.parametrize(
    "message",
    [
        Pong(1, 5),
        Captured(1, (FRAME,)),
        CaptureFailed(1, 201, "line one\nline two ü"),
        CameraState(True, "streaming", {"temperature_c": 41.5, "ring": "r"}),
        Stray("extra", 2),
        Loaded("p", 1, 2, "plate", "sha", 300, ("top",), "cpu", {"m": "s"}, keep={"pass": 10}, stop_line=3, says="µ"),
        LoadFailed("p", "p:3: width: found 1"),
        Judged(VERDICT),
        Looked(3, (Health("", "picture", 120.0, 90.0, 0.02, 1.5, 0.0),)),
        Kept(1, "a.png", "b.webp", "", 1, 2, 3),
    ],
    ids=lambda m: m.kind,
)
def test_from_a_child(message: FromChild) -> None:
    line = encode_from_child(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_from_child(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b'{"kind": "pong"}',
        b'{"kind": "pong", "n": "one"}',
        b'{"kind": "captured", "seq": 1, "frame": {"camera": "top"}}',
        b'{"kind": "ping", "n": 1}',  # nothing a child says
        b'{"kind": "stray", "what": "extra", "count": 1',
        b"\xff\xfe",
    ],
)
def test_nonsense_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_from_child(line)


def test_a_verdict_survives_its_file() -> None:
    shape = Shape("circle", ((1.0, 2.0),), 3.0, role="fail")
    rich = Verdict(PART, Outcome.FAIL, 103, checks=(CHECK, Check("x", CheckOutcome.MISSING, shapes=(shape,))))
    assert verdict_from_json(verdict_to_json(rich)) == rich
    assert verdict_from_json(verdict_to_json(rich).decode()) == rich


@pytest.mark.parametrize("change", [(b'"FAIL"', b'"PASS"'), (b'"code":103', b'"code":0'), (b'"seq":3', b'"seq":null')])
def test_a_verdict_that_contradicts_itself_is_not_read(change: tuple[bytes, bytes]) -> None:
    data: Any = verdict_to_json(VERDICT)
    assert change[0] in data
    with pytest.raises(ValueError):
        verdict_from_json(data.replace(*change))
