"""The belt's encoder: how far the belt has come, in steps, whatever its speed was."""

from __future__ import annotations


class Encoder:
    """Counts steps. All times are ns of one monotonic clock and must not go back."""

    def __init__(self, steps_per_mm: float, mm_s: float, now_ns: int) -> None:
        self.steps_per_mm = steps_per_mm
        self._at = 0.0
        self._since_ns = now_ns
        self._steps_ns = 0.0
        self.set_speed(mm_s, now_ns)

    @property
    def moving(self) -> bool:
        """False while the belt stands."""
        return self._steps_ns > 0

    def set_speed(self, mm_s: float, now_ns: int) -> None:
        """From now on; 0: the belt stands."""
        self._at = self._exact(now_ns)
        self._since_ns = now_ns
        self._steps_ns = mm_s * self.steps_per_mm / 1e9

    def steps(self, now_ns: int) -> int:
        """Whole steps since the start."""
        return int(self._exact(now_ns))

    def of_mm(self, mm: float) -> int:
        """A length on the belt in steps."""
        return round(mm * self.steps_per_mm)

    def when(self, steps: int) -> int | None:
        """When the belt will have come so far at its present speed; None while it stands."""
        left = steps - self._at
        if left <= 0:
            return self._since_ns
        return self._since_ns + int(left / self._steps_ns) + 1 if self.moving else None

    def _exact(self, now_ns: int) -> float:
        return self._at + max(0, now_ns - self._since_ns) * self._steps_ns
