"""The belt: parts come past the camera in a rhythm, and some way down the gate takes them out or lets them go.

Where a part is the encoder knows: the gate decides when the part has come there, however fast the belt was and however
often it stood. Time is only the PLC's timer for the answer.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tools.plc_simulator.book import Book, Row
from tools.plc_simulator.ears import Ear, JsonEar, WeakEar
from tools.plc_simulator.encoder import Encoder
from tools.plc_simulator.motion import Motion
from tools.plc_simulator.pictures import Part, Pictures
from tools.plc_simulator.rule import Slot, Watch, decide
from tools.plc_simulator.wire import LinkChanged, Message, Wire
from tools.plc_simulator.witness import Witness

TICK_S = 0.05
BATCH = 100  # messages taken in one go, so that a flood can't keep a part from its gate


class Lens(Protocol):
    """What stands before the camera, and the wire from the photo-eye to it."""

    def show(self, device: int, image: NDArray[np.uint8], part_number: int = 0) -> None: ...

    def pulse(self, device: int, line: int = 1) -> None: ...


class Extra(Protocol):
    """Something that goes on beside the parts."""

    def tend(self, now_ns: int) -> None: ...

    def before(self, good: bool, now_ns: int) -> None: ...

    def sent(self, slot: Slot, payload: bytes) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How the line runs. ``gate_mm``: the belt's way from the camera to the gate."""

    rate_hz: float
    deadline_ms: int
    mode: Literal["command", "announced", "counted"]
    device: int
    ready_wait_s: float
    gate_mm: float
    belt_mm_s: float = 100.0
    steps_per_mm: float = 20.0
    vary: float = 0.0  # most change of the belt's speed, as a share
    stop_every_s: float = 0.0  # mean time between two stops of the belt; 0: it never stops
    stand: bool = False  # the belt waits until the part before the camera has its answer or its timer is over
    wire: Literal["json", "text", "binary"] = "json"
    seed: int = 1


@dataclass
class OnBelt:
    """A part between camera and gate."""

    slot: Slot
    part: Part
    sent_utc: str
    gate_at: int  # steps


class NotReady(Exception):
    """The station did not become ready in time."""


class Line:
    """Runs the belt until the parts are over or ``stop`` is set. One thread does everything."""

    def __init__(
        self,
        settings: Settings,
        wire: Wire,
        lens: Lens,
        pictures: Pictures,
        book: Book,
        show: Callable[[Row], None],
        witness: Witness | None = None,
        approved: str = "",
    ) -> None:
        self.stop = False  # set by a signal: no more parts, the belt runs empty
        self.halt = False  # set by a second one: the belt stops
        self.extras: list[Extra] = []
        self.watch = Watch(approved=approved)
        self._settings, self._wire, self._lens = settings, wire, lens
        self._pictures, self._book, self._show = pictures, book, show
        self._register: dict[str, Slot] = {}
        self._belt: list[OnBelt] = []
        self.run_id = secrets.token_hex(3)
        self._slips = 0
        self._count = 0
        self.witness = witness or Witness(approved=approved)
        if settings.wire == "json":
            self.ear: Ear = JsonEar(self.watch, self._register, book, self.witness)
        else:
            given = (self.watch, self._register, book, self.witness, settings.deadline_ms)
            self.ear = WeakEar(settings.wire, *given)
        wire.subscribe(self.ear.subscriptions)
        now = time.monotonic_ns()
        encoder = Encoder(settings.steps_per_mm, settings.belt_mm_s, now)
        self._motion = Motion(
            encoder, settings.belt_mm_s, settings.vary, settings.stop_every_s, settings.seed, now
        )
        self._gate_steps = encoder.of_mm(settings.gate_mm)

    def run(self) -> None:
        """Raises NotReady and PictureError; the book is right in any case."""
        try:
            self._wait_ready()
            self._feed()
        finally:
            self._empty()
            self._book.extra.update(
                rate_hz=self._settings.rate_hz,
                mode=self._settings.mode,
                wire=self._settings.wire,
                belt_slips=self._slips,
                belt_stops=self._motion.stops,
                belt_mm=round(self._motion.encoder.steps(time.monotonic_ns()) / self._settings.steps_per_mm),
                seq_gaps=self.watch.gaps,
                connects=self._wire.connects,
                lost_messages=self._wire.lost_messages,
                **self.witness.summary(),
            )

    def listen(self, seconds: float) -> None:
        """Hear what still comes, without parts."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.halt:
            self._turn(time.monotonic_ns() + int(TICK_S * 1e9))

    def _wait_ready(self) -> None:
        self._pictures.wait_ahead(min(20.0, self._settings.ready_wait_s))
        end = time.monotonic() + self._settings.ready_wait_s
        while not (self.watch.ready and self.watch.alive(time.monotonic_ns())):
            if self.stop:
                return
            if time.monotonic() > end:
                why = self.watch.text or "it does not say why"
                link = why if self.watch.link else "no link to the broker"
                raise NotReady(f"the station was not ready within {self._settings.ready_wait_s:g} s: {link}")
            self._turn(time.monotonic_ns() + int(TICK_S * 1e9))

    def _feed(self) -> None:
        encoder = self._motion.encoder
        pitch = encoder.of_mm(self._settings.belt_mm_s / self._settings.rate_hz)
        due = encoder.steps(time.monotonic_ns())
        waiting = False
        while not self.stop:
            now = time.monotonic_ns()
            self._motion.tend(now)
            for extra in self.extras:
                extra.tend(now)
            self._turn(encoder.when(due) or now + int(TICK_S * 1e9))
            now = time.monotonic_ns()
            if encoder.steps(now) < due:
                continue
            if self._settings.stand and self._stands(now):
                self._motion.hold(True, now)
                continue
            self._motion.hold(False, now)
            part = self._pictures.take()
            if part is None:
                if self._pictures.over:
                    return
                self._slips += not waiting  # not drawn yet: the belt has a gap, never a burst
                waiting = True
                due = encoder.steps(now) + max(1, pitch // 20)
                continue
            waiting = False
            self._send(part)
            at = encoder.steps(now)
            due = due + pitch if at - due < pitch else at + pitch

    def _stands(self, now_ns: int) -> bool:
        """The last part is before the camera and its answer may still come."""
        if not self._belt:
            return False
        slot = self._belt[-1].slot
        if slot.answer is not None or not slot.announced or not self.watch.link:
            return False
        over = now_ns - slot.sent_ns > slot.deadline_ms * 1_000_000
        if over:
            self.ear.gone(slot, now_ns)
        return not over

    def _send(self, part: Part) -> None:
        settings = self._settings
        self._count += 1
        if settings.mode == "counted":
            slot = Slot(str(self._count), "", 0, settings.deadline_ms, False)
        else:
            # a twin has no cmd_id, so that a part_id must never come again
            part_id = f"P{part.number:06d}" if settings.wire == "json" else f"P{self.run_id}-{part.number:06d}"
            slot = Slot(part_id, f"{self.run_id}-{part.number:06d}", 0, settings.deadline_ms, False)
            slot.known_by = part_id if settings.wire == "text" else ""
        self._lens.show(settings.device, part.image, part.number)
        sent_utc = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for extra in self.extras:
            extra.before(part.good, time.monotonic_ns())
        slot.sent_ns = time.monotonic_ns()
        if self.watch.link:
            message = self.ear.trigger(slot, slot.sent_ns)
            slot.announced = message is not None and self._wire.publish(*message)
            if message is not None and slot.announced:
                for extra in self.extras:
                    extra.sent(slot, message[1])
        if settings.mode != "command":
            self._lens.pulse(settings.device, 1)
        self._book.part_sent(slot.announced)
        self._register[slot.key] = slot
        gate_at = self._motion.encoder.steps(slot.sent_ns) + self._gate_steps
        self._belt.append(OnBelt(slot, part, sent_utc, gate_at))

    def _turn(self, until_ns: int) -> None:
        """Until ``until_ns`` or a little: messages in as they come, parts through the gate when they are there."""
        self._wire.maintain()
        now = time.monotonic_ns()
        encoder = self._motion.encoder
        if self._belt:
            until_ns = min(until_ns, encoder.when(self._belt[0].gate_at) or until_ns)
        wait_s = min(max(0.0, (until_ns - now) / 1e9), TICK_S)
        try:
            item = self._wire.inbox.get(timeout=wait_s) if wait_s > 0 else self._wire.inbox.get_nowait()
            for _ in range(BATCH):
                self._take(item)
                item = self._wire.inbox.get_nowait()
            self._take(item)
        except queue.Empty:
            pass
        now = time.monotonic_ns()
        while self._belt and self._belt[0].gate_at <= encoder.steps(now):
            self._gate(self._belt.pop(0), now)

    def _take(self, item: Message | LinkChanged) -> None:
        if isinstance(item, LinkChanged):
            self.watch.link_changed(item.up)
            if not item.up:
                self.witness.lost(time.monotonic_ns())
        else:
            self.ear.heard(item)

    def _gate(self, on_belt: OnBelt, now_ns: int) -> None:
        part = on_belt.part
        decision = decide(on_belt.slot, self.watch, now_ns)
        self.ear.gone(on_belt.slot, now_ns)
        self._register.pop(on_belt.slot.key, None)
        row = self._book.part_decided(
            on_belt.slot,
            decision,
            number=part.number,
            good=part.good,
            defect=part.defect,
            sent_utc=on_belt.sent_utc,
        )
        self._show(row)

    def _empty(self) -> None:
        self._motion.run(time.monotonic_ns())
        while self._belt and not self.halt:
            self._turn(time.monotonic_ns() + int(TICK_S * 1e9))
        for on_belt in self._belt:
            on_belt.slot.answer, on_belt.slot.refused, on_belt.slot.announced = None, "stopped", True
            self._gate(on_belt, time.monotonic_ns())
        self._belt.clear()
