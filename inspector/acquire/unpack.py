"""From the bytes a camera sends to one number a pixel, lossless, straight into a ring's slot.

Packed formats are read as overlapping words, one for each group of pixels, and spread with masks and shifts over
blocks that stay in the processor's cache: 5 MP of Mono12p take about 3 ms on one core, without any table.

Pixel formats have PFNC's names. ``p``: pixels follow each other bit by bit, lowest bits first. ``Packed`` (GigE
Vision 1): two pixels in three bytes, the high bits of each in its own byte, the low bits of both in the middle one.
Without line padding pixels go on over the ends of lines; with padding each line begins on a byte.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from inspector.ring import PIXEL_TYPES

BLOCK = 1 << 15  # groups at a time: their words stay in the second-level cache


@dataclass(frozen=True)
class _Packing:
    """``group`` bytes hold ``pixels`` pixels; each term (mask, shift to the left) moves bits of the group's word."""

    bits: int  # a pixel's share
    group: int
    pixels: int
    word: str
    terms: tuple[tuple[int, int], ...]


_10P = _Packing(10, 5, 4, "<u8", ((0x3FF, 0), (0xFFC00, 6), (0x3FF00000, 12), (0xFFC0000000, 18)))
_12P = _Packing(12, 3, 2, "<u4", ((0xFFF, 0), (0xFFF000, 4)))
_10PACKED = _Packing(12, 3, 2, "<u4", ((0xFF, 2), (0x300, -8), (0x3000, 4), (0xFF0000, 2)))
_12PACKED = _Packing(12, 3, 2, "<u4", ((0xFF, 4), (0xF00, -8), (0xFFF000, 4)))
_COLOURS = ("Mono", "BayerRG", "BayerGB", "BayerGR", "BayerBG")
_PACKED: dict[str, tuple[str, _Packing]] = {
    # what is sent: what a slot holds, and how to get there
    f"{colour}{bits}{packing}": (f"{colour}{bits}", how)
    for colour in _COLOURS
    for bits, packing, how in (
        (10, "p", _10P),
        (12, "p", _12P),
        (10, "Packed", _10PACKED),
        (12, "Packed", _12PACKED),
    )
}
_BITS: dict[type[np.unsignedinteger[Any]], int] = {np.uint8: 8, np.uint16: 16}
ALLOWED = (*PIXEL_TYPES, *_PACKED)
"""Every pixel format a camera may send."""


def unpacked(pixel_format: str) -> str:
    """The format a slot holds: Mono12 of Mono12p. Raises ValueError with what is allowed."""
    if pixel_format in PIXEL_TYPES:
        return pixel_format
    if pixel_format not in _PACKED:
        raise ValueError(f"allowed: {', '.join(ALLOWED)}")
    return _PACKED[pixel_format][0]


@dataclass(frozen=True)
class Raw:
    """A picture as the camera sent it. Valid only while it is handed over: copy it with :meth:`into`."""

    data: NDArray[np.uint8]  # flat, from the first pixel on; there may be more behind the picture
    width: int
    height: int
    sent_format: str  # PFNC name
    padding: int = 0  # bytes behind each line
    big_endian: bool = False  # of pixels with two bytes

    @property
    def pixel_format(self) -> str:
        """What it is once it is unpacked."""
        return unpacked(self.sent_format)

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, 3)."""
        channels = PIXEL_TYPES[self.pixel_format][1]
        return (self.height, self.width) if channels == 1 else (self.height, self.width, channels)

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of one value: uint8 or uint16."""
        return PIXEL_TYPES[self.pixel_format][0]

    @property
    def line_bytes(self) -> int:
        """Of one line with its padding."""
        if self.sent_format in _PACKED:
            bits = self.width * _PACKED[self.sent_format][1].bits
        else:
            dtype, channels = PIXEL_TYPES[self.sent_format]
            bits = self.width * channels * _BITS[dtype]
        return -(-bits // 8) + self.padding

    @property
    def needed_bytes(self) -> int:
        """Of the whole picture; ``data`` must have so many."""
        if self.sent_format in _PACKED and not self.padding:
            return -(-self.width * self.height * _PACKED[self.sent_format][1].bits // 8)
        return self.line_bytes * self.height - self.padding  # some cameras leave the last one out

    def into(self, out: NDArray[Any]) -> None:
        """Write the pixels to ``out``, contiguous, of this shape and dtype. Raises ValueError: too few bytes."""
        if self.data.size < self.needed_bytes:
            raise ValueError(f"{self.data.size} bytes are not {self.width}x{self.height} {self.sent_format}")
        if self.sent_format in _PACKED:
            how = _PACKED[self.sent_format][1]
            if not self.padding:
                _run(self.data, how, out.reshape(-1))
            elif self.width % how.pixels:
                for y, line in enumerate(out):
                    _run(self.data[y * self.line_bytes :], how, line)
            else:
                _lines(self.data, self.line_bytes, how, out)
            return
        item, flat = np.dtype(self.dtype).newbyteorder(">" if self.big_endian else "<"), out.reshape(self.height, -1)
        np.copyto(flat, np.ndarray(flat.shape, item, self.data, strides=(self.line_bytes, item.itemsize)))

    def array(self) -> NDArray[Any]:
        """The pixels as a new array."""
        out = np.empty(self.shape, self.dtype)
        self.into(out)
        return out


def _run(data: NDArray[np.uint8], how: _Packing, out: NDArray[np.uint16]) -> None:
    """Pixels one behind the other."""
    word = np.dtype(how.word)
    groups = out.size // how.pixels
    # the last words would reach behind the bytes that are there
    safe = max(0, min(groups, (data.size - word.itemsize) // how.group + 1))
    spread = out[: safe * how.pixels].view(word)
    for start in range(0, safe, BLOCK):
        count = min(BLOCK, safe - start)
        _spread(_words(data[start * how.group :], (count,), (how.group,), word), how, spread[start : start + count])
    left = out.size - safe * how.pixels
    if left:
        tail = np.zeros((-(-left // how.pixels) + 1) * how.group + word.itemsize, np.uint8)
        rest = data[safe * how.group :][: tail.size - word.itemsize]
        tail[: rest.size] = rest
        count = -(-left // how.pixels)
        end = np.empty(count, word)
        _spread(_words(tail, (count,), (how.group,), word), how, end)
        out[safe * how.pixels :] = end.view(np.uint16)[:left]


def _lines(data: NDArray[np.uint8], line_bytes: int, how: _Packing, out: NDArray[np.uint16]) -> None:
    """Lines of whole groups with padding behind them."""
    word = np.dtype(how.word)
    height, groups = out.shape[0], out.shape[1] // how.pixels
    spread = out.view(word)
    step = max(1, BLOCK // groups)
    for start in range(0, height - 1, step):  # the last line apart: there may be nothing behind it
        count = min(step, height - 1 - start)
        part = _words(data[start * line_bytes :], (count, groups), (line_bytes, how.group), word)
        _spread(part, how, spread[start : start + count])
    _run(data[(height - 1) * line_bytes :], how, out[-1])


def _words(data: NDArray[np.uint8], shape: tuple[int, ...], strides: tuple[int, ...], word: np.dtype[Any]) -> Any:
    """Overlapping words: each begins where its group of pixels does, and reaches into the next group."""
    return as_strided(data[: word.itemsize].view(word), shape, strides, writeable=False)


def _spread(words: NDArray[Any], how: _Packing, out: NDArray[Any]) -> None:
    """One word a group -> one word of 16-bit pixels."""
    copied = np.array(words, order="C")  # aligned, and read four times
    part = np.empty_like(copied)
    for number, (mask, shift) in enumerate(how.terms):
        target = out if number == 0 else part
        np.bitwise_and(copied, copied.dtype.type(mask), out=target)
        if shift > 0:
            np.left_shift(target, copied.dtype.type(shift), out=target)
        elif shift < 0:
            np.right_shift(target, copied.dtype.type(-shift), out=target)
        if number:
            np.bitwise_or(out, part, out=out)


if sys.byteorder != "little":
    raise ImportError("pictures are unpacked on little-endian machines only")
