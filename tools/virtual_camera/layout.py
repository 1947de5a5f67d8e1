"""What lies where in the control file: `control_layout.h` as numpy records, little endian."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_DEVICES = 4
MAX_PICTURE = (2048, 2448)  # rows, columns
LIGHTS = (2, 3)  # output lines that can drive a light

MAGIC = b"VCAMCTRL"
VERSION = 2
PAGE = 4096
SLOTS = 3
LINES = 2
SCENES = 1 + len(LIGHTS)
REGISTERS = 1024
ANY_ADDRESS = 0xFFFFFFFF
NO_PICTURE = 0xFFFFFFFF
SLOT_BYTES = -(-MAX_PICTURE[0] * MAX_PICTURE[1] * 3 // PAGE) * PAGE

HEADER = np.dtype(
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
SLOT = np.dtype(
    [
        ("sequence", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("channels", "<u4"),
        ("part_number", "<u8"),
        ("reserved", "<u8"),
    ]
)
FAULT = np.dtype(
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
SIMULATION = np.dtype(
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
_FIELDS: list[tuple[str, Any, int]] = [  # name, format, offset
    ("wake", "<u4", 0),
    ("present", "<u4", 4),
    ("gone_until_ns", "<u8", 8),
    ("loss_generation", "<u4", 16),
    ("loss_style", "<u4", 20),
    ("settings_lost", "<u4", 24),
    ("block_ms", "<u4", 28),
    ("line_status", "<u4", 32),
    ("latest_picture", ("<u4", (SCENES,)), 40),
    ("ramp_ms", "<u4", 52),
    ("rising", ("<u4", (LINES,)), 56),
    ("falling", ("<u4", (LINES,)), 64),
    ("temperature_c", "<f8", 72),
    ("ramp_to_c", "<f8", 80),
    ("ramp_start_ns", "<u8", 88),
    ("pictures", (SLOT, (SCENES, SLOTS)), 96),
    ("simulation", SIMULATION, REGISTERS + 0x300),
    ("faults", (FAULT, (32,)), 2560),
    ("counters", ("<u8", (32,)), 3584),
]
DEVICE = np.dtype(
    {
        "names": [name for name, _, _ in _FIELDS],
        "formats": [kind for _, kind, _ in _FIELDS],
        "offsets": [offset for _, _, offset in _FIELDS],
        "itemsize": PAGE,
    }
)
