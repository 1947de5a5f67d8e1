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
    """Attach, wait for what is wanted (a reject, if one comes in time), press keys, write the files."""
    app = Terminal(args.socket, plain)
    async with app.run_test(size=size) as pilot:
        deadline = time.monotonic() + args.wait
        while time.monotonic() < deadline:
            await pilot.pause(0.05)
            status = app.status
            if status is None or status.last is None:
                continue
            arrived = plain or status.last.verdict.part.seq in app.pictures
            if arrived and (args.outcome == "any" or status.last.verdict.outcome.value == args.outcome):
                break
        if keys:
            await pilot.press(*keys.split())
        await pilot.pause(0.5)  # a reject's picture is fetched on request
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
    await picture(args, SIZES[0], "", "run-80x24-plain", plain=True)


if __name__ == "__main__":
    asyncio.run(main())
