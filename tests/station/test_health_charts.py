"""The charts: quiet in control, whatever the parts' spread looks like, and quick when something really moves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inspector.station.charts import JUMP_RUN, LEARN, SERIES, Charts, Key

KEY = Key("", "picture", "brightness")
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

SPREADS: dict[str, Draw] = {
    "normal": lambda r, n: r.standard_normal(n),
    "heavy tails (t, 3 degrees of freedom)": lambda r, n: r.standard_t(3, n),
    "lopsided (exponential)": lambda r, n: r.exponential(size=n),
    "two sorts of parts": lambda r, n: r.choice([-3.0, 3.0], n) + r.standard_normal(n),
    "1 % outliers": lambda r, n: np.where(r.uniform(size=n) < 0.01, 15.0, 1.0) * r.standard_normal(n),
    "uniform": lambda r, n: r.uniform(-1, 1, n),
}


def false_alarms(draw: Draw, charts: int, parts: int) -> int:
    """So many times a chart goes out although nothing changes; each chart has learned by itself."""
    rng = np.random.default_rng(7)
    many = Charts([Key("", str(n), "brightness") for n in range(charts)])
    for _ in range(LEARN):
        many.step(100 * draw(rng, charts), True)
    assert many.ready
    count = 0
    for _ in range(parts):
        before = many.out
        many.step(100 * draw(rng, charts), True)
        count += int(((many.out != 0) & (before == 0)).sum())
    return count


@pytest.mark.parametrize("spread", SPREADS)
def test_fewer_than_one_false_alarm_in_a_million_parts(spread: str) -> None:
    assert false_alarms(SPREADS[spread], 2000, 3000) <= 6


def alike(share: float, charts: int, parts: int) -> tuple[float, float]:
    """(charts that wandered, alarms in 10^6 parts) when each part's value is so much like the one before."""
    rng = np.random.default_rng(3)
    many = Charts([Key("", str(n), "brightness") for n in range(charts)])
    row, count = 100 * rng.standard_normal(charts), 0
    for n in range(LEARN + parts):
        row = share * row + 100 * (1 - share**2) ** 0.5 * rng.standard_normal(charts)
        before = many.out
        many.step(row, True)
        count += int(((many.out != 0) & (before == 0)).sum()) if n >= LEARN else 0
    return len(many.wandered) / charts, count / charts / parts * 1e6


def test_parts_that_are_like_their_neighbours_widen_the_limits() -> None:
    assert alike(0.0, 1000, 1)[0] < 0.01, "independent parts don't"
    wandered, alarms = alike(0.8, 1000, 2000)
    assert wandered > 0.95
    assert alarms < 50, "with the limits for independent parts it would be 900"


def learned(sigma: float = 1.0, centre: float = 150.0, what: str = "brightness", seed: int = 1) -> Charts:
    rng = np.random.default_rng(seed)
    charts = Charts()
    for _ in range(LEARN):
        charts.add({KEY._replace(what=what): centre + sigma * rng.standard_normal()}, True)
    return charts


def parts_until_out(charts: Charts, values: Callable[[int], float], limit: int) -> int:
    key = charts.keys[0]
    for n in range(limit):
        charts.add({key: values(n)}, True)
        if charts.out[0]:
            return n + 1
    raise AssertionError(f"not seen within {limit} parts")


@pytest.mark.parametrize("seed", range(5))
def test_a_light_loss_of_one_percent_in_a_thousand_parts_is_seen_below_four_percent(seed: int) -> None:
    rng = np.random.default_rng(seed + 10)
    for share, limit in ((0.005, 1900), (0.02, 3700)):  # spread of single parts: half a percent, two percent
        charts = learned(150 * share, seed=seed)
        fading = lambda n, s=share: 150 * (1 - n / 100_000) * (1 + s * rng.standard_normal())  # noqa: E731
        assert parts_until_out(charts, fading, limit) > 1000
        assert charts.out[0] == -1 and charts.run[0] == 0, "a drift, not a jump"


def test_a_jump_is_seen_after_four_parts_and_single_odd_parts_are_forgiven() -> None:
    charts = learned()
    assert parts_until_out(charts, lambda n: 160.0, 10) == JUMP_RUN
    assert charts.out[0] == 1
    charts = learned()
    for n in range(400):
        charts.add({KEY: 5.0 if n % 20 < 3 else 150.0}, True)  # three black pictures in a row, again and again
        assert not charts.out.any(), n


def test_an_alarm_is_over_only_when_it_is_calm_again() -> None:
    charts = learned()
    for _ in range(50):
        charts.add({KEY: 147.0}, True)
    assert charts.out[0] == -1
    assert charts.add({KEY: 148.9}, True), "still said"
    back = 0
    while charts.out[0]:
        charts.add({KEY: 150.0}, True)
        back += 1
    assert 5 < back < 40
    assert not charts.add({KEY: 150.0}, True), "nothing more to say"


def test_a_picture_that_never_changes_does_not_alarm_on_nothing() -> None:
    charts = Charts()
    for _ in range(LEARN):
        charts.add({KEY: 150.0}, True)
    for n in range(2000):
        charts.add({KEY: 151.0 if n % 3 else 149.5}, True)
        assert not charts.out.any()


def test_only_good_parts_are_learned_from_and_all_are_charted() -> None:
    charts = Charts()
    for n in range(LEARN):
        charts.add({KEY: 150.0 + n % 2}, True)
        charts.add({KEY: 20.0}, False)
    assert charts.ready and charts.centre[0] == pytest.approx(150.5, abs=0.1)
    for _ in range(JUMP_RUN):
        charts.add({KEY: 20.0}, False)
    assert charts.out[0] == -1


def test_angles_turn_round() -> None:
    key = Key("", "", "angle")
    rng = np.random.default_rng(3)
    charts = Charts()
    for _ in range(LEARN):
        charts.add({key: (180 + rng.standard_normal() + 180) % 360 - 180}, True)
    assert abs(abs(charts.centre[0]) - 180) < 1 and charts.sigma[0] < 2
    for _ in range(100):
        charts.add({key: (180 + rng.standard_normal() + 180) % 360 - 180}, True)
        assert not charts.out.any()
    reading = charts.reading(key)
    assert reading is not None and abs(reading.z) < 1
    for _ in range(60):
        charts.add({key: -175 + rng.standard_normal()}, True)  # 5 degrees on, not 355 back
    assert charts.out[0] == 1


def test_missing_values_hold_a_chart_still_and_new_ones_may_come() -> None:
    other = KEY._replace(patch="left")
    charts = learned()
    charts.add({other: 90.0}, True)
    assert not charts.ready and charts.learned_parts == 1 and list(charts.count) == [LEARN, 1]
    average = charts.average[0]
    charts.add({KEY: float("nan"), other: float("inf")}, True)
    charts.add({}, True)
    assert charts.average[0] == average and charts.count[1] == 1
    for _ in range(LEARN - 1):
        charts.add({other: 90.0}, True)
    assert charts.ready
    assert np.isnan(charts.series(KEY, 1)).all() and charts.series(other, 2).tolist() == [90.0, 90.0]


def test_the_series_is_bounded_and_in_order() -> None:
    charts = Charts()
    for n in range(SERIES + 120):
        charts.add({KEY: float(n)}, False)
    assert charts.series(KEY).tolist() == [float(n) for n in range(120, SERIES + 120)]
    assert charts.series(KEY, 3).tolist() == [617.0, 618.0, 619.0]


def test_what_was_learned_and_what_is_being_learned_survives_a_restart() -> None:
    charts = learned()
    charts.add({Key("", "", "x"): 12.5}, True)
    again = Charts.from_json(json.loads(json.dumps(charts.to_json())))
    assert again.keys == charts.keys and again.count.tolist() == [LEARN, 1]
    assert again.centre[0] == charts.centre[0] and again.sigma[0] == charts.sigma[0]
    for _ in range(LEARN - 1):
        again.add({Key("", "", "x"): 12.5}, True)
    assert again.ready and again.centre[1] == 12.5
    again.forget()
    assert not again.ready and again.learned_parts == 0 and again.reading(KEY) is None


GOOD = learned().to_json()["charts"][0]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"learn": 1, "charts": []},
        {"learn": 200, "charts": [GOOD, GOOD]},
        {"learn": 200, "charts": [{**GOOD, "sigma": 0.0}]},
        {"learn": 200, "charts": [{**GOOD, "reach": 9.0}]},
        {"learn": 200, "charts": [{**GOOD, "centre": float("nan")}]},
        {"learn": 200, "charts": [{**GOOD, "key": ["", "p"]}]},
        {"learn": 200, "charts": [{**GOOD, "key": ["", "p", "smell"]}]},
        {"learn": 3, "charts": [{"key": list(KEY), "values": [1.0, 2.0, 3.0]}]},
        {"learn": 3, "charts": [{"key": list(KEY), "values": [[1.0], [2.0]]}]},
        {"learn": 3, "charts": [{"key": list(KEY), "values": [None]}]},
    ],
)
def test_damaged_notes_are_refused(data: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Charts.from_json(data)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from([KEY, Key("a", "", "angle"), Key("a", "b", "noise")]), st.floats(), max_size=3),
        min_size=1,
        max_size=60,
    ),
    st.integers(2, 20),
)
@example([{KEY: number} for number in (0.0, 1.2e308, 0.0, 0.0, 0.0)], 2)
def test_no_number_breaks_it(rows: list[dict[Key, float]], learn: int) -> None:
    charts = Charts(learn=learn)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest a float can be
        for row in rows:
            charts.add(row, True)
        readings = [charts.reading(key) for key in charts.keys]
    assert set(charts.out.tolist()) <= {-1, 0, 1}
    assert np.isfinite(charts.average).all()
    assert (charts.sigma[np.isfinite(charts.sigma)] > 0).all()
    assert all(reading is None or reading.side in (-1, 0, 1) for reading in readings)


@pytest.mark.alone
def test_a_part_costs_little() -> None:
    whats = ("brightness", "contrast", "sharpness", "noise", "saturated")
    keys = [Key("top", f"p{n}", w) for n in range(6) for w in whats] + [Key("", "", w) for w in ("x", "y", "angle")]
    rng = np.random.default_rng(1)
    rows = [dict(zip(keys, 100 + rng.standard_normal(len(keys)), strict=True)) for _ in range(200)]
    one = json.dumps([list(k) for k in keys] * 60)  # the same machine's pace: about 100 kB of JSON to read
    charts = Charts(keys)
    took, pace = [], []
    for _ in range(5):
        began = time.process_time()
        for row in rows:
            charts.add(row, True)
        took.append((time.process_time() - began) / len(rows))
        began = time.process_time()
        json.loads(one)
        pace.append(time.process_time() - began)
    assert min(took) < 0.5 * min(pace), (min(took), min(pace))
