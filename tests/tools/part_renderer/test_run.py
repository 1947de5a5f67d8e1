from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.part_renderer import MM_PER_PX, mixed_run, read_stamp, render_nominal, render_template

ROOT = Path(__file__).parents[3]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.part_renderer", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_is_numbered_stamped_and_the_same_each_time():
    first = list(mixed_run(8, 3, 0.5, first_number=100))
    assert [p.truth.part_number for p in first] == list(range(100, 108))
    assert [read_stamp(p.image) for p in first] == list(range(100, 108))
    assert [p.truth.defect for p in first] == [p.truth.defect for p in mixed_run(8, 3, 0.5)]
    assert 0 < sum(p.truth.good for p in first) < 8


@pytest.mark.parametrize(("rate", "good"), [(0.0, 3), (1.0, 0)])
def test_the_defect_rate_is_kept(rate, good):
    assert sum(p.truth.good for p in mixed_run(3, 1, rate)) == good


def test_a_wrong_rate_is_refused():
    with pytest.raises(ValueError, match="defect rate 1.5"):
        next(mixed_run(1, 1, 1.5))


def test_the_command_writes_pictures_truths_and_the_template(tmp_path):
    out, png = tmp_path / "parts", tmp_path / "corner.png"
    done = run("--out", str(out), "--count", "3", "--seed", "7", "--defect-rate", "1", "--template", str(png))
    assert done.returncode == 0, done.stderr
    for n in (1, 2, 3):
        image = cv2.imread(str(out / f"part-{n:06d}.png"), cv2.IMREAD_UNCHANGED)
        truth = json.loads((out / f"part-{n:06d}.json").read_text())
        assert image.shape == (1024, 1280) and read_stamp(image) == n == truth["part_number"]
        assert truth["good"] is False
    template, place = cv2.imread(str(png), cv2.IMREAD_UNCHANGED), json.loads(png.with_suffix(".json").read_text())
    image, pose = render_nominal()
    score = cv2.matchTemplate(image, template, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(score)
    middle = np.array([[x + (template.shape[1] - 1) / 2, y + (template.shape[0] - 1) / 2]])
    assert best > 0.999
    assert pose.to_part(middle)[0] == pytest.approx((place["centre_x_mm"], place["centre_y_mm"]), abs=1e-5)
    assert place["mm_per_px"] == MM_PER_PX


def test_the_command_says_what_is_wrong(tmp_path):
    assert "nothing to do" in run().stderr
    done = run("--out", str(tmp_path / "x"), "--defect-rate", "2")
    assert done.returncode == 1 and done.stderr.strip() == "defect rate 2.0: must be 0 .. 1"
    done = run("--template", str(tmp_path / "corner.jpg"))
    assert done.returncode == 1 and "must end in .png" in done.stderr


def test_the_nominal_part_is_clean_and_unturned():
    image, pose = render_nominal()
    assert image.shape == (1024, 1280) and pose.angle_deg == 0.0
    x, y = pose.to_image(np.array([[30.0, 20.0]]))[0]
    assert np.ptp(image[int(y) - 8 : int(y) + 8, int(x) - 60 : int(x) + 60]) == 0  # no texture, no noise


def test_a_template_outside_the_picture_is_refused():
    with pytest.raises(ValueError, match="nothing of it lies in the picture"):
        render_template((200.0, 0.0, 210.0, 10.0))
