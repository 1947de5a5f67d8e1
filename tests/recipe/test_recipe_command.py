from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from inspector.cli.recipe import app
from tests.recipe.pictures import mark
from tests.recipe.recipes import good, views, write

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


def test_try_shows_how_good_the_picture_is(recipe: Path, tmp_path: Path) -> None:
    done = call("try", recipe, picture(tmp_path, mark([(205, 160, 4)], noise=2)))
    heading, values = [line.split() for line in done.output.splitlines() if "brightness" in line or "  " in line][-2:]
    assert heading == ["picture", "brightness", "contrast", "sharpness", "noise", "saturated"]
    assert values[0] == "picture" and float(values[4]) == pytest.approx(2.0, rel=0.1)


@pytest.fixture
def shots(tmp_path: Path) -> list[object]:
    """What `try` needs for the recipe of several views."""
    bright = picture(tmp_path, mark([(204, 164, 0)], noise=2), "bright.png")
    dim = picture(tmp_path, mark([(204, 164, 0)], grey=(90.0, 40.0), noise=1), "dim.png")
    return ["--view", f"bright={bright}", "--view", f"dim={dim}", "--view", f"dim={dim}"]


def test_try_takes_the_pictures_of_every_view(tmp_path: Path, shots: list[object]) -> None:
    several = write(tmp_path, views(), "several.yaml")
    done = call("try", several, *shots, "--out", tmp_path / "seen.png")
    assert done.exit_code == 0, done.output
    assert "bright: picture" in done.output and "dim: picture" in done.output
    drawn = {view: cv2.imread(str(tmp_path / f"seen-{view}.png")) for view in ("bright", "dim")}
    assert all(image.shape == (320, 400, 3) for image in drawn.values())
    assert drawn["bright"][200:, :, 1].max() > drawn["dim"][200:, :, 1].max()
    verdict = json.loads(call("try", several, *shots, "--json").output)
    assert [(f["view"], f["shot"], f["exposure_us"]) for f in verdict["frames"]] == [
        ("bright", 0, 800.0), ("dim", 0, 400.0), ("dim", 1, 400.0),
    ]  # fmt: skip
    missing = call("try", several, *shots[:4])
    assert missing.exit_code == 4 and "no picture 2 of 2 of view dim (camera top)" in missing.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["part.png"], "the recipe needs several pictures; allowed: --view bright=FILE, dim=FILE (2 times)"),
        ([], "missing, allowed: --view bright=FILE, dim=FILE (2 times)"),
        (["--view", "blue=part.png"], "found 'blue=part.png', allowed: bright=FILE, dim=FILE (2 times)"),
        (["--view", "bright"], "found 'bright', allowed: bright=FILE"),
        (["part.png", "--view", "bright=part.png"], "found beside --view"),
    ],
)
def test_try_says_which_pictures_it_needs(tmp_path: Path, given: list[str], said: str) -> None:
    done = call("try", write(tmp_path, views()), *given)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


def test_try_of_a_plain_recipe_takes_one_picture(recipe: Path, tmp_path: Path, shots: list[object]) -> None:
    done = call("try", recipe, *shots[:2])
    assert done.exit_code == 2 and "as the recipe has one picture" in " ".join(done.output.replace("│", " ").split())


def test_try_names_cameras_where_a_recipe_does(tmp_path: Path) -> None:
    text = good()
    text["cameras"] = {"top": {}, "side": {}}
    text["locate"]["body"]["camera"] = "top"
    text["locate"]["other"] = {**text["locate"]["body"], "camera": "side", "fail": "1011 Side not found"}
    shot = picture(tmp_path, mark([(205, 160, 4)], noise=2))
    done = call("try", write(tmp_path, text), "--view", f"side={shot}", "--view", f"top={shot}")
    assert done.exit_code == 0, done.output


def test_reference_is_the_mean_and_can_be_pinned(tmp_path: Path) -> None:
    flats = [picture(tmp_path, mark([], noise=4, seed=n), f"f{n}.png") for n in range(4)]
    done = call("reference", tmp_path / "flat.png", *flats)
    assert done.exit_code == 0, done.output
    made = cv2.imread(str(tmp_path / "flat.png"), cv2.IMREAD_UNCHANGED)
    wanted = np.mean([cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in flats], axis=0) * 257
    assert made.dtype == np.uint16 and np.abs(made - wanted).max() <= 0.5
    text = {**good(), "prepare": {"even": {"tool": "flat_field", "flat": done.output.strip()}}}
    assert call("check", write(tmp_path, text)).exit_code == 0


def test_reference_of_deep_pictures_keeps_their_numbers(tmp_path: Path) -> None:
    deep = picture(tmp_path, np.full((20, 30), 1000, np.uint16), "a.png")
    other = picture(tmp_path, np.full((20, 30), 1003, np.uint16), "b.png")
    assert call("reference", tmp_path / "flat.png", deep, other).exit_code == 0
    assert set(cv2.imread(str(tmp_path / "flat.png"), cv2.IMREAD_UNCHANGED).ravel()) <= {1001, 1002}


def test_reference_refuses_what_can_not_be_averaged(tmp_path: Path) -> None:
    one, two = picture(tmp_path, mark([])), picture(tmp_path, mark([])[:300], "small.png")
    done = call("reference", tmp_path / "flat.png", one, two)
    assert done.exit_code == 1 and "small.png: 400x300 px 8 bit grey, allowed: 400x320 px 8 bit grey as" in done.output
    assert call("reference", tmp_path / "flat.png", tmp_path / "gone.png").exit_code == 1
    assert call("reference", tmp_path / "flat.jpg", one).exit_code == 2
    assert not (tmp_path / "flat.png").exists()


def test_schema_writes_both_files(tmp_path: Path) -> None:
    done = call("schema", "--out", tmp_path)
    assert done.exit_code == 0 and "recipe.schema.json" in done.output
    assert "nothing changed" in call("schema", "--out", tmp_path).output
    assert call("schema", "--out", tmp_path / "gone").exit_code == 1
