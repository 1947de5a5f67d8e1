"""From charts that have moved to the likely cause and what to do about it: a table of rules, read from the top.

Each rule is the signature of one physical change. Light falls: brightness and contrast fall by the same share.
Focus is lost: sharpness falls, brightness stays. Stray light: brightness rises, contrast doesn't. And so on.
A characteristic that is not yet beyond its limit counts by where it is: it follows, it stays, or nobody can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from inspector.station.charts import Reading

DARK_SHARE = 0.3  # brightness and contrast below this share of the learned: no light at all
FLAT_SHARE = 0.2  # contrast alone
TELLING_SIGMA = 3.0  # in standard errors: an effect smaller than that can't be told from none


@dataclass(frozen=True, slots=True)
class Cause:
    """The likely cause: a word for programs, a sentence for people, and what to do."""

    kind: str
    text: str
    action: str


@dataclass(frozen=True)
class Evidence:
    """One view: its patches' readings by characteristic; ``position``: has the place of the parts moved too?"""

    patches: Mapping[str, Mapping[str, Reading]]
    position: bool = False

    def of(self, what: str) -> list[Reading]:
        """A characteristic on all patches."""
        return [readings[what] for readings in self.patches.values() if what in readings]

    def all(self, what: str, side: int) -> bool:
        """It has moved to this side on every patch; beyond the limit on one of them at least."""
        found = self.of(what)
        return any(r.out == side for r in found) and all(r.side == side for r in found)

    def out(self, what: str, side: int) -> bool:
        """Beyond the limit on some patch, and on no patch at the other side."""
        found = self.of(what)
        return any(r.out == side for r in found) and all(r.side != -side for r in found)

    def still(self, what: str) -> bool:
        """Beyond the limit nowhere."""
        return all(r.out == 0 for r in self.of(what))

    def share(self, what: str) -> float:
        """Now as a share of what was learned, the mean over the patches."""
        found = [r.level / r.centre for r in self.of(what) if r.centre > 0]
        return sum(found) / len(found) if found else 1.0

    def follows(self, what: str, share: float) -> bool | None:
        """Has it changed as ``share`` says (True), stayed (False), or is the change too small to tell (None)?"""
        told = [answer for r in self.of(what) if (answer := _follows(r, share)) is not None]
        return sum(told) * 2 >= len(told) if told else None

    def apart(self) -> tuple[list[str], Reading | None]:
        """Patches that have moved while others for certain have not, and the reading that moved most."""
        if len(self.patches) < 2:
            return [], None
        moved = [r for readings in self.patches.values() for r in readings.values() if r.out]
        if not moved:
            return [], None
        worst = max(moved, key=lambda r: abs(r.z))
        share = worst.level / worst.centre if worst.centre > 0 else math.inf
        names = [name for name, readings in self.patches.items() if any(r.out for r in readings.values())]
        others = [readings.get(worst.key.what) for name, readings in self.patches.items() if name not in names]
        stayed = [r for r in others if r and not r.side and (share == math.inf or _follows(r, share) is False)]
        return (names, worst) if stayed and len(stayed) == len(others) else ([], None)

    def figures(self) -> str:
        """``brightness -2.1 %, contrast -1.9 %``: what has moved and by how much, the most telling first."""
        said: list[tuple[float, str]] = []
        for what in dict.fromkeys(r.key.what for readings in self.patches.values() for r in readings.values()):
            moved = [r for r in self.of(what) if r.side]
            if not moved:
                continue
            worst = max(moved, key=lambda r: abs(r.z))
            said.append((-abs(worst.z) if worst.out else 0.0, f"{what} {_amount(worst)}"))
        return ", ".join(text for _, text in sorted(said)[:3])


def _follows(reading: Reading, share: float) -> bool | None:
    expected = (share - 1) * reading.centre / reading.sigma
    if abs(expected) < TELLING_SIGMA * reading.error:
        return None
    return reading.z / expected > 0.5


def _amount(reading: Reading) -> str:
    if reading.key.what == "saturated":
        return f"{100 * reading.level:.1f} % of the pixels"
    if abs(reading.change) < 1.0 and reading.centre > 0:
        return f"{100 * reading.change:+.1f} %"
    return f"{reading.level:.3g}, learned {reading.centre:.3g}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A cause and its signature."""

    kind: str
    when: Callable[[Evidence], bool]
    says: str
    action: str


def _dark(e: Evidence) -> bool:
    return e.share("brightness") < DARK_SHARE and e.share("contrast") < DARK_SHARE


def _flat(e: Evidence) -> bool:
    return bool(e.of("contrast")) and e.share("contrast") < FLAT_SHARE and e.out("contrast", -1)


def _uneven(e: Evidence) -> bool:
    sides = {r.side for r in e.of("brightness")}
    return {-1, 1} <= sides and any(r.out for r in e.of("brightness"))


def _reflection(e: Evidence) -> bool:
    _, worst = e.apart()
    return worst is not None and worst.z > 0 and worst.key.what in ("brightness", "saturated")


def _spot(e: Evidence) -> bool:
    return e.apart()[1] is not None


def _noise(e: Evidence) -> bool:
    return e.out("noise", 1) and e.still("brightness")


def _gain(e: Evidence) -> bool:
    share = e.share("brightness")
    # gain lifts signal and noise alike; more light lifts the noise by its root at most
    return _brighter(e) and e.out("noise", 1) and e.share("noise") - 1 > 0.75 * (share - 1)


def _brighter(e: Evidence) -> bool:
    return e.out("brightness", 1) and e.follows("contrast", e.share("brightness")) is not False


def _darker(e: Evidence) -> bool:
    return e.out("brightness", -1) and e.follows("contrast", e.share("brightness")) is not False


def _blurred(e: Evidence) -> bool:
    return e.all("sharpness", -1)


RULES: tuple[Rule, ...] = (
    Rule("dark", _dark, "no light: the picture is dark",
         "switch the light on, check its cable and controller; look for a lens cap or something before the lens"),
    Rule("flat", _flat, "nothing is in the picture",
         "look whether something stands before the lens, or a light shines into it"),
    Rule("reflection", _reflection, "a reflection or stray light",
         "look for a shiny thing, a window or a lamp that shines there; shade it"),
    Rule("uneven", _uneven, "the light has been moved or turned",
         "put the light back as it was, check its mount; then learn anew if it has to stay so"),
    Rule("spot", _spot, "dirt or a drop",
         "clean the lens and its protective window"),
    Rule("knocked", lambda e: _blurred(e) and e.position, "the camera or its lens was knocked: unsharp, and moved",
         "check the camera's mount, the lens's locking screws and the focus; then calibrate and learn anew"),
    Rule("lens_dirty", lambda e: _blurred(e) and e.out("brightness", -1), "the whole lens is dirty",
         "clean the lens and its protective window; if that does not help, check lamp and focus"),
    Rule("focus", _blurred, "out of focus: the lens has moved, or dirt lies on the whole of it",
         "clean the lens, check its locking screws and the distance, then focus with `inspector camera live`"),
    Rule("gain_high", _gain, "the gain was raised",
         "compare the camera's settings with `inspector camera diff`"),
    Rule("light_high", _brighter, "more light, or the exposure was raised",
         "compare settings with `inspector camera diff`; look at the lamp's controller and for other lamps"),
    Rule("stray_light", lambda e: e.out("brightness", 1), "stray light",
         "shade the place: daylight, a door or another lamp shines in; close the hood"),
    Rule("light_low", _darker, "less light: the lamp ages, or the exposure was lowered",
         "clean or replace the lamp; compare settings with `inspector camera diff`"),
    Rule("ambient_low", lambda e: e.out("brightness", -1), "light from elsewhere is missing, or the black level fell",
         "see which lamp nearby is off; compare settings with `inspector camera diff`"),
    Rule("noise", _noise, "more noise: the camera is hot, or its gain was raised",
         "check the camera's temperature and cooling; compare settings with `inspector camera diff`"),
    Rule("fogged", lambda e: e.out("contrast", -1), "the lens or its window is fogged or greasy",
         "clean and dry the lens and its protective window"),
    Rule("saturated", lambda e: e.out("saturated", 1), "overexposed places: stray light, or a shinier part",
         "look for a lamp or a window that shines there; compare settings with `inspector camera diff`"),
    Rule("sharper", lambda e: e.out("sharpness", 1), "the focus has changed",
         "check the lens's locking screws and the distance; then learn anew"),
)  # fmt: skip
CHANGED = Rule("changed", lambda e: True, "another picture than learned",
               "compare a new picture with an old one; learn anew if the parts are meant to look so")  # fmt: skip


def picture_cause(evidence: Evidence) -> Cause | None:
    """What has most likely happened to a view's pictures; None when no chart of it is out."""
    if not any(r.out for readings in evidence.patches.values() for r in readings.values()):
        return None
    rule = next(rule for rule in (*RULES, CHANGED) if rule.when(evidence))
    names, _ = evidence.apart() if rule.kind in ("spot", "reflection") else ([], None)
    where = f" at {', '.join(names)}" if names else ""
    return Cause(rule.kind, f"{rule.says}{where} ({evidence.figures()})", rule.action)


def position_cause(readings: Sequence[Reading], mm_per_px: float = 0.0) -> Cause | None:
    """Where the parts lie now against where they lay; None when no chart is out. ``mm_per_px`` 0: say it in px."""
    if not any(r.out for r in readings):
        return None
    by = {r.key.what: r for r in readings}
    said = []
    for what, back, forth in (("x", "left", "right"), ("y", "up", "down")):
        reading = by.get(what)
        if reading is not None and reading.side:
            px = reading.level - reading.centre
            amount = f"{abs(px) * mm_per_px:.2f} mm" if mm_per_px else f"{abs(px):.1f} px"
            said.append(f"{amount} {forth if px > 0 else back}")
    angle = by.get("angle")
    if angle is not None and angle.side:
        degrees = (angle.level - angle.centre + 180) % 360 - 180
        said.append(f"{abs(degrees):.2f} deg turned {'clockwise' if degrees > 0 else 'anticlockwise'}")
    return Cause(
        "moved",
        f"{', '.join(said)} in the picture: the fixture, the stop or the camera has moved",
        "put fixture or camera back and check their screws; then calibrate and learn anew if it has to stay so",
    )
