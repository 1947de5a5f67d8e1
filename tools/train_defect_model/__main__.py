"""Render the parts, train, export, choose thresholds, score on held-out parts, write the package.

Needs torch 2.13 (CPU), onnx, onnxruntime and PyYAML besides numpy and OpenCV, best in an environment of its own;
see README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from tools.part_renderer import DEFECT_KINDS
from tools.train_defect_model import data
from tools.train_defect_model.package import export, write_package
from tools.train_defect_model.score import answers, choose_thresholds, score
from tools.train_defect_model.train import BATCH, train

FAINT_SHARE = 0.45  # of the scratches and stains trained on


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_defect_model", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="package folder, such as recipes/models/plate-face")
    parser.add_argument("--steps", type=int, default=1600, help="training steps (1600)")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and batches (1)")
    given = parser.parse_args()
    os.nice(10)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # on a busy machine two threads wait for each other longer than they work
    given.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    others = [kind for kind in DEFECT_KINDS if kind not in data.LABELS]
    parts = [("scratch", 850), ("stain", 600), (None, 350), *((kind, 15) for kind in others)]
    faces = data.faces(data.orders(data.TRAIN_SEED, parts, FAINT_SHARE))
    rendered_s = time.monotonic() - began
    print(f"{len(faces.images)} training parts in {rendered_s:.0f} s", flush=True)
    net = train(faces, given.steps, given.seed)
    trained_s = time.monotonic() - began - rendered_s
    print(f"{given.steps} steps in {trained_s:.0f} s", flush=True)
    model = given.out / "model.onnx"
    export(net, model)

    validation = data.faces(data.orders(data.VALIDATION_SEED, [("scratch", 150), ("stain", 150), (None, 200)], 0.3))
    thresholds = choose_thresholds(validation, answers(model, validation))
    held_out = data.faces(
        data.orders(
            data.HELD_OUT_SEED, [(None, 400), ("scratch", 200), ("stain", 200), *((kind, 10) for kind in others)]
        )
    )
    found = answers(model, held_out)
    scores = score(held_out, found, thresholds)
    print(json.dumps(scores, indent=2), f"{found.median_ms:.1f} ms a face", flush=True)

    first = [next(i for i, order in enumerate(held_out.orders) if order.kind == k) for k in ("scratch", "stain", None)]
    trained = {
        "script": "tools/train_defect_model",
        "on": "rendered parts (tools/part_renderer) with scratches and stains; good parts and other defects as ground",
        "parts": {str(kind or "good"): count for kind, count in parts},
        "faint_share": FAINT_SHARE,
        "first_seed": data.TRAIN_SEED,
        "seed": given.seed,
        "steps": given.steps,
        "batch": BATCH,
        "parameters": sum(p.numel() for p in net.parameters()),
        "torch": torch.__version__.split("+")[0],
        "minutes": {"rendering": round(rendered_s / 60, 1), "training": round(trained_s / 60, 1)},
        "date": datetime.date.today().isoformat(),
    }
    wanted = {
        "thresholds_from": f"{len(validation.images)} other parts, first seed {data.VALIDATION_SEED}",
        "held_out": {
            "first_seed": data.HELD_OUT_SEED,
            "pose_error": f"up to {data.POSE_ERROR_MM} mm and {data.POSE_ERROR_DEG} deg",
            **scores,
        },
    }
    write_package(given.out, np.stack([held_out.images[i] for i in first]), thresholds, trained, wanted)
    print(f"all in {(time.monotonic() - began) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
