"""The fault matrix: it runs, and it fails when a station breaks the promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tools.cameras import faults
from tools.cameras.belt import Notice, Part
from tools.cameras.matrix import FAULTS, Fault
from tools.cameras.strikes import Found, Row, Strike, judge
from tools.virtual_camera.control import FAULTS as KINDS

Change = Callable[[Strike], None]


def test_two_faults_at_a_whole_station(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main(["--short"]) == 0
    told = capsys.readouterr().out
    assert "| DropFrame | 2 x 201" in told and "Camera lost" in told and "**Nothing was broken**" in told


def test_every_fault_of_the_virtual_camera_is_in_the_matrix() -> None:
    assert {fault.name.split()[0].rstrip(",") for fault in FAULTS} == KINDS.keys() - {"None"}


def struck() -> Strike:
    """A fault at a good part, which was refused 0.3 s later; the parts after it were right."""
    found = Strike(Fault("DropFrame", lambda control: None), 100.0, 100.0)
    for n, verdict in enumerate(["NOT_INSPECTED", "FAIL", "PASS", "FAIL"]):
        good, sent_s = n % 2 == 0, 100.0 + n
        answer = {"verdict": verdict, "code": 201}
        pixels = n if verdict != "NOT_INSPECTED" else None
        found.parts.append(Part(n, good, sent_s, [answer], sent_s + 0.3, pixels=pixels))
    return found


def answered(number: int, verdict: str, pixels: int | None = None) -> Change:
    def change(found: Strike) -> None:
        found.parts[number].answers = [{"verdict": verdict, "code": 0}]
        found.parts[number].pixels = pixels

    return change


def silent(found: Strike) -> None:
    found.parts[0].answered_s = 110.0


def never_back(found: Strike) -> None:
    for part in found.parts[1:]:
        part.answers = [{"verdict": "NOT_INSPECTED", "code": 200}]
        part.pixels = None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: None, []),
        (answered(0, "PASS", 0), ["part 0 (good) passed although it was touched"]),
        (answered(2, "PASS", 1), ["part 2 (good) PASS by the picture of part 1"]),
        (answered(1, "PASS", 1), ["part 1 (bad) passed"]),
        (answered(2, "FAIL", 2), ["part 2 (good) failed"]),
        (lambda found: found.parts[3].answers.clear(), ["part 3 (bad) had 0 answers"]),
        (lambda found: found.parts[1].answers.append({}), ["part 1 (bad) had 2 answers"]),
        (silent, ["noticed after 10.0 s"]),
        (never_back, ["back after never"]),
    ],
)
def test_a_broken_promise_is_found(change: Change, said: list[str]) -> None:
    found = struck()
    change(found)
    row = Row(found.fault, [found])
    judge(row)
    assert row.broken == said
    assert Found([row]).broken == [f"DropFrame: {one}" for one in said]


def test_a_message_that_the_machine_held_up_proves_nothing() -> None:
    found = struck()
    answered(2, "PASS", 3)(found)
    found.parts[2].underway_s = 0.5
    row = Row(found.fault, [found])
    judge(row)
    assert row.broken == []
    found.parts[2].answers.clear()
    judge(row)
    assert row.broken == ["part 2 (good) had 0 answers"]


def test_what_hurts_nobody_must_be_noticed_all_the_same() -> None:
    found = struck()
    found.fault = Fault("Overheat", lambda control: None, 0, hurts=False, noticed=True)
    answered(0, "PASS", 0)(found)
    row = Row(found.fault, [found])
    judge(row)
    assert row.broken == ["noticed after never"]
    found.notices.append(Notice(101.0, "Camera too hot: top: 85.0", "alarm"))
    judge(calm := Row(found.fault, [found]))
    assert calm.broken == []
