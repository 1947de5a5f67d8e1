"""A simulated line for the matchers: parts on a belt, a PLC, cameras with faults; it knows which picture is whose."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inspector.parts import FrameRef
from inspector.station.counted import Counted
from inspector.station.identity import Announced
from inspector.station.pulses import Track
from inspector.wire import Pulse, PulseCount

MS = 1_000_000


def frame(camera: str, part: int, frame_id: int, exposed_ns: int) -> FrameRef:
    """A picture whose ring slot tells which part it really shows (0: none)."""
    return FrameRef(camera, frame_id, "ring", part, 1, 8, 8, "Mono8", 1000.0, 0.0, 0, 0, 0, exposed_ns=exposed_ns)


@dataclass
class Rates:
    """How often each fault strikes a part."""

    lost_pulse: float = 0.0  # the camera never sees it
    lost_frame: float = 0.0
    extra: float = 0.0  # a pulse that is no part, anywhere between two
    bounce: float = 0.0  # a second pulse within the window
    late: float = 0.0  # the picture comes when the next part is there
    doubled_frame: float = 0.0
    swapped: float = 0.0  # behind the next one
    wrong_id: float = 0.0
    lost_message: float = 0.0
    doubled_message: float = 0.0
    late_message: float = 0.0

    @classmethod
    def all(cls, rate: float) -> Rates:
        return cls(**dict.fromkeys(cls.__dataclass_fields__, rate))


@dataclass
class Told:
    """What the matcher said about one part."""

    part: int
    frames: tuple[FrameRef, ...] = ()
    state: str = "open"
    text: str = ""


@dataclass
class Belt:
    """See the module's text. ``mode``: before, after, either (announced), each, start (counted)."""

    mode: str
    rates: Rates
    cameras: tuple[str, ...] = ("top",)
    window_ms: float = 20
    period_ms: float = 100
    counter: bool = True
    seed: int = 1
    jitter_ms: float = 6
    now: int = 10**12
    told: dict[int, Told] = field(default_factory=dict)
    strange: list[tuple[str, int | None]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    touched: set[int] = field(default_factory=set)  # parts that a fault struck, or stood beside
    frames_out: int = 0
    frames_back: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        tracks = {c: Track(c, 60 * MS) for c in self.cameras}
        window = int(self.window_ms * MS)
        self.matcher: Announced
        if self.mode == "start":
            self.matcher = Counted(tracks, window, self)
        else:
            self.matcher = Announced(tracks, window, {"each": "either"}.get(self.mode, self.mode), self)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._count = dict.fromkeys(self.cameras, 0)
        self._frame_id = dict.fromkeys(self.cameras, 0)
        self._seq = 0
        self._polled: dict[str, int] = {}

    # --- the desk
    def arrived(self, number: int, at_ns: int) -> int:
        self._seq += 1
        self.told[self._seq] = Told(number)
        return self._seq

    def matched(self, seq: int, frames: tuple[FrameRef, ...]) -> None:
        told = self.told[seq]
        assert told.state == "open", told
        told.state, told.frames = "matched", frames
        self.frames_back += len(frames)

    def settled(self, seq: int) -> None:
        told = self.told[seq]
        assert told.state == "matched", told
        told.state = "settled"
        if self.mode == "start" and told.part != self._plc_part:
            # the PLC's own rule: a number that is not the part's that stands there ends the agreement
            told.state = "refused by the PLC"
            self._halt = True

    def failed(self, seq: int, text: str) -> None:
        told = self.told[seq]
        assert told.state in ("open", "matched"), told
        told.state, told.text = "failed", text

    def unannounced(self, camera: str, text: str, number: int | None) -> None:
        self.strange.append((text, number))

    def unbalanced(self, text: str) -> None:
        self.alarms.append(text)

    def dropped(self, camera: str, frame: FrameRef | None, what: str) -> None:
        self.drops[what] += 1
        self.frames_back += frame is not None

    # --- the line
    def at(self, when: int, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what))

    def run(self, parts: int) -> None:
        self._halt = self.mode == "start"
        self._plc_part = 0
        self.at(self.now + 500 * MS, lambda: self._next(1, parts))
        while True:
            due = self.matcher.due_ns(self.now)
            if due is not None and (not self._events or due < self._events[0][0]):
                self.now = max(self.now, due)
                self.matcher.tick(self.now)
                continue
            if not self._events:
                return
            self.now, _, what = heapq.heappop(self._events)
            what()

    def _next(self, part: int, parts: int) -> None:
        if part > parts:
            return
        again = self.now + int(self.period_ms * MS)
        if self._halt or (self.mode == "start" and self.matcher.out_of_step):
            assert isinstance(self.matcher, Counted)
            self._halt = bool(self.matcher.set_count(self._plc_part, self.now))
            self.at(again, lambda: self._next(part, parts))
            return
        pulse_at = self.now + int(self.window_ms * MS)
        self._part(part, pulse_at)
        self.at(pulse_at, lambda: setattr(self, "_plc_part", part))
        self.at(again, lambda: self._next(part + 1, parts))

    def _hit(self, what: str, part: int, reach: int = 4) -> bool:
        if self.random.random() >= getattr(self.rates, what):
            return False
        self.faults[what] += 1
        self.touched.update(range(part - reach, part + reach + 1))
        return True

    def _part(self, part: int, pulse_at: int) -> None:
        message = {"before": (-0.9 * self.window_ms, 0), "after": (0.6, 0.9 * self.window_ms)}.get(
            self.mode, (-self.jitter_ms, self.jitter_ms)
        )
        offset = self.random.uniform(*message)
        said = pulse_at + int(offset * MS)
        if self.mode != "start":
            if self._hit("lost_message", part):
                pass
            else:
                late = self._hit("late_message", part)
                at = said + int((self.period_ms * self.random.uniform(0.4, 1.2) if late else 0) * MS)
                self.at(at, lambda: self._message(part))
                if self._hit("doubled_message", part):
                    self.at(at + int(self.random.uniform(0.1, 30) * MS), lambda: self._message(part))
        for camera in self.cameras:
            at = pulse_at + int(self.random.uniform(0, 0.5) * MS)
            if self._hit("lost_pulse", part):
                continue
            self.at(at, lambda camera=camera, at=at: self._pulse(camera, part, at))  # type: ignore[misc]
            if self._hit("bounce", part):
                again = at + int(self.random.uniform(0.5, self.window_ms * 0.9) * MS)
                self.at(again, lambda camera=camera, at=again: self._pulse(camera, part, at))  # type: ignore[misc]
            if self._hit("extra", part):
                extra = at + int(self.random.uniform(0.3, 0.7) * self.period_ms * MS)
                self.at(extra, lambda camera=camera, at=extra: self._pulse(camera, 0, at))  # type: ignore[misc]

    def _message(self, part: int) -> None:
        if self.mode == "each" and self.matcher.doubled(part, self.now):
            return
        self._seq += 1
        self.told[self._seq] = Told(part)
        number = part if self.mode == "each" else None
        self.matcher.announce(self._seq, f"P{part}", self.now, self.cameras, self.now, number=number)

    def _pulse(self, camera: str, part: int, at: int) -> None:
        self._count[camera] += 1
        count, frame_id = self._count[camera], self._frame_id[camera]
        self._frame_id[camera] += 1
        if part and self._hit("wrong_id", part):
            frame_id += 7
            self._frame_id[camera] += 7
        ref = frame(camera, part, frame_id, at)
        delay = self.random.uniform(1, 4)
        if part and self._hit("lost_frame", part):
            pass
        else:
            if part and self._hit("late", part):
                delay += self.period_ms * self.random.uniform(0.3, 1.1)
            if part and self._hit("swapped", part):
                delay += self.period_ms * 1.05
            pulse = Pulse(ref, frame_id, count if self.counter else None, at)
            self.at(at + int(delay * MS), lambda: self._picture(camera, pulse))
            if part and self._hit("doubled_frame", part):
                self.at(at + int((delay + 0.5) * MS), lambda: self._picture(camera, pulse))
        if self.counter:
            self.at(at + int((self.window_ms + self.random.uniform(0.1, 4)) * MS), lambda: self._read(camera))
            self.at(at + int(self.period_ms * 0.5 * MS), lambda: self._read(camera))

    def _picture(self, camera: str, pulse: Pulse) -> None:
        self.frames_out += 1
        self.matcher.pulse(camera, pulse, self.now)

    def _read(self, camera: str) -> None:
        self.matcher.counter(camera, PulseCount(self._count[camera], self.now), self.now)

    # --- what must hold
    @property
    def wrong(self) -> list[Told]:
        """Parts that would have been told a verdict about another part's picture."""
        return [
            t for t in self.told.values() if t.state == "settled" and any(f.slot != t.part for f in t.frames)
        ]

    @property
    def good(self) -> set[int]:
        return {t.part for t in self.told.values() if t.state == "settled"}

    def summary(self) -> dict[str, Any]:
        states = Counter(t.state for t in self.told.values())
        return {"states": dict(states), "faults": dict(self.faults), "drops": dict(self.drops)}

