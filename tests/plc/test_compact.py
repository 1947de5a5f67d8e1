"""The twins byte by byte: what is sent, what the page says, what a decoder reads that knows only the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inspector.config import CompactConfig, load_station
from inspector.parts import Outcome, Verdict
from inspector.plc import compact, contract
from inspector.plc.contract import (
    AckCommand,
    Command,
    CommandError,
    RecipeCommand,
    StartCommand,
    StopCommand,
    TriggerCommand,
)
from inspector.yamlfile import FileError
from tests.plc.examples import PAGE, failed, not_inspected, passed

GOLDEN = Path(__file__).parent / "golden"
TEXT = PAGE.read_text(encoding="utf-8")


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.bin").read_bytes()


def changed(verdict: Verdict, **part_changes: Any) -> Verdict:
    return replace(verdict, part=replace(verdict.part, **part_changes))


def named(verdict: Verdict, part_id: str) -> Verdict:
    return changed(verdict, trigger=replace(verdict.part.trigger, part_id=part_id))


# name: verdict, t_ms, dup, warn
CASES: dict[str, tuple[Verdict, int, bool, bool]] = {
    "pass": (passed(), 48, False, False),
    "fail": (failed(), 52, False, False),
    "not_inspected": (not_inspected(), 300, False, False),
    "dup": (passed(), 48, True, False),
    "attempt": (changed(passed(), attempt=2), 48, False, False),
    "all_flags": (changed(passed(), attempt=7, sim=True), 48, True, True),
    "over": (replace(failed(), code=12345, checks=()), 250_000, False, False),
    "highest": (
        named(changed(replace(failed(), code=9999, checks=()), seq=2_147_483_647), "0123456789ABCDEF"),
        99_998, False, False,
    ),
    "no_id": (named(replace(not_inspected(), code=201), ""), 300, False, False),
}  # fmt: skip


def text_of(name: str, id_width: int = 16, nul_end: bool = False) -> bytes:
    verdict, t_ms, dup, warn = CASES[name]
    return compact.result_text(verdict, t_ms=t_ms, dup=dup, warn=warn, id_width=id_width, nul_end=nul_end)


def binary_of(name: str) -> bytes:
    verdict, t_ms, dup, warn = CASES[name]
    return compact.result_binary(verdict, t_ms=t_ms, dup=dup, warn=warn)


# --- a PLC's decoder: it knows the tables of the page and nothing of the station's code ------------------
def rows(topic: str) -> list[list[str]]:
    table = re.search(rf"<!-- offsets: {topic} -->\n\|.*\n\|[-|]*\n((?:\|.*\n)+)", TEXT)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def crc_by_the_bit(data: bytes) -> int:
    value = 0xFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = value >> 15 ^ byte >> bit & 1
            value = (value << 1 & 0xFFFF) ^ (0x1021 if top else 0)
    return value


def decode_text(payload: bytes, id_width: int = 16) -> dict[str, Any] | None:
    """None: not to be used."""
    column = {16: 1, 24: 2, 32: 3}[id_width]
    found: dict[str, Any] = {}
    end = 0
    for row in rows("result/c"):
        length = id_width if row[0] == "part_id" else int(row[4])
        start = int(row[column])
        if start != (end + 1 if end else 0) or (end and payload[end : end + 1] != b";"):
            return None
        end = start + length
        found[row[0]] = payload[start:end].decode("ascii")
    if len(payload) != end or found["verdict"] not in "PFN":
        return None
    numbers = {"seq": 10, "code": 10, "t_ms": 10, "flags": 16}
    return found | {name: int(found[name], base) for name, base in numbers.items()}


def decode_binary(payload: bytes) -> dict[str, int] | None:
    found = {}
    end = 0
    for row in rows("result/b"):
        assert int(row[1]) == end
        end += int(row[2])
        found[row[0]] = int.from_bytes(payload[int(row[1]) : end], "big")
    if len(payload) != end or found["verdict"] not in (1, 2, 3) or found["crc16"] != crc_by_the_bit(payload[:10]):
        return None
    return found


# --- layouts --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_the_layouts_are_the_golden_ones(name: str) -> None:
    assert text_of(name) == golden(f"{name}.c")
    assert binary_of(name) == golden(f"{name}.b")
    assert (len(golden(f"{name}.c")), len(golden(f"{name}.b"))) == (45, 12)


def test_wider_ids_and_a_nul() -> None:
    assert text_of("pass", 24) == golden("pass_24.c") and len(golden("pass_24.c")) == 53
    assert text_of("pass", 32) == golden("pass_32.c") and len(golden("pass_32.c")) == 61
    assert text_of("pass", nul_end=True) == golden("pass_nul.c") == golden("pass.c") + b"\0"


def test_every_golden_file_is_looked_at() -> None:
    wanted = {f"{name}.{twin}.bin" for name in CASES for twin in "cb"}
    wanted |= {f"{name}.c.bin" for name in ("pass_24", "pass_32", "pass_nul", "unfit")}
    assert {file.name for file in GOLDEN.iterdir()} == wanted


def test_the_contracts_own_example() -> None:
    verdict = replace(failed(), code=1101, checks=())
    made = compact.result_text(verdict, t_ms=84, dup=False, warn=False, id_width=16)
    assert made == b"0000004711;A004711         ;F;1101;00084;0000"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("id_width", [16, 24, 32])
def test_a_decoder_made_from_the_page_reads_the_verdict(name: str, id_width: int) -> None:
    verdict, t_ms, dup, warn = CASES[name]
    text, binary = decode_text(text_of(name, id_width), id_width), decode_binary(binary_of(name))
    assert text is not None and binary is not None
    sent = verdict.part
    flags = sent.sim * 1 + dup * 2 + warn * 4 + (sent.attempt > 1) * 8
    code = min(verdict.code, 9999)
    assert text == {
        "seq": sent.seq, "part_id": sent.trigger.part_id.ljust(id_width), "verdict": verdict.outcome.value[0],
        "code": code, "t_ms": min(t_ms, 99_999), "flags": flags,
    }  # fmt: skip
    del binary["crc16"]
    number = {"PASS": 1, "FAIL": 2, "NOT_INSPECTED": 3}[verdict.outcome.value]
    assert binary == {
        "seq": sent.seq, "verdict": number, "code": code, "t_ms": min(t_ms, 65_535), "flags": flags,
    }  # fmt: skip


def test_the_check_value_of_the_crc() -> None:
    assert compact.crc16(b"123456789") == crc_by_the_bit(b"123456789") == 0x29B1
    assert "16#29B1" in TEXT


def test_every_changed_bit_is_seen_by_the_crc() -> None:
    whole = golden("pass.b")
    for bit in range(12 * 8):
        broken = (int.from_bytes(whole, "big") ^ 1 << bit).to_bytes(12, "big")
        assert decode_binary(broken) is None, bit
    assert decode_binary(bytes(12)) is None, "a cleared receive buffer is no verdict"
    assert decode_binary(b"\xff" * 12) is None


ids = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=32)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([passed(), failed(), not_inspected()]), ids, st.integers(1, 2**31 - 1),
    st.integers(-(10**6), 10**9), st.integers(1, 10**9), st.sampled_from([16, 24, 32]), st.booleans(),
)  # fmt: skip
def test_a_pass_is_told_only_of_a_pass_and_only_with_its_whole_id(
    verdict: Verdict, part_id: str, seq: int, t_ms: int, code: int, id_width: int, flag: bool
) -> None:
    if verdict.outcome is not Outcome.PASS:
        verdict = replace(verdict, code=code, checks=())
    verdict = named(changed(verdict, seq=seq), part_id)
    payload = compact.result_text(verdict, t_ms=t_ms, dup=flag, warn=flag, id_width=id_width)
    text = decode_text(payload, id_width)
    assert text is not None and text["seq"] == seq
    fits = len(part_id) <= id_width and not part_id.endswith(" ") and ";" not in part_id
    assert text["part_id"].rstrip(" ") == (part_id if fits else "")
    assert (text["verdict"] == "P") == (verdict.outcome is Outcome.PASS and fits)
    assert (text["code"] == 0) == (text["verdict"] == "P")
    assert 0 <= text["t_ms"] <= 99_999
    binary = decode_binary(compact.result_binary(verdict, t_ms=t_ms, dup=flag, warn=flag))
    assert binary is not None and (binary["verdict"] == 1) == (verdict.outcome is Outcome.PASS)


@pytest.mark.parametrize("part_id", ["A" * 17, "A;B", "A ", " "])
def test_an_id_that_does_not_fit_is_never_cut(part_id: str) -> None:
    unfit = named(passed(), part_id)
    assert compact.result_text(unfit, t_ms=48, dup=False, warn=False, id_width=16) == golden("unfit.c")
    assert compact.id_complaint(part_id, 16)


def test_a_seq_that_is_none_is_not_sent() -> None:
    for seq in (0, -1, 2**31):
        with pytest.raises(ValueError, match=f"seq: found {seq}"):
            compact.result_binary(changed(passed(), seq=seq), t_ms=1, dup=False, warn=False)


def test_the_heartbeat_goes_round() -> None:
    assert [compact.heartbeat_byte(n) for n in (1, 255, 256, 257)] == [b"\x01", b"\xff", b"\x00", b"\x01"]


# --- the page ---------------------------------------------------------------------------------------------
def test_the_page_shows_the_golden_bytes() -> None:
    shown = re.findall(r"<!-- bytes: (.+?) -->\n```text\n(.*?)\n```", TEXT, flags=re.S)
    assert len(shown) == 2
    for names, block in shown:
        wanted = [golden(name) for name in names.split()]
        lines = block.split("\n")
        got = [bytes.fromhex(line) if names.endswith(".b") else line.encode() for line in lines]
        assert got == wanted


def test_the_pages_commands_are_understood() -> None:
    block = re.search(r"<!-- commands: cmd/c -->\n```text\n(.*?)\n```", TEXT, flags=re.S)
    assert block is not None
    assert [compact.parse_text(line.encode(), False) for line in block[1].split("\n")] == [
        TriggerCommand("plc1-000815", "A004711"), RecipeCommand("plc1-000816", 8), AckCommand("", 4711),
        StartCommand(""), StopCommand(""),
    ]  # fmt: skip


# --- commands ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"T;c-1;P1", TriggerCommand("c-1", "P1")),
        (b"T;c-1;P 1   \0\0\0", TriggerCommand("c-1", "P 1")),
        (b"T;" + b"c" * 32 + b";" + b"P" * 32, TriggerCommand("c" * 32, "P" * 32)),
        (b"R;c-1;7\r\n", RecipeCommand("c-1", 7)),
        (b"R;c-1;0007", RecipeCommand("c-1", 7)),
        (b"A;2147483647", AckCommand("", 2**31 - 1)),
        (b"S" + b"\0" * 253, StartCommand("")),
        (b"P", StopCommand("")),
    ],
)
def test_commands(payload: bytes, wanted: Command) -> None:
    assert compact.parse_text(payload, False) == wanted


@pytest.mark.parametrize(
    ("payload", "cmd", "ids", "words"),
    [
        (b"", "c", ("", ""), 'found "", allowed: T;<cmd_id>;<part_id>, R;<cmd_id>;<recipe>, A;<seq>, S, P'),
        (b"X;1", "c", ("", ""), 'found "X;1"'),
        (b"t;c-1;P1", "c", ("", ""), 'found "t;c-1;P1"'),
        (b"PASS", "c", ("", ""), 'found "PASS"'),
        (b'{"schema":"1.0"}', "c", ("", ""), "allowed: T;"),
        (b"T", "trigger", ("", ""), "found 1 fields"),
        (b"T;c-1", "trigger", ("c-1", ""), "found 2 fields"),
        (b"T;c-1;P1;x", "trigger", ("c-1", "P1"), "found 4 fields"),
        (b"T;c-1;", "trigger", ("c-1", ""), "part_id: found \"\": empty"),
        (b"T;;P1", "trigger", ("", "P1"), "cmd_id: found \"\": empty"),
        (b"T;c-1;" + b"P" * 33, "trigger", ("c-1", ""), "33 characters, allowed: 1 to 32"),
        (b"T;c-1;P1\0old", "trigger", ("c-1", ""), "printable ASCII"),
        (b"T;c-1;P\xfc", "trigger", ("c-1", ""), "not ASCII text (byte 7)"),
        (b"T;" + b"x" * 5000, "trigger", ("", ""), "longer than 4096 bytes"),
        (b"x" * 5000, "c", ("", ""), "longer than 4096 bytes"),
        (b"R;c-1;0", "recipe", ("c-1", ""), 'recipe: found "0", allowed: a whole number 1..9999'),
        (b"R;c-1;+7", "recipe", ("c-1", ""), "recipe: found"),
        (b"R;c-1;1_0", "recipe", ("c-1", ""), "recipe: found"),
        (b"R;c-1;" + b"9" * 3000, "recipe", ("c-1", ""), "recipe: found"),
        (b"A;0", "ack", ("", ""), "seq: found"),
        (b"A;2147483648", "ack", ("", ""), "seq: found"),
        (b"A; 1", "ack", ("", ""), "seq: found"),
        (b"S;1", "start", ("", ""), 'found 2 fields in "S;1", allowed: S'),
    ],
)  # fmt: skip
def test_bad_commands_are_one_clear_error(payload: bytes, cmd: str, ids: tuple[str, str], words: str) -> None:
    with pytest.raises(CommandError) as error:
        compact.parse_text(payload, False)
    caught = error.value
    assert (caught.code, caught.cmd, (caught.cmd_id, caught.part_id)) == (400, cmd, ids)
    assert words in caught.text and len(caught.text) < 260 and caught.text.isascii() and "\n" not in caught.text


@pytest.mark.parametrize("payload", [b"T;c-1;P1", b"S", b"", b"nonsense"])
def test_a_retained_command_is_refused_with_401(payload: bytes) -> None:
    with pytest.raises(CommandError) as error:
        compact.parse_text(payload, True)
    assert error.value.code == 401


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text("TRASP;0123456789 \0", max_size=40).map(str.encode), st.booleans())
def test_no_payload_does_more_than_a_command_error(payload: bytes, retained: bool) -> None:
    try:
        command = compact.parse_text(payload, retained)
    except CommandError as error:
        assert error.code in (400, 401) and error.text.isascii()
        contract.ack_payload(error.cmd, error.cmd_id, "refused", code=error.code, text=error.text)
    else:
        assert not retained
        assert (
            payload[:1].decode() == {"trigger": "T", "recipe": "R", "ack": "A", "start": "S", "stop": "P"}[command.name]
        )


# --- configuration ----------------------------------------------------------------------------------------
def test_all_of_it_is_off_by_default() -> None:
    config = CompactConfig()
    assert not any((config.result_c, config.result_b, config.cmd_c, config.hb_c, config.nul_end))
    assert config.id_max == 32
    assert CompactConfig(result_b=True).id_max == 32, "the binary twin has no id that could be too long"
    assert CompactConfig(result_c=True).id_max == 16
    assert CompactConfig(result_c=True, id_width=24).id_max == 24


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"result_c": True, "id_width": 20}, "16, 24 or 32"),
        ({"result_c": True, "width": 16}, "width"),
        ({"result_c": "perhaps"}, "boolean"),
        ({"id_width": 24}, "need `result_c: true`"),
        ({"result_b": True, "nul_end": True}, "need `result_c: true`"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_read(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        CompactConfig.model_validate(settings)


def test_info_says_how_long_an_id_may_be() -> None:
    info = contract.info_payload(
        version="0", serial="s", station="top", recipes=[1], boot="3fa9", id_max=CompactConfig(result_c=True).id_max
    )
    assert b'"id_max":16,' in info


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("id_width: 16", "id_width: 20", "5: plc.compact.id_width: found 20, allowed: 16, 24 or 32"),
        ("result_c: true", "result_d: true", "5: plc.compact.result_d: unknown key"),
        ("result_c: true", "result_b: true", "5: plc.compact: found keys and values: `id_width` and `nul_end` need"),
        ("hb_c: true", "hb_c: 2", "5: plc.compact.hb_c: found 2, allowed: boolean"),
        ("station: top", "station: topmost12", "2: station: found 'topmost12', 14 characters with `line`"),
    ],
)
def test_a_station_file_is_refused_with_its_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "top.yaml").write_text("features: {Width: 640}\n")
    text = (
        "line: line1\nstation: top\nname: Top\nplc:\n"
        "  compact: {result_c: true, id_width: 16, hb_c: true}\n"
        'cameras: {top: {serial: "1", features: top.yaml}}\nrecipes: recipes\nrecipe: 1\n'
    )
    file = tmp_path / "station.yaml"
    file.write_text(text)
    assert load_station(file).plc.compact == CompactConfig(result_c=True, id_width=16, hb_c=True)
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(FileError) as error:
        load_station(file)
    assert any(problem.startswith(f"{file}:{says}") for problem in error.value.problems), error.value.problems
