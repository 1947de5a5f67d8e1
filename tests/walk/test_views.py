"""Several pictures of every part through a whole station: two lights, two shots, one verdict, all of it kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from inspector.wire import verdict_from_json
from tests.acquire.rig import COLUMNS, ROWS, write_yaml
from tests.plc.peers import wait_for
from tests.walk.harness import LIMIT_S, Walk, picture, recipe


def lit_twice(number: int, **view: Any) -> dict[str, Any]:
    """A lid that must be bright from above and dark from the side, where the mean of two shots is looked at."""
    made = recipe(number)
    above = made["compare"]["lid"]
    made["views"] = {
        "above": {"light": "Line2", **view},
        "side": {"light": "Line3", "exposure": "2 ms", "shots": 2, **view},
    }
    made["prepare"] = {"calm": {"tool": "average", "view": "side"}}
    made["compare"] = {
        "lid": {**above, "view": "above"},
        "rim": {**copy.deepcopy(above), "picture": "calm", "expect": "absent", "fail": "1500 Rim shines"},
    }
    return made


def show(walk: Walk, *, rim: bool) -> None:
    walk.control.show(0, picture(True, 1), 1, light=2)
    from_side = np.full((ROWS, COLUMNS), 60, np.uint8)
    from_side[10:100, 150:450] = 110 if rim else 30  # the exposure is longer, so that much is white
    walk.control.show(0, from_side, 1, light=3)


def test_each_part_is_judged_by_all_its_views(make_walk: Callable[..., Walk]) -> None:
    walk = make_walk(files=[lit_twice(1), recipe(2), lit_twice(3, camera="side")])
    show(walk, rim=False)
    walk.start()
    good = walk.plc.inspect(part_id="A")
    assert good["verdict"] == "PASS", good
    show(walk, rim=True)
    bad = walk.plc.inspect(part_id="B")
    assert (bad["verdict"], bad["code"]) == ("FAIL", 1500), bad

    def stored() -> set[str]:
        return {path.name.split("-", 1)[1] for path in walk.folder.glob("state/pictures/*/*/*-B-*.png")}

    wanted = {"B-top-above.png", "B-top-side-1.png", "B-top-side-2.png"}
    wait_for(lambda: stored() >= wanted, LIMIT_S, "pictures of every view")
    assert stored() == wanted
    text = next(walk.folder.glob("state/pictures/fail/*/*-B-top-side-1.json"))
    verdict = verdict_from_json(text.read_bytes())
    assert [(f.view, f.shot, f.exposure_us) for f in verdict.frames] == [
        ("above", 0, 1000.0), ("side", 0, 2000.0), ("side", 1, 2000.0),
    ]  # fmt: skip
    assert {c.step: c.view for c in verdict.checks} == {"lid": "above", "rim": "side"}
    with walk.http() as client:
        charts = client.get("/v1/health", params={"series": 0}).json()["charts"]
    assert {(c["view"], c["patch"]) for c in charts} >= {("above", "picture"), ("side", "picture")}

    # a plain recipe takes one picture again, and the views come back with theirs
    assert walk.plc.command("recipe", recipe=2)["ok"]
    walk.show(True, 2)
    assert walk.plc.inspect(part_id="C")["verdict"] == "PASS"
    assert walk.plc.command("recipe", recipe=1)["ok"]
    assert walk.plc.inspect(part_id="D")["code"] == 1500

    # views of a camera that isn't there
    refused = walk.plc.command("recipe", recipe=3)
    assert not refused["ok"] and "camera side" in refused["text"]


def test_views_without_a_camera_need_a_station_with_one(make_walk: Callable[..., Walk]) -> None:
    walk = make_walk(files=[lit_twice(1)], devices=2)
    walk.config["cameras"]["other"] = {**walk.config["cameras"]["top"], "serial": "VC0002"}
    write_yaml(walk.station_file, walk.config)
    walk.start(ready=False)
    walk.wait_status(lambda s: any("name no camera" in str(a) for a in s["alarms"]), "the refusal")
    assert not walk.status()["ready"]
