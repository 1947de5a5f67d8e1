"""Put pictures of magnetic tiles, which come in all sizes, on one canvas, as a camera with a fixed picture would.

    python -m tools.tiles_canvas OUT PICTURE_OR_FOLDER...

The outer MARGIN_PX of each tile are cut off: at its rounded, dark ends the tile looks like a defect of itself.
What is left lies in the middle of the canvas at its own scale, and the canvas round it is filled with the tile's
mirror image, so that there is no edge which is not on the tile. A tile with a defect shows it, and perhaps its
mirror images; one without shows none. Pictures too large for the canvas are refused, never scaled.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.picture import read_picture
from inspector.yamlfile import FileError

WIDTH_PX, HEIGHT_PX = 640, 512
MARGIN_PX = 20


def place(tile: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """The canvas (HEIGHT_PX, WIDTH_PX) uint8, and the box left, top, right, bottom of the tile on it.

    tile: (H, W) uint8. Raises ValueError for a tile that does not fit, or of which nothing is left.
    """
    height, width = tile.shape[:2]
    inner_w, inner_h = width - 2 * MARGIN_PX, height - 2 * MARGIN_PX
    if tile.ndim != 2 or tile.dtype != np.uint8:
        raise ValueError(f"found {tile.dtype} in {tile.ndim} dimensions, allowed: grey, 8 bit")
    if not (2 <= inner_w <= WIDTH_PX and 2 <= inner_h <= HEIGHT_PX):
        most = f"{WIDTH_PX + 2 * MARGIN_PX}x{HEIGHT_PX + 2 * MARGIN_PX}"
        raise ValueError(f"found {width}x{height} px, allowed: {2 * MARGIN_PX + 2} px a side to {most}")
    inner = tile[MARGIN_PX : height - MARGIN_PX, MARGIN_PX : width - MARGIN_PX]
    left, top = (WIDTH_PX - inner_w) // 2, (HEIGHT_PX - inner_h) // 2
    canvas = cv2.copyMakeBorder(
        np.ascontiguousarray(inner),
        top,
        HEIGHT_PX - inner_h - top,
        left,
        WIDTH_PX - inner_w - left,
        cv2.BORDER_REFLECT_101,
    )
    return np.asarray(canvas, np.uint8), (left, top, left + inner_w, top + inner_h)


def pictures(paths: Sequence[Path]) -> Iterator[Path]:
    """The pictures named, and the ``.jpg`` of folders named (their ``.png`` are masks)."""
    for path in paths:
        yield from sorted(path.glob("*.jpg")) if path.is_dir() else [path]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a PNG for each picture; 1 when one of them could not be placed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the canvases; made when it is not there")
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures of tiles, or folders of them (.jpg)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    bad = 0
    for path in pictures(options.pictures):
        try:
            canvas, _ = place(read_picture(path))
        except (FileError, ValueError) as error:
            bad += 1
            print(error if isinstance(error, FileError) else f"{path}: {error}", file=sys.stderr)
            continue
        target = options.out / f"{path.stem}.png"
        if not cv2.imwrite(str(target), canvas):
            raise OSError(f"{target}: can't be written")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
