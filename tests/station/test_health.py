"""The health desk: what belongs to which recipe, what outlives a restart, when alarms come and go."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from inspector.parts import Health, Outcome, Pose
from inspector.station.alarms import Alarms
from inspector.station.charts import DRIFT_SIGMA, SERIES
from inspector.station.conditions import TREND_S, Temperatures
from inspector.station.health import CHARTS_BOUND, RECIPES_BOUND, REPEAT_PARTS, WAITING_BOUND, health_json
from inspector.station.ledger import Ledger
from tests.station.healthrig import Rig, verdict

LEARN = 20


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, LEARN)
    yield rig
    await rig.close()


def health(brightness: float = 150.0, view: str = "", patch: str = "picture") -> Health:
    return Health(view, patch, brightness, brightness * 0.8, 0.002, 2.0, 0.0)


async def feed(rig: Rig, count: int, *healths: Health, pose: Pose | None = None, **more: object) -> None:
    for _ in range(count):
        rig.desk.add(rig.next(healths or (health(),), pose, **more))  # type: ignore[arg-type]
        await rig.settle()


def state(rig: Rig) -> tuple[int, set[str]]:
    report = rig.desk.report()
    return report["learned"]["parts"], {c["state"] for c in report["charts"]}


async def test_it_learns_from_good_parts_alone_and_then_knows_its_limits(rig: Rig) -> None:
    assert rig.desk.report()["charts"] == [] and not rig.desk.relearn()
    await feed(rig, 5)
    await feed(rig, 7, health(40.0), outcome=Outcome.FAIL)
    await feed(rig, 3, health(40.0), outcome=Outcome.NOT_INSPECTED)
    assert state(rig) == (5, {"learning"})
    await feed(rig, LEARN - 5)
    assert state(rig) == (LEARN, {"steady"})
    report = rig.desk.report()
    assert report["learned"]["utc"] and report["recipe"] == {"number": 1, "sha": "a3f91c77"}
    chart = report["charts"][0]
    assert (chart["what"], chart["unit"], chart["centre"], chart["sigma"]) == ("brightness", "grey", 150.0, 1.5)
    assert chart["average_upper"] == pytest.approx(150 + DRIFT_SIGMA * 1.5, rel=1e-4)
    assert chart["series"][:6] == [150.0] * 5 + [40.0] and len(chart["series"]) == LEARN + 10


async def test_an_alarm_comes_once_is_brought_up_to_date_and_goes(rig: Rig) -> None:
    await feed(rig, LEARN)
    await feed(rig, 4, health(135.0))
    assert rig.said == [("health", "came")]
    assert "brightness -10.0 %" in rig.standing()["health"] and "less light" in rig.standing()["health"]
    since = rig.desk.report()["causes"][0]
    assert since["part_id"] == f"P{LEARN + 4:06d}"
    await feed(rig, REPEAT_PARTS, health(120.0))
    assert "brightness -20.0 %" in rig.standing()["health"], "the figures are today's"
    assert rig.said == [("health", "came")]
    await feed(rig, 40)
    assert rig.said == [("health", "came"), ("health", "gone")] and rig.desk.report()["causes"] == []


async def test_each_view_has_its_own_alarm(rig: Rig) -> None:
    await feed(rig, LEARN, health(150, "bright"), health(60, "dark"))
    await feed(rig, 5, health(150, "bright"), health(40, "dark"))
    assert set(rig.standing()) == {"health:dark"} and "dark" in rig.standing()["health:dark"]


async def test_the_position_is_told_in_mm_when_the_picture_is_calibrated(rig: Rig) -> None:
    await feed(rig, LEARN, pose=Pose(600.0, 400.0, 0.0))
    for _ in range(5):
        rig.desk.add(rig.next((health(),), Pose(620.0, 390.0, 1.0)), mm_per_px=0.06)
    assert "1.20 mm right, 0.60 mm up, 1.00 deg turned clockwise" in rig.standing()["position"]
    assert "health" not in rig.standing()


async def test_a_part_that_was_not_found_has_no_position_and_one_without_picture_counts_for_nothing(rig: Rig) -> None:
    await feed(rig, LEARN, pose=Pose(600.0, 400.0, 0.0))
    await feed(rig, 50, pose=None)
    rig.desk.add(verdict(999, (), None, Outcome.NOT_INSPECTED))
    assert state(rig) == (LEARN, {"steady"}) and rig.said == []
    assert len(rig.desk.report()["charts"][0]["series"]) == LEARN + 50


async def test_what_was_learned_survives_a_restart(rig: Rig, tmp_path: Path) -> None:
    await feed(rig, LEARN)
    await rig.desk.keep()
    await rig.close()
    again = Rig(tmp_path, LEARN)
    await feed(again, 1)
    assert state(again) == (LEARN, {"steady"}) and again.desk.report()["learned"]["utc"]
    await again.close()
    rig.ledger = Ledger(tmp_path / "other.db", station="top", boot="b", sim=True)
    rig.ledger.open()


async def test_learning_goes_on_after_a_restart(rig: Rig, tmp_path: Path) -> None:
    await feed(rig, LEARN - 3)
    await rig.desk.keep()
    again = Rig(tmp_path, LEARN)
    await feed(again, 1)
    assert state(again) == (LEARN - 2, {"learning"})
    await again.close()


async def test_another_revision_learns_anew_and_takes_the_place_of_the_old_one(rig: Rig) -> None:
    await feed(rig, LEARN)
    await rig.desk.keep()
    await feed(rig, 1, sha="b" * 8)
    assert state(rig) == (1, {"learning"})
    await rig.desk.keep()
    text = await rig.ledger.meta("health 1")
    assert text is not None and json.loads(text)["sha"] == "b" * 8


async def test_changing_over_and_back_forgets_nothing_and_ends_the_other_recipes_alarms(rig: Rig) -> None:
    await feed(rig, LEARN)
    await feed(rig, 5, health(100.0))
    assert rig.standing()
    for number in range(2, RECIPES_BOUND + 3):  # so many that recipe 1 leaves the memory
        await feed(rig, 1, recipe=number)
        assert not rig.standing(), "the alarm was about the other recipe"
    await feed(rig, 1)
    assert state(rig) == (LEARN, {"steady"})
    await feed(rig, 5, health(100.0))
    await feed(rig, 1, recipe=2)
    assert not rig.standing()
    await feed(rig, 1, health(100.0))
    assert set(rig.standing()) == {"health"}, "what still holds is an alarm again"


async def test_learning_anew_on_request(rig: Rig) -> None:
    await feed(rig, LEARN)
    await feed(rig, 5, health(100.0))
    assert rig.desk.relearn()
    assert not rig.standing() and state(rig) == (0, {"learning"})
    await feed(rig, LEARN, health(100.0))
    assert state(rig) == (LEARN, {"steady"}) and rig.desk.report()["charts"][0]["centre"] == 100.0
    await feed(rig, 20, health(100.0))
    assert not rig.standing()


async def test_parts_that_come_while_the_ledger_is_read_are_charted_too(rig: Rig) -> None:
    for _ in range(WAITING_BOUND + 10):
        rig.desk.add(rig.next((health(),), None))
    assert not rig.desk.relearn(), "nothing to forget yet"
    await rig.settle()
    assert len(rig.desk.report()["charts"][0]["series"]) == WAITING_BOUND


@pytest.mark.parametrize("notes", ["{", "[]", '{"sha": "a3f91c77", "charts": {"learn": 20}}', '"x"', "null"])
async def test_damaged_notes_are_said_and_learned_anew(rig: Rig, notes: str, caplog: pytest.LogCaptureFixture) -> None:
    await rig.ledger.set_meta("health 1", notes)
    with caplog.at_level(logging.WARNING):
        await feed(rig, LEARN)
    assert state(rig) == (LEARN, {"steady"})
    assert "learned anew" in caplog.text


async def test_a_disk_that_does_not_answer_costs_nothing_but_the_notes(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await feed(rig, 1)
    assert rig.ledger.shut(5.0)
    rig.ledger._readers.shutdown(wait=True)
    await feed(rig, LEARN, recipe=2)
    assert state(rig) == (LEARN, {"steady"})
    monkeypatch.setattr("inspector.station.health.WRITE_LIMIT_S", 0.05)
    await rig.desk.keep()
    rig.ledger = Ledger(tmp_path / "other.db", station="top", boot="b", sim=True)
    rig.ledger.open()


async def test_a_recipe_with_too_many_patches_is_charted_in_part(rig: Rig) -> None:
    many = tuple(health(150, "", f"patch {n}") for n in range(CHARTS_BOUND // 5 + 10))
    await feed(rig, LEARN, *many)
    assert len(rig.desk.report()["charts"]) == CHARTS_BOUND
    await feed(rig, 5, *(health(100, "", h.patch) for h in many))
    assert set(rig.standing()) == {"health"}


async def test_the_report_is_json_whatever_the_numbers(rig: Rig) -> None:
    odd = Health("", "p", float("nan"), float("inf"), 0.0, 1e300, -0.0)
    await feed(rig, LEARN + 5, odd, health())
    data = json.loads(health_json(rig.desk.report(3)))
    series = {(c["patch"], c["what"]): c["series"] for c in data["charts"]}
    assert series["p", "brightness"] == [None, None, None] and series["picture", "brightness"] == [150.0] * 3
    assert all(len(c["series"]) <= SERIES for c in rig.desk.report()["charts"])
    states = {key.what: s for key, _, _, _, s in rig.desk.charted() if key.patch == "picture"}
    assert set(states.values()) == {0}


def test_temperature_alarms_at_its_limit_and_is_over_three_degrees_below() -> None:
    now = [0.0]
    alarms = Alarms(lambda alarm, what: None)
    watch = Temperatures({"top": 60.0, "side": 60.0}, alarms, lambda: now[0])

    def at(minute: float, **cameras: object) -> dict[str, str]:
        now[0] = minute * 60
        watch.check({name: {"info": {"temperature_c": t}} for name, t in cameras.items()})
        return {a.id: a.text for a in alarms.listed() if a.state != "RTN"}

    assert at(0, top=55.0, side=40.0) == {}
    assert at(5, top=60.0) == {}
    assert at(6, top=60.5) == {
        "temperature:top": "Camera too hot: top: 60.5 °C, allowed 60 °C; it was 55.0 °C 6 min ago"
    }
    assert list(at(7, top=57.1)) == ["temperature:top"]
    assert at(8, top=57.0) == {}
    assert at(9, side=None) == {} and at(9, side="hot") == {} and at(9) == {}
    for minute in np.arange(10, 10 + 3 * TREND_S / 60, 0.1):
        at(float(minute), top=50.0)
    assert "it was 50.0 °C 10 min ago" in at(40.1, top=61.0)["temperature:top"], "a trend of ten minutes, not of a day"
