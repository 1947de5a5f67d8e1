"""The CPU backend, the reference for all others: onnxruntime with the settings that are kind to a shared machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from inspector.infer.package import Package

Array = NDArray[Any]
_ERRORS_ONLY = 3  # onnxruntime's severity; warnings about graphs it can't improve are no news


class OnnxCpu:
    """One onnxruntime session on ``threads`` cores. See :class:`inspector.infer.backend.Backend`."""

    name = "cpu"

    def __init__(self, package: Package, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, threads)
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Spinning threads burn a core between parts and are slower when cores are shared.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        self._output = package.output.name
        self._session: Any = ort.InferenceSession(package.onnx, options, providers=["CPUExecutionProvider"])

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; onnxruntime makes new arrays each time, so they are the caller's own."""
        (output,) = self._session.run([self._output], dict(batch))
        return {self._output: np.asarray(output)}

    def close(self) -> None:
        """Free the session."""
        self._session = None
