"""A whole station whose camera gets hot, whose lens is knocked and whose light goes: named, while it inspects on."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.station.charts import LEARN
from tests.plc.peers import wait_for
from tests.walk.harness import LIMIT_S, Walk


def alarm(walk: Walk, name: str) -> dict[str, Any]:
    return next((a for a in walk.status()["alarms"] if a["id"] == name), {"state": "", "text": "", "action": ""})


def wait_alarm(walk: Walk, name: str, state: str) -> dict[str, Any]:
    walk.wait_status(lambda s: alarm(walk, name)["state"] == state, f"{name} {state or 'gone'}")
    return alarm(walk, name)


def acknowledge(walk: Walk, name: str) -> None:
    with walk.http() as client:
        assert client.post(f"/v1/alarms/{name}/ack").is_success


def temperature_c(walk: Walk) -> Any:
    with walk.http() as client:
        return client.get("/v1/health", params={"series": 0}).json()["cameras"]["top"]["temperature_c"]


def test_a_hot_camera_is_an_alarm_and_inspects_on(walk: Walk) -> None:
    walk.show(True)
    walk.control.set_temperature(0, 71.5)
    try:
        found = wait_alarm(walk, "temperature:top", "UNACK")
        assert found["text"].startswith("Camera too hot: top: 71.5 °C, allowed 70 °C")
        assert "fan" in found["action"]
        walk.plc.wait_state(ready=True, warn=True)
        assert walk.plc.inspect()["verdict"] == "PASS"
        walk.control.set_temperature(0, 68.0)
        wait_for(lambda: temperature_c(walk) == 68.0, LIMIT_S, "68 °C")
        assert alarm(walk, "temperature:top")["state"] == "UNACK", "not yet cool"
    finally:
        walk.control.set_temperature(0, 41.5)
    wait_alarm(walk, "temperature:top", "RTN")
    acknowledge(walk, "temperature:top")
    wait_alarm(walk, "temperature:top", "")


@pytest.mark.slow
def test_a_lens_out_of_focus_is_named_before_any_part_is_rejected_for_it(walk: Walk) -> None:
    with walk.http() as client:

        def health() -> Any:
            return client.get("/v1/health", params={"series": 1}).json()

        client.post("/v1/health/relearn")
        walk.show(True)
        for _ in range(LEARN):
            assert walk.plc.inspect()["verdict"] == "PASS"
        wait_for(lambda: health()["learned"]["parts"] == LEARN, LIMIT_S, "limits")
        assert {c["state"] for c in health()["charts"]} == {"steady"} and health()["causes"] == []

        walk.control.arm(0, "BadImage", count=1000, how="Blurred", amount=4)
        try:
            for _ in range(12):
                assert walk.plc.inspect()["verdict"] == "PASS", "the recipe still finds its lid"
            found = wait_alarm(walk, "health", "UNACK")
        finally:
            walk.control.arm(0, "None")
        assert "out of focus" in found["text"] and "sharpness -" in found["text"] and "lens" in found["action"]
        (cause,) = health()["causes"]
        assert cause["kind"] == "focus" and cause["part_id"]
        assert any("out of focus" in event["text"] for event in walk.plc.of("event"))
        for _ in range(40):
            walk.plc.inspect()
        wait_alarm(walk, "health", "RTN")
        acknowledge(walk, "health")

        walk.control.arm(0, "BadImage", count=1000, how="Black")
        try:
            for _ in range(6):
                assert walk.plc.inspect()["verdict"] != "PASS"
            assert "no light" in wait_alarm(walk, "health", "UNACK")["text"]
        finally:
            walk.control.arm(0, "None")
        assert client.post("/v1/health/relearn").is_success
        wait_alarm(walk, "health", "RTN")
        acknowledge(walk, "health")
