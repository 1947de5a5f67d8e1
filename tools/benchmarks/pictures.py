"""The parts that both sides of a benchmark see."""

from __future__ import annotations

from collections.abc import Sequence

from tools.part_renderer import Rendered, mixed_run

COUNT = 12


def load_pictures() -> Sequence[Rendered]:
    """A fixed mix of good and bad parts."""
    return list(mixed_run(COUNT, 77, 0.25))
