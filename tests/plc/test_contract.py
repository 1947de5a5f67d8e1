from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.codes import Code
from inspector.config import IDS_MAX
from inspector.parts import Finding, Outcome
from inspector.plc import contract
from inspector.plc.contract import (
    AckCommand,
    Command,
    CommandError,
    GetCommand,
    GoldenCommand,
    HeartbeatCommand,
    PackState,
    RecipeCommand,
    ResetCountersCommand,
    ResetFaultCommand,
    SelfTestCommand,
    StartCommand,
    StationState,
    StopCommand,
    Topics,
    TriggerCommand,
    parse_command,
)
from tests.plc.examples import COMMANDS, PAGE, TOPICS, examples, failed, on_page, part, passed, written

RESULT_TYPES = {
    "schema": str, "seq": int, "boot": str, "part_id": str, "cmd_id": str, "attempt": int, "verdict": str,
    "code": int, "reason": str, "cls": str, "score": float, "thr": float, "recipe": int, "rev": int, "ts": str,
    "t_ms": int, "deadline_ms": int, "sim": bool, "dup": bool, "cfg": str,
}  # fmt: skip


# --- the page ----------------------------------------------------------------------------------------
def test_the_page_shows_what_is_sent() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = on_page(text)
    assert set(shown) >= {*examples(), *COMMANDS}, "every payload stands on the page"
    assert written(text) == text, "docs/plc.md is not what the code sends: run python -m tests.plc.examples"


@pytest.mark.parametrize("topic", COMMANDS)
def test_the_pages_commands_are_understood(topic: str) -> None:
    name = topic.removeprefix("cmd/")
    command = parse_command(name, COMMANDS[topic], False)
    assert command.name == name


def test_the_page_names_every_topic_code_and_command() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for topic in (
        TOPICS.result,
        TOPICS.record,
        TOPICS.state,
        TOPICS.hb,
        TOPICS.ack,
        TOPICS.event,
        TOPICS.info,
    ):
        assert f"`{topic.rsplit('/', 1)[1]}`" in text
    for code in Code:
        assert re.search(rf"\b{int(code)}\b", text), f"code {int(code)} {code.name}"
    for name in contract.COMMANDS:
        assert f"`cmd/{name}`" in text


# --- payloads ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in examples() if name != "record"])
def test_payloads_for_a_plc_are_flat_ascii_without_null(name: str) -> None:
    payload = examples()[name]
    assert payload.isascii() and len(payload) <= 512
    members = json.loads(payload)
    assert all(type(value) in (str, int, float, bool) for value in members.values())


def test_a_result_has_fixed_types() -> None:
    for name in ("result PASS", "result FAIL", "result NOT_INSPECTED", "result again", "result golden"):
        members = json.loads(examples()[name])
        assert {key: type(value) for key, value in members.items()} == RESULT_TYPES
        assert len(examples()[name]) <= 400, "typical size"


text_with_everything = st.text(max_size=400)
ids = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), min_size=1, max_size=32
)
numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=200, deadline=None)
@given(ids, ids, text_with_everything, text_with_everything, numbers, numbers, st.integers(0, 10**9))
def test_a_result_fits_whatever_is_in_it(
    part_id: str, cmd_id: str, text: str, cls: str, score: float, thr: float, t_ms: int
) -> None:
    verdict = replace(
        failed(),
        part=replace(part(2_147_483_647, part_id, cmd_id), rev=999_999, recipe=9999, attempt=10**6),
        text=text, cls=cls, score=score, thr=thr, checks=(), code=9999,
    )  # fmt: skip
    payload = contract.result_payload(verdict, t_ms=t_ms, dup=True)
    assert len(payload) <= contract.RESULT_LIMIT_BYTES and payload.isascii()
    members = json.loads(payload)
    assert {key: type(value) for key, value in members.items()} == RESULT_TYPES
    assert (members["part_id"], members["cmd_id"], members["verdict"]) == (part_id, cmd_id, "FAIL")
    assert text.startswith(members["reason"]) or members["reason"] == "recipe_9999"
    assert cls.startswith(members["cls"])
    assert math.isfinite(members["score"])
    for key in ("score", "thr"):
        assert re.search(rf'"{key}":-?[0-9]+\.[0-9]+,', payload.decode()), "a decimal point, no exponent"


def test_a_long_reason_is_cut_and_nothing_else() -> None:
    verdict = replace(failed(), text="x" * 5000, checks=())
    members = json.loads(contract.result_payload(verdict, t_ms=1))
    assert 200 < len(members["reason"]) < 512 and members["cls"] == "scratch"


def test_reason_is_the_failing_steps_words_or_the_systems_name() -> None:
    assert json.loads(contract.result_payload(failed(), t_ms=1))["reason"] == "Scratch on sealing face"
    system = replace(failed(), code=202, outcome=Outcome.NOT_INSPECTED)
    assert json.loads(contract.result_payload(system, t_ms=1))["reason"] == "image_quality"


def test_a_part_without_a_picture_has_the_triggers_time() -> None:
    members = json.loads(examples()["result NOT_INSPECTED"])
    assert members["ts"] == part().trigger.received_utc


def test_a_record_tells_everything_and_never_null() -> None:
    members = json.loads(examples()["record"])
    result = json.loads(examples()["result FAIL"])
    assert {key: members[key] for key in result} == result
    assert (members["id"], members["late"], members["image"]) == (
        "top-4711",
        False,
        "2026-05-12/top-4711.png",
    )
    assert members["checks"][0]["uncertainty"] == 0.004
    assert members["defects"][0]["w_px"] == 102.0
    assert b"null" not in examples()["record"] and b"NaN" not in examples()["record"]
    late = json.loads(contract.record_payload(failed(), t_ms=900, late=True))
    assert late["id"] != members["id"], "the late record is not a copy of the one that said timeout"


def test_a_record_of_a_part_full_of_defects_is_bounded_and_says_so() -> None:
    finding = Finding("speck", 0.5, 0.1, 0.2, "mm", ())
    checks = tuple(replace(failed().checks[1], findings=(finding,) * 100) for _ in range(30))
    members = json.loads(contract.record_payload(replace(failed(), checks=checks), t_ms=1, late=False))
    assert members["defects_total"] == 3000 and len(members["defects"]) == 200
    assert members["defects"][0]["x_px"] == 0.0


def test_measured_nonsense_is_left_out_of_a_record() -> None:
    check = replace(failed().checks[0], value=math.nan, uncertainty=math.inf)
    members = json.loads(contract.record_payload(replace(failed(), checks=(check,)), t_ms=1, late=False))
    assert "value" not in members["checks"][0] and members["checks"][0]["lower"] == 5.95


def test_the_will_is_the_contracts() -> None:
    assert json.loads(contract.OFFLINE) == {"schema": "1.0", "state": "OFFLINE", "ready": False, "code": 900}


@pytest.mark.parametrize("text", ["x" * 1000, "ü" * 1000, '"\\' * 500, "\0" * 1000])
def test_long_texts_do_not_break_states_acks_and_events(text: str) -> None:
    state = StationState(
        PackState.EXECUTE, False, True, 9999, 999999, "ffff", 2**31 - 1, 64, 10**9, 302, text
    )
    for payload in (
        contract.state_payload(state),
        contract.ack_payload("x" * 99, "c" * 99, "refused", code=400, text=text),
        contract.event_payload("alarm", 200, text),
    ):
        assert len(payload) <= 512
        assert text.startswith(json.loads(payload)["text"]) and json.loads(payload)["text"]


def test_an_ack_says_ok_only_when_it_is() -> None:
    def ok(*arguments: Any, **named: Any) -> bool:
        return bool(json.loads(contract.ack_payload(*arguments, **named))["ok"])

    assert ok("start", "c", "done") and ok("recipe", "c", "accepted")
    assert not ok("start", "c", "refused", code=402) and not ok("start", "c", "done", code=303)


def test_stored_verdict_in_an_ack() -> None:
    members = json.loads(contract.ack_payload("get", "c", "done", stored=passed()))
    assert (members["seq"], members["part_id"], members["verdict"]) == (4711, "A004711", "PASS")


@pytest.mark.parametrize(("deadline_ms", "expiry_s"), [(50, 1), (1000, 1), (1001, 2), (10000, 10)])
def test_expiry(deadline_ms: int, expiry_s: int) -> None:
    assert contract.result_expiry_s(deadline_ms) == expiry_s


def test_now_is_written_in_utc_with_ms() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", contract.utc_now())


# --- topics ------------------------------------------------------------------------------------------
def test_topics() -> None:
    topics = Topics("demo", "top")
    assert topics.result == "vis/v1/demo/top/result"
    assert topics.cmd_filter == "vis/v1/demo/top/cmd/+"
    assert topics.command("vis/v1/demo/top/cmd/trigger") == "trigger"
    assert topics.command("vis/v1/demo/top2/cmd/trigger") is None
    assert topics.command("vis/v1/demo/top/result") is None


@pytest.mark.parametrize(
    ("line", "station", "words"),
    [
        ("", "top", "line: found ''"),
        ("Demo", "top", "line: found 'Demo'"),
        ("demo", "a/b", "station: found 'a/b'"),
        ("demo", "+", "station"),
        ("demo", "t op", "station"),
        ("demo\n", "top", "line"),
        ("linelin", "station", "14 characters, allowed: 13 together, so that no topic has more than 40"),
    ],
)
def test_ids_that_cannot_be_topics(line: str, station: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Topics(line, station)


def test_no_topic_of_the_longest_names_is_too_long_for_a_plc() -> None:
    topics = Topics("l" * 6, "s" * (IDS_MAX - 6))
    said = [value for name, value in vars(topics).items() if name not in ("base", "cmd_filter")]
    asked = [f"{topics.base}/cmd/{name}" for name in (*contract.COMMANDS, "c")]
    assert max(len(topic) for topic in (*said, *asked)) == contract.TOPIC_MAX == 40
    assert len(topics.base) == contract.BASE_MAX
    assert max(topic.count("/") for topic in (*said, *asked)) < 7


# --- commands ----------------------------------------------------------------------------------------
def command(**members: Any) -> bytes:
    return json.dumps({"schema": "1.0", "cmd_id": "c-1", **members}).encode()


@pytest.mark.parametrize(
    ("name", "payload", "wanted"),
    [
        ("trigger", command(part_id="P1"), TriggerCommand("c-1", "P1")),
        ("trigger", command(part_id="P1", deadline_ms=50), TriggerCommand("c-1", "P1", 50)),
        ("trigger", command(part_id="P1", deadline_ms=10000), TriggerCommand("c-1", "P1", 10000)),
        ("trigger", command(part_id="P" * 32, ts="now", future=[1]), TriggerCommand("c-1", "P" * 32)),
        ("trigger", command(part_id="P1") + b"\0" * 50, TriggerCommand("c-1", "P1")),
        ("trigger", command(part_id="P1", schema="1.9") + b" \r\n", TriggerCommand("c-1", "P1")),
        ("recipe", command(recipe=7), RecipeCommand("c-1", 7)),
        ("recipe", command(recipe=7, rev=3), RecipeCommand("c-1", 7, 3)),
        ("start", command(), StartCommand("c-1")),
        ("stop", command(), StopCommand("c-1")),
        ("ack", command(seq=1), AckCommand("c-1", 1)),
        ("get", command(seq=2**31 - 1), GetCommand("c-1", 2**31 - 1)),
        ("reset_counters", command(), ResetCountersCommand("c-1")),
        ("reset_fault", command(), ResetFaultCommand("c-1")),
        ("recipe", command(recipe=7, rev=2**31 - 1), RecipeCommand("c-1", 7, 2**31 - 1)),
        ("selftest", command(), SelfTestCommand("c-1")),
        ("golden", command(expect="FAIL"), GoldenCommand("c-1", "FAIL")),
        ("hb", command(n=0), HeartbeatCommand("c-1", 0)),
        ("hb", b'{"schema":"1.0","n":7}', HeartbeatCommand("", 7)),
    ],
)
def test_commands(name: str, payload: bytes, wanted: Command) -> None:
    assert parse_command(name, payload, False) == wanted


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("trigger", b"", "not JSON"),
        ("trigger", b"go", "not JSON"),
        ("trigger", b"\xff\xfe", "not UTF-8"),
        ("trigger", b"[1]", "a list, wanted an object"),
        ("trigger", b"7", "7, wanted an object"),
        ("trigger", b"[" * 4000, "nested too deeply"),
        ("trigger", b'{"schema":' + b"9" * 4000 + b"}", "schema"),
        ("trigger", b"x" * 1_000_000, "longer than 4096 bytes"),
        ("trigger", command(part_id="P1", deadline_ms=math.nan), "NaN is not a number"),
        ("trigger", b'{"schema":"1.0","cmd_id":"a","cmd_id":"b","part_id":"P"}', '"cmd_id": stands twice'),
        ("trigger", b'{"cmd_id":"a","part_id":"P"}', "schema: missing"),
        ("trigger", command(part_id="P", schema="2.0"), 'schema: found "2.0", allowed: "1.x"'),
        ("trigger", command(part_id="P", schema=1), "schema: found 1"),
        ("trigger", command(), "part_id: missing"),
        ("trigger", command(part_id=12), "part_id: found 12, allowed: text"),
        ("trigger", command(part_id=None), "part_id: found null"),
        ("trigger", command(part_id=""), "part_id"),
        ("trigger", command(part_id="P" * 33), "33 characters, allowed: 1 to 32"),
        ("trigger", command(part_id="P\n1"), "printable ASCII"),
        ("trigger", command(part_id="P\x1d1"), "printable ASCII"),
        ("trigger", command(part_id="Pü"), "printable ASCII"),
        ("trigger", command(part_id='P"1'), "quotes"),
        ("trigger", b'{"schema":"1.0","part_id":"P1"}', "cmd_id: missing"),
        ("trigger", command(part_id="P1", cmd_id="c" * 33), "cmd_id: found"),
        ("trigger", command(part_id="P1", deadline_ms=49), "deadline_ms: found 49, allowed: a whole number 50..10000"),
        ("trigger", command(part_id="P1", deadline_ms=10001), "deadline_ms: found 10001"),
        ("trigger", command(part_id="P1", deadline_ms=100.5), "deadline_ms: found 100.5"),
        ("trigger", command(part_id="P1", deadline_ms="100"), 'deadline_ms: found "100"'),
        ("trigger", command(part_id="P1", deadline_ms=True), "deadline_ms: found true"),
        ("trigger", command(part_id="P1", deadline_ms=None), "deadline_ms: found null"),
        ("trigger", command(part_id="P1", deadline_ms=10**400), "more than 15 digits"),
        ("recipe", command(recipe="7"), 'recipe: found "7"'),
        ("recipe", command(recipe=0), "recipe: found 0"),
        ("recipe", command(recipe={"a": 1}), "an object"),
        ("ack", command(seq=0), "seq: found 0"),
        ("recipe", command(recipe=7, rev=0), "rev: found 0"),
        ("golden", command(), 'expect: missing, allowed: "PASS" or "FAIL"'),
        ("golden", command(expect="pass"), 'expect: found "pass", allowed: "PASS" or "FAIL"'),
        ("golden", command(expect="NOT_INSPECTED"), "expect: found"),
        ("hb", command(n=-1), "n: found -1"),
        ("get", command(seq=2**31), "seq: found"),
        ("pass", command(), 'unknown command pass; allowed: trigger'),
        ("", command(), "unknown command"),
        ("x" * 500, command(), "unknown command"),
    ],
)  # fmt: skip
def test_bad_commands_are_one_clear_error(name: str, payload: bytes, words: str) -> None:
    with pytest.raises(CommandError) as error:
        parse_command(name, payload, False)
    assert error.value.code == 400
    assert words in error.value.text
    assert len(error.value.text) < 260 and error.value.text.isascii() and "\n" not in error.value.text
    assert contract.ack_payload(
        error.value.cmd, error.value.cmd_id, "refused", code=400, text=error.value.text
    )


def test_a_refused_command_is_answered_to_its_sender_when_its_id_can_be_read() -> None:
    with pytest.raises(CommandError) as error:
        parse_command("trigger", command(part_id="P1", deadline_ms=1), False)
    assert (error.value.cmd, error.value.cmd_id, error.value.part_id) == ("trigger", "c-1", "P1")
    with pytest.raises(CommandError) as error:
        parse_command("trigger", command(part_id="P\n1", cmd_id="c" * 40), False)
    assert (error.value.cmd_id, error.value.part_id) == ("", ""), "nothing unfit is echoed"


@pytest.mark.parametrize("payload", [command(part_id="P1"), b"", b"x" * 5000])
@pytest.mark.parametrize("name", ["trigger", "unknown", "stop"])
def test_a_retained_command_is_refused_with_401(name: str, payload: bytes) -> None:
    with pytest.raises(CommandError) as error:
        parse_command(name, payload, True)
    assert error.value.code == 401
    assert error.value.cmd_id == ("c-1" if payload.startswith(b"{") else "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(contract.COMMANDS) | st.text(max_size=40),
    st.binary(max_size=200)
    | st.fixed_dictionaries(
        {},
        optional={
            key: json_values for key in ("schema", "cmd_id", "part_id", "deadline_ms", "recipe", "rev", "seq")
        },
    ).map(lambda members: json.dumps(members).encode()),
)
def test_no_payload_does_more_than_a_command_error(name: str, payload: bytes) -> None:
    try:
        parsed = parse_command(name, payload, False)
    except CommandError as error:
        assert error.code == 400 and error.text.isascii()
        contract.ack_payload(error.cmd, error.cmd_id, "refused", code=error.code, text=error.text)
    else:
        least = 0 if name in ("count", "hb") else 1
        assert parsed.name == name and least <= len(parsed.cmd_id) <= 32


# --- golden parts and the configuration --------------------------------------------------------------
@pytest.mark.parametrize("expect", ["PASS", "FAIL"])
@pytest.mark.parametrize("found", [passed(), failed()])
def test_a_golden_part_is_never_told_as_a_product(expect: Any, found: Any) -> None:
    found = replace(found, part=part(golden=expect))
    with pytest.raises(ValueError, match="golden part"):
        contract.result_payload(found, t_ms=1)
    with pytest.raises(ValueError, match="golden part"):
        contract.record_payload(found, t_ms=1, late=True)
    told = json.loads(contract.result_payload(found.to_tell, t_ms=1))
    assert (told["verdict"], told["code"], told["reason"]) == ("NOT_INSPECTED", 502, "golden_check")
    assert json.loads(contract.record_payload(found.to_tell, t_ms=1, late=False))["golden"] == expect
    answer = json.loads(contract.ack_payload("golden", "c", "done", found=found))
    assert answer["found"] == found.outcome.value and "verdict" not in answer


def test_a_product_is_told_as_it_was_found() -> None:
    assert passed().to_tell is not None and passed().to_tell == passed()


def test_the_configuration_is_told_in_full_and_in_short() -> None:
    config = part().config
    assert json.loads(examples()["state ready"])["config"] == json.loads(examples()["info"])["config"] == config
    assert json.loads(examples()["record"])["config"] == config and len(config) == 64
    assert json.loads(examples()["result PASS"])["cfg"] == config[:8] == json.loads(examples()["ack get"])["cfg"]
