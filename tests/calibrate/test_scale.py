from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from inspector.calibrate.scale import load_scale
from inspector.yamlfile import FileError

TODAY = datetime.date(2026, 3, 1)
GOOD = """camera: top
mm_per_px: 0.06
residual_px: 0.04
size_px: [1280, 1024]
method: dot grid
date: 2026-02-01
valid_until: 2026-03-01
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_is_good_up_to_its_last_day(tmp_path: Path) -> None:
    scale = load_scale(write(tmp_path, GOOD), TODAY)
    assert scale.mm_per_px == 0.06 and scale.size_px == (1280, 1024)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("valid_until: 2026-03-01", "valid_until: 2026-02-28", "c.yaml:7: valid_until: found 2026-02-28"),
        ("date: 2026-02-01", "date: 2026-03-02", "c.yaml:6: date: found 2026-03-02, allowed: not after"),
        ("mm_per_px: 0.06", "mm_per_px: 0", "c.yaml:2: mm_per_px: found 0"),
        ("mm_per_px: 0.06", "mm_per_px: .nan", "c.yaml:2: mm_per_px: found nan"),
        ("residual_px: 0.04\n", "", "residual_px: missing"),
        ("[1280, 1024]", "1280", "c.yaml:4: size_px"),
        ("method: dot grid", "lens: 16 mm", "c.yaml:5: lens: unknown key"),
    ],
)
def test_what_can_not_be_used_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(FileError) as caught:
        load_scale(write(tmp_path, GOOD.replace(old, new)), TODAY)
    assert said in str(caught.value)


def test_no_last_day_means_no_end(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("valid_until: 2026-03-01\n", ""))
    assert load_scale(path, datetime.date(2040, 1, 1)).valid_until is None
