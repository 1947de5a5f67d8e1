"""Saving and applying settings on a node map with all the awkwardness of real ones: limits, locks, selectors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inspector.acquire import features
from inspector.acquire.camera import SettingsError
from inspector.acquire.features import Difference, Value


class Sensor:
    """Width and OffsetX limit each other; LUTValue lies below two selectors; Gain is locked while GainAuto is on."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {"Width": 1000, "OffsetX": 0, "GainAuto": "Off", "Gain": 3.0, "Serial": "7"}
        self.values |= {"LUTSelector": "Red", "LUTIndex": 0, "UserSetDefault": "Default", "SimFault": "None"}
        self.values |= {"BigSelector": 0}
        self.table: dict[tuple[Value, Value], Value] = {(c, i): 10 * i for c in ("Red", "Blue") for i in range(3)}
        self.moved = 0

    def read(self, name: str) -> Value:
        if name == "LUTValue":
            return self.table[self.values["LUTSelector"], self.values["LUTIndex"]]
        if name == "BigTable":
            return 0
        if name not in self.values:
            raise ValueError("this camera has no such feature")
        return self.values[name]

    def write(self, name: str, value: Value) -> None:
        if name == "Width" and int(value) + int(self.values["OffsetX"]) > 1000:
            raise ValueError("allowed: less")
        if name == "OffsetX" and int(value) + int(self.values["Width"]) > 1000:
            raise ValueError("allowed: less")
        if name not in self.values and name != "LUTValue":
            raise ValueError("this camera has no such feature")
        if not self.writable(name):
            raise ValueError("it can't be written now")
        if name == "LUTValue":
            self.table[self.values["LUTSelector"], self.values["LUTIndex"]] = value
        else:
            self.values[name] = value

    def select(self, selector: str, entry: str) -> None:
        if str(self.values[selector]) != entry:
            self.moved += 1
            self.values[selector] = int(entry) if isinstance(self.values[selector], int) else entry

    def unit(self, name: str) -> str:
        return {"Width": "px", "Gain": "dB"}.get(name, "")

    def is_command(self, name: str) -> bool:
        return False

    def settings(self) -> list[str]:
        order = ["OffsetX", "Width", "Gain", "GainAuto", "Serial", "LUTValue", "UserSetDefault", "SimFault", "BigTable"]
        return order

    def writable(self, name: str) -> bool:
        return name != "Serial" and not (name == "Gain" and self.values["GainAuto"] != "Off")

    def category(self, name: str) -> str:
        return "Simulation" if name.startswith("Sim") else "ImageFormatControl"

    def selectors(self, name: str) -> Sequence[str]:
        return {"LUTValue": ["LUTSelector", "LUTIndex"], "BigTable": ["BigSelector"]}.get(name, [])

    def entries(self, name: str) -> Sequence[str]:
        entries = {"LUTSelector": ["Red", "Blue", "Green"], "LUTIndex": ["0", "1", "2"]}
        return entries.get(name) or [str(n) for n in range(4096)]


def test_all_that_can_be_set_is_saved_with_its_selectors() -> None:
    sensor = Sensor()
    sensor.select("LUTSelector", "Blue")
    # Green is an entry this camera lists and has no table for
    sensor.table |= {("Green", i): 0 for i in ()}
    sensor.read_ = sensor.read  # type: ignore[attr-defined]

    def read(name: str) -> Value:
        try:
            return sensor.read_(name)  # type: ignore[attr-defined,no-any-return]
        except KeyError:
            raise ValueError("not available") from None

    sensor.read = read  # type: ignore[method-assign]
    found = features.saved(sensor)
    assert list(found)[:4] == ["OffsetX", "Width", "Gain", "GainAuto"]
    assert found["LUTValue[LUTSelector=Blue,LUTIndex=2]"] == 20 and len(found) == 4 + 6
    assert sensor.values["LUTSelector"] == "Blue" and sensor.values["LUTIndex"] == 0  # as it stood


def test_what_limits_each_other_is_set_in_a_second_pass() -> None:
    sensor = Sensor()
    wanted: dict[str, Value] = {"OffsetX": 600, "Width": 400, "LUTValue[LUTSelector=Red,LUTIndex=1]": 5}
    assert features.applied(sensor, wanted) == [] and sensor.values["OffsetX"] == 600
    assert sensor.table["Red", 1] == 5 and features.differing(sensor, wanted) == []
    assert features.applied(sensor, {"OffsetX": 0, "Width": 1000}) == []


def test_a_lock_that_the_file_itself_opens() -> None:
    sensor = Sensor()
    sensor.values["GainAuto"] = "Continuous"
    assert features.applied(sensor, {"Gain": 9.0, "GainAuto": "Off"}) == []
    assert sensor.values["Gain"] == 9.0


def test_what_is_as_wanted_need_not_be_writable() -> None:
    assert features.applied(Sensor(), {"Serial": "7"}) == []
    assert features.applied(Sensor(), {"Serial": "8"}) == [
        Difference("Serial", "8", None, why="it can't be written now")
    ]


def test_every_trouble_is_in_one_sentence() -> None:
    with pytest.raises(SettingsError) as caught:
        features.apply(Sensor(), {"Width": 2000, "Nothing": 1})
    assert str(caught.value) == "Width: wanted 2000, allowed: less; Nothing: wanted 1, this camera has no such feature"


def test_looking_moves_no_selector_for_good() -> None:
    sensor = Sensor()
    wanted: dict[str, Value] = {"LUTValue[LUTSelector=Blue,LUTIndex=1]": 11, "Gain": 4}
    assert [str(d) for d in features.differing(sensor, wanted)] == [
        "LUTValue[LUTSelector=Blue,LUTIndex=1]: wanted 11, found 10",
        "Gain: wanted 4, found 3.0",
    ]
    assert (sensor.values["LUTSelector"], sensor.values["LUTIndex"]) == ("Red", 0) and sensor.moved == 4


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        (1000, 1004.0, True),
        (1000, 1006.0, False),
        (True, 1, False),
        (3, 3, True),
        ("On", "On", True),
        (0.0, 1e-9, True),
    ],
)
def test_equal_as_far_as_a_camera_can(wanted: Value, found: Value, same: bool) -> None:
    assert features.same(wanted, found) == same
