"""The faults: their names, parameters and limits, and the record that arms one."""

from __future__ import annotations

from typing import Any

from tools.virtual_camera.description import register_of
from tools.virtual_camera.layout import ANY_ADDRESS

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
LOSS_STYLES = {"Silent": 0, "Error": 1, "Strict": 2, "Block": 3}
CHOICES = {
    ("Disconnect", "style"): tuple(LOSS_STYLES),
    ("PortError", "error"): ("Io", "Timeout"),
    ("OpenBusy", "error"): ("ResourceInUse", "AccessDenied"),
    ("BadImage", "how"): ("Black", "Saturated", "Noisy", "Shifted", "Blurred"),
    ("BadChunk", "how"): ("Missing", "WrongLength", "WrongId"),
}
RANGES = {
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
ONCE = ("Disconnect", "SettingsLost", "Overheat")
SIMULATION_RANGES = {
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


def in_range(name: str, value: float, allowed: tuple[float, float]) -> None:
    """Raise ValueError when `value` is outside."""
    low, high = allowed
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, allowed is {low} to {high}")


def with_defaults(fault: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a fault. ValueError names the one that it does not have or that is out of range."""
    values = dict(PARAMETERS.get(fault, {}))
    unknown = parameters.keys() - values.keys()
    if unknown:
        raise ValueError(f"{fault} has no parameter {sorted(unknown)[0]!r}, it has {', '.join(values) or 'none'}")
    values.update(parameters)
    for name, value in values.items():
        allowed = CHOICES.get((fault, name))
        if allowed is not None and value not in allowed:
            raise ValueError(f"{name} is {value!r}, allowed is {', '.join(allowed)}")
        if name in RANGES:
            in_range(name, value, RANGES[name])
    return values


def record_of(fault: str, values: dict[str, Any], count: int, skip: int) -> dict[str, int]:
    """The fields of layout.FAULT; `values` are those of `with_defaults`."""
    numbers = ("filled_percent", "delay_ms", "gone_ms", "jump", "temperature_c", "line", "amount")
    chosen = next((name for kind, name in CHOICES if kind == fault), None)
    feature = values.get("feature")
    return {
        "parameter": next((int(values[name]) for name in numbers if name in values), 0) & 0xFFFFFFFF,
        "choice": CHOICES[fault, chosen].index(values[chosen]) if chosen else 0,
        "settings_lost": int(values.get("settings_lost", False)),
        "milliseconds": int(values.get("block_ms", 1000 * values.get("ramp_s", 0))),
        "address": ANY_ADDRESS if feature is None else register_of(feature).address,
        "armed": (1 if fault in ONCE else count) << 32 | skip,
    }
