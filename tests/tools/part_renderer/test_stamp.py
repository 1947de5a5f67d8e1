from __future__ import annotations

import cv2
import numpy as np
import pytest

from tools.part_renderer import read_stamp, render, write_stamp

NUMBERS = [0, 1, 7, 48_213, 2**31, 2**32 - 1, 0xA5A5A5A5]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return render(3).image


def exposed(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(image.astype(float) * factor, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("exposure", [0.5, 1.0, 1.5])
def test_a_number_survives_exposure_blur_noise_and_jpeg(picture, number, exposure):
    image = picture.copy()
    write_stamp(image, number)
    image = exposed(cv2.GaussianBlur(image, (0, 0), 1.5), exposure)
    noise = np.random.default_rng(number).normal(0, 6, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert read_stamp(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)) == number


def test_a_number_survives_12_bit_and_colour(picture):
    image = picture.copy()
    write_stamp(image, 1234)
    assert read_stamp(image.astype(np.uint16) * 16) == 1234
    assert read_stamp(np.repeat(image[:, :, None], 3, axis=2)) == 1234


def test_no_stamp_is_no_number(picture):
    assert read_stamp(picture) is None
    assert read_stamp(np.zeros((1024, 1280), np.uint8)) is None
    assert read_stamp(np.full((1024, 1280), 255, np.uint8)) is None
    assert read_stamp(np.zeros((16, 100), np.uint8)) is None


def test_a_damaged_stamp_is_never_another_number():
    rng = np.random.default_rng(5)
    for _ in range(300):
        image = np.zeros((16, 1280), np.uint8)
        number = int(rng.integers(0, 2**32))
        write_stamp(image, number)
        kind = rng.integers(0, 3)
        if kind == 0:  # cells turned over, in all three copies alike
            for bit in rng.integers(0, 48, rng.integers(1, 6)):
                for copy in range(3):
                    x = 64 + (copy * 48 + bit) * 8
                    image[:, x : x + 8] = 255 - image[:, x : x + 8]
        elif kind == 1:  # part of another picture's stamp
            other = np.zeros_like(image)
            write_stamp(other, int(rng.integers(0, 2**32)))
            x = int(rng.integers(100, 1200))
            image[:, x:] = other[:, x:]
        else:  # shifted sideways
            image = np.roll(image, int(rng.integers(4, 400)), axis=1)
        assert read_stamp(image) in (None, number)


def test_random_cells_give_no_number():
    rng = np.random.default_rng(6)
    for _ in range(300):
        cells = rng.choice([20, 230], (2, 160)).astype(np.uint8)
        assert read_stamp(np.repeat(np.repeat(cells, 8, axis=0), 8, axis=1)) is None


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_number_over_32_bit_is_refused(number):
    with pytest.raises(ValueError, match="part number"):
        write_stamp(np.zeros((1024, 1280), np.uint8), number)


@pytest.mark.parametrize("shape", [(8, 1280), (1024, 640), (1024, 1280, 3)])
def test_a_picture_without_room_is_refused(shape):
    with pytest.raises(ValueError, match="a stamp needs"):
        write_stamp(np.zeros(shape, np.uint8), 1)
