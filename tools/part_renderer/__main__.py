"""Write rendered parts, or the template picture, to disk."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from tools.part_renderer.render import mixed_run
from tools.part_renderer.template import render_template


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.part_renderer", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for part-NNNNNN.png and part-NNNNNN.json")
    parser.add_argument("--count", type=int, default=10, help="parts to draw (10)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the run (1)")
    parser.add_argument("--defect-rate", type=float, default=0.3, help="share of bad parts, 0..1 (0.3)")
    parser.add_argument("--first-number", type=int, default=1, help="number of the first part (1)")
    parser.add_argument("--template", type=Path, metavar="PNG", help="write the locating template and its .json")
    given = parser.parse_args()
    if given.out is None and given.template is None:
        parser.error("nothing to do: give --out DIR, --template PNG or both")
    try:
        if given.template is not None:
            render_template().write(given.template)
        if given.out is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            run = mixed_run(given.count, given.seed, given.defect_rate, first_number=given.first_number)
            for part in run:
                path = given.out / f"part-{part.truth.part_number:06d}.png"
                if not cv2.imwrite(str(path), part.image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
                    raise OSError(f"picture {path}: could not be written")
                path.with_suffix(".json").write_text(part.truth.to_json() + "\n", encoding="utf-8")
    except (OSError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
