from __future__ import annotations

import math
import struct
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.plc.sparkplug.payload import (
    METRICS_MAX,
    PAYLOAD_LIMIT_BYTES,
    DataType,
    Metric,
    Payload,
    decode,
    encode,
)
from tests.plc.sparkplug import stored

NPM = stored.load("npm.json")
READ = stored.load("ours.json")
U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=40)
BITS = {
    DataType.INT8: (8, True), DataType.INT16: (16, True), DataType.INT32: (32, True), DataType.INT64: (64, True),
    DataType.UINT8: (8, False), DataType.UINT16: (16, False), DataType.UINT64: (64, False),
    DataType.DATETIME: (64, False),
}  # fmt: skip


def same(a: Payload, b: Payload) -> bool:
    """Equal to the type (True is not 1), where NaN equals NaN."""
    return repr(plain(a)) == repr(plain(b))


def plain(payload: Payload) -> Payload:
    return replace(payload, metrics=tuple(
        replace(metric, datatype=None if metric.datatype is None else int(metric.datatype))
        for metric in payload.metrics
    ))  # fmt: skip


def values_of(kind: DataType | None) -> st.SearchStrategy[Any]:
    if kind in BITS:
        bits, signed = BITS[kind]
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)
    return {
        DataType.FLOAT: st.floats(width=32), DataType.DOUBLE: st.floats(), DataType.BOOLEAN: st.booleans(),
        DataType.BYTES: st.binary(max_size=40), DataType.FILE: st.binary(max_size=40),
        None: st.one_of(st.booleans(), U64, st.floats(), TEXT, st.binary(max_size=40)),
    }.get(kind, TEXT)  # fmt: skip


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    kind = draw(st.sampled_from([None, *(kind for kind in DataType if kind is not DataType.UINT32)]))
    null = draw(st.booleans())
    return Metric(
        draw(st.none() | TEXT), None if null else draw(values_of(kind)), kind, draw(st.none() | U64),
        draw(st.none() | U64), draw(st.booleans()), draw(st.booleans()), null,
    )  # fmt: skip


PAYLOADS = st.builds(
    Payload, st.none() | U64, st.lists(metrics(), max_size=6).map(tuple), st.none() | U64, st.none() | TEXT,
    st.none() | st.binary(max_size=40),
)  # fmt: skip


@given(PAYLOADS)
@settings(max_examples=300, deadline=None)
def test_what_was_written_is_read(payload: Payload) -> None:
    assert same(decode(encode(payload)), payload)


@given(PAYLOADS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_cut_payload_is_read_or_refused(payload: Payload, data: st.DataObject) -> None:
    whole = encode(payload)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        read = decode(cut)
    except ValueError:
        return
    # a cut between two fields is a shorter payload: nothing may be in it that was not written
    assert read.metrics == payload.metrics[: len(read.metrics)] or same(
        Payload(metrics=read.metrics), Payload(metrics=payload.metrics[: len(read.metrics)])
    )


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_read_or_refused_with_a_sentence(data: bytes) -> None:
    try:
        payload = decode(data)
    except ValueError as error:
        assert str(error)
        return
    assert isinstance(payload, Payload)


@given(PAYLOADS, st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_is_read_or_refused(payload: Payload, data: st.DataObject) -> None:
    damaged = bytearray(encode(payload) or b"\0")
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decode(bytes(damaged))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("vector", NPM, ids=lambda vector: vector["name"])
def test_what_npm_wrote_is_read(vector: dict[str, Any]) -> None:
    assert same(decode(bytes.fromhex(vector["hex"])), stored.described(vector["payload"]))


@pytest.mark.parametrize(
    "vector",
    [vector for vector in NPM if vector["name"] not in stored.NOT_ENCODED],
    ids=lambda vector: vector["name"],
)
def test_what_is_written_has_the_bytes_of_npm(vector: dict[str, Any]) -> None:
    written = encode(stored.described(vector["payload"]))
    if vector["name"] == "flags told false":
        expected = vector["hex"].replace("28003000", "").replace("1214", "1210")  # absent is false here
    elif vector["name"] == "metadata and properties":
        expected = encode(Payload(
            stored.described(vector["payload"]).timestamp_ms,
            (Metric("m", 9, DataType.INT32, timestamp_ms=1778596310123),), 0,
        )).hex()  # fmt: skip
        assert len(expected) < len(vector["hex"])
    else:
        expected = vector["hex"]
    assert written.hex() == expected


def test_npm_has_read_what_is_written_now() -> None:
    assert {vector["name"]: vector["hex"] for vector in READ} == {
        name: data.hex() for name, data in stored.ours().items()
    }


@pytest.mark.parametrize("vector", READ, ids=lambda vector: vector["name"])
def test_npm_reads_the_same(vector: dict[str, Any]) -> None:
    reads = dict(vector["npm_reads"])
    for metric in reads["metrics"]:
        metric.setdefault("type", "Unknown")
    assert same(stored.described(reads), decode(bytes.fromhex(vector["hex"])))


def field(number: int, wire: int, body: bytes) -> bytes:
    return bytes([number << 3 | wire]) + body


def metric(body: bytes) -> bytes:
    return field(2, 2, bytes([len(body)]) + body)


def test_unknown_fields_are_skipped_whatever_their_wire_type() -> None:
    skipped = field(9, 0, b"\xff\x01") + field(10, 1, bytes(8)) + field(11, 2, b"\x03abc") + field(12, 5, bytes(4))
    extension = b"\x9a\x01\x02hi"  # field 19 of a metric
    data = skipped + metric(extension + field(4, 0, b"\x03") + field(10, 0, b"\x07")) + field(3, 0, b"\x05") + skipped
    assert decode(data) == Payload(metrics=(Metric(value=7, datatype=DataType.INT32),), seq=5)


def test_the_last_of_a_repeated_field_holds() -> None:
    assert decode(field(3, 0, b"\x05") + field(3, 0, b"\x06")).seq == 6
    both = metric(field(10, 0, b"\x07") + field(14, 0, b"\x01"))
    assert decode(both).metrics[0].value is True


def test_integers_are_read_from_both_fields_and_sign_extended() -> None:
    minus_one = b"\xff" * 9 + b"\x01"
    for value_field in (10, 11):
        for kind in (DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64):
            read = decode(metric(field(4, 0, bytes([kind])) + field(value_field, 0, minus_one))).metrics[0].value
            # an Int64 of 32 bits is what a sender put into int_value
            assert read == (2**32 - 1 if (value_field, kind) == (10, DataType.INT64) else -1)
    for value_field in (10, 11):
        read = decode(metric(field(4, 0, bytes([DataType.UINT32])) + field(value_field, 0, b"\xff\xff\xff\xff\x0f")))
        assert read.metrics[0].value == 2**32 - 1


def test_without_a_known_datatype_integers_stay_as_they_lie() -> None:
    assert decode(metric(field(10, 0, b"\xff\xff\xff\xff\x0f"))).metrics[0].value == 2**32 - 1
    assert decode(metric(field(4, 0, b"\x63") + field(11, 0, b"\x07"))).metrics[0] == Metric(value=7, datatype=99)


def test_a_null_has_no_value_even_when_one_was_sent() -> None:
    read = decode(metric(field(4, 0, b"\x03") + field(7, 0, b"\x01") + field(10, 0, b"\x07"))).metrics[0]
    assert read == Metric(datatype=DataType.INT32, is_null=True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x08", "cut off"),
        (b"\x08\xff", "cut off"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 10 bytes"),
        (b"\x80" * 5_000, "more than 10 bytes"),
        (b"\x00\x01", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x0e\x00", "wire type 6"),
        (b"\x0a\x00", "field 1 is length-delimited, allowed: varint"),
        (b"\x12\x05\x0a", "5 bytes announced, 1 are left"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "are left"),
        (b"\x12\x02\x0a\x05hello", "5 bytes announced, 0 are left"),  # a name longer than its metric
        (b"\x22\x02\xc3\x28", "uuid is not UTF-8"),
        (metric(b"\x0a\x01\xff"), "name is not UTF-8"),
        (metric(b"\x7a\x01\xff"), "string_value is not UTF-8"),
        (metric(b"\x65\x00\x00"), "4 bytes announced"),
        (metric(b"\x0a\x01m\x20\x0c\x50\x01"), "metric 'm': found int_value, allowed for STRING: string_value"),
        (metric(b"\x10\x05\x20\x0b\x7a\x01x"), "metric 5: found string_value, allowed for BOOLEAN: boolean_value"),
        (bytes(PAYLOAD_LIMIT_BYTES + 1), f"allowed: {PAYLOAD_LIMIT_BYTES}"),
        (b"\x12\x00" * (METRICS_MAX + 1), f"more than {METRICS_MAX} metrics"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        decode(data)
    assert says in str(refused.value)


def test_a_hostile_payload_takes_little_memory() -> None:
    hostile = [
        b"\x12\x00" * (PAYLOAD_LIMIT_BYTES // 2),
        b"\x12" + b"\xff" * 8 + b"\x7f",
        metric(b"\x7a\x7f") * 500,
        b"\x4a\x00" * (PAYLOAD_LIMIT_BYTES // 2),
    ]
    tracemalloc.start()
    try:
        for data in hostile * 5:
            try:
                decode(data)
            except ValueError:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (Metric("m", 2**31, DataType.INT32), "found 2147483648, allowed for INT32: -2147483648..2147483647"),
        (Metric("m", -129, DataType.INT8), "allowed for INT8: -128..127"),
        (Metric("m", 2**63, DataType.INT64), "allowed for INT64"),
        (Metric("m", -1, DataType.UINT64), "allowed for UINT64: 0.."),
        (Metric("m", 1, DataType.UINT32), "allowed: INT32 or INT64"),
        (Metric("m", True, DataType.INT32), "found True, allowed: a value of type INT32"),
        (Metric("m", 1, DataType.BOOLEAN), "a value of type BOOLEAN"),
        (Metric("m", 1.5, DataType.INT32), "a value of type INT32"),
        (Metric("m", b"x", DataType.STRING), "a value of type STRING"),
        (Metric("m", "x", DataType.BYTES), "a value of type BYTES"),
        (Metric("m", True, DataType.FLOAT), "a value of type FLOAT"),
        (Metric("m", 1e39, DataType.FLOAT), "too large for FLOAT"),
        (Metric("m", 10**400, DataType.DOUBLE), "too large for DOUBLE"),
        (Metric("m", -1), "metric 'm': found -1, allowed: 0.."),
        (Metric("m", "\ud800", DataType.STRING), "lone surrogates"),
        (Metric("m", 1, -1), "datatype: found -1"),
        (Metric(None, 1, DataType.INT32, alias=-1), "metric -1: alias: found -1"),
        (Metric("m", 1, DataType.INT32, timestamp_ms=2**64), "timestamp: found"),
        (Metric("m", 1, DataType.INT32, is_null=True), "is null, but has the value 1"),
    ],
)
def test_what_cannot_be_written_is_named(one: Metric, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        encode(Payload(metrics=(one,)))
    assert says in str(refused.value)


def test_a_payload_has_limits_both_ways() -> None:
    with pytest.raises(ValueError, match=f"allowed: {METRICS_MAX}"):
        encode(Payload(metrics=(Metric(),) * (METRICS_MAX + 1)))
    with pytest.raises(ValueError, match=f"allowed: {PAYLOAD_LIMIT_BYTES}"):
        encode(Payload(body=bytes(PAYLOAD_LIMIT_BYTES)))
    with pytest.raises(ValueError, match="seq: found -1"):
        encode(Payload(seq=-1))
    most = Payload(body=bytes(PAYLOAD_LIMIT_BYTES - 4))
    assert decode(encode(most)) == most


def test_a_float_is_four_bytes_and_little_endian() -> None:
    assert encode(Payload(metrics=(Metric(value=0.1, datatype=DataType.FLOAT),)))[-4:] == struct.pack("<f", 0.1)
    back = decode(encode(Payload(metrics=(Metric(value=math.nan, datatype=DataType.FLOAT),)))).metrics[0].value
    assert isinstance(back, float)
    assert math.isnan(back)
