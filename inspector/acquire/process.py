"""The camera process: ``python -m inspector.acquire.process --fd N --station station.yaml --camera top``.

One thread does everything: messages, triggers, frames, recovery. Nothing in it waits longer than a few
milliseconds, except inside the vendor's library; when that hangs, pings stay unanswered and the station
kills this process and starts it again.

How a part gets its pictures is in :mod:`inspector.acquire.software` (on command) and
:mod:`inspector.acquire.wired` (a wire fires the camera).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from inspector.acquire.camera import Camera, DeviceError, SettingsError
from inspector.acquire.context import Context
from inspector.acquire.slots import Slots
from inspector.acquire.software import Software
from inspector.acquire.wired import Wired
from inspector.child import Channel, start
from inspector.config import CameraConfig, IdentityConfig, load_camera_file, load_station
from inspector.wire import CameraState, Capture, CheckSettings, Grant, Ping, Plan, SettingsChanged, Shot, Stop
from inspector.yamlfile import FileError

_log = logging.getLogger("camera")

WIRED_LOOK_S = 0.001  # a wired camera must be looked at often: its pictures come unasked
IDLE_S = 0.05
GROWTH_LIMIT = 40_000_000  # bytes that lost cameras may have left behind in this process
CHECK_S = 0.5
SETTINGS_CHECK_S = 5.0  # from one round to the next; a round comes between two parts when it is overdue by as much
LOOK_LIMIT_S = 0.002  # a slice of it
LOOK_EVERY_S = 0.02
MOVED = 0.5  # a temperature that moves less is not told
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0)


class CameraLoop:
    """See the module's text."""

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        identity: IdentityConfig,
        channel: Channel,
        camera: Camera,
        rings: Path,
    ) -> None:
        self._name = name
        self._channel = channel
        self._camera = camera
        self._slots = Slots(name, config.slots, rings)
        self._at = Context(name, config, camera, channel, self._slots, self._listen, self._check_settings)
        self._wired = identity.wired
        self._work = Wired(self._at, identity.window_ms) if identity.wired else Software(self._at)
        self._next_shots: tuple[Shot, ...] | None = None
        self._fresh = False
        self._asked = False  # to read all settings back
        self._info: dict[str, Any] = {}
        self._tries = 0
        self._trouble = ""  # what was told last about a camera that can't be opened
        self._try_at = 0.0
        self._own_bytes = _own_bytes()  # before a camera was open
        self._check_at = self._look_at = self._overdue_at = 0.0
        self._round_utc = ""  # when the present round through its settings began
        self._good_utc = ""  # when they were last seen as wanted

    def run(self) -> None:
        """Until the station says stop or goes away."""
        while True:
            if not self._fresh and time.monotonic() >= self._try_at:
                self._open()
            if not self._messages(self._idle_limit()):
                return
            self._take_plan()
            if not self._fresh:
                self._work.refuse(f"camera {self._name} is lost")
                continue
            lost = ""
            try:
                self._work.step()
                self._check()
            except DeviceError as error:
                lost = str(error)
            if lost:  # not while the error holds what of the camera's it passed through
                self._lost(lost)

    def _idle_limit(self) -> float:
        if not self._fresh:
            return IDLE_S
        return WIRED_LOOK_S if self._wired else 0.0 if self._work.busy else IDLE_S

    def _listen(self) -> None:
        if not self._messages(0.0):
            raise EOFError("told to stop")

    def _messages(self, limit_s: float) -> bool:
        """Handle what the station sent; False: stop."""
        message = self._channel.receive(limit_s)
        while message is not None:
            if isinstance(message, Ping):
                self._channel.pong(message)
            elif isinstance(message, Capture):
                self._work.ask(message)
            elif isinstance(message, Grant):
                self._slots.grant(message.slots)
            elif isinstance(message, Plan):
                self._next_shots = message.shots
            elif isinstance(message, CheckSettings):
                self._asked = True
            elif isinstance(message, Stop):
                return False
            message = self._channel.receive(0.0)
        return True

    # --- what to take --------------------------------------------------------------------------------
    def _take_plan(self) -> None:
        """A plan that came is taken between two parts."""
        shots, self._next_shots = self._next_shots, None
        if shots is None or shots == self._at.shots:
            return
        self._work.tell()  # a new plan may take its time
        anew = self._wired and any(shot.user_set for shot in (*shots, *self._at.shots))
        self._at.shots = shots
        self._try_at = 0.0  # what could not be done may be possible now
        if not self._fresh:
            return
        if anew:
            self._say(False, "its user set is being loaded")  # frame ids begin anew, and that must be known
        try:
            self._plan()
        except DeviceError as error:
            self._lost(str(error))
        else:
            if anew:
                self._say(True, "streaming")

    def _plan(self) -> None:
        shots = self._at.shots
        wanted = sum(shot.count for shot in shots)
        if self._wired and wanted != 1:
            raise SettingsError(
                f"the recipe wants {wanted} pictures a part of camera {self._name}, which a wire fires: allowed is 1"
            )
        if not 1 <= wanted <= self._slots.count:
            raise SettingsError(
                f"the recipe wants {wanted} pictures a part of camera {self._name}, "
                f"allowed: 1 to its `slots: {self._slots.count}` in station.yaml"
            )
        self._camera.plan(shots)
        self._work.begin()

    # --- recovery ------------------------------------------------------------------------------------
    def _open(self) -> None:
        trouble, info = "", {}
        try:
            info = self._camera.open()
            self._slots.fit(info)
            self._plan()
        except DeviceError as error:
            trouble = str(error)
        if trouble:
            self._camera.close()
            if trouble != self._trouble:
                self._trouble = trouble
                self._say(False, trouble)
            self._try_at = time.monotonic() + BACK_OFF_S[min(self._tries, len(BACK_OFF_S) - 1)]
            self._tries += 1
            return
        self._tries = 0
        self._trouble = ""
        self._fresh = True
        self._check_at = time.monotonic() + CHECK_S
        self._look_at = time.monotonic() + SETTINGS_CHECK_S
        self._overdue_at = self._look_at + SETTINGS_CHECK_S
        self._good_utc = self._round_utc = _utc_now()
        self._info = {**info, "settings_checked_utc": self._good_utc}
        self._say(True, "streaming")

    def _lost(self, why: str) -> None:
        self._fresh = False
        self._camera.close()
        self._try_at = time.monotonic() + BACK_OFF_S[0]
        self._tries = 0
        self._trouble = why
        self._say(False, why)
        self._work.refuse(why)
        # vendors' libraries lose memory with a camera: its description, and pictures it will not let go of
        if _own_bytes() - self._own_bytes > GROWTH_LIMIT:
            raise EOFError("starting anew is the only way to get back the memory that lost cameras hold")

    def _check(self) -> None:
        """Between two parts: is the camera there, and as it was set? Takes no longer than a part can wait."""
        if self._asked and not self._work.busy:
            self._asked = False
            self._check_settings()
        now = time.monotonic()
        if now >= self._look_at and (not self._work.busy or now > self._overdue_at):
            self._look()
        if now < self._check_at or self._work.busy:
            return
        self._check_at = now + CHECK_S
        try:
            live = self._camera.check()
        except DeviceError:
            live = self._camera.check()  # one register that could not be read is no lost camera
        if any(_moved(self._info.get(name), value) for name, value in live.items()):
            self._info = {**self._info, **live}
            self._tell(True, "streaming")

    def _look(self) -> None:
        """A slice of the round through all settings."""
        changed = self._camera.look(LOOK_LIMIT_S)
        if changed is None:
            self._look_at = time.monotonic() + LOOK_EVERY_S
        else:
            self._seen(changed)

    def _check_settings(self) -> None:
        """All of them now: something spoke against them."""
        self._round_utc = _utc_now()
        self._seen(self._camera.differing())

    def _seen(self, changed: Sequence[str]) -> None:
        if changed:
            self._channel.send(SettingsChanged(tuple(changed), self._good_utc, _utc_now()))
            raise DeviceError(f"settings of camera {self._name} were changed by someone else: {'; '.join(changed)}")
        self._good_utc, self._round_utc = self._round_utc, _utc_now()
        self._look_at = time.monotonic() + SETTINGS_CHECK_S
        self._overdue_at = self._look_at + SETTINGS_CHECK_S
        self._info = {**self._info, "settings_checked_utc": self._good_utc}
        self._tell(True, "streaming")

    def _say(self, fresh: bool, text: str) -> None:
        _log.log(logging.INFO if fresh else logging.WARNING, "%s: %s", self._name, text)
        self._tell(fresh, text)

    def _tell(self, fresh: bool, text: str) -> None:
        self._channel.send(CameraState(fresh, text, {**self._info, "ring": self._slots.path} if fresh else {}))


def _moved(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float):
        return abs(now - before) >= MOVED
    return bool(before != now)


def _own_bytes() -> int:
    """Memory of this process alone; rings and libraries are shared."""
    resident, shared = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(resident) - int(shared)) * resource.getpagesize()


def _utc_now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def main() -> None:
    """Entry point of the process."""
    arguments = argparse.ArgumentParser(description="One camera's process; the station starts it.")
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("--station", type=Path, required=True)
    arguments.add_argument("--camera", required=True)
    given = arguments.parse_args()
    channel = start(given.fd, f"camera {given.camera}")
    from inspector.acquire.genicam import GenicamCamera, Library, producers  # loads the vendor's code

    try:
        station = load_station(given.station)
        config = station.cameras.get(given.camera)
        if config is None:
            raise DeviceError(f"{given.station}: no camera {given.camera}; there are {', '.join(station.cameras)}")
        library = Library(producers(config.producer))
        wanted, identity = load_camera_file(config.features), station.identity
        camera = GenicamCamera(library, config.serial, wanted, "wired" if identity.wired else "software")
        try:
            CameraLoop(given.camera, config, identity, channel, camera, station.runtime_dir).run()
        finally:
            camera.close()  # or a GigE camera stays taken until its heartbeat times out
    except (DeviceError, FileError) as error:
        _leave(channel, str(error))
    except EOFError as end:
        _log.info("%s", end)
    os._exit(0)  # not sys.exit: producers' threads and finalizers have nothing left to do, and may hang


def _leave(channel: Channel, why: str) -> None:
    """Tell why nothing can be done here; the station starts us again, with back-off."""
    _log.error("%s", why)
    with contextlib.suppress(EOFError):
        channel.send(CameraState(False, why))
    os._exit(2)


if __name__ == "__main__":
    main()
