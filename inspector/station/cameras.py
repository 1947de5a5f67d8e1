"""The station's side of the camera processes: ask for pictures, know who is fresh, hand slots back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inspector.codes import Code
from inspector.config import CameraConfig, IdentityConfig
from inspector.parts import FrameRef, InspectionFault, Part
from inspector.station.children import Child, ChildGone
from inspector.station.counted import Counted
from inspector.station.identity import Announced
from inspector.station.leases import Lease
from inspector.station.pulses import Track
from inspector.wire import (
    CameraState,
    Capture,
    Captured,
    CaptureFailed,
    CheckSettings,
    FromChild,
    Grant,
    Plan,
    Pulse,
    PulseCount,
    SettingsChanged,
    Shot,
    Stray,
)

ONE_SHOT = (Shot(),)
IDENTITY = ("model", "serial", "firmware", "settings", "width", "height", "sent_format")  # no live values
NICE = -5  # a late trigger costs a part, a late judge some ms; takes effect where the system allows it


class Listener(Protocol):
    """Who hears what cameras say that is about no part that was asked for."""

    def camera_changed(self, name: str, fresh: bool, text: str) -> None:
        """A camera is lost, or back."""
        ...

    def settings_changed(self, name: str, change: SettingsChanged) -> None:
        """Somebody changed a camera's settings; they are being set right."""
        ...

    def part_arrived(self, number: int, at_ns: int) -> int:
        """A pulse made a part (counted mode); returns its seq."""
        ...

    def unannounced(self, text: str, number: int | None) -> None:
        """A pulse that no part explains; ``number``: the PLC's message about this part was lost."""
        ...

    def unbalanced(self, text: str) -> None:
        """What the PLC announced, what cameras counted and what they sent don't agree, and where."""
        ...


@dataclass
class _Camera:
    name: str
    slots: int
    child: Child
    fresh: bool = False
    text: str = "starting"
    since: float = field(default_factory=time.monotonic)
    info: dict[str, Any] = field(default_factory=dict)
    waiting: dict[int, asyncio.Future[tuple[FrameRef, ...]]] = field(default_factory=dict)
    plan: tuple[Shot, ...] = ONE_SHOT
    frames: int = 0
    failures: int = 0
    held: int = 0  # slots of its present ring that are not its own
    strays: dict[str, int] = field(default_factory=dict)


@dataclass
class FiredBooks:
    """What parts add up to where the station fires its cameras."""

    announced: int = 0
    settled: int = 0  # got all their pictures
    failed: int = 0
    unannounced: int = 0  # pictures that nobody asked for


@dataclass
class _Asked:
    """The cameras a part's pictures were asked of, or why they could not be."""

    cameras: Sequence[_Camera] = ()
    fault: InspectionFault | None = None


@dataclass
class _Pair:
    """A part and its pictures from wired cameras."""

    frames: asyncio.Future[tuple[FrameRef, ...]]
    settled: asyncio.Future[None]
    leased: bool = False


class Cameras:
    """All cameras of the station."""

    def __init__(
        self, station_file: Path, configs: Mapping[str, CameraConfig], identity: IdentityConfig, listener: Listener
    ) -> None:
        """Make everything, start nothing."""
        self._listener = listener
        self._identity = identity
        self._all: dict[str, _Camera] = {}
        for name, config in configs.items():
            child = Child(
                f"camera {name}",
                "inspector.acquire.process",
                ["--station", str(station_file), "--camera", name],
                receive=lambda m, n=name: self._received(n, m),  # type: ignore[misc]
                started=lambda n=name: self._send_plan(n),  # type: ignore[misc]
                gone=lambda why, n=name: self._gone(n, why),  # type: ignore[misc]
                answer_limit_s=1.5,
                nice=NICE,
            )
            self._all[name] = _Camera(name, config.slots, child)
        self._pairs: dict[int, _Pair] = {}
        self._asked: dict[int, _Asked] = {}  # of parts whose walk has not begun
        self._labels: dict[int, str] = {}  # of parts that wait for pictures the station fires
        self._last_label = ""
        self._fired = FiredBooks()
        self._wanted: tuple[str, ...] = tuple(configs)
        self._timer: asyncio.TimerHandle | None = None
        self.books: Announced | None = None  # only where a wire fires the cameras
        if identity.wired:
            tracks = {n: Track(n, c.frame_limit_ms * 1_000_000) for n, c in configs.items()}
            window_ns = identity.window_ms * 1_000_000
            if self.makes_parts:
                self.books = Counted(tracks, window_ns, self)
            else:
                self.books = Announced(tracks, window_ns, identity.announced, self)

    @property
    def names(self) -> tuple[str, ...]:
        """All cameras."""
        return tuple(self._all)

    @property
    def children(self) -> list[Child]:
        """Their processes."""
        return [c.child for c in self._all.values()]

    def reconciled(self) -> dict[str, Any]:
        """What parts, pulses and pictures add up to, as far as the mode knows of them."""
        if self.books is not None:
            return self.books.figures()
        cameras = {c.name: {"pictures": c.frames, **c.strays} for c in self._all.values()}
        return {**vars(self._fired), "open": len(self._labels), "cameras": cameras}

    @property
    def makes_parts(self) -> bool:
        """True when a part begins with its pulse, and not with the PLC's message."""
        return self._identity.mode == "counted" and self._identity.plc_counts == "start"

    @property
    def out_of_step(self) -> str:
        """Why no picture can be given to a part now, whatever comes; "" when it can."""
        return self.books.out_of_step if self.books else ""

    def start(self) -> None:
        """Start every camera's process."""
        for camera in self._all.values():
            camera.child.start()

    def lost(self, wanted: Sequence[str] = ()) -> str:
        """Why the wanted cameras (none named: all) can't take a picture now; "" when they can."""
        names = wanted or self.names
        unknown = [n for n in names if n not in self._all]
        if unknown:
            return f"the recipe wants camera {unknown[0]}; this station has {', '.join(self.names)}"
        return next((f"camera {n}: {self._all[n].text}" for n in names if not self._all[n].fresh), "")

    def identities(self) -> dict[str, dict[str, Any]]:
        """By camera that parts need: who it is and how it was set, as it told when it was opened; {}: not seen yet."""
        return {
            name: {key: self._all[name].info[key] for key in IDENTITY if key in self._all[name].info}
            for name in self._wanted
            if name in self._all
        }

    async def check_settings(self, limit_s: float) -> str:
        """Have every camera that parts need read its settings back. Returns what is not as wanted, "" when all is."""
        end = time.monotonic() + limit_s
        before = {n: self._all[n].info.get("settings_checked_utc") for n in self._wanted}
        with contextlib.suppress(ChildGone):
            for name in before:
                self._all[name].child.send(CheckSettings())
        while True:
            lost = self.lost(self._wanted)
            waits = [n for n, utc in before.items() if self._all[n].info.get("settings_checked_utc") == utc]
            if lost or not waits:
                return lost
            if time.monotonic() > end:
                return f"camera {waits[0]} did not read its settings back within {limit_s:.0f} s"
            await asyncio.sleep(0.02)

    def states(self) -> dict[str, tuple[bool, float, str]]:
        """By camera: fresh, seconds in this state, text."""
        now = time.monotonic()
        return {c.name: (c.fresh, now - c.since, c.text) for c in self._all.values()}

    def figures(self) -> dict[str, dict[str, Any]]:
        """By camera: counts and live values for metrics."""
        return {
            c.name: {
                "frames": c.frames,
                "failures": c.failures,
                "held": c.held,
                "strays": dict(c.strays),
                "info": dict(c.info),
            }
            for c in self._all.values()
        }

    def plan(self, wanted: Sequence[str], shots: Mapping[str, tuple[Shot, ...]], deadline_ms: int) -> None:
        """From now on parts need these pictures: of ``wanted`` cameras (none named: all). Raises InspectionFault."""
        names = tuple(wanted) or self.names
        if "" in shots:  # views that name no camera
            if len(names) > 1:
                text = f"the recipe's views name no camera, allowed with one camera; there are {', '.join(names)}"
                raise InspectionFault(Code.RECIPE_INVALID, text)
            shots = {names[0]: shots[""]}
        for name in names:
            camera = self._all.get(name)
            planned = shots.get(name, ONE_SHOT)
            pictures = sum(shot.count for shot in planned)
            if camera is None:
                raise InspectionFault(Code.RECIPE_INVALID, self.lost(names))
            if self._identity.wired and pictures > 1:
                text = f"the recipe wants {pictures} pictures of camera {name}, but its wire fires one a part"
                raise InspectionFault(Code.RECIPE_INVALID, f"{text}; allowed with `identity: {{mode: command}}`")
            if pictures >= camera.slots:
                text = f"the recipe wants {pictures} pictures of camera {name}, which has `slots: {camera.slots}`"
                raise InspectionFault(Code.RECIPE_INVALID, f"{text}; allowed: at least {2 * pictures} slots")
        if self._identity.wired and deadline_ms <= self._identity.window_ms:
            text = f"the recipe's deadline is {deadline_ms} ms, but no verdict is told before `window_ms`"
            raise InspectionFault(Code.RECIPE_INVALID, f"{text} ({self._identity.window_ms} ms) has passed")
        self._wanted = names
        for name in names:
            camera = self._all[name]
            planned = shots.get(name, ONE_SHOT)
            if planned != camera.plan:
                camera.plan = planned
                self._send_plan(name)

    def _send_plan(self, name: str) -> None:
        with contextlib.suppress(ChildGone):
            self._all[name].child.send(Plan(self._all[name].plan))

    # --- a wire fires the cameras ------------------------------------------------------------------------
    def expect(self, part: Part, *, inspected: bool) -> None:
        """A part has come: its cameras are fired at once, where the station does that. The books of pulses follow it
        from now on, also when it was refused (not ``inspected``).
        """
        if self.books is None:
            if inspected:
                self._asked[part.seq] = self._ask(part)
            return
        loop = asyncio.get_running_loop()
        if inspected:
            self._pairs[part.seq] = _Pair(loop.create_future(), loop.create_future())
        trigger = part.trigger
        if trigger.source == "wire" or (self._identity.mode == "counted") != (trigger.number is not None):
            return  # a pulse made it; or it is no announcement in this mode, and was refused
        label = trigger.part_id or f"seq {part.seq}"
        self.books.announce(
            part.seq,
            label,
            trigger.received_ns,
            self._wanted,
            time.monotonic_ns(),
            inspected=inspected,
            number=trigger.number,
        )
        self._schedule()

    def is_doubled(self, number: int) -> bool:
        """The PLC has sent this count of parts before."""
        return self.books is not None and self.books.doubled(number, time.monotonic_ns())

    def set_count(self, number: int) -> str:
        """The PLC's count of parts, when the belt stands. Returns why it can't be taken, or ""."""
        if not isinstance(self.books, Counted):
            return "this station does not count parts by itself"
        why = self.books.set_count(number, time.monotonic_ns())
        self._schedule()
        return why

    async def settle(self, part: Part) -> None:
        """Wait until the part's pictures are surely its own. Raises InspectionFault when they are not."""
        pair = self._pairs.get(part.seq)
        if pair is not None:
            await asyncio.shield(pair.settled)

    def finished(self, part: Part) -> None:
        """The part has had its verdict: pictures that come now are nobody's."""
        asked = self._asked.pop(part.seq, None)
        if asked is not None:  # its walk ended before it looked for them
            self._labels.pop(part.seq, None)
            self._give_up(asked.cameras, part.seq)
        pair = self._pairs.pop(part.seq, None)
        if pair is None:
            return
        frames = pair.frames
        if frames.done() and not pair.leased and not frames.cancelled() and frames.exception() is None:
            self._give_back_all(frames.result())
        frames.cancel()
        pair.settled.cancel()

    def arrived(self, number: int, at_ns: int) -> int:
        """See :class:`~inspector.station.claims.Desk`."""
        return self._listener.part_arrived(number, at_ns)

    def matched(self, seq: int, frames: tuple[FrameRef, ...]) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        pair = self._pairs.get(seq)
        if pair is None or pair.frames.done():
            self._give_back_all(frames)
        else:
            pair.frames.set_result(frames)

    def settled(self, seq: int) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        pair = self._pairs.get(seq)
        if pair is not None and not pair.settled.done():
            pair.settled.set_result(None)

    def failed(self, seq: int, text: str) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        self._fail_pair(seq, InspectionFault(Code.NO_FRAME, f"Not inspected: {text}"))

    def unannounced(self, camera: str, text: str, number: int | None) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        self._listener.unannounced(text, number)

    def unbalanced(self, text: str) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        self._listener.unbalanced(text)

    def dropped(self, camera: str, frame: FrameRef | None, what: str) -> None:
        """See :class:`~inspector.station.claims.Desk`."""
        strays = self._all[camera].strays
        strays[what] = strays.get(what, 0) + 1
        if frame is not None:
            self._give_back(frame)

    def _fail_pair(self, seq: int, fault: InspectionFault) -> None:
        pair = self._pairs.get(seq)
        if pair is None:
            return
        for future in (pair.frames, pair.settled):
            if not future.done():
                future.set_exception(fault)
                future.exception()  # whether somebody waits for it or not

    def _schedule(self) -> None:
        """Look at the books again when something is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.books is None:
            return
        now = time.monotonic_ns()
        due = self.books.due_ns(now)
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later((due - now) / 1e9, self._tick)

    def _tick(self) -> None:
        if self.books is not None:
            self.books.tick(time.monotonic_ns())
        self._schedule()

    def _pulse(self, camera: _Camera, pulse: Pulse) -> None:
        if pulse.frame is not None:
            self._check_frame(camera, pulse.frame)
            camera.frames += 1
            camera.held += 1
        if self.books is None or camera.name not in self._wanted:
            self.dropped(camera.name, pulse.frame, "unwanted")
            return
        self.books.pulse(camera.name, pulse, time.monotonic_ns())
        self._schedule()

    # --- the station fires the cameras --------------------------------------------------------------------
    async def capture(self, part: Part) -> Lease:
        """All pictures of the part. Raises InspectionFault; cancelling gives up cleanly."""
        if self.books is not None:
            pair = self._pairs[part.seq]
            frames = await asyncio.shield(pair.frames)
            pair.leased = True
            return Lease(frames, self._give_back)
        asked = self._asked.pop(part.seq, None) or self._ask(part)
        if asked.fault is not None:
            raise asked.fault
        cameras = asked.cameras
        futures = [c.waiting[part.seq] for c in cameras]
        try:
            done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
            for future in done:
                future.result()  # the first fault, while others may still be pending
            self._fired.settled += 1
            return Lease(tuple(frame for f in futures for frame in f.result()), self._give_back)
        except BaseException:
            for future in futures:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._give_back_all(future.result())
            self._fired.failed += 1
            raise
        finally:
            self._labels.pop(part.seq, None)
            self._give_up(cameras, part.seq)

    def _ask(self, part: Part) -> _Asked:
        """Fire every camera that is wanted. A part is exposed before anything else is done about it."""
        problem = self.lost(self._wanted)
        if problem:
            return _Asked(fault=InspectionFault(Code.CAMERA_LOST, problem))
        cameras = [self._all[n] for n in self._wanted]
        loop = asyncio.get_running_loop()
        message = Capture(part.seq, part.trigger.received_ns, part.deadline_ns)
        self._fired.announced += 1
        try:
            for camera in cameras:
                camera.waiting[part.seq] = loop.create_future()
                camera.child.send(message)
        except ChildGone as error:
            self._give_up(cameras, part.seq)
            return _Asked(fault=InspectionFault(Code.CAMERA_LOST, str(error)))
        self._labels[part.seq] = self._last_label = part.trigger.part_id or f"seq {part.seq}"
        return _Asked(cameras)

    def give_up(self, seq: int, fault: InspectionFault) -> None:
        """Whoever waits for pictures of this part gets the fault."""
        self._fail_pair(seq, fault)
        for camera in self._all.values():
            future = camera.waiting.get(seq)
            if future is not None and not future.done():
                future.set_exception(fault)

    def _give_up(self, cameras: Sequence[_Camera], seq: int) -> None:
        for camera in cameras:
            future = camera.waiting.pop(seq, None)
            if future is not None and not future.done():
                future.cancel()
            elif future is not None and not future.cancelled():
                future.exception()  # seen: it may have failed after another camera did

    def _give_back(self, frame: FrameRef) -> None:
        camera = self._all[frame.camera]
        if camera.info.get("ring") == frame.ring:  # a ring of an earlier process has nobody to hand slots to
            camera.held -= 1
            with contextlib.suppress(ChildGone):
                camera.child.send(Grant((frame.slot,)))

    def _give_back_all(self, frames: Sequence[FrameRef]) -> None:
        for frame in frames:
            self._give_back(frame)

    def _check_frame(self, camera: _Camera, frame: FrameRef) -> None:
        if frame.camera != camera.name or frame.ring != camera.info.get("ring"):
            raise ValueError(f"camera {camera.name} hands over a picture that is not in its ring")

    def _received(self, name: str, message: FromChild) -> None:
        camera = self._all[name]
        if isinstance(message, Captured):
            for frame in message.frames:
                self._check_frame(camera, frame)
            camera.frames += len(message.frames)
            camera.held += len(message.frames)
            future = camera.waiting.get(message.seq)
            if future is None or future.done():
                self._give_back_all(message.frames)  # its part was given up already
            else:
                future.set_result(message.frames)
        elif isinstance(message, Pulse):
            self._pulse(camera, message)
        elif isinstance(message, PulseCount):
            if self.books is not None and name in self._wanted:
                self.books.counter(name, message, time.monotonic_ns())
                self._schedule()
        elif isinstance(message, SettingsChanged):
            self._listener.settings_changed(name, message)
        elif isinstance(message, CaptureFailed):
            camera.failures += 1
            if message.code == Code.NO_FRAME and message.seq in self._labels:
                self._listener.unbalanced(f"part {self._labels[message.seq]}: {message.text}")
            future = camera.waiting.get(message.seq)
            if future is not None and not future.done():
                future.set_exception(InspectionFault(message.code, message.text))
        elif isinstance(message, CameraState):
            self._state(camera, message.fresh, message.text, message.info)
        elif isinstance(message, Stray):
            camera.strays[message.what] = camera.strays.get(message.what, 0) + message.count
            if self.books is None and message.what == "extra":
                self._fired.unannounced += message.count
                after = f" (the last part before it was {self._last_label})" if self._last_label else ""
                self._listener.unbalanced(f"camera {name} sent a picture that nobody asked for{after}")

    def _state(self, camera: _Camera, fresh: bool, text: str, info: dict[str, Any]) -> None:
        if info:
            if info.get("ring") != camera.info.get("ring"):
                camera.held = 0
            camera.info = info
        was, camera.text = camera.fresh, text
        if was != fresh:
            camera.since = time.monotonic()
        camera.fresh = fresh
        if was and not fresh and self.books is not None:
            for seq in list(self._pairs) if camera.name in self._wanted else ():
                self._fail_pair(seq, InspectionFault(Code.CAMERA_LOST, f"camera {camera.name} is lost: {text}"))
            self.books.lost(camera.name, f"camera {camera.name} is lost: {text}", time.monotonic_ns())
            self._schedule()
        if was != fresh or not fresh:
            self._listener.camera_changed(camera.name, fresh, text)

    def _gone(self, name: str, why: str) -> None:
        camera = self._all[name]
        ring = camera.info.pop("ring", "")
        camera.held = 0
        text = camera.text if not camera.fresh and camera.text != "starting" else f"its process is gone: {why}"
        for future in list(camera.waiting.values()):
            if not future.done():
                future.set_exception(InspectionFault(Code.CAMERA_LOST, f"camera {name} is lost: {text}"))
        if ring:
            Path(ring).unlink(missing_ok=True)
        self._state(camera, False, text, {})

    async def stop(self, limit_s: float) -> None:
        """Stop every camera's process."""
        await asyncio.gather(*(c.child.stop(limit_s) for c in self._all.values()))
        for camera in self._all.values():
            ring = camera.info.pop("ring", "")
            if ring:
                Path(ring).unlink(missing_ok=True)
