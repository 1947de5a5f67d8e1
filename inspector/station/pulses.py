"""One wired camera's side of the books: which of its pulses gave a picture, which did not, and when each was.

A pulse is known by the camera's own trigger counter (by its frame id where it has none), and its time is the start of
the exposure by the camera's clock; when its picture arrived says nothing. The counter is also read live, so that a
pulse without a picture is known before the next part comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inspector.parts import FrameRef
from inspector.wire import Pulse

if TYPE_CHECKING:
    from inspector.station.claims import Claim

REMEMBERED = 256  # pulses, to explain what comes late
JUMP = 1000  # a counter that goes on by more has been set by somebody
_WRAPS = (1 << 16, 1 << 32)  # GigE Vision 1 frame ids, 32-bit counters; they go on with 0 or 1


@dataclass(eq=False)
class Seen:
    """An exposure of a camera, and what has become of its picture."""

    camera: str
    count: int | None  # the camera's own; None: the picture could not even say which it is
    frame_id: int | None
    exposed_ns: int
    arrived_ns: int
    frame: FrameRef | None
    why: str  # what is wrong with the picture, "" when nothing is
    claim: Claim | None = None  # the part it is about, or was refused with
    booked: bool = False  # it was announced, or told as unannounced


@dataclass(eq=False)
class Lost:
    """A pulse that was counted and gave no picture so far. It came after ``after_ns``, at ``before_ns`` at the latest.

    ``overdue``: its picture should be here by now.
    """

    count: int
    after_ns: int
    before_ns: int
    since_ns: int
    overdue: bool = False
    claim: Claim | None = None
    booked: bool = False

    def may_be_in(self, low_ns: int, high_ns: int) -> bool:
        """Could it have come between these?"""
        return self.after_ns < high_ns and self.before_ns >= low_ns


@dataclass
class Totals:
    """What a camera's book adds up to since the station started."""

    counted: int = 0  # pulses, by the camera's own counter
    pictures: int = 0  # that can be used
    unusable: int = 0  # incomplete, with the wrong settings ...
    lost: int = 0  # pulses that gave no picture
    late: int = 0  # pictures that came when their part had been given up
    doubled: int = 0
    extra: int = 0  # pictures without a pulse of their own
    resets: int = 0  # the counter was set, or began anew
    paired: int = 0
    unannounced: int = 0


@dataclass
class Track:
    """See the module's text. All times are on the host's monotonic clock."""

    name: str
    patience_ns: int  # so long a picture may be under way
    recent: deque[Seen] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    lost: dict[int, Lost] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    live_at_ns: int | None = None  # when its counter was read last; None: it has none
    last: int | None = None  # the highest count that is known of
    lead_of: int | None = None  # parts announced less pulses counted, at the last pair
    proving: int = 0  # so many pairs more only show whether both are in step
    _last_at_ns: int = 0
    _reference: tuple[int, int] | None = None  # frame id and count of the latest picture that told both
    _has_counter: bool = False

    def reset(self) -> None:
        """The camera was away: counts and frame ids begin anew."""
        self.recent.clear()
        self.lost.clear()
        self.last = self.live_at_ns = self.lead_of = self._reference = None
        self._has_counter = False

    def pulse(self, pulse: Pulse, now_ns: int) -> tuple[Seen | None, str]:
        """Enter an exposure; (None, what it is) for a picture without a pulse of its own: doubled, extra, stale."""
        if pulse.trigger_count is not None and not self._has_counter:
            if self.last is not None:
                self._restart()
            self._has_counter = True
        count = pulse.trigger_count if self._has_counter else pulse.frame_id
        why = pulse.why
        if count is None:
            why = why or "it came without its trigger count"
        else:
            stray = self._stray(count, pulse.frame_id)
            if stray:
                return None, stray
            if not pulse.timed and count in self.lost:
                why = why or "it came late, and the camera has no clock to say when it was exposed"
            why = why or self._wrong_id(pulse.frame_id, count)
            self._enter(count, pulse.exposed_ns, now_ns)
            if pulse.frame_id is not None and (self._reference is None or count > self._reference[1]):
                self._reference = pulse.frame_id, count
        frame = None if why else pulse.frame
        seen = Seen(self.name, count, pulse.frame_id, pulse.exposed_ns, now_ns, frame, why)
        self.recent.append(seen)
        if frame is None:
            self.totals.unusable += 1
        else:
            self.totals.pictures += 1
        return seen, ""

    def counter(self, value: int, at_ns: int, now_ns: int) -> None:
        """The camera's counter as it was read at ``at_ns``."""
        before_ns = self.live_at_ns
        self.live_at_ns = at_ns
        if self.last is None:
            self.last, self._last_at_ns, self._has_counter = value, at_ns, True
            return
        if not self._has_counter or value == self.last:
            return
        if not 0 < value - self.last <= JUMP:
            self._restart()
            self.last, self._last_at_ns = value, at_ns
            return
        after_ns = max(self._last_at_ns, before_ns or self._last_at_ns)
        for count in range(self.last + 1, value + 1):
            self._miss(count, after_ns, at_ns, now_ns)
        self.last, self._last_at_ns = value, at_ns

    def tick(self, now_ns: int) -> None:
        """Pictures that should be here by now."""
        for lost in self.lost.values():
            if not lost.overdue and now_ns - lost.since_ns > self.patience_ns:
                lost.overdue = True
                self.totals.lost += 1
        if len(self.lost) > REMEMBERED:
            del self.lost[next(iter(self.lost))]

    def forget(self, before_ns: int) -> None:
        """Let go of what nobody will ask about any more."""
        while self.recent and self.recent[0].booked and self.recent[0].exposed_ns < before_ns:
            self.recent.popleft()
        for count in [c for c, lost in self.lost.items() if lost.booked and lost.before_ns < before_ns]:
            del self.lost[count]

    def _stray(self, count: int, frame_id: int | None) -> str:
        """What a picture is whose count was there before; "" for a new pulse, or one whose picture was missing."""
        if self.last is None or count > self.last or count in self.lost:
            return ""
        known = next((s for s in reversed(self.recent) if s.count == count), None)
        if known is not None:
            if known.frame_id == frame_id:
                self.totals.doubled += 1
                return "doubled"
            self.totals.extra += 1
            return "extra"
        if self._wrapped(count):
            return ""
        self.totals.extra += 1
        self._restart()  # or a counter that somebody set back would make all that follows stale
        return "stale"

    def _wrapped(self, count: int) -> bool:
        return self.last is not None and any(wrap - 2 <= self.last < wrap and count <= 2 for wrap in _WRAPS)

    def _wrong_id(self, frame_id: int | None, count: int) -> str:
        """There is an exposure for a pulse, or none while the camera is busy: ids can't go on by more than counts."""
        if not self._has_counter or frame_id is None or self._reference is None or self._wrapped(count):
            return ""
        known_id, known_count = self._reference
        exposures, pulses = frame_id - known_id, count - known_count
        if exposures < 0 < pulses and known_id >= _WRAPS[0] - 2 - pulses and frame_id <= pulses:
            return ""  # 16 bit, wrapped
        if 1 <= exposures <= pulses or pulses <= exposures <= -1:
            return ""
        return f"it says frame id {frame_id}, {exposures:+d}, where the trigger counter says {pulses:+d}"

    def _enter(self, count: int, exposed_ns: int, now_ns: int) -> None:
        found = self.lost.pop(count, None)
        if found is not None:
            self.totals.lost -= found.overdue
            return
        if self.last is not None and not self._wrapped(count):
            if count - self.last > JUMP:
                self._restart()
            else:
                read_ns = self.live_at_ns or 0
                after_ns = max(self._last_at_ns, read_ns if read_ns < exposed_ns else 0)
                for missing in range(self.last + 1, count):
                    self._miss(missing, after_ns, exposed_ns, now_ns)
        self.totals.counted += 1
        self.last, self._last_at_ns = count, max(exposed_ns, self._last_at_ns)

    def _miss(self, count: int, after_ns: int, before_ns: int, now_ns: int) -> None:
        self.totals.counted += 1
        self.lost[count] = Lost(count, after_ns, before_ns, now_ns)

    def _restart(self) -> None:
        self.totals.resets += 1
        self.lost.clear()
        self.last = self.lead_of = self._reference = None
