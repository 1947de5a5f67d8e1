"""The other end of the virtual camera: what stands before its lens, its trigger wires, its cable.

A `CameraControl` is a memory-mapped file that the camera (a GenTL producer in another process) and any number of
clients share; the camera finds it by the environment variable `VIRTUAL_CAMERA_CONTROL`. The layout is that of
`control_layout.h`; both ends refuse a file of another version.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import platform
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.compiling import compiled
from tools.virtual_camera import layout
from tools.virtual_camera.arming import (
    FAULTS,
    LOSS_STYLES,
    PARAMETERS,
    SIMULATION_RANGES,
    in_range,
    record_of,
    with_defaults,
)
from tools.virtual_camera.description import register_of
from tools.virtual_camera.pixels import PIXEL_FORMATS, expected

__all__ = [
    "CTI",
    "ENVIRONMENT",
    "FAULTS",
    "LOSS_STYLES",
    "PARAMETERS",
    "PIXEL_FORMATS",
    "CameraControl",
    "Counters",
    "build",
    "expected",
]

CTI = Path(__file__).resolve().parent / "build" / "virtual_camera.cti"
ENVIRONMENT = "VIRTUAL_CAMERA_CONTROL"

_COUNT_DISCONNECTS = 9
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_FUTEX_WAKE = 1


@dataclass(frozen=True)
class Counters:
    """The camera's own book since the control file was made.

    `exposed + missed` is every trigger it saw in triggered mode; edges that came are `triggers - extra + lost + stuck`;
    `delivered` is `exposed - dropped - underruns + duplicated`, once nothing is late or held and nothing was stopped.
    """

    triggers: int  # seen: accepted and missed, extra ones too
    missed: int  # came while the camera was busy or stopped
    lost: int  # eaten by LoseTrigger: never seen
    exposed: int  # exposures started
    delivered: int  # buffers handed over, incomplete and doubled ones too
    underruns: int  # no buffer was queued
    dropped: int  # eaten by DropFrame
    incomplete: int
    delayed: int
    disconnects: int
    last_part: int  # part number of the picture exposed last
    extra: int  # triggers made by ExtraTrigger
    duplicated: int  # frames delivered a second time
    reordered: int  # frames that went behind a later one
    renumbered: int  # jumps of the frame id
    stream_errors: int
    port_errors: int
    slow_ports: int
    busy_opens: int
    settings_lost: int
    stuck: int  # edges not seen because the line was stuck
    bad_images: int
    oversized: int  # eaten by SizeMismatch
    bad_chunks: int


class CameraControl:
    """Pictures, trigger wires, faults and cable of the virtual cameras behind one control file.

    Safe to use from several threads and processes at once. `device` is 0 for VC0001, 1 for VC0002 and so on.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._map = mmap.mmap(descriptor, 0)
        self._header = np.frombuffer(self._map, layout.HEADER, 1)[0]
        self._pages: list[Any] = [
            np.frombuffer(self._map, layout.DEVICE, 1, layout.PAGE * (1 + i))
            for i in range(int(self._header["devices"]))
        ]
        self._pixels = np.frombuffer(self._map, np.uint8)
        self._libc = ctypes.CDLL(None, use_errno=True)

    @classmethod
    def create(cls, path: Path, devices: int = 2, sensor: tuple[int, int] = (1024, 1280)) -> CameraControl:
        """Make a new control file, replacing an old one. `sensor`: rows and columns of every camera.

        The file is sparse: pictures take space only when they are shown. Put it where memory is (a runtime
        directory), not on a disk.
        """
        path = Path(path)
        if not 1 <= devices <= layout.MAX_DEVICES:
            raise ValueError(f"devices is {devices}, allowed is 1 to {layout.MAX_DEVICES}")
        rows, columns = sensor
        if not (64 <= rows <= 4096 and 64 <= columns <= 4096) or columns % 4 or rows % 2:
            raise ValueError(f"sensor is {sensor}, allowed is 64 to 4096, rows even, columns a multiple of 4")
        header = np.zeros(1, layout.HEADER)
        header["magic"], header["version"], header["devices"] = layout.MAGIC, layout.VERSION, devices
        header["device_stride"], header["picture_slots"] = layout.PAGE, layout.SLOTS
        header["picture_offset"], header["picture_stride"] = layout.PAGE * (1 + devices), layout.SLOT_BYTES
        header["sensor_height"], header["sensor_width"] = rows, columns
        page = np.zeros(1, layout.DEVICE)
        page["present"], page["latest_picture"], page["temperature_c"] = 1, layout.NO_PICTURE, 41.5

        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with new.open("wb") as file:
                file.write(header.tobytes())
                for i in range(devices):
                    file.seek(layout.PAGE * (1 + i))
                    file.write(page.tobytes())
                file.truncate(layout.PAGE * (1 + devices) + layout.SLOT_BYTES * layout.SLOTS * layout.SCENES * devices)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> CameraControl:
        """Open an existing control file. Raises FileNotFoundError, or ValueError when it is something else."""
        path = Path(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            raw = os.pread(descriptor, layout.HEADER.itemsize, 0)
            if len(raw) < layout.HEADER.itemsize or raw[:8] != layout.MAGIC:
                raise ValueError(f"{path} is not a virtual camera control file")
            header = np.frombuffer(raw, layout.HEADER)[0]
            if header["version"] != layout.VERSION:
                raise ValueError(
                    f"{path} has layout {header['version']}, this program needs {layout.VERSION}: make it anew"
                )
            need = int(header["picture_offset"]) + layout.SLOT_BYTES * layout.SLOTS * layout.SCENES * int(
                header["devices"]
            )
            if header["picture_stride"] != layout.SLOT_BYTES or os.fstat(descriptor).st_size < need:
                raise ValueError(f"{path} is damaged: its header does not fit its size")
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def devices(self) -> int:
        """How many cameras there are."""
        return len(self._pages)

    @property
    def sensor(self) -> tuple[int, int]:
        """Rows and columns of the cameras' sensors."""
        return int(self._header["sensor_height"]), int(self._header["sensor_width"])

    def show(self, device: int, image: NDArray[np.uint8], part_number: int = 0, *, light: int | None = None) -> None:
        """Put a picture before the lens: uint8, (rows, columns) grey or (rows, columns, 3) RGB.

        It stays until the next one. Smaller than the sensor: centred, dark around; larger: cut. Every exposure
        that starts after the return takes it. `light` 2 or 3: what the sensor sees instead while that output line is
        active; a picture without `light` is a new scene and takes those of the lights away.
        """
        page = self._page(device)
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
            raise ValueError(
                f"a picture is {image.dtype} {image.shape}, allowed is uint8 (rows, columns) or (rows, columns, 3)"
            )
        rows, columns = image.shape[:2]
        if not (0 < rows <= layout.MAX_PICTURE[0] and 0 < columns <= layout.MAX_PICTURE[1]):
            most = f"{layout.MAX_PICTURE[0]} x {layout.MAX_PICTURE[1]}"
            raise ValueError(f"a picture has {rows} x {columns} pixels, allowed is up to {most}")
        if not 0 <= part_number < 1 << 64:
            raise ValueError(f"part_number is {part_number}, allowed is 0 to 2**64 - 1")
        if light is not None and light not in layout.LIGHTS:
            raise ValueError(f"light is {light}, allowed is {' or '.join(map(str, layout.LIGHTS))}")
        scene = 0 if light is None else 1 + layout.LIGHTS.index(light)
        with self._locked():
            latest = page["latest_picture"][0]
            slot = (int(latest[scene]) + 1) % layout.SLOTS
            place = page["pictures"][0][scene][slot : slot + 1]
            place["sequence"] += 1  # odd: a camera that reads it now takes it back
            number = (device * layout.SCENES + scene) * layout.SLOTS + slot
            start = int(self._header["picture_offset"]) + layout.SLOT_BYTES * number
            self._pixels[start : start + image.size].reshape(image.shape)[...] = image
            place["width"], place["height"], place["channels"] = columns, rows, 3 if image.ndim == 3 else 1
            place["part_number"] = part_number
            place["sequence"] += 1
            if scene == 0:
                latest[1:] = layout.NO_PICTURE
            latest[scene] = slot

    def pulse(self, device: int, line: int = 1) -> None:
        """Pull a trigger wire high and low again; one that is high falls only."""
        page = self._line(device, line)
        with self._locked():
            if not int(page["line_status"][0]) >> line & 1:
                page["rising"][0][line] += 1
            page["falling"][0][line] += 1
            page["line_status"] &= ~np.uint32(1 << line)
        self._wake(page)

    def set_line(self, device: int, line: int, high: bool) -> None:
        """Set the level of a wire; a change is an edge."""
        page = self._line(device, line)
        with self._locked():
            was = bool(int(page["line_status"][0]) >> line & 1)
            if was == high:
                return
            page["line_status"] ^= np.uint32(1 << line)
            page["rising" if high else "falling"][0][line] += 1
        self._wake(page)

    def arm(self, device: int, fault: str, *, count: int = 1, skip: int = 0, **parameters: Any) -> None:
        """Arm a fault, named as the feature SimFault: after `skip` frames it happens `count` times.

        `skip` and `count` are of triggers for LoseTrigger, ExtraTrigger and LineStuck, of register accesses for
        PortError and SlowPort, of openings for OpenBusy. Disconnect, SettingsLost and Overheat happen once, and at
        once when `skip` is 0. The parameters are those of `PARAMETERS`; `feature` is the name of a feature whose
        register alone is meant. "None" disarms everything.
        """
        page = self._page(device)
        if fault not in FAULTS:
            raise ValueError(f"fault is {fault!r}, allowed is {', '.join(FAULTS)}")
        if not (1 <= count <= 1_000_000 and 0 <= skip <= 1_000_000):
            raise ValueError(f"count is {count} and skip {skip}, allowed is 1 and 0 to 1000000")
        values = with_defaults(fault, parameters)
        if fault == "None":
            with self._locked():
                page["faults"]["armed"] = 0
            return
        if fault == "Disconnect" and skip == 0:
            self.disconnect(device, **values)
            return
        fields_of_record = record_of(fault, values, count, skip)
        with self._locked():
            record = page["faults"][0][FAULTS[fault] : FAULTS[fault] + 1]
            record["armed"] = 0
            for name, value in fields_of_record.items():  # "armed" is the last
                record[name] = value
        self._wake(page)  # some happen now

    def armed(self, device: int, fault: str) -> int:
        """How often the fault will still happen."""
        if fault not in FAULTS:
            raise ValueError(f"fault is {fault!r}, allowed is {', '.join(FAULTS)}")
        return int(self._page(device)["faults"][0][FAULTS[fault]]["armed"]) >> 32

    def simulate(self, device: int, **options: float) -> None:
        """Set what a power-up leaves alone; all zeros is the default.

        `noise` (sigma, grey values of 8 bit, by `seed`), `dark_offset` (columns brighter by up to this) and
        `vignette_percent` (corners darker); `clock_offset_ns` and `clock_drift_ppm` of the camera's clock against
        CLOCK_MONOTONIC, the drift from now on; `line_padding_bytes`, `image_offset_bytes` (while it does not acquire)
        and `sequencer_hidden` (before it is opened).
        """
        page = self._page(device)
        for name, value in options.items():
            if name not in SIMULATION_RANGES:
                raise ValueError(f"{name!r} cannot be simulated, allowed is {', '.join(SIMULATION_RANGES)}")
            in_range(name, value, SIMULATION_RANGES[name])
        with self._locked():
            for name, value in options.items():
                page["simulation"][name] = value
            if options.keys() & {"clock_offset_ns", "clock_drift_ppm"}:
                page["simulation"]["clock_anchor_ns"] = time.monotonic_ns()
        self._wake(page)

    def set_register(self, device: int, feature: str, value: float | str) -> None:
        """Change a register of the camera behind everybody's back, as another tool would; no limit is checked.

        `feature`: an SFNC name without a selector. `value`: a number, or the symbol of an enumeration.
        """
        page = self._page(device)
        register = register_of(feature)
        if isinstance(value, str):
            if value not in register.symbols:
                raise ValueError(f"{feature} has no {value!r}, allowed is {', '.join(register.symbols) or 'a number'}")
            value = register.symbols[value]
        data = struct.pack(register.format, value if register.format == "<d" else int(value))
        start = layout.PAGE * (1 + device) + layout.REGISTERS + register.address
        with self._locked():
            self._pixels[start : start + len(data)] = np.frombuffer(data, np.uint8)
        self._wake(page)

    def disconnect(
        self,
        device: int,
        gone_ms: int = 0,
        style: str = "Silent",
        settings_lost: bool = True,
        block_ms: int = 1000,
    ) -> None:
        """Pull the cable. `gone_ms` 0: until `reconnect()`. What calls then answer is `style` (SimLossStyle).

        `settings_lost`: the camera comes back as after switching on, with its UserSetDefault.
        """
        page = self._page(device)
        self._check_loss(gone_ms, style, block_ms)
        with self._locked():
            page["loss_style"] = LOSS_STYLES[style]
            page["settings_lost"] = int(settings_lost)
            page["block_ms"] = block_ms
            page["gone_until_ns"] = time.monotonic_ns() + gone_ms * 1_000_000 if gone_ms else 0
            page["loss_generation"] += 1
            page["counters"][0][_COUNT_DISCONNECTS] += 1
            page["present"] = 0  # last: now it counts
        self._wake(page)

    def reconnect(self, device: int) -> None:
        """Plug the cable in again."""
        page = self._page(device)
        with self._locked():
            if not page["present"][0]:
                page["gone_until_ns"] = 1  # the past: the camera comes back, and does what a power-up needs
        self._wake(page)

    def counters(self, device: int) -> Counters:
        """Read the camera's counters."""
        values = self._page(device)["counters"][0]
        return Counters(*(int(value) for value in values[: len(fields(Counters))]))

    def set_temperature(self, device: int, celsius: float) -> None:
        """Set what DeviceTemperature reads; ends an Overheat."""
        page = self._page(device)
        page["ramp_start_ns"] = 0
        page["temperature_c"] = float(celsius)

    def close(self) -> None:
        """Let go of the file; the cameras keep running. Further calls raise ValueError."""
        if self._descriptor < 0:
            return
        self._pages = []
        del self._header, self._pixels
        with contextlib.suppress(BufferError):  # another thread is in a call: the memory goes when it is out
            self._map.close()
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> CameraControl:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _page(self, device: int) -> Any:
        if self._descriptor < 0:
            raise ValueError(f"{self.path} was closed")
        if not 0 <= device < len(self._pages):
            raise ValueError(f"device is {device}, allowed is 0 to {len(self._pages) - 1}")
        return self._pages[device]

    def _line(self, device: int, line: int) -> Any:
        if not 0 <= line < layout.LINES:
            raise ValueError(f"line is {line}, allowed is 0 to {layout.LINES - 1}")
        return self._page(device)

    @staticmethod
    def _check_loss(number: int, style: str, block_ms: int) -> None:
        if style not in LOSS_STYLES:
            raise ValueError(f"style is {style!r}, allowed is {', '.join(LOSS_STYLES)}")
        if not (0 <= number <= 3_600_000 and 0 <= block_ms <= 60_000):
            raise ValueError(f"{number} or {block_ms} ms is out of range, allowed is up to 3600000 and 60000")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other threads and processes out. The two system calls also order the stores on weak machines."""
        with self._lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _wake(self, page: Any) -> None:
        # Any other value does, and unlike an increment it cannot collide with one of the camera's own.
        page["wake"] = int.from_bytes(os.urandom(4), "little")
        number = _SYS_FUTEX.get(platform.machine())
        if number is not None:  # elsewhere the camera looks every 20 ms
            self._libc.syscall(number, ctypes.c_void_p(page.ctypes.data), _FUTEX_WAKE, 0x7FFFFFFF, None, None, 0)


def build() -> Path:
    """Compile the virtual camera when its sources are newer and return the .cti. RuntimeError says what is missing."""
    return compiled(CTI, "the virtual camera")
