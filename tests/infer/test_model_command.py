from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from inspector.cli.model import app
from inspector.infer.backend import unavailable
from inspector.infer.package import load_package
from tests.infer.model_packages import change, pictures, write_package


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_list_shows_name_version_digest_input_labels_score_and_backend(tmp_path):
    write_package(tmp_path / "tiny")
    change(tmp_path / "tiny", "scores", to={"held_out": {"parts": 600, "scratch": {"missed": 1, "of": 150}}})
    result = run("list", "--models", tmp_path)
    assert result.exit_code == 0
    sha = load_package(tmp_path / "tiny").sha
    assert f"tiny@sha256:{sha[:12]}  version 1.2.3  Apache-2.0" in result.output
    assert "64x48 px, 0.5 mm per px (32 x 24 mm)" in result.output
    assert "labels   dark from 0.5, bright from 0.5" in result.output
    assert "held_out: parts 600, scratch (missed 1, of 150)" in result.output
    assert ("runs on  cpu" if unavailable("tensorrt") else "runs on  tensorrt") in result.output


def test_list_names_a_broken_package_and_still_shows_the_others(tmp_path):
    write_package(tmp_path / "a")
    broken = write_package(tmp_path / "b")
    (broken / "model.onnx").write_bytes(b"")
    result = run("list", "--models", tmp_path)
    assert result.exit_code == 1
    assert "version 1.2.3" in result.stdout and "b/package.yaml:" in result.stderr


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_list_says_so_when_there_is_nothing(tmp_path, folder):
    result = run("list", "--models", tmp_path / folder)
    assert result.exit_code == 1 and str(tmp_path) in result.stderr and result.stdout == ""


def test_check_proves_the_reference_and_times_a_run(tmp_path):
    result = run("check", write_package(tmp_path / "tiny"), "--backend", "cpu")
    assert result.exit_code == 0, result.output
    assert "2 reference inputs; differs by at most" in result.output
    difference, allowed = re.search(r"([\d.]+) \(allowed ([\d.]+)\)", result.output).groups()
    assert float(difference) <= float(allowed)
    assert "overlap dark 1.0000, bright 1.0000" in result.output
    assert float(re.search(r"([\d.]+) ms a run", result.output)[1]) > 0


def test_check_says_why_a_package_is_not_sound(tmp_path):
    folder = write_package(tmp_path / "tiny")
    (folder / "model.onnx").write_bytes(b"x")
    result = run("check", folder)
    assert result.exit_code == 1 and "model.onnx has sha256" in result.stderr and result.stdout == ""


def test_check_says_why_a_model_does_not_run(tmp_path):
    images = pictures()
    values = (images.repeat(2, 1) < 100) * 0.9
    folder = write_package(tmp_path / "tiny", arrays={"image": images, "probability": values.astype("float32")})
    result = run("check", folder, "--backend", "cpu")
    assert result.exit_code == 1 and "gives other answers here than its reference" in result.stderr


@pytest.mark.skipif(not unavailable("tensorrt"), reason="this machine has a GPU")
def test_check_on_tensorrt_without_a_gpu_says_what_is_missing(tmp_path):
    folder = write_package(tmp_path / "tiny")
    result = run("check", folder, "--backend", "tensorrt", "--cache", tmp_path / "engines")
    assert result.exit_code == 1 and "can't run on TensorRT here" in result.stderr
    assert "note     " in run("check", folder).output


def test_an_unknown_backend_is_refused(tmp_path):
    result = run("check", write_package(tmp_path / "tiny"), "--backend", "gpu")
    assert result.exit_code == 2 and "allowed: auto, cpu, tensorrt" in re.sub(r"[│\s]+", " ", result.stderr)
