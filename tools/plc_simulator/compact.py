"""The twins for a PLC without a JSON parser, read by their offsets as docs/plc.md gives them.

A PLC of that kind has a receive buffer of a fixed size and string functions, so no more is used here.
"""

from __future__ import annotations

from dataclasses import dataclass

BUFFER_BYTES = 100
WIDTHS = {45: 16, 53: 24, 61: 32}  # bytes of a message: characters of part_id in it
DUP = 2
VERDICTS = {"P": "PASS", "F": "FAIL", "N": "NOT_INSPECTED", 1: "PASS", 2: "FAIL", 3: "NOT_INSPECTED"}


class Unreadable(Exception):
    """The bytes are no twin of a verdict; says why."""


@dataclass(frozen=True)
class Twin:
    """A verdict as it came. ``part_id`` has its blanks; None in ``result/b``, which has none."""

    seq: int
    part_id: str | None
    verdict: str
    code: int
    t_ms: int
    flags: int


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, bit by bit as a PLC does it."""
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xFFFF
    return value


def read_text(payload: bytes) -> Twin:
    """``result/c``. Raises :class:`Unreadable`."""
    if len(payload) > BUFFER_BYTES:
        raise Unreadable(f"{len(payload)} bytes for a buffer of {BUFFER_BYTES}")
    if payload.endswith(b"\0"):
        payload = payload[:-1]
    width = WIDTHS.get(len(payload))
    if width is None:
        raise Unreadable(f"{len(payload)} bytes, allowed 45, 53 or 61")
    text = payload.decode("ascii", "replace")
    after = 11 + width  # where the part_id ends
    ends = (10, after, after + 2, after + 7, after + 13)
    if any(text[place] != ";" for place in ends):
        raise Unreadable(f"no semicolon where one belongs: {text!r}")
    seq, part_id, letter = text[:10], text[11:after], text[after + 1]
    code, t_ms, flags = text[after + 3 : after + 7], text[after + 8 : after + 13], text[after + 14 : after + 18]
    if not all(field.isascii() and field.isdigit() for field in (seq, code, t_ms)):
        raise Unreadable(f"no digits where digits belong: {text!r}")
    if any(digit not in "0123456789ABCDEF" for digit in flags):
        raise Unreadable(f"flags {flags!r}")
    return Twin(int(seq), part_id, VERDICTS.get(letter, letter), int(code), int(t_ms), int(flags, 16))


def read_binary(payload: bytes) -> Twin:
    """``result/b``. Raises :class:`Unreadable`."""
    if len(payload) != 12:
        raise Unreadable(f"{len(payload)} bytes, allowed 12")
    word = [payload[i] << 8 | payload[i + 1] for i in range(0, 12, 2)]
    if word[5] != crc16(payload[:10]):
        raise Unreadable(f"crc {word[5]:04X}, expected {crc16(payload[:10]):04X}")
    verdict = VERDICTS.get(payload[0], str(payload[0]))
    return Twin(word[2] << 16 | word[3], None, verdict, word[1], word[4], payload[1])
