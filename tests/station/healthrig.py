"""A health desk on a real ledger, fed with verdicts about rendered pictures that physics has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspector.parts import Check, CheckOutcome, Health, Outcome, Part, Pose, Trigger, Verdict
from inspector.recipe.health import picture_health
from inspector.station.alarms import Alarms
from inspector.station.health import HealthDesk
from inspector.station.ledger import Ledger
from tools.part_renderer import drawing, truth
from tools.part_renderer.plan import plan_part
from tools.part_renderer.render import draw

Picture = NDArray[np.float32]
Change = Callable[[Picture, np.random.Generator], Picture]
PATCHES = {"left": (0, 0, 420, 1024), "middle": (430, 0, 850, 1024), "right": (860, 0, 1280, 1024)}
LEARN = 100


@lru_cache(maxsize=1)
def parts() -> list[tuple[Picture, Pose]]:
    """Good parts in a fixture with a little play, as the camera sees them, and where they lie."""
    rng = np.random.default_rng(11)
    found = []
    for seed in range(3000, 3024):
        (x_px, y_px), play = drawing.BELT_CENTRE_PX, rng.standard_normal(3)
        pose = truth.Pose.about_centre(x_px + 3 * play[0], y_px + 3 * play[1], 0.2 * play[2])
        image, _ = draw(replace(plan_part(seed), pose=pose))
        found.append((image.astype(np.float32), Pose(pose.x_px, pose.y_px, pose.angle_deg)))
    return found


def as_is(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture


def light(factor: float) -> Change:
    """Light, exposure: signal by the factor; the rendered noise is small, its root of the factor left out."""
    return lambda picture, rng: picture * np.float32(factor)


def ambient(grey: float) -> Change:
    return lambda picture, rng: picture + np.float32(grey)


def blur(sigma_px: float, noise_grey: float = 2.2) -> Change:
    """Defocus; the sensor's own noise comes after the lens."""

    def change(picture: Picture, rng: np.random.Generator) -> Picture:
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.float32)
        return soft + np.float32(noise_grey) * rng.standard_normal(picture.shape, np.float32)

    return change


def noise(grey: float) -> Change:
    return lambda picture, rng: picture + np.float32(grey) * rng.standard_normal(picture.shape, np.float32)


def gain(factor: float) -> Change:
    """Signal and noise by the factor; sensor noise of 2.2 grey at gain 1 is in the picture already."""
    return light(factor)


def spot(x_px: int, y_px: int, radius_px: int, share: float) -> Change:
    """A drop, dirt or a reflection: light by the share where it is, with a soft rim."""
    cover = np.zeros((1024, 1280), np.float32)
    cv2.circle(cover, (x_px, y_px), radius_px, 1.0, -1)
    side = radius_px // 2 * 2 + 1
    factor = 1 - np.float32(1 - share) * np.asarray(cv2.blur(cover, (side, side)), np.float32)
    return lambda picture, rng: picture * factor


def fog(share: float) -> Change:
    """A film scatters: less contrast, the mean stays."""
    return lambda picture, rng: picture * np.float32(share) + np.float32(1 - share) * picture.mean()


def tilt(share: float) -> Change:
    """The light comes from one side more."""

    def change(picture: Picture, rng: np.random.Generator) -> Picture:
        return picture * np.linspace(1 - share, 1 + share, picture.shape[1], dtype=np.float32)[None]

    return change


def measured(picture: Picture, change: Change, rng: np.random.Generator) -> tuple[Health, ...]:
    """What the judge would say of this picture: lamp flicker of 0.5 %, the change, a sensor of 8 bit."""
    changed = change(picture * np.float32(1 + 0.005 * rng.standard_normal()), rng)
    image = np.clip(np.round(changed), 0, 255).astype(np.uint8)
    return tuple(picture_health("", name, image, 255, box, 20_000) for name, box in PATCHES.items())


def verdict(
    seq: int, health: tuple[Health, ...], pose: Pose | None, outcome: Outcome = Outcome.PASS, **more: Any
) -> Verdict:
    number, sha = more.get("recipe", 1), more.get("sha", "a3f91c77")
    trigger = Trigger(f"P{seq:06d}", f"c{seq}", 1, "2026-11-22T10:00:00.000Z")
    part = Part(seq, "b", "top", trigger, number, 1, "Plate", sha, 10**9)
    check = Check("body", CheckOutcome.PASS if outcome is Outcome.PASS else CheckOutcome.FAIL, 0, "")
    code = {Outcome.PASS: 0, Outcome.FAIL: 1010, Outcome.NOT_INSPECTED: 202}[outcome]
    return Verdict(part, outcome, code, "", checks=(check,), health=health, pose=pose)


class Rig:
    """The desk, its alarms and its ledger."""

    def __init__(self, folder: Path, learn: int = LEARN) -> None:
        self.folder, self.learn = folder, learn
        self.said: list[tuple[str, str]] = []
        self.alarms = Alarms(lambda alarm, what: self.said.append((alarm.id, what)))
        self.ledger = Ledger(folder / "ledger.db", station="top", boot="b", sim=True)
        self.ledger.open()
        self.desk = HealthDesk(self.ledger, self.alarms, self._spawn, learn)
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = np.random.default_rng(5)
        self.seq = 0

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work, name=name))

    async def settle(self) -> None:
        """What the desk does beside the parts is done."""
        while self._tasks:
            task = self._tasks.pop()
            await asyncio.wait_for(task, 10)

    async def run(self, count: int, change: Change = as_is, **more: Any) -> int | None:
        """So many parts; returns after how many an alarm stood, None: none did. Stops there."""
        moved = more.pop("moved", (0.0, 0.0, 0.0))
        until_alarm = more.pop("until_alarm", True)
        for n in range(count):
            picture, pose = parts()[self.seq % len(parts())]
            place = Pose(pose.x_px + moved[0], pose.y_px + moved[1], pose.angle_deg + moved[2])
            self.desk.add(self.next(measured(picture, change, self._rng), place, **more))
            await self.settle()
            if until_alarm and self.standing():
                return n + 1
        return None

    def next(self, health: tuple[Health, ...], pose: Pose | None, outcome: Outcome = Outcome.PASS, **m: Any) -> Verdict:
        self.seq += 1
        return verdict(self.seq, health, pose, outcome, **m)

    def standing(self) -> dict[str, str]:
        """Texts of the alarms whose condition holds."""
        return {a.id: a.text for a in self.alarms.listed() if a.state != "RTN"}

    async def close(self) -> None:
        await self.settle()
        assert self.ledger.shut(5.0)
