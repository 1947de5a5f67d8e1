"""Every pixel format against a slow, clear reference that follows the standard's drawing bit by bit."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inspector.acquire.unpack import ALLOWED, Raw, unpacked
from inspector.ring import PIXEL_TYPES


def depth(name: str) -> int:
    return next(bits for bits in (10, 12, 14, 16, 8) if str(bits) in name)


def packing(name: str) -> str:
    return next((p for p in ("Packed", "p") if name.endswith(p)), "")


def encode_pixels(values: list[int], name: str) -> bytes:
    """A run of pixels as the standard draws them."""
    bits = depth(name)
    if packing(name) == "p":
        out = bytearray()
        for start in range(0, len(values), 8):  # eight pixels always end with a byte
            part = values[start : start + 8]
            number = sum(value << (bits * place) for place, value in enumerate(part))
            out += number.to_bytes(-(-bits * len(part) // 8), "little")
        return bytes(out)
    if packing(name) == "Packed":
        out = bytearray()
        low = bits - 8
        for first, second in zip(values[::2], [*values[1::2], *([0] if len(values) % 2 else [])], strict=True):
            middle = (first & ((1 << low) - 1)) | (second & ((1 << low) - 1)) << 4
            out += bytes([first >> low, middle, second >> low])
        return bytes(out[: -(-12 * len(values) // 8)])
    return b"".join(value.to_bytes(1 if bits == 8 else 2, "little") for value in values)


def encode(image: NDArray[Any], name: str, padding: int) -> bytes:
    """A picture; with padding each line begins on a byte, without it pixels go on over the ends of lines."""
    if not padding:
        return encode_pixels([int(v) for v in image.reshape(-1)], name)
    lines = (encode_pixels([int(v) for v in line.reshape(-1)], name) for line in image)
    return b"".join(line + b"\xaa" * padding for line in lines)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[NDArray[Any], str, int, int]:
    name = draw(st.sampled_from(ALLOWED))
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 37))
    dtype, channels = PIXEL_TYPES[unpacked(name)]
    seed, full = draw(st.integers(0, 1 << 30)), (1 << depth(name)) - 1
    shape = (height, width) if channels == 1 else (height, width, channels)
    image = np.random.default_rng(seed).integers(0, full + 1, shape).astype(dtype)
    return image, name, draw(st.sampled_from([0, 0, 1, 3, 8])), draw(st.integers(0, 9))


@settings(max_examples=500, deadline=None)
@given(pictures())
def test_every_format_is_lossless(case: tuple[NDArray[Any], str, int, int]) -> None:
    image, name, padding, behind = case
    data = encode(image, name, padding)
    height, width = image.shape[:2]
    raw = Raw(np.frombuffer(data + b"\x55" * behind, np.uint8), width, height, name, padding)
    assert raw.pixel_format == unpacked(name) and raw.shape == image.shape
    found = raw.array()
    assert found.dtype == image.dtype and np.array_equal(found, image)
    assert raw.needed_bytes == len(data) - padding
    short = Raw(np.frombuffer(data[: raw.needed_bytes - 1], np.uint8), width, height, name, padding)
    with pytest.raises(ValueError, match=f"bytes are not {width}x{height} {name}"):
        short.array()


@pytest.mark.parametrize("name", [n for n in ALLOWED if packing(n)])
@pytest.mark.parametrize("padding", [0, 5])
def test_pictures_of_many_blocks(name: str, padding: int) -> None:
    """More than one block of every loop, both with whole groups and with an odd one."""
    for width in (1000, 997):
        image = np.random.default_rng(5).integers(0, 1 << depth(name), (301, width)).astype(np.uint16)
        data = np.frombuffer(encode(image, name, padding), np.uint8)
        assert np.array_equal(Raw(data, width, 301, name, padding).array(), image)


def test_big_endian_pixels() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    data = np.frombuffer(image.astype(">u2").tobytes(), np.uint8)
    assert np.array_equal(Raw(data, 4, 3, "Mono16", big_endian=True).array(), image)


def test_unknown_formats_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"allowed: Mono8, .*Mono12p, .*BayerRG12Packed"):
        unpacked("YUV422_8")


def main() -> None:
    """By hand, on a quiet machine: ``python -m tests.acquire.test_unpack`` prints what each format takes at 5 MP."""
    width, height = 2448, 2048
    random = np.random.default_rng(1).integers(0, 256, width * height * 3, dtype=np.uint8)
    for name in ("Mono8", "Mono12", "Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed", "RGB8"):
        for padding in (0, 8):
            data = np.resize(random, Raw(random, width, height, name, padding).line_bytes * height)
            raw = Raw(data, width, height, name, padding)
            out, took = np.zeros(raw.shape, raw.dtype), []
            for _ in range(20):
                began = time.perf_counter()
                raw.into(out)
                took.append((time.perf_counter() - began) * 1e3)
            print(f"{name:13} padding {padding}: median {statistics.median(took):6.2f} ms, max {max(took):6.2f} ms")


if __name__ == "__main__":
    main()
