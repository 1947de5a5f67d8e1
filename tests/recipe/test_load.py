from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspector.recipe import load
from inspector.recipe.load import LoadedRecipe, load_recipe
from inspector.recipe.shelf import Store
from inspector.yamlfile import FileError
from tests.infer.model_packages import write_package
from tests.recipe.recipes import good, write


def sha(path: Path) -> str:
    return load_recipe(path).sha


def test_sha_ignores_how_the_text_is_laid_out(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    before = sha(path)
    path.write_text("# a comment\n" + path.read_text().replace("recipe: 7", "recipe:    7"))
    assert sha(path) == before
    assert len(before) == 64


def test_what_the_file_says_is_kept_with_its_limits_unless_it_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, good())
    recipe = load_recipe(path)
    assert json.loads(recipe.says)["measure"]["dot"]["expect"] == good()["measure"]["dot"]["expect"]
    monkeypatch.setattr(load, "SAYS_MAX", len(recipe.says) - 1)
    long = load_recipe(path)
    assert (long.says, long.sha) == ("", recipe.sha)


def test_sha_covers_every_value_and_the_order_of_steps(tmp_path: Path) -> None:
    seen = {sha(write(tmp_path, good()))}
    other = good()
    other["measure"]["dot"]["expect"] = "1.80 ±0.11 mm"
    seen.add(sha(write(tmp_path, other)))
    other = good()
    other["measure"] = {k: other["measure"][k] for k in ("leg", "dot", "apart")}
    seen.add(sha(write(tmp_path, other)))
    other = good()
    other["rev"] = 2
    seen.add(sha(write(tmp_path, other)))
    assert len(seen) == 4


def test_sha_covers_template_and_calibration(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    seen = {sha(path)}
    picture = cv2.imread(str(tmp_path / "mark.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    picture[0, 0] ^= 1
    cv2.imwrite(str(tmp_path / "mark.png"), picture)
    seen.add(sha(path))
    scale = tmp_path / "scale.yaml"
    scale.write_text(scale.read_text().replace("0.1\n", "0.1001\n"))
    seen.add(sha(path))
    assert len(seen) == 3


def test_pinned_template_loads(tmp_path: Path) -> None:
    recipe = good()
    path = write(tmp_path, recipe)
    digest = hashlib.sha256((tmp_path / "mark.png").read_bytes()).hexdigest()
    for digits in (12, 64):
        recipe["locate"]["body"]["image"] = f"mark.png@sha256:{digest[:digits]}"
        assert load_recipe(write(tmp_path, recipe)).number == 7
    assert path.exists()


def test_what_the_station_needs_to_know(tmp_path: Path) -> None:
    recipe = good()
    recipe["verdict"] |= {"within": "1.5 s", "stop_line": "3 in a row", "keep": {"pass": "1 in 200", "reject": "none"}}
    recipe["cameras"] = {"top": {}}
    loaded = load_recipe(write(tmp_path, recipe))
    assert loaded.deadline_ms == 1500
    assert loaded.cameras == ("top",)
    assert loaded.stop_line == 3
    assert loaded.keep == {"PASS": 200, "FAIL": 0, "NOT_INSPECTED": 1}
    assert loaded.backend == "" and loaded.model_shas == {}
    assert loaded.mm_per_px("top") == 0.1 and loaded.mm_per_px("side") is None


def test_each_camera_has_its_own_calibration(tmp_path: Path) -> None:
    recipe = good()
    recipe["cameras"] = {"top": {"calibration": "scale.yaml"}, "side": {}}
    del recipe["calibration"]
    for section in ("locate", "measure"):
        for step in recipe[section].values():
            step["camera"] = "top"
    recipe["measure"]["side_dot"] = {
        "tool": "diameter",
        "camera": "side",
        "at": [50, 50],
        "search": [20, 60],
        "expect": "40 ±1 px",
        "fail": "1190 Side",
    }
    loaded = load_recipe(write(tmp_path, recipe))
    assert loaded.mm_per_px("top") == 0.1 and loaded.mm_per_px("side") is None


class TestModels:
    def recipe(self, folder: Path, **keys: object) -> Path:
        write_package(folder / "models" / "tiny")
        recipe = good()
        package = write(folder, recipe)
        assert package.exists()
        from inspector.infer.package import load_package

        labels = [label.name for label in load_package(folder / "models" / "tiny").labels]
        reject = {label: {"score": 0.5, "fail": f"{1200 + n} {label}"} for n, label in enumerate(labels)}
        recipe["defects"] = {"face": {"tool": "segment", "fixture": "body", "model": "tiny", "reject": reject, **keys}}
        return write(folder, recipe)

    def load(self, path: Path) -> LoadedRecipe:
        return load_recipe(path, backend="cpu")

    def test_model_is_opened_and_in_the_sha(self, tmp_path: Path) -> None:
        loaded = self.load(self.recipe(tmp_path))
        assert loaded.backend == "cpu"
        assert set(loaded.model_shas) == {"tiny"}
        assert loaded.store.artefacts["models/tiny"] == loaded.model_shas["tiny"]
        assert not loaded.store.poisoned
        loaded.close()
        loaded.close()

    def test_model_of_another_digest_is_refused(self, tmp_path: Path) -> None:
        path = self.recipe(tmp_path, model="tiny@sha256:" + "0" * 12)
        with pytest.raises(FileError, match="defects.face.model: found 'tiny@sha256:0+', but the file's digest is"):
            self.load(path)

    def test_broken_package_is_refused(self, tmp_path: Path) -> None:
        path = self.recipe(tmp_path)
        onnx = next((tmp_path / "models" / "tiny").glob("*.onnx"))
        onnx.write_bytes(onnx.read_bytes()[:-7])
        with pytest.raises(FileError, match="defects.face.model: found 'tiny':"):
            self.load(path)

    def test_backend_that_is_not_here_is_said(self, tmp_path: Path) -> None:
        from inspector.infer.backend import unavailable

        if not unavailable("tensorrt"):
            pytest.skip("TensorRT can run here")
        with pytest.raises(FileError, match="can't run on TensorRT here"):
            load_recipe(self.recipe(tmp_path), backend="tensorrt")


def test_store_opens_files_once_and_notes_them(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4), 7, np.uint8))
    store = Store(tmp_path)
    assert store.image("a.png")[0, 0] == 7
    assert store.artefacts == {"a.png": hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()}
