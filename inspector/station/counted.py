"""Counted mode without a message for each part: the pulse makes the part, and its number is the part's id.

The number is the leading camera's trigger counter, set to the PLC's own count once (``cmd/count``), when nothing
moves. From then on every count gets its verdict, with or without a picture. What can't be told apart, or a camera that
was away, ends the agreement: the station leaves Ready until the PLC sends its count again. It never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping

from inspector.station.claims import Claim, Desk
from inspector.station.identity import GRACE_NS, Announced
from inspector.station.pulses import Lost, Seen, Track

UNSET = "the part counter is not set: stop the belt and send cmd/count with the PLC's count of parts"


class Counted(Announced):
    """See the module's text."""

    def __init__(self, tracks: Mapping[str, Track], window_ns: int, desk: Desk) -> None:
        """``window_ns``: pulses that are closer together can't be two parts."""
        super().__init__(tracks, window_ns, "either", desk)
        self._base: int | None = None  # number of a part less its trigger count
        self._next: int | None = None  # number of the next part, while the counter is not known
        self._unset = UNSET
        self._by_count: dict[int, Claim] = {}

    @property
    def out_of_step(self) -> str:
        """Why nothing can be inspected now, "" when it can."""
        return self._unset if self._base is None and self._next is None else ""

    def set_count(self, number: int, now_ns: int) -> str:
        """The PLC has counted ``number`` parts so far: the next pulse is the one after. Returns why not, or ""."""
        track = self.tracks[self.lead]
        near = [s for s in track.recent if now_ns - s.exposed_ns <= self.window_ns]
        if near or any(not c.over for c in self._claims):
            return f"a part came within the last {self._ms} ms, or is still under way; send it when the belt stands"
        self._base = number - track.last if track.last is not None else None
        self._next = number + 1 if track.last is None else None
        self._by_count.clear()
        return ""

    def lost(self, camera: str, why: str, now_ns: int) -> None:
        """A camera is gone; with the leading one, the count."""
        super().lost(camera, why, now_ns)
        if camera == self.lead:
            self._let_go(f"camera {camera} was away, and with it its count of parts; {UNSET}")

    def tick(self, now_ns: int) -> None:
        """Look at everything as it stands at ``now_ns``."""
        self._arrivals()
        super().tick(now_ns)

    def _arrivals(self) -> None:
        track = self.tracks[self.lead]
        came: list[Seen | Lost] = [s for s in track.recent if not s.booked and s.claim is None and s.count is not None]
        came += [lost for lost in track.lost.values() if not lost.booked]
        for one in sorted(came, key=lambda c: c.count or 0):
            if one.count is None:
                continue
            if self._next is not None:
                self._base, self._next = self._next - one.count, None
            if self._base is None:
                one.booked = True
                if isinstance(one, Seen):
                    self._drop(one, "unsynchronised")
                continue
            self._arrive(one, one.count, self._base + one.count)
        for seen in track.recent:
            if seen.count is None and not seen.booked:  # the counter, read live, will tell whose it is
                seen.booked = True
                self._drop(seen, "unusable")

    def _arrive(self, one: Seen | Lost, count: int, number: int) -> None:
        at_ns = one.exposed_ns if isinstance(one, Seen) else one.before_ns
        claim = self._by_count.get(count)
        if claim is None:
            self.announced += 1
            seq = self.desk.arrived(number, at_ns)
            claim = Claim(seq, str(number), at_ns, tuple(self.tracks), True, at_ns, at_ns, count)
            self._claims.append(claim)
            self._by_count[count] = claim
            if len(self._by_count) > 2 * self._claims.maxlen if self._claims.maxlen else False:
                del self._by_count[next(iter(self._by_count))]
        if isinstance(one, Seen):
            claim.at_ns, claim.lost = at_ns, {}
            claim.low_ns, claim.high_ns = at_ns - self.window_ns, at_ns + self.window_ns
            if claim.over:
                return  # too late: it is left over
            self._look_for_bounce(claim, one)
        else:
            # not so near to its neighbours that it could be taken for one of them
            low_ns, high_ns = one.after_ns + self.window_ns, one.before_ns - self.window_ns
            middle_ns = (low_ns + high_ns) // 2
            claim.low_ns, claim.high_ns = min(low_ns, middle_ns), max(high_ns, middle_ns)
            claim.lost[self.lead] = one
            one.claim, one.booked = claim, True

    def _there(self, claim: Claim, track: Track) -> list[Seen]:
        """On the leading camera the count says which; on the others the time."""
        if track.name == self.lead:
            return [s for s in track.recent if s.count == claim.number]
        return super()._there(claim, track)

    def _look_for_bounce(self, claim: Claim, seen: Seen) -> None:
        """Two pulses so close together are one part, or noise: the numbers after them can't be trusted."""
        for other in self.tracks[self.lead].recent:
            if other is not seen and abs(other.exposed_ns - seen.exposed_ns) < self.window_ns and other.claim:
                gap_ms = abs(other.exposed_ns - seen.exposed_ns) / 1e6
                text = f"pulses {other.count} and {seen.count} came within {gap_ms:.1f} ms"
                for one in (other.claim, claim):
                    if not one.over:
                        self._fail(one, f"{text}: how many parts that are can't be told", ambiguous=True)
                self._let_go(f"{text}; {UNSET}")
                return

    def _settle(self, claim: Claim, now_ns: int) -> None:
        """A pulse without a picture may have been one too many as well."""
        for lost in self.tracks[self.lead].lost.values():
            own = claim.lost.get(self.lead) is lost
            close = lost.after_ns < claim.high_ns and lost.before_ns <= claim.high_ns + GRACE_NS
            if not own and close and lost.before_ns >= claim.low_ns:
                text = f"pulse {lost.count} came within {self._ms} ms of it"
                self._fail(claim, f"{text}: how many parts that are can't be told", ambiguous=True)
                self._let_go(f"part {claim.label}: {text}; {UNSET}")
                return
        super()._settle(claim, now_ns)

    def _shifted(self, claim: Claim, seen: Seen) -> bool:
        """The leading camera's count is the number; the others' must keep step with it."""
        return seen.camera != self.lead and super()._shifted(claim, seen)

    def _fail(self, claim: Claim, text: str, *, ambiguous: bool = False, alarmed: bool = False) -> None:
        super()._fail(claim, text, ambiguous=ambiguous, alarmed=alarmed)
        if ambiguous:
            self._let_go(f"part {claim.label}: {text}; {UNSET}")

    def _let_go(self, why: str) -> None:
        if self._base is not None or self._next is not None:
            self._base = self._next = None
            self._unset = why
            self._confused(why)
