"""The faults of the virtual camera as rows of the matrix: what is done to it, and what must not come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inspector.station.charts import LEARN
from tools.virtual_camera.control import LOSS_STYLES, CameraControl

TOP, SIDE = 0, 1  # devices: the camera that takes the parts' pictures, and one that no recipe asks for
GONE_S = 0.7
IN_A_ROW = 10
ANNOUNCED, COMMAND = "announced", "command"
WAYS = (COMMAND, ANNOUNCED)


@dataclass(frozen=True)
class Fault:
    """One row.

    ``touched``: so many parts, from the one it was injected at, had their own picture or identity spoilt; None: all
    until the camera is back, which is ``gone_s`` after the injection. ``may_pass``: such a part may pass all the same
    when the picture is whole and surely its own. ``hurts`` False: no part may be hurt at all. ``noticed``: the station
    must say something although every part may pass. ``strikes`` 2: once at a good part, once at a bad one; 1 where
    several parts are touched, or none. ``after_good``: it needs so many good parts before it.
    """

    name: str
    inject: Callable[[CameraControl], None]
    touched: int | None = 1
    gone_s: float = 0.0
    may_pass: bool = False
    hurts: bool = True
    noticed: bool = False
    ways: tuple[str, ...] = WAYS
    strikes: int = 2
    after_good: int = 0
    spoils: bool = False  # the picture: the number in it may be unreadable
    calm: Callable[[CameraControl], None] | None = None  # what it needs to be over


def _armed(kind: str, **how: Any) -> Callable[[CameraControl], None]:
    return lambda control: control.arm(TOP, kind, **how)


def _pulled(device: int, style: str, **how: Any) -> Callable[[CameraControl], None]:
    # a call that blocks does so for longer than any patience: the camera process has to be killed
    return lambda control: control.disconnect(device, int(1000 * GONE_S), style=style, block_ms=20_000, **how)


def _busy(control: CameraControl) -> None:
    control.arm(TOP, "OpenBusy", count=3)
    control.disconnect(TOP, int(1000 * GONE_S), style="Error")


def _cold(control: CameraControl) -> None:
    control.set_temperature(TOP, 41.5)


def _loss(style: str) -> Fault:
    return Fault(f"Disconnect {style}", _pulled(TOP, style), None, GONE_S, may_pass=True, strikes=1)


def _other(style: str) -> Fault:
    return Fault(
        f"Disconnect {style}, the other camera", _pulled(SIDE, style), 0, GONE_S, hurts=False, noticed=True, strikes=1
    )


def _picture(how: str, amount: int = 8, *, may_pass: bool) -> Fault:
    words = f"BadImage {how} by {amount}" if may_pass else f"BadImage {how}"
    return Fault(words, _armed("BadImage", how=how, amount=amount), may_pass=may_pass, spoils=True)


def _pictures(how: str, amount: int) -> Fault:
    """So many in a row that the picture's health must show it, after limits have been learned from good parts."""
    inject = _armed("BadImage", how=how, amount=amount, count=IN_A_ROW)
    words = f"BadImage {how} by {amount}, {IN_A_ROW} in a row"
    return Fault(words, inject, IN_A_ROW, may_pass=True, noticed=True, strikes=1, after_good=LEARN + 10, spoils=True)


FAULTS: tuple[Fault, ...] = (
    Fault("DropFrame", _armed("DropFrame")),
    Fault("LoseTrigger", _armed("LoseTrigger")),
    Fault("ExtraTrigger", _armed("ExtraTrigger", delay_ms=5), may_pass=True),
    Fault("Incomplete 50 %", _armed("Incomplete")),
    Fault("Delay 20 ms", _armed("Delay", delay_ms=20), may_pass=True),
    Fault("Delay 700 ms", _armed("Delay", delay_ms=700), 4, may_pass=True),
    Fault("Duplicate", _armed("Duplicate"), may_pass=True),
    Fault("OutOfOrder", _armed("OutOfOrder"), 2, may_pass=True),
    Fault("WrongFrameId +100", _armed("WrongFrameId")),
    Fault("WrongFrameId -3", _armed("WrongFrameId", jump=-3)),
    Fault("StreamError", _armed("StreamError"), may_pass=True),
    *(_loss(style) for style in LOSS_STYLES),
    *(_other(style) for style in LOSS_STYLES),
    Fault("PortError, 5 accesses", _armed("PortError", count=5), may_pass=True),
    Fault("SlowPort, 5 x 100 ms", _armed("SlowPort", count=5, delay_ms=100), 3, may_pass=True),
    Fault("SlowPort, trigger 240 ms late",
          _armed("SlowPort", count=1, delay_ms=240, feature="TriggerSoftware"), 3, may_pass=True, ways=(COMMAND,)),
    Fault("OpenBusy 3 times", _busy, None, GONE_S, may_pass=True, strikes=1),
    Fault("SettingsLost", _armed("SettingsLost"), noticed=True),
    Fault("Overheat to 85 degC", _armed("Overheat", ramp_s=0.5), 0, hurts=False, noticed=True, strikes=1, calm=_cold),
    Fault("LineStuck, 1 edge", _armed("LineStuck"), ways=(ANNOUNCED,)),
    Fault("LineStuck, 1 edge (not its line)", _armed("LineStuck"), 0, hurts=False, strikes=1, ways=(COMMAND,)),
    _picture("Black", may_pass=False),
    _picture("Saturated", may_pass=False),
    _picture("Noisy", 40, may_pass=True),
    _picture("Shifted", 40, may_pass=True),
    _picture("Blurred", 20, may_pass=True),
    Fault("SizeMismatch", _armed("SizeMismatch")),
    *(Fault(f"BadChunk {how}", _armed("BadChunk", how=how)) for how in ("Missing", "WrongLength", "WrongId")),
    _pictures("Noisy", 8),
    _pictures("Shifted", 8),
    _pictures("Blurred", 3),
)  # fmt: skip
