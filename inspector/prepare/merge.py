"""Exposure bracketing: views of short and long exposure as one picture in which nothing is black or clipped.

Mertens, Kautz, Van Reeth, "Exposure Fusion" (2007): every pixel from the views that show it best; local, so its
greys are no amounts of light. Debevec, Malik, "Recovering High Dynamic Range Radiance Maps from Photographs"
(1997): the light itself, from the exposure times; a sensor is linear, so its response needs no calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from inspector.codes import Code
from inspector.parts import Frame, InspectionFault
from inspector.tool import OF_VIEWS, Prepared, PrepareTool, Step, View, full_scale

FULL_SCALE = 65535
GAMMA = 2.2  # debevec: what is seen of the light; brings dark places up as an eye does
_LEAST_RATIO = 1.05  # of two exposures

Floats = NDArray[np.float32]


class Merge(PrepareTool):
    """One picture of several views of one camera, taken with different exposure, in 16 bit.

    Steps that ask for it look through the first of its views. Views that only merges use may be too dark or too
    bright; what is merged of them must not be. A view of several shots takes part with their mean.
    """

    tool: Literal["merge"]
    views: tuple[Step, ...] = Field(min_length=2, max_length=16, description="The views, each with another exposure.")
    method: Literal["mertens", "debevec"] = Field(
        "mertens",
        description="`mertens`: every place as the view shows it that shows it best; greys are no amounts of light. "
        "`debevec`: the light itself by the exposure times, full scale is what clips the shortest: a grey means the "
        "same in every picture.",
    )
    tone: Literal["gamma", "linear"] = Field(
        "gamma",
        description="Of debevec: `gamma` 2.2 shows dark places too, but moves edges to their dark side; `linear` "
        "leaves them where they are, for measuring.",
    )
    black: float = Field(
        0.0,
        ge=0,
        le=64,
        description="Of debevec: grey of 0..255 that the camera gives without light, its black level. Grey that is no "
        "light would be taken for another light in each view.",
    )

    @model_validator(mode="after")
    def _views_alone(self) -> Merge:
        for key in ("view", "camera", "picture", "fixture"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key}: a merge has its pictures from `views`; allowed: no {key}")
        if len(set(self.views)) < len(self.views):
            raise ValueError("views: one stands twice; allowed: each once")
        for key in ("tone", "black"):
            if self.method == "mertens" and key in self.model_fields_set:
                raise ValueError(f"{key}: it is for debevec; allowed with mertens: no {key}")
        return self

    def references(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """See :meth:`Tool.references`."""
        for name in self.views:
            yield "views", name, OF_VIEWS

    def __call__(self, view: View) -> Prepared:
        """Merge the pictures of one part."""
        frames = [view.frames[name] for name in self.views]
        shapes = {shot.image.shape for shots in frames for shot in shots}
        if len(shapes) > 1:
            raise InspectionFault(Code.IMAGE_QUALITY, "Not inspected: the pictures to be merged differ in size")
        shares = [_mean(shots) for shots in frames]
        if self.method == "mertens":
            merged = _mertens(shares)
        else:
            gamma = GAMMA if self.tone == "gamma" else 1.0
            merged = _debevec(shares, self._exposures(frames), gamma, self.black / 255)
        merged *= np.float32(FULL_SCALE)
        np.clip(np.rint(merged, out=merged), 0, FULL_SCALE, out=merged)
        return Prepared(merged.astype(np.uint16), FULL_SCALE)

    def _exposures(self, frames: Sequence[Sequence[Frame]]) -> list[float]:
        """How much each view multiplies the light, in us of exposure at a gain of 0 dB. Raises InspectionFault."""
        exposures: list[float] = []
        for name, shots in zip(self.views, frames, strict=True):
            ref = shots[0].ref
            if ref.exposure_us <= 0:
                text = f"Not inspected: the exposure time of view {name} is not known, and debevec needs it"
                raise InspectionFault(Code.IMAGE_QUALITY, text)
            exposures.append(ref.exposure_us * 10 ** (ref.gain_db / 20))
        ranked = sorted(exposures)
        if any(longer < shorter * _LEAST_RATIO for shorter, longer in zip(ranked, ranked[1:], strict=False)):
            text = (
                f"Not inspected: two of the views {', '.join(self.views)} have the same exposure, debevec needs others"
            )
            raise InspectionFault(Code.IMAGE_QUALITY, text)
        return exposures


def _mean(shots: Sequence[Frame]) -> Floats:
    """The mean of equal pictures, 0..1 of full scale."""
    total = np.zeros(shots[0].image.shape, np.float32)
    for shot in shots:
        cv2.accumulate(shot.image, total)
    total *= np.float32(1 / (len(shots) * full_scale(shots[0])))
    return total


def _mertens(pictures: list[Floats]) -> Floats:
    # OpenCV divides by 255 whatever the depth
    return np.asarray(cv2.createMergeMertens().process([picture * np.float32(255) for picture in pictures]), np.float32)


def _debevec(pictures: list[Floats], exposures: list[float], gamma: float, black: float) -> Floats:
    """Light, 1 where the shortest exposure clips, then with gamma.

    OpenCV's own takes 8 bit only, and its tone mapping stretches each picture by its own brightest pixel.
    """
    if black > 0:
        pictures = [(picture - np.float32(black)) * np.float32(1 / (1 - black)) for picture in pictures]
    shortest, longest = int(np.argmin(exposures)), int(np.argmax(exposures))
    weights = np.zeros_like(pictures[0])
    logs = np.zeros_like(pictures[0])
    for picture, exposure in zip(pictures, exposures, strict=True):
        weight = np.maximum(np.minimum(picture, np.float32(1) - picture), np.float32(1e-6))  # the middle is surest
        light = np.maximum(picture, np.float32(1e-6))
        light *= np.float32(exposures[shortest] / exposure)
        logs += weight * cv2.log(light)
        weights += weight
    logs /= weights
    logs *= np.float32(1 / gamma)
    merged = np.asarray(cv2.exp(logs), np.float32)
    merged[pictures[shortest] >= np.float32(1 - 1e-6)] = 1
    merged[pictures[longest] <= 0] = 0
    return merged
