"""The tile recipe: real pictures where they are there, and the canvas they are put on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.parts import Outcome
from inspector.recipe.judge import judge
from inspector.recipe.load import load_recipe
from tests.recipe.pictures import frame, part
from tools import tiles_canvas

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "magnetic_tile"
needs_pictures = pytest.mark.skipif(not DATA.is_dir(), reason="the pictures of the tiles are not here")


def tile(width: int = 200, height: int = 260) -> Any:
    """Ground metal: streaks down the tile, light from one side."""
    rng = np.random.default_rng(4)
    columns = rng.normal(120, 18, width) + np.linspace(-30, 30, width)
    return (columns[None] + rng.normal(0, 3, (height, width))).clip(0, 255).astype(np.uint8)


def judged(image: Any) -> Any:
    recipe = load_recipe(ROOT / "recipes" / "tile.yaml")
    canvas, _ = tiles_canvas.place(image)
    return judge(recipe, part(), [frame(canvas)])


def test_tile_lies_on_the_canvas_as_it_is() -> None:
    image = tile()
    canvas, (left, top, right, bottom) = tiles_canvas.place(image)
    margin = tiles_canvas.MARGIN_PX
    assert canvas.shape == (tiles_canvas.HEIGHT_PX, tiles_canvas.WIDTH_PX)
    assert np.array_equal(canvas[top:bottom, left:right], image[margin:-margin, margin:-margin])
    # mirrored, not stretched: the columns beside the tile are the tile's own
    assert np.array_equal(canvas[top:bottom, left - 1], canvas[top:bottom, left + 1])


@pytest.mark.parametrize("size", [(41, 200), (200, 40), (681, 300), (300, 553)])
def test_tile_that_does_not_fit_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="allowed: 42 px a side to 680x552"):
        tiles_canvas.place(np.zeros((size[1], size[0]), np.uint8))


def test_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: grey"):
        tiles_canvas.place(np.zeros((200, 200, 3), np.uint8))


def test_command_writes_a_canvas_a_picture_and_says_what_it_could_not(tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "in"
    source.mkdir()
    cv2.imwrite(str(source / "a.jpg"), tile())
    cv2.imwrite(str(source / "b.jpg"), np.zeros((30, 30), np.uint8))
    (source / "c.jpg").write_bytes(b"no picture")
    assert tiles_canvas.main([str(tmp_path / "out"), str(source)]) == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]
    said = capsys.readouterr().err
    assert "b.jpg: found 30x30" in said and "c.jpg: not a picture" in said
    assert tiles_canvas.main([str(tmp_path / "out"), str(source / "a.jpg")]) == 0


def test_clean_metal_passes_and_a_hole_or_a_crack_does_not() -> None:
    assert judged(tile()).outcome is Outcome.PASS
    hole = tile()
    cv2.circle(hole, (90, 120), 5, 30, cv2.FILLED)
    assert (judged(hole).outcome, judged(hole).code) == (Outcome.FAIL, 2110)
    crack = tile()
    cv2.line(crack, (60, 100), (110, 130), 40, 2)
    assert (judged(crack).outcome, judged(crack).code) == (Outcome.FAIL, 2120)


@needs_pictures
def test_real_tiles_are_judged_as_well_as_the_recipe_says() -> None:
    def share(folder: str, step: int) -> float:
        verdicts = [
            judged(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)).outcome
            for path in sorted((DATA / folder).glob("*.jpg"))[::step]
        ]
        assert set(verdicts) <= {Outcome.PASS, Outcome.FAIL}
        return verdicts.count(Outcome.FAIL) / len(verdicts)

    assert share("test/good", 4) <= 0.10
    assert share("test/blowhole", 4) >= 0.50
