"""How the belt moves: its speed, its whims, and that it stands while a part must not leave the camera."""

from __future__ import annotations

import random

from tools.plc_simulator.encoder import Encoder

STOP_S = (0.3, 3.0)
CHANGE_EVERY_S = 4.0


class Motion:
    """``vary``: most change of speed, as a share; ``stop_every_s``: mean time between two stops, 0 for none."""

    def __init__(self, encoder: Encoder, mm_s: float, vary: float, stop_every_s: float, seed: int, now_ns: int) -> None:
        self.encoder = encoder
        self.stops = 0
        self._mm_s, self._vary, self._stop_every_s = mm_s, vary, stop_every_s
        self._random = random.Random(seed)
        self._factor = 1.0
        self._held = False
        self._change_ns = now_ns + int(CHANGE_EVERY_S * 1e9)
        self._stop_ns = self._next_stop(now_ns)
        self._go_ns = 0

    def tend(self, now_ns: int) -> None:
        """To be called often."""
        before = self._factor, self._go_ns
        if self._vary and now_ns >= self._change_ns:
            self._factor = 1 + self._random.uniform(-self._vary, self._vary)
            self._change_ns = now_ns + int(CHANGE_EVERY_S * 1e9)
        if self._go_ns and now_ns >= self._go_ns:
            self._go_ns = 0
            self._stop_ns = self._next_stop(now_ns)
        elif not self._go_ns and self._stop_ns and now_ns >= self._stop_ns:
            self._go_ns = now_ns + int(self._random.uniform(*STOP_S) * 1e9)
            self.stops += 1
        if before != (self._factor, self._go_ns):
            self._apply(now_ns)

    def hold(self, held: bool, now_ns: int) -> None:
        """The part before the camera must stay, or may go on."""
        if held != self._held:
            self._held = held
            self._apply(now_ns)

    def run(self, now_ns: int) -> None:
        """No more whims: the belt runs empty."""
        self._held, self._go_ns, self._stop_every_s, self._stop_ns = False, 0, 0, 0
        self._apply(now_ns)

    def _apply(self, now_ns: int) -> None:
        self.encoder.set_speed(0 if self._held or self._go_ns else self._mm_s * self._factor, now_ns)

    def _next_stop(self, now_ns: int) -> int:
        if not self._stop_every_s:
            return 0
        return now_ns + int(self._random.expovariate(1 / self._stop_every_s) * 1e9)
