"""Who still looks at a part's pictures: ring slots go back to the camera when the last one is done."""

from __future__ import annotations

from collections.abc import Callable

from inspector.parts import FrameRef


class Lease:
    """A part's pictures and how many hold them. Made with one holder."""

    def __init__(self, frames: tuple[FrameRef, ...], give_back: Callable[[FrameRef], None]) -> None:
        self.frames = frames
        self._give_back = give_back
        self._holders = 1

    def hold(self) -> None:
        """One more holder."""
        if self._holders == 0:
            raise ValueError("these pictures were given back already")
        self._holders += 1

    def drop(self) -> None:
        """One holder less; the last one gives the slots back."""
        self._holders -= 1
        if self._holders == 0:
            for frame in self.frames:
                self._give_back(frame)
