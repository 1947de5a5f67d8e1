"""What screens and Prometheus read."""

from __future__ import annotations

import contextlib
import json
import stat
import time
from typing import Any

import cv2
import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from inspector.tui.health import health_from_json
from tests.plc.peers import wait_for
from tests.screens import samples
from tests.walk.harness import LIMIT_S, Walk


def keys(tree: Any) -> Any:
    """The shape of a JSON object; of a list, that of its first member."""
    if isinstance(tree, dict):
        return {key: keys(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [keys(tree[0])] if tree else []
    return ...


def test_the_status_is_what_the_screens_are_tested_with(walk: Walk) -> None:
    walk.show(False)
    walk.plc.inspect()
    walk.wait_status(lambda s: s["last"] and s["last"]["preview"], "preview")
    found = walk.status()
    wanted = samples.status(samples.bad(), alarms=samples.ALARMS)
    assert found.keys() == wanted.keys()
    for key in ("station", "recipe", "counters", "rejects_per_hour", "disk", "latency_ms"):
        assert found[key].keys() == wanted[key].keys(), key
    assert found["last"].keys() == wanted["last"].keys()
    assert keys(found["last"]["verdict"]).keys() == keys(wanted["last"]["verdict"]).keys()
    assert found["last"]["verdict"]["checks"][0].keys() == wanted["last"]["verdict"]["checks"][0].keys()
    assert found["codes"][0].keys() == wanted["codes"][0].keys()
    assert found["recent"][0].keys() == wanted["recent"][0].keys()
    for name in ("plc", "camera top", "judge", "archive"):
        assert found["links"][name].keys() == wanted["links"][name].keys()
    assert found["queues"]["in flight"].keys() == wanted["queues"]["in flight"].keys()
    assert walk.plc.command("recipe", recipe=77)["code"] == 403
    walk.control.disconnect(0)
    walk.wait_status(lambda s: s["alarms"], "an alarm")
    assert walk.status()["alarms"][0].keys() == samples.ALARMS[0].keys()
    walk.control.reconnect(0)


def test_the_health_is_what_the_screens_are_tested_with(walk: Walk) -> None:
    walk.show(True)
    walk.plc.inspect()
    with walk.http() as client:

        def health(series: str = "3") -> Any:
            return client.get("/v1/health", params={"series": series}).json()

        wait_for(lambda: health()["charts"], LIMIT_S, "charts")
        found, wanted = health(), samples.health(3)
        assert found.keys() == wanted.keys()
        for key in ("recipe", "learned"):
            assert found[key].keys() == wanted[key].keys(), key
        chart = {c["what"]: c for c in found["charts"]}
        assert list(chart) == [c["what"] for c in wanted["charts"]][:5], "and no position: the recipe locates nothing"
        assert chart["brightness"].keys() == wanted["charts"][0].keys()
        assert 20 < chart["brightness"]["series"][-1] < 235
        assert len(health("1")["charts"][0]["series"]) == 1 and health("0")["charts"][0]["series"] == []
        assert found["cameras"]["top"].keys() == wanted["cameras"]["top"].keys()
        assert found["cameras"]["top"]["settings"]["checked_utc"].startswith("20")
        assert health_from_json(json.dumps(found)).cameras["top"].temperature_c == 41.5
        for series in ("501", "-1", "many", ""):
            answer = client.get("/v1/health", params={"series": series})
            assert answer.status_code == 400 and "allowed: 0 to 500" in answer.json()["error"]
        assert client.post("/v1/health/relearn").json() == {"ok": True}
        assert health()["learned"]["parts"] == 0
        families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
        values = {s.labels["what"]: s.value for s in families["inspector_health_value"].samples}
        assert values["brightness"] == chart["brightness"]["series"][-1]


def test_events_bring_the_news_and_come_at_least_once_a_second(walk: Walk) -> None:
    with walk.http() as client, client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        seen: list[dict[str, Any]] = []
        told = walk.plc.inspect()
        for line in lines:
            if line.startswith("data: "):
                seen.append(json.loads(line[6:]))
                if seen[-1]["last"] and seen[-1]["last"]["verdict"]["part"]["seq"] == told["seq"]:
                    break
            assert len(seen) < 50
        count = 0
        for line in lines:  # a quiet station speaks all the same
            count += line == "event: status"
            if count == 2:
                break


def test_too_many_screens_are_refused_and_those_who_leave_make_room(walk: Walk) -> None:
    with contextlib.ExitStack() as screens:
        client = screens.enter_context(
            httpx.Client(
                transport=httpx.HTTPTransport(uds=str(walk.socket), limits=httpx.Limits(max_connections=40)),
                base_url="http://station",
            )
        )
        lines = []  # kept: a reader that is let go closes its connection
        for _ in range(16):
            end = time.monotonic() + LIMIT_S
            one = screens.enter_context(client.stream("GET", "/v1/events"))
            while one.status_code == 503 and time.monotonic() < end:  # one of the test before has not left yet
                time.sleep(0.05)
                one = screens.enter_context(client.stream("GET", "/v1/events"))
            assert one.status_code == 200
            lines.append(one.iter_lines())
            next(lines[-1])
        with client.stream("GET", "/v1/events") as refused:
            assert refused.status_code == 503
            assert "16 screens" in json.loads(refused.read())["error"]
        assert walk.plc.inspect()["verdict"] == "PASS"

    def room() -> bool:
        with walk.http() as client, client.stream("GET", "/v1/events") as response:
            return response.status_code == 200

    wait_for(room, LIMIT_S, "room for a screen")


def test_part_and_picture(walk: Walk) -> None:
    told = walk.plc.inspect()
    with walk.http() as client:
        part = client.get(f"/v1/parts/{told['seq']}").json()
        assert part["verdict"]["part"]["trigger"]["part_id"] == told["part_id"]
        assert (part["verdict"]["outcome"], part["late"]) == ("PASS", False)
        wait_for(lambda: client.get(f"/v1/pictures/{told['seq']}").status_code == 200, LIMIT_S, "preview")
        answer = client.get(f"/v1/pictures/{told['seq']}")
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (48, 480)
        assert float(answer.headers["X-Preview-Scale"]) == 0.375
        for path in ("/v1/parts/2000000000", f"/v1/parts/{10**30}", "/v1/pictures/2000000000", "/v1/nothing"):
            assert client.get(path).status_code == 404, path
        assert client.post("/v1/alarms/none/ack").status_code == 404


def test_an_alarm_is_acknowledged_from_a_screen(walk: Walk) -> None:
    walk.control.disconnect(0, style="Error")
    walk.wait_status(lambda s: "camera:top" in {a["id"] for a in s["alarms"] if a["state"] == "UNACK"}, "alarm")
    with walk.http() as client:
        assert client.post("/v1/alarms/camera:top/ack").json() == {"ok": True}
        assert walk.alarms()["camera:top"] == "ACK"
        walk.control.reconnect(0)
        wait_for(lambda: "camera:top" not in walk.alarms(), LIMIT_S, "the alarm's end")
    levels = [(e["level"], e["code"]) for e in walk.plc.of("event")]
    assert ("alarm", 200) in levels and ("info", 200) in levels


def test_metrics_are_prometheus(walk: Walk) -> None:
    walk.plc.inspect()
    with walk.http() as client:
        text = client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    wanted = {"inspector_parts", "inspector_ready", "inspector_queue_depth", "inspector_camera_slots_held"}
    assert wanted <= families.keys()
    parts = {s.labels["outcome"]: s.value for s in families["inspector_parts"].samples if s.name.endswith("_total")}
    assert parts["pass"] >= 1 and parts["total"] >= parts["pass"]
    up = {s.labels["link"]: s.value for s in families["inspector_link_up"].samples}
    assert up == {"plc": 1, "camera top": 1, "judge": 1, "archive": 1}
    children = {s.labels["child"] for s in families["inspector_child_rss_bytes"].samples if s.value > 1e6}
    assert children == {"camera top", "judge", "archive"}


def test_the_socket_is_for_owner_and_group(walk: Walk) -> None:
    assert stat.S_IMODE(walk.socket.stat().st_mode) == 0o660
