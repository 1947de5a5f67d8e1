"""The real camera process on the real virtual camera, kept by the station's own code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from inspector.parts import FrameRef
from inspector.ring import Ring
from inspector.station.children import Child, ChildGone
from inspector.wire import (
    CameraState,
    Capture,
    Captured,
    CaptureFailed,
    FromChild,
    Grant,
    Plan,
    Pulse,
    PulseCount,
    SettingsChanged,
    Shot,
    Stray,
)
from tools.part_renderer.stamp import read_stamp, write_stamp
from tools.virtual_camera.control import CTI, CameraControl

ROWS, COLUMNS = 128, 1280  # wide enough for a part number, few enough to be quick
EVERY_LIMIT_S = 10.0  # nothing here takes so long; it bounds a test that would hang

SOFTWARE: dict[str, Any] = {
    "Width": COLUMNS,
    "Height": ROWS,
    "PixelFormat": "Mono8",
    "ExposureTime": 1000,
    "Gain": 0,
    "TriggerMode[TriggerSelector=FrameStart]": "On",
    "TriggerSource": "Software",
    "ChunkModeActive": True,
    "ChunkEnable[ChunkSelector=FrameID]": True,
    "ChunkEnable[ChunkSelector=ExposureTime]": True,
    "ChunkEnable[ChunkSelector=Timestamp]": True,
    "ChunkEnable[ChunkSelector=CounterValue]": True,
}
WIRED: dict[str, Any] = {**SOFTWARE, "TriggerSource": "Line1", "TriggerActivation": "RisingEdge"}


def write_yaml(path: Path, data: Any) -> Path:
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(data, file)
    return path


def part_picture(number: int) -> NDArray[np.uint8]:
    """A grey picture with the part's number in its pixels."""
    image = np.full((ROWS, COLUMNS), 90, np.uint8)
    write_stamp(image, number)
    return image


class World:
    """A folder with a control file, camera files and a station file."""

    def __init__(
        self, folder: Path, *, devices: int = 2, sensor: tuple[int, int] = (ROWS, COLUMNS), tl_type: str = "Custom"
    ) -> None:
        self.folder = folder
        self.tl_type = tl_type
        self.first_id = 1 if tl_type == "GEV" else 0  # of frames
        self.control = CameraControl.create(folder / "cameras.ctl", devices=devices, sensor=sensor)
        self.runtime = folder / "run"
        self.runtime.mkdir()
        (folder / "recipes").mkdir()
        self.cameras: dict[str, dict[str, Any]] = {}
        self.identity: dict[str, Any] = {}
        self.station_file = folder / "station.yaml"

    def wired(self, window_ms: int = 100, mode: str = "announced", **identity: Any) -> World:
        """A wire fires the cameras that are added from now on."""
        self.identity = {"mode": mode, "window_ms": window_ms, **identity}
        return self

    def camera(self, name: str = "top", features: dict[str, Any] | None = None, **options: Any) -> World:
        """Add a camera; the first is VC0001."""
        file = write_yaml(
            self.folder / f"{name}.yaml", {"features": features or (WIRED if self.identity else SOFTWARE)}
        )
        serial = f"VC000{len(self.cameras) + 1}"
        # a busy machine must not decide what a test says: only tests of the limits have tight ones
        calm = {"trigger_limit_ms": 2000, "frame_limit_ms": 1000}
        self.cameras[name] = {"serial": serial, "producer": str(CTI), "features": str(file), **calm, **options}
        return self.write()

    def write(self) -> World:
        station = {"line": "l", "station": "s", "name": "Rig", "recipe": 1, "recipes": str(self.folder / "recipes")}
        more = {"cameras": self.cameras, "runtime_dir": str(self.runtime)}
        write_yaml(self.station_file, {**station, **more, **({"identity": self.identity} if self.identity else {})})
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {
            "VIRTUAL_CAMERA_CONTROL": str(self.control.path),
            "VIRTUAL_CAMERA_TLTYPE": self.tl_type,
            "RUNTIME_DIRECTORY": "",
        }


class Rig:
    """One camera process, seen from the station."""

    def __init__(
        self, world: World, name: str = "top", *, station_file: Path | None = None, hurried: bool = False
    ) -> None:
        self.world, self.name = world, name
        self.control = world.control
        self.device = list(world.cameras).index(name) if name in world.cameras else 0
        self.said: list[FromChild] = []
        self.states: list[CameraState] = []
        self.gone: list[str] = []
        self.strays: dict[str, int] = {}
        self.pulses: list[Pulse] = []
        self.counts: list[PulseCount] = []
        self.changes: list[SettingsChanged] = []
        self._answers: dict[int, asyncio.Future[Captured | CaptureFailed]] = {}
        self._changed = asyncio.Event()
        self._seq = 0
        self.child = Child(
            f"camera {name}",
            "tests.acquire.hurried" if hurried else "inspector.acquire.process",
            ["--station", str(station_file or world.station_file), "--camera", name],
            receive=self._receive,
            started=lambda: None,
            gone=self._gone,
            answer_limit_s=1.5,
            environment=world.environment,
        )

    # --- what the child says
    def _receive(self, message: FromChild) -> None:
        self.said.append(message)
        if isinstance(message, CameraState):
            # said again with newer figures it is the same state
            same = self.states and (self.states[-1].fresh, self.states[-1].text) == (message.fresh, message.text)
            self.states[-1 if same else len(self.states) :] = [message]
        elif isinstance(message, Stray):
            self.strays[message.what] = self.strays.get(message.what, 0) + message.count
        elif isinstance(message, Pulse):
            self.pulses.append(message)
        elif isinstance(message, PulseCount):
            self.counts.append(message)
        elif isinstance(message, SettingsChanged):
            self.changes.append(message)
        elif isinstance(message, (Captured, CaptureFailed)):
            answer = self._answers.pop(message.seq, None)
            assert answer is not None, f"a second answer: {message}"
            answer.set_result(message)
        self._changed.set()

    def _gone(self, why: str) -> None:
        self.gone.append(why)
        for seq, answer in self._answers.items():
            if not answer.done():
                answer.set_result(CaptureFailed(seq, 200, f"its process is gone: {why}"))
        self._answers.clear()
        self._changed.set()

    async def until(self, condition: Callable[[], Any], limit_s: float = EVERY_LIMIT_S) -> None:
        """Wait until ``condition`` holds, looking whenever the child spoke and now and then besides."""
        end = time.monotonic() + limit_s
        while not condition():
            last = self.said[-3:]
            assert time.monotonic() < end, f"did not happen in {limit_s} s; it said last: {last}; gone: {self.gone}"
            self._changed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.02)

    @property
    def fresh(self) -> bool:
        return self.child.up and bool(self.states) and self.states[-1].fresh

    @property
    def info(self) -> dict[str, Any]:
        return next(s.info for s in reversed(self.states) if s.fresh)

    async def ready(self) -> Rig:
        await self.until(lambda: self.fresh)
        return self

    async def settings_read(self) -> None:
        """A whole round through the settings has begun and ended, and none differed or it has told so."""
        for _ in range(2):  # the first one may be under way
            before = self.info["settings_checked_utc"]
            await self.until(lambda utc=before: self.changes or self.info["settings_checked_utc"] > utc)

    async def trouble(self) -> str:
        """The text of the first state that is not fresh."""
        await self.until(lambda: any(not s.fresh for s in self.states))
        return next(s.text for s in self.states if not s.fresh)

    # --- what the station asks
    def ask(self, *, age_ms: float = 0.0, deadline_ms: float = 5000.0) -> asyncio.Future[Captured | CaptureFailed]:
        self._seq += 1
        answer: asyncio.Future[Captured | CaptureFailed] = asyncio.get_running_loop().create_future()
        self._answers[self._seq] = answer
        now = time.monotonic_ns()
        received_ns = now - int(age_ms * 1e6)
        try:
            self.child.send(Capture(self._seq, received_ns, now + int(deadline_ms * 1e6)))
        except ChildGone as error:
            del self._answers[self._seq]
            answer.set_result(CaptureFailed(self._seq, 200, str(error)))
        return answer

    async def capture(self, number: int | None = None, **ask: Any) -> Captured | CaptureFailed:
        """Show part ``number`` and take its picture."""
        if number is not None:
            self.control.show(self.device, part_picture(number), number)
        return await asyncio.wait_for(self.ask(**ask), EVERY_LIMIT_S)

    async def pulse(self, number: int, line: int = 1) -> Pulse:
        """Show part ``number``, fire the camera by its wire and wait for what it says about it."""
        before = len(self.pulses)
        self.control.show(self.device, part_picture(number), number)
        self.control.pulse(self.device, line)
        await self.until(lambda: len(self.pulses) > before)
        return self.pulses[before]

    def plan(self, *shots: Shot) -> None:
        """What to take of every part from now on."""
        self.child.send(Plan(shots))

    def pixels(self, frame: FrameRef) -> NDArray[Any]:
        """A copy of the picture."""
        ring = Ring(Path(frame.ring), writable=False)
        try:
            return ring.read(frame).copy()
        finally:
            ring.close()

    def number(self, answer: Captured | CaptureFailed | FrameRef | None, *, keep: bool = False) -> int | None:
        """The part number in the pixels of the one picture; its slot is given back."""
        return self.numbers(answer, keep=keep)[0]

    def numbers(self, answer: Captured | CaptureFailed | FrameRef | None, *, keep: bool = False) -> list[int | None]:
        """The part number in the pixels of each picture; their slots are given back."""
        assert isinstance(answer, (Captured, FrameRef)), answer
        frames = answer.frames if isinstance(answer, Captured) else (answer,)
        found = [read_stamp(self.pixels(frame)) for frame in frames]
        if not keep:
            self.grant(*(frame.slot for frame in frames))
        return found

    def grant(self, *slots: int) -> None:
        self.child.send(Grant(slots))


def failed(answer: Captured | CaptureFailed) -> CaptureFailed:
    assert isinstance(answer, CaptureFailed), answer
    return answer


@asynccontextmanager
async def running(world: World, name: str = "top", *, ready: bool = True, **options: Any) -> AsyncIterator[Rig]:
    rig = Rig(world, name, **options)
    rig.child.start()
    try:
        yield (await rig.ready()) if ready else rig
    finally:
        await rig.child.stop(3.0)


async def hold(station_file: str) -> None:
    """A station that has one camera process, says its process id and then does nothing, until it is killed."""
    child = Child(
        "camera top",
        "inspector.acquire.process",
        ["--station", station_file, "--camera", "top"],
        receive=lambda message: print(child.pid, flush=True),
        started=lambda: None,
        gone=lambda why: None,
    )
    child.start()
    await asyncio.sleep(EVERY_LIMIT_S)
