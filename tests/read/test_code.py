from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp

from inspector.parts import Pose
from inspector.read.code import Code
from tests.recipe.pictures import view

FORMATS = {
    "datamatrix": zxingcpp.BarcodeFormat.DataMatrix,
    "qr": zxingcpp.BarcodeFormat.QRCode,
    "code128": zxingcpp.BarcodeFormat.Code128,
}


def tool(**keys: Any) -> Code:
    base = {"tool": "code", "region": [20, 20, 220, 220], "expect": "PLATE-A", "fail": "1310 Wrong code"}
    return Code.model_validate({**base, **keys})


def symbol(text: str, kind: str = "datamatrix") -> Any:
    made = zxingcpp.create_barcode(text, FORMATS[kind])
    image = np.array(zxingcpp.write_barcode_to_image(made, scale=5), np.uint8)
    return image if image.ndim == 2 else image[:, :, 0]


def picture(*codes: tuple[Any, int, int]) -> Any:
    image = np.full((320, 720), 190, np.uint8)
    for code, x, y in codes:
        height, width = code.shape
        image[y : y + height, x : x + width] = np.minimum(code, 190)
    return image


@pytest.mark.parametrize("kind", ["datamatrix", "qr", "code128"])
def test_each_kind_is_read(kind: str) -> None:
    image = picture((symbol("PLATE-A", kind), 40, 40))
    region = [20, 20, 710, 300]
    for asked in (kind, "any"):
        found = tool(kind=asked, region=region)(view(image))
        assert found.text == "PLATE-A"
        assert found.shapes[0].kind == "polygon"
        assert all(20 <= x <= 710 and 20 <= y <= 300 for x, y in found.shapes[0].points_px)


def test_turned_noisy_code_is_read_in_the_parts_frame() -> None:
    upright = picture((symbol("PLATE-A"), 60, 60))
    turn = cv2.getRotationMatrix2D((120, 120), -33, 1.0)
    image = cv2.warpAffine(upright, turn, (720, 320), borderValue=190).astype(float)
    image += np.random.default_rng(1).normal(0, 8, image.shape)
    seen = view(image.clip(0, 255).astype(np.uint8), Pose(120.0, 120.0, 33.0), 0.1)
    assert tool(region=[-8, -8, 8, 8])(seen).text == "PLATE-A"


def test_other_kind_than_asked_for_is_not_read() -> None:
    found = tool(kind="qr")(view(picture((symbol("PLATE-A"), 60, 60))))
    assert found.text is None and found.why


def test_code_outside_the_region_is_not_read() -> None:
    image = picture((symbol("PLATE-B"), 280, 60))
    assert tool()(view(image)).text is None


def test_two_different_codes_are_doubt() -> None:
    image = picture((symbol("A"), 30, 40), (symbol("B"), 140, 40))
    found = tool(region=[10, 10, 390, 230])(view(image))
    # a reader that sees only one of them would be told apart by the text; both seen is doubt
    assert found.text is None and "2 different" in found.why


def test_half_a_code_is_unreadable() -> None:
    image = picture((symbol("PLATE-A"), 60, 60))
    image[60:110] = 190
    found = tool()(view(image))
    assert found.text is None and "no code" in found.why


def test_region_outside_the_picture_is_said() -> None:
    found = tool(region=[500, 500, 600, 600])(view(picture()))
    assert found.text is None and "outside" in found.why


def test_sixteen_bit_picture_is_read() -> None:
    image = picture((symbol("PLATE-A"), 60, 60)).astype(np.uint16) * 256
    assert tool()(view(image)).text == "PLATE-A"
