"""Reads a picture file as a camera would have sent it, and says clearly what is wrong with one that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.parts import Frame, FrameRef
from inspector.yamlfile import FileError

MAX_BYTES = 256 * 1024 * 1024
MAX_SIDE_PX = 20_000
ALLOWED = "PNG, TIFF, BMP or JPEG; 8 or 16 bit; grey or colour"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def read_picture(path: Path) -> NDArray[Any]:
    """The picture as (H, W) or (H, W, 3) RGB, uint8 or uint16. Raises FileError.

    A file that was cut short is refused: decoders fill what is missing with grey and say nothing.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise FileError([f"{path}: {size} bytes long, at most {MAX_BYTES} are allowed"])
        data = path.read_bytes()
    except OSError as error:
        raise FileError([f"{path}: can't be read: {error.strerror}"]) from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, path: str) -> NDArray[Any]:
    """The picture in the content of a file, as :func:`read_picture`; ``path`` is for the words. Raises FileError."""
    if _cut_short(data):
        raise FileError([f"{path}: the picture is cut short after {len(data)} bytes"])
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:  # what OpenCV throws for sizes beyond its own limits
        image = None
    if image is None:
        raise FileError([f"{path}: not a picture that can be read; allowed: {ALLOWED}"])
    if image.dtype not in (np.uint8, np.uint16):
        raise FileError([f"{path}: found {image.dtype} pixels; allowed: {ALLOWED}"])
    if max(image.shape[:2]) > MAX_SIDE_PX:
        raise FileError([f"{path}: {image.shape[1]}x{image.shape[0]} px, at most {MAX_SIDE_PX} a side are allowed"])
    if image.ndim == 2:
        return image
    if image.shape[2] == 4:
        raise FileError([f"{path}: has a transparency channel; allowed: {ALLOWED}"])
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def as_frame(image: NDArray[Any], camera: str = "file", view: str = "", shot: int = 0, exposure_us: float = 0) -> Frame:
    """A picture from disk as a frame, for :func:`inspector.recipe.judge.judge`."""
    grey = image.ndim == 2
    pixel_format = ("Mono16" if image.dtype == np.uint16 else "Mono8") if grey else "RGB8"
    height, width = image.shape[:2]
    ref = FrameRef(camera, 1, "", 0, 1, width, height, pixel_format, exposure_us, 0.0, 0, 0, 0, view=view, shot=shot)
    return Frame(ref, image)


def _cut_short(data: bytes) -> bool:
    if data.startswith(_PNG):
        return b"IEND" not in data[-16:]
    if data.startswith(_JPEG):
        return b"\xff\xd9" not in data[-64:]
    if data.startswith(b"BM") and len(data) >= 6:
        return len(data) < int.from_bytes(data[2:6], "little")
    return False
