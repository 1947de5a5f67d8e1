"""The other end of the virtual camera: what stands before its lens, its trigger wires, its cable.

A `CameraControl` is a memory-mapped file that the camera (a GenTL producer in another process) and any number of
clients share; the camera finds it by the environment variable `VIRTUAL_CAMERA_CONTROL`. The layout is that of
`control_layout.h`; both ends refuse a file of another version.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import platform
import shutil
import struct
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CTI = Path(__file__).resolve().parent / "build" / "virtual_camera.cti"
ENVIRONMENT = "VIRTUAL_CAMERA_CONTROL"

MAX_DEVICES = 4
MAX_PICTURE = (2048, 2448)  # rows, columns
LIGHTS = (2, 3)  # output lines that can drive a light
FAULTS = {
    name: number
    for number, name in enumerate(
        (
            *("None", "DropFrame", "LoseTrigger", "Incomplete", "Delay", "Disconnect", "ExtraTrigger", "Duplicate"),
            *("OutOfOrder", "WrongFrameId", "StreamError", "PortError", "SlowPort", "OpenBusy", "SettingsLost"),
            *("Overheat", "LineStuck", "BadImage", "SizeMismatch", "BadChunk"),
        )
    )
}
PARAMETERS: dict[str, dict[str, Any]] = {  # of a fault, with what they are when not given
    "Incomplete": {"filled_percent": 50},
    "Delay": {"delay_ms": 100},
    "Disconnect": {"gone_ms": 1000, "style": "Silent", "settings_lost": True, "block_ms": 1000},
    "ExtraTrigger": {"delay_ms": 0},
    "WrongFrameId": {"jump": 100},
    "PortError": {"error": "Io", "feature": None},
    "SlowPort": {"delay_ms": 100, "feature": None},
    "OpenBusy": {"error": "ResourceInUse"},
    "Overheat": {"temperature_c": 85, "ramp_s": 10.0},
    "LineStuck": {"line": 1},
    "BadImage": {"how": "Black", "amount": 8},
    "BadChunk": {"how": "Missing"},
}
PIXEL_FORMATS = {  # name and code of the PFNC
    "Mono8": 0x01080001,
    "Mono10": 0x01100003,
    "Mono12": 0x01100005,
    "Mono14": 0x01100025,
    "Mono16": 0x01100007,
    "Mono10p": 0x010A0046,
    "Mono12p": 0x010C0047,
    "Mono10Packed": 0x010C0004,
    "Mono12Packed": 0x010C0006,
    **{f"Bayer{tile}8": 0x01080008 + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    **{f"Bayer{tile}10": 0x0110000C + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    **{f"Bayer{tile}12": 0x01100010 + i for i, tile in enumerate(("GR", "RG", "GB", "BG"))},
    "RGB8": 0x02180014,
    "BGR8": 0x02180015,
}
LOSS_STYLES = {"Silent": 0, "Error": 1, "Strict": 2, "Block": 3}
_CHOICES = {
    ("Disconnect", "style"): tuple(LOSS_STYLES),
    ("PortError", "error"): ("Io", "Timeout"),
    ("OpenBusy", "error"): ("ResourceInUse", "AccessDenied"),
    ("BadImage", "how"): ("Black", "Saturated", "Noisy", "Shifted", "Blurred"),
    ("BadChunk", "how"): ("Missing", "WrongLength", "WrongId"),
}
_RANGES = {
    "filled_percent": (0, 99),
    "delay_ms": (0, 60_000),
    "gone_ms": (0, 3_600_000),
    "block_ms": (0, 60_000),
    "jump": (-1_000_000, 1_000_000),
    "temperature_c": (0, 150),
    "ramp_s": (0, 3600),
    "line": (0, 1),
    "amount": (0, 1000),
}
_ONCE = ("Disconnect", "SettingsLost", "Overheat")

_MAGIC = b"VCAMCTRL"
_VERSION = 2
_PAGE = 4096
_SLOTS = 3
_LINES = 2
_SCENES = 1 + len(LIGHTS)
_REGISTERS = 1024
_ANY_ADDRESS = 0xFFFFFFFF
_NO_PICTURE = 0xFFFFFFFF
_SLOT_BYTES = -(-MAX_PICTURE[0] * MAX_PICTURE[1] * 3 // _PAGE) * _PAGE
_COUNT_DISCONNECTS = 9
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_FUTEX_WAKE = 1

_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("devices", "<u4"),
        ("device_stride", "<u4"),
        ("picture_slots", "<u4"),
        ("picture_offset", "<u8"),
        ("picture_stride", "<u8"),
        ("sensor_width", "<u4"),
        ("sensor_height", "<u4"),
    ]
)
_SLOT = np.dtype(
    [
        ("sequence", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("channels", "<u4"),
        ("part_number", "<u8"),
        ("reserved", "<u8"),
    ]
)
_FAULT = np.dtype(
    [
        ("armed", "<u8"),
        ("parameter", "<u4"),
        ("choice", "<u4"),
        ("settings_lost", "<u4"),
        ("milliseconds", "<u4"),
        ("address", "<u4"),
        ("reserved", "<u4"),
    ]
)
_SIMULATION = np.dtype(
    [
        ("seed", "<u4"),
        ("line_padding_bytes", "<u4"),
        ("image_offset_bytes", "<u4"),
        ("sequencer_hidden", "<u4"),
        ("noise", "<f8"),
        ("dark_offset", "<f8"),
        ("vignette_percent", "<f8"),
        ("clock_offset_ns", "<i8"),
        ("clock_drift_ppm", "<f8"),
        ("clock_anchor_ns", "<u8"),
    ]
)
_SIMULATION_RANGES = {
    "seed": (0, 2**32 - 1),
    "line_padding_bytes": (0, 4096),
    "image_offset_bytes": (0, 65536),
    "sequencer_hidden": (0, 1),
    "noise": (0, 64),
    "dark_offset": (0, 64),
    "vignette_percent": (0, 90),
    "clock_offset_ns": (-(10**18), 10**18),
    "clock_drift_ppm": (-10_000, 10_000),
}
_FIELDS: list[tuple[str, Any, int]] = [  # name, format, offset
    ("wake", "<u4", 0),
    ("present", "<u4", 4),
    ("gone_until_ns", "<u8", 8),
    ("loss_generation", "<u4", 16),
    ("loss_style", "<u4", 20),
    ("settings_lost", "<u4", 24),
    ("block_ms", "<u4", 28),
    ("line_status", "<u4", 32),
    ("latest_picture", ("<u4", (_SCENES,)), 40),
    ("ramp_ms", "<u4", 52),
    ("rising", ("<u4", (_LINES,)), 56),
    ("falling", ("<u4", (_LINES,)), 64),
    ("temperature_c", "<f8", 72),
    ("ramp_to_c", "<f8", 80),
    ("ramp_start_ns", "<u8", 88),
    ("pictures", (_SLOT, (_SCENES, _SLOTS)), 96),
    ("simulation", _SIMULATION, _REGISTERS + 0x300),
    ("faults", (_FAULT, (32,)), 2560),
    ("counters", ("<u8", (32,)), 3584),
]
_DEVICE = np.dtype(
    {
        "names": [name for name, _, _ in _FIELDS],
        "formats": [kind for _, kind, _ in _FIELDS],
        "offsets": [offset for _, _, offset in _FIELDS],
        "itemsize": _PAGE,
    }
)


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
        self._header = np.frombuffer(self._map, _HEADER, 1)[0]
        self._pages: list[Any] = [
            np.frombuffer(self._map, _DEVICE, 1, _PAGE * (1 + i)) for i in range(int(self._header["devices"]))
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
        if not 1 <= devices <= MAX_DEVICES:
            raise ValueError(f"devices is {devices}, allowed is 1 to {MAX_DEVICES}")
        rows, columns = sensor
        if not (64 <= rows <= 4096 and 64 <= columns <= 4096) or columns % 4 or rows % 2:
            raise ValueError(f"sensor is {sensor}, allowed is 64 to 4096, rows even, columns a multiple of 4")
        header = np.zeros(1, _HEADER)
        header["magic"], header["version"], header["devices"] = _MAGIC, _VERSION, devices
        header["device_stride"], header["picture_slots"] = _PAGE, _SLOTS
        header["picture_offset"], header["picture_stride"] = _PAGE * (1 + devices), _SLOT_BYTES
        header["sensor_height"], header["sensor_width"] = rows, columns
        page = np.zeros(1, _DEVICE)
        page["present"], page["latest_picture"], page["temperature_c"] = 1, _NO_PICTURE, 41.5

        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with new.open("wb") as file:
                file.write(header.tobytes())
                for i in range(devices):
                    file.seek(_PAGE * (1 + i))
                    file.write(page.tobytes())
                file.truncate(_PAGE * (1 + devices) + _SLOT_BYTES * _SLOTS * _SCENES * devices)
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
            raw = os.pread(descriptor, _HEADER.itemsize, 0)
            if len(raw) < _HEADER.itemsize or raw[:8] != _MAGIC:
                raise ValueError(f"{path} is not a virtual camera control file")
            header = np.frombuffer(raw, _HEADER)[0]
            if header["version"] != _VERSION:
                raise ValueError(f"{path} has layout {header['version']}, this program needs {_VERSION}: make it anew")
            need = int(header["picture_offset"]) + _SLOT_BYTES * _SLOTS * _SCENES * int(header["devices"])
            if header["picture_stride"] != _SLOT_BYTES or os.fstat(descriptor).st_size < need:
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
        if not (0 < rows <= MAX_PICTURE[0] and 0 < columns <= MAX_PICTURE[1]):
            most = f"{MAX_PICTURE[0]} x {MAX_PICTURE[1]}"
            raise ValueError(f"a picture has {rows} x {columns} pixels, allowed is up to {most}")
        if not 0 <= part_number < 1 << 64:
            raise ValueError(f"part_number is {part_number}, allowed is 0 to 2**64 - 1")
        if light is not None and light not in LIGHTS:
            raise ValueError(f"light is {light}, allowed is {' or '.join(map(str, LIGHTS))}")
        scene = 0 if light is None else 1 + LIGHTS.index(light)
        with self._locked():
            latest = page["latest_picture"][0]
            slot = (int(latest[scene]) + 1) % _SLOTS
            place = page["pictures"][0][scene][slot : slot + 1]
            place["sequence"] += 1  # odd: a camera that reads it now takes it back
            number = (device * _SCENES + scene) * _SLOTS + slot
            start = int(self._header["picture_offset"]) + _SLOT_BYTES * number
            self._pixels[start : start + image.size].reshape(image.shape)[...] = image
            place["width"], place["height"], place["channels"] = columns, rows, 3 if image.ndim == 3 else 1
            place["part_number"] = part_number
            place["sequence"] += 1
            if scene == 0:
                latest[1:] = _NO_PICTURE
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
        values = dict(PARAMETERS.get(fault, {}))
        unknown = parameters.keys() - values.keys()
        if unknown:
            raise ValueError(f"{fault} has no parameter {sorted(unknown)[0]!r}, it has {', '.join(values) or 'none'}")
        values.update(parameters)
        if fault == "None":
            with self._locked():
                page["faults"]["armed"] = 0
            return
        choice = 0
        for name, value in values.items():
            allowed = _CHOICES.get((fault, name))
            if allowed is not None:
                if value not in allowed:
                    raise ValueError(f"{name} is {value!r}, allowed is {', '.join(allowed)}")
                choice = allowed.index(value)
            elif name in _RANGES:
                _in_range(name, value, _RANGES[name])
        if fault == "Disconnect" and skip == 0:
            self.disconnect(device, **values)
            return
        feature = values.get("feature")
        numbers = ("filled_percent", "delay_ms", "gone_ms", "jump", "temperature_c", "line", "amount")
        parameter = next((int(values[name]) for name in numbers if name in values), 0)
        with self._locked():
            record = page["faults"][0][FAULTS[fault] : FAULTS[fault] + 1]
            record["armed"] = 0
            record["parameter"] = parameter & 0xFFFFFFFF
            record["choice"] = choice
            record["settings_lost"] = int(values.get("settings_lost", False))
            record["milliseconds"] = int(values.get("block_ms", 1000 * values.get("ramp_s", 0)))
            record["address"] = _ANY_ADDRESS if feature is None else _register(feature).address
            record["armed"] = (1 if fault in _ONCE else count) << 32 | skip
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
            if name not in _SIMULATION_RANGES:
                raise ValueError(f"{name!r} cannot be simulated, allowed is {', '.join(_SIMULATION_RANGES)}")
            _in_range(name, value, _SIMULATION_RANGES[name])
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
        register = _register(feature)
        if isinstance(value, str):
            if value not in register.symbols:
                raise ValueError(f"{feature} has no {value!r}, allowed is {', '.join(register.symbols) or 'a number'}")
            value = register.symbols[value]
        data = struct.pack(register.format, value if register.format == "<d" else int(value))
        start = _PAGE * (1 + device) + _REGISTERS + register.address
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
        if not 0 <= line < _LINES:
            raise ValueError(f"line is {line}, allowed is 0 to {_LINES - 1}")
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


@dataclass(frozen=True)
class _Register:
    address: int
    format: str  # of struct
    symbols: dict[str, int]  # of an enumeration


@functools.cache
def _description() -> dict[str, ElementTree.Element]:
    """The nodes of camera.xml by name."""
    root = ElementTree.parse(Path(__file__).with_name("camera.xml")).getroot()
    return {node.get("Name", ""): node for node in root}


@functools.cache
def _register(feature: str) -> _Register:
    nodes, space = _description(), "{http://www.genicam.org/GenApi/Version_1_1}"
    node = nodes.get(feature)
    value = None if node is None else node.findtext(f"{space}pValue")
    if node is None or value is None:
        raise ValueError(f"feature is {feature!r}, allowed is a feature of camera.xml that has a register of its own")
    register = nodes[value]
    if register.find(f"{space}pIndex") is not None:
        raise ValueError(f"feature is {feature!r}, which has a register for each value of its selector")
    length = register.findtext(f"{space}Length")
    unsigned = register.findtext(f"{space}Sign") == "Unsigned"
    if register.tag == f"{space}FloatReg":
        kind = "<d"
    else:
        kind = {("4", True): "<I", ("4", False): "<i", ("8", True): "<Q", ("8", False): "<q"}[(length or "", unsigned)]
    entries = node.findall(f"{space}EnumEntry")
    symbols = {entry.get("Name", ""): int(entry.findtext(f"{space}Value") or "0", 0) for entry in entries}
    return _Register(int(register.findtext(f"{space}Address") or "0", 0), kind, symbols)


def _in_range(name: str, value: float, allowed: tuple[float, float]) -> None:
    low, high = allowed
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, allowed is {low} to {high}")


def expected(
    image: NDArray[np.uint8],
    pixel_format: str,
    *,
    sensor: tuple[int, int] | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> NDArray[Any]:
    """What a lossless consumer gets for a picture shown, at 1000 us, 0 dB, without noise or fixed pattern.

    `image`: as for `show()`. `sensor`: rows, columns, by default the image's. `region`: OffsetX, OffsetY, Width,
    Height, by default the whole sensor. Returns (rows, columns), for RGB8 and BGR8 (rows, columns, 3); uint8, or
    uint16 for formats of more bits. Those are the upper bits of a scene of 16: the picture's eight, then
    (97 x + 57 y) modulo 256 at sensor position x, y; white is white to the last bit.
    """
    if pixel_format not in PIXEL_FORMATS:
        raise ValueError(f"pixel_format is {pixel_format!r}, allowed is {', '.join(PIXEL_FORMATS)}")
    rows, columns = sensor or image.shape[:2]
    scene = np.zeros((rows, columns, *image.shape[2:]), np.uint8)
    top, left = (rows - image.shape[0]) // 2, (columns - image.shape[1]) // 2
    cut = image[max(0, -top) :, max(0, -left) :][: rows - max(0, top), : columns - max(0, left)]
    scene[max(0, top) :, max(0, left) :][: cut.shape[0], : cut.shape[1]] = cut
    if pixel_format in ("RGB8", "BGR8"):
        colours = scene if scene.ndim == 3 else np.repeat(scene[..., None], 3, 2)
        samples = colours if pixel_format == "RGB8" else colours[..., ::-1]
    elif scene.ndim == 2:
        samples = scene
    elif pixel_format.startswith("Bayer"):
        red_x, red_y = {"RG": (0, 0), "GR": (1, 0), "GB": (0, 1), "BG": (1, 1)}[pixel_format[5:7]]
        samples = np.empty((rows, columns), np.uint8)
        for y in (0, 1):
            for x in (0, 1):
                samples[y::2, x::2] = scene[y::2, x::2, (x ^ red_x) + (y ^ red_y)]
    else:
        samples = ((scene.astype(np.uint32) @ np.array([77, 150, 29], np.uint32) + 128) >> 8).astype(np.uint8)
    bits = int("".join(c for c in pixel_format if c.isdigit()))
    if bits > 8:
        y, x = np.mgrid[0:rows, 0:columns].astype(np.uint32)
        low = np.where(samples == 255, 255, (97 * x + 57 * y) & 255).astype(np.uint16)
        samples = (samples.astype(np.uint16) << 8 | low) >> (16 - bits)
    if region is not None:
        x0, y0, width, height = region
        samples = samples[y0 : y0 + height, x0 : x0 + width]
    return np.ascontiguousarray(samples)


def build() -> Path:
    """Compile the virtual camera when its sources are newer and return the .cti. RuntimeError says what is missing."""
    folder = CTI.parents[1]
    sources = [*folder.glob("*.c"), *folder.glob("*.h"), folder / "camera.xml", folder / "Makefile"]
    if CTI.exists() and all(source.stat().st_mtime <= CTI.stat().st_mtime for source in sources):
        return CTI
    compiler = os.environ.get("CC", "cc")
    for tool in ("make", compiler):
        if shutil.which(tool) is None:
            raise RuntimeError(
                f"the virtual camera cannot be built: there is no `{tool}`; on Debian: apt install build-essential"
            )
    CTI.parent.mkdir(exist_ok=True)
    with (CTI.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two tests may ask at once
        done = subprocess.run(
            ["make", "-C", str(folder), f"CC={compiler}"], capture_output=True, text=True, timeout=300
        )
    if done.returncode != 0:
        raise RuntimeError(f"the virtual camera cannot be built:\n{(done.stdout + done.stderr)[-2000:]}")
    return CTI
