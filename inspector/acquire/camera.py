"""What a camera is to the camera process. Everything here runs in the process's one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inspector.acquire.unpack import Raw
from inspector.wire import Shot


class DeviceError(Exception):
    """The camera can't be opened, or is gone. Back off and try again; the text says what to check."""


class SettingsError(DeviceError):
    """A feature is not what the camera file wants: the text names feature, wanted and found value."""


class IncompleteFrame(Exception):
    """A picture came, but not all of it; ``why`` is a sentence without its subject: "sent an incomplete picture".

    ``odd``: it looks as if somebody had changed the settings.
    """

    def __init__(self, why: str = "sent an incomplete picture; check its cable", *, odd: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.odd = odd
        self.frame_id: int | None = None  # what could be known about it all the same
        self.exposed_ns = 0  # as in Exposure


@dataclass(frozen=True)
class Exposure:
    """What the camera says about one picture; its pixels have already been copied."""

    frame_id: int
    width: int
    height: int
    pixel_format: str  # SFNC name of the unpacked pixels
    exposure_us: float
    gain_db: float
    device_timestamp_ns: int
    offset_px: tuple[int, int]
    trigger_count: int | None = None  # the camera's own count of trigger pulses, this one's included
    exposed_ns: int = 0  # start of the exposure on the host's monotonic clock; 0: the camera doesn't say
    uncertainty_ns: int = 0  # of exposed_ns, at most so much either way
    wrong: str = ""  # what the camera says about this picture that was not wanted: "exposure was 500 us, wanted ..."


Take = Callable[[Raw], None]
"""Called with the pixels as they came, valid only during the call: copy them out."""


class Camera(Protocol):
    """A triggered camera. Every method may raise DeviceError, after which only ``close`` is allowed."""

    stranded_bytes: int
    """Memory that lost devices hold until this process ends."""

    def open(self) -> dict[str, Any]:
        """Open, set and read back every feature, start streaming; returns model, serial, settings..."""
        ...

    def plan(self, shots: Sequence[Shot]) -> None:
        """From now on each part gets these pictures. Raises SettingsError for one the camera can't take."""
        ...

    def trigger(self, shot: int = 0) -> None:
        """Make ready for the planned shot of this number and fire the software trigger."""
        ...

    def ready(self) -> None:
        """The part has all its pictures: make ready for the next one's first."""
        ...

    def pulses(self) -> int | None:
        """The camera's trigger counter as it stands now; None: it has none."""
        ...

    def fetch(self, limit_s: float, take: Take) -> Exposure | None:
        """Wait up to ``limit_s`` (0: look only) for one picture and hand its pixels to ``take``.

        None: no picture. Raises IncompleteFrame.
        """
        ...

    def restart(self) -> None:
        """Stop and start streaming: whatever was on its way is thrown away, frame ids begin anew."""
        ...

    def check(self) -> dict[str, Any]:
        """Is it still there? Returns live values (temperature_c ...). Raises DeviceError when it is not."""
        ...

    def differing(self) -> list[str]:
        """Settings that are no longer what was set at ``open``, each with its wanted and its found value."""
        ...

    def look(self, limit_s: float) -> list[str] | None:
        """As ``differing``, in slices: read settings for ``limit_s`` and go on there at the next call.

        None: all well so far, but not all seen yet. [] when a whole round was as it was set.
        """
        ...

    def close(self) -> None:
        """Let go of the device; never raises, may be called at any time."""
        ...
