"""Alarms after ISA-18.2: each names its consequence and the next action, and latches until acknowledged.

States: UNACK (active), ACK (active, seen), RTN (returned to normal, not yet seen); seen and normal is gone.
A row that can't name consequence and action is an event, not an alarm, and does not belong here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from inspector.codes import Code
from inspector.station.ledger import utc_now

State = Literal["UNACK", "ACK", "RTN"]


@dataclass(frozen=True)
class Entry:
    """A row of the catalogue."""

    priority: Literal[1, 2, 3]
    code: int
    text: str
    action: str
    why: str


CATALOGUE: dict[str, Entry] = {
    "camera": Entry(
        1, Code.CAMERA_LOST, "Camera lost", "check the camera's power and cable",
        "no part can be inspected: every part is rejected until it is back"),
    "plc_link": Entry(
        1, Code.OFFLINE, "PLC link lost", "check the network switch and the broker",
        "no verdict reaches the PLC: every part is rejected"),
    "plc_listening": Entry(
        1, Code.OFFLINE, "Nobody reads the verdicts", "check that the PLC program runs and is subscribed",
        "the broker has no reader of `result`: parts pass the gate only by the PLC's own rule"),
    "plc_authorised": Entry(
        1, Code.OFFLINE, "The broker refuses this station", "check user, password and the broker's ACL",
        "verdicts are thrown away by the broker"),
    "plc_client_id": Entry(
        1, Code.OFFLINE, "Another client uses this station's client id",
        "give each client of the broker an id of its own (`plc.client_id`)",
        "the broker serves only one of them: while the other one is connected, every part is rejected"),
    "plc_other_station": Entry(
        1, Code.OFFLINE, "Another station publishes on this station's topics",
        "find the second station with this `line` and `station` and change one of them",
        "the PLC can't tell whose verdict it reads: the station is not Ready"),
    "plc_unconfirmed": Entry(
        2, Code.OFFLINE, "The broker is slow to confirm", "check the broker's load, disk and network",
        "verdicts may reach the PLC too late: late parts are rejected"),
    "judge": Entry(
        1, Code.INTERNAL_ERROR, "Judge process down", "wait 10 s; if it stays, restart the station and call support",
        "no part can be judged: every part is rejected until it is back"),
    "recipe": Entry(
        1, Code.RECIPE_INVALID, "Recipe can't run", "correct the recipe, or change to another one",
        "the station is not Ready: every part is rejected"),
    "bugs": Entry(
        1, Code.INTERNAL_ERROR, "Three parts in a row ended in an internal error", "call support; then start anew",
        "the station left Ready, because its answers can't be trusted"),
    "self_test": Entry(
        1, Code.SELF_TEST, "The self-test failed", "put right what it names; it is repeated by itself",
        "the station is not Ready: every part is rejected"),
    "self_test_overdue": Entry(
        2, Code.SELF_TEST, "The self-test is overdue", "let the line pause, or send the command selftest",
        "a fault that only it finds would be found later"),
    "golden": Entry(
        1, Code.GOLDEN_FAILED, "A golden part failed", "look at the golden part, light, lens; then show it again",
        "the station does not find what it must find: every part is rejected"),
    "golden_overdue": Entry(
        2, Code.GOLDEN_FAILED, "A golden part is to be shown", "show it: the PLC announces it with the command golden",
        "nobody has proven lately that the station finds what it must find"),
    "golden_forgotten": Entry(
        2, Code.GOLDEN_CHECK, "A golden part was awaited before the restart",
        "take it out by hand; then announce it again", "the next part is inspected as a product"),
    "plc_heartbeat": Entry(
        2, Code.OFFLINE, "The PLC's heartbeat is missing", "look whether the PLC's program runs",
        "verdicts may reach nobody who works the gate"),
    "plc_acks": Entry(
        2, Code.OFFLINE, "The PLC does not confirm verdicts", "look at the PLC's program and its link",
        "verdicts may not reach the gate in time"),
    "ledger": Entry(
        1, Code.STORAGE_FULL, "The ledger can't be written", "free disk space, or replace the disk",
        "verdicts can't be put on record: every part is rejected"),
    "ledger_damaged": Entry(
        2, Code.STORAGE_FULL, "The ledger was damaged and a new one begun", "keep the moved file for support",
        "older parts can't be searched; inspection goes on"),
    "disk_full": Entry(
        2, Code.STORAGE_FULL, "Disk full: the ledger lives on its reserve", "free disk space now",
        "a few minutes of parts still go on record; then every part is rejected"),
    "records_lost": Entry(
        2, Code.OFFLINE, "Records were given up: too many waited", "check the broker; see `inspector results export`",
        "MES and historian never hear of these parts; the ledger has them"),
    "overrun": Entry(
        2, Code.OVERRUN, "Triggers come faster than parts can be judged", "slow the line down, or simplify the recipe",
        "parts that are too many are rejected uninspected"),
    "late": Entry(
        2, Code.TIMEOUT, "Verdicts come too late", "see `inspector results show`: which step takes long",
        "late parts are rejected uninspected"),
    "same_reject": Entry(
        2, Code.DEFECT, "The same reject several times in a row", "stop the belt and look at the parts and the tool",
        "the process before this station probably makes scrap"),
    "health": Entry(
        2, Code.IMAGE_QUALITY, "The picture has changed", "look at light, lens and window; see screen 4",
        "good parts will be rejected soon, or bad ones missed"),
    "position": Entry(
        2, Code.IMAGE_QUALITY, "Parts lie elsewhere", "put fixture or camera back; see screen 4",
        "parts will leave the picture, or be measured where it is least sharp"),
    "settings": Entry(
        2, Code.IMAGE_QUALITY, "Somebody changed the camera's settings", "find who; see `inspector camera diff`",
        "parts in between may have been judged by other pictures than the recipe is made for"),
    "temperature": Entry(
        2, Code.IMAGE_QUALITY, "Camera too hot", "clean fan and filter, give it air, or lower the frame rate",
        "noise rises with the heat, and the camera may switch itself off"),
    "books": Entry(
        2, Code.NO_FRAME, "The books don't balance", "check photo-eye, trigger wire and the PLC's messages",
        "triggers, pictures and announcements differ: parts that can't be told apart are rejected uninspected"),
    "disk": Entry(
        2, Code.STORAGE_FULL, "Disk nearly full: pictures are not kept", "copy off or delete files",
        "inspection goes on; pictures of rejects are missing"),
    "outbox": Entry(
        2, Code.OFFLINE, "Records wait for the broker", "check the link to the broker",
        "nothing is lost; MES and historian lag behind"),
    "scada": Entry(
        3, Code.OFFLINE, "SCADA is not told", "check SCADA's broker and its primary host",
        "inspection goes on; SCADA is told later what it missed"),
    "archive": Entry(
        3, Code.STORAGE_FULL, "Pictures are dropped: the archive can't keep up", "keep fewer pictures of passed parts",
        "inspection goes on; some pictures are missing"),
}  # fmt: skip


@dataclass
class Alarm:
    """One alarm that is not yet history. ``id`` is its catalogue row, with ``:what`` for one of several."""

    id: str
    entry: Entry
    detail: str
    state: State
    since_utc: str
    since: float
    count: int = 1
    advice: str = ""  # what to do this time, when it is known better than the catalogue knows it

    @property
    def action(self) -> str:
        """What to do."""
        return self.advice or self.entry.action

    @property
    def text(self) -> str:
        """What is wrong, with this time's particulars."""
        return f"{self.entry.text}: {self.detail}" if self.detail else self.entry.text


@dataclass
class Alarms:
    """All alarms; ``noted(id, what, text)`` hears of every change: came, gone, acknowledged."""

    noted: Callable[[Alarm, str], None]
    _all: dict[str, Alarm] = field(default_factory=dict)

    def come(self, name: str, detail: str = "", action: str = "") -> None:
        """The condition holds. Said once, however often it is repeated; ``action`` in place of the catalogue's."""
        entry = CATALOGUE[name.partition(":")[0]]
        known = self._all.get(name)
        if known is not None and known.state != "RTN":
            known.detail, known.advice = detail or known.detail, action or known.advice
            return
        count = known.count + 1 if known else 1
        alarm = Alarm(name, entry, detail, "UNACK", utc_now(), time.monotonic(), count, action)
        self._all[name] = alarm
        self.noted(alarm, "came")

    def go(self, name: str) -> None:
        """The condition is over."""
        alarm = self._all.get(name)
        if alarm is None or alarm.state == "RTN":
            return
        if alarm.state == "ACK":
            del self._all[name]
        alarm.state = "RTN"
        self.noted(alarm, "gone")

    def acknowledge(self, name: str) -> bool:
        """Somebody has seen it. False when there is no such alarm."""
        alarm = self._all.get(name)
        if alarm is None:
            return False
        if alarm.state == "RTN":
            del self._all[name]
        elif alarm.state == "UNACK":
            alarm.state = "ACK"
        self.noted(alarm, "acknowledged")
        return True

    def holds(self, name: str) -> bool:
        """The condition holds now."""
        alarm = self._all.get(name)
        return alarm is not None and alarm.state != "RTN"

    def listed(self) -> list[Alarm]:
        """All, unacknowledged and urgent first."""
        rank = {"UNACK": 0, "RTN": 1, "ACK": 2}
        return sorted(self._all.values(), key=lambda a: (rank[a.state], a.entry.priority, -a.since))
