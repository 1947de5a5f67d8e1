"""What both ways of triggering have in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inspector.acquire.camera import Camera
from inspector.acquire.slots import Slots
from inspector.child import Channel
from inspector.config import CameraConfig
from inspector.wire import Shot, Stray

# GigE Vision 1 counts to 65535 and goes on with 1; a 32-bit counter may wrap within a long shift of a fast line
_AFTER_WRAP = {1 << 16: (0, 1), 1 << 32: (0, 1)}


@dataclass
class Context:
    """One camera, its slots, and its line to the station."""

    name: str
    config: CameraConfig
    camera: Camera
    channel: Channel
    slots: Slots
    listen: Callable[[], None]  # handle what the station sent; raises EOFError when it said stop
    check_settings: Callable[[], None]  # now, whole; raises DeviceError when somebody changed them
    shots: tuple[Shot, ...] = (Shot(),)

    def stray(self, what: str) -> None:
        """Tell of a picture that is nobody's."""
        self.channel.send(Stray(what, 1))


def follows(found: int, due: int | None) -> bool:
    """True when this is the number that comes next; any is when none is known."""
    return due is None or found in (due, *_AFTER_WRAP.get(due, ()))
