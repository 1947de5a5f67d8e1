"""Twins of ``result``, ``cmd`` and ``hb`` for a PLC without a JSON parser: fixed offsets, in text or in binary.

Nothing here says more than the JSON topics do. ``docs/plc.md``, "Weak PLCs", has the offsets.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass

from inspector.codes import Code
from inspector.parts import Outcome, Verdict
from inspector.plc.commands import (
    COMMAND_LIMIT_BYTES,
    ID_MAX,
    RECIPE_MAX,
    SEQ_MAX,
    AckCommand,
    Command,
    CommandError,
    RecipeCommand,
    StartCommand,
    StopCommand,
    TriggerCommand,
    bad_text,
    show,
)

CODE_MAX = 9999  # four digits; also stands for a code beyond it
TEXT_T_MS_MAX = 99_999  # five digits; also stands for any time beyond it
BINARY_T_MS_MAX = 65_535
FLAG_SIM, FLAG_DUP, FLAG_WARN, FLAG_ATTEMPT = 1, 2, 4, 8
CRC_INIT = 0xFFFF  # CRC-16/CCITT-FALSE: polynomial 0x1021, nothing reflected, no final XOR; of b"123456789": 0x29B1

_LETTER = {Outcome.PASS: "P", Outcome.FAIL: "F", Outcome.NOT_INSPECTED: "N"}
_NUMBER = {Outcome.PASS: 1, Outcome.FAIL: 2, Outcome.NOT_INSPECTED: 3}
_BINARY = struct.Struct(">BBHIH")  # verdict, flags, code, seq, t_ms; the CRC follows


@dataclass(frozen=True)
class Twins:
    """What goes out beside one ``result``; None: this twin is off."""

    text: bytes | None = None
    binary: bytes | None = None


def id_complaint(part_id: str, id_width: int) -> str:
    """Why ``part_id`` can't stand in ``result/c``, "" when it can. A cut or padded id could be another part's."""
    if len(part_id) > id_width:
        return f"found {len(part_id)} characters, allowed: 1 to {id_width} (`plc.compact.id_width`)"
    if part_id.endswith(" "):
        return "ends in a blank, which `result/c` can't tell from its padding"
    if ";" in part_id:
        return "has a semicolon, which separates the fields of `result/c`"
    return ""


def result_text(verdict: Verdict, *, t_ms: int, dup: bool, warn: bool, id_width: int, nul_end: bool = False) -> bytes:
    """``result/c``: 29 + ``id_width`` ASCII bytes, one more with ``nul_end``.

    A part id that doesn't fit is left blank, and its verdict is then NOT_INSPECTED 400 whatever it was.
    """
    part = verdict.part
    part_id, letter, code = part.trigger.part_id, _LETTER[verdict.outcome], _code(verdict)
    if id_complaint(part_id, id_width):
        part_id, letter, code = "", "N", int(Code.BAD_COMMAND)
    shown_ms = min(max(t_ms, 0), TEXT_T_MS_MAX)
    flags = _flags(verdict, dup=dup, warn=warn)
    text = f"{_seq(verdict):010d};{part_id:<{id_width}};{letter};{code:04d};{shown_ms:05d};{flags:04X}"
    return text.encode("ascii") + (b"\0" if nul_end else b"")


def result_binary(verdict: Verdict, *, t_ms: int, dup: bool, warn: bool) -> bytes:
    """``result/b``: 12 bytes, most significant byte first, as an S7 stores them."""
    body = _BINARY.pack(
        _NUMBER[verdict.outcome],
        _flags(verdict, dup=dup, warn=warn),
        _code(verdict),
        _seq(verdict),
        min(max(t_ms, 0), BINARY_T_MS_MAX),
    )
    return body + struct.pack(">H", crc16(body))


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE."""
    return binascii.crc_hqx(data, CRC_INIT)


def heartbeat_byte(n: int) -> bytes:
    """``hb/c``: the lowest byte of ``n`` in ``hb``, so it goes from 255 to 0."""
    return bytes((n & 0xFF,))


def parse_text(payload: bytes, retained: bool) -> Command:
    """The command on ``cmd/c``; a start, a stop and an ack have no ``cmd_id``.

    Raises :class:`CommandError` 401 for a retained message, 400 for everything else that is wrong with it; its
    ``cmd`` is "trigger" when the message surely wanted to be one.
    """
    fields, complaint = _fields(payload)
    name = _NAMES.get(fields[0], "c")
    cmd_id, part_id = (fields[n] if n < len(fields) and not bad_text(fields[n], ID_MAX) else "" for n in (1, 2))
    cmd_id = cmd_id if name in ("trigger", "recipe") else ""
    part_id = part_id if name == "trigger" else ""
    if retained:
        text = "c: retained commands are refused; send it with retain off"
        raise CommandError(Code.RETAINED_OR_EXPIRED, text, name, cmd_id, part_id)
    try:
        if complaint:
            raise _Bad(complaint)
        if fields[0] not in _BUILDERS:
            raise _Bad(f"found {show(';'.join(fields))}, allowed: {', '.join(form for form, _ in _BUILDERS.values())}")
        form, build = _BUILDERS[fields[0]]
        wanted = form.split(";")
        if len(fields) != len(wanted):
            raise _Bad(f"found {len(fields)} fields in {show(';'.join(fields))}, allowed: {form}")
        return build(fields)
    except _Bad as error:
        raise CommandError(Code.BAD_COMMAND, f"c: {error}", name, cmd_id, part_id) from None


class _Bad(Exception):
    pass


def _fields(payload: bytes) -> tuple[list[str], str]:
    """The fields, as far as they can be read, and what is wrong with the whole."""
    if len(payload) > COMMAND_LIMIT_BYTES:
        # the letter is all that is taken from it
        return [payload[:2].decode("ascii", "replace").split(";")[0]], f"longer than {COMMAND_LIMIT_BYTES} bytes"
    # PLCs send fixed arrays: what stands behind the text is padding
    payload = payload.rstrip(b"\0 \t\r\n")
    try:
        return payload.decode("ascii").split(";"), ""
    except UnicodeDecodeError as error:
        fields = payload.decode("ascii", "replace").split(";")
        return fields, f"payload is not ASCII text (byte {error.start})"


def _id(what: str, text: str) -> str:
    complaint = bad_text(text, ID_MAX)
    if complaint:
        raise _Bad(f"{what}: found {show(text)}: {complaint}")
    return text


def _integer(what: str, text: str, high: int) -> int:
    # 10 digits: a PLC may send the field of `result/c` as it is; int() alone also takes signs, blanks and underlines
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= high):
        raise _Bad(f"{what}: found {show(text)}, allowed: a whole number 1..{high}")
    return int(text)


_NAMES = {"T": "trigger", "R": "recipe", "A": "ack", "S": "start", "P": "stop"}
_BUILDERS: dict[str, tuple[str, Callable[[list[str]], Command]]] = {
    "T": ("T;<cmd_id>;<part_id>", lambda f: TriggerCommand(_id("cmd_id", f[1]), _id("part_id", f[2]))),
    "R": (
        "R;<cmd_id>;<recipe>",
        lambda f: RecipeCommand(_id("cmd_id", f[1]), _integer("recipe", f[2], RECIPE_MAX)),
    ),
    "A": ("A;<seq>", lambda f: AckCommand("", _integer("seq", f[1], SEQ_MAX))),
    "S": ("S", lambda f: StartCommand("")),
    "P": ("P", lambda f: StopCommand("")),
}


def _seq(verdict: Verdict) -> int:
    seq = verdict.part.seq
    if not 1 <= seq <= SEQ_MAX:
        raise ValueError(f"seq: found {seq}, allowed: 1..{SEQ_MAX}")
    return seq


def _code(verdict: Verdict) -> int:
    return verdict.code if 0 <= verdict.code <= CODE_MAX else CODE_MAX


def _flags(verdict: Verdict, *, dup: bool, warn: bool) -> int:
    part = verdict.part
    return (
        (FLAG_SIM if part.sim else 0)
        | (FLAG_DUP if dup else 0)
        | (FLAG_WARN if warn else 0)
        | (FLAG_ATTEMPT if part.attempt > 1 else 0)
    )
