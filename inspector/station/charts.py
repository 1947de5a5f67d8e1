"""Control charts: learn what is normal from good parts, then see jumps and drifts. Numbers only, all charts at once.

Two charts run on each characteristic (Montgomery, Introduction to Statistical Quality Control, chapters 6 and 9;
NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.4):

- *jump*, a Shewhart chart made patient: ``JUMP_RUN`` parts in a row beyond ``JUMP_SIGMA`` on the same side. One odd
  part is a part, not the camera.
- *drift*, an exponentially weighted moving average with weight ``WEIGHT`` and limits at ``WIDTH`` of its own sigmas.
  What goes in is cut off at ``CUT_SIGMA``, so that heavy tails, which real parts have, don't walk it to a limit.

The limits are wider than the books' 3 sigma: a line makes 100,000 parts a day, centre and sigma are only estimates
from ``LEARN`` parts, and an alarm that cries wolf is switched off. False alarms: fewer than one in 10^6 parts for
each characteristic, heavy tails included (tests/station/test_health_charts.py counts them). Sigma has a floor for
each characteristic: less than that is no trouble for any recipe, however steady the picture was.

Neighbouring parts may be alike: a lamp that warms up and cools down, one tray after the other. Charts for independent
parts would cry wolf then (handbook, 6.3.1 and 6.6.2), so the average's own wandering is learned too and widens its
limits, up to ``REACH_MAX_SIGMA``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEARN = 200  # good parts
SERIES = 500  # parts that a chart remembers
WEIGHT = 0.1
WIDTH = 7.5
DRIFT_SIGMA = WIDTH * (WEIGHT / (2 - WEIGHT)) ** 0.5  # the limit of the average, in sigmas of single parts
CUT_SIGMA = 4.0
REACH_MAX_SIGMA = 3.5  # of the drift's limit: further out only what is cut off could get there
WANDERS = 1.4  # times what independent parts' averages do: chance makes no more of it
JUMP_SIGMA = 4.0
JUMP_RUN = 4
CALM = 0.5  # of the drift's limit: below it an alarm is over
WINDOW = 25  # parts that say where a characteristic is now


class Key(NamedTuple):
    """What a chart is about. The position of parts has no view and no patch."""

    view: str
    patch: str
    what: str


@dataclass(frozen=True)
class Kind:
    """A characteristic: its unit and the least sigma, absolute and as a share of the learned centre."""

    unit: str
    floor: float
    floor_share: float = 0.0
    turns: bool = False  # an angle: 179 and -179 deg are neighbours


KINDS: dict[str, Kind] = {
    "brightness": Kind("grey", 0.5, 0.01),
    "contrast": Kind("grey", 1.0, 0.01),
    "sharpness": Kind("", 0.0, 0.03),
    "noise": Kind("grey", 0.1, 0.05),
    "saturated": Kind("share", 0.002),
    "x": Kind("px", 1.0),
    "y": Kind("px", 1.0),
    "angle": Kind("deg", 0.1, turns=True),
}

Values = NDArray[np.float64]


class Reading(NamedTuple):
    """One characteristic as it is now: where it lies against what was learned."""

    key: Key
    centre: float
    sigma: float
    level: float  # of the latest parts
    error: float  # standard error of ``level``, in sigmas
    out: int  # beyond a limit: -1 below, 1 above, 0 within

    @property
    def z(self) -> float:
        """How far it has moved, in sigmas."""
        return (self.level - self.centre) / self.sigma

    @property
    def side(self) -> int:
        """-1 or 1 when it has moved for certain, whether or not it is beyond a limit; 0 when it has not."""
        if self.out:
            return self.out
        return 0 if abs(self.z) < 3 * self.error else (1 if self.z > 0 else -1)

    @property
    def change(self) -> float:
        """Relative change; 0 when the centre is 0."""
        return self.level / self.centre - 1 if self.centre else 0.0


class Charts:
    """All charts of one recipe. The order of the arrays is that of ``keys``; a missing value is NaN."""

    def __init__(self, keys: Sequence[Key] = (), learn: int = LEARN) -> None:
        self.learn = learn
        self.keys: list[Key] = []
        self._index: dict[Key, int] = {}
        self._turns = np.zeros(0, np.bool_)
        self._learned = np.zeros((learn, 0))
        self.count = np.zeros(0, np.int64)  # good parts learned from
        self.centre: Values = np.zeros(0)
        self.sigma: Values = np.zeros(0)  # NaN while learning
        self.reach: Values = np.zeros(0)  # the drift chart's limit, in sigmas
        self.average: Values = np.zeros(0)  # of the drift chart, in sigmas
        self.run = np.zeros(0, np.int64)  # parts in a row beyond the jump's limit, with their side's sign
        self.out = np.zeros(0, np.int64)  # -1, 0, 1
        self._series = np.zeros((SERIES, 0))
        self._parts = 0
        self._grow(keys)

    def _grow(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._index[key] = len(self.keys)
            self.keys.append(key)
        more = len(keys)

        def wider(array: NDArray[Any], fill: float) -> NDArray[Any]:
            new = np.full((*array.shape[:-1], more), fill, array.dtype)
            return np.concatenate((array, new), axis=-1)

        self._turns = np.array([KINDS[key.what].turns for key in self.keys], np.bool_)
        self._learned, self._series = wider(self._learned, np.nan), wider(self._series, np.nan)
        self.count, self.run, self.out = wider(self.count, 0), wider(self.run, 0), wider(self.out, 0)
        self.centre, self.sigma = wider(self.centre, np.nan), wider(self.sigma, np.nan)
        self.average, self.reach = wider(self.average, 0.0), wider(self.reach, DRIFT_SIGMA)

    def __contains__(self, key: Key) -> bool:
        return key in self._index

    # --- a part ----------------------------------------------------------------------------------------
    def add(self, values: Mapping[Key, float], good: bool) -> bool:
        """One part; ``good``: it may be learned from. True when any chart is out or has just come back."""
        strange = [key for key in values if key not in self._index]
        if strange:
            self._grow(strange)
        row = np.full(len(self.keys), np.nan)
        for key, value in values.items():
            row[self._index[key]] = value
        return self.step(row, good)

    def step(self, row: Values, good: bool) -> bool:
        """The same with the values in the order of ``keys``."""
        seen = np.isfinite(row)
        row = np.where(seen, row, np.nan)
        self._series[self._parts % SERIES] = row
        self._parts += 1
        ready = np.isfinite(self.sigma)
        if good and not ready.all():
            self._learn(row, seen & ~ready)
        judged = seen & ready
        if not judged.any():
            return False
        z = self._away(row - self.centre) / np.where(ready, self.sigma, 1.0)
        cut = np.clip(z, -CUT_SIGMA, CUT_SIGMA)
        self.average = np.where(judged, self.average + WEIGHT * (cut - self.average), self.average)
        beyond = (z > JUMP_SIGMA).astype(np.int64) - (z < -JUMP_SIGMA)
        self.run = np.where(judged, np.where(self.run * beyond > 0, self.run + beyond, beyond), self.run)
        drift = (self.average > self.reach).astype(np.int64) - (self.average < -self.reach)
        now = np.where(np.abs(self.run) >= JUMP_RUN, np.sign(self.run), drift)
        stays = (np.abs(self.average) > CALM * self.reach) | (self.run != 0)
        before = self.out
        self.out = np.where(now != 0, now, np.where(stays, before, 0))
        return bool(self.out.any() or before.any())

    def _away(self, difference: Values) -> Values:
        if self._turns.any():
            turned = (difference + 180.0) % 360.0 - 180.0
            return np.where(self._turns, turned, difference)
        return difference

    # --- learning --------------------------------------------------------------------------------------
    def _learn(self, row: Values, which: NDArray[np.bool_]) -> None:
        at = np.flatnonzero(which)
        self._learned[self.count[at], at] = row[at]
        self.count[at] += 1
        for column in at[self.count[at] >= self.learn]:
            self._finish(int(column))

    def _finish(self, column: int) -> None:
        """Centre and spread from the learned parts, neither moved by a few odd ones.

        The larger of two estimates of sigma: the median deviation, which is blind to two sorts of parts, and the
        width of the middle 95 %, which is not. The centre is a mean, cut off as the drift's average is: the median
        of a lopsided characteristic is not where its average settles.
        """
        values = self._learned[:, column]
        kind = KINDS[self.keys[column].what]
        if kind.turns:
            values = values[0] + (values - values[0] + 180.0) % 360.0 - 180.0
        low, middle, high = (float(q) for q in np.quantile(values, (0.025, 0.5, 0.975)))
        deviation = 1.4826 * float(np.median(np.abs(values - middle)))
        sigma = max(deviation, (high - low) / 3.92, kind.floor, kind.floor_share * abs(middle), 1e-9)
        centre = middle + sigma * float(np.clip((values - middle) / sigma, -CUT_SIGMA, CUT_SIGMA).mean())
        self.centre[column], self.sigma[column] = centre, sigma
        self.reach[column] = _reach((values - centre) / sigma)
        self._learned[:, column] = np.nan

    def forget(self) -> None:
        """Learn anew from the next good parts. What was seen stays in the series."""
        self._learned[:] = np.nan
        self.count[:], self.run[:], self.out[:] = 0, 0, 0
        self.centre[:], self.sigma[:], self.average[:], self.reach[:] = np.nan, np.nan, 0.0, DRIFT_SIGMA

    @property
    def ready(self) -> bool:
        """Every chart has learned."""
        return bool(self.keys) and bool(np.isfinite(self.sigma).all())

    @property
    def wandered(self) -> list[Key]:
        """Charts whose limits are wide because the characteristic wandered while it was learned."""
        return [self.keys[n] for n in np.flatnonzero(self.reach > DRIFT_SIGMA)]

    @property
    def learned_parts(self) -> int:
        """Good parts that the slowest chart has learned from."""
        return int(self.count.min()) if self.keys else 0

    # --- looking ---------------------------------------------------------------------------------------
    def series(self, key: Key, last: int = SERIES) -> Values:
        """The latest values, oldest first; NaN where a part had none."""
        held = min(self._parts, SERIES, last)
        rows = np.arange(self._parts - held, self._parts) % SERIES
        values: Values = self._series[rows, self._index[key]]
        return values

    def reading(self, key: Key, window: int = WINDOW) -> Reading | None:
        """Where it lies now, by the last ``window`` parts that had a value; None while learning."""
        at = self._index[key]
        if not np.isfinite(self.sigma[at]):
            return None
        values = self.series(key, window)
        values = values[np.isfinite(values)]
        centre, sigma = float(self.centre[at]), float(self.sigma[at])
        away = values - centre
        if self._turns[at]:
            away = (away + 180.0) % 360.0 - 180.0
        moved = float(np.median(away)) if len(away) else 0.0
        if abs(moved) < CUT_SIGMA * sigma and len(away):  # the median of two sorts of parts is either sort
            moved = float(np.clip(away, -CUT_SIGMA * sigma, CUT_SIGMA * sigma).mean())
        return Reading(key, centre, sigma, centre + moved, 1.1 / max(len(away), 1) ** 0.5, int(self.out[at]))

    def window(self, keys: Sequence[Key]) -> int:
        """How many of the latest parts are alike: few just after a jump, else ``WINDOW``."""
        runs = np.abs(self.run[[self._index[key] for key in keys]])
        longest = int(runs.max(initial=0))
        return min(longest, WINDOW) if longest >= JUMP_RUN else WINDOW

    # --- over a restart --------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """What was learned, and what is being learned."""
        charts = []
        for n, key in enumerate(self.keys):
            done = np.isfinite(self.sigma[n])
            learned = {"centre": float(self.centre[n]), "sigma": float(self.sigma[n]), "reach": float(self.reach[n])}
            values = self._learned[: self.count[n], n].tolist()
            charts.append({"key": list(key), **(learned if done else {"values": values})})
        return {"learn": self.learn, "charts": charts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Charts:
        """What :meth:`to_json` gave. Raises ValueError, KeyError or TypeError for anything else."""
        learn = int(data["learn"])
        if not 2 <= learn <= 100_000:
            raise ValueError(f"learn: {learn}, allowed: 2 to 100000")
        keys = [Key(*map(str, chart["key"])) for chart in data["charts"]]
        if len(set(keys)) != len(keys):
            raise ValueError("a chart is there twice")
        charts = cls(keys, learn)
        for n, chart in enumerate(data["charts"]):
            if "values" in chart:
                values = np.asarray(chart["values"], np.float64)
                if values.ndim != 1 or len(values) >= learn or not np.isfinite(values).all():
                    raise ValueError(f"{keys[n]}: not {learn - 1} values at most")
                charts._learned[: len(values), n] = values
                charts.count[n] = len(values)
            else:
                centre, sigma, reach = (float(chart[name]) for name in ("centre", "sigma", "reach"))
                if not (np.isfinite(centre) and np.isfinite(sigma) and sigma > 0 and 0 < reach <= REACH_MAX_SIGMA):
                    raise ValueError(f"{keys[n]}: centre {centre}, sigma {sigma}, reach {reach}")
                charts.centre[n], charts.sigma[n], charts.reach[n] = centre, sigma, reach
                charts.count[n] = learn
        return charts


def _reach(z: Values) -> float:
    """The drift chart's limit, in sigmas: wider when the average of the learned parts wanders."""
    average, squares = 0.0, 0.0
    for value in np.clip(z, -CUT_SIGMA, CUT_SIGMA).tolist():
        average += WEIGHT * (value - average)
        squares += average * average
    wander = WIDTH * (squares / len(z)) ** 0.5
    return float(min(wander, REACH_MAX_SIGMA)) if wander > WANDERS * DRIFT_SIGMA else DRIFT_SIGMA
