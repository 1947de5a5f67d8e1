"""``python -m tools.screenshots [--socket PATH] [--out FOLDER]``: PNG and SVG of a running station's terminal.

The real app is attached to the real feed; nothing is drawn that an operator would not see. Needs Pillow.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from inspector.tui.app import Terminal
from inspector.tui.ink import PALETTE
from tools.screenshots.cells import cells
from tools.screenshots.raster import png

SIZES = ((80, 24), (160, 48))


async def picture(args: argparse.Namespace, size: tuple[int, int], keys: str, name: str, plain: bool = False) -> None:
    """Attach, wait for a part of the wanted outcome with its picture, press keys, write the files."""
    app = Terminal(args.socket, plain)

    def shown() -> int | None:
        """The part on the screen, when it is one we want and all of it is there."""
        last = app.status.last if app.status else None
        if last is None or (args.outcome != "any" and last.verdict.outcome.value != args.outcome):
            return None
        seq = last.verdict.part.seq
        return seq if plain or not last.verdict.frames or seq in app.pictures else None

    async with app.run_test(size=size) as pilot:
        deadline = time.monotonic() + args.wait
        while True:
            if time.monotonic() > deadline:
                raise SystemExit(f"no part with outcome {args.outcome} and a picture came within {args.wait:.0f} s")
            seq = shown()
            await pilot.pause(0.02)
            strips = cells(app)
            if seq is not None and shown() == seq:  # the line did not move on between looking and painting
                break
        if keys:
            await pilot.press(*keys.split())
            await pilot.pause(1.0)  # what the screen asks for has come
            strips = cells(app)
        args.out.mkdir(parents=True, exist_ok=True)
        png(strips, PALETTE, args.out / f"{name}.png")
        app.save_screenshot(f"{name}.svg", str(args.out))
        print(args.out / f"{name}.png")


async def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.screenshots", description=__doc__)
    parser.add_argument("--socket", type=Path, help="the station's feed")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--outcome", default="any", choices=["any", "PASS", "FAIL", "NOT_INSPECTED"])
    parser.add_argument("--wait", type=float, default=20.0, help="how long to wait for that outcome, in s")
    args = parser.parse_args()
    for wide, high in SIZES:
        await picture(args, (wide, high), "", f"run-{wide}x{high}")
    await picture(args, SIZES[0], "2", "alarms-80x24")
    await picture(args, SIZES[0], "3", "rejects-80x24")
    await picture(args, SIZES[0], "4", "pictures-80x24")
    await picture(args, SIZES[0], "", "run-80x24-plain", plain=True)


if __name__ == "__main__":
    asyncio.run(main())
