"""Finds a part by the picture of a feature on it: shift and turn, to a few hundredths of a px."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from inspector.limits import Amount, Angle
from inspector.parts import Located, Point, Pose, Shape
from inspector.tool import Array, LocateTool, Shelf, View

Floats = NDArray[np.float64]

_LEAST_SIDE = 24  # px of a template
_LEAST_STD = 3.0  # grey; a flatter template fits anywhere
_COARSE_SIDE = 13  # px of the template's shorter side at the coarsest level
_RIM_PX = 0.7  # so far may the template's corner be off between two angles of a level
_CANDIDATES = 6
_EDGE_POINTS = 240
_SLOPE = np.array([-1.0, -2.0, 0.0, 2.0, 1.0]) / 8  # smoothed derivative along an edge's normal
_PASSES = ((7, 2), (3, 4))  # refinement: reach along the normal in px, rounds
_LEAST_POINTS = 8  # a pose from fewer is a guess
_LEAST_FIT = 0.4  # of the template's edge points must be found
_SAME_SCORE = 0.93  # a second place with so much of the best score is a second part


@dataclass(frozen=True)
class _Level:
    """One step of the pyramid: the template at every angle, at 1/2**shift of the size."""

    shift: int
    angles: Floats  # deg
    turned: list[Array]
    offset: Point  # from a match's top-left corner to the template's centre, px of this level


@dataclass(frozen=True)
class _Edges:
    """Edge points of the template, relative to its centre, in px."""

    points: Floats  # (N, 2)
    normals: Floats  # (N, 2), towards brighter
    places: Floats  # (N,) where this very method sees the edge in the template itself, along the normal
    slopes: Floats  # (N,)


@dataclass
class _Taught:
    image: NDArray[np.uint8]
    levels: list[_Level]
    edges: _Edges
    centre: Point = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.image.shape
        self.centre = ((width - 1) / 2, (height - 1) / 2)


class Template(LocateTool):
    """Finds the place and turn where the picture looks like the template, to sub-pixel accuracy by its edges.

    Found means: the score is reached, enough of the template's edges are there, and no second place is as good.
    """

    tool: Literal["template"]
    image: str = Field(description="Picture of the feature, beside the recipe: `name.png@sha256:` and 12+ digits.")
    turn: Angle = Field(
        Amount(10, "deg", "10 deg"), description="The part may be turned by so much either way, at most 180 deg."
    )
    min_score: float = Field(0.7, gt=0, le=1, description="Least correlation of picture and template, 0 to 1.")
    origin: Point | None = Field(
        None,
        description="Where the template's centre lies in the part's own frame (mm with calibration, else px); "
        "none: the centre is the origin.",
    )
    _taught: _Taught | None = PrivateAttr(None)

    @field_validator("turn")
    @classmethod
    def _half_a_turn(cls, turn: Amount) -> Amount:
        if turn.value > 180:
            raise ValueError("allowed is at most 180 deg")
        return turn

    @field_validator("fixture")
    @classmethod
    def _no_fixture(cls, fixture: str | None) -> str | None:
        if fixture is not None:
            raise ValueError("template searches the whole picture; allowed: no fixture")
        return fixture

    def open(self, shelf: Shelf) -> None:
        """Teach the template: its pyramid at every angle, and its edges."""
        image = np.asarray(shelf.image(self.image), np.uint8)
        height, width = image.shape
        if min(height, width) < _LEAST_SIDE:
            raise ValueError(f"image: {width}x{height} px, at least {_LEAST_SIDE}x{_LEAST_SIDE} are needed")
        if float(image.std()) < _LEAST_STD:
            raise ValueError("image: nothing is to be seen in it that could be found again")
        edges = _edge_points(image)
        if len(edges.points) < 20:
            raise ValueError(f"image: only {len(edges.points)} edge points, at least 20 are needed")
        self._taught = _Taught(image, _levels(image, self.turn.value), edges)

    def __call__(self, view: View) -> Located:
        """Find the part in one picture."""
        taught = self._taught
        if taught is None:
            raise RuntimeError("open() was not called")
        grey = view.grey8
        if grey.shape[0] < taught.image.shape[0] or grey.shape[1] < taught.image.shape[1]:
            return Located(None, "the picture is smaller than the template")
        candidates = _search(_pyramid(grey, taught.levels), taught.levels)
        best: tuple[float, float, Floats] | None = None
        second: tuple[float, Floats] | None = None
        for score, rough in candidates:
            if best is not None and score < _SAME_SCORE * 0.9 * candidates[0][0]:
                break
            pose, fit = _refine(grey, taught.edges, rough)
            pose[2] = (pose[2] + 180) % 360 - 180
            final = _score(grey, taught, pose)
            if best is None or final > best[0]:
                if best is not None and _apart(best[2], pose, taught):
                    second = (best[0], best[2])
                best = (final, fit, pose)
            elif _apart(best[2], pose, taught) and (second is None or final > second[0]):
                second = (final, pose)
        if best is None:
            return Located(None, "nothing like the template is in the picture")
        score, fit, pose = best
        if score < self.min_score:
            return Located(None, f"best match {score:.2f}, wanted {self.min_score:.2f}")
        if fit < _LEAST_FIT:
            return Located(None, f"only {fit * 100:.0f} % of the template's edges are there, match {score:.2f}")
        if second is not None and second[0] > max(self.min_score, _SAME_SCORE * score):
            return Located(
                None,
                f"two places fit, match {score:.2f} and {second[0]:.2f}",
                (_outline(taught, pose), _outline(taught, second[1])),
            )
        if abs(pose[2]) > self.turn.value + 1.0:
            return Located(None, f"turned by {pose[2]:.1f} deg, allowed {self.turn.value:g}")
        return Located(self._pose(view, pose, score), shapes=(_outline(taught, pose),))

    def _pose(self, view: View, pose: Floats, score: float) -> Pose:
        """Pose of the part's frame from the template's centre."""
        k = 1.0 if view.mm_per_px is None else 1.0 / view.mm_per_px
        ox, oy = self.origin if self.origin is not None else (0.0, 0.0)
        turn = math.radians(pose[2])
        c, s = math.cos(turn) * k, math.sin(turn) * k
        x, y = pose[0] - (c * ox - s * oy), pose[1] - (s * ox + c * oy)
        return Pose(float(x), float(y), float(pose[2]), score=min(max(score, 0.0), 1.0))


# --- teaching ----------------------------------------------------------------------------------------
def _levels(image: NDArray[np.uint8], turn_deg: float) -> list[_Level]:
    """From coarse to fine; the finest is at most 1/4 of the size where the template is large enough."""
    side = min(image.shape)
    top = max(0, min(4, int(math.log2(side / _COARSE_SIDE))))
    return [_level(image, shift, turn_deg) for shift in range(top, max(top - 2, -1), -1)]


def _level(image: NDArray[np.uint8], shift: int, turn_deg: float) -> _Level:
    height, width = image.shape
    factor = 1 << shift
    small = _shrink(image, shift)
    size = (small.shape[1], small.shape[0])
    if turn_deg > 30:
        size = (min(size), min(size))  # a turned oblong no longer fits its own box
    # the template's centre in px of this level, where area averaging puts it
    centre = (((width - 1) / 2 + 0.5) / factor - 0.5, ((height - 1) / 2 + 0.5) / factor - 0.5)
    middle = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    step = math.degrees(2 * _RIM_PX / (0.5 * math.hypot(*size)))
    half = math.ceil(turn_deg / step)
    angles = np.linspace(-turn_deg, turn_deg, 2 * half + 1)
    if turn_deg >= 180:
        angles = angles[:-1]
    turned = []
    for angle in angles:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # where a px of the turned template comes from
        back = np.array([[c, s, 0.0], [-s, c, 0.0]])
        back[:, 2] = np.array(centre) - back[:, :2] @ middle
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        turned.append(cv2.warpAffine(small, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
    return _Level(shift, angles, turned, middle)


def _shrink(image: Array, shift: int) -> Array:
    """The picture at 1/2**shift of its size, by area."""
    if shift == 0:
        return image
    factor = 1 << shift
    height, width = image.shape[0] // factor * factor, image.shape[1] // factor * factor
    return cv2.resize(image[:height, :width], (width // factor, height // factor), interpolation=cv2.INTER_AREA)


def _edge_points(image: NDArray[np.uint8]) -> _Edges:
    """The strongest edge points, spread evenly, away from the border."""
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    gx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3) / 8
    gy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3) / 8
    size = np.hypot(gx, gy)
    height, width = image.shape
    y, x = np.mgrid[0:height, 0:width]
    nx, ny = gx / np.maximum(size, 1e-6), gy / np.maximum(size, 1e-6)
    ahead = _look(size, x + nx, y + ny)
    behind = _look(size, x - nx, y - ny)
    border = 4
    crest = (size >= ahead) & (size > behind) & (size > max(3.0, 0.25 * float(np.percentile(size, 99))))
    crest[:border] = crest[-border:] = False
    crest[:, :border] = crest[:, -border:] = False
    ys, xs = np.nonzero(crest)
    order = np.argsort(-size[ys, xs], kind="stable")
    pitch = 2.0
    chosen = order
    while len(chosen) > _EDGE_POINTS:
        cells = np.floor(np.column_stack([xs, ys])[order] / pitch).astype(np.int64)
        _, first = np.unique(cells[:, 0] * 100_003 + cells[:, 1], return_index=True)
        chosen = order[np.sort(first)]
        pitch *= 1.15
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    points = np.column_stack([xs, ys])[chosen].astype(np.float64) - centre
    normals = np.column_stack([nx[ys, xs], ny[ys, xs]])[chosen].astype(np.float64)
    if not len(points):
        nothing = np.zeros(0)
        return _Edges(points, normals, nothing, nothing)
    profiles = _profiles(image, points + centre, normals, 3)
    places, slopes, found = _crossings(profiles, 3, np.zeros(len(points)))
    keep = found & (np.abs(places) < 1.5)
    return _Edges(points[keep], normals[keep], places[keep], slopes[keep])


def _look(image: Array, x: Array, y: Array) -> Array:
    return cv2.remap(
        image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


# --- searching ---------------------------------------------------------------------------------------
def _pyramid(grey: Array, levels: list[_Level]) -> list[Array]:
    pictures: dict[int, Array] = {0: grey}
    for level in reversed(levels):
        nearest = max(shift for shift in pictures if shift <= level.shift)
        pictures[level.shift] = _shrink(pictures[nearest], level.shift - nearest)
    return [pictures[level.shift] for level in levels]


def _search(pictures: list[Array], levels: list[_Level]) -> list[tuple[float, Floats]]:
    """Candidates, best first: score and rough (x, y, angle) of the template's centre in px of the full picture."""
    top, picture = levels[0], pictures[0]
    if any(picture.shape[n] < top.turned[0].shape[n] for n in (0, 1)):
        return []
    maps = [_match(picture, turned) for turned in top.turned]
    found: list[tuple[float, Floats]] = []
    radius = max(2, min(top.turned[0].shape) // 3)
    peaks = [cv2.minMaxLoc(m) for m in maps]
    for _ in range(_CANDIDATES):
        n = max(range(len(maps)), key=lambda i: peaks[i][1])
        score, (x, y) = peaks[n][1], peaks[n][3]
        if score <= 0.2 or (found and score < 0.6 * found[0][0]):
            break
        found.append((score, np.array([x + top.offset[0], y + top.offset[1], top.angles[n]])))
        for i, m in enumerate(maps):  # the same place at another angle is the same candidate
            turned_by = abs((top.angles[i] - top.angles[n] + 180) % 360 - 180)
            if turned_by < 45:
                m[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = -1
                peaks[i] = cv2.minMaxLoc(m)
    shift = top.shift
    for level, picture in zip(levels[1:], pictures[1:], strict=True):
        found = [_closer(picture, level, rough, 1 << (shift - level.shift)) for _, rough in found]
        shift = level.shift
    factor = 1 << shift
    full = [(s, np.array([(r[0] + 0.5) * factor - 0.5, (r[1] + 0.5) * factor - 0.5, r[2]])) for s, r in found]
    return sorted(full, key=lambda c: -c[0])


def _closer(picture: Array, level: _Level, rough: Floats, factor: int) -> tuple[float, Floats]:
    """The best match near a candidate of the level above."""
    x, y = (rough[0] + 0.5) * factor - 0.5, (rough[1] + 0.5) * factor - 0.5
    height, width = level.turned[0].shape
    reach = 3
    x0, y0 = round(x - level.offset[0]) - reach, round(y - level.offset[1]) - reach
    left, top = max(0, min(x0, picture.shape[1] - width)), max(0, min(y0, picture.shape[0] - height))
    window = picture[top : max(y0, top) + height + 2 * reach, left : max(x0, left) + width + 2 * reach]
    turned_by = np.abs((level.angles - rough[2] + 180) % 360 - 180)
    best: tuple[float, Floats] = (-1.0, np.array([x, y, rough[2]]))
    for n in np.argsort(turned_by)[:5]:
        _, score, _, (px, py) = cv2.minMaxLoc(_match(window, level.turned[n]))
        if score > best[0]:
            best = (score, np.array([left + px + level.offset[0], top + py + level.offset[1], level.angles[n]]))
    return best


def _match(picture: Array, template: Array) -> Array:
    result = cv2.matchTemplate(picture, template, cv2.TM_CCOEFF_NORMED)
    result[~np.isfinite(result) | (result > 1.001)] = 0  # flat places divide by nothing
    return result


# --- refining ----------------------------------------------------------------------------------------
def _refine(grey: Array, edges: _Edges, rough: Floats) -> tuple[Floats, float]:
    """Pose (x, y, angle in deg) by the template's edges, and the share of them that fits."""
    pose = rough.copy()
    fit = 0.0
    for reach, rounds in _PASSES:
        for _ in range(rounds):
            turn = math.radians(pose[2])
            c, s = math.cos(turn), math.sin(turn)
            spin = np.array([[c, -s], [s, c]])
            arms = edges.points @ spin.T
            normals = edges.normals @ spin.T
            profiles = _profiles(grey, arms + pose[:2], normals, reach)
            places, slopes, found = _crossings(profiles, reach, edges.places)
            gain = float(np.median(slopes[found] / edges.slopes[found])) if found.any() else 0.0
            found &= slopes > 0.35 * gain * edges.slopes
            if np.count_nonzero(found) < _LEAST_POINTS:
                return pose, 0.0
            # moving by (dx, dy) and turning by d shifts an edge along its normal by n.(dx, dy) + d * (n x arm)
            lever = normals[:, 1] * arms[:, 0] - normals[:, 0] * arms[:, 1]
            design = np.column_stack([normals, lever])[found]
            change, weight = _tukey(design, (places - edges.places)[found])
            fit = float(np.count_nonzero(weight > 0.1)) / len(edges.points)
            pose += [change[0], change[1], math.degrees(change[2])]
            if float(np.abs(change[:2]).max()) < 0.003 and abs(change[2]) < 2e-5:
                break
    return pose, fit


def _profiles(image: Array, points: Floats, normals: Floats, reach: int) -> NDArray[np.float32]:
    """Grey along each point's normal from -reach-2 to reach+2, (N, 2*reach+5)."""
    t = np.arange(-reach - 2, reach + 3)
    x = points[:, 0:1] + normals[:, 0:1] * t
    y = points[:, 1:2] + normals[:, 1:2] * t
    return _look(image, x, y).astype(np.float32)


def _crossings(profiles: NDArray[np.float32], reach: int, expected: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Where each profile rises most (px along the normal), how much, and whether that is a peak at all.

    Near peaks are preferred: half of a distant peak's height counts at the edge of the reach.
    """
    slope = sum(
        float(w) * profiles[:, k : profiles.shape[1] - len(_SLOPE) + 1 + k].astype(np.float64)
        for k, w in enumerate(_SLOPE)
    )
    rising: Floats = np.asarray(slope)
    t = np.arange(-reach, reach + 1)
    favour = 1 - 0.5 * ((t - expected[:, None]) / (reach + 1)) ** 2
    best = np.argmax(rising * favour, axis=1)
    rows = np.arange(len(rising))
    inner = np.clip(best, 1, 2 * reach - 1)
    low, mid, high = rising[rows, inner - 1], rising[rows, inner], rising[rows, inner + 1]
    bend = low - 2 * mid + high
    peak = (bend < 0) & (mid > 0) & (mid >= low) & (mid >= high)
    place = t[inner] + np.where(peak, 0.5 * (low - high) / np.where(bend < 0, bend, -1.0), 0.0)
    return place, mid, peak


def _tukey(design: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Least squares in which far-off points count little or nothing."""
    weight = np.ones(len(target))
    answer = np.zeros(design.shape[1])
    for _ in range(4):
        weighted = design * weight[:, None]
        normal = design.T @ weighted
        normal += np.eye(len(normal)) * (1e-9 * np.trace(normal) + 1e-12)
        answer = np.linalg.solve(normal, weighted.T @ target)
        residual = target - design @ answer
        scale = max(1.4826 * float(np.median(np.abs(residual))), 0.02)
        weight = np.square(np.maximum(1 - (residual / (4.685 * scale)) ** 2, 0))
    return answer, weight


def _score(grey: Array, taught: _Taught, pose: Floats) -> float:
    """Correlation of the template with the picture at a pose, -1 to 1; 0 where the picture is flat."""
    turn = math.radians(pose[2])
    c, s = math.cos(turn), math.sin(turn)
    to_picture = np.array([[c, -s, 0.0], [s, c, 0.0]])
    to_picture[:, 2] = pose[:2] - to_picture[:, :2] @ taught.centre
    height, width = taught.image.shape
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    placed = corners @ to_picture[:, :2].T + to_picture[:, 2]
    if (placed < -2).any() or (placed > np.array([grey.shape[1], grey.shape[0]]) + 1).any():
        return 0.0  # partly outside the picture
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(grey, to_picture, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result: Any = cv2.matchTemplate(seen, taught.image, cv2.TM_CCOEFF_NORMED)
    value = float(result[0, 0])
    return value if math.isfinite(value) and value <= 1.001 and float(seen.std()) > 0.5 else 0.0


def _apart(one: Floats, other: Floats, taught: _Taught) -> bool:
    far = math.hypot(*(one[:2] - other[:2])) > 0.25 * min(taught.image.shape)
    return far or bool(abs((one[2] - other[2] + 180) % 360 - 180) > 20)


def _outline(taught: _Taught, pose: Floats) -> Shape:
    turn = math.radians(pose[2])
    c, s = math.cos(turn), math.sin(turn)
    hx, hy = taught.centre
    corners = [(-hx, -hy), (hx, -hy), (hx, hy), (-hx, hy)]
    return Shape("polygon", tuple((float(pose[0] + c * x - s * y), float(pose[1] + s * x + c * y)) for x, y in corners))
