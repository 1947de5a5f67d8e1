"""The benchmark of prepare steps measures what it says."""

from __future__ import annotations

from tools.benchmarks.repeatability import PLACES_MM, VALUES, WAYS, measure, report


def test_averaging_halves_sigma_and_edges_stay_in_place() -> None:
    ways = {name: WAYS[name] for name in ("one picture", "average of 16")}
    found = measure(5, ways, PLACES_MM[:1])
    one, mean = (found[name][0] for name in ways)
    assert (one.missed, mean.missed) == (0, 0)
    assert sum(mean.sigma[v] < one.sigma[v] for v in ("bore", "slot", "share")) == 3
    assert all(abs(mean.bias[v]) < 0.05 for v in ("bore", "slot"))
    assert mean.took_ms > one.took_ms == 0.0


def test_a_merge_for_measuring_leaves_edges_where_they_are() -> None:
    ways = {name: way for name, way in WAYS.items() if "linear" in name or "gamma" in name}
    found = measure(2, ways, PLACES_MM[:1])
    linear, gamma = (abs(places[0].bias["bore"]) for places in found.values())
    assert linear < 0.05 < gamma
    assert all(places[0].sigma.keys() == VALUES.keys() for places in found.values())
    assert all(f"| {name} |" in report(found, 2) for name in ways)
