"""Parts on a belt before a whole station: each shows its picture, is told to the station, and gets its answer noted.

Parts are good and bad in turns, so that a neighbour's picture always gives the other verdict; besides, every picture
carries its part's number in its pixels, and the station keeps them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, WIRED, write_yaml
from tests.plc.peers import wait_for
from tests.walk.harness import Plc, Walk, picture, recipe
from tools.part_renderer.stamp import read_stamp
from tools.virtual_camera.control import CTI, CameraControl

PERIOD_S = {"command": 0.2, "announced": 0.24}  # less than a lost picture takes to be given up
WINDOW_MS = 100  # less than half the time between two parts
LATE_S = 0.08  # with LIMITS or the window less than the time between two parts
LIMITS = {"trigger_limit_ms": 100}  # less than the time between two parts
DEADLINE = "1 s"
START_LIMIT_S = 60.0  # two stations start at once, on a machine that may have other work
NOISE_GREY = 2.0  # of the sensor, as a real one has
TARGET = (740, 10, 860, 100)  # left, top, right, bottom of a mark that is the same on every part


def scene(good: bool, number: int) -> NDArray[np.uint8]:
    """A part, (H, W) uint8, with its number and with a mark that tells where it lies and how good the picture is."""
    image = picture(good, number)
    cv2.fillPoly(image, [np.array([[760, 25], [840, 45], [800, 55], [815, 85], [770, 80]], np.int32)], 200)
    return image


def mark() -> tuple[dict[str, Any], bytes]:
    """The locate step of the recipe, and its template as a PNG file ``mark.png``."""
    left, top, right, bottom = TARGET
    png = cv2.imencode(".png", scene(True, 0)[top:bottom, left:right])[1].tobytes()
    sha = hashlib.sha256(png).hexdigest()[:12]
    # its origin is its place in the picture, so that the lid is where the picture has it
    origin = [(left + right - 1) / 2, (top + bottom - 1) / 2]
    step = {"tool": "template", "image": f"mark.png@sha256:{sha}", "turn": "1 deg", "origin": origin}
    return {**step, "fail": "1010 Mark not found"}, png


@dataclass
class Part:
    """One part and what the station said about it; times are on the monotonic clock."""

    number: int
    good: bool
    sent_s: float
    answers: list[dict[str, Any]] = field(default_factory=list)
    answered_s: float = 0.0
    sent_utc: float = 0.0
    underway_s: float = 0.0  # how long its message took to reach the station, once the books were read
    text: str = ""  # the verdict's sentence, once the books were read
    pixels: int | None = None  # the number in the judged picture, once the books were read; None: unreadable, or none

    @property
    def late(self) -> bool:
        """Its message was so long under way that the next part may have stood there: no station can know."""
        return self.underway_s > LATE_S

    @property
    def verdict(self) -> str:
        """The first answer's, "" before it."""
        return str(self.answers[0]["verdict"]) if self.answers else ""

    @property
    def right(self) -> bool:
        """It got what its own picture deserves."""
        return self.verdict == ("PASS" if self.good else "FAIL")


@dataclass
class Notice:
    """Something else that the station said: an event, or that it is no longer Ready."""

    at_s: float
    what: str
    level: str = ""


class Belt:
    """See the module's text."""

    def __init__(self, folder: Path, way: str, personality: str) -> None:
        """Start broker, cameras and station in ``folder``, and wait until it is Ready."""
        self.way, self.period_s = way, PERIOD_S[way]
        features = write_yaml(folder / "features.yaml", {"features": SOFTWARE if way == "command" else WIRED})
        cameras = {
            # so many slots that the archive can keep every judged picture: each is looked at again
            name: {"serial": serial, "producer": str(CTI), "features": str(features), "slots": 32, **LIMITS}
            for name, serial in (("top", "VC0001"), ("side", "VC0002"))
        }
        locate, png = mark()
        lid = {**recipe(1, within=DEADLINE), "cameras": {"top": {}}, "locate": {"mark": locate}}
        lid["compare"]["lid"]["fixture"] = "mark"
        lid["health"] = {"patches": {"mark": {"region": list(TARGET)}}}
        archive = {"folder": "pictures", "budget_mb": 4000, "min_free_mb": 1}
        self.walk = Walk(
            folder, files=[lid], cameras=cameras, identity={"mode": way, "window_ms": WINDOW_MS}, archive=archive
        )
        (folder / "recipes" / "mark.png").write_bytes(png)
        self.walk.control.close()
        self.control = self.walk.control = CameraControl.create(
            self.walk.control.path, devices=2, sensor=(ROWS, COLUMNS)
        )
        # neither its pixels nor its clock are as clean as a simulation's
        self.control.simulate(0, noise=NOISE_GREY, clock_offset_ns=-123_456_789_012, clock_drift_ppm=50)
        self.control.show(0, scene(True, 0), 0)
        self.walk.environment["VIRTUAL_CAMERA_TLTYPE"] = personality
        self.parts: dict[str, Part] = {}
        self.notices: list[Notice] = []
        self.passed = 0
        self.ready = False
        self._read = 0
        self._last = 0
        self._sent_s = 0.0
        try:
            self.walk.start(ready=False)
            wait_for(lambda: self.walk.plc.state.get("ready"), START_LIMIT_S, "Ready")
        except BaseException as error:
            log = self.walk.log
            self.walk.close()
            raise RuntimeError(f"the station did not become Ready:\n{log}") from error
        self.plc: Plc = self.walk.plc

    def close(self) -> None:
        """Stop everything."""
        self.walk.close()

    def next(self, inject: Callable[[CameraControl], None] | None = None) -> Part:
        """The next part stands before the camera when its time has come; ``inject`` then happens just before."""
        self.look()
        time.sleep(max(0.0, self._sent_s + self.period_s - time.monotonic()))
        self._last = number = self._last + 1
        good = bool(number % 2)
        self.control.show(0, scene(good, number), number)
        cmd_id = f"b{os.getpid()}-{number}"
        self._sent_s = time.monotonic()
        part = self.parts[cmd_id] = Part(number, good, self._sent_s, sent_utc=time.time())
        if inject is not None:
            inject(self.control)
        command = {"schema": "1.0", "cmd_id": cmd_id, "part_id": f"N{number}"}
        sent = self.plc.client.publish("vis/v1/t/s/cmd/trigger", json.dumps(command).encode(), qos=1)
        if self.way != "command":
            sent.wait_for_publish(WINDOW_MS / 1000)  # the broker has it: what is late now is the station's
            self.control.pulse(0)
        return part

    @property
    def next_is_good(self) -> bool:
        """Will the next part be a good one?"""
        return self._last % 2 == 0

    def look(self) -> None:
        """Read what the station has said meanwhile."""
        messages = self.plc.messages
        while self._read < len(messages):
            message = messages[self._read]
            self._read += 1
            kind = message.topic.rpartition("/")[2]
            if kind in ("result", "event", "state"):
                self._note(kind, json.loads(message.payload), message.timestamp)

    def _note(self, kind: str, told: dict[str, Any], at_s: float) -> None:
        if kind == "result":
            part = self.parts.get(told["cmd_id"])
            if part is None:
                self.notices.append(Notice(at_s, f"{told['verdict']} {told['reason']}", "row"))
                return
            part.answers.append(told)
            self.passed += told["verdict"] == "PASS"
            part.answered_s = part.answered_s or at_s
        elif kind == "event":
            self.notices.append(Notice(at_s, str(told["text"]), str(told["level"])))
        else:
            if self.ready and not told["ready"]:
                self.notices.append(Notice(at_s, str(told["text"]), "not Ready"))
            self.ready = told["ready"]

    def drain(self, limit_s: float = 3.0) -> None:
        """Wait until every part has its answer, or could have had it, and most pictures are kept."""
        end = time.monotonic() + limit_s
        self.look()
        while any(not p.answers for p in self.parts.values()) and time.monotonic() < end:
            time.sleep(0.01)
            self.look()
        while self._unkept() > 2 and time.monotonic() < end:
            time.sleep(0.05)

    def is_calm(self) -> bool:
        """All cameras are there, and nothing is wrong with the pictures: another fault would be seen."""
        status = self.walk.status()
        standing = [a["id"] for a in status["alarms"] if a["state"] != "RTN"]
        return not any(name.partition(":")[0] in ("camera", "health", "temperature") for name in standing)

    def strays(self) -> dict[str, int]:
        """Pictures of no part that the station has counted, by kind, of the camera in use."""
        with self.walk.http() as client:
            return dict(client.get("/v1/health").json()["cameras"]["top"]["strays"])

    def read_books(self) -> int:
        """Give every part its verdict's sentence, and the number in the pixels that were judged.

        Returns how many judged pictures were not kept (the archive lets go of some when the machine is busy).
        """
        self._wait_archive()
        rows, missing = self.walk.rows(), 0
        for cmd_id, part in self.parts.items():
            row = rows.get(cmd_id)
            if row is None:
                raise RuntimeError(f"part {part.number} is not in the ledger")
            part.text = row.text or ""
            received = datetime.fromisoformat(row.received_utc.replace("Z", "+00:00"))
            part.underway_s = received.timestamp() - part.sent_utc
            if part.verdict not in ("PASS", "FAIL"):
                continue
            image = cv2.imread(row.picture, cv2.IMREAD_GRAYSCALE) if row.picture else None
            missing += image is None
            part.pixels = None if image is None else read_stamp(np.asarray(image, np.uint8))
        return missing

    def _unkept(self) -> int:
        return int(self.walk.status()["queues"]["archive"]["depth"])

    def _wait_archive(self) -> None:
        end = time.monotonic() + 10.0
        while self._unkept() and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(0.3)  # the last one's row
