"""CameraLoop with a camera that follows a script: what no producer can be made to do, GigE's counters for one."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.acquire import process
from inspector.acquire.camera import Exposure, IncompleteFrame, Take
from inspector.acquire.process import CameraLoop
from inspector.acquire.unpack import Raw
from inspector.child import Channel
from inspector.codes import Code
from inspector.config import CameraConfig, IdentityConfig
from inspector.wire import (
    CameraState,
    Capture,
    Captured,
    CaptureFailed,
    FromChild,
    Pulse,
    Shot,
    Stop,
    Stray,
    decode_from_child,
    encode_to_child,
)

LIMIT_S = 10.0
NOTHING = -1
INCOMPLETE = -2


class Scripted:
    """Gives the frame ids of a script: after each trigger (software), or one by one (wired)."""

    stranded_bytes = 0

    def __init__(self, *script: list[int]) -> None:
        self.script = deque(script)
        self.queue: deque[int] = deque()
        self.opened = self.restarts = 0
        self.changed: list[str] = []
        self.ages_ms: dict[int, tuple[float, float]] = {}  # by frame id: exposed so long ago, and how unsure that is
        self.counts: dict[int, int] = {}
        self.wrong: dict[int, str] = {}
        self.endless = False

    def open(self) -> dict[str, Any]:
        self.opened += 1
        return {"width": 8, "height": 4, "pixel_format": "Mono8"}

    def plan(self, shots: Sequence[Shot]) -> None:
        self.shots = tuple(shots)

    def ready(self) -> None:
        pass

    def pulses(self) -> int | None:
        return None

    def trigger(self, shot: int = 0) -> None:
        self.queue.extend(self.script.popleft())

    def fetch(self, limit_s: float, take: Take) -> Exposure | None:
        if self.endless and self.opened == 1:
            self.queue.append(1)
        found = self.queue.popleft() if self.queue else NOTHING
        if found == NOTHING:
            time.sleep(limit_s)
            return None
        if found == INCOMPLETE:
            raise IncompleteFrame
        take(Raw(np.full(32, found % 251, np.uint8), 8, 4, "Mono8"))
        exposed_ns = uncertainty_ns = 0
        if found in self.ages_ms:
            age_ms, uncertainty_ms = self.ages_ms[found]
            exposed_ns, uncertainty_ns = time.monotonic_ns() - int(age_ms * 1e6), int(uncertainty_ms * 1e6)
        count = self.counts.get(found)
        return Exposure(
            found, 8, 4, "Mono8", 1.0, 0.0, 0, (0, 0), count, exposed_ns, uncertainty_ns, self.wrong.pop(found, "")
        )

    def restart(self) -> None:
        self.restarts += 1
        self.queue.clear()

    def check(self) -> dict[str, Any]:
        return {"temperature_c": 40.0 + self.opened}

    def differing(self) -> list[str]:
        return self.changed

    def look(self, limit_s: float) -> list[str] | None:
        return self.changed

    def close(self) -> None:
        self.queue.clear()


class Loop:
    """A loop in a thread, and the station's end of its channel."""

    def __init__(self, folder: Path, camera: Scripted, wired: bool = False, **config: Any) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(LIMIT_S)
        self.socket, self._file, self._theirs = ours, ours.makefile("rb"), theirs
        settings = CameraConfig(
            serial="1", features=folder, **{"frame_limit_ms": 60, "trigger_limit_ms": 5000, **config}
        )
        identity = IdentityConfig(mode="announced" if wired else "command")
        self.loop = CameraLoop("top", settings, identity, Channel(theirs), camera, folder)
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()
        self.seq = 0
        self.strays: dict[str, int] = {}
        self.state = self.wait(CameraState)

    def ask(self) -> None:
        self.seq += 1
        now = time.monotonic_ns()
        self.socket.sendall(encode_to_child(Capture(self.seq, now, now + 5_000_000_000)))

    def wait(self, *kinds: type) -> Any:
        while True:
            message: FromChild = decode_from_child(self._file.readline())
            if isinstance(message, Stray):
                self.strays[message.what] = self.strays.get(message.what, 0) + message.count
            if isinstance(message, kinds):
                return message

    def answer(self) -> Any:
        return self.wait(Captured, CaptureFailed)

    def capture(self) -> Any:
        self.ask()
        return self.answer()

    def close(self) -> None:
        self.socket.sendall(encode_to_child(Stop()))
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        self._file.close()
        self.socket.close()
        self._theirs.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[Loop] = []

    def start(camera: Scripted, **config: Any) -> Loop:
        made.append(Loop(tmp_path, camera, **config))
        return made[-1]

    yield start
    for loop in made:
        loop.close()


def ids(*answers: Any) -> list[int]:
    return [a.frames[0].frame_id if isinstance(a, Captured) else -a.code for a in answers]


@pytest.mark.parametrize(
    "frame_ids", [[65534, 65535, 1, 2], [65535, 0, 1], [4294967295, 0, 1], [1 << 63, (1 << 63) + 1]]
)
def test_counters_that_wrap_are_no_gap(frame_ids: list[int], make: Any) -> None:
    camera = Scripted(*[[n] for n in frame_ids])
    loop = make(camera)
    assert ids(*[loop.capture() for _ in frame_ids]) == frame_ids
    assert camera.restarts == 0


@pytest.mark.parametrize(
    ("frame_ids", "stray"),
    [([5, 5], "stale"), ([5, 3], "stale"), ([5, 7], "gap"), ([5, 0], "stale"), ([5, 1], "stale")],
)
def test_a_frame_id_that_is_not_due_is_no_picture(frame_ids: list[int], stray: str, make: Any) -> None:
    camera = Scripted(*[[n] for n in frame_ids], [0])
    loop = make(camera)
    first, second, third = (loop.capture() for _ in range(3))
    assert ids(first, second, third) == [5, -Code.NO_FRAME, 0]
    assert f"sent picture {frame_ids[1]} where 6 was due: it may show another part" in second.text
    assert loop.strays == {stray: 1} and camera.restarts == 1


def test_what_comes_after_the_asked_picture_is_thrown_away(make: Any) -> None:
    camera = Scripted([5, 6, INCOMPLETE, 8], [9])
    loop = make(camera)
    assert ids(loop.capture(), loop.capture()) == [5, 9]
    assert loop.strays == {"extra": 2, "incomplete": 1}


def test_a_picture_after_the_limit_never_comes_through(make: Any) -> None:
    camera = Scripted([NOTHING] * 40 + [1], [2], [0])
    loop = make(camera, frame_limit_ms=10)
    first = loop.capture()
    assert ids(first) == [-Code.NO_FRAME] and camera.restarts == 1
    assert ids(loop.capture()) == [2]


def test_pictures_without_end_are_a_camera_that_is_not_right(make: Any) -> None:
    camera = Scripted([1])
    camera.endless = True
    loop = make(camera)
    state = loop.wait(CameraState)
    assert not state.fresh and "sends pictures without end that nobody asked for" in state.text
    assert loop.wait(CameraState).fresh and camera.opened == 2
    assert ids(loop.capture()) == [1]


def test_unasked_pictures_and_changed_settings(make: Any) -> None:
    camera = Scripted([5, 6], [1])
    loop = make(camera)
    camera.changed = ["TriggerMode: wanted On, found Off"]
    assert ids(loop.capture()) == [5]
    state = loop.wait(CameraState)
    assert not state.fresh and state.text.endswith("changed by someone else: TriggerMode: wanted On, found Off")


def test_live_values_are_told_when_they_change(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SETTINGS_CHECK_S", 1.0)
    loop = make(Scripted())
    assert "temperature_c" not in loop.state.info
    state = loop.wait(CameraState)
    assert state.fresh and state.info["settings_checked_utc"] >= loop.state.info["settings_checked_utc"] > "20"
    state = loop.wait(CameraState)
    assert state.fresh and state.info["temperature_c"] == 41.0 and state.info["ring"] == loop.state.info["ring"]


def test_a_picture_exposed_before_the_trigger_is_left_aside_and_the_parts_own_is_taken(make: Any) -> None:
    camera = Scripted([5], [6, 7])
    camera.ages_ms = {5: (0.0, 1.0), 6: (900.0, 1.0), 7: (0.0, 1.0)}
    loop = make(camera)
    assert ids(loop.capture()) == [5]
    assert ids(loop.capture()) == [7]  # the number that was due is passed over with its picture
    camera.script.append([3, 8])
    camera.ages_ms |= {3: (900.0, 1.0), 8: (0.0, 1.0)}
    assert ids(loop.capture()) == [8]
    assert loop.strays == {"stale": 2} and camera.restarts == 0


def test_a_time_that_may_be_after_the_trigger_speaks_against_nothing(make: Any) -> None:
    camera = Scripted([5])
    camera.ages_ms = {5: (30.0, 40.0)}
    assert ids(make(camera).capture()) == [5]


def test_a_trigger_counter_that_went_on_by_two(make: Any) -> None:
    camera = Scripted([5], [6], [7], [8])
    camera.counts = {5: 40, 6: 42, 7: 43, 8: 44}
    loop = make(camera)
    answers = [loop.capture() for _ in range(4)]
    assert ids(*answers) == [5, -Code.NO_FRAME, 7, 8]
    assert "counts trigger 42 where 41 was due" in answers[1].text and loop.strays == {"extra": 1}


def test_a_picture_with_other_settings_is_refused_and_they_are_looked_at(make: Any) -> None:
    camera = Scripted([5], [6], [7])
    camera.wrong = {6: "exposure was 500 us, wanted 1000 us"}
    loop = make(camera)
    answers = [loop.capture() for _ in range(3)]
    assert ids(*answers) == [5, -Code.NO_FRAME, 7]
    assert answers[1].text.endswith("exposure was 500 us, wanted 1000 us: somebody changed the settings")


def test_a_time_not_known_better_than_the_window_is_none(make: Any) -> None:
    camera = Scripted()
    camera.ages_ms = {1: (1.0, 1.0), 2: (1.0, 30.0)}
    loop = make(camera, wired=True)
    camera.queue.extend([1, 2, 3])
    assert [loop.wait(Pulse).timed for _ in range(3)] == [True, False, False]


def test_a_doubled_picture_of_a_wired_camera_is_told_once(make: Any) -> None:
    camera = Scripted()
    loop = make(camera, wired=True)
    camera.queue.extend([7, 7, 3, 7, INCOMPLETE, 8])
    pulses = [loop.wait(Pulse) for _ in range(4)]
    assert [p.frame_id for p in pulses] == [7, 3, None, 8]
    assert [p.frame is None for p in pulses] == [False, False, True, False]
    assert loop.strays == {"doubled": 2}
