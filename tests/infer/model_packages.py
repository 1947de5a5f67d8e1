"""A small true model and its package, for tests: it calls dark and bright pixels what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from ruamel.yaml import YAML

HEIGHT, WIDTH, MM_PER_PX = 48, 64, 0.5
DARK_BELOW, BRIGHT_ABOVE = 80, 200  # grey where the probability is one half


def tiny_model(height: int = HEIGHT, width: int = WIDTH) -> onnx.ModelProto:
    """uint8 ``image`` (1, 1, H, W) -> ``probability`` (1, 2, H, W) of dark and bright: cast, conv, sigmoid."""
    slope = 0.2  # per grey
    weights = np.zeros((2, 1, 3, 3), np.float32)
    weights[:, 0, 1, 1] = -slope, slope
    bias = np.array([slope * DARK_BELOW, -slope * BRIGHT_ABOVE], np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["grey", "weights", "bias"], ["logit"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, height, width])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, 2, height, width])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(count: int = 2) -> np.ndarray:
    """(count, 1, H, W) uint8: grey, with one dark and one bright patch each."""
    images = np.full((count, 1, HEIGHT, WIDTH), 140, np.uint8)
    for n in range(count):
        images[n, 0, 5 + n : 9 + n, 10:30] = 30
        images[n, 0, 30:40, 40 + n : 48 + n] = 240
    return images


def outputs_of(model: bytes, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probability"], {"image": image[None]})[0] for image in images])


def write_package(folder: Path, model: bytes | None = None, arrays: dict[str, Any] | None = None) -> Path:
    """A package in ``folder``; its digests always match what is written."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = tiny_model().SerializeToString()
    (folder / "model.onnx").write_bytes(sound if model is None else model)
    if arrays is None:
        images = pictures()
        arrays = {"image": images, "probability": outputs_of(sound, images)}
    np.savez_compressed(folder / "reference.npz", **arrays)
    change(folder)
    return folder


def change(folder: Path, *where: str | int, to: Any = None, drop: bool = False) -> None:
    """Write ``package.yaml`` for the files in ``folder``, with one key changed or dropped."""

    def sha256(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    data: dict[str, Any] = {
        "name": "tiny",
        "version": "1.2.3",
        "licence": "Apache-2.0",
        "onnx": {"file": "model.onnx", "sha256": sha256("model.onnx")},
        "input": {"name": "image", "shape": [1, 1, HEIGHT, WIDTH], "dtype": "uint8", "mm_per_px": MM_PER_PX},
        "outputs": [{"name": "probability", "shape": [1, 2, HEIGHT, WIDTH], "dtype": "float32"}],
        "labels": [{"name": "dark", "threshold": 0.5}, {"name": "bright", "threshold": 0.5}],
        "reference": {"file": "reference.npz", "sha256": sha256("reference.npz"), "tolerance": 0.01},
        "trained": {"script": "none"},
        "scores": {"held_out": {"parts": 0}},
    }
    if where:
        node: Any = data
        for key in where[:-1]:
            node = node[key]
        if drop:
            del node[where[-1]]
        else:
            node[where[-1]] = to
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    with (folder / "package.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(data, stream)
