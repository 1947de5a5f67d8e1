from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inspector.picture import as_frame, read_picture
from inspector.yamlfile import FileError

GREY = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)


def encoded(image: Any, suffix: str) -> bytes:
    good, data = cv2.imencode(suffix, image)
    assert good
    return bytes(data)


def said(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        read_picture(path)
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_grey_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(GREY, suffix))
    assert np.array_equal(read_picture(path), GREY)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    deep = GREY.astype(np.uint16) * 257
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(deep, suffix))
    assert np.array_equal(read_picture(path), deep)
    assert as_frame(read_picture(path)).ref.pixel_format == "Mono16"


def test_colour_is_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((10, 12, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes blue, green, red
    path = tmp_path / "x.png"
    path.write_bytes(encoded(red, ".png"))
    image = read_picture(path)
    assert tuple(image[0, 0]) == (200, 0, 0)
    shot = as_frame(image, "side")
    assert (shot.ref.camera, shot.ref.width, shot.ref.height, shot.ref.pixel_format) == ("side", 12, 10, "RGB8")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_picture_cut_short_is_never_half_read(tmp_path: Path, suffix: str, share: float) -> None:
    data = encoded(GREY, suffix)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    assert "cut short" in said(path)


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 100, b"GIF89a" + b"\x00" * 50, b"recipe: 1\n", b"\x89PNG\r\n\x1a\nIEND...."]
)
def test_file_that_is_no_picture(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert "not a picture" in said(path)


def test_other_faults_are_said(tmp_path: Path) -> None:
    assert "can't be read" in said(tmp_path / "gone.png")
    assert "can't be read" in said(tmp_path)
    clear = tmp_path / "clear.png"
    clear.write_bytes(encoded(np.zeros((8, 8, 4), np.uint8), ".png"))
    assert "transparency" in said(clear)
    real = tmp_path / "real.tiff"
    real.write_bytes(encoded(np.zeros((8, 8), np.float32), ".tiff"))
    assert "float32 pixels" in said(real)
    wide = tmp_path / "wide.png"
    wide.write_bytes(encoded(np.zeros((1, 20_001), np.uint8), ".png"))
    assert "at most 20000 a side" in said(wide)


def test_endless_file_is_refused_unread(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(257 * 1024 * 1024)
    assert "at most" in said(huge)
