"""The belt: parts come past the camera in a rhythm, and some way down the gate takes them out or lets them go."""

from __future__ import annotations

import json
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
from tools.plc_simulator.pictures import Part, Pictures
from tools.plc_simulator.rule import Refused, Slot, Watch, decide, offer, parse_result
from tools.plc_simulator.wire import LinkChanged, Message, Wire

TICK_S = 0.05
BATCH = 100  # messages taken in one go, so that a flood can't keep a part from its gate


class Lens(Protocol):
    """What stands before the camera, and the wire from the photo-eye to it."""

    def show(self, device: int, image: NDArray[np.uint8], part_number: int = 0) -> None: ...

    def pulse(self, device: int, line: int = 1) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How the line runs. ``gate_ms``: the belt's way from the camera to the gate."""

    rate_hz: float
    deadline_ms: int
    gate_ms: int
    mode: Literal["command", "announced", "counted"]
    device: int
    ready_wait_s: float


@dataclass
class OnBelt:
    """A part between camera and gate."""

    slot: Slot
    part: Part
    sent_utc: str
    gate_ns: int


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
    ) -> None:
        self.stop = False  # set by a signal: no more parts, the belt runs empty
        self.halt = False  # set by a second one: the belt stops
        self._settings, self._wire, self._lens = settings, wire, lens
        self._pictures, self._book, self._show = pictures, book, show
        self._watch = Watch()
        self._register: dict[str, Slot] = {}
        self._belt: list[OnBelt] = []
        self._run = secrets.token_hex(3)
        self._slips = 0
        self._count = 0

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
                belt_slips=self._slips,
                seq_gaps=self._watch.gaps,
                connects=self._wire.connects,
            )

    def _wait_ready(self) -> None:
        self._pictures.wait_ahead(min(20.0, self._settings.ready_wait_s))
        end = time.monotonic() + self._settings.ready_wait_s
        while not (self._watch.ready and self._watch.alive(time.monotonic_ns())):
            if self.stop:
                return
            if time.monotonic() > end:
                why = self._watch.text or "it does not say why"
                link = why if self._watch.link else "no link to the broker"
                raise NotReady(f"the station was not ready within {self._settings.ready_wait_s:g} s: {link}")
            self._turn(time.monotonic_ns() + int(TICK_S * 1e9))

    def _feed(self) -> None:
        period_ns = int(1e9 / self._settings.rate_hz)
        due = time.monotonic_ns()
        waiting = False
        while not self.stop:
            self._turn(due)
            now = time.monotonic_ns()
            if now < due:
                continue
            part = self._pictures.take()
            if part is None:
                if self._pictures.over:
                    return
                self._slips += not waiting  # not drawn yet: the belt has a gap, never a burst
                waiting = True
                due = now + 5_000_000
                continue
            waiting = False
            self._send(part)
            due = due + period_ns if now - due < period_ns else now + period_ns

    def _send(self, part: Part) -> None:
        settings = self._settings
        self._count += 1
        if settings.mode == "counted":
            slot = Slot(str(self._count), "", 0, settings.deadline_ms, False)
            name, fields = "cmd/count", {"schema": "1.0", "count": self._count}
        else:
            slot = Slot(f"P{part.number:06d}", f"{self._run}-{part.number:06d}", 0, settings.deadline_ms, False)
            ids = {"cmd_id": slot.cmd_id, "part_id": slot.part_id}
            name, fields = "cmd/trigger", {"schema": "1.0", **ids, "deadline_ms": slot.deadline_ms}
        self._lens.show(settings.device, part.image, part.number)
        sent_utc = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        slot.sent_ns = time.monotonic_ns()
        slot.announced = self._watch.link and self._wire.publish(name, json.dumps(fields).encode())
        if settings.mode != "command":
            self._lens.pulse(settings.device, 1)
        self._book.part_sent(slot.announced)
        self._register[slot.key] = slot
        self._belt.append(OnBelt(slot, part, sent_utc, slot.sent_ns + settings.gate_ms * 1_000_000))

    def _turn(self, until_ns: int) -> None:
        """Until ``until_ns`` or a little: messages in as they come, parts through the gate when they are there."""
        self._wire.maintain()
        now = time.monotonic_ns()
        if self._belt:
            until_ns = min(until_ns, self._belt[0].gate_ns)
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
        while self._belt and self._belt[0].gate_ns <= now:
            self._gate(self._belt.pop(0), now)

    def _take(self, item: Message | LinkChanged) -> None:
        if isinstance(item, LinkChanged):
            self._watch.link_changed(item.up)
        elif item.topic == "state":
            self._watch.state(item.payload)
        elif item.topic == "hb":
            self._watch.heartbeat(item.payload, item.retained, item.arrived_ns)
        elif item.topic == "result":
            self._result(item)

    def _result(self, item: Message) -> None:
        try:
            answer = parse_result(item.payload, item.retained, item.arrived_ns)
            offer(self._watch, self._register, answer)
        except Refused as refused:
            self._book.strays[refused.rule] += 1
            if refused.rule in ("retained", "invalid"):
                self._mark(item.payload, refused.rule)
            elif refused.rule == "unmatched":
                self._book.came_after_gate(answer.cmd_id or answer.part_id, answer.verdict)

    def _mark(self, payload: bytes, rule: str) -> None:
        """A refused message that names a part on the belt tells why that part will be rejected."""
        try:
            members = json.loads(payload)
            cmd_id = members["cmd_id"] or members["part_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        slot = self._register.get(cmd_id) if isinstance(cmd_id, str) else None
        if slot is not None and slot.answer is None:
            slot.refused = rule

    def _gate(self, on_belt: OnBelt, now_ns: int) -> None:
        part = on_belt.part
        decision = decide(on_belt.slot, self._watch, now_ns)
        del self._register[on_belt.slot.key]
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
        while self._belt and not self.halt:
            self._turn(self._belt[0].gate_ns)
        for on_belt in self._belt:
            on_belt.slot.answer, on_belt.slot.refused, on_belt.slot.announced = None, "stopped", True
            self._gate(on_belt, time.monotonic_ns())
        self._belt.clear()
