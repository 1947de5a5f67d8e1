"""How well the PLC's broker is reached, in one row."""

from __future__ import annotations

from inspector.tui.ink import DIM, LOUD, TEXT, Line, length
from inspector.tui.status import LinkState
from inspector.tui.widgets.lines import Lines
from inspector.tui.words import clip, count


class PlcLine(Lines[LinkState]):
    """``PLC link   MQTT 5   round trip 0.6, p99 1.9 ms   reconnects 3   unconfirmed 0``."""

    DEFAULT_CSS = "PlcLine { height: 1; }"

    def draw(self, value: LinkState, width: int, height: int) -> list[Line]:
        """Lost: why. What finds no room is left out, the rarest first."""
        row: Line = [(" PLC link  ", DIM)]
        quality = value.quality
        if value.state == "lost":
            return [[*row, (clip(f"lost: {value.text}", width - length(row)), LOUD)]]
        if quality is None or not quality.version:
            return [[*row, (value.state, TEXT)]]
        took = quality.round_trip_ms
        for words in (
            f"MQTT {quality.version}",
            f"round trip {took.p50:.1f}, p99 {took.p99:.1f} ms",
            f"reconnects {count(quality.reconnects)}",
            f"unconfirmed {count(quality.unconfirmed)}",
        ):
            if length(row) + len(words) <= width:
                row.append((f"{words}  ", TEXT))
        return [row]
