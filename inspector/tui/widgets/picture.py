"""The camera's picture in half blocks: each cell is two square pixels, one above the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style

from inspector.parts import Check, CheckOutcome, Outcome, Shape, Verdict
from inspector.tui.ink import DIM, STRONG, TEXT, Line
from inspector.tui.status import Picture, Recent
from inspector.tui.widgets.checks import in_order
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, quantity

Image = NDArray[np.uint8]
WHITE = 255
UNDER_OVERLAY = 0.75  # the picture gives way, or a white box on a bright part would not be seen
SMALL = 8  # pixels of the screen: a shape below this is lost in its own lines
MARGIN = 2


def failing_check(verdict: Verdict) -> Check | None:
    """The check the overlay is about: the first one that is not in order."""
    first = next(iter(in_order(verdict.checks)), None)
    return None if first is None or first.outcome is CheckOutcome.PASS else first


def overlay(verdict: Verdict) -> tuple[Shape, ...]:
    """What to draw for the failing check: its findings' outlines, else what it found, else where it looked."""
    check = failing_check(verdict)
    if check is None:
        return ()
    shapes = (*(finding.shape for finding in check.findings), *check.shapes)
    for role in ("fail", "found", "region"):
        if chosen := tuple(shape for shape in shapes if shape.role == role and shape.points_px):
            return chosen
    return ()


def caption(verdict: Verdict) -> str:
    """``1210 face: scratch 2.1 mm``."""
    check = failing_check(verdict)
    if check is None:
        return ""
    what = max(check.findings, key=lambda finding: finding.area) if check.findings else None
    words = f"{what.label} {quantity(what.length, what.unit)}" if what else check.text
    return f"{check.code or verdict.code} {check.step}: {words}"


def fit(image: Image, width: int, height: int) -> tuple[Image, float]:
    """The image in at most (height, width) pixels, and the scale that was used."""
    high, wide = image.shape[:2]
    scale = min(width / wide, height / high)
    to = (max(round(wide * scale), 1), max(round(high * scale), 1))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, to, interpolation=way), np.uint8), scale


Box = tuple[float, float, float, float]


def _together(boxes: list[Box]) -> list[Box]:
    """Boxes that touch become one, so that a caliper's marks do not hide what they are about."""
    out: list[Box] = []
    for box in boxes:
        while touching := [b for b in out if b[0] <= box[2] and box[0] <= b[2] and b[1] <= box[3] and box[1] <= b[3]]:
            out = [b for b in out if b not in touching]
            corners = np.array([box, *touching])
            (left, top), (right, bottom) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
            box = (float(left), float(top), float(right), float(bottom))
        out.append(box)
    return out


def draw_shapes(image: Image, shapes: Sequence[Shape], scale: float) -> Image:
    """The image, darker, with shapes (in image px) in white lines one pixel wide; small ones get a box."""
    if not shapes:
        return image
    canvas = np.ascontiguousarray(image * UNDER_OVERLAY, dtype=np.uint8)
    white = (WHITE, WHITE, WHITE)
    limit = 4 * max(canvas.shape[:2])
    small: list[Box] = []
    for shape in shapes:
        points = np.clip(np.nan_to_num(np.array(shape.points_px, np.float64) * scale), -limit, limit)
        radius = min(shape.radius_px * scale, limit) if shape.kind == "circle" else 0.0
        low, high = points.min(axis=0) - radius, points.max(axis=0) + radius
        if (high - low).max() < SMALL or shape.kind in ("point", "text"):
            (left, top), (right, bottom) = low - MARGIN, high + MARGIN
            small.append((float(left), float(top), float(right), float(bottom)))
        elif shape.kind == "circle":
            cv2.circle(canvas, np.rint(points[0]).astype(int).tolist(), round(radius), white, 1)
        else:
            closed = shape.kind == "polygon"
            cv2.polylines(canvas, [np.rint(points).astype(np.int32)], closed, white, 1)
    for left, top, right, bottom in _together(small):
        cv2.rectangle(canvas, (round(left), round(top)), (round(right), round(bottom)), white, 1)
    return canvas


def cells(image: Image) -> list[Line]:
    """(2 * rows, columns[, 3]) pixels as lines of half blocks; equal neighbours share one span."""
    rgb = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    if rgb.shape[0] % 2:
        rgb = np.pad(rgb, ((0, 1), (0, 0), (0, 0)))
    # 64 levels are more than an eye tells apart here, and then styles repeat often enough to be kept
    rgb = np.bitwise_and(rgb, np.uint8(0xFC))
    pairs = np.concatenate([rgb[0::2], rgb[1::2]], axis=2).tolist()
    lines: list[Line] = []
    for row in pairs:
        line: Line = []
        start = 0
        for x in range(1, len(row) + 1):
            if x == len(row) or row[x] != row[start]:
                line.append(("▀" * (x - start), _style(*row[start])))
                start = x
        lines.append(line)
    return lines


@lru_cache(maxsize=8192)
def _style(r: int, g: int, b: int, r2: int, g2: int, b2: int) -> Style:
    return Style(color=Color.from_rgb(r, g, b), bgcolor=Color.from_rgb(r2, g2, b2))


@dataclass(frozen=True, slots=True)
class View:
    """A picture, whose it is, and what to draw over it."""

    title: str
    picture: Picture | None
    caption: str = ""
    shapes: tuple[Shape, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict, picture: Picture | None) -> View:
        """The view of one part; without its picture it says so rather than show another part's."""
        camera = verdict.frames[0].camera if verdict.frames else "camera"
        title = f"{camera}  part {verdict.part.trigger.part_id}"
        return cls(title, picture, caption(verdict), overlay(verdict))


class PictureBox(Lines[View]):
    """Title, picture with its overlay, caption."""

    def draw(self, value: View, width: int, height: int) -> list[Line]:
        """The picture in the middle of the rows between title and caption."""
        rows = height - 2
        title: Line = [(f" {clip(value.title, width - 2)}", DIM)]
        if value.picture is None:
            return [title, *[[] for _ in range(rows // 2)], [("no picture of this part".center(width), DIM)]]
        image, scale = fit(value.picture.image, width - 2, 2 * rows)
        image = draw_shapes(image, value.shapes, scale * value.picture.scale)
        lines = cells(image)
        above = (rows - len(lines)) // 2
        before = (" " * ((width - image.shape[1]) // 2), TEXT)
        padded: list[Line] = [[] for _ in range(above)] + [[before, *line] for line in lines]
        padded += [[] for _ in range(rows - len(padded))]
        return [title, *padded, [(f" {clip(value.caption, width - 2)}", STRONG)]]


@dataclass(frozen=True, slots=True)
class Reject:
    """A recent reject for the row of small pictures."""

    part: Recent
    picture: Picture | None


class Rejects(Lines[tuple[Reject, ...]]):
    """The latest rejects, newest first: small pictures with code and part under them."""

    EACH = 12

    def draw(self, value: tuple[Reject, ...], width: int, height: int) -> list[Line]:
        """As many as fit beside each other."""
        rows = height - 2
        lines: list[Line] = [[(" last rejects, newest first" if value else " no rejects", DIM)]]
        lines += [[(" ", TEXT)] for _ in range(rows + 1)]
        for reject in value[: (width - 1) // self.EACH]:
            wide = 0
            small: list[Line] = []
            if reject.picture is not None:
                image, _ = fit(reject.picture.image, self.EACH - 1, 2 * rows)
                small, wide = cells(image), image.shape[1]
            for n in range(rows):
                got: Line = small[n] if n < len(small) else [(" " * wide, TEXT)]
                lines[1 + n] += [*got, (" " * (self.EACH - wide), TEXT)]
            name = clip(f"{reject.part.code} {reject.part.part_id[-6:]}", self.EACH - 1)
            lines[-1].append((f"{name:{self.EACH}}", TEXT))
        return lines


def rejects_of(recent: tuple[Recent, ...], pictures: Mapping[int, Picture], most: int) -> tuple[Reject, ...]:
    """The latest rejects with the previews there are."""
    bad = [part for part in reversed(recent) if part.outcome is Outcome.FAIL][:most]
    return tuple(Reject(part, pictures.get(part.seq)) for part in bad)
