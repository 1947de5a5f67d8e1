"""How good the pictures are as pictures, part by part: charts, limits learned from good parts, alarms with a cause.

The judge measures (``Verdict.health``, ``Verdict.pose``), :mod:`charts` watches, :mod:`causes` names. Here lies what
belongs to which recipe, what outlives a restart, and when an alarm comes and goes. Lamps age and fixtures shift
slowly; the alarm is there to come before the first good part is rejected for it.

Limits are learned for each recipe from its first good parts (PASS alone) and belong to its sha: another revision
learns anew, and so does ``relearn``. Learning survives restarts and changes of the recipe.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from inspector.parts import Health, InspectionFault, Outcome, Verdict
from inspector.station.alarms import Alarms
from inspector.station.causes import Cause, Evidence, picture_cause, position_cause
from inspector.station.charts import JUMP_SIGMA, KINDS, LEARN, SERIES, Charts, Key, Reading
from inspector.station.ledger import utc_now

_log = logging.getLogger(__name__)

CHARTS_BOUND = 400  # of one recipe; more are not charted
RECIPES_BOUND = 4  # in memory; the others are in the ledger
HALVES_BOUND = 64  # verdicts without their pictures' health yet, and the other way round
WAITING_BOUND = 100  # parts that wait while a recipe's limits are read
REPEAT_PARTS = 25  # an alarm's figures are brought up to date so often
WRITE_LIMIT_S = 2.0
POSITION = ("x", "y", "angle")
LIMITS = ("centre", "sigma", "lower", "upper", "level", "average", "average_lower", "average_upper")


class Store(Protocol):
    """Where facts outlive a restart: the ledger."""

    async def set_meta(self, key: str, value: str) -> None:
        """Remember. Raises StorageFault."""
        ...

    async def meta(self, key: str) -> str | None:
        """Recall. Raises StorageFault."""
        ...


@dataclass
class _Standing:
    """An alarm's cause as it is told."""

    cause: Cause
    since_utc: str
    part_id: str


@dataclass
class _Recipe:
    """One recipe's charts."""

    number: int
    sha: str
    charts: Charts
    learned_utc: str = ""
    changed: bool = False  # not yet in the ledger
    waiting: list[Verdict] | None = None  # while the ledger is asked
    standing: dict[str, _Standing] = field(default_factory=dict)  # by alarm
    out: bytes = b""  # of the charts, when causes were last looked for
    parts: int = 0  # since then


class HealthDesk:
    """Takes every verdict; never waits and never raises for what a verdict says."""

    def __init__(
        self,
        store: Store,
        alarms: Alarms,
        spawn: Callable[[str, Coroutine[Any, Any, None]], None],
        learn: int = LEARN,
    ) -> None:
        """``spawn`` runs something short beside the walks; ``learn``: good parts that limits are learned from."""
        self._store, self._alarms, self._spawn, self._learn = store, alarms, spawn, learn
        self._recipes: OrderedDict[int, _Recipe] = OrderedDict()
        self._now: _Recipe | None = None
        self._mm_per_px = 0.0
        self._told: OrderedDict[int, tuple[Verdict, float]] = OrderedDict()
        self._looked: OrderedDict[int, tuple[Health, ...]] = OrderedDict()

    # --- a part ----------------------------------------------------------------------------------------
    def told(self, verdict: Verdict, mm_per_px: float = 0.0) -> None:
        """A verdict was told; its pictures' health comes by itself, before or after, unless nobody judged them."""
        seq = verdict.part.seq
        health = self._looked.pop(seq, None)
        if health is not None:
            self.add(replace(verdict, health=health), mm_per_px)
            return
        self._told[seq] = verdict, mm_per_px
        if len(self._told) > HALVES_BOUND:
            self._told.popitem(last=False)

    def looked(self, seq: int, health: tuple[Health, ...]) -> None:
        """How good the pictures of part ``seq`` were."""
        found = self._told.pop(seq, None)
        if found is not None:
            self.add(replace(found[0], health=health), found[1])
            return
        self._looked[seq] = health
        if len(self._looked) > HALVES_BOUND:
            self._looked.popitem(last=False)

    def add(self, verdict: Verdict, mm_per_px: float = 0.0) -> None:
        """A verdict with its pictures' health. ``mm_per_px``: of the picture that locates parts; 0: not calibrated."""
        if not verdict.health and verdict.pose is None:
            return
        self._mm_per_px = mm_per_px
        part = verdict.part
        recipe = self._recipes.get(part.recipe)
        if recipe is None or recipe.sha != part.recipe_sha:
            recipe = self._begin(part.recipe, part.recipe_sha)
        if recipe is not self._now:
            self._clear(self._now)
            self._now = recipe
            self._recipes.move_to_end(part.recipe)
        if recipe.waiting is not None:
            if len(recipe.waiting) < WAITING_BOUND:
                recipe.waiting.append(verdict)
            return
        self._chart(recipe, verdict)

    def _begin(self, number: int, sha: str) -> _Recipe:
        """Its charts are on their way from the ledger."""
        recipe = self._recipes[number] = _Recipe(number, sha, Charts(learn=self._learn), waiting=[])
        self._recipes.move_to_end(number)
        if len(self._recipes) > RECIPES_BOUND:
            _, oldest = self._recipes.popitem(last=False)
            if oldest.changed:
                self._spawn(f"health of recipe {oldest.number}", self._write(oldest))
        self._spawn(f"health of recipe {number}", self._recall(recipe))
        return recipe

    async def _recall(self, recipe: _Recipe) -> None:
        """What was learned before, when it is of this very recipe; then the parts that waited."""
        try:
            text = await self._store.meta(_name(recipe.number))
            if text is not None:
                self._restore(recipe, json.loads(text))
        except InspectionFault as fault:
            _log.warning("picture health of recipe %d: %s; it is learned anew", recipe.number, fault.text)
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("picture health of recipe %d can't be read (%s); it is learned anew", recipe.number, error)
        waiting, recipe.waiting = recipe.waiting or [], None
        for verdict in waiting:
            self._chart(recipe, verdict)

    def _restore(self, recipe: _Recipe, data: Mapping[str, Any]) -> None:
        if data["sha"] == recipe.sha and data["charts"]["learn"] == self._learn:
            recipe.charts = Charts.from_json(data["charts"])
            recipe.learned_utc = str(data["learned_utc"])

    def _chart(self, recipe: _Recipe, verdict: Verdict) -> None:
        charts = recipe.charts
        values = _values(verdict)
        room = CHARTS_BOUND - len(charts.keys)
        strange = [key for key in values if key not in charts]
        for key in strange[max(room, 0) :]:
            del values[key]
        learning = not charts.ready
        good = verdict.outcome is Outcome.PASS
        eventful = charts.add(values, good)
        if learning and good:
            recipe.changed = True
            if charts.ready:
                recipe.learned_utc = utc_now()
                _log.info("picture health of recipe %d: limits learned from %d good parts", recipe.number, self._learn)
        if eventful or recipe.standing:
            recipe.parts += 1
            out = charts.out.tobytes()
            if out != recipe.out or recipe.parts >= REPEAT_PARTS:  # a cause costs more than a part
                recipe.out, recipe.parts = out, 0
                self._judge(recipe, verdict)

    # --- alarms ----------------------------------------------------------------------------------------
    def _judge(self, recipe: _Recipe, verdict: Verdict) -> None:
        causes = self._causes(recipe.charts)
        for name in [name for name in recipe.standing if name not in causes]:
            del recipe.standing[name]
            self._alarms.go(name)
        for name, cause in causes.items():
            standing = recipe.standing.setdefault(name, _Standing(cause, utc_now(), verdict.part.trigger.part_id))
            standing.cause = cause
            self._alarms.come(name, cause.text, cause.action)

    def _causes(self, charts: Charts) -> dict[str, Cause]:
        """What is wrong, by alarm."""
        if not charts.out.any():
            return {}
        readings = [r for key in charts.keys if (r := charts.reading(key, charts.window(_kin(charts, key))))]
        place = [r for r in readings if r.key.what in POSITION]
        causes: dict[str, Cause] = {}
        moved = position_cause(place, self._mm_per_px)
        for view in dict.fromkeys(r.key.view for r in readings if r.key.what not in POSITION):
            patches: dict[str, dict[str, Reading]] = {}
            for reading in readings:
                if reading.key.view == view and reading.key.what not in POSITION:
                    patches.setdefault(reading.key.patch, {})[reading.key.what] = reading
            cause = picture_cause(Evidence(patches, moved is not None))
            if cause is not None:
                told = replace(cause, text=f"view {view}: {cause.text}") if view else cause
                causes[f"health:{view}" if view else "health"] = told
        if moved is not None:
            causes["position"] = moved
        return causes

    def _clear(self, recipe: _Recipe | None) -> None:
        """Its alarms are not about what is inspected now."""
        for name in list(recipe.standing) if recipe else []:
            self._alarms.go(name)
        if recipe is not None:
            recipe.standing.clear()
            recipe.out = b""  # what still holds when it comes back is an alarm again

    # --- what outlives a restart -----------------------------------------------------------------------
    def relearn(self) -> bool:
        """Learn the present recipe's limits anew from the next good parts. False when no part has come yet."""
        if self._now is None or self._now.waiting is not None:
            return False
        self._clear(self._now)
        self._now.charts.forget()
        self._now.learned_utc, self._now.changed = "", True
        return True

    async def keep(self) -> None:
        """Put into the ledger what has been learned since. Call it now and then."""
        for recipe in [r for r in self._recipes.values() if r.changed]:
            await self._write(recipe)

    async def _write(self, recipe: _Recipe) -> None:
        recipe.changed = False
        data = {"sha": recipe.sha, "learned_utc": recipe.learned_utc, "charts": recipe.charts.to_json()}
        try:
            text = await asyncio.to_thread(json.dumps, data)  # thousands of numbers while it is learned
            await asyncio.wait_for(self._store.set_meta(_name(recipe.number), text), WRITE_LIMIT_S)
        except (asyncio.TimeoutError, InspectionFault):
            recipe.changed = True  # the ledger's own alarm tells people

    # --- looking ---------------------------------------------------------------------------------------
    def report(self, last: int = SERIES) -> dict[str, Any]:
        """Everything that a screen shows; each chart with its latest ``last`` values, for :func:`health_json`."""
        recipe = self._now
        if recipe is None:
            return {"recipe": None, "learned": _learned(Charts(learn=self._learn), ""), "charts": [], "causes": []}
        charts = recipe.charts
        return {
            "recipe": {"number": recipe.number, "sha": recipe.sha[:12]},
            "learned": _learned(charts, recipe.learned_utc),
            "charts": [_chart(charts, n, last) for n in range(len(charts.keys))],
            "causes": [
                {
                    "alarm": name,
                    "kind": standing.cause.kind,
                    "text": standing.cause.text,
                    "action": standing.cause.action,
                    "since_utc": standing.since_utc,
                    "part_id": standing.part_id,
                }
                for name, standing in recipe.standing.items()
            ],
        }

    def charted(self) -> Iterator[tuple[Key, float, float, float, int]]:
        """For metrics: key, value, lower and upper limit, and state (-1 below, 0 within, 1 above); NaN: none yet."""
        charts = self._now.charts if self._now else Charts()
        for n, key in enumerate(charts.keys):
            value = charts.series(key, 1)
            centre, reach = float(charts.centre[n]), float(JUMP_SIGMA * charts.sigma[n])
            yield key, float(value[0]) if len(value) else np.nan, centre - reach, centre + reach, int(charts.out[n])

    @property
    def learned_parts(self) -> int:
        """Good parts that the present recipe's limits are learned from."""
        return self._now.charts.learned_parts if self._now else 0


def _name(number: int) -> str:
    """One key for each recipe's number: another revision takes its place."""
    return f"health {number}"


def _kin(charts: Charts, key: Key) -> list[Key]:
    """The charts that one physical change shows on: all of a view, or the three of the position."""
    position = key.what in POSITION
    return [k for k in charts.keys if k.view == key.view and (k.what in POSITION) == position]


def _values(verdict: Verdict) -> dict[Key, float]:
    """A verdict's measurements by chart."""
    values: dict[Key, float] = {}
    for h in verdict.health:
        for what, value in (
            ("brightness", h.brightness_grey),
            ("contrast", h.contrast_grey),
            ("sharpness", h.sharpness),
            ("noise", h.noise_grey),
            ("saturated", h.saturated_share),
        ):
            values[Key(h.view, h.patch, what)] = value
    pose = verdict.pose
    if pose is not None:
        for what, value in zip(POSITION, (pose.x_px, pose.y_px, pose.angle_deg), strict=True):
            values[Key("", "", what)] = value
    return values


def _learned(charts: Charts, utc: str) -> dict[str, Any]:
    """How far learning is, since when the limits hold, and what wandered meanwhile, so that its limits are wide."""
    wandered = list(dict.fromkeys(key.what for key in charts.wandered))
    return {"parts": charts.learned_parts, "of": charts.learn, "utc": utc, "wandered": wandered}


def _chart(charts: Charts, n: int, last: int) -> dict[str, Any]:
    key = charts.keys[n]
    learned = bool(np.isfinite(charts.sigma[n]))
    centre, sigma, average = float(charts.centre[n]), float(charts.sigma[n]), float(charts.average[n])
    state = ("low", "steady", "high")[int(charts.out[n]) + 1] if learned else "learning"
    limits: dict[str, float | None] = dict.fromkeys(LIMITS)
    reading = charts.reading(key)
    if learned and reading is not None:
        limits = {
            "centre": _short(centre),
            "sigma": _short(sigma),
            "lower": _short(centre - JUMP_SIGMA * sigma),
            "upper": _short(centre + JUMP_SIGMA * sigma),
            "level": _short(reading.level),
            "average": _short(centre + average * sigma),
            "average_lower": _short(centre - charts.reach[n] * sigma),
            "average_upper": _short(centre + charts.reach[n] * sigma),
        }
    return {
        "view": key.view,
        "patch": key.patch,
        "what": key.what,
        "unit": KINDS[key.what].unit,
        "state": state,
        "learned": int(charts.count[n]),
        **limits,
        "series": charts.series(key, last).tolist(),
    }


def health_json(report: Mapping[str, Any]) -> bytes:
    """A report as JSON, missing values null. Thousands of numbers: a thread's work, not the event loop's."""
    charts = [
        {**chart, "series": [_short(v) if np.isfinite(v) else None for v in chart["series"]]}
        for chart in report["charts"]
    ]
    return json.dumps({**report, "charts": charts}, separators=(",", ":"), allow_nan=False).encode()


def _short(value: float) -> float:
    return float(f"{value:.6g}")
