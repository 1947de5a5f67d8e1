"""The live screen, driven by keys: what it shows of pictures, and where its focus peak is reset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from inspector.cli.figures import Figures, figures
from inspector.tui.live import LiveCamera, Picture, Region, Sight, Window
from tools.screenshots.cells import text


@dataclass
class Desk:
    """A source whose pictures are laid before it, one at a time."""

    rate_hz: float = 5.0
    lost: int = 0
    why: str = ""
    regions: list[Region | None] = field(default_factory=list)
    _next: Picture | None = None
    _frame: int = 0

    def lay(self, image: NDArray[Any], pixel_format: str = "Mono8") -> Picture:
        self._frame += 1
        self._next = Picture(image, image, pixel_format, self._frame, 850.0, 6.0)
        return self._next

    def newest(self, region: Region | None) -> tuple[Picture, Figures] | None:
        self.regions.append(region)
        picture, self._next = self._next, None
        return None if picture is None else (picture, self.figures(picture, region))

    def figures(self, picture: Picture, region: Region | None) -> Figures:
        return figures(picture.raw, picture.image, picture.pixel_format, region)


def scene(blur: float = 0.0, rows: int = 512, columns: int = 640) -> NDArray[np.uint8]:
    """A square in the middle, a bright corner, top left."""
    image = np.full((rows, columns), 90, np.uint8)
    image[rows // 4 : 3 * rows // 4, columns // 4 : 3 * columns // 4] = 180
    image[: rows // 8, : columns // 8] = 255
    return np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8) if blur else image


async def look(pilot: Any, app: LiveCamera) -> str:
    app._look()
    await pilot.pause()
    return text(app)


def value(screen: str, name: str) -> str:
    """What stands behind a name in the panel: its last two words."""
    line = next((line for line in screen.splitlines() if f"│ {name} " in line), None)
    assert line is not None, screen
    return " ".join(line.split("│")[-1].split()[1:])


async def test_a_picture_with_its_figures_fits_80x24() -> None:
    desk = Desk()
    app = LiveCamera("top VC0001", desk)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "no picture yet" not in text(app)  # that is the source's to say
        desk.why = "no picture for 3 s: no pulse came on the trigger wire"
        desk.lay(scene())
        screen = await look(pilot, app)
        lines = screen.splitlines()
        assert len(lines) == 24 and max(map(len, lines)) <= 80
        assert lines[0].startswith(" top VC0001  live") and "q leaves" in lines[23]
        assert lines[22].strip() == desk.why
        assert value(screen, "mean") == f"{scene().mean():.1f} of 255"
        assert value(screen, "saturated") == "1.56%"
        assert value(screen, "exposure") == "850 us" and value(screen, "gain") == "6.0 dB"
        assert value(screen, "size") == "640x512 Mono8" and value(screen, "rate") == "5.0 Hz"
        assert value(screen, "frame") == "1" and value(screen, "lost") == "0"
        assert value(screen, "focus").endswith("100% of peak")
        window = app.query_one(Window).region
        assert all("▀" in line[: window.width] for line in lines[3:20])


async def test_the_peak_is_held_until_it_is_reset() -> None:
    desk = Desk()
    app = LiveCamera("top", desk)
    async with app.run_test(size=(80, 24)) as pilot:
        desk.lay(scene())
        sharp = float(value(await look(pilot, app), "focus").split()[0])
        desk.lay(scene(blur=2))
        screen = await look(pilot, app)
        blurred = float(value(screen, "focus").split()[0])
        assert blurred < 0.5 * sharp
        share = int(value(screen, "focus").split()[1].rstrip("%"))
        assert abs(share - 100 * blurred / sharp) <= 1
        bar = screen.splitlines()[3].split("│")[-1]
        assert abs(bar.count("█") / len(bar.strip()) - blurred / sharp) < 0.05
        await pilot.press("r")
        assert value(text(app), "focus").endswith("100% of peak")
        desk.lay(scene())
        assert value(await look(pilot, app), "focus").split()[0] == f"{sharp:.2f}"


async def test_frozen_is_frozen_and_says_so() -> None:
    desk = Desk()
    app = LiveCamera("top", desk)
    async with app.run_test(size=(80, 24)) as pilot:
        desk.lay(scene())
        await look(pilot, app)
        await pilot.press("space")
        desk.lay(scene(blur=3))
        desk.lost = 7
        screen = await look(pilot, app)
        assert "FROZEN" in screen and value(screen, "frame") == "1" and value(screen, "lost") == "7"
        await pilot.press("plus")  # a frozen picture can still be looked at
        assert "x0." in value(text(app), "shown")
        await pilot.press("space")
        desk.lay(scene(blur=3))
        screen = await look(pilot, app)
        assert "FROZEN" not in screen and value(screen, "frame") == "3"


async def test_zoom_to_one_to_one_move_and_back() -> None:
    desk = Desk()
    app = LiveCamera("top", desk)
    async with app.run_test(size=(80, 24)) as pilot:
        desk.lay(scene(rows=384, columns=480))
        await look(pilot, app)
        whole = float(value(text(app), "saturated").rstrip("%"))
        for _ in range(5):
            await pilot.press("plus")
        assert value(text(app), "shown") == "1:1"
        await look(pilot, app)
        x, y, wide, high = desk.regions[-1] or (0, 0, 0, 0)
        assert (wide, high) == app.query_one(Window).room
        assert abs(x + wide / 2 - 240) <= 1 and abs(y + high / 2 - 192) <= 1
        assert value(text(app), "mean") == "180.0 of 255"  # inside the square, and nothing else
        assert value(text(app), "focus").startswith("0.00")
        for _ in range(19):
            await pilot.press("left", "up")
        await look(pilot, app)
        assert desk.regions[-1] == (0, 0, wide, high)
        assert float(value(text(app), "saturated").rstrip("%")) == 100.0
        assert value(text(app), "focus") == "0.00 0% of peak"  # one grey: nothing to be sharp
        for _ in range(36):
            await pilot.press("right", "down")
        await look(pilot, app)
        assert desk.regions[-1] == (480 - wide, 384 - high, wide, high)
        for _ in range(5):
            await pilot.press("minus")
        await look(pilot, app)
        assert desk.regions[-1] is None
        assert float(value(text(app), "saturated").rstrip("%")) == whole


async def test_another_size_starts_anew_and_deep_pictures_have_their_own_white() -> None:
    desk = Desk()
    app = LiveCamera("top", desk)
    async with app.run_test(size=(80, 24)) as pilot:
        desk.lay(scene())
        await look(pilot, app)
        await pilot.press("plus", "right")
        desk.lay(scene(rows=100, columns=200).astype(np.uint16) * 16, "Mono12")
        screen = await look(pilot, app)
        assert app.sight == Sight() and value(screen, "focus").endswith("100% of peak")
        assert value(screen, "mean").endswith("of 4095") and value(screen, "size") == "200x100 Mono12"
        assert value(screen, "saturated") == "0.00%"  # 4080 of 4095
        colour = np.dstack([scene(), scene() // 2, scene() // 4])
        desk.lay(colour, "RGB8")
        assert "RGB8" in await look(pilot, app)


async def test_wide_windows_and_small_ones() -> None:
    for size in ((160, 48), (60, 16), (20, 5)):
        desk = Desk()
        app = LiveCamera("top", desk)
        async with app.run_test(size=size) as pilot:
            desk.lay(scene())
            await look(pilot, app)
            await pilot.press("plus", "left", "minus", "r", "space")


@pytest.mark.parametrize("key", ["q", "escape", "ctrl+c"])
async def test_leaving(key: str) -> None:
    app = LiveCamera("top", Desk())
    async with app.run_test() as pilot:
        await pilot.press(key)
    assert not app.is_running
