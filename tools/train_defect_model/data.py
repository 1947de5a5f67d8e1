"""Rendered faces with their defects' masks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import DefectKind, Pose, drawing, rectify
from tools.part_renderer.plan import Plan, plan_part
from tools.part_renderer.render import draw

LABELS = ("scratch", "stain")
MM_PER_PX = 0.125
WIDTH_PX, HEIGHT_PX = 480, 320
POSE_ERROR_MM = 0.1
POSE_ERROR_DEG = 0.1
_COVERED = {"scratch": 64, "stain": 128}  # of 255: from this cover on a pixel of the face belongs to the defect

# Seeds far from each other and from what mixed_run uses, so that no part is in two sets.
TRAIN_SEED, VALIDATION_SEED, HELD_OUT_SEED = 10**12, 2 * 10**12, 6 * 10**12

_FAINT = (0.8, 1.4)  # contrast of faint defects, of the smallest that must be found


class Order(NamedTuple):
    """One part to render; faint: its scratch or stain is drawn about as faint as must still be found."""

    seed: int
    kind: DefectKind | None
    faint: bool = False


@dataclass(frozen=True)
class Faces:
    """Rectified faces (N, 320, 480) uint8, label masks (N, 320, 480) uint8 (0 none, 1 + index in LABELS)."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    orders: tuple[Order, ...]


def orders(base: int, counts: Sequence[tuple[DefectKind | None, int]], faint_share: float = 0.0) -> list[Order]:
    """Return orders for counts of each kind, seeds counting from base; so many scratches and stains are faint."""
    wanted = [(kind, i < faint_share * count) for kind, count in counts for i in range(count)]
    return [Order(base + i, kind, kind in LABELS and faint) for i, (kind, faint) in enumerate(wanted)]


def _faint(plan: Plan, rng: np.random.Generator) -> Plan:
    factor = float(rng.uniform(*_FAINT))
    if plan.scratch is not None:
        contrast = factor * drawing.SCRATCH_CONTRAST[0] / float(plan.scratch.strength.min())
        return replace(
            plan, scratch=replace(plan.scratch, contrast=float(np.copysign(contrast, plan.scratch.contrast)))
        )
    if plan.stain is not None:
        return replace(plan, stain=replace(plan.stain, contrast=-factor * drawing.STAIN_CONTRAST[0]))
    return plan


def face(order: Order) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one part and cut out its face with a pose error, as a locator would leave; also its mask."""
    rng = np.random.default_rng([order.seed, 99])
    dx, dy, turn = rng.uniform(-1.0, 1.0, 3)
    plan = plan_part(order.seed, order.kind)
    picture, flaw = draw(_faint(plan, rng) if order.faint else plan)
    true = plan.pose
    middle = true.to_image(np.array([[30.0, 20.0]]))[0]
    shift = POSE_ERROR_MM / drawing.MM_PER_PX
    pose = Pose.about_centre(
        float(middle[0]) + dx * shift, float(middle[1]) + dy * shift, true.angle_deg + turn * POSE_ERROR_DEG
    )
    size = (WIDTH_PX, HEIGHT_PX)
    image = rectify(picture, pose, MM_PER_PX, size)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    if order.kind in LABELS and flaw is not None:
        cover = rectify(flaw, pose, MM_PER_PX, size)
        mask[cover >= _COVERED[order.kind]] = 1 + LABELS.index(order.kind)
    return image, mask


def _start() -> None:
    cv2.setNumThreads(1)
    os.nice(10)


def faces(wanted: Sequence[Order], processes: int = 2) -> Faces:
    """Render all the orders."""
    with multiprocessing.get_context("spawn").Pool(processes, _start) as pool:
        both = pool.map(face, wanted, chunksize=16)
    return Faces(np.stack([b[0] for b in both]), np.stack([b[1] for b in both]), tuple(wanted))
