"""The TensorRT backend, as far as it goes without a GPU: names, building on the CPU, and what it says when it can't."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from inspector.codes import Code
from inspector.infer import tensorrt as room
from inspector.infer.backend import Unavailable, open_session
from inspector.infer.engines import EngineError, build_apart
from inspector.infer.package import find_packages, load_package
from inspector.parts import InspectionFault
from tests.infer.model_packages import tiny_model, write_package

SHIPPED = find_packages(Path(__file__).parents[2] / "recipes" / "models")
NAMES = json.loads((Path(__file__).parent / "tensorrt_names.json").read_text())

# What the objects of TensorRT are called in our file -> their class; every attribute of them must be in the table.
OBJECTS = {
    "trt": "module",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
    "trt.ILogger": "ILogger",
    "trt.MemoryPoolType": "MemoryPoolType",
    "trt.TensorIOMode": "TensorIOMode",
    "trt.DataType": "DataType",
    "trt.NetworkDefinitionCreationFlag": "NetworkDefinitionCreationFlag",
}
PYTHON = {"__init__", "__name__"}


def rtx():
    return pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13", exc_type=ImportError
    )


def used_names() -> set[tuple[str, str]]:
    """(class, attribute) of every attribute of a TensorRT object in our file."""
    tree = ast.parse(Path(room.__file__).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr not in PYTHON:
            owner = OBJECTS.get(ast.unparse(node.value))
            if owner is not None:
                found.add((owner, node.attr))
    return found


def test_only_names_that_every_supported_tensorrt_has_are_used():
    used = used_names()
    assert {owner for owner, _ in used} >= {"Builder", "OnnxParser", "Runtime", "ICudaEngine", "IExecutionContext"}
    allowed = {("module", n) for n in NAMES["module"]}
    allowed |= {(owner, n) for owner, names in NAMES["classes"].items() for n in names}
    assert used - allowed == set()


def test_no_tensorrt_object_goes_by_a_name_the_check_does_not_know():
    # whatever is made by calling a TensorRT object has to be in OBJECTS, or its attributes go unchecked
    tree = ast.parse(Path(room.__file__).read_text())
    makers = {"create_network", "create_builder_config", "create_execution_context", "deserialize_cuda_engine"}
    makers |= {"Builder", "OnnxParser", "Runtime"}
    targets = {
        ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ast.unparse(node.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in makers
    }
    assert targets and targets <= set(OBJECTS)


def test_the_installed_tensorrt_rtx_has_every_name():
    trt = rtx()
    for owner, name in used_names():
        thing = trt if owner == "module" else getattr(trt, owner)
        assert hasattr(thing, name), f"{owner}.{name}"


def test_flags_that_come_and_go_are_asked_for_first():
    source = Path(room.__file__).read_text()
    for name, versions in NAMES["guarded"]["NetworkDefinitionCreationFlag"].items():
        assert versions != NAMES["versions"], f"{name} is in all versions and needs no guard"
        assert f'"{name}"' in source and f".{name}" not in source


# --- building on the CPU, truly --------------------------------------------------------------------------
def test_an_engine_of_a_small_model_is_built_without_a_gpu():
    plan = room.build_engine(rtx(), tiny_model().SerializeToString())
    assert len(plan) > 10_000


@pytest.mark.skipif(not SHIPPED, reason="no model is shipped in recipes/models")
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda p: p.name)
def test_the_engine_of_the_shipped_model_is_built_in_a_process_of_its_own(folder):
    rtx()
    package = load_package(folder)
    plan = build_apart("tensorrt_rtx", package.onnx, limit_s=300)
    assert len(plan) > 10_000


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"garbage" * 100, "tensorrt_rtx can't read the model|tensorrt_rtx found no network in the model"),
        (b"", "tensorrt_rtx can't read the model|tensorrt_rtx found no network in the model"),
        (tiny_model().SerializeToString()[:-60], "tensorrt_rtx can't read the model: "),
    ],
)
def test_bytes_that_are_no_model_build_no_engine(data, says):
    with pytest.raises(EngineError, match=says):
        room.build_engine(rtx(), data)


def test_an_operator_that_tensorrt_does_not_know_is_told():
    model = tiny_model()
    model.graph.node[2].op_type = "Sigmoooid"
    with pytest.raises(EngineError, match="uses an operator that TensorRT does not know"):
        room.build_engine(rtx(), model.SerializeToString())


def test_a_model_whose_size_is_open_builds_no_engine():
    model = tiny_model()
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = f"side{id(dim)}"
    for dim in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = f"side{id(dim)}"
    with pytest.raises(EngineError, match="tensorrt_rtx built no engine: .*profile"):
        room.build_engine(rtx(), model.SerializeToString())


def test_the_builder_process_says_why_it_failed():
    rtx()
    with pytest.raises(EngineError, match="tensorrt_rtx built no engine: tensorrt_rtx (can't read|found no network)"):
        build_apart("tensorrt_rtx", b"garbage" * 100, limit_s=120)


def test_the_builder_command_writes_the_engine(tmp_path, monkeypatch):
    rtx()
    command = [sys.executable, "-m", "inspector.infer.tensorrt", "tensorrt_rtx", str(tmp_path / "plan"), "60"]
    done = subprocess.run(command, input=tiny_model().SerializeToString(), capture_output=True, timeout=120, check=True)
    assert done.stdout == b"" and (tmp_path / "plan").stat().st_size > 10_000


# --- what it says when it can't ----------------------------------------------------------------------------
def test_a_module_that_is_not_there_or_lacks_a_library_is_named(monkeypatch):
    def no(name):
        raise (
            OSError("libnvdla_compiler.so: cannot open shared object file")
            if name == "tensorrt"
            else ImportError(f"No module named {name!r}")
        )

    monkeypatch.setattr(room.importlib, "import_module", no)
    with pytest.raises(Unavailable) as caught:
        room.import_vendor()
    assert str(caught.value) == (
        "TensorRT can't be imported (tensorrt: libnvdla_compiler.so: cannot open shared object file;"
        " tensorrt_rtx: No module named 'tensorrt_rtx')"
    )


def test_the_full_tensorrt_comes_before_the_one_for_rtx(monkeypatch):
    monkeypatch.setattr(room.importlib, "import_module", lambda name: types.SimpleNamespace(__name__=name))
    assert room.import_vendor().__name__ == "tensorrt"


class Driver(types.SimpleNamespace):
    """``pycuda.driver`` on a machine whose driver answers like this."""

    def __init__(self, count=0, error=None):
        def init():
            if error is not None:
                raise error

        super().__init__(init=init, Device=types.SimpleNamespace(count=lambda: count))


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        (ImportError("libcuda.so.1: cannot open shared object file"), r"pycuda can't be imported \(libcuda.so.1"),
        (OSError("libcudart"), "pycuda can't be imported"),
        (Driver(error=Exception("cuInit failed: CUDA driver is a stub library")), "CUDA does not start .*stub"),
        (Driver(count=0), "CUDA sees no GPU"),
    ],
)
def test_every_missing_piece_of_a_gpu_has_its_own_sentence(monkeypatch, tmp_path, driver, says):
    def imports(name):
        if name == "pycuda.driver":
            if isinstance(driver, Exception):
                raise driver
            return driver
        return types.SimpleNamespace(__name__=name)

    monkeypatch.setattr(room.importlib, "import_module", imports)
    package = load_package(write_package(tmp_path / "tiny"))
    with pytest.raises(InspectionFault, match=says) as caught:
        open_session(package, "tensorrt")
    assert caught.value.code == Code.RECIPE_INVALID


def _no_gpu() -> bool:
    try:
        room.require_gpu()
    except Unavailable:
        return True
    return False


@pytest.mark.skipif(not _no_gpu(), reason="this machine has a GPU")
def test_an_engine_that_can_not_be_loaded_here_is_told_with_its_cause():
    # the library itself gives None, no exception, and a line in its log
    trt = rtx()
    plan = room.build_engine(trt, tiny_model().SerializeToString())
    with pytest.raises(EngineError, match="tensorrt_rtx can't load the engine: .*(CUDA driver|cuda)"):
        room.load_engine(trt, room.make_log(trt), plan)


def test_the_log_keeps_errors_and_passes_on_the_rest(caplog):
    trt = rtx()
    said = room.make_log(trt)
    with caplog.at_level("DEBUG"):
        said.log(trt.ILogger.WARNING, "a warning")
        for n in range(20):
            said.log(trt.ILogger.ERROR, f"error {n}")
    assert list(said.errors) == [f"error {n}" for n in range(12, 20)]
    assert "tensorrt_rtx: a warning" in caplog.text and "error 0" in caplog.text


def test_importing_the_room_needs_no_vendor():
    code = "import sys; sys.modules.update(dict.fromkeys(['tensorrt', 'tensorrt_rtx', 'pycuda'])); " + (
        "import inspector.infer.tensorrt as t, inspector.infer.backend as b; print(b.unavailable('tensorrt'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith("TensorRT can't be imported (tensorrt: ") and importlib.import_module(room.__name__)
