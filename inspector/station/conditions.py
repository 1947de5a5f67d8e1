"""What a camera tells about its own condition, as alarms: its temperature."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from inspector.station.alarms import Alarms

COOLED_C = 3.0  # below its limit a camera is cool again: at the limit itself the alarm would come and go
TREND_S = 600.0
TREND_STEP_S = 10.0


class Temperatures:
    """Alarm ``temperature:CAMERA`` above ``temperature_max_c``, over 3 degC below it."""

    def __init__(
        self, limits_c: Mapping[str, float], alarms: Alarms, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``limits_c`` by camera."""
        self._limits_c, self._alarms, self._clock = limits_c, alarms, clock
        self._seen: dict[str, deque[tuple[float, float]]] = {name: deque() for name in limits_c}

    def check(self, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """Look at every camera's ``info``; one that tells no temperature is left alone. Call it now and then."""
        for name, limit_c in self._limits_c.items():
            found = figures.get(name, {}).get("info", {}).get("temperature_c")
            if not isinstance(found, int | float):
                continue
            self._note(name, float(found))
            if found > limit_c:
                self._alarms.come(f"temperature:{name}", self._words(name, float(found), limit_c))
            elif found <= limit_c - COOLED_C:
                self._alarms.go(f"temperature:{name}")

    def _note(self, name: str, found_c: float) -> None:
        seen, now = self._seen[name], self._clock()
        if not seen or now - seen[-1][0] >= TREND_STEP_S:
            seen.append((now, found_c))
        while now - seen[0][0] > TREND_S:
            seen.popleft()

    def _words(self, name: str, found_c: float, limit_c: float) -> str:
        at, before_c = self._seen[name][0]
        minutes = (self._clock() - at) / 60
        trend = f"; it was {before_c:.1f} °C {minutes:.0f} min ago" if minutes >= 1 else ""
        return f"{name}: {found_c:.1f} °C, allowed {limit_c:.0f} °C{trend}"
