"""The Sparkplug B payload in bytes: protobuf's wire format for the few fields that a station needs.

Written by hand because the two protobuf dependencies that other stacks bring are pinned against each other, and the
schema's generated code has a licence of its own. Fields are written in ascending order, as protobuf does. Data sets,
templates, properties and metadata are skipped when they are read and can't be written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

PAYLOAD_LIMIT_BYTES = 65_536
METRICS_MAX = 1_000
Value = bool | int | float | str | bytes

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE_NAMES = {0: "varint", 1: "64-bit", 2: "length-delimited", 5: "32-bit"}

# field numbers of sparkplug_b.proto
_TIMESTAMP, _METRICS, _SEQ, _UUID, _BODY = 1, 2, 3, 4, 5
_NAME, _ALIAS, _METRIC_TIMESTAMP, _DATATYPE, _IS_HISTORICAL, _IS_TRANSIENT, _IS_NULL = 1, 2, 3, 4, 5, 6, 7
_INT, _LONG, _FLOAT, _DOUBLE, _BOOLEAN, _STRING, _BYTES_VALUE = 10, 11, 12, 13, 14, 15, 16

_PAYLOAD_WIRE = {_TIMESTAMP: _VARINT, _METRICS: _BYTES, _SEQ: _VARINT, _UUID: _BYTES, _BODY: _BYTES}
_METRIC_WIRE = {
    _NAME: _BYTES, _ALIAS: _VARINT, _METRIC_TIMESTAMP: _VARINT, _DATATYPE: _VARINT, _IS_HISTORICAL: _VARINT,
    _IS_TRANSIENT: _VARINT, _IS_NULL: _VARINT, _INT: _VARINT, _LONG: _VARINT, _FLOAT: _FIXED32, _DOUBLE: _FIXED64,
    _BOOLEAN: _VARINT, _STRING: _BYTES, _BYTES_VALUE: _BYTES,
}  # fmt: skip
_VALUE_NAMES = {
    _INT: "int_value", _LONG: "long_value", _FLOAT: "float_value", _DOUBLE: "double_value",
    _BOOLEAN: "boolean_value", _STRING: "string_value", _BYTES_VALUE: "bytes_value",
}  # fmt: skip


class DataType(IntEnum):
    """Sparkplug's numbers for the types of one value."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17
    FILE = 18


# bits, signed: how an integer lies in int_value or long_value
_INTEGERS = {
    DataType.INT8: (8, True), DataType.INT16: (16, True), DataType.INT32: (32, True), DataType.INT64: (64, True),
    DataType.UINT8: (8, False), DataType.UINT16: (16, False), DataType.UINT32: (32, False),
    DataType.UINT64: (64, False), DataType.DATETIME: (64, False),
}  # fmt: skip
_TEXTS = (DataType.STRING, DataType.TEXT, DataType.UUID)
_BLOBS = (DataType.BYTES, DataType.FILE)
_FIELDS_OF: dict[int, tuple[int, ...]] = {
    **{number: (_INT, _LONG) for number in _INTEGERS},
    DataType.FLOAT: (_FLOAT, _DOUBLE),
    DataType.DOUBLE: (_FLOAT, _DOUBLE),
    DataType.BOOLEAN: (_BOOLEAN,),
    **{number: (_STRING,) for number in _TEXTS},
    **{number: (_BYTES_VALUE,) for number in _BLOBS},
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One value. ``value`` None: null when ``is_null``, otherwise there is none, or one of a kind not read here.

    ``datatype`` None or a number that :class:`DataType` doesn't have: integers are as they lie on the wire, unsigned.
    """

    name: str | None = None
    value: Value | None = None
    datatype: int | None = None
    alias: int | None = None
    timestamp_ms: int | None = None  # UTC since 1970
    is_historical: bool = False
    is_transient: bool = False
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """One Sparkplug message's content. None: the field is absent."""

    timestamp_ms: int | None = None  # UTC since 1970
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None
    uuid: str | None = None
    body: bytes | None = None


def encode(payload: Payload) -> bytes:
    """The payload's bytes. Raises ValueError naming the metric and what is allowed."""
    if len(payload.metrics) > METRICS_MAX:
        raise ValueError(f"metrics: found {len(payload.metrics)}, allowed: {METRICS_MAX}")
    out = bytearray()
    _put_unsigned(out, _TIMESTAMP, payload.timestamp_ms, "timestamp")
    for metric in payload.metrics:
        _put_bytes(out, _METRICS, _metric_bytes(metric))
    _put_unsigned(out, _SEQ, payload.seq, "seq")
    if payload.uuid is not None:
        _put_bytes(out, _UUID, _utf8(payload.uuid, "uuid"))
    if payload.body is not None:
        _put_bytes(out, _BODY, payload.body)
    if len(out) > PAYLOAD_LIMIT_BYTES:
        raise ValueError(f"payload: found {len(out)} bytes, allowed: {PAYLOAD_LIMIT_BYTES}")
    return bytes(out)


def decode(data: bytes) -> Payload:
    """The payload in ``data``; unknown fields are skipped. Raises ValueError saying at which byte and why."""
    if len(data) > PAYLOAD_LIMIT_BYTES:
        raise ValueError(f"payload: found {len(data)} bytes, allowed: {PAYLOAD_LIMIT_BYTES}")
    timestamp_ms = seq = None
    uuid = body = None
    metrics: list[Metric] = []
    reader = _Reader(data, 0, len(data))
    while reader.at < reader.end:
        number = reader.tag(_PAYLOAD_WIRE, "payload")
        if number == _TIMESTAMP:
            timestamp_ms = reader.varint()
        elif number == _METRICS:
            if len(metrics) == METRICS_MAX:
                raise ValueError(f"byte {reader.at}: more than {METRICS_MAX} metrics")
            metrics.append(_metric(reader.inner()))
        elif number == _SEQ:
            seq = reader.varint()
        elif number == _UUID:
            uuid = reader.text("uuid")
        elif number == _BODY:
            body = reader.blob()
    return Payload(timestamp_ms, tuple(metrics), seq, uuid, body)


def _metric(reader: _Reader) -> Metric:
    name = alias = timestamp_ms = datatype = None
    historical = transient = null = False
    field, raw = 0, None
    while reader.at < reader.end:
        number = reader.tag(_METRIC_WIRE, "metric")
        if number == _NAME:
            name = reader.text("name")
        elif number == _ALIAS:
            alias = reader.varint()
        elif number == _METRIC_TIMESTAMP:
            timestamp_ms = reader.varint()
        elif number == _DATATYPE:
            datatype = reader.varint() & _U32
        elif number == _IS_HISTORICAL:
            historical = reader.varint() != 0
        elif number == _IS_TRANSIENT:
            transient = reader.varint() != 0
        elif number == _IS_NULL:
            null = reader.varint() != 0
        elif number:
            field, raw = number, reader.value(number)
    value = None if null or raw is None else _typed(name if name is not None else alias, field, raw, datatype)
    return Metric(name, value, datatype, alias, timestamp_ms, historical, transient, null)


def _typed(who: str | int | None, field: int, raw: Value, datatype: int | None) -> Value:
    """``raw`` as its datatype has it: integers get their sign."""
    if datatype is None or datatype not in _FIELDS_OF:
        return raw
    kind = DataType(datatype)
    if field not in _FIELDS_OF[kind]:
        allowed = " or ".join(_VALUE_NAMES[allowed] for allowed in _FIELDS_OF[kind])
        raise ValueError(f"metric {who!r}: found {_VALUE_NAMES[field]}, allowed for {kind.name}: {allowed}")
    if kind not in _INTEGERS:
        return raw
    bits, signed = _INTEGERS[kind]
    number = int(raw) & ((1 << bits) - 1)
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def _metric_bytes(metric: Metric) -> bytes:
    who = f"metric {metric.name if metric.name is not None else metric.alias!r}"
    out = bytearray()
    if metric.name is not None:
        _put_bytes(out, _NAME, _utf8(metric.name, who))
    _put_unsigned(out, _ALIAS, metric.alias, f"{who}: alias")
    _put_unsigned(out, _METRIC_TIMESTAMP, metric.timestamp_ms, f"{who}: timestamp")
    if metric.datatype is not None:
        if not 0 <= metric.datatype <= _U32:
            raise ValueError(f"{who}: datatype: found {metric.datatype}, allowed: 0..{_U32}")
        _put_varint(out, _DATATYPE, metric.datatype)
    for number, flag in (
        (_IS_HISTORICAL, metric.is_historical), (_IS_TRANSIENT, metric.is_transient), (_IS_NULL, metric.is_null),
    ):  # fmt: skip
        if flag:
            _put_varint(out, number, 1)
    if metric.value is not None:
        if metric.is_null:
            raise ValueError(f"{who}: is null, but has the value {metric.value!r}")
        _put_value(out, who, metric.value, metric.datatype)
    return bytes(out)


def _put_value(out: bytearray, who: str, value: Value, datatype: int | None) -> None:
    kind = DataType(datatype) if datatype in _FIELDS_OF else None
    if kind is None:
        _put_untyped(out, who, value)
    elif kind is DataType.BOOLEAN and isinstance(value, bool):
        _put_varint(out, _BOOLEAN, int(value))
    elif kind in _TEXTS and isinstance(value, str):
        _put_bytes(out, _STRING, _utf8(value, who))
    elif kind in _BLOBS and isinstance(value, bytes):
        _put_bytes(out, _BYTES_VALUE, value)
    elif kind in (DataType.FLOAT, DataType.DOUBLE) and isinstance(value, (int, float)) and not isinstance(value, bool):
        _put_float(out, who, value, kind)
    elif kind in _INTEGERS and isinstance(value, int) and not isinstance(value, bool):
        _put_integer(out, who, value, kind)
    else:
        raise ValueError(f"{who}: found {value!r}, allowed: a value of type {kind.name}")


def _put_float(out: bytearray, who: str, value: float, kind: DataType) -> None:
    field, wire, form = (_FLOAT, _FIXED32, "<f") if kind is DataType.FLOAT else (_DOUBLE, _FIXED64, "<d")
    try:
        packed = struct.pack(form, value)
    except (OverflowError, struct.error):  # the latter for integers
        raise ValueError(f"{who}: found {value!r}, too large for {kind.name}") from None
    _put_tag(out, field, wire)
    out += packed


def _put_integer(out: bytearray, who: str, value: int, kind: DataType) -> None:
    if kind is DataType.UINT32:
        # half of the readers look for it in int_value, the other half in long_value
        raise ValueError(f"{who}: UINT32 is not read alike everywhere, allowed: INT32 or INT64")
    bits, signed = _INTEGERS[kind]
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= value <= high:
        raise ValueError(f"{who}: found {value}, allowed for {kind.name}: {low}..{high}")
    if bits == 64:
        _put_varint(out, _LONG, value & _U64)
    else:
        _put_varint(out, _INT, value & _U32)


def _put_untyped(out: bytearray, who: str, value: Value) -> None:
    """Without a datatype the value's own kind says where it goes."""
    if isinstance(value, bool):
        _put_varint(out, _BOOLEAN, int(value))
    elif isinstance(value, int):
        _put_unsigned(out, _LONG, value, who)
    elif isinstance(value, float):
        _put_float(out, who, value, DataType.DOUBLE)
    elif isinstance(value, str):
        _put_bytes(out, _STRING, _utf8(value, who))
    else:
        _put_bytes(out, _BYTES_VALUE, value)


def _utf8(text: str, who: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{who}: found {text!r}, allowed: text without lone surrogates") from None


def _put_unsigned(out: bytearray, number: int, value: int | None, who: str) -> None:
    if value is not None:
        if not 0 <= value <= _U64:
            raise ValueError(f"{who}: found {value}, allowed: 0..{_U64}")
        _put_varint(out, number, value)


def _put_bytes(out: bytearray, number: int, value: bytes) -> None:
    _put_tag(out, number, _BYTES)
    _append_varint(out, len(value))
    out += value


def _put_varint(out: bytearray, number: int, value: int) -> None:
    _put_tag(out, number, _VARINT)
    _append_varint(out, value)


def _put_tag(out: bytearray, number: int, wire: int) -> None:
    _append_varint(out, number << 3 | wire)


def _append_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class _Reader:
    """Reads ``data[at:end]``; every step goes forward or raises ValueError."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def varint(self) -> int:
        start, value = self.at, 0
        for shift in range(0, 70, 7):
            if self.at == self.end:
                raise ValueError(f"byte {start}: the number is cut off")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _U64
        raise ValueError(f"byte {start}: a number of more than 10 bytes")

    def tag(self, known: dict[int, int], what: str) -> int:
        """The number of the field that comes; 0: an unknown one, which has been skipped."""
        start = self.at
        key = self.varint()
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"byte {start}: {what}: field number {number} can't be")
        if wire not in _WIRE_NAMES:
            raise ValueError(f"byte {start}: {what}: field {number} has wire type {wire}, allowed: 0, 1, 2, 5")
        if number in known:
            if wire != known[number]:
                found, allowed = _WIRE_NAMES[wire], _WIRE_NAMES[known[number]]
                raise ValueError(f"byte {start}: {what}: field {number} is {found}, allowed: {allowed}")
            return number
        if wire == _VARINT:
            self.varint()
        else:
            self._take({_FIXED64: 8, _FIXED32: 4}[wire] if wire != _BYTES else self.varint())
        return 0

    def blob(self) -> bytes:
        length = self.varint()
        start = self._take(length)
        return self.data[start : self.at]

    def text(self, what: str) -> str:
        start = self.at
        try:
            return self.blob().decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"byte {start}: {what} is not UTF-8") from None

    def inner(self) -> _Reader:
        length = self.varint()
        start = self._take(length)
        return _Reader(self.data, start, self.at)

    def value(self, number: int) -> Value:
        """The value field ``number`` as it lies on the wire."""
        if number == _INT:
            return self.varint() & _U32
        if number == _LONG:
            return self.varint()
        if number == _BOOLEAN:
            return self.varint() != 0
        if number == _STRING:
            return self.text("string_value")
        if number == _BYTES_VALUE:
            return self.blob()
        form, size = ("<f", 4) if number == _FLOAT else ("<d", 8)
        number_read: float = struct.unpack_from(form, self.data, self._take(size))[0]
        return number_read

    def _take(self, length: int) -> int:
        """Go ``length`` bytes on; where they begin."""
        start = self.at
        if length > self.end - start:
            raise ValueError(f"byte {start}: {length} bytes announced, {self.end - start} are left")
        self.at += length
        return start
