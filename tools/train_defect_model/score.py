"""Part-level decisions of the exported model, on onnxruntime as in the station."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tools.train_defect_model.data import LABELS, MM_PER_PX, Faces

MIN_AREA_MM2 = {"scratch": 0.15, "stain": 0.5}
MIN_LENGTH_MM = {"scratch": 1.5, "stain": 0.0}
THRESHOLDS = tuple(round(0.1 + 0.05 * i, 2) for i in range(17))  # 0.10 .. 0.90


@dataclass(frozen=True)
class Answers:
    """Probabilities of all faces, (N, labels, H, W) float16, and the median time of a run."""

    probabilities: NDArray[np.float16]
    median_ms: float


def session(model: Path) -> Any:
    """Open the model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def answers(model: Path, faces: Faces) -> Answers:
    """Run the model over all faces."""
    run = session(model)
    found, took = [], []
    for image in faces.images:
        began = perf_counter()
        found.append(run.run(["probability"], {"image": image[None, None]})[0][0].astype(np.float16))
        took.append((perf_counter() - began) * 1e3)
    return Answers(np.stack(found), float(np.median(took)))


def rejects(probability: NDArray[np.float16], label: str, threshold: float) -> bool:
    """Tell whether a map (H, W) holds a patch from the threshold on that is large and long enough."""
    sure = (probability >= threshold).astype(np.uint8)
    if not sure.any():
        return False
    count, parts, stats, _ = cv2.connectedComponentsWithStats(sure, connectivity=8)
    for i in range(1, count):
        if stats[i, cv2.CC_STAT_AREA] * MM_PER_PX**2 < MIN_AREA_MM2[label]:
            continue
        outline = cv2.findContours((parts == i).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
        if (max(cv2.minAreaRect(outline)[1]) + 1) * MM_PER_PX >= MIN_LENGTH_MM[label]:
            return True
    return False


def choose_thresholds(faces: Faces, found: Answers) -> dict[str, float]:
    """Return each label's threshold: fewest missed, then fewest false, then the lower quarter of what is as good.

    A missed defect costs more than a false reject, so not the middle.
    """
    chosen = {}
    for k, label in enumerate(LABELS):
        marks = []
        for threshold in THRESHOLDS:
            hit = [rejects(p[k], label, threshold) for p in found.probabilities]
            missed = sum(not h for h, order in zip(hit, faces.orders, strict=True) if order.kind == label)
            false = sum(h for h, order in zip(hit, faces.orders, strict=True) if order.kind is None)
            marks.append((missed, false))
            print(f"{label} at {threshold:.2f}: {missed} missed, {false} false", flush=True)
        best = [t for t, mark in zip(THRESHOLDS, marks, strict=True) if mark == min(marks)]
        chosen[label] = best[len(best) // 4]
    return chosen


def score(faces: Faces, found: Answers, thresholds: dict[str, float]) -> dict[str, Any]:
    """Count part-level decisions and the pixel overlap at the thresholds."""
    hits = [
        {label for k, label in enumerate(LABELS) if rejects(p[k], label, thresholds[label])}
        for p in found.probabilities
    ]
    kinds = [order.kind for order in faces.orders]
    good = [h for h, kind in zip(hits, kinds, strict=True) if kind is None]
    result: dict[str, Any] = {
        "parts": len(kinds),
        "good": {"parts": len(good), "false_rejects": sum(bool(h) for h in good)},
    }
    for k, label in enumerate(LABELS):
        own = [i for i, kind in enumerate(kinds) if kind == label]
        sure = found.probabilities[own, k] >= thresholds[label]
        drawn = faces.masks[own] == 1 + k
        result[label] = {
            "parts": len(own),
            "rejected": sum(bool(hits[i]) for i in own),
            "rejected_under_its_label": sum(label in hits[i] for i in own),
            "missed_seeds": [faces.orders[i].seed for i in own if not hits[i]],
            "false_on_good": sum(label in h for h in good),
            "pixel_iou": round(float((sure & drawn).sum() / (sure | drawn).sum()), 3),
        }
    others = sorted({kind for kind in kinds if kind is not None and kind not in LABELS})
    if others:
        result["labelled_on_other_defects"] = {
            kind: f"{sum(bool(h) for h, k in zip(hits, kinds, strict=True) if k == kind)} of {kinds.count(kind)}"
            for kind in others
        }
    return result
