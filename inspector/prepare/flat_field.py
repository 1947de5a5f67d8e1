"""Flat-field correction: takes out of each picture what light, lens and sensor do to one of something plain."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from inspector.codes import Code
from inspector.parts import InspectionFault
from inspector.tool import Array, PrepareTool, Shelf, View

_FULL_SCALES = (255, 1023, 4095, 16383, 65535)
_CLIPPED_SHARE = 0.01
_DEAD_SHARE = 0.001
_DEAD = 0.5  # a pixel that answers to light by so much more or less than its neighbours is dead
_LEAST_ANSWER = 0.1  # of the mean: what is darker can't be corrected, only its noise made large
_AROUND = 2  # px on each side that a dead pixel is filled in from

Floats = NDArray[np.float32]


class _Correction:
    """The references in the grey scale of one kind of picture."""

    def __init__(self, dark: Floats, gain: Floats, dead: NDArray[np.bool_]) -> None:
        self.dark, self.gain = dark, gain
        self.dead = np.argwhere(dead)  # (N, 2) row, column
        height, width = dead.shape
        steps = np.arange(-_AROUND, _AROUND + 1)
        rows = np.clip(self.dead[:, :1, None] + steps[None, :, None], 0, height - 1)
        columns = np.clip(self.dead[:, 1:, None] + steps[None, None, :], 0, width - 1)
        rows, columns = (a.reshape(len(self.dead), steps.size**2) for a in np.broadcast_arrays(rows, columns))
        self.around, self.good = (rows, columns), ~dead[rows, columns]
        if len(lost := self.dead[~self.good.any(axis=1)]):
            row, column = lost[0]
            side = 2 * _AROUND + 1
            raise ValueError(f"flat: a black place larger than {side}x{side} px at x {column}, y {row}; allowed: none")

    def fill(self, image: Array) -> None:
        """Give each dead pixel the median of its living neighbours."""
        if not len(self.dead):
            return
        near = image[self.around].astype(np.float32)
        near[~self.good] = np.nan
        image[self.dead[:, 0], self.dead[:, 1]] = np.nan_to_num(np.nanmedian(near, axis=1)).astype(image.dtype)


class FlatField(PrepareTool):
    """The picture without uneven light, vignetting and the sensor's own pattern.

    (picture - dark) * mean(flat - dark) / (flat - dark). References are pictures of the same camera with the same
    lens and exposure, best the mean of several; 8 bit, or 16 bit in the camera's numbers, for 8 bit pictures in
    65535ths. Clipped pixels stay clipped. Dead pixels of the references are filled in from their neighbours.
    """

    tool: Literal["flat_field"]
    flat: str = Field(description="Picture of an evenly bright plain target: `name.png@sha256:` and 12+ digits.")
    dark: str | None = Field(
        None, description="Picture with the lens covered, same exposure and gain; none: black is 0."
    )
    _flat: Array | None = PrivateAttr(None)
    _dark: Array | None = PrivateAttr(None)
    _ready: dict[int, _Correction] = PrivateAttr(default_factory=dict)  # by the full scale of the pictures

    def open(self, shelf: Shelf) -> None:
        """Read the references and refuse those that can't be one."""
        flat = shelf.pixels(self.flat)
        dark = shelf.pixels(self.dark) if self.dark is not None else None
        if dark is not None and dark.shape != flat.shape:
            raise ValueError(f"dark: {_size(dark)}, flat is {_size(flat)}; allowed: the same")
        if shelf.size_px is not None and (flat.shape[1], flat.shape[0]) != shelf.size_px:
            width, height = shelf.size_px
            raise ValueError(f"flat: {_size(flat)}, the pictures are {width}x{height} px; allowed: the same")
        top = int(flat.max())
        if top in _FULL_SCALES and np.count_nonzero(flat == top) > _CLIPPED_SHARE * flat.size:
            raise ValueError("flat: overexposed, more than 1 % of it is at full scale; allowed: a shorter exposure")
        self._flat, self._dark = flat, dark
        self._ready.clear()
        highest = top if dark is None else max(top, int(dark.max()))
        likely = 255 if flat.dtype == np.uint8 else next(full for full in _FULL_SCALES if full >= highest)
        self._correction(likely)  # to refuse now what is no flat picture

    def __call__(self, view: View) -> Array:
        """Correct one picture; same depth, same grey scale."""
        if self._flat is None:
            raise RuntimeError("open() was not called")
        image, full = view.image, view.full_scale
        if image.shape != self._flat.shape:
            text = f"Not inspected: the picture is {_size(image)}, {self.flat.split('@')[0]} is {_size(self._flat)}"
            raise InspectionFault(Code.IMAGE_QUALITY, text)
        try:
            correction = self._correction(full)
        except ValueError as error:
            raise InspectionFault(Code.IMAGE_QUALITY, f"Not inspected: {error}") from None
        light = cv2.subtract(image, correction.dark, dtype=cv2.CV_32F)
        cv2.multiply(light, correction.gain, light)
        np.clip(np.rint(light, out=light), 0, full, out=light)
        corrected = light.astype(image.dtype)
        corrected[image >= full] = full  # or an edge beside it would be measured as if nothing were clipped
        correction.fill(corrected)
        return corrected

    def _correction(self, full: int) -> _Correction:
        if full not in self._ready:
            flat = _scaled("flat", self._flat, full)
            dark = np.zeros_like(flat) if self._dark is None else _scaled("dark", self._dark, full)
            answer = flat - dark
            mean = float(np.median(answer))
            if mean < _LEAST_ANSWER * full:
                text = f"flat: only {mean * 255 / full:.0f} grey of 255 brighter than dark; allowed: half of the range"
                raise ValueError(text)
            usual = cv2.medianBlur(answer, 5)
            odd = (np.abs(answer - usual) > _DEAD * usual) | (answer < _LEAST_ANSWER * mean)
            dead = odd if odd.ndim == 2 else odd.any(axis=2)
            if np.count_nonzero(dead) > _DEAD_SHARE * dead.size:
                share = 100 * np.count_nonzero(dead) / dead.size
                raise ValueError(f"flat: {share:.2g} % of its pixels are dead or black; allowed: at most 0.1 %")
            answer[dead] = mean
            gain = answer[~dead].mean(axis=0) / answer
            self._ready[full] = _Correction(dark, gain, dead)
        return self._ready[full]


def _scaled(key: str, image: Array | None, full: int) -> Floats:
    """A reference in the grey scale of the pictures."""
    if image is None:
        raise RuntimeError("open() was not called")
    own = 255 if image.dtype == np.uint8 else full if full > 255 else 65535
    top = int(image.max())
    if top > own:
        raise ValueError(f"{key}: found a grey of {top}, the pictures end at {full}; allowed: the same pixel format")
    return np.asarray(image.astype(np.float32) * np.float32(full / own))


def _size(image: Array) -> str:
    depth = "" if image.ndim == 2 else " colour"
    return f"{image.shape[1]}x{image.shape[0]} px{depth}"
