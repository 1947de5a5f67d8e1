"""Sparkplug B payloads, read by this tool's own code: protobuf's wire format for the fields that a host needs.

Field numbers are those of the specification's sparkplug_b.proto. What is not known is skipped, as protobuf asks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # Int8 to Int64 by datatype


class Malformed(Exception):
    """The bytes are no payload; says where."""


@dataclass
class Metric:
    """One value. ``value`` None: null, or of a kind that is not read here."""

    name: str = ""
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int = 0
    historical: bool = False
    null: bool = False
    value: Any = None


@dataclass
class Payload:
    """``seq`` None: an NDEATH has none."""

    timestamp_ms: int | None = None
    seq: int | None = None
    metrics: list[Metric] = field(default_factory=list)


def read(data: bytes) -> Payload:
    """Raises :class:`Malformed`."""
    payload = Payload()
    for number, value in _fields(data):
        if number == 1:
            payload.timestamp_ms = _whole(value)
        elif number == 2:
            payload.metrics.append(_metric(_bytes(value)))
        elif number == 3:
            payload.seq = _whole(value)
    return payload


def rebirth(timestamp_ms: int) -> bytes:
    """An NCMD that asks a node to say its births again."""
    name = b"Node Control/Rebirth"
    metric = b"\x0a" + _varint(len(name)) + name + b"\x20\x0b" + b"\x70\x01"  # name, datatype Boolean, true
    return b"\x08" + _varint(timestamp_ms) + b"\x12" + _varint(len(metric)) + metric


def _metric(data: bytes) -> Metric:
    metric = Metric()
    raw: tuple[int, Any] | None = None
    for number, value in _fields(data):
        if number == 1:
            metric.name = _text(value)
        elif number == 2:
            metric.alias = _whole(value)
        elif number == 3:
            metric.timestamp_ms = _whole(value)
        elif number == 4:
            metric.datatype = _whole(value)
        elif number == 5:
            metric.historical = bool(_whole(value))
        elif number == 7:
            metric.null = bool(_whole(value))
        elif 10 <= number <= 16:
            raw = (number, value)
    if raw is not None and not metric.null:
        metric.value = _value(metric.datatype, *raw)
    return metric


def _value(datatype: int, number: int, value: Any) -> Any:
    if number in (10, 11):  # int_value, long_value
        whole = _whole(value)
        bits = SIGNED_BITS.get(datatype)
        if bits is None:
            return whole
        whole &= (1 << bits) - 1
        return whole - (1 << bits) if whole >> bits - 1 else whole
    if number in (12, 13):
        kind = "<f" if number == 12 else "<d"
        if not isinstance(value, bytes) or len(value) != struct.calcsize(kind):
            raise Malformed("a float of another length")
        return struct.unpack(kind, value)[0]
    if number == 14:
        return bool(_whole(value))
    return _text(value) if number == 15 else _bytes(value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _read_varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise Malformed(f"wire type {wire} at byte {at}")
        if at + length > len(data):
            raise Malformed(f"{length} bytes at byte {at} of {len(data)}")
        yield number, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("it ends within a number")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value & (1 << 64) - 1, at
    raise Malformed(f"a number without an end at byte {at}")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise Malformed("bytes where a number belongs")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed("a number where bytes belong")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("text that is no UTF-8") from None
