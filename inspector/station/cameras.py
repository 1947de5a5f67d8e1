"""The station's side of the camera processes: ask for pictures, know who is fresh, hand slots back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspector.codes import Code
from inspector.config import CameraConfig
from inspector.parts import FrameRef, InspectionFault, Part
from inspector.station.children import Child, ChildGone
from inspector.station.leases import Lease
from inspector.wire import CameraState, Capture, Captured, CaptureFailed, FromChild, Grant, Stray


@dataclass
class _Camera:
    name: str
    child: Child
    fresh: bool = False
    text: str = "starting"
    since: float = field(default_factory=time.monotonic)
    info: dict[str, Any] = field(default_factory=dict)
    waiting: dict[int, asyncio.Future[FrameRef]] = field(default_factory=dict)
    frames: int = 0
    failures: int = 0
    held: int = 0  # slots of its present ring that are not its own
    strays: dict[str, int] = field(default_factory=dict)


class Cameras:
    """All cameras of the station."""

    def __init__(
        self, station_file: Path, configs: Mapping[str, CameraConfig], changed: Callable[[str, bool, str], None]
    ) -> None:
        """``changed(name, fresh, text)`` is called when a camera is lost or back."""
        self._changed = changed
        self._all: dict[str, _Camera] = {}
        for name in configs:
            child = Child(
                f"camera {name}",
                "inspector.acquire.process",
                ["--station", str(station_file), "--camera", name],
                receive=lambda m, n=name: self._received(n, m),  # type: ignore[misc]
                started=lambda: None,
                gone=lambda why, n=name: self._gone(n, why),  # type: ignore[misc]
                answer_limit_s=1.5,
            )
            self._all[name] = _Camera(name, child)

    @property
    def names(self) -> tuple[str, ...]:
        """All cameras."""
        return tuple(self._all)

    @property
    def children(self) -> list[Child]:
        """Their processes."""
        return [c.child for c in self._all.values()]

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

    async def capture(self, part: Part, wanted: Sequence[str] = ()) -> Lease:
        """A picture of the part from every wanted camera. Raises InspectionFault; cancelling gives up cleanly."""
        problem = self.lost(wanted)
        if problem:
            raise InspectionFault(Code.CAMERA_LOST, problem)
        cameras = [self._all[n] for n in (wanted or self.names)]
        loop = asyncio.get_running_loop()
        message = Capture(part.seq, part.trigger.received_ns, part.deadline_ns)
        try:
            for camera in cameras:
                camera.waiting[part.seq] = loop.create_future()
                camera.child.send(message)
        except ChildGone as error:
            self._give_up(cameras, part.seq)
            raise InspectionFault(Code.CAMERA_LOST, str(error)) from error
        futures = [c.waiting[part.seq] for c in cameras]
        try:
            done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
            for future in done:
                future.result()  # the first fault, while others may still be pending
            return Lease(tuple(f.result() for f in futures), self._give_back)
        except BaseException:
            for future in futures:
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._give_back(future.result())
            raise
        finally:
            self._give_up(cameras, part.seq)

    def give_up(self, seq: int, fault: InspectionFault) -> None:
        """Whoever waits for pictures of this part gets the fault."""
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

    def _received(self, name: str, message: FromChild) -> None:
        camera = self._all[name]
        if isinstance(message, Captured):
            if message.frame.camera != name or message.frame.ring != camera.info.get("ring"):
                raise ValueError(f"camera {name} hands over a picture that is not in its ring")
            camera.frames += 1
            camera.held += 1
            future = camera.waiting.get(message.seq)
            if future is None or future.done():
                self._give_back(message.frame)  # its part was given up already
            else:
                future.set_result(message.frame)
        elif isinstance(message, CaptureFailed):
            camera.failures += 1
            future = camera.waiting.get(message.seq)
            if future is not None and not future.done():
                future.set_exception(InspectionFault(message.code, message.text))
        elif isinstance(message, CameraState):
            self._state(camera, message.fresh, message.text, message.info)
        elif isinstance(message, Stray):
            camera.strays[message.what] = camera.strays.get(message.what, 0) + message.count

    def _state(self, camera: _Camera, fresh: bool, text: str, info: dict[str, Any]) -> None:
        if info:
            if info.get("ring") != camera.info.get("ring"):
                camera.held = 0
            camera.info = info
        was, camera.text = camera.fresh, text
        if was != fresh:
            camera.since = time.monotonic()
        camera.fresh = fresh
        if was != fresh or not fresh:
            self._changed(camera.name, fresh, text)

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
