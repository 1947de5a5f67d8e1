"""Checks of an ONNX graph before any engine sees it: engines accept garbage, or fail in ways nobody can read.

TensorRT's parser takes garbage bytes for an empty network without an error, so nothing goes to it unchecked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

Tensors = Mapping[str, tuple[str, Sequence[int]]]  # name -> (numpy dtype name, shape)
DOMAINS = ("", "ai.onnx")


def check_graph(data: bytes, inputs: Tensors, outputs: Tensors) -> None:
    """Prove that ``data`` is a whole, self-contained ONNX model of the standard operators with these tensors.

    Raises ValueError with a sentence that says what was found and what is allowed.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise ValueError(f"not an ONNX file, or cut short ({len(data)} bytes)") from None
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ValueError(
                f"weights {_shown([tensor.name])} lie in another file; allowed is one file with everything in it"
            )
    domains = sorted({*(o.domain for o in model.opset_import), *(n.domain for n in _nodes(model.graph))})
    foreign = [d for d in domains if d not in DOMAINS]
    if foreign or model.functions:
        found = _shown(foreign) if foreign else "functions of its own"
        raise ValueError(f"uses operators of {found}; allowed are the standard ones (ai.onnx)")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"not a valid ONNX model: {_first_line(error)}") from None
    weights = {w.name for w in model.graph.initializer}
    _same("input", [v for v in model.graph.input if v.name not in weights], inputs)
    _same("output", model.graph.output, outputs)


def _same(kind: str, found: Iterable[Any], wanted: Tensors) -> None:
    infos = {v.name: v.type.tensor_type for v in found}
    if set(infos) != set(wanted):
        raise ValueError(f"the graph's {kind}s are {_shown(infos) or 'none'}; package.yaml says {_shown(wanted)}")
    for name, (dtype, shape) in wanted.items():
        info = infos[name]
        got_dtype = _dtype_name(info.elem_type)
        got_shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in info.shape.dim[:8]]
        if got_dtype != dtype or got_shape != list(shape):
            sizes = "x".join(str(d) if isinstance(d, int) else repr(d)[:20] for d in got_shape)
            raise ValueError(
                f"{kind} {name!r} is {got_dtype} {sizes} in the graph; package.yaml says {dtype}"
                f" {'x'.join(str(d) for d in shape)}"
            )


def _dtype_name(elem_type: int) -> str:
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).name)
    except (KeyError, TypeError):
        return f"type {elem_type}"


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _nodes(graph: Any) -> Iterator[Any]:
    for part in _graphs(graph):
        yield from part.node


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor with values: weights, sparse weights and constants, in sub-graphs too."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)


def _shown(names: Iterable[str]) -> str:
    """Names out of a file that may hold anything, on one line."""
    return ", ".join(repr(name)[:60] for name in sorted(names)[:8])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
