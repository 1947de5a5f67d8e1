"""Score a finished package on the hardest parts there can be.

Smallest contrast, narrowest and shortest scratches, smallest stains, most blur, noise and texture, and brushed metal
the model has never seen: `python -m tools.train_defect_model.hardest recipes/models/plate-face`.
Needs onnxruntime and PyYAML besides numpy and OpenCV.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import yaml

from tools.part_renderer import drawing, rectify, textures
from tools.part_renderer.plan import Plan, plan_part
from tools.part_renderer.render import draw
from tools.train_defect_model.data import HEIGHT_PX, LABELS, MM_PER_PX, WIDTH_PX
from tools.train_defect_model.score import rejects, session

FIRST_SEED = 5 * 10**12


def hardest(kind: drawing.DefectKind | None) -> Iterator[Plan]:
    """Yield plans of a kind, each at the limit of what the renderer ever draws."""
    for seed in count(FIRST_SEED):
        plan = plan_part(seed, kind)
        if plan.geometry.get("length_mm", 0.0) > 1.2 * drawing.SCRATCH_LENGTH_MM[0]:
            continue
        if plan.geometry.get("area_mm2", 0.0) > 1.2 * drawing.STAIN_AREA_MM2[0]:
            continue
        scratch, stain = plan.scratch, plan.stain
        if scratch is not None:
            faintest = drawing.SCRATCH_CONTRAST[0] / scratch.strength.min()
            width = scratch.width_mm * (drawing.SCRATCH_WIDTH_MM[0] / scratch.width_mm.max())
            scratch = replace(scratch, contrast=float(np.copysign(faintest, scratch.contrast)), width_mm=width)
        if stain is not None:
            stain = replace(stain, contrast=-drawing.STAIN_CONTRAST[0])
        unseen = textures.BANKS + plan.scene.metal_bank
        scene = replace(plan.scene, metal_bank=unseen, texture_grey=4.0, blur_sigma_px=1.1, noise_grey=3.0)
        yield replace(plan, scratch=scratch, stain=stain, scene=scene)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_defect_model.hardest", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--count", type=int, default=150, help="parts of each kind (150)")
    given = parser.parse_args()
    os.nice(10)
    cv2.setNumThreads(1)
    spec = yaml.safe_load((given.package / "package.yaml").read_text(encoding="utf-8"))
    thresholds = {label["name"]: label["threshold"] for label in spec["labels"]}
    run = session(given.package / "model.onnx")
    kinds: tuple[drawing.DefectKind | None, ...] = ("scratch", "stain", None)
    for kind in kinds:
        rejected = named = 0
        for plan in islice(hardest(kind), given.count):
            face = rectify(draw(plan)[0], plan.pose, MM_PER_PX, (WIDTH_PX, HEIGHT_PX))
            p = run.run(["probability"], {"image": face[None, None]})[0][0]
            hits = {label for k, label in enumerate(LABELS) if rejects(p[k], label, thresholds[label])}
            rejected += bool(hits)
            named += kind in hits
        print(f"{kind or 'good'}: {rejected} of {given.count} rejected, {named} under its label", flush=True)


if __name__ == "__main__":
    main()
