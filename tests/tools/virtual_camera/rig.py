"""What a scenario needs: the real harvesters over the real producer, and the other end of the camera."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from genicam import genapi, gentl
from harvesters.core import Callback, Harvester, ImageAcquirer
from numpy.typing import NDArray

from tools.virtual_camera.control import CTI, CameraControl

ERRORS = (gentl.GenericException, genapi.GenericException)
ROWS, COLUMNS = 480, 640
GEV = os.environ.get("VIRTUAL_CAMERA_TLTYPE") == "GEV"
FIRST = 1 if GEV else 0  # frame id after AcquisitionStart


def cti() -> Path:
    return Path(os.environ.get("VIRTUAL_CAMERA_CTI", CTI))


def wait_for(condition: Any, timeout_s: float = 3.0) -> None:
    """Poll until true; an AssertionError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.002)


def picture(seed: int = 0, shape: tuple[int, ...] = (ROWS, COLUMNS)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Incomplete(Callback):
    """Counts incomplete buffers, which try_fetch hides."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, context: Any) -> None:
        self.count += 1


class Camera:
    """One opened device."""

    def __init__(self, acquirer: ImageAcquirer) -> None:
        self.acquirer = acquirer
        self.incomplete = Incomplete()
        acquirer.add_callback(ImageAcquirer.Events.INCOMPLETE_BUFFER, self.incomplete)

    @property
    def nodes(self) -> Any:
        return self.acquirer.remote_device.node_map

    def set(self, **features: Any) -> None:
        for name, value in features.items():
            self.nodes.get_node(name).value = value

    def software(self) -> None:
        self.set(TriggerMode="On", TriggerSource="Software", ExposureTime=1000.0)

    def trigger(self) -> None:
        self.nodes.TriggerSoftware.execute()

    def frame(self, timeout: float = 1.0) -> tuple[int, NDArray[Any]] | None:
        """Frame id and a copy of the image, shaped; None when no complete frame came."""
        buffer = self.acquirer.try_fetch(timeout=timeout)
        if buffer is None:
            return None
        with buffer:
            part = buffer.payload.components[0]
            shape = (part.height, part.width) + ((3,) if part.data_format == "RGB8" else ())
            return int(buffer.module.frame_id), part.data.reshape(shape).copy()

    def shot(self, timeout: float = 1.0) -> tuple[int, NDArray[Any]] | None:
        self.trigger()
        return self.frame(timeout)

    def shot_id(self, timeout: float = 0.25) -> int | None:
        frame = self.shot(timeout)
        return None if frame is None else frame[0]

    def force_close(self, harvester: Harvester) -> None:
        """Let go of a lost camera without an update(), which would close every other one."""
        acquirer = self.acquirer
        chunks, streams = acquirer._chunk_adapter, list(acquirer._data_streams)
        for _ in range(2):
            try:
                acquirer.destroy()
            except ERRORS:
                continue
            break
        if acquirer.is_valid():
            for stream in streams:
                with suppress(ERRORS):
                    stream.close()
            acquirer._data_streams.clear()
            acquirer._announced_buffers.clear()
            acquirer.destroy()
        acquirer._finalizer.detach()
        if chunks is not None:
            chunks._finalizer()
        if acquirer in harvester.image_acquirers:
            harvester.image_acquirers.remove(acquirer)


@contextmanager
def harvester() -> Iterator[Harvester]:
    library = Harvester()
    library.add_file(str(cti()))
    library.update()
    try:
        yield library
    finally:
        library.reset()


def open_camera(library: Harvester, serial: str = "VC0001", tries_s: float = 0.0) -> Camera:
    end = time.monotonic() + tries_s
    while True:
        try:
            return Camera(library.create({"serial_number": serial}))
        except gentl.NotAvailableException:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


@contextmanager
def camera(serial: str = "VC0001") -> Iterator[Camera]:
    with harvester() as library:
        opened = open_camera(library, serial)
        try:
            yield opened
        finally:
            opened.acquirer.destroy()


def control() -> CameraControl:
    return CameraControl.open(Path(os.environ["VIRTUAL_CAMERA_CONTROL"]))
