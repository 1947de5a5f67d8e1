"""Which picture belongs to which part, where a wire fires the cameras. Pure: no input, no output, no clock of its own.

Three books are held against each other: what the PLC announced, what each camera's trigger counter counted, and which
pictures came. A picture is a part's only if

- its exposure lies within ``window_ms`` of the announcement, by the camera's clock; when it arrived says nothing;
- it is the only one there, and the announcement is the only one whose window holds it;
- the camera's counter, read when the window has closed, knows of no other pulse there, with or without a picture;
- its frame id and its trigger count go on alike;
- as many pulses as parts came since the last pair. Where one was lost or came extra, or where a camera came back while
  parts go on, the first three pairs after it only show by how much, and are refused. So a line whose messages or pulses
  come later than ``window_ms`` now and then does not slip by one.

A pair is handed to the judge at once (``matched``) but told only after its window has closed (``settled``). Whatever
is left over is named: an announcement without a pulse, a pulse without a picture, a pulse that nobody announced. Each
case stands for itself: the next part is judged by its own window and count, so one lost picture never shifts the
pictures of the parts after it. After ten such cases without a good pair between them the station leaves Ready, and
comes back when three announcements in a row have met their pulses.

:class:`Announced`: the PLC's message makes the part; with ``number`` (counted mode, ``plc_counts: each``) the messages
are counted, and a lost one is found by the next. :class:`~inspector.station.counted.Counted`: the pulse makes the part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from inspector.station.claims import Claim, Desk
from inspector.station.pulses import Lost, Seen, Track
from inspector.wire import Pulse, PulseCount

GRACE_NS = 20_000_000  # a message that was received in time may be read a little later
HELD_NS = 2_000_000_000  # a pulse waits so long for the PLC's next count, which tells whose it was
REMEMBERED = 256  # parts
FORGET_NS = 30_000_000_000
DOUBLED_NS = 5_000_000_000  # a PLC that was started anew counts the same numbers later than that
CONFUSED = 10
CLEAN = 3
PROVING = 3
MOVING_NS = 1_000_000_000  # no part for so long: the line stood, and nothing of before can still come
MESSAGES_MISSED = 100  # a count that jumps further was set anew


class Books:
    """What both matchers keep: the tracks of the cameras, and whether they agree with the parts."""

    def __init__(self, tracks: Mapping[str, Track], window_ns: int, desk: Desk) -> None:
        """``tracks`` by camera; the first one leads: its pulses are the ones that make rows."""
        self.tracks = dict(tracks)
        self.desk = desk
        self.window_ns = window_ns
        self.announced = self.settled = self.failures = self.unannounced = 0
        self._claims: deque[Claim] = deque(maxlen=REMEMBERED)
        self._trouble = ""
        self._confusions = 0
        self._clean = 0

    @property
    def lead(self) -> str:
        """The camera whose pulses make rows."""
        return next(iter(self.tracks))

    @property
    def out_of_step(self) -> str:
        """Why nothing can be inspected now, "" when it can."""
        if self._confusions < CONFUSED:
            return ""
        return (
            f"parts and pictures are out of step, {self._confusions} times without a good one between: {self._trouble}"
        )

    def figures(self) -> dict[str, Any]:
        """The books' sums."""
        cameras = {name: vars(track.totals).copy() for name, track in self.tracks.items()}
        return {
            "announced": self.announced,
            "settled": self.settled,
            "failed": self.failures,
            "unannounced": self.unannounced,
            "open": sum(not claim.over for claim in self._claims),
            "cameras": cameras,
        }

    def forgive(self) -> None:
        """Somebody has looked after it."""
        self._confusions = 0

    def _confused(self, text: str) -> None:
        self._confusions += 1
        self._clean = 0
        self._trouble = text
        self.desk.unbalanced(text)

    def _was_clean(self) -> None:
        self._clean += 1
        if self._confusions < CONFUSED or self._clean >= CLEAN:
            self._confusions = 0

    def _drop(self, seen: Seen, what: str) -> None:
        frame, seen.frame = seen.frame, None
        self.desk.dropped(seen.camera, frame, what)

    @property
    def _ms(self) -> int:
        return self.window_ns // 1_000_000


class Announced(Books):
    """The PLC's messages make the parts. See the module's text."""

    def __init__(self, tracks: Mapping[str, Track], window_ns: int, announced: str, desk: Desk) -> None:
        """``announced``: does the message come ``before`` the pulse, ``after`` it, or ``either`` way."""
        super().__init__(tracks, window_ns, desk)
        self._before_ns = 0 if announced == "before" else window_ns  # a pulse may come so long before its message
        self._after_ns = 0 if announced == "after" else window_ns
        self._number: int | None = None
        self._numbers: deque[tuple[int, int]] = deque(maxlen=64)  # the last counts, and when they came
        self._held: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)  # pulses whose number is not known yet

    # --- what comes in -------------------------------------------------------------------------------
    def doubled(self, number: int, now_ns: int) -> bool:
        """The PLC sent this count just before; nothing new has come."""
        return any(known == number and now_ns - at_ns < DOUBLED_NS for known, at_ns in self._numbers)

    def announce(
        self,
        seq: int,
        label: str,
        at_ns: int,
        cameras: tuple[str, ...],
        now_ns: int,
        *,
        inspected: bool = True,
        number: int | None = None,
    ) -> None:
        """The PLC's message about a part, received at ``at_ns``."""
        self.announced += 1
        low_ns, high_ns = at_ns - self._before_ns, at_ns + self._after_ns
        mine = self.announced if number is None else number
        claim = Claim(seq, label, at_ns, cameras, inspected, low_ns, high_ns, mine)
        rivals = [c for c in self._claims if c.high_ns >= low_ns and (not c.over or c.ambiguous)]
        self._claims.append(claim)
        if number is not None:
            self._count(number, at_ns)
        for rival in rivals:
            text = f"parts {rival.label} and {label} were announced within {(at_ns - rival.at_ns) / 1e6:.0f} ms"
            for one in (rival, claim):
                if not one.over:
                    self._fail(one, f"{text}: whose picture is whose can't be told", ambiguous=True)
        self.tick(now_ns)

    def pulse(self, camera: str, pulse: Pulse, now_ns: int) -> None:
        """A camera has taken a picture."""
        seen, what = self.tracks[camera].pulse(pulse, now_ns)
        if seen is None:
            self.desk.dropped(camera, pulse.frame, what)
        elif seen.frame is None and pulse.frame is not None:
            self.desk.dropped(camera, pulse.frame, "unusable")
        self.tick(now_ns)

    def counter(self, camera: str, count: PulseCount, now_ns: int) -> None:
        """A camera's trigger counter was read."""
        self.tracks[camera].counter(count.value, count.at_ns, now_ns)
        self.tick(now_ns)

    def lost(self, camera: str, why: str, now_ns: int) -> None:
        """A camera is gone: nothing that it counted is worth anything."""
        for claim in list(self._claims):
            if not claim.over and camera in claim.cameras:
                self._fail(claim, why, alarmed=True)
        for seen in self.tracks[camera].recent:
            self._drop(seen, "lost")
        self.tracks[camera].reset()
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Look at everything as it stands at ``now_ns``."""
        for track in self.tracks.values():
            track.tick(now_ns)
        for claim in list(self._claims):
            if claim.state == "open":
                self._match(claim, now_ns)
            if claim.state == "matched":
                self._settle(claim, now_ns)
        for track in self.tracks.values():
            self._left_over(track, now_ns)
            track.forget(now_ns - FORGET_NS)
        while self._held and now_ns - self._held[0][0] > HELD_NS:
            self._tell_unannounced(self.lead, self._held.popleft()[1], None)

    def due_ns(self, now_ns: int) -> int | None:
        """When to call :meth:`tick` again; None: nothing is due."""
        return min((at for at in self._dues() if at > now_ns), default=None)

    def _dues(self) -> Iterator[int]:
        for claim in self._claims:
            if claim.over:
                continue
            yield claim.high_ns + 1
            for camera in claim.cameras:
                yield claim.high_ns + self.tracks[camera].patience_ns + 1
            for seen in claim.taken.values():
                yield seen.exposed_ns + self._before_ns + 1
        for track in self.tracks.values():
            for seen in track.recent:
                if not seen.booked:
                    yield seen.exposed_ns + self._before_ns + GRACE_NS + 1
            for lost in track.lost.values():
                if not lost.overdue:
                    yield lost.since_ns + track.patience_ns + 1
        if self._held:
            yield self._held[0][0] + HELD_NS + 1

    # --- one part ------------------------------------------------------------------------------------
    def _match(self, claim: Claim, now_ns: int) -> None:
        found: dict[str, Seen] = {}
        for camera in claim.cameras:
            track = self.tracks[camera]
            there = self._there(claim, track)
            if len(there) > 1:
                self._fail(claim, self._two(camera), ambiguous=True)
                return
            if there and there[0].claim not in (None, claim):
                self._fail(claim, f"camera {camera}: its picture was taken for another part", ambiguous=True)
                return
            if there:
                found[camera] = there[0]
                if there[0].why:
                    self._fail(claim, f"camera {camera}: {there[0].why}")
                    return
                if there[0].frame is None:
                    self._fail(claim, f"camera {camera}: its picture was given up before", ambiguous=True)
                    return
                continue
            why = self._missing(claim, track, now_ns)
            if why:
                self._fail(claim, why)
                return
        if len(found) < len(claim.cameras):
            return
        claim.state = "matched"
        claim.taken = found
        frames = []
        for seen in found.values():
            seen.claim, seen.booked = claim, True
            self.tracks[seen.camera].totals.paired += 1
            if claim.inspected and seen.frame is not None:
                frames.append(seen.frame)
                seen.frame = None  # the part's from now on
            else:
                self._drop(seen, "refused")
        if claim.inspected:
            self.desk.matched(claim.seq, tuple(frames))

    def _there(self, claim: Claim, track: Track) -> list[Seen]:
        """The exposures that may be the claim's."""
        return [s for s in track.recent if claim.holds(s.exposed_ns)]

    def _two(self, camera: str) -> str:
        return (
            f"camera {camera} took two pictures within {self._ms} ms of the announcement: which one it is can't be told"
        )

    def _missing(self, claim: Claim, track: Track, now_ns: int) -> str:
        """Why there is no picture and none will come; "" while it may."""
        if now_ns <= claim.high_ns:
            return ""
        pulses = self._unexplained(track, claim)
        if track.live_at_ns is not None and track.live_at_ns >= claim.high_ns and not pulses:
            return f"no trigger pulse reached camera {track.name} within {self._ms} ms of the announcement"
        if now_ns <= claim.high_ns + track.patience_ns:
            return ""
        if pulses:
            self._explain(pulses[0], claim)
            return f"camera {track.name} counted pulse {pulses[0].count}, but its picture did not come"
        return f"camera {track.name} sent no picture within {self._ms} ms of the announcement"

    def _settle(self, claim: Claim, now_ns: int) -> None:
        for camera, seen in claim.taken.items():
            track = self.tracks[camera]
            if len(self._there(claim, track)) > 1:
                self._fail(claim, self._two(camera), ambiguous=True)
                return
            if now_ns <= max(claim.high_ns, seen.exposed_ns + self._before_ns):
                return
            pulses = self._unexplained(track, claim)
            overdue = [p for p in pulses if p.overdue]
            if overdue:
                text = f"camera {camera} counted pulse {overdue[0].count} as well, whose picture did not come"
                self._explain(overdue[0], claim)
                self._fail(claim, f"{text}: which one it is can't be told", ambiguous=True)
                return
            if track.live_at_ns is not None and track.live_at_ns < claim.high_ns:
                if now_ns > claim.high_ns + track.patience_ns:
                    self._fail(claim, f"camera {camera} does not tell its trigger count", ambiguous=True)
                return
            if pulses:
                return
        shifted = [name for name, seen in claim.taken.items() if self._shifted(claim, seen)]
        if shifted:
            text = f"camera {shifted[0]} has not counted as many pulses as parts came, or was away"
            self._fail(claim, f"{text}: the next pair will show whether they are in step")
            return
        claim.state = "settled"
        self.settled += 1
        self._was_clean()
        if claim.inspected:
            self.desk.settled(claim.seq)

    def _shifted(self, claim: Claim, seen: Seen) -> bool:
        """Must its camera's count first prove to be in step with the parts'? What holds now is remembered."""
        if seen.count is None:
            return False
        track = self.tracks[seen.camera]
        before, track.lead_of = track.lead_of, claim.number - seen.count
        if before is None:
            since_ns = seen.exposed_ns - MOVING_NS
            moving = any(since_ns < c.at_ns < claim.at_ns for c in self._claims)
            moving = moving or any(since_ns < s.exposed_ns < seen.exposed_ns for s in track.recent)
            track.proving = PROVING if moving else 0
        elif before != track.lead_of:
            track.proving = PROVING
        if not track.proving:
            return False
        track.proving -= 1
        return True

    def _fail(self, claim: Claim, text: str, *, ambiguous: bool = False, alarmed: bool = False) -> None:
        claim.state, claim.ambiguous = "failed", ambiguous
        self.failures += 1
        for camera in claim.cameras:
            for seen in self.tracks[camera].recent:
                if claim.holds(seen.exposed_ns) and seen.claim in (None, claim):
                    seen.claim, seen.booked = claim, True
                    self._drop(seen, "ambiguous" if ambiguous else "unpaired")
        if claim.inspected:
            self.desk.failed(claim.seq, text)
        if not alarmed:  # or the camera's own alarm has said it
            self._confused(f"part {claim.label}: {text}")

    # --- pulses without a picture --------------------------------------------------------------------
    def _unexplained(self, track: Track, claim: Claim) -> list[Lost]:
        """Pulses without a picture that may have come in the claim's window, and that no other part explains."""
        pulses = [p for p in track.lost.values() if p.may_be_in(claim.low_ns, claim.high_ns)]
        return [p for p in pulses if p.claim in (None, claim) and not self._explained(track, p, claim)]

    def _explained(self, track: Track, lost: Lost, other: Claim) -> bool:
        """Is there a part without a picture, other than this one, whose pulse it was?"""
        for claim in self._claims:
            if claim is other or track.name not in claim.cameras or track.name in claim.taken:
                continue
            if track.name in claim.lost or any(claim.holds(s.exposed_ns) for s in track.recent):
                continue
            if lost.may_be_in(claim.low_ns, claim.high_ns):
                self._explain(lost, claim)
                return True
        return False

    def _explain(self, lost: Lost, claim: Claim) -> None:
        for name, track in self.tracks.items():
            if track.lost.get(lost.count) is lost:
                claim.lost[name] = lost
        lost.claim, lost.booked = claim, True

    # --- what no part explains -----------------------------------------------------------------------
    def _left_over(self, track: Track, now_ns: int) -> None:
        for seen in track.recent:
            if seen.booked:
                continue
            claim = next((c for c in self._claims if c.holds(seen.exposed_ns) and track.name in c.cameras), None)
            if claim is not None:
                if claim.over:  # its part was given up before it came
                    seen.claim, seen.booked = claim, True
                    track.totals.late += 1
                    self._drop(seen, "late")
                continue
            if now_ns > seen.exposed_ns + self._before_ns + GRACE_NS:
                seen.booked = True
                self._drop(seen, "unannounced")
                self._unannounced(track, f"pulse {seen.count}", seen.exposed_ns, now_ns)
        for lost in track.lost.values():
            if lost.overdue and not lost.booked and not self._explained(track, lost, _NOBODY):
                lost.booked = True
                at_ns = min(lost.before_ns, lost.after_ns + self.window_ns)
                self._unannounced(track, f"pulse {lost.count}, which gave no picture,", at_ns, now_ns)

    def _unannounced(self, track: Track, pulse: str, at_ns: int, now_ns: int) -> None:
        track.totals.unannounced += 1
        after = next((c.label for c in reversed(self._claims) if c.at_ns <= at_ns), "")
        follows = f" (the last part announced before it was {after})" if after else ""
        text = f"camera {track.name}: {pulse} came, and no part was announced within {self._ms} ms of it{follows}"
        if track.name != self.lead:
            self._confused(text)
        elif self._number is not None:
            self._held.append((now_ns, text))
        else:
            self._tell_unannounced(track.name, text, None)

    def _tell_unannounced(self, camera: str, text: str, number: int | None) -> None:
        self.unannounced += 1
        self.desk.unannounced(camera, text, number)
        self._confused(text)

    # --- the PLC's own count -------------------------------------------------------------------------
    def _count(self, number: int, at_ns: int) -> None:
        """Messages are missing when the PLC's count has gone on by more than 1."""
        self._numbers.append((number, at_ns))
        before, self._number = self._number, number
        missed = range(0) if before is None else range(before + 1, number)
        if len(missed) <= MESSAGES_MISSED:
            for lost in missed:
                pulse = self._held.popleft()[1] if self._held else "neither its pulse nor a message came"
                text = f"the PLC's message about part {lost} was lost; {pulse}"
                self._tell_unannounced(self.lead, text, lost)
        while self._held:
            self._tell_unannounced(self.lead, self._held.popleft()[1], None)


_NOBODY = Claim(0, "", 0, (), False, 0, -1, 0)
