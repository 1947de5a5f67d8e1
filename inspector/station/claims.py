"""Who speaks about parts to the matchers of :mod:`inspector.station.identity`, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from inspector.parts import FrameRef
from inspector.station.pulses import Lost, Seen

State = Literal["open", "matched", "settled", "failed"]


@dataclass(eq=False)
class Claim:
    """A part that stands before the cameras, by the PLC's word (or by the leading camera's, in counted mode)."""

    seq: int
    label: str  # the part id
    at_ns: int
    cameras: tuple[str, ...]  # whose pictures it needs
    inspected: bool  # False: it was refused, and is followed for the books alone
    low_ns: int  # its pulse lies between these
    high_ns: int
    number: int  # by the PLC's or the camera's count; else the station's own of announcements
    state: State = "open"
    ambiguous: bool = False
    taken: dict[str, Seen] = field(default_factory=dict)  # by camera
    lost: dict[str, Lost] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Nothing more can happen to it."""
        return self.state in ("settled", "failed")

    def holds(self, at_ns: int) -> bool:
        """Does its window hold this instant?"""
        return self.low_ns <= at_ns <= self.high_ns


class Desk(Protocol):
    """Who acts on what a matcher finds. No method may call the matcher back."""

    def arrived(self, number: int, at_ns: int) -> int:
        """Counted mode: a part came, with this number on the counter. Returns the seq it gets."""
        ...

    def matched(self, seq: int, frames: tuple[FrameRef, ...]) -> None:
        """These are the part's pictures, as far as can be said now; they may be judged, but not told."""
        ...

    def settled(self, seq: int) -> None:
        """They are: its verdict may be told."""
        ...

    def failed(self, seq: int, text: str) -> None:
        """It has no picture, or not surely this one; also after ``matched``."""
        ...

    def unannounced(self, camera: str, text: str, number: int | None) -> None:
        """There was a pulse that no part explains; ``number``: the PLC's message about this part was lost."""
        ...

    def unbalanced(self, text: str) -> None:
        """The books don't agree, and about which part or pulse."""
        ...

    def dropped(self, camera: str, frame: FrameRef | None, what: str) -> None:
        """Here is nobody's picture; its slot is free."""
        ...
