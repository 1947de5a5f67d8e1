from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.codes import Code
from inspector.parts import Check, CheckOutcome, Finding, FrameRef, Outcome, Trigger, Verdict
from inspector.plc import contract
from inspector.plc.contract import CommandError, PackState, StationState, parse_command
from tests.plc.examples import COMMANDS as SENT
from tests.plc.examples import PAGE, TOPICS, TS, examples, on_page, part, passed
from tests.plc.schemas import COMMANDS, FOLDER, NAMES, PUBLISHED, complaint, read, refused, schema, strict, validator

ROOT = FOLDER.parents[2]
DINT = 2_147_483_647


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema file, itself included."""
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(one)


# --- the files ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_a_schema_that_needs_no_network(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.Draft202012Validator.check_schema(strict(found))
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (found["$id"], found["x-topic"]) == (f"{name}.schema.json", name)
    for node in nodes(found):
        reference = node.get("$ref", "#/$defs/")
        assert reference.startswith("#/$defs/") and reference.removeprefix("#/$defs/") in {"", *found.get("$defs", {})}
        assert node.get("additionalProperties") is not False, "1.x may add fields"
        assert "unevaluatedProperties" not in node
        if isinstance(node.get("pattern"), str):
            assert node["pattern"].startswith("^") and node["pattern"].endswith(("$", "$)")), "the whole text"


def test_there_is_a_file_for_every_topic_and_no_more() -> None:
    topics = {value.removeprefix(f"{TOPICS.base}/") for key, value in vars(TOPICS).items() if key != "base"}
    json_topics = {topic for topic in topics if not topic.startswith("cmd/") and not topic.endswith(("/c", "/b"))}
    assert set(PUBLISHED) == json_topics
    assert {f"cmd/{name}" for name in contract.COMMANDS} == set(COMMANDS)


def test_what_several_files_define_is_the_same_in_all() -> None:
    shared: dict[str, list[Any]] = {}
    for name in NAMES:
        for key, body in schema(name).get("$defs", {}).items():
            shared.setdefault(key, []).append(body)
    assert all(body == bodies[0] for bodies in shared.values() for body in bodies if bodies[0].get("type") != "object")
    codes = shared["code"][0]["anyOf"]
    assert codes[0]["enum"] == [int(code) for code in Code]
    assert shared["running"][0]["enum"] == [state.name for state in PackState if state is not PackState.OFFLINE]
    assert shared["verdict"][0]["enum"] == [outcome.value for outcome in Outcome]
    assert contract.FLOAT_MAX == shared["float"][0]["maximum"] == -shared["float"][0]["minimum"]


def test_limits_are_the_codes() -> None:
    limits = {name: schema(name).get("x-max-bytes") for name in NAMES}
    wanted = dict.fromkeys(("result", "ack", "event"), contract.RESULT_LIMIT_BYTES)
    wanted |= {"state": contract.STATE_LIMIT_BYTES, **dict.fromkeys(COMMANDS, contract.COMMAND_LIMIT_BYTES)}
    assert {name: limit for name, limit in limits.items() if limit} == wanted
    properties = schema("record")["properties"]
    assert all(properties[key]["maxItems"] == contract.RECORD_LISTS_MAX for key in ("checks", "defects", "frames"))


def test_a_record_holds_every_field_of_a_result() -> None:
    result, record = schema("result")["properties"], schema("record")["properties"]

    def without_words(node: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in node.items() if key != "description"}

    assert {key: without_words(record[key]) for key in result} == {k: without_words(v) for k, v in result.items()}


def test_the_table_of_topics_says_the_same() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (station[^|]*\| \d \| [^|]*) \|", PAGE.read_text(encoding="utf-8"), re.M))
    for name in PUBLISHED:
        _, qos, retained = rows[name].split(" | ")
        assert (int(qos), "yes" in retained) == (schema(name)["x-qos"], schema(name)["x-retain"]), name


def test_the_wheel_carries_them() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    line = re.search(r"^\[tool\.setuptools\.package-data\]\ninspector = (\[.+\])$", text, re.M)
    assert line is not None
    carried = {path for pattern in json.loads(line[1]) for path in (ROOT / "inspector").glob(pattern)}
    assert carried >= set(FOLDER.rglob("*.json"))


# --- the page ----------------------------------------------------------------------------------------
def test_every_example_on_the_page_fits_its_schema() -> None:
    seen = set()
    for title, text in on_page(PAGE.read_text(encoding="utf-8")).items():
        topic, payload = title.split()[0], text.replace("\n", "").encode()
        if topic in COMMANDS:
            assert not list(validator(topic).iter_errors(read(payload))), title
        elif topic in PUBLISHED:
            assert complaint(topic, payload) == "", title
        seen.add(topic)
    assert seen >= set(NAMES)


# --- what the helper sees ----------------------------------------------------------------------------
GOOD = {name: next(payload for title, payload in examples().items() if title.split()[0] == name) for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_field_more_less_or_of_another_type_is_found(name: str) -> None:
    members = read(GOOD[name])
    assert complaint(name, GOOD[name]) == ""

    def after(change: dict[str, Any]) -> str:
        return complaint(name, contract._json(change).encode())

    assert "'new' was unexpected" in after({**members, "new": 1})
    assert not refused(name, {**members, "new": 1}), "a reader takes what 1.x adds"
    for key, value in members.items():
        less = {k: v for k, v in members.items() if k != key}
        assert key in after(less) or (name, key) == ("state", "state"), key
        others: list[Any] = ["text", True, 1, 0.5, [1], {"a": 1}]
        for other in others:
            if type(other) is not type(value):
                assert f"$.{key}" in after({**members, key: other}) or key == "state", (key, other)
        assert complaint(name, json.dumps({**members, key: None}).encode()), f"{key}: null"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"score":0.0', b'"score":0', "$.score: 0 is not of type 'number'"),
        (b'"seq":4711', b'"seq":4711.0', "$.seq: 4711.0 is not of type 'integer'"),
        (b'"code":0', b'"code":0.0', "$.code"),
        (b'"thr":0.0', b'"thr":1.5e3', "1.5e3: a float has a decimal point"),
        (b'"thr":0.0', b'"thr":0.1234567', "6 decimals"),
        (b'"thr":0.0', b'"thr":NaN', "NaN is no JSON"),
        (b'"thr":0.0', b'"thr":0.0,"thr":0.0', "a member stands twice"),
        (b'"A004711"', '"Äh"'.encode(), "not printable ASCII"),
        (b",", b",\n", "not printable ASCII"),
        (b'"A004711"', b'"A\\n4711"', "$.part_id"),
        (b'"A004711"', b'"' + b"A" * 33 + b'"', "$.part_id"),
        (b'"3fa9"', b'"3fa9\\n"', "$.boot"),
        (b'"PASS"', b'"GOOD"', "$.verdict"),
        (b'"PASS"', b'"FAIL"', "$.code"),
        (b'"code":0', b'"code":300', "$.code: 0 was expected"),
        (b'"reason":"ok"', b'"reason":"o"', "$.reason: 'ok' was expected"),
        (b'"code":0', b'"code":105', "$.code"),
        (b'"reason":"ok"', b'"reason":"' + b"x" * 400 + b'"', "bytes, not at most 512"),
        (b'"1.0"', b'"2.0"', "$.schema"),
        (b"}", b"", "delimiter"),
    ],
)
def test_what_breaks_the_contract_is_named(old: bytes, new: bytes, words: str) -> None:
    payload = examples()["result PASS"].replace(old, new)
    assert payload != examples()["result PASS"]
    assert words in complaint("result", payload)


@pytest.mark.parametrize(
    ("topic", "payload", "qos", "retained", "words"),
    [
        ("vis/v1/a/b/new", b"{}", 1, False, "a topic without a schema"),
        ("vis/v1/a/b/result/x", b"{}", 1, False, "a topic without a schema"),
        ("vis/v1/a/b/result", GOOD["result"], 0, False, "QoS 0, at least 1"),
        ("vis/v1/a/b/result", GOOD["result"], 1, True, "retained"),
        ("vis/v1/a/b/hb", GOOD["hb"], 0, True, "retained"),
        ("vis/v1/a/b/result/c", b"0000004711;A004711         ;F;1101;00084;000", 1, False, "44 bytes"),
        ("vis/v1/a/b/result/c", b"0000004711;A004711         ;X;1101;00084;0000", 1, False, "45 bytes"),
        ("vis/v1/a/b/result/b", b"\n" * 13, 1, False, "13 bytes"),
        ("vis/v1/a/b/hb/c", b"", 0, False, "0 bytes"),
    ],
)
def test_a_message_that_no_topic_allows_is_named(
    topic: str, payload: bytes, qos: int, retained: bool, words: str
) -> None:
    assert words in complaint(topic, payload, qos=qos, retained=retained)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("vis/v1/a/b/result", GOOD["result"]),
        ("vis/v1/a/b/state", contract.OFFLINE),
        ("vis/v1/a/b/result/c", b"0000004711;A004711         ;F;1101;00084;0000"),
        ("vis/v1/a/b/result/c", b"0000004711;A004711         ;F;1101;00084;0000\0"),
        ("vis/v1/a/b/result/c", b"0000004711;" + b"A" * 32 + b";P;0000;00084;0002"),
        ("vis/v1/a/b/result/b", b"\n" * 12),
        ("vis/v1/a/b/hb/c", b"\n"),
        ("vis/v1/a/b/cmd/trigger", b"a PLC's own doing"),
        ("answers/plc", b"anything"),
    ],
)
def test_what_is_allowed_is_let_through(topic: str, payload: bytes) -> None:
    assert complaint(topic, payload, qos=1) == ""


# --- what contract.py can make -----------------------------------------------------------------------
ids = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=32)
texts = st.text(max_size=200) | st.sampled_from(["x" * 3000, "\0" * 700, '"\\' * 400, "\U0001f600" * 300])
dints = st.integers(0, DINT) | st.sampled_from([0, DINT])
codes = st.sampled_from([int(code) for code in Code if code]) | st.integers(1000, 9999)
floats = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 1e-9, -1e-9, 1e300])
recipes = st.integers(0, 9999)
boots = st.from_regex(r"[0-9a-f]{4}", fullmatch=True)
whole = st.integers(0, 2**63 - 1)
findings = st.builds(
    Finding, texts, floats, floats, floats, st.sampled_from(["mm", "px"]),
    st.lists(st.tuples(floats, floats), max_size=3).map(tuple),
)  # fmt: skip
checks = st.builds(
    Check, texts, st.sampled_from(CheckOutcome), st.just(0) | codes, texts, st.none() | floats, texts,
    st.none() | floats, st.none() | floats, st.none() | floats, st.none() | floats, texts,
    st.lists(findings, max_size=2).map(tuple), took_us=dints,
)  # fmt: skip
frames = st.builds(
    FrameRef, texts, whole, st.just("ring"), st.just(0), st.just(0), st.integers(1, 65536), st.integers(1, 65536),
    st.just("Mono8"), floats, floats, whole, whole, whole,
)  # fmt: skip


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    seq = draw(st.integers(1, DINT) | st.just(DINT))
    one = part(seq, draw(ids), draw(ids))
    source = draw(st.sampled_from(["wire", "mqtt", "timer", "operator"]))
    trigger: Trigger = replace(one.trigger, source=source, received_ns=0)
    one = replace(
        one, trigger=trigger, boot=draw(boots), recipe=draw(recipes), rev=draw(dints), attempt=draw(dints) or 1,
        recipe_name=draw(texts), deadline_ns=draw(st.integers(0, DINT)) * 1_000_000, sim=draw(st.booleans()),
    )  # fmt: skip
    outcome = draw(st.sampled_from(Outcome))
    found = tuple(draw(st.lists(checks, max_size=3)))
    if outcome is Outcome.PASS:
        found = passed().checks + tuple(check for check in found if check.outcome is CheckOutcome.PASS)
    return Verdict(
        one, outcome, 0 if outcome is Outcome.PASS else draw(codes), draw(texts), draw(texts),
        draw(floats), draw(floats), found, tuple(draw(st.lists(frames, max_size=2))),
        {draw(texts): "3f9a"}, {draw(texts): draw(dints)},
        draw(st.sampled_from(["", TS])),
    )  # fmt: skip


def fits(topic: str, payload: bytes) -> None:
    assert complaint(topic, payload) == ""


@settings(max_examples=60, deadline=None)
@given(verdicts(), dints, st.booleans())
def test_every_verdict_can_be_told(verdict: Verdict, t_ms: int, yes: bool) -> None:
    fits("result", contract.result_payload(verdict, t_ms=t_ms, dup=yes))
    fits("record", contract.record_payload(verdict, t_ms=t_ms, late=yes, image=verdict.text))
    fits("ack", contract.ack_payload("get", verdict.part.trigger.cmd_id, "done", stored=verdict, rev=DINT))


states = st.builds(
    StationState, st.sampled_from(PackState).filter(bool), st.booleans(), st.booleans(), recipes, dints, boots, dints,
    dints, dints, codes | st.just(0), texts, st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(states)
def test_every_state_can_be_told(state: StationState) -> None:
    if state.ready:
        state = replace(state, state=PackState.EXECUTE, code=0)
    fits("state", contract.state_payload(state))
    payload = contract.heartbeat_payload(state.uptime_s, ready=state.ready, state=state.state, seq=state.seq)
    fits("hb", payload)


@settings(max_examples=60, deadline=None)
@given(texts, ids, st.sampled_from(["accepted", "done", "refused"]), codes, texts, dints, recipes, boots)
def test_every_answer_event_and_total_can_be_told(
    cmd: str, cmd_id: str, phase: Any, code: int, text: str, count: int, recipe: int, boot: str
) -> None:
    with pytest.raises(CommandError) as error:  # the topic may be any text; the parser makes it fit to be shown
        parse_command(cmd, b"", False)
    code = code if phase == "refused" else 0
    for name in (error.value.cmd, "reset_counters"):
        payload = contract.ack_payload(name, cmd_id, phase, code=code, text=text, seq=count, recipe=recipe, rev=count)
        fits("ack", payload)
    for level in ("info", "warn", "alarm"):
        fits("event", contract.event_payload(level, code, text))  # type: ignore[arg-type]
    totals = dict.fromkeys(("total", "pass", "fail", "not_inspected", "late", "golden"), count)
    fits("counters", contract.counters_payload(totals, boot=boot))
    payload = contract.info_payload(version=text, serial=text[:64], station="top", recipes=range(recipe), boot=boot)
    fits("info", payload)


def test_the_states_numbers_are_packmls() -> None:
    limits = schema("state")["$defs"]["state"]["properties"]["state_nr"]
    assert {int(state) for state in PackState if state} == set(range(limits["minimum"], limits["maximum"] + 1))


# --- commands: the schema and the parser take the same -----------------------------------------------
def values(found: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that this property of a command allows."""
    if "enum" in found:
        return st.sampled_from(found["enum"])
    if found.get("type") == "integer":
        low, high = found["minimum"], found["maximum"]
        return st.integers(low, high) | st.sampled_from([low, high])
    if found.get("type") == "string" and found["pattern"] == r"^1(\.|$)":
        return st.just("1") | st.text(max_size=20).map(lambda text: f"1.{text}")
    if found.get("type") == "string":
        return st.from_regex(found["pattern"].replace("$", r"\Z")).filter(lambda text: len(text) <= found["maxLength"])
    return anything


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def commands(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Everything that this command's schema allows, with fields of later versions."""
    found = schema(name)
    one = {key: values(body) for key, body in found["properties"].items()}
    need = {key: one[key] for key in found["required"]}
    may = {key: one[key] for key in one if key not in need}
    more = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in one), anything, max_size=2)
    return st.builds(lambda own, other: {**other, **own}, st.fixed_dictionaries(need, optional=may), more)


padding = st.text("\0 \t\r\n", max_size=20).map(str.encode)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_parser_takes_what_the_schema_allows(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(commands(name), padding)
    def prove(members: dict[str, Any], behind: bytes) -> None:
        assert not refused(name, members)
        parsed = parse_command(name.removeprefix("cmd/"), json.dumps(members).encode() + behind, False)
        for key in schema(name)["properties"].keys() - {"schema", "ts"}:
            left_out = "" if key == "cmd_id" else None
            assert getattr(parsed, key) == members.get(key, left_out)

    prove()


def verdict_of_both(name: str, members: dict[str, Any], key: str) -> bool:
    """True when the command is refused, by the schema and by the parser, whose one error names the field."""
    command = name.removeprefix("cmd/")
    wrong = refused(name, members)
    try:
        parse_command(command, json.dumps(members).encode(), False)
    except CommandError as error:
        assert wrong, f"the schema allows what the parser refuses: {error.text}"
        assert error.code == Code.BAD_COMMAND
        assert error.text.startswith(f"{command}: {key}: "), "the field is named"
        assert error.text.isascii() and "\n" not in error.text and len(error.text) < 260
        fits("ack", contract.ack_payload(error.cmd, error.cmd_id, "refused", code=error.code, text=error.text))
    else:
        assert not wrong, f"the parser takes what the schema refuses: {key} {members.get(key)!r}"
    return wrong


FIELDS = [(name, key) for name in COMMANDS for key in schema(name)["properties"]]
MISSING = object()


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_the_parser_refuses_what_the_schema_refuses(name: str, key: str) -> None:
    body = schema(name)["properties"][key]
    edges = [body["minimum"] - 1, body["maximum"] + 1, float(body["minimum"])] if "minimum" in body else []
    texts = ["", "7", "1\n", "2.0", "x" * 33, "P\n", 'a"', "a\\", "\x7f", "\u00fc"]
    others = [*texts, MISSING, None, True, [], {}, 1.5, 10**20, -1]
    good = read(SENT[name]) | {"ts": 0}
    count = 0
    for value in [*edges, *others]:
        members = {k: v for k, v in good.items() if k != key} | ({} if value is MISSING else {key: value})
        count += verdict_of_both(name, members, key)
    assert count >= 8 or key == "ts"

    @settings(max_examples=40, deadline=None)
    @given(commands(name), st.integers(-5, 5) | st.integers() | st.floats(-9.0, 9.0) | st.text(max_size=40) | anything)
    def prove(members: dict[str, Any], value: Any) -> None:
        verdict_of_both(name, {**members, key: value}, key)

    prove()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_schema_cannot_say_the_parser_refuses(name: str) -> None:
    command = name.removeprefix("cmd/")
    good = SENT[name]
    twice = good.replace(b'"schema":"1.0"', b'"schema":"1.0","schema":"1.0"')
    endless = good[:-1] + b',"x":' + str(math.inf).replace("inf", "Infinity").encode() + b"}"
    long = good[:-1] + b',"x":"' + b"x" * schema(name)["x-max-bytes"] + b'"}'
    for payload in (twice, endless, long, good + good, b"[" + good + b"]"):
        with pytest.raises(CommandError) as error:
            parse_command(command, payload, False)
        assert error.value.code == Code.BAD_COMMAND
