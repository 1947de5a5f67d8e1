"""The contract of a session, for every backend that this machine can run."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from inspector.codes import Code
from inspector.infer import backend as backends
from inspector.infer.backend import PoisonedFault, Session, open_session, unavailable
from inspector.infer.onnx_cpu import OnnxCpu
from inspector.infer.package import load_package
from inspector.infer.proof import compare
from inspector.parts import InspectionFault
from tests.infer.model_packages import change, outputs_of, pictures, tiny_model, write_package

HERE = [wish for wish in ("cpu", "tensorrt") if not unavailable(wish)]


@pytest.fixture
def package(tmp_path):
    return load_package(write_package(tmp_path / "tiny"))


@pytest.fixture(params=HERE)
def session(request, package, tmp_path):
    with_backend = open_session(package, request.param, tmp_path / "engines")
    yield with_backend
    with_backend.close()


def test_the_cpu_is_always_there():
    assert "cpu" in HERE


def test_a_run_gives_what_the_reference_says(session, package):
    for image, wanted in zip(package.reference_inputs, package.reference_outputs, strict=True):
        found = session.run({"image": image[None]})
        assert list(found) == ["probability"]
        assert found["probability"].shape == (1, 2, 48, 64) and found["probability"].dtype == np.float32
        assert np.abs(found["probability"][0] - wanted).max() <= package.spec.reference.tolerance


def test_every_answer_is_the_callers_own(session):
    first_image, second_image = pictures(2)
    first = session.run({"image": first_image[None]})["probability"]
    kept = first.copy()
    second = session.run({"image": second_image[None]})["probability"]
    assert np.array_equal(first, kept) and not np.shares_memory(first, second)
    assert not np.array_equal(first, second)
    first[:] = 0  # and may be written to
    assert np.array_equal(session.run({"image": second_image[None]})["probability"], second)


def test_a_picture_that_is_not_contiguous_is_taken_as_it_looks(session):
    image = np.ascontiguousarray(pictures(1)[None, 0])
    strided = np.repeat(image, 2, axis=3)[:, :, :, ::2]
    assert not strided.flags.c_contiguous
    assert np.array_equal(session.run({"image": strided})["probability"], session.run({"image": image})["probability"])


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({}, "it was given nothing, it wants image"),
        ({"picture": np.zeros((1, 1, 48, 64), np.uint8)}, "it was given picture, it wants image"),
        ({"image": np.zeros((1, 1, 48, 64), np.float32)}, r"image is float32 \[1, 1, 48, 64\], it wants uint8"),
        ({"image": np.zeros((1, 1, 64, 48), np.uint8)}, r"image is uint8 \[1, 1, 64, 48\], it wants uint8"),
        ({"image": np.zeros((48, 64), np.uint8)}, r"image is uint8 \[48, 64\]"),
    ],
)
def test_what_is_no_input_raises_and_the_session_goes_on(session, batch, says):
    with pytest.raises(InspectionFault, match=says) as caught:
        session.run(batch)
    assert caught.value.code == Code.INTERNAL_ERROR
    session.run({"image": pictures(1)})


def test_closing_twice_is_harmless_and_a_closed_session_raises(session):
    session.close()
    session.close()
    with pytest.raises(InspectionFault, match="Model tiny gave no answer: it is closed"):
        session.run({"image": pictures(1)})


def test_the_proof_is_kept_with_its_numbers(session, package):
    assert session.proof.max_difference <= package.spec.reference.tolerance
    assert set(session.proof.agreement) == {"dark", "bright"} and session.proof.worst_agreement >= 0.98
    assert session.backend and not session.poisoned


# --- what a backend may do wrong -------------------------------------------------------------------------
class Wayward:
    """The CPU backend, which from the moment ``how`` is set changes or withholds its answer."""

    name = "wayward"

    def __init__(self, package):
        self._true = OnnxCpu(package)
        self.how = None
        self.closed = 0

    def run(self, batch):
        answer = self._true.run(batch)
        return answer if self.how is None else self.how(answer)

    def close(self):
        self.closed += 1
        self._true.close()


def _raises(error):
    def how(_):
        raise error

    return how


def _nan(answer):
    answer["probability"][0, 0, 0, 0] = np.nan
    return answer


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (_raises(RuntimeError("device lost\nat line 7")), "wayward failed: device lost$"),
        (_raises(MemoryError()), "wayward failed: MemoryError$"),
        (_nan, "gave probability from nan to nan, allowed is 0 to 1"),
        (lambda a: {"probability": a["probability"] + 1}, "gave probability from 1.* allowed is 0 to 1"),
        (lambda a: {"probability": a["probability"] - 1}, "allowed is 0 to 1"),
        (lambda a: {"probability": a["probability"][:, :1]}, r"gave float32 \[1, 1, 48, 64\] as probability"),
        (lambda a: {"probability": a["probability"].astype(np.float64)}, "gave float64"),
        (lambda _: {}, "gave nothing as probability"),
    ],
)
def test_a_wrong_answer_is_a_fault_never_the_last_answer(package, how, says):
    wayward = Wayward(package)
    session = Session(package, wayward)
    session.run({"image": pictures(1)})
    wayward.how = how
    with pytest.raises(InspectionFault, match=says) as caught:
        session.run({"image": pictures(1)})
    assert caught.value.code == Code.INTERNAL_ERROR and not session.poisoned
    wayward.how = None
    session.run({"image": pictures(1)})
    session.close()
    session.close()
    assert wayward.closed == 1


def test_a_backend_may_raise_a_fault_of_its_own(package):
    wayward = Wayward(package)
    session = Session(package, wayward)
    wayward.how = _raises(InspectionFault(Code.TIMEOUT, "too slow"))
    with pytest.raises(InspectionFault, match="^too slow$") as caught:
        session.run({"image": pictures(1)})
    assert caught.value.code == Code.TIMEOUT


def test_after_a_poisoned_run_nothing_runs_any_more(package):
    wayward = Wayward(package)
    session = Session(package, wayward)
    wayward.how = _raises(PoisonedFault("The GPU failed"))
    with pytest.raises(PoisonedFault):
        session.run({"image": pictures(1)})
    wayward.how = None  # even if the device seems to be back
    assert session.poisoned
    with pytest.raises(PoisonedFault, match="wayward failed before"):
        session.run({"image": pictures(1)})
    session.close()


def test_a_backend_with_other_answers_is_refused_with_the_numbers_and_closed(package):
    wayward = Wayward(package)
    wayward.how = lambda a: {"probability": np.clip(a["probability"] + 0.05, 0, 1)}
    with pytest.raises(InspectionFault, match=r"differs by up to 0\.0500, allowed is 0\.01") as caught:
        Session(package, wayward)
    assert caught.value.code == Code.RECIPE_INVALID and wayward.closed == 1


def test_a_backend_that_finds_other_defects_is_refused_even_within_the_tolerance(tmp_path):
    # Nine in ten defect pixels lie a hair above the threshold, so a hair less loses them.
    images = pictures(1)
    values = outputs_of(tiny_model().SerializeToString(), images)
    patch = values[0, 0] >= 0.5
    threshold = float(values[0, 0][patch].min()) - 1e-4
    folder = write_package(tmp_path / "tiny", arrays={"image": images, "probability": values})
    change(folder, "labels", 0, "threshold", to=threshold)
    package = load_package(folder)
    shifted = Wayward(package)
    shifted.how = lambda a: {"probability": np.clip(a["probability"] - 0.005, 0, 1)}
    with pytest.raises(InspectionFault, match=r"dark overlaps by 0\.0000, at least 0\.98 is allowed"):
        Session(package, shifted)
    OnnxCpu(package).close()
    assert compare(package, package.reference_outputs).worst_agreement == 1.0


def test_a_reference_made_by_another_model_is_refused_on_the_cpu_too(tmp_path):
    images = pictures()
    other = tiny_model()
    other.graph.initializer[1].raw_data = np.array([7.0, -36.0], np.float32).tobytes()
    folder = write_package(
        tmp_path / "tiny",
        arrays={"image": images, "probability": outputs_of(other.SerializeToString(), images)},
    )
    for wish in ("cpu", "auto"):
        with pytest.raises(InspectionFault, match="gives other answers here than its reference: differs by up to 0"):
            open_session(load_package(folder), wish)


# --- choosing --------------------------------------------------------------------------------------------
@pytest.mark.skipif("tensorrt" in HERE, reason="this machine has a GPU; tests/gpu holds what it must do")
def test_without_a_gpu_auto_is_the_cpu_and_tensorrt_says_what_is_missing(package, tmp_path):
    session = open_session(package, "auto", tmp_path / "engines")
    assert session.backend == "cpu" and session.note
    session.close()
    with pytest.raises(InspectionFault) as caught:
        open_session(package, "tensorrt", tmp_path / "engines")
    assert caught.value.code == Code.RECIPE_INVALID
    text = caught.value.text
    assert text.startswith("Model tiny can't run on TensorRT here: ") and session.note in text
    assert text.endswith("install what is missing, or choose the backend auto or cpu")
    assert not (tmp_path / "engines").exists()


def test_an_unknown_wish_is_refused(package):
    with pytest.raises(InspectionFault, match="backend 'gpu' is unknown, allowed: auto, cpu, tensorrt"):
        open_session(package, "gpu")


def _gpu(monkeypatch, error):
    def no(package, cache_dir, build_limit_s):
        raise error

    monkeypatch.setattr(backends, "_on_gpu", no)


def test_a_gpu_that_can_not_run_the_model_leaves_it_to_the_cpu_and_says_so(package, monkeypatch, caplog):
    _gpu(monkeypatch, InspectionFault(Code.RECIPE_INVALID, "the engine was not built"))
    session = open_session(package, "auto")
    assert (session.backend, session.note) == ("cpu", "the engine was not built")
    assert "model tiny runs on the CPU: the engine was not built" in caplog.text
    session.close()
    with pytest.raises(InspectionFault, match="the engine was not built"):
        open_session(package, "tensorrt")


def test_a_poisoned_process_does_not_go_on_with_the_cpu(package, monkeypatch):
    _gpu(monkeypatch, PoisonedFault("The GPU failed"))
    with pytest.raises(PoisonedFault):
        open_session(package, "auto")


def test_a_model_that_onnxruntime_can_not_open_is_a_fault(package):
    with pytest.raises(InspectionFault, match="Model tiny can't run on the CPU: ") as caught:
        open_session(replace(package, onnx=b"nonsense"), "cpu")
    assert caught.value.code == Code.RECIPE_INVALID


def test_the_cpu_session_uses_no_more_threads_than_it_was_given(package):
    before = threading.active_count()
    session = open_session(package, "cpu", threads=2)
    options = session._backend._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session._backend._session.get_providers() == ["CPUExecutionProvider"]
    session.close()
    assert threading.active_count() == before
