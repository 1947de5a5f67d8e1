"""What a machine with a GPU must show: ``pytest -m gpu``. Without one each test says what is missing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from inspector.infer import tensorrt as room
from inspector.infer.backend import PoisonedFault, open_session, unavailable
from inspector.infer.engines import EngineError
from inspector.infer.package import find_packages, load_package
from inspector.parts import InspectionFault
from tests.infer.model_packages import pictures, tiny_model, write_package

MISSING = unavailable("tensorrt")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=f"no GPU backend here: {MISSING}")]
SHIPPED = find_packages(Path(__file__).parents[2] / "recipes" / "models")


@pytest.fixture
def package(tmp_path):
    return load_package(write_package(tmp_path / "tiny"))


@pytest.fixture
def session(package, tmp_path):
    with_gpu = open_session(package, "tensorrt", tmp_path / "engines")
    yield with_gpu
    with_gpu.close()


def cache_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_size) for p in folder.iterdir()}


def test_auto_takes_the_gpu(package, tmp_path):
    session = open_session(package, "auto", tmp_path / "engines")
    assert session.backend.startswith("tensorrt") and " on " in session.backend and session.note == ""
    session.close()


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda p: p.name)
def test_the_shipped_model_gives_its_reference_answers(folder, tmp_path):
    package = load_package(folder)
    gpu = open_session(package, "tensorrt", tmp_path / "engines")
    cpu = open_session(package, "cpu")
    assert gpu.proof.max_difference <= package.spec.reference.tolerance
    assert gpu.proof.worst_agreement >= package.spec.reference.agreement
    rng = np.random.default_rng(5)
    for _ in range(20):  # pictures that are in no reference
        batch = {package.input.name: rng.integers(0, 256, tuple(package.input.shape), dtype=np.uint8)}
        a, b = gpu.run(batch)[package.output.name], cpu.run(batch)[package.output.name]
        assert np.abs(a - b).max() <= package.spec.reference.tolerance
    gpu.close()
    cpu.close()


def test_a_thousand_runs_each_give_their_own_answer(session):
    dark, plain = pictures(1), np.full((1, 1, 48, 64), 140, np.uint8)
    wanted = {True: session.run({"image": dark})["probability"], False: session.run({"image": plain})["probability"]}
    assert not np.array_equal(wanted[True], wanted[False])
    rng = np.random.default_rng(1)
    for which in rng.integers(0, 2, 1000).astype(bool):
        answer = session.run({"image": dark if which else plain})["probability"]
        assert np.array_equal(answer, wanted[bool(which)])


def test_the_engine_is_built_once_and_taken_from_the_cache_then(package, tmp_path, monkeypatch):
    folder = tmp_path / "engines"
    open_session(package, "tensorrt", folder).close()
    before = cache_files(folder)
    assert sorted(Path(n).suffix for n in before) == [".engine", ".json"]

    def never(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(room, "build_apart", never)
    open_session(package, "tensorrt", folder).close()
    assert cache_files(folder) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "no sidecar"])
def test_a_damaged_cache_is_built_again(package, tmp_path, damage, caplog):
    folder = tmp_path / "engines"
    open_session(package, "tensorrt", folder).close()
    (engine,) = folder.glob("*.engine")
    whole = engine.read_bytes()
    if damage == "flip":
        engine.write_bytes(whole[:100] + bytes([whole[100] ^ 0xFF]) + whole[101:])
    elif damage == "cut":
        engine.write_bytes(whole[: len(whole) // 2])
    else:
        engine.with_suffix(".json").unlink()
    with caplog.at_level(logging.WARNING):
        session = open_session(package, "tensorrt", folder)
    session.run({"image": pictures(1)})
    session.close()
    assert damage == "no sidecar" or "damaged and is built again" in caplog.text


def test_an_engine_that_the_library_refuses_is_built_again(package, tmp_path, monkeypatch, caplog):
    # stored by us and undamaged, but nothing TensorRT can load: what an exchanged driver may leave behind
    build, folder = room.build_apart, tmp_path / "engines"
    monkeypatch.setattr(room.EngineCache, "load", lambda self, key: b"no engine" * 1000)
    built = []
    monkeypatch.setattr(room, "build_apart", lambda *a: built.append(build(*a)) or built[-1])
    open_session(package, "tensorrt", folder).close()
    assert len(built) == 1 and "is built again" in caplog.text


def test_a_refused_engine_is_an_error_with_its_cause():
    trt, _ = room.require_gpu()
    with pytest.raises(EngineError, match=f"{trt.__name__} can't load the engine: "):
        room.load_engine(trt, room.make_log(trt), b"no engine" * 1000)


def test_an_engine_for_another_model_is_refused(tmp_path):
    trt, cuda = room.require_gpu()
    plan = room.build_engine(trt, tiny_model(96, 64).SerializeToString())
    package = load_package(write_package(tmp_path / "tiny"))
    with pytest.raises(EngineError, match="the engine has the tensors"):
        room.TensorRT(package, trt, cuda, plan)


def test_two_models_share_the_gpu_and_close_in_any_order(package, tmp_path):
    folder = tmp_path / "engines"
    first, second = (open_session(package, "tensorrt", folder) for _ in range(2))
    batch = {"image": pictures(1)}
    wanted = first.run(batch)["probability"]
    assert np.array_equal(second.run(batch)["probability"], wanted)
    first.close()
    assert np.array_equal(second.run(batch)["probability"], wanted)
    second.close()
    third = open_session(package, "tensorrt", folder)
    assert np.array_equal(third.run(batch)["probability"], wanted)
    third.close()


def test_another_thread_is_refused_and_harms_nothing(session):
    caught = []

    def elsewhere():
        try:
            session.run({"image": pictures(1)})
        except InspectionFault as fault:
            caught.append(fault)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(30)
    assert len(caught) == 1 and "in the thread that opened it" in caught[0].text and not session.poisoned
    session.run({"image": pictures(1)})


def test_memory_does_not_grow_with_sessions(package, tmp_path):
    _, cuda = room.require_gpu()
    keeper = open_session(package, "tensorrt", tmp_path / "engines")  # keeps the context alive to be asked

    def free() -> int:
        with keeper._backend._current():
            return cuda.mem_get_info()[0]

    open_session(package, "tensorrt", tmp_path / "engines").close()
    before = free()
    for _ in range(10):
        open_session(package, "tensorrt", tmp_path / "engines").close()
    assert before - free() < 16 * 1024**2
    keeper.close()


def test_a_run_that_takes_too_long_poisons(session, monkeypatch):
    monkeypatch.setattr(room, "RUN_LIMIT_S", -1.0)
    monkeypatch.setattr(session._backend, "_stream", _NeverDone(session._backend._stream))
    with pytest.raises(PoisonedFault, match="no answer within"):
        session.run({"image": pictures(1)})
    assert session.poisoned
    with pytest.raises(PoisonedFault):
        session.run({"image": pictures(1)})


class _NeverDone:
    """A stream that does its work but never says so, as when the GPU hangs."""

    def __init__(self, stream):
        self._stream = stream
        self.handle = stream.handle

    def is_done(self):
        return False

    def __getattr__(self, name):
        return getattr(self._stream, name)


STICKY = """
import sys
from pathlib import Path
from inspector.infer.backend import PoisonedFault, open_session
from inspector.infer.package import load_package
from tests.infer.model_packages import pictures

session = open_session(load_package(Path(sys.argv[1])), "tensorrt")
# an address that is nobody's: the copy or the kernel fails, and CUDA's error stays
session._backend._context.set_tensor_address("probability", 0x1000)
for _ in range(2):
    try:
        session.run({"image": pictures(1)})
    except PoisonedFault as fault:
        print("poisoned:", fault.text)
assert session.poisoned
session.close()
"""


def test_a_real_cuda_error_poisons_the_process_that_had_it_and_no_other(tmp_path):
    folder = write_package(tmp_path / "tiny")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", STICKY, str(folder)]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.count("poisoned:") == 2, done.stdout + done.stderr
    after = open_session(load_package(folder), "tensorrt")
    after.run({"image": pictures(1)})
    after.close()
