"""``python -m tools.screenshots.live [--out FOLDER]``: a picture of `inspector camera live`, on the virtual camera.

The real screen on a real camera process; the lens is turned past its best, so that the peak stands above the bar.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from inspector.cli.camera_base import known
from inspector.cli.camera_live import Stream
from inspector.tui.ink import PALETTE
from inspector.tui.live import LiveCamera
from tools.part_renderer.render import mixed_run
from tools.screenshots.cells import cells
from tools.screenshots.raster import png
from tools.virtual_camera.control import CameraControl, build

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 20.0
SIZES = ((80, 24),)


async def picture(out: Path, control: CameraControl) -> None:
    """Focus, turn on a little, write the file."""
    part = next(iter(mixed_run(1, 5, 0.0))).image
    asked, _ = known(ROOT / "firmware_config/demo.yaml", None).of_the_station("top")
    for wide, high in SIZES:
        control.show(0, part)
        with Stream(asked, 5.0) as source:
            trouble = source.opened(LIMIT_S)
            if trouble:
                raise SystemExit(trouble)
            app = LiveCamera(f"top {asked.serial}", source)
            async with app.run_test(size=(wide, high)) as pilot:
                end = time.monotonic() + LIMIT_S
                for blur in (2.0, 1.0, 0.0, 0.8):
                    control.show(0, np.asarray(cv2.GaussianBlur(part, (0, 0), blur), np.uint8) if blur else part)
                    before, seen = app.picture, 0
                    while seen < 4:
                        await pilot.pause(0.05)
                        if time.monotonic() > end:
                            raise SystemExit("no pictures came")
                        seen, before = seen + (app.picture is not before), app.picture
                out.mkdir(parents=True, exist_ok=True)
                png(cells(app), PALETTE, out / f"camera-live-{wide}x{high}.png")
                print(out / f"camera-live-{wide}x{high}.png")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="tools.screenshots.live", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    build()
    folder = Path(tempfile.mkdtemp(prefix="inspector-live-"))
    try:
        with CameraControl.create(folder / "cameras.ctl") as control:
            os.environ["VIRTUAL_CAMERA_CONTROL"] = str(control.path)
            asyncio.run(picture(args.out, control))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
