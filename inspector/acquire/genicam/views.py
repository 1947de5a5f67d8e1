"""The settings of each planned shot: programmed into the camera's sequencer where it has one, else written before it.

A plan's shots differ from the camera file in exposure, gain and which light is on; everything they do not name is as
the camera file (or the user set they share) has it. What a camera will not take is found when the plan is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from inspector.acquire.camera import SettingsError
from inspector.acquire.features import Value, same, split
from inspector.acquire.genicam.nodes import Nodes
from inspector.wire import Shot

ON, OFF = "ExposureActive", "Off"
_LIGHT = "LineSource[LineSelector={}]"
_SET_TRIGGERS = ("FrameStart", "ExposureStart", "ExposureEnd", "FrameEnd", "ExposureActive")


class Views:
    """One camera's plan. Streaming is stopped for :meth:`begin` and :meth:`end`; all raise ValueError."""

    def __init__(self, nodes: Nodes, shots: Sequence[Shot]) -> None:
        self._nodes = nodes
        lights = sorted({shot.light for shot in shots if shot.light})
        self._base = {key: _read(nodes, key) for key in self._keys(shots, lights)}
        self._wanted = [self._of(shot, lights) for shot in shots]
        self._now = dict(self._base)
        self.sequenced = False
        self.sets: tuple[int, ...] = ()  # by shot: the sequencer's first set for it

    @staticmethod
    def _keys(shots: Sequence[Shot], lights: Sequence[str]) -> list[str]:
        keys = [_LIGHT.format(light) for light in lights]
        if any(shot.exposure_us is not None for shot in shots):
            keys.append("ExposureTime")
        if any(shot.gain_db is not None for shot in shots):
            keys.append("Gain")
        return keys

    def _of(self, shot: Shot, lights: Sequence[str]) -> dict[str, Value]:
        wanted = dict(self._base)
        for key, value in (("ExposureTime", shot.exposure_us), ("Gain", shot.gain_db)):
            if value is not None:
                wanted[key] = value
        return {**wanted, **{_LIGHT.format(light): ON if light == shot.light else OFF for light in lights}}

    def begin(self, shots: Sequence[Shot]) -> None:
        """Prove each shot's settings and make ready for the first."""
        for number, shot in enumerate(shots):
            try:
                self._set(number)
                for key, value in self._wanted[number].items():
                    found = _read(self._nodes, key)
                    if not same(value, found):
                        raise ValueError(f"{key}: wanted {value}, found {found}")
                    self._wanted[number][key] = found  # as the camera rounds it
            except ValueError as error:
                view = f"view {shot.view}: " if shot.view else ""
                raise SettingsError(f"{view}{error}") from error
        total = sum(shot.count for shot in shots)
        if any(wanted != self._wanted[0] for wanted in self._wanted) and self._sets() >= total:
            self._program(shots)
        else:
            self._set(0)

    def _sets(self) -> int:
        """How many sets the camera's sequencer has; 0: it has none that can be used."""
        nodes = self._nodes
        needed = ("SequencerMode", "SequencerConfigurationMode", "SequencerSetSelector", "SequencerSetNext")
        if not all(nodes.has(name) and nodes.readable(name) for name in needed):
            return 0
        return len(nodes.entries("SequencerSetSelector"))

    def _program(self, shots: Sequence[Shot]) -> None:
        nodes = self._nodes
        nodes.write("SequencerMode", "Off")
        nodes.write("SequencerConfigurationMode", "On")
        places = [number for number, shot in enumerate(shots) for _ in range(shot.count)]
        for place, number in enumerate(places):
            nodes.write("SequencerSetSelector", place)
            self._set(number)
            if nodes.has("SequencerPathSelector") and nodes.writable("SequencerPathSelector"):
                nodes.write("SequencerPathSelector", 0)
            if nodes.has("SequencerTriggerSource") and nodes.writable("SequencerTriggerSource"):
                allowed = nodes.entries("SequencerTriggerSource")
                nodes.write("SequencerTriggerSource", next((s for s in _SET_TRIGGERS if s in allowed), allowed[-1]))
            nodes.write("SequencerSetNext", (place + 1) % len(places))
            nodes.write("SequencerSetSave", True)
        if nodes.has("SequencerSetStart"):
            nodes.write("SequencerSetStart", 0)
        nodes.write("SequencerConfigurationMode", "Off")
        nodes.write("SequencerMode", "On")
        self.sequenced = True
        self.sets = tuple(places.index(number) for number in range(len(shots)))

    def end(self) -> None:
        """As it was before the plan."""
        sequencer_off(self._nodes)
        self.sequenced = False
        for key, value in self._base.items():
            _write(self._nodes, key, value)

    def prepare(self, number: int) -> None:
        """Write what this shot has different from what is set now."""
        if not self.sequenced:
            self._set(number)

    def _set(self, number: int) -> None:
        for key, value in self._wanted[number].items():
            if self._now.get(key) != value:
                self._now.pop(key, None)  # unknown, should writing it fail
                _write(self._nodes, key, value)
                self._now[key] = value

    def settings(self, number: int) -> Mapping[str, Value]:
        """What this shot's own settings are, by feature."""
        return self._wanted[number]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every feature that the plan sets."""
        return tuple(self._base)

    def expected(self, key: str) -> Value | None:
        """What a feature of the camera file must hold now that the plan stands; None: as the camera file says."""
        name, selected = split(key)
        for known, value in self._now.items():
            known_name, known_selected = split(known)
            if known_name == name and (not known_selected or known_selected == selected):
                return value
        return None

    def covers(self, key: str) -> bool:
        """True for a feature that the sequencer changes picture by picture: nothing can be said about it."""
        return self.sequenced and self.expected(key) is not None


def _read(nodes: Nodes, key: str) -> Value:
    name, selected = split(key)
    try:
        for selector, entry in selected:
            nodes.select(selector, entry)
        return nodes.read(name)
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from error


def _write(nodes: Nodes, key: str, value: Value) -> None:
    name, selected = split(key)
    try:
        for selector, entry in selected:
            nodes.select(selector, entry)
        nodes.write(name, value)
    except ValueError as error:
        raise ValueError(f"{key}: wanted {value}, {error}") from error


def sequencer_off(nodes: Nodes) -> None:
    """A sequencer that is on, of an earlier plan or somebody else's, would change settings by itself."""
    for name in ("SequencerMode", "SequencerConfigurationMode"):
        with contextlib.suppress(ValueError):  # it has none, or it can't be changed and then is off
            if nodes.has(name) and nodes.readable(name) and nodes.read(name) != OFF:
                nodes.write(name, OFF)
