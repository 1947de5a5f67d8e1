from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from inspector.cli.recipe import app
from tests.recipe.pictures import mark
from tests.recipe.recipes import good, write

RUN = CliRunner()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write(tmp_path, good())


def picture(folder: Path, image: Any, name: str = "part.png") -> Path:
    path = folder / name
    cv2.imwrite(str(path), image)
    return path


def call(*arguments: object) -> Any:
    return RUN.invoke(app, [str(a) for a in arguments])


def test_check_says_good(recipe: Path) -> None:
    done = call("check", recipe)
    assert done.exit_code == 0
    assert "good: recipe 7 rev 1, 4 steps, sha " in done.output


def test_check_says_every_fault_of_every_file(recipe: Path, tmp_path: Path) -> None:
    bad = good()
    bad["recipe"] = 0
    bad["name"] = ""
    other = write(tmp_path, bad, "bad.yaml")
    done = call("check", recipe, other, tmp_path / "gone.yaml")
    assert done.exit_code == 1
    for said in (
        "r.yaml: good",
        "bad.yaml:1: recipe: found 0",
        "bad.yaml:2: name: found ''",
        "gone.yaml: can't be read",
    ):
        assert said in done.output


def test_try_prints_the_checks_and_draws_them(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    done = call("try", recipe, picture(tmp_path, mark([(205, 160, 4)], noise=2)), "--out", out)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("PASS 0: Good: 4 checks passed")
    assert "1.7 to 1.9" in done.output and "judged in" in done.output
    drawn = cv2.imread(str(out))
    assert drawn is not None and drawn.shape == (320, 400, 3)
    assert (drawn[..., 1].astype(int) - drawn[..., 2]).max() > 80  # something green is on it


def test_try_ends_with_the_outcome(recipe: Path, tmp_path: Path) -> None:
    bad = picture(tmp_path, mark([], noise=2))
    assert call("try", recipe, bad).exit_code == 3
    dark = picture(tmp_path, mark([], grey=(2, 1)), "dark.png")
    assert call("try", recipe, dark).exit_code == 4


def test_try_as_json_has_everything(recipe: Path, tmp_path: Path) -> None:
    done = call("try", recipe, picture(tmp_path, mark([(205, 160, 4)], noise=2)), "--json", "--part-id", "A 7")
    verdict = json.loads(done.output)
    assert verdict["outcome"] == "PASS"
    assert verdict["part"]["trigger"]["part_id"] == "A 7"
    assert len(verdict["checks"]) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not a picture"), (b"hello", "not a picture"), (None, "can't be read")],
)
def test_try_refuses_what_is_no_picture(recipe: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    done = call("try", recipe, path)
    assert done.exit_code == 1 and said in done.output


def test_try_refuses_a_bad_recipe(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text("recipe: 0\n")
    done = call("try", recipe, picture(tmp_path, mark([])))
    assert done.exit_code == 1 and "recipe: found 0" in done.output


def test_try_refuses_bad_options(recipe: Path, tmp_path: Path) -> None:
    shot = picture(tmp_path, mark([(205, 160, 4)], noise=2))
    assert call("try", recipe, shot, "--backend", "abacus").exit_code == 2
    assert call("try", recipe, shot, "--out", tmp_path / "x.doc").exit_code == 2
    done = call("try", recipe, shot, "--out", tmp_path / "gone" / "x.png")
    assert done.exit_code == 1 and "can't be written" in done.output


def test_schema_writes_both_files(tmp_path: Path) -> None:
    done = call("schema", "--out", tmp_path)
    assert done.exit_code == 0 and "recipe.schema.json" in done.output
    assert "nothing changed" in call("schema", "--out", tmp_path).output
    assert call("schema", "--out", tmp_path / "gone").exit_code == 1
