from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.codes import Code
from inspector.limits import parse
from inspector.measure.diameter import Diameter
from inspector.parts import Check, CheckOutcome, CodeRead, Finding, Located, Measured, Outcome, Shape, Verdict
from inspector.recipe.decide import checks_of, consequence, decide
from inspector.recipe.model import Head, Spec, VerdictRules
from inspector.recipe.registry import tools
from tests.recipe.pictures import part

OK = Check("a", CheckOutcome.PASS)


def bad(code: int, step: str = "b", **more: Any) -> Check:
    return Check(step, CheckOutcome.FAIL, code, f"Words of {code}", **more)


def gone(code: int, **more: Any) -> Check:
    return Check("c", CheckOutcome.MISSING, code, f"Nothing for {code}", **more)


def decided(*checks: Check, first: tuple[int, ...] = ()) -> Verdict:
    head = Head(recipe=1, name="x", verdict=VerdictRules(first=first))
    return decide(replace(Verdict(part()), checks=checks), Spec(Path("x"), head, {}))


def test_all_good_is_pass_and_nothing_else_is() -> None:
    verdict = decided(OK, OK)
    assert (verdict.outcome, verdict.code) == (Outcome.PASS, 0)


def test_no_check_at_all_is_no_pass() -> None:
    verdict = decided()
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.RECIPE_INVALID)


def test_one_bad_check_is_fail_with_its_words() -> None:
    verdict = decided(OK, bad(1110))
    assert (verdict.outcome, verdict.code, verdict.text) == (Outcome.FAIL, 1110, "Words of 1110")


def test_missing_is_a_reject_or_no_verdict_as_the_recipe_says() -> None:
    assert decided(OK, gone(1110)).outcome is Outcome.FAIL
    unsure = decided(OK, gone(1110, not_inspected=True))
    assert (unsure.outcome, unsure.code) == (Outcome.NOT_INSPECTED, Code.MISSING_FEATURE)
    assert unsure.text == "Not inspected: Nothing for 1110"


def test_a_sure_reject_outranks_what_can_not_be_told() -> None:
    verdict = decided(gone(1110, not_inspected=True), bad(1120), OK)
    assert (verdict.outcome, verdict.code) == (Outcome.FAIL, 1120)


def test_smallest_code_is_told_unless_the_recipe_ranks_them() -> None:
    checks = (bad(1300), bad(1120), bad(1200))
    assert decided(*checks).code == 1120
    assert decided(*checks).text == "Words of 1120 (and 2 more)"
    assert decided(*checks, first=(1999, 1200)).code == 1200


def test_consequences_follow_their_cause() -> None:
    cause = gone(1010)
    check = consequence("bore", replace(cause, step="body"))
    assert check.code == 1010 and "body was not found" in check.text
    assert decided(cause, check).text == "Nothing for 1010"
    unsure = consequence("bore", gone(203, not_inspected=True))
    assert decided(gone(203, not_inspected=True), unsure).code == Code.PART_NOT_FOUND


DIAMETER = Diameter.model_validate(
    {
        "tool": "diameter",
        "at": [0, 0],
        "search": [1, 9],
        "expect": "6.00 ±0.05 mm",
        "fail": "1110 Left bore out of size",
    }
)


def checked(answer: Any, tool: Any = DIAMETER, rules: VerdictRules | None = None) -> Check:
    (check,) = checks_of("bore", tool, answer, part("P-9"), rules or VerdictRules())
    return check


@pytest.mark.parametrize(
    ("value", "outcome", "text"),
    [
        (6.0, CheckOutcome.PASS, ""),
        (5.95, CheckOutcome.PASS, ""),
        (6.05, CheckOutcome.PASS, ""),
        (6.21, CheckOutcome.FAIL, "Left bore out of size: 6.21 mm, limit 5.95-6.05"),
        (6.0504, CheckOutcome.FAIL, "Left bore out of size: 6.0504 mm, limit 5.95-6.05"),
        (-1.0, CheckOutcome.FAIL, "Left bore out of size: -1.00 mm, limit 5.95-6.05"),
    ],
)
def test_measured_value_against_its_limits(value: float, outcome: CheckOutcome, text: str) -> None:
    check = checked(Measured(value, "mm", shapes=(Shape("point", ((1.0, 1.0),)),)))
    assert (check.outcome, check.text, check.value) == (outcome, text, value)
    assert (check.lower, check.upper, check.nominal) == (5.95, 6.05, 6.0)
    assert (check.shapes[0].role == "fail") == (outcome is CheckOutcome.FAIL)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_number_is_missing_never_zero(value: float | None) -> None:
    check = checked(Measured(value, "mm", why="too dark"))
    assert check.outcome is CheckOutcome.MISSING and check.value is None
    assert check.code == 1110 and "too dark" in check.text
    assert checked(Measured(None, "mm"), rules=VerdictRules(missing="not_inspected")).not_inspected


def test_value_in_another_unit_is_a_fault() -> None:
    with pytest.raises(TypeError, match="measured in px"):
        checked(Measured(6.0, "px"))


def test_answer_of_another_section_is_a_fault() -> None:
    for answer in (Located(None), CodeRead("x"), []):
        with pytest.raises(TypeError, match="answered with"):
            checked(answer)


def code_tool(expect: str) -> Any:
    return tools("read")["code"].model_validate(
        {"tool": "code", "region": [0, 0, 9, 9], "expect": expect, "fail": "1310 Wrong code"}
    )


def test_read_text_against_what_is_wanted() -> None:
    assert checked(CodeRead("PLATE-A"), code_tool("PLATE-A")).outcome is CheckOutcome.PASS
    wrong = checked(CodeRead("PLATE-B"), code_tool("PLATE-A"))
    assert (wrong.outcome, wrong.text) == (CheckOutcome.FAIL, "Wrong code: read PLATE-B, wanted PLATE-A")
    assert checked(CodeRead("P-9"), code_tool("part_id")).outcome is CheckOutcome.PASS
    assert checked(CodeRead("part_id"), code_tool("part_id")).outcome is CheckOutcome.FAIL
    none = checked(CodeRead(None, why="no code"), code_tool("PLATE-A"))
    assert none.outcome is CheckOutcome.MISSING and none.code == 1310 and "no code" in none.text


def test_strange_texts_can_not_spoil_the_screen() -> None:
    check = checked(CodeRead("\x1b[2J" + "x" * 500), code_tool("PLATE-A"))
    assert "\x1b" not in check.text and len(check.text) < 120


def test_located_and_not_located() -> None:
    def tool(not_found: str) -> Any:
        keys = {"tool": "template", "image": "x.png", "fail": "1010 Part not found", "not_found": not_found}
        return tools("locate")["template"].model_validate(keys)

    fails = checked(Located(None, "best match 0.31"), tool("fail"))
    assert (fails.outcome, fails.code, fails.not_inspected) == (CheckOutcome.MISSING, 1010, False)
    assert fails.text == "Part not found: best match 0.31"
    unsure = checked(Located(None), tool("not_inspected"))
    assert (unsure.code, unsure.not_inspected) == (Code.PART_NOT_FOUND, True)


def blob(**reject: Any) -> Any:
    keys = {"region": [0, 0, 9, 9], "find": "both", "contrast": 9, "background": 3, "least_area": 1}
    return tools("defects")["blob"].model_validate({"tool": "blob", **keys, "reject": reject})


def finding(label: str, score: float, length: float, area: float = 1.0) -> Finding:
    return Finding(label, score, area, length, "mm", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))


def test_findings_are_one_check_a_label() -> None:
    tool = blob(dark={"score": 0.4, "length": "1.5 mm", "fail": "1210 Scratch"}, bright="ignore")
    answer = [finding("dark", 0.5, 1.0), finding("dark", 0.3, 9.0), finding("bright", 1.0, 9.0)]
    good = checked(answer, tool)
    assert (good.step, good.outcome, good.upper) == ("bore.dark", CheckOutcome.PASS, 1.5)
    assert len(good.findings) == 2 and all(s.role == "found" for s in good.shapes)
    scratched = checked([*answer, finding("dark", 0.6, 3.2)], tool)
    assert scratched.outcome is CheckOutcome.FAIL
    assert scratched.text == "Scratch: 3.20 mm, limit 1.50"
    assert len(scratched.findings) == 1 and scratched.shapes[0].role == "fail"


def test_value_on_the_limit_is_a_reject() -> None:
    tool = blob(dark={"length": "1.5 mm", "area": "0.5 mm2", "fail": "1210 Scratch"}, bright="ignore")
    assert checked([finding("dark", 0.0, 1.5, 0.5)], tool).outcome is CheckOutcome.FAIL
    assert checked([finding("dark", 0.0, 1.5, 0.49)], tool).outcome is CheckOutcome.PASS
    assert checked([finding("dark", float("nan"), float("nan"), float("nan"))], tool).outcome is CheckOutcome.FAIL


def test_score_alone_and_counts() -> None:
    by_score = checked([finding("dark", 0.8, 1)], blob(dark={"score": 0.7, "fail": "1210 S"}, bright="ignore"))
    assert by_score.text == "S: score 0.80, limit 0.70"
    tool = blob(dark={"area": "0.5 mm2", "count": 3, "fail": "1210 Pores"}, bright="ignore")
    assert checked([finding("dark", 1, 1)] * 2, tool).outcome is CheckOutcome.PASS
    three = checked([finding("dark", 1, 1)] * 3, tool)
    assert three.text == "Pores: 3 found, limit 3; largest 1.00 mm2, limit 0.50"


def test_class_score_and_threshold_are_in_the_verdict() -> None:
    tool = blob(dark={"score": 0.4, "length": "1.5 mm", "fail": "1210 Scratch"}, bright="ignore")
    checks = checks_of("face", tool, [finding("dark", 0.9, 3.0)], part(), VerdictRules())
    verdict = decide(replace(Verdict(part()), checks=checks), Spec(Path("x"), Head(recipe=1, name="x"), {"face": tool}))
    assert (verdict.cls, verdict.score, verdict.thr) == ("dark", 0.9, 0.4)


def test_label_without_limits_is_a_fault() -> None:
    tool = blob(dark="ignore")
    with pytest.raises(TypeError, match="bright, a label without limits"):
        checks_of("x", tool, [finding("bright", 1, 1)], part(), VerdictRules())


def test_pass_is_made_in_one_place_only() -> None:
    made = []
    house = Path(inspector.__file__).parent
    for path in house.rglob("*.py"):
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"outcome\s*=\s*Outcome\.PASS|Verdict\([^)]*Outcome\.PASS", line):
                made.append(f"{path.relative_to(house)}:{n}")
    assert [m.split(":")[0] for m in made] == ["recipe/decide.py"]


def test_limits_in_words() -> None:
    assert parse("at least 2.40 mm").words == "at least 2.40"
    assert parse("at most 3 count").words == "at most 3"
    assert parse("-1.0 to 1.0 deg").words == "-1.00 to 1.00"
    assert parse("6.00 +0.08/-0.04 mm").words == "5.96-6.08"
