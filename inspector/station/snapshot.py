"""What screens and metrics show: one picture of the station, made on demand."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inspector import __version__
from inspector.parts import Outcome, Verdict
from inspector.station.ledger import PRUNED, utc_now
from inspector.wire import verdict_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inspector.config import StationConfig
    from inspector.plc.link import PlcLink
    from inspector.station.alarms import Alarms
    from inspector.station.archiving import ArchiveDesk
    from inspector.station.cameras import Cameras
    from inspector.station.control import Control
    from inspector.station.health import HealthDesk
    from inspector.station.judging import JudgeDesk
    from inspector.station.ledger import Ledger
    from inspector.station.line import Line
    from inspector.station.outbox import Outbox
    from inspector.station.scada import ScadaDesk

RECENT = 150
BUCKET_S = 300.0  # rejects are charted in steps of 5 minutes, an hour back
BUCKETS = 12


@dataclass
class Rooms:
    """Everything a snapshot looks at."""

    config: StationConfig
    boot: str
    ledger: Ledger
    cameras: Cameras
    judge: JudgeDesk
    archive: ArchiveDesk
    alarms: Alarms
    control: Control
    line: Line
    link: PlcLink
    outbox: Outbox
    health: HealthDesk
    scada: ScadaDesk | None  # None: switched off


class History:
    """The last parts, kept in memory for screens."""

    def __init__(self) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self.t_ms: deque[int] = deque(maxlen=500)
        self.last: tuple[Verdict, int] | None = None
        self.codes: dict[int, tuple[str, int]] = {}
        self._rejects: deque[float] = deque(maxlen=100_000)
        self.same_code = (0, 0)  # the last reject's code, and how many in a row

    def add(self, verdict: Verdict, t_ms: int) -> None:
        """A verdict was told."""
        self.last = (verdict, t_ms)
        self.recent.append(
            {
                "seq": verdict.part.seq,
                "part_id": verdict.part.trigger.part_id,
                "outcome": verdict.outcome.value,
                "code": verdict.code,
                "t_ms": t_ms,
                "utc": utc_now(),
            }
        )
        self.t_ms.append(t_ms)
        if verdict.outcome is Outcome.FAIL:
            self._rejects.append(time.monotonic())
            words = next((c.text for c in verdict.checks if c.code == verdict.code and c.text), verdict.text)
            words = words.partition(":")[0]  # the recipe's own, without this part's figures
            self.codes[verdict.code] = (words, self.codes.get(verdict.code, ("", 0))[1] + 1)
        if verdict.outcome is not Outcome.NOT_INSPECTED:
            code, row = self.same_code
            self.same_code = (verdict.code, row + 1 if verdict.code == code else 1)

    def rejects_per_hour(self) -> dict[str, Any]:
        """Rejects in the last hour, and in its twelve parts, oldest first."""
        now = time.monotonic()
        while self._rejects and now - self._rejects[0] > BUCKET_S * BUCKETS:
            self._rejects.popleft()
        history = [0] * BUCKETS
        for when in self._rejects:
            history[BUCKETS - 1 - min(BUCKETS - 1, int((now - when) / BUCKET_S))] += 1
        return {"now": len(self._rejects), "history": history}

    def latency_ms(self) -> dict[str, float]:
        """Median and 99th percentile of the last 500 parts, trigger received to told."""
        ordered = sorted(self.t_ms)
        if not ordered:
            return {"p50": 0.0, "p99": 0.0}
        return {"p50": float(ordered[len(ordered) // 2]), "p99": float(ordered[int(len(ordered) * 0.99)])}


class Snapshot(Collector):
    """Makes the status JSON and, as a Prometheus collector, the metrics."""

    def __init__(self, rooms: Rooms, history: History) -> None:
        self._rooms = rooms
        self._history = history
        self._started = time.monotonic()
        self._started_utc = utc_now()

    def status(self) -> dict[str, Any]:
        """The status object of ``GET /v1/status``."""
        r, h = self._rooms, self._history
        refusal = r.control.refusal()
        loaded = r.judge.loaded
        ranked = sorted(h.codes.items(), key=lambda item: -item[1][1])[:10]
        return {
            "schema": "1.0",
            "now_utc": utc_now(),
            "station": {
                "line": r.config.line,
                "id": r.config.station,
                "name": r.config.name,
                "version": __version__,
                "boot": r.boot,
                "sim": r.config.sim,
                "started_utc": self._started_utc,
                "uptime_s": round(time.monotonic() - self._started),
            },
            "state": r.control.pack_state.name,
            "state_nr": int(r.control.pack_state),
            "ready": r.control.ready,
            "code": refusal.code if refusal else 0,
            "text": refusal.text if refusal else "",
            "recipe": loaded
            and {"number": loaded.number, "rev": loaded.rev, "name": loaded.name, "sha": loaded.sha[:12]},
            "links": self.links(),
            "counters": r.control.counters(),
            "codes": [{"code": code, "text": text, "count": count} for code, (text, count) in ranked],
            "rejects_per_hour": h.rejects_per_hour(),
            "queues": self.queues(),
            "disk": {
                "free_bytes": r.archive.free_bytes,
                "used_bytes": r.archive.used_bytes,
                "budget_bytes": r.config.archive.budget_mb * 1_000_000,
            },
            "latency_ms": h.latency_ms(),
            "last": self._last(),
            "recent": list(h.recent),
            "alarms": [
                {
                    "id": a.id,
                    "priority": a.entry.priority,
                    "state": a.state,
                    "since_utc": a.since_utc,
                    "code": int(a.entry.code),
                    "text": a.text,
                    "action": a.action,
                    "why": a.entry.why,
                    "count": a.count,
                }
                for a in r.alarms.listed()
            ],
        }

    def health(self, last: int) -> dict[str, Any]:
        """The object of ``GET /v1/health``: charts with their latest ``last`` values, causes, cameras, books.

        ``books``: announcements, pulses and pictures held against each other.
        """
        r = self._rooms
        books = r.cameras.reconciled()
        return {"schema": "1.0", **r.health.report(last), "cameras": self._camera_block(), "books": books}

    def _camera_block(self) -> dict[str, dict[str, Any]]:
        r = self._rooms
        states = r.cameras.states()
        alarms = {a.id: a for a in r.alarms.listed()}
        block = {}
        for name, figures in r.cameras.figures().items():
            changed = alarms.get(f"settings:{name}")
            info = figures["info"]
            block[name] = {
                "fresh": states[name][0],
                "temperature_c": info.get("temperature_c"),
                "temperature_max_c": r.config.cameras[name].temperature_max_c,
                "settings": {
                    "checked_utc": info.get("settings_checked_utc", ""),
                    "changed": changed.detail if changed else "",
                },
                "frames": figures["frames"],
                "failures": figures["failures"],
                "strays": figures["strays"],
            }
        return block

    def _last(self) -> dict[str, Any] | None:
        if self._history.last is None:
            return None
        verdict, t_ms = self._history.last
        seq = verdict.part.seq
        preview = self._rooms.archive.preview(seq) is not None
        return {"verdict": json.loads(verdict_to_json(verdict)), "t_ms": t_ms, "late": False, "preview": preview}

    def links(self) -> dict[str, dict[str, Any]]:
        """State of everything outside the station's process, by name: ok, lost or off."""
        r, now = self._rooms, time.monotonic()

        def link(up: bool, since: float, text: str) -> dict[str, Any]:
            return {"state": "ok" if up else "lost", "since_s": round(now - since, 1), "text": text}

        links = {"plc": link(r.link.connected, r.control.link_since, r.control.link_text)}
        links["plc"]["quality"] = {
            "version": r.link.version,
            "round_trip_ms": r.link.round_trip_ms(),
            "reconnects": r.link.reconnects,
            "unacked": r.link.unacked,
            "unconfirmed": r.link.unconfirmed,
        }
        for name, (fresh, since_s, text) in r.cameras.states().items():
            links[f"camera {name}"] = {"state": "ok" if fresh else "lost", "since_s": round(since_s, 1), "text": text}
        links["judge"] = link(r.judge.ready, r.judge.since, r.judge.text)
        links["archive"] = link(r.archive.child.up, r.archive.child.since, r.archive.error)
        if r.scada is not None:
            links["scada"] = link(r.scada.session.born, r.scada.session.since, r.scada.session.text)
        return links

    def queues(self) -> dict[str, dict[str, int]]:
        """Depth, bound and drops of every queue."""
        r = self._rooms
        queues = {
            "in flight": {"depth": r.line.depth, "bound": r.line.bound, "dropped": r.line.overruns},
            "ledger": {"depth": r.ledger.depth, "bound": 1000, "dropped": r.ledger.drops},
            "outbox": {"depth": r.outbox.depth, "bound": 0, "dropped": 0},
            "archive": {"depth": r.archive.depth, "bound": r.archive.bound, "dropped": r.archive.dropped},
        }
        if r.scada is not None:
            queues["scada"] = {"depth": r.scada.depth, "bound": 0, "dropped": r.scada.drops}
        return queues

    def collect(self) -> Iterable[Metric]:
        """Prometheus metrics."""
        r = self._rooms
        parts = CounterMetricFamily("inspector_parts", "Verdicts told, by outcome.", labels=["outcome"])
        for name, value in r.ledger.counters.items():
            if not name.startswith(PRUNED):
                parts.add_metric([name.lower()], value)
        yield parts
        yield GaugeMetricFamily("inspector_ready", "1: a part that comes now would be inspected.", int(r.control.ready))
        up = GaugeMetricFamily("inspector_link_up", "1: this link is ok.", labels=["link"])
        for name, link in self.links().items():
            up.add_metric([name], int(link["state"] == "ok"))
        yield up
        depth = GaugeMetricFamily("inspector_queue_depth", "Waiting in this queue.", labels=["queue"])
        bound = GaugeMetricFamily("inspector_queue_bound", "Most that may wait; 0: the disk's size.", labels=["queue"])
        dropped = CounterMetricFamily("inspector_queue_dropped", "Dropped from this queue.", labels=["queue"])
        for name, queue in self.queues().items():
            depth.add_metric([name], queue["depth"])
            bound.add_metric([name], queue["bound"])
            dropped.add_metric([name], queue["dropped"])
        yield from (depth, bound, dropped)
        restarts = CounterMetricFamily("inspector_child_restarts", "Times a child was started again.", labels=["child"])
        memory = GaugeMetricFamily("inspector_child_rss_bytes", "Memory of a child.", labels=["child"])
        for child in (*r.cameras.children, r.judge.child, r.archive.child):
            restarts.add_metric([child.name], child.restarts)
            memory.add_metric([child.name], child.rss_bytes)
        yield from (restarts, memory)
        latency = GaugeMetricFamily("inspector_latency_ms", "Trigger received to told, last 500.", labels=["quantile"])
        for quantile, milliseconds in self._history.latency_ms().items():
            latency.add_metric([quantile], milliseconds)
        yield latency
        yield from self._cameras()
        yield from self._health()
        yield GaugeMetricFamily("inspector_archive_used_bytes", "Bytes of kept pictures.", r.archive.used_bytes)
        yield from self._plc_link()
        if r.scada is not None:
            yield CounterMetricFamily(
                "inspector_sparkplug_rebirths", "Births after the first.", r.scada.session.rebirths
            )
            yield CounterMetricFamily("inspector_sparkplug_replayed", "Verdicts told as history.", r.scada.replayed)
        yield CounterMetricFamily("inspector_untold", "Verdicts that found the link down.", r.line.untold)
        yield GaugeMetricFamily("inspector_unwritten", "Told verdicts that are not on disk yet.", r.line.unwritten)
        yield CounterMetricFamily("inspector_unrecorded", "Told verdicts the disk never took.", r.line.unrecorded)
        yield CounterMetricFamily(
            "inspector_plc_acks_missing", "Verdicts the PLC did not confirm.", r.control.watch.acks_missing
        )
        golden = r.control.golden
        yield GaugeMetricFamily("inspector_golden_ok", "0: a golden part failed or is overdue.", int(golden.ok))
        yield GaugeMetricFamily(
            "inspector_golden_age_seconds", "Since they were last found as expected; -1: never.", golden.age_s
        )
        yield GaugeMetricFamily("inspector_self_test_ok", "0: it failed.", int(not r.control.self_test.failed))

    def _plc_link(self) -> Iterable[Metric]:
        link = self._rooms.link
        yield CounterMetricFamily("inspector_plc_reconnects", "Connects after the first.", link.reconnects)
        version = GaugeMetricFamily("inspector_plc_mqtt_version", "1: this MQTT version is in use.", labels=["version"])
        for name in ("5", "3.1.1"):
            version.add_metric([name], int(link.version == name))
        yield version
        took = GaugeMetricFamily(
            "inspector_plc_round_trip_ms", "Published to confirmed by the broker, last 500.", labels=["quantile"]
        )
        for quantile, milliseconds in link.round_trip_ms().items():
            took.add_metric([quantile], milliseconds)
        yield took
        yield GaugeMetricFamily("inspector_plc_unacked", "Messages the broker is still to confirm.", link.unacked)
        yield CounterMetricFamily("inspector_plc_unconfirmed", "Messages it never confirmed.", link.unconfirmed)
        yield CounterMetricFamily(
            "inspector_plc_commands_dropped", "Commands that came too fast.", link.commands_dropped
        )

    def _cameras(self) -> Iterable[Metric]:
        frames = CounterMetricFamily("inspector_camera_frames", "Pictures that reached a part.", labels=["camera"])
        failures = CounterMetricFamily("inspector_camera_failures", "Parts without a picture.", labels=["camera"])
        strays = CounterMetricFamily("inspector_camera_strays", "Pictures of no part.", labels=["camera", "what"])
        held = GaugeMetricFamily("inspector_camera_slots_held", "Pictures somebody still looks at.", labels=["camera"])
        degrees = GaugeMetricFamily("inspector_camera_temperature_celsius", "DeviceTemperature.", labels=["camera"])
        for name, figures in self._rooms.cameras.figures().items():
            frames.add_metric([name], figures["frames"])
            failures.add_metric([name], figures["failures"])
            held.add_metric([name], figures["held"])
            for what, count in figures["strays"].items():
                strays.add_metric([name, what], count)
            if "temperature_c" in figures["info"]:
                degrees.add_metric([name], figures["info"]["temperature_c"])
        yield from (frames, failures, held, strays, degrees)

    def _health(self) -> Iterable[Metric]:
        desk, names = self._rooms.health, ["view", "patch", "what"]
        values = GaugeMetricFamily("inspector_health_value", "Of the last part's picture.", labels=names)
        limits = GaugeMetricFamily("inspector_health_limit", "Jump limits, learned.", labels=[*names, "side"])
        states = GaugeMetricFamily("inspector_health_state", "-1 too low, 0 in order, 1 too high.", labels=names)
        for key, value, lower, upper, state in desk.charted():
            if value == value:  # not NaN
                values.add_metric(list(key), value)
            if lower == lower:
                limits.add_metric([*key, "lower"], lower)
                limits.add_metric([*key, "upper"], upper)
                states.add_metric(list(key), state)
        yield from (values, limits, states)
        yield GaugeMetricFamily("inspector_health_learned_parts", "Good parts learned from.", desk.learned_parts)
