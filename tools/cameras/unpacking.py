"""``make unpacking``: 5 MP of each packed pixel format into a slot, beside a plain copy of as many pixels.

The bits are those of one camera format after the other, random; whether they come out right is a matter of the tests.
Exit status 1 when a packed format of 12 bits takes longer than the goal.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from inspector.acquire.unpack import ALLOWED, Raw, unpacked
from tools.cameras.page import replace_section

ROWS, COLUMNS = 2048, 2448
GOAL_MS = 10.0


def took_ms(work: Callable[[], None], times: int) -> tuple[float, float]:
    """Median and longest of so many."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1e3)
    return float(np.median(found)), max(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the section (not with ``--short``)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=100, help="of each format")
    parser.add_argument("--short", action="store_true", help="three times, nothing written")
    given = parser.parse_args(arguments)
    times = 3 if given.short else given.times
    random = np.random.default_rng(1)
    out = np.empty((ROWS, COLUMNS), np.uint16)
    plain = random.integers(0, 4096, out.shape, np.uint16)
    copy_ms, copy_most_ms = took_ms(lambda: np.copyto(out, plain), times)
    rows, slow = [], []
    for sent in (name for name in ALLOWED if name.startswith("Mono") and unpacked(name) != name):
        needed = Raw(np.empty(0, np.uint8), COLUMNS, ROWS, sent).needed_bytes
        raw = Raw(random.integers(0, 256, needed, np.uint8), COLUMNS, ROWS, sent)
        p50, most = took_ms(lambda raw=raw: raw.into(out), times)  # type: ignore[misc]
        rows.append(f"| {sent} | {p50:.1f} / {most:.1f} | {p50 / copy_ms:.1f} |")
        if "12" in sent and p50 > GOAL_MS:
            slow.append(sent)
    text = "\n".join(
        [
            f"{COLUMNS}x{ROWS} pixels, {times} times each, one core. A plain copy of as many 16-bit pixels takes",
            f"{copy_ms:.1f} / {copy_most_ms:.1f} ms. Goal for 12 bits: {GOAL_MS:g} ms at most.",
            "Bayer formats are packed alike.",
            "",
            "| sent | p50 / max ms | times a plain copy |",
            "|---|---|---|",
            *rows,
            "",
            f"**Not met:** {', '.join(slow)}." if slow else "The goal was met.",
        ]
    )
    print(text)
    if not given.short:
        replace_section("unpacking", text)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
