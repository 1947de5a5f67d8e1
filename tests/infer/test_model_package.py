from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from inspector.infer.backend import open_session
from inspector.infer.package import ONNX_BYTES_MAX, find_packages, load_package
from inspector.parts import InspectionFault
from inspector.yamlfile import FileError
from tests.infer.model_packages import HEIGHT, WIDTH, change, outputs_of, pictures, tiny_model, write_package


def problem(folder: Path) -> str:
    """The one line that loading ``folder`` gives; it names package.yaml and a line of it."""
    with pytest.raises(FileError) as caught:
        load_package(folder)
    assert len(caught.value.problems) == 1, caught.value
    text = str(caught.value)
    assert text.startswith(f"{folder / 'package.yaml'}:"), text
    return text


def edited(edit) -> bytes:
    model = tiny_model()
    edit(model)
    return model.SerializeToString()


def test_a_sound_package_is_loaded_with_everything_in_it(tmp_path):
    package = load_package(write_package(tmp_path / "tiny"))
    assert (package.name, package.version, package.mm_per_px) == ("tiny", "1.2.3", 0.5)
    assert package.size_px == (WIDTH, HEIGHT) and package.field_mm == (32.0, 24.0)
    assert [(x.name, x.threshold) for x in package.labels] == [("dark", 0.5), ("bright", 0.5)]
    assert package.reference_inputs.shape == (2, 1, HEIGHT, WIDTH)
    assert package.reference_outputs.dtype == np.float32
    assert not package.reference_inputs.flags.writeable and not package.reference_outputs.flags.writeable
    assert hashlib.sha256(package.onnx).hexdigest() == package.spec.onnx.sha256
    assert (package.input.name, package.output.name) == ("image", "probability")


def test_the_digest_pins_thresholds_but_not_the_layout_of_the_file(tmp_path):
    folder = write_package(tmp_path / "tiny")
    sha = load_package(folder).sha
    text = (folder / "package.yaml").read_text()
    (folder / "package.yaml").write_text("# a remark\r\n" + text.replace("\n", "\r\n"))
    assert load_package(folder).sha == sha
    change(folder, "labels", 0, "threshold", to=0.6)
    assert load_package(folder).sha != sha


def test_reference_outputs_may_be_half_precision(tmp_path):
    images = pictures()
    half = outputs_of(tiny_model().SerializeToString(), images).astype(np.float16)
    folder = write_package(tmp_path / "tiny", arrays={"image": images, "probability": half})
    assert load_package(folder).reference_outputs.dtype == np.float32


def test_packages_are_found_by_their_file(tmp_path):
    write_package(tmp_path / "b")
    write_package(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert [p.name for p in find_packages(tmp_path)] == ["a", "b"]
    assert find_packages(tmp_path / "nowhere") == []


def test_an_altered_file_is_refused_by_its_digest(tmp_path):
    folder = write_package(tmp_path / "tiny")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    text = problem(folder)
    assert "model.onnx has sha256 " + hashlib.sha256(data).hexdigest()[:12] in text and "onnx.sha256" in text


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_package(tmp_path / "tiny")
    (folder / name).unlink()
    assert f"found no such file at {name}" in problem(folder)


def test_a_missing_package_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"package\.yaml: can't be read: No such file"):
        load_package(tmp_path)


def test_an_unreadable_file_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    folder = write_package(tmp_path / "tiny")
    (folder / "model.onnx").chmod(0)
    assert "model.onnx can't be read: Permission denied" in problem(folder)


def test_a_link_or_a_folder_is_no_file_of_the_package(tmp_path):
    folder = write_package(tmp_path / "tiny")
    outside = tmp_path / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    assert "found a link at model.onnx" in problem(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    assert "found a folder at model.onnx" in problem(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "sub/model.onnx", ".hidden", "..", "a\\b", ""])
@pytest.mark.parametrize("where", [("onnx", "file"), ("reference", "file")])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name, where):
    folder = write_package(tmp_path / "tiny")
    change(folder, *where, to=name)
    assert f"{'.'.join(where)}: found '" in problem(folder)


def test_a_file_over_the_limit_is_not_even_read(tmp_path):
    folder = write_package(tmp_path / "tiny")
    os.truncate(folder / "model.onnx", ONNX_BYTES_MAX + 1)  # a hole, no bytes on disk
    assert f"model.onnx is {ONNX_BYTES_MAX + 1} bytes long, at most {ONNX_BYTES_MAX}" in problem(folder)


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("name",), "Tiny Model", "name: found 'Tiny Model', allowed"),
        (("version",), "one", "version: found 'one', allowed"),
        (("onnx", "sha256"), "abc", "onnx.sha256: found 'abc', allowed"),
        (("input", "dtype"), "float32", "input.dtype: found 'float32', allowed: 'uint8'"),
        (("input", "mm_per_px"), 0, "input.mm_per_px: found 0, allowed: greater than 0"),
        (("input", "shape"), [2, 1, 48, 64], "allowed is [1, 1 or 3, height, width]"),
        (("input", "shape"), [1, 1, 48, 100000], "sides of 8 to 8192 px"),
        (("input", "shape"), [1, 1, "height", 64], "input.shape.2: found 'height', allowed: integer"),
        (("outputs",), [], "outputs: found [], allowed"),
        (("outputs", 0, "shape"), [1, 3, 48, 64], "allowed is [1, 2, 48, 64]: one channel a label"),
        (("labels", 0, "threshold"), 1.5, "labels.0.threshold: found 1.5, allowed: less than 1"),
        (("labels", 1, "name"), "dark", "labels dark, dark: each name may stand once"),
        (("reference", "tolerance"), 0.5, "reference.tolerance: found 0.5, allowed: less than or equal to 0.1"),
        (("reference", "agreement"), 0.1, "reference.agreement: found 0.1, allowed: greater than or equal to 0.9"),
        (("plugin",), "x.so", "plugin: unknown key"),
    ],
)
def test_a_wrong_key_is_one_line_with_what_is_allowed(tmp_path, where, value, says):
    folder = write_package(tmp_path / "tiny")
    change(folder, *where, to=value)
    assert says in problem(folder)


def test_a_missing_key_is_named(tmp_path):
    folder = write_package(tmp_path / "tiny")
    change(folder, "licence", drop=True)
    assert "licence: missing" in problem(folder)


def _external(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")


def _external_in_a_constant(model: onnx.ModelProto) -> None:
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=tensor))


def _other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[2].domain = "com.microsoft"


def _hidden_domain(model: onnx.ModelProto) -> None:
    then = helper.make_graph([helper.make_node("Evil", [], ["y"], domain="evil")], "then", [], [])
    model.graph.node.insert(0, helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then))


def _functions(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("", "Own", ["x"], ["y"], [], model.opset_import))


def _dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_external, "weights 'weights' lie in another file"),
        (_external_in_a_constant, "lie in another file"),
        (_other_domain, "uses operators of 'com.microsoft'; allowed are the standard ones"),
        (_hidden_domain, "uses operators of 'evil'"),
        (_functions, "uses operators of functions of its own"),
        (lambda m: setattr(m.graph.node[2], "op_type", "Sigmoooid"), "not a valid ONNX model: No Op registered"),
        (lambda m: m.graph.node.pop(0), "not a valid ONNX model"),
        (_dynamic, "input 'image' is uint8 1x1x'height'x64 in the graph; package.yaml says uint8 1x1x48x64"),
        (lambda m: setattr(m.graph.input[0], "name", "picture"), "not a valid ONNX model"),
    ],
)
def test_an_unsound_graph_is_refused_in_one_sentence(tmp_path, edit, says):
    text = problem(write_package(tmp_path / "tiny", model=edited(edit)))
    assert "onnx.file: model.onnx: " in text and says in text


def test_a_graph_with_other_tensors_than_the_package_is_refused(tmp_path):
    images = pictures()
    arrays = {"picture": images, "probability": outputs_of(tiny_model().SerializeToString(), images)}
    folder = write_package(tmp_path / "tiny", arrays=arrays)
    change(folder, "input", "name", to="picture")
    assert "the graph's inputs are 'image'; package.yaml says 'picture'" in problem(folder)
    other_size = write_package(tmp_path / "other", model=tiny_model(48, 80).SerializeToString())
    assert "input 'image' is uint8 1x1x48x80 in the graph; package.yaml says uint8 1x1x48x64" in problem(other_size)
    wrong_type = tiny_model()
    wrong_type.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    folder = write_package(tmp_path / "type", model=wrong_type.SerializeToString())
    assert "input 'image' is int8 1x1x48x64 in the graph; package.yaml says uint8" in problem(folder)


@pytest.mark.parametrize("data", [b"", b"garbage" * 1000, bytes(range(256)), b"\x00" * 4096])
def test_bytes_that_are_no_model_are_refused(tmp_path, data):
    assert "onnx.file: model.onnx: not a" in problem(write_package(tmp_path / "tiny", model=data))


def test_a_model_cut_anywhere_is_refused(tmp_path):
    whole = tiny_model().SerializeToString()
    for n, end in enumerate(range(1, len(whole), max(1, len(whole) // 40))):
        assert "onnx.file: model.onnx: " in problem(write_package(tmp_path / str(n), model=whole[:end]))


IMAGES = pictures()
SOUND = {"image": IMAGES, "probability": outputs_of(tiny_model().SerializeToString(), IMAGES)}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"image": IMAGES}, "found arrays 'image', wanted image and probability"),
        ({**SOUND, "more": IMAGES}, "found arrays 'image', 'more', 'probability', wanted"),
        ({**SOUND, "image": IMAGES.astype(np.float32)}, "image is float32 [2, 1, 48, 64], allowed is uint8"),
        ({**SOUND, "probability": SOUND["probability"][:1]}, "probability is float32 [1, 2, 48, 64], allowed is"),
        ({**SOUND, "probability": SOUND["probability"] * np.nan}, "probability has values outside 0..1"),
        ({**SOUND, "probability": SOUND["probability"] * 3}, "probability has values outside 0..1"),
        ({**SOUND, "probability": SOUND["probability"] * 0.1}, "no reference output reaches the threshold 0.5 of"),
        ({"image": IMAGES[:0], "probability": SOUND["probability"][:0]}, "found 0 reference inputs, allowed are 1"),
        ({"image": np.uint8(1), "probability": SOUND["probability"]}, "found 0 reference inputs"),
        ({**SOUND, "image": np.array([{"a": 1}], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_unsound_reference_data_is_refused(tmp_path, arrays, says):
    text = problem(write_package(tmp_path / "tiny", arrays=arrays))
    assert "reference.file: reference.npz: " in text and says in text


def test_reference_data_that_is_no_archive_or_unpacks_too_large_is_refused(tmp_path):
    folder = write_package(tmp_path / "tiny")
    whole = (folder / "reference.npz").read_bytes()
    for data in (b"", b"nonsense", whole[:-30], whole[: len(whole) // 2]):
        (folder / "reference.npz").write_bytes(data)
        change(folder)
        assert "reference.npz: not a readable .npz file" in problem(folder)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", bytes(65 * 1024 * 1024))
    (folder / "reference.npz").write_bytes(bomb.getvalue())
    change(folder)
    assert "bytes when unpacked, at most" in problem(folder)
    flipped = bytearray(whole)
    flipped[120] ^= 0xFF
    (folder / "reference.npz").write_bytes(flipped)
    change(folder)
    assert "reference.npz: " in problem(folder)


def test_bytes_that_were_flipped_before_the_digest_was_made_end_in_one_line_or_in_the_proof(tmp_path):
    folder = write_package(tmp_path / "tiny")
    rng = np.random.default_rng(11)
    refused = 0
    for n in range(60):
        path = folder / ("model.onnx" if n % 3 else "reference.npz")
        sound = path.read_bytes()
        data = bytearray(sound)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        change(folder)
        try:
            open_session(load_package(folder), "cpu").close()
        except FileError as error:
            assert len(error.problems) == 1 and "\n" not in str(error)
            refused += 1
        except InspectionFault as fault:
            assert "\n" not in fault.text
            refused += 1
        path.write_bytes(sound)
    assert refused > 40
