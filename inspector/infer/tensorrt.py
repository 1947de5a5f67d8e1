"""The GPU backend: one code path for ``tensorrt`` and ``tensorrt_rtx``, memory and streams through pycuda.

Only names that TensorRT 10.3 to 11.4 and TensorRT for RTX share are used; a test holds this file to that list.
Engines are built on the machine that runs them (:func:`inspector.infer.engines.build_apart`) and cached there.
Rules that CUDA makes: the primary context (TensorRT's own), one thread, one stream a model; an error under way
stays for the life of the process, so every failed run is a :class:`~inspector.infer.backend.PoisonedFault`.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.codes import Code
from inspector.infer.backend import PoisonedFault, Unavailable
from inspector.infer.engines import EngineCache, EngineError, EngineKey, build_apart, explain
from inspector.infer.package import Package
from inspector.parts import InspectionFault

Array = NDArray[Any]
MODULES = ("tensorrt", "tensorrt_rtx")
WORKSPACE_BYTES = 1 << 30
FLAGS = f"strongly_typed workspace={WORKSPACE_BYTES}"
RUN_LIMIT_S = 2.0
FIRST_RUN_LIMIT_S = 60.0  # kernels may be compiled in it
_POLL_S = 50e-6
_NAN_BITS = 0x7FC00000  # a float32 NaN

log = logging.getLogger(__name__)
_retained: list[Any] = []


def import_vendor(names: tuple[str, ...] = MODULES) -> Any:
    """The first of the modules that imports. Raises Unavailable that names what each of them lacks."""
    lacks = []
    for name in names:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a library the binding needs is missing
            lacks.append(f"{name}: {error}")
    raise Unavailable(f"TensorRT can't be imported ({'; '.join(lacks)})")


def require_gpu() -> tuple[Any, Any]:
    """The TensorRT module and ``pycuda.driver``, when there is a GPU for them. Raises Unavailable."""
    trt = import_vendor()
    try:
        cuda: Any = importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:
        raise Unavailable(f"pycuda can't be imported ({error})") from None
    try:
        cuda.init()
        count = cuda.Device.count()
    except Exception as error:  # pycuda's LogicError has no base but Exception
        raise Unavailable(f"CUDA does not start ({error})") from None
    if count < 1:
        raise Unavailable("CUDA sees no GPU")
    return trt, cuda


def _primary_context(cuda: Any) -> Any:
    """The first GPU's primary context, retained once a process: pycuda leaves it on CUDA's stack when it lets go."""
    if not _retained:
        _retained.append(cuda.Device(0).retain_primary_context())
        atexit.register(_retained.clear)  # while CUDA still stands
    return _retained[0]


def make_log(trt: Any) -> Any:
    """A TensorRT logger that keeps the last errors in ``.errors`` and passes everything to ``logging``."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(msg)
                log.warning("%s: %s", trt.__name__, msg)
            else:
                log.debug("%s: %s", trt.__name__, msg)

    return Log()


def build_engine(trt: Any, onnx: bytes) -> bytes:
    """The engine for a checked ONNX model of fixed shapes. Raises EngineError."""
    said = make_log(trt)
    builder = trt.Builder(said)
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # both are always on, and gone, in later versions
        if hasattr(trt.NetworkDefinitionCreationFlag, name):
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, said)
    if not parser.parse(onnx):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise EngineError(f"{trt.__name__} can't read the model: {explain([*errors, *said.errors])}")
    if network.num_layers == 0 or network.num_outputs == 0:
        raise EngineError(f"{trt.__name__} found no network in the model")  # what it makes of garbage
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{trt.__name__} built no engine: {explain(said.errors)}")
    return bytes(plan)


def load_engine(trt: Any, said: Any, plan: bytes) -> tuple[Any, Any]:
    """Runtime and engine. Raises EngineError with the cause; the library itself only gives None and a log line."""
    runtime = trt.Runtime(said)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"{trt.__name__} can't load the engine: {explain(said.errors)}")
    return runtime, engine


def open_backend(package: Package, cache_dir: Path | None, build_limit_s: float) -> TensorRT:
    """The model on the first GPU, its engine from the cache or built now. Raises Unavailable or InspectionFault."""
    trt, cuda = require_gpu()
    try:
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        onnx_sha256 = hashlib.sha256(package.onnx).hexdigest()
        key = EngineKey(onnx_sha256, trt.__name__, trt.__version__, device.name(), f"{major}{minor}", FLAGS)
        cache = None if cache_dir is None else EngineCache(cache_dir)
        plan = cache.load(key) if cache else None
        if cache and plan is not None:
            try:
                return TensorRT(package, trt, cuda, plan)
            except EngineError as error:
                log.warning("the cached engine of model %s is built again: %s", package.name, error)
                cache.forget(key)
        plan = build_apart(trt.__name__, package.onnx, build_limit_s)
        backend = TensorRT(package, trt, cuda, plan)
        if cache:
            cache.store(key, plan)
        return backend
    except EngineError as error:
        raise InspectionFault(
            Code.RECIPE_INVALID, f"Model {package.name} can't run on TensorRT here: {error}"
        ) from None


class TensorRT:
    """One engine with its buffers. See :class:`inspector.infer.backend.Backend`; for the opening thread only."""

    def __init__(self, package: Package, trt: Any, cuda: Any, plan: bytes) -> None:
        """Raises EngineError."""
        self._cuda = cuda
        self._thread = threading.get_ident()
        self._primary = _primary_context(cuda)
        self.name = f"{trt.__name__} {trt.__version__} on {cuda.Device(0).name()}"
        self._in, self._out = package.input.name, package.output.name
        self._ran = False
        try:
            with self._current():
                self._said = make_log(trt)  # outlives the runtime, which keeps a bare pointer to it
                self._runtime, self._engine = load_engine(trt, self._said, plan)
                self._check_tensors(trt, package)
                self._context: Any = self._engine.create_execution_context()
                if self._context is None:
                    raise EngineError(f"no execution context: {explain(self._said.errors)}")
                self._stream: Any = cuda.Stream()
                self._host_in = cuda.pagelocked_empty(tuple(package.input.shape), np.uint8)
                self._host_out = cuda.pagelocked_empty(tuple(package.output.shape), np.float32)
                self._gpu_in: Any = cuda.mem_alloc(self._host_in.nbytes)
                self._gpu_out: Any = cuda.mem_alloc(self._host_out.nbytes)
                for name, memory in ((self._in, self._gpu_in), (self._out, self._gpu_out)):
                    if not self._context.set_tensor_address(name, int(memory)):
                        raise EngineError(f"no address for {name}: {explain(self._said.errors)}")
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"CUDA failed while the engine was loaded: {explain([str(error)])}") from error

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Copy in, run, copy out, wait with a limit. Anything unusual raises PoisonedFault."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("a model on the GPU runs in the thread that opened it")
        self._said.errors.clear()
        try:
            with self._current():
                np.copyto(self._host_in, batch[self._in])
                # Should the kernels or the copy back not happen, NaN is found and nobody takes it for an answer.
                self._host_out.fill(np.nan)
                self._cuda.memset_d32_async(self._gpu_out, _NAN_BITS, self._host_out.size, self._stream)
                self._cuda.memcpy_htod_async(self._gpu_in, self._host_in, self._stream)
                if not self._context.execute_async_v3(self._stream.handle):
                    raise RuntimeError(explain(self._said.errors))
                self._cuda.memcpy_dtoh_async(self._host_out, self._gpu_out, self._stream)
                self._wait()
        except Exception as error:
            raise PoisonedFault(f"The GPU failed and needs a new process: {explain([str(error)])}") from error
        if self._said.errors:
            raise PoisonedFault(f"The GPU failed and needs a new process: {explain(self._said.errors)}")
        return {self._out: self._host_out.copy()}

    def close(self) -> None:
        """Free the engine and its buffers, in the order that CUDA needs."""
        try:
            with self._current():
                self._context = None
                self._engine = None
                self._runtime = None
                self._gpu_in.free()
                self._gpu_out.free()
                self._host_in = self._host_out = np.empty(0, np.float32)
                self._stream = None
        except Exception as error:  # after a CUDA fault nothing can be freed; the process goes anyway
            log.warning("%s was not freed: %s", self.name, error)

    def _wait(self) -> None:
        # Not synchronize(), which waits for ever when the GPU hangs.
        limit_s = RUN_LIMIT_S if self._ran else FIRST_RUN_LIMIT_S
        until = time.monotonic() + limit_s
        while not self._stream.is_done():
            if time.monotonic() > until:
                raise TimeoutError(f"no answer within {limit_s:g} s")
            time.sleep(_POLL_S)
        self._ran = True

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._primary.push()
        try:
            yield
        finally:
            self._primary.pop()

    def _check_tensors(self, trt: Any, package: Package) -> None:
        engine = self._engine
        found = {}
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            found[name] = (
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                engine.get_tensor_dtype(name),
                list(engine.get_tensor_shape(name)),
            )
        wanted = {
            package.input.name: (True, trt.DataType.UINT8, package.input.shape),
            package.output.name: (False, trt.DataType.FLOAT, package.output.shape),
        }
        if found != wanted:
            raise EngineError(f"the engine has the tensors {found}, package.yaml says {wanted}")


def main(arguments: list[str]) -> int:
    """``python -m inspector.infer.tensorrt MODULE PLAN SECONDS < model.onnx``: build an engine, or say why not."""
    module, plan, seconds = arguments
    signal.alarm(int(seconds) + 10)  # whoever started us may be gone
    try:
        data = build_engine(import_vendor((module,)), sys.stdin.buffer.read())
    except (EngineError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 1
    Path(plan).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
