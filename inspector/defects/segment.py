"""Defects that a network was taught: it gives every pixel of the part a probability for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from inspector.codes import Code
from inspector.defects.areas import Ignore, Rect, blank
from inspector.parts import Finding, InspectionFault
from inspector.tool import DefectsTool, Session, Shelf, View

if TYPE_CHECKING:  # a recipe without a model needs no inference engine
    from inspector.infer.package import Label, Package

FINDINGS_MAX = 100  # a label; the largest ones
_OUTLINE_POINTS_MAX = 64


class Segment(DefectsTool):
    """Find the defects that a model package was trained for, outlined to the pixel.

    The part's face is cut out upright at the model's own scale and size, as in training. A pixel belongs to a
    defect from the package's threshold of its label on; joined pixels are one finding, whose score is its highest
    probability, whose area and length are in mm.
    """

    tool: Literal["segment"]
    model: str = Field(
        min_length=1,
        max_length=160,
        description="Folder in models/ beside the recipe, with the digest to pin it: `plate-face@sha256:3f9a1c77d20e`.",
        examples=["plate-face", "plate-face@sha256:3f9a1c77d20e"],
    )
    region: Rect | None = Field(
        None,
        description="x0, y0, x1, y1 in mm: where to look; the model's field begins at x0, y0. None: the whole field,"
        " from the fixture's origin on.",
    )
    ignore: tuple[Ignore, ...] = Field((), description="Areas inside the region to leave out.")

    _package: Package = PrivateAttr()
    _session: Session = PrivateAttr()
    _region: Rect = PrivateAttr()
    _mask: NDArray[np.uint8] = PrivateAttr()  # (H, W): 1 where to look

    def open(self, shelf: Shelf) -> None:
        """Get the model. Raises ValueError when the recipe's scale or region doesn't fit it."""
        if shelf.mm_per_px is None:
            raise ValueError(f"model {self.model} works in mm; the recipe needs a calibration")
        package, session = shelf.model(self.model)
        if package.input.shape[1] != 1:
            raise ValueError(f"model {package.name} wants {package.input.shape[1]} channels, allowed here: 1 (grey)")
        if shelf.mm_per_px > package.mm_per_px:
            raise ValueError(
                f"the picture has {shelf.mm_per_px:g} mm per px, coarser than model {package.name} was trained for:"
                f" at most {package.mm_per_px:g}"
            )
        width, height = package.field_mm
        region = self.region or (0.0, 0.0, width, height)
        x0, y0, x1, y1 = region
        if not (0 < x1 - x0 <= width + 1e-6 and 0 < y1 - y0 <= height + 1e-6):
            raise ValueError(
                f"region: found {x1 - x0:g} x {y1 - y0:g} mm, allowed: up to the field of model {package.name},"
                f" {width:g} x {height:g} mm"
            )
        self._package, self._session, self._region = package, session, region
        self._mask = self._where_to_look(package)
        if not self._mask.any():
            raise ValueError("ignore: nothing of the region is left to look at")

    def labels(self) -> tuple[str, ...]:
        """What the model was taught."""
        return tuple(label.name for label in self._package.labels)

    def __call__(self, view: View) -> list[Finding]:
        """Every defect found. Raises InspectionFault when the model fails, or the face is not all in the picture."""
        package = self._package
        self._refuse_what_is_outside(view)
        face = view.rectify(self._region, package.mm_per_px, package.size_px)
        answer = self._session.run({package.input.name: face[None, None]})
        probability = answer[package.output.name][0]
        return [
            finding
            for channel, label in enumerate(package.labels)
            for finding in self._findings(view, probability[channel], label)
        ]

    def _where_to_look(self, package: Package) -> NDArray[np.uint8]:
        (width, height), u = package.size_px, package.mm_per_px
        x0, y0, x1, y1 = self._region
        mask = np.zeros((height, width), np.uint8)
        mask[: round((y1 - y0) / u), : round((x1 - x0) / u)] = 1
        blank(mask, self.ignore, (x0, y0), u)
        return mask

    def _refuse_what_is_outside(self, view: View) -> None:
        """Raise InspectionFault for a face that reaches out of the picture: nobody saw what is there."""
        x0, y0, x1, y1 = self._region
        corners = view.to_px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        height, width = view.image.shape[:2]
        out_px = max(-corners.min(), float((corners - (width - 1, height - 1)).max()))
        if not view.length(out_px) <= self._package.mm_per_px:  # one pixel of the model
            raise InspectionFault(
                Code.IMAGE_QUALITY, f"Not inspected: {view.length(out_px):.1f} mm of the part are outside the picture"
            )

    def _findings(self, view: View, probability: NDArray[np.float32], label: Label) -> list[Finding]:
        """Findings of one label in its map (H, W), largest first."""
        u = self._package.mm_per_px
        sure = (probability >= label.threshold).astype(np.uint8) & self._mask
        left, top, width, height = cv2.boundingRect(sure)
        if width == 0:
            return []
        # most of a face is good: only the box around what was found is taken apart
        probability = probability[top : top + height, left : left + width]
        count, parts, stats, _ = cv2.connectedComponentsWithStats(
            sure[top : top + height, left : left + width], connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        found: list[Finding] = []
        for part in sorted(range(1, count), key=lambda i: -int(areas[i]))[:FINDINGS_MAX]:
            x, y, w, h = (int(v) for v in stats[part, : cv2.CC_STAT_AREA])
            own = parts[y : y + h, x : x + w] == part
            contours, _ = cv2.findContours(
                own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left + x, top + y)
            )
            outline = contours[0]
            # the rectangle goes through the centres of the outer pixels; each reaches half a pixel further
            length = (max(cv2.minAreaRect(outline)[1]) + 1) * u
            area = float(areas[part]) * u * u
            if area < label.min_area_mm2 or length < label.min_length_mm:
                continue
            score = min(1.0, float(probability[y : y + h, x : x + w][own].max()))
            found.append(Finding(label.name, score, area, length, "mm", self._outline_px(view, outline)))
        return found

    def _outline_px(self, view: View, outline: NDArray[np.int32]) -> tuple[tuple[float, float], ...]:
        tolerance = 0.5
        points = cv2.approxPolyDP(outline, tolerance, True)
        while len(points) > _OUTLINE_POINTS_MAX:
            tolerance *= 2
            points = cv2.approxPolyDP(outline, tolerance, True)
        u, (x0, y0) = self._package.mm_per_px, self._region[:2]
        corners = view.to_px((points[:, 0, :] + 0.5) * u + (x0, y0))
        return tuple((float(x), float(y)) for x, y in corners)
