"""Write the model package: the ONNX file, its reference data, and package.yaml that names both by digest."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from numpy.typing import NDArray

from tools.train_defect_model.data import HEIGHT_PX, LABELS, MM_PER_PX, WIDTH_PX
from tools.train_defect_model.net import Net, Shipped
from tools.train_defect_model.score import MIN_AREA_MM2, MIN_LENGTH_MM, session

TOLERANCE = 0.02
VERSION = "1.0.0"


def export(net: Net, path: Path) -> None:
    """Write the net as ONNX, opset 17, static shapes, batch normalisation folded in."""
    image = torch.zeros(1, 1, HEIGHT_PX, WIDTH_PX, dtype=torch.uint8)
    with warnings.catch_warnings():
        # the older exporter is the one that writes opset 17, which TensorRT 10.3 reads
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Shipped(net).eval(), (image,), str(path), input_names=["image"], output_names=["probability"],
            opset_version=17, dynamo=False,
        )  # fmt: skip
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_package(
    folder: Path,
    references: NDArray[np.uint8],
    thresholds: dict[str, float],
    trained: dict[str, Any],
    scores: dict[str, Any],
) -> None:
    """Complete folder, which holds model.onnx already; references are faces (N, 320, 480)."""
    run = session(folder / "model.onnx")
    inputs = references[:, None]
    outputs = np.concatenate([run.run(["probability"], {"image": one[None]})[0] for one in inputs])
    # three decimals are far inside the tolerance and pack to a tenth
    np.savez_compressed(folder / "reference.npz", image=inputs, probability=outputs.round(3).astype(np.float16))
    spec = {
        "name": folder.name,
        "version": VERSION,
        "licence": "Apache-2.0",
        "onnx": {"file": "model.onnx", "sha256": _sha256(folder / "model.onnx")},
        "input": {"name": "image", "shape": [1, 1, HEIGHT_PX, WIDTH_PX], "dtype": "uint8", "mm_per_px": MM_PER_PX},
        "outputs": [{"name": "probability", "shape": [1, len(LABELS), HEIGHT_PX, WIDTH_PX], "dtype": "float32"}],
        "labels": [
            {
                "name": label,
                "threshold": thresholds[label],
                "min_area_mm2": MIN_AREA_MM2[label],
                "min_length_mm": MIN_LENGTH_MM[label],
            }
            for label in LABELS
        ],
        "reference": {
            "file": "reference.npz", "sha256": _sha256(folder / "reference.npz"), "tolerance": TOLERANCE,
        },
        "trained": trained,
        "scores": scores,
    }  # fmt: skip
    head = (
        "# The input is the plate's face, 60 x 40 mm, upright at 0.125 mm per px: pixel (column, row) shows the part\n"
        "# point ((column + 0.5) * 0.125, (row + 0.5) * 0.125) mm. The picture is smoothed once with the 3 x 3\n"
        "# binomial kernel (cv2.GaussianBlur(image, (3, 3), 0)), then sampled with cv2.warpAffine, INTER_LINEAR,\n"
        "# BORDER_REPLICATE. Normalisation is inside the graph.\n"
    )
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=110)
    (folder / "package.yaml").write_text(head + text, encoding="utf-8")
