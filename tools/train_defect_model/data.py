"""Rendered faces with their defects' masks."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.part_renderer import DefectKind, Pose, rectify, render

LABELS = ("scratch", "stain")
MM_PER_PX = 0.125
WIDTH_PX, HEIGHT_PX = 480, 320
POSE_ERROR_MM = 0.1
POSE_ERROR_DEG = 0.1
_COVERED = {"scratch": 64, "stain": 128}  # of 255: from this cover on a pixel of the face belongs to the defect

# Seeds far from each other and from what mixed_run uses, so that no part is in two sets.
TRAIN_SEED, VALIDATION_SEED, HELD_OUT_SEED = 10**12, 2 * 10**12, 3 * 10**12

Order = tuple[int, "DefectKind | None"]


@dataclass(frozen=True)
class Faces:
    """Rectified faces (N, 320, 480) uint8, label masks (N, 320, 480) uint8 (0 none, 1 + index in LABELS)."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    orders: tuple[Order, ...]


def orders(base: int, counts: Sequence[tuple[DefectKind | None, int]]) -> list[Order]:
    """Return (seed, defect) for counts of each kind, seeds counting from base."""
    kinds = [kind for kind, count in counts for _ in range(count)]
    return [(base + i, kind) for i, kind in enumerate(kinds)]


def face(order: Order) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one part and cut out its face with a pose error, as a locator would leave; also its mask."""
    seed, kind = order
    part = render(seed, kind)
    rng = np.random.default_rng([seed, 99])
    dx, dy, turn = rng.uniform(-1.0, 1.0, 3)
    true = part.truth.pose
    middle = true.to_image(np.array([[30.0, 20.0]]))[0]
    shift = POSE_ERROR_MM / 0.06
    pose = Pose.about_centre(
        float(middle[0]) + dx * shift, float(middle[1]) + dy * shift, true.angle_deg + turn * POSE_ERROR_DEG
    )
    size = (WIDTH_PX, HEIGHT_PX)
    image = rectify(part.image, pose, MM_PER_PX, size)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    if kind in LABELS and part.truth.mask is not None:
        cover = rectify(part.truth.mask, pose, MM_PER_PX, size)
        mask[cover >= _COVERED[kind]] = 1 + LABELS.index(kind)
    return image, mask


def _start() -> None:
    cv2.setNumThreads(1)
    os.nice(10)


def faces(wanted: Sequence[Order], processes: int = 2) -> Faces:
    """Render all the orders."""
    with multiprocessing.get_context("spawn").Pool(processes, _start) as pool:
        both = pool.map(face, wanted, chunksize=16)
    return Faces(np.stack([b[0] for b in both]), np.stack([b[1] for b in both]), tuple(wanted))
