"""What the link tells the app, and a screen asks of it. A newer status replaces one that is still waiting."""

from __future__ import annotations

from textual.message import Message

from inspector.tui.status import Picture, Status


class StatusCame(Message):
    """News of the station."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self.status = status

    def can_replace(self, message: Message) -> bool:
        """Only the newest status is worth painting."""
        return isinstance(message, StatusCame)


class PictureCame(Message):
    """A preview that was asked for."""

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self.picture = picture


class StationGone(Message):
    """No connection: why, and when the next try is."""

    def __init__(self, why: str, retry_s: float) -> None:
        super().__init__()
        self.why = why
        self.retry_s = retry_s

    def can_replace(self, message: Message) -> bool:
        """Only the newest reason counts."""
        return isinstance(message, StationGone)


class HealthWanted(Message):
    """A screen asks for the pictures' health."""

    def can_replace(self, message: Message) -> bool:
        """Asked once is enough."""
        return isinstance(message, HealthWanted)


class RelearnWanted(Message):
    """Somebody wants the limits of the pictures' health learned anew, and is sure."""


class PartWanted(Message):
    """A screen asks for one part's stored verdict and picture."""

    def __init__(self, seq: int) -> None:
        super().__init__()
        self.seq = seq
