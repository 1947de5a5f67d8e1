"""Order, leases, alarms and the list of recipes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from inspector.parts import FrameRef
from inspector.station.alarms import CATALOGUE, Alarm, Alarms
from inspector.station.leases import Lease
from inspector.station.order import Order
from inspector.station.recipes import RecipeFolder


def frame(slot: int = 0, camera: str = "top", ring: str = "ring") -> FrameRef:
    return FrameRef(camera, 1, ring, slot, 1, 64, 64, "Mono8", 1.0, 0.0, 1, 1, 2)


async def test_order_is_the_order_of_triggers() -> None:
    order, told = Order(), []
    for seq in (5, 6, 7):
        order.enter(seq)

    async def part(seq: int, after: asyncio.Event) -> None:
        await after.wait()
        await order.turn(seq)
        told.append(seq)
        order.leave(seq)

    ready = {seq: asyncio.Event() for seq in (5, 6, 7)}
    tasks = [asyncio.create_task(part(seq, ready[seq])) for seq in (5, 6, 7)]
    for seq in (7, 6, 5):  # the judge may be done in any order
        ready[seq].set()
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert told == [5, 6, 7] and len(order) == 0 and order.first is None


def test_who_is_overtaken_is_told_so_and_nobody_else() -> None:
    order = Order()
    for seq in (1, 2, 3):
        order.enter(seq)
    order.overtake(2)
    assert [order.overtaken(seq) for seq in (1, 2, 3)] == [True, False, False]
    assert order.first == 1 and 2 in order and 9 not in order
    order.leave(1)
    assert not order.overtaken(1) and order.first == 2
    order.leave(9)
    assert len(order) == 2


def test_a_lease_gives_back_once_when_the_last_one_is_done() -> None:
    back: list[int] = []
    lease = Lease((frame(1), frame(2)), lambda f: back.append(f.slot))
    lease.hold()
    lease.drop()
    assert back == []
    lease.drop()
    assert back == [1, 2]
    with pytest.raises(ValueError):
        lease.hold()


def test_an_alarm_latches_until_it_is_seen_and_over() -> None:
    said: list[tuple[str, str]] = []
    alarms = Alarms(lambda alarm, what: said.append((alarm.id, what)))
    alarms.come("camera:top", "no cable")
    alarms.come("camera:top", "still no cable")
    assert said == [("camera:top", "came")]
    (alarm,) = alarms.listed()
    assert (alarm.state, alarm.text, alarm.count) == ("UNACK", "Camera lost: still no cable", 1)
    alarms.go("camera:top")
    assert alarms.listed()[0].state == "RTN" and not alarms.holds("camera:top")
    alarms.come("camera:top")
    assert (alarms.listed()[0].state, alarms.listed()[0].count) == ("UNACK", 2)
    assert alarms.acknowledge("camera:top") and alarms.listed()[0].state == "ACK" and alarms.holds("camera:top")
    assert alarms.acknowledge("camera:top")
    alarms.go("camera:top")
    assert alarms.listed() == [] and not alarms.acknowledge("camera:top")
    alarms.come("disk")
    alarms.go("disk")
    alarms.go("disk")
    assert alarms.acknowledge("disk") and alarms.listed() == []
    alarms.go("never came")


def test_the_urgent_and_unseen_come_first() -> None:
    alarms = Alarms(lambda alarm, what: None)
    for name in ("archive", "disk", "camera:top", "judge"):
        alarms.come(name)
    alarms.acknowledge("judge")
    assert [a.id for a in alarms.listed()] == ["camera:top", "disk", "archive", "judge"]
    assert isinstance(alarms.listed()[0], Alarm)


def test_every_alarm_names_consequence_and_action() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.text and entry.action and entry.why, name
        assert entry.priority in (1, 2, 3)


def test_recipes_by_number_and_what_is_wrong_with_the_others(tmp_path: Path) -> None:
    folder = RecipeFolder(tmp_path)
    files = {"a": "recipe: 1\n", "b": "recipe: 1\n", "c": "recipe: many\n", "d": "{", "e": "recipe: 7\nname: x\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "notes.txt").write_text("recipe: 3")
    found, problems = folder.find()
    assert found == {7: tmp_path / "e.yaml"}  # which of the two is recipe 1 can't be told
    assert len(problems) == 3
    assert any("b.yaml" in p and "a.yaml already" in p for p in problems)
    assert any("c.yaml:1: recipe: found many" in p for p in problems)
    (tmp_path / "c.yaml").write_text("recipe: 30\n")
    (tmp_path / "e.yaml").unlink()
    os.utime(tmp_path / "d.yaml", (1, 1))
    assert set(folder.find()[0]) == {30}
    (tmp_path / "b.yaml").unlink()
    assert folder.find()[0] == {1: tmp_path / "a.yaml", 30: tmp_path / "c.yaml"}
