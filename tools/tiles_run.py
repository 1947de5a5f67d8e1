"""``make tiles``: real pictures of magnetic tiles through the whole station, and their honest confusion matrix.

The pictures are put on a canvas, shown to the virtual camera one by one and judged by ``recipes/tile.yaml``; the
simulated PLC keeps the book. The data set stands beside the project and is not part of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2

from inspector.cli.demo import ROOT, World
from inspector.picture import read_picture
from tools.benchmarks.machine import describe
from tools.tiles_canvas import pictures, place

SETS = {"good": "good", "blowhole": "blowhole", "crack": "crack"}


def prepare(data: Path, folder: Path) -> tuple[Path, int]:
    """Canvases of all test pictures in a mixed order, and their list; the number of pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    for kind in SETS:
        for path in pictures([data / "test" / kind]):
            canvas, _ = place(read_picture(path))
            name = f"{kind}-{path.stem}.png"
            cv2.imwrite(str(folder / name), canvas)
            rows.append((name, "good" if kind == "good" else "bad", "" if kind == "good" else kind))
    random.Random(1).shuffle(rows)
    truth = folder / "truth.csv"
    with truth.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "good", "defect"))
        writer.writerows(rows)
    return truth, len(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write docs/evidence/tiles.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "magnetic_tile")
    parser.add_argument("--rate", type=float, default=8.0)
    parser.add_argument("--port", type=int, default=18860)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence" / "tiles.md")
    given = parser.parse_args(arguments)
    if not (given.data / "test" / "good").is_dir():
        print(f"tiles: there is no data set {given.data}; name its folder with --data", file=sys.stderr)
        return 2
    folder = ROOT / "var" / "tiles-pictures"
    truth, count = prepare(given.data, folder)
    world = World(
        port=given.port, identity="command", recipe=2, folder=ROOT / "var" / "tiles", camera_file="virtual_tile.yaml"
    )
    with world:
        world.plain([*world.line_arguments(count, given.rate, 1, folder, truth), "--quiet"])
    different = world.compare()
    book: dict[str, Any] = json.loads((world.folder / "book.json").read_text(encoding="utf-8"))
    text = report(given, book, equal=not different)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, encoding="utf-8")
    print(text)
    undecided = book["summary"]["sent"] - book["summary"]["decided"]
    return 1 if different or undecided or book["summary"]["sent"] != count else 0


def report(given: argparse.Namespace, book: dict[str, Any], *, equal: bool) -> str:
    """The evidence page."""
    table: dict[str, Counter[str]] = {kind: Counter() for kind in SETS}
    for row in book["rows"]:
        table["good" if row["good"] else row["defect"]][row["verdict"] or "none"] += 1
    lines = [
        "# Real pictures: magnetic tiles through the whole station",
        "",
        f"`make tiles`, {datetime.now(timezone.utc):%Y-%m-%d}, {describe()}; {given.rate:g} parts/s.",
        "All test pictures of the set (Huang et al., Saliency of magnetic tile surface defects), each on a canvas of",
        "640x512, shown to the virtual camera, judged by `recipes/tile.yaml` (classical contrast tools only), the book",
        "kept by the simulated PLC.",
        "",
        "| truth | parts | PASS | FAIL | NOT_INSPECTED | no verdict |",
        "|---|---|---|---|---|---|",
    ]
    for kind, counts in table.items():
        cells = " | ".join(str(counts[v]) for v in ("PASS", "FAIL", "NOT_INSPECTED", "none"))
        lines.append(f"| {kind} | {sum(counts.values())} | {cells} |")
    s = book["summary"]
    lines += [
        "",
        f"{s['sent']} triggers, {s['decided']} decided, trigger to result p50 {s['latency_ms']['p50']} ms, "
        f"p99 {s['latency_ms']['p99']} ms.",
        f"The PLC's book and the ledger are {'equal' if equal else 'NOT equal'}.",
        "",
        "What it means: a recipe of dark-spot contrast finds wide holes and misses most cracks. It shows that real",
        "pictures walk the whole way; it is not fit for a line. Half of the defective pictures were looked at when its",
        "limits were chosen, so the figures for defects are flattering; the recipe's head gives the unseen half's.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
