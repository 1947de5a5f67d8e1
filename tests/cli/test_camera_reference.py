"""``inspector camera reference``: the mean of many pictures, what is measured of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.acquire.camera import Exposure
from inspector.cli.camera_base import Trouble
from inspector.cli.camera_reference import Average
from inspector.prepare.flat_field import FlatField
from inspector.recipe.shelf import Store, ToolShelf
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, World
from tests.cli.conftest import camera
from tests.recipe.pictures import view
from tools.virtual_camera.control import expected


def exposure(pixel_format: str = "Mono8", rows: int = 64, columns: int = 64, exposure_us: float = 1000.0) -> Exposure:
    return Exposure(0, columns, rows, pixel_format, exposure_us, 0.0, 0, (0, 0))


def vignette(level: float, *, rows: int = ROWS, columns: int = COLUMNS, fall: float = 0.3) -> NDArray[np.float64]:
    """Even light that falls off to the sides."""
    x = np.linspace(-1, 1, columns)[None, :]
    return np.asarray(level * (1 - fall * x**2) * np.ones((rows, 1)))


def grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(image).astype(np.uint8)


def reference(world: World, kind: str, *more: Any) -> Any:
    return camera(world, "reference", "top", "--kind", kind, "-o", f"{kind}.png", "--frames", 4, *more)


@pytest.mark.parametrize(("name", "scale"), [("Mono8", 257), ("Mono12", 1)])
def test_a_flat_reference_is_the_mean_in_the_units_flat_field_wants(world: World, name: str, scale: int) -> None:
    world.camera("top", {**SOFTWARE, "PixelFormat": name})
    picture = grey(vignette(200))
    world.control.show(0, picture)
    result = reference(world, "flat")
    assert result.exit_code == 0, result.output
    saved = cv2.imread("flat.png", cv2.IMREAD_UNCHANGED)
    assert saved is not None and saved.dtype == np.uint16
    assert np.array_equal(saved, expected(picture, name).astype(np.uint16) * scale)
    assert f"pictures        4 of {COLUMNS}x{ROWS} px, {name}" in result.stdout
    assert "noise           0.00 grey in one picture" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("in the recipe: flat: flat.png@sha256:")
    # and the tool takes it under this name, and makes the picture even with it
    tool = FlatField(tool="flat_field", flat=last.split("flat: ")[1])
    tool.open(ToolShelf(Store(Path.cwd()), None, 1))
    full = 255 if name == "Mono8" else 4095
    seen = (vignette(100) * full / 255).astype(np.uint8 if full == 255 else np.uint16)
    even = tool(view(seen, pixel_format=name))
    assert seen.std() / seen.mean() > 0.05 > 0.01 > even.std() / even.mean()


def test_a_dark_reference(world: World) -> None:
    world.camera("top")
    dark = np.full((ROWS, COLUMNS), 3, np.uint8)
    dark[5, 7] = 90  # a hot pixel is what it is made for
    world.control.show(0, dark)
    result = reference(world, "dark")
    assert result.exit_code == 0, result.output
    saved = cv2.imread("dark.png", cv2.IMREAD_UNCHANGED)
    assert saved is not None and np.array_equal(saved, dark.astype(np.uint16) * 257)
    result = reference(world, "dark")
    assert result.exit_code == 1 and "dark.png is there already; --force writes over it" in result.stderr
    assert reference(world, "dark", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("kind", "picture", "says"),
    [
        ("dark", vignette(40), "it is not dark: 40.0 of 255 at its brightest place, allowed: 12.8; cover the lens"),
        ("flat", vignette(20), "it is too dark: 20.0 of 255 at its brightest place, allowed: at least 51.0"),
        ("flat", vignette(255), "it is too bright: "),
        ("flat", vignette(200, fall=0.7), "it is too uneven: "),
    ],
)
def test_what_can_be_none_is_refused(
    world: World, kind: str, picture: NDArray[np.float64], says: str
) -> None:  # fmt: skip
    world.camera("top")
    world.control.show(0, grey(picture))
    result = reference(world, kind)
    assert result.exit_code == 1 and f"{kind}.png was not written: {says}" in result.stderr, result.output
    assert not Path(f"{kind}.png").exists()


def test_pictures_that_do_not_come(world: World) -> None:
    world.wired().camera("top")
    result = reference(world, "flat", "--wait-s", 0.3)
    assert result.exit_code == 1
    assert "waiting for 4 pulses on the trigger wire" in result.stderr
    assert "camera VC0001: 0 of 4 pictures, then none for 0.3 s; no pulse came on its trigger wire" in result.stderr
    result = camera(world, "reference", "side", "--kind", "flat", "-o", "a.png")
    assert result.exit_code == 1 and "side is no camera of the station (it has top)" in result.stderr
    result = camera(world, "reference", "top", "--kind", "flat", "-o", "a.jpg")
    assert result.exit_code == 1 and "a.jpg: allowed is a name that ends with .png" in result.stderr


# --- what is measured ----------------------------------------------------------------------------------------
def averaged(scene: NDArray[np.float64], noise: float, count: int = 32, pixel_format: str = "Mono12") -> Average:
    rng = np.random.default_rng(5)
    average = Average()
    rows, columns = scene.shape[:2]
    for _ in range(count):
        image = np.rint(scene + rng.normal(0, noise, scene.shape)).clip(0, 4095).astype(np.uint16)
        average.add(exposure(pixel_format, rows, columns), image)
    return average


def test_noise_and_non_uniformity_are_told_apart() -> None:
    rng = np.random.default_rng(6)
    pattern = 2000 + rng.normal(0, 8, (128, 128))
    average = averaged(pattern, noise=20)
    assert abs(average.noise - 20) < 0.4
    assert abs(average.nonuniformity - 8) < 0.4  # 20 / sqrt(32) = 3.5 of noise is left in the mean, and not counted
    assert abs(average.mean - 2000) < 1
    assert np.abs(average.picture() - pattern).std() < 4
    assert averaged(np.full((64, 64), 2000.0), noise=20).nonuniformity < 1.5


def test_a_lamp_that_flickers_is_no_flat_light_and_is_not_called_noise() -> None:
    average = Average()
    for n in range(8):
        average.add(exposure(), np.full((64, 64), 150 + 20 * (n % 2), np.uint8))
    assert average.noise == 0
    assert average.no_flat().startswith("the light is not steady: the mean moves by 12.5%")


def test_colours_are_references_too() -> None:
    scene = np.dstack([np.full((64, 64), level, np.uint8) for level in (200, 150, 100)])
    average = Average()
    for _ in range(4):
        average.add(exposure("RGB8"), scene)
    assert average.no_flat() == "" and average.picture()[0, 0].tolist() == [200 * 257, 150 * 257, 100 * 257]
    scene[:, :32, 2] = 20  # one colour alone is uneven
    other = Average()
    other.add(exposure("RGB8"), scene)
    other.add(exposure("RGB8"), scene)
    assert other.no_flat().startswith("it is too uneven: 20.0 at its darkest place, 100.0")


def test_saturated_pixels_are_counted_in_every_picture() -> None:
    average = Average()
    for n in range(4):
        image = np.full((100, 100), 180, np.uint8)
        image[:2] = 255 if n == 2 else 180  # a mean would not show it
        average.add(exposure(rows=100, columns=100), image)
    assert average.no_flat().startswith("it is too bright: 2.00% of the values are white")


def test_settings_that_change_meanwhile() -> None:
    average = Average()
    average.add(exposure(), np.zeros((64, 64), np.uint8))
    with pytest.raises(Trouble, match="was set to something else meanwhile"):
        average.add(exposure(exposure_us=500.0), np.zeros((64, 64), np.uint8))
