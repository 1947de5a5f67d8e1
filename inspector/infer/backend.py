"""What a backend is, and the one way to open a model: choose a backend, prove it on the reference, warm it up.

A new backend is one file with a class that has ``name``, ``run`` and ``close`` (:class:`Backend`). Everything a
judge relies on is kept in :class:`Session`, once for all of them: what goes in is checked, what comes out is
checked and belongs to the caller, a failed run raises and never gives an earlier output.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inspector.codes import Code
from inspector.infer.engines import BUILD_LIMIT_S
from inspector.infer.package import Package
from inspector.infer.proof import Proof, prove
from inspector.parts import InspectionFault

Array = NDArray[Any]
Wish = Literal["auto", "cpu", "tensorrt"]

WARM_UP_RUNS = 20
WARM_UP_S = 0.5  # whichever comes first
PROBABILITY_SLACK = 1e-3  # reduced precision may end a hair outside 0..1

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """A backend can't run on this machine; the text says what is missing."""


class PoisonedFault(InspectionFault):
    """The accelerator failed under this process, for good: a CUDA error stays. The process has to be replaced."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.INTERNAL_ERROR, text)


class Backend(Protocol):
    """Runs one model on one kind of hardware. It is given checked batches only, and may raise anything."""

    @property
    def name(self) -> str:
        """What runs the model: ``cpu``, or ``tensorrt 10.3.0 on Orin``."""
        ...

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises :class:`PoisonedFault` when the process can't be trusted any more."""
        ...

    def close(self) -> None:
        """Free everything; called once."""
        ...


class Session:
    """A proven, warmed-up model.

    ``backend`` says what runs it, ``note`` why it is not what one might have expected ("" mostly), ``proof`` what
    the reference gave. Not for several threads at once.
    """

    def __init__(self, package: Package, backend: Backend, note: str = "") -> None:
        self.package = package
        self.backend = backend.name
        self.note = note
        self.poisoned = False
        self._backend: Backend | None = backend
        self._input = (package.input.name, tuple(package.input.shape))
        self._output = (package.output.name, tuple(package.output.shape))
        try:
            self.proof: Proof = prove(package, self.run)
            self._warm_up()
        except BaseException:
            self.close()
            raise

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name, both as the package says; the arrays are the caller's own.

        Raises InspectionFault, and :class:`PoisonedFault` when the process has to be replaced.
        """
        if self._backend is None:
            raise self._fault("it is closed")
        if self.poisoned:
            raise PoisonedFault(f"Model {self.package.name} can't run: {self.backend} failed before")
        try:
            output = self._backend.run(self._checked(batch))
        except PoisonedFault:
            self.poisoned = True
            raise
        except InspectionFault:
            raise
        except Exception as error:
            raise self._fault(f"{self.backend} failed: {_sentence(error)}") from error
        return self._answer(output)

    def close(self) -> None:
        """Free everything; calling it twice is harmless."""
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def _checked(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        name, shape = self._input
        if set(batch) != {name}:
            raise self._fault(f"it was given {', '.join(sorted(batch)) or 'nothing'}, it wants {name}")
        array = batch[name]
        if array.dtype != np.uint8 or array.shape != shape:
            raise self._fault(f"{name} is {array.dtype} {list(array.shape)}, it wants uint8 {list(shape)}")
        return {name: np.ascontiguousarray(array)}

    def _answer(self, outputs: dict[str, Array]) -> dict[str, Array]:
        name, shape = self._output
        array = outputs.get(name)
        if array is None or array.dtype != np.float32 or array.shape != shape:
            found = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise self._fault(f"{self.backend} gave {found} as {name}, wanted float32 {list(shape)}")
        low, high = float(array.min()), float(array.max())
        # NaN is never above a threshold, so without this a broken run would pass every part.
        if not (low >= -PROBABILITY_SLACK and high <= 1 + PROBABILITY_SLACK):
            raise self._fault(f"{self.backend} gave {name} from {low:g} to {high:g}, allowed is 0 to 1")
        return {name: array}

    def _fault(self, text: str) -> InspectionFault:
        return InspectionFault(Code.INTERNAL_ERROR, f"Model {self.package.name} gave no answer: {text}")

    def _warm_up(self) -> None:
        batch = {self.package.input.name: self.package.reference_inputs[:1]}
        until = time.monotonic() + WARM_UP_S
        for _ in range(WARM_UP_RUNS):
            self.run(batch)
            if time.monotonic() > until:
                break


def open_session(
    package: Package,
    wish: Wish = "auto",
    cache_dir: Path | None = None,
    threads: int = 1,
    build_limit_s: float = BUILD_LIMIT_S,
) -> Session:
    """A proven session. ``auto``: TensorRT where a GPU can run it, else the CPU.

    ``cache_dir`` keeps built engines (None: they are built each time, within ``build_limit_s``), ``threads`` is for
    the CPU. Raises InspectionFault with RECIPE_INVALID when the model can't run as wished, or gives other answers
    than its reference.
    """
    if wish not in ("auto", "cpu", "tensorrt"):
        raise InspectionFault(Code.RECIPE_INVALID, f"backend {wish!r} is unknown, allowed: auto, cpu, tensorrt")
    note = ""
    if wish != "cpu":
        try:
            return _on_gpu(package, cache_dir, build_limit_s)
        except Unavailable as error:
            note = str(error)
            if wish == "tensorrt":
                raise InspectionFault(
                    Code.RECIPE_INVALID,
                    f"Model {package.name} can't run on TensorRT here: {note}; install what is missing,"
                    " or choose the backend auto or cpu",
                ) from None
        except PoisonedFault:
            raise
        except InspectionFault as fault:
            if wish == "tensorrt":
                raise
            note = fault.text
            log.warning("model %s runs on the CPU: %s", package.name, note)
    return _on_cpu(package, threads, note)


def unavailable(wish: Literal["cpu", "tensorrt"]) -> str:
    """Why this kind of backend can't run on this machine, "" when it can."""
    try:
        if wish == "tensorrt":
            from inspector.infer import tensorrt

            tensorrt.require_gpu()
    except Unavailable as error:
        return str(error)
    return ""


def _on_cpu(package: Package, threads: int, note: str = "") -> Session:
    from inspector.infer.onnx_cpu import OnnxCpu

    try:
        backend = OnnxCpu(package, threads)
    except Exception as error:
        raise InspectionFault(
            Code.RECIPE_INVALID, f"Model {package.name} can't run on the CPU: {_sentence(error)}"
        ) from error
    return Session(package, backend, note)


def _on_gpu(package: Package, cache_dir: Path | None, build_limit_s: float) -> Session:
    from inspector.infer import tensorrt

    return Session(package, tensorrt.open_backend(package, cache_dir, build_limit_s))


def _sentence(error: Exception) -> str:
    """The first line of what a library said, at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
