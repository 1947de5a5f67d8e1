"""The committed model package: whole, reproducible, and right on parts it has never seen."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ruamel.yaml import YAML

from tools.part_renderer import rectify, render

FOLDER = Path(__file__).parents[3] / "recipes" / "models" / "plate-face"
SEED = 4 * 10**12  # neither trained on, validated on nor scored on


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return YAML(typ="safe").load((FOLDER / "package.yaml").read_text())


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"])


def test_the_digests_are_the_files(spec):
    for part in (spec["onnx"], spec["reference"]):
        assert hashlib.sha256((FOLDER / part["file"]).read_bytes()).hexdigest() == part["sha256"]


def test_the_graph_is_sound_small_and_static(spec):
    path = FOLDER / "model.onnx"
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert path.stat().st_size <= 2 * 2**20 and model.opset_import[0].version <= 17
    [image], [probability] = model.graph.input, model.graph.output
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == spec["input"]["shape"]
    assert [d.dim_value for d in probability.type.tensor_type.shape.dim] == spec["outputs"][0]["shape"]


def test_the_reference_outputs_come_again(spec, session):
    with np.load(FOLDER / "reference.npz") as reference:
        inputs, outputs = reference["image"], reference["probability"].astype(np.float32)
    assert (FOLDER / "reference.npz").stat().st_size < 600_000 and 2 <= len(inputs) <= 4
    for k, image in enumerate(inputs):
        found = session.run(["probability"], {"image": image[None]})[0][0]
        assert np.abs(found - outputs[k]).max() <= spec["reference"]["tolerance"]
    *faulty, good = outputs  # a stray pixel is no finding: what counts is a patch of the label's smallest area
    for k, label in enumerate(spec["labels"]):
        smallest_px = label["min_area_mm2"] / spec["input"]["mm_per_px"] ** 2
        assert max((one[k] >= label["threshold"]).sum() for one in faulty) > smallest_px
        assert (good[k] >= label["threshold"]).sum() < smallest_px


def test_the_light_does_not_matter(session):
    part = render(SEED, "stain")
    face = rectify(part.image, part.truth.pose, 0.125, (480, 320))
    dim = (face.astype(float) * 0.6).round().astype(np.uint8)
    bright, dark = (session.run(None, {"image": f[None, None]})[0] >= 0.5 for f in (face, dim))
    assert (bright & dark).sum() / (bright | dark).sum() > 0.8


@pytest.mark.parametrize("kind", [None, "scratch", "stain"])
def test_parts_never_seen_are_judged_right(spec, session, kind):
    import cv2

    for seed in range(SEED + 10, SEED + 16):
        part = render(seed, kind)
        face = rectify(part.image, part.truth.pose, 0.125, (480, 320))
        [probability] = session.run(None, {"image": face[None, None]})[0]
        found = set()
        for p, label in zip(probability, spec["labels"], strict=True):
            _, _, stats, _ = cv2.connectedComponentsWithStats((p >= label["threshold"]).astype(np.uint8))
            sides = stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]] * 0.125
            areas = stats[1:, cv2.CC_STAT_AREA] * 0.125**2
            if ((areas >= label["min_area_mm2"]) & (np.hypot(*sides.T) >= label["min_length_mm"])).any():
                found.add(label["name"])
        assert (kind in found) if kind else not found, seed


def test_the_package_tells_its_score(spec):
    held_out = spec["scores"]["held_out"]
    assert held_out["good"]["parts"] >= 300
    assert held_out["scratch"]["parts"] >= 150 and held_out["stain"]["parts"] >= 150
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(spec["trained"]["date"]))
