"""From a configuration to a running station: the only file that names concrete classes, and starts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from inspector.codes import Code
from inspector.config import StationConfig, load_station
from inspector.parts import InspectionFault, Outcome, Verdict
from inspector.plc import contract
from inspector.plc.link import LinkError, PlcLink
from inspector.station.alarms import Alarm, Alarms
from inspector.station.archiving import ArchiveDesk
from inspector.station.awake import Awake
from inspector.station.cameras import Cameras
from inspector.station.conditions import Temperatures
from inspector.station.control import COUNTERS_EVERY_S, Control
from inspector.station.feed import Feed
from inspector.station.health import HealthDesk
from inspector.station.judging import JudgeDesk
from inspector.station.leases import Lease
from inspector.station.ledger import Ledger, StorageFault
from inspector.station.line import Line
from inspector.station.notify import Notify
from inspector.station.outbox import Outbox
from inspector.station.recipes import RecipeFolder
from inspector.station.scada import ScadaDesk
from inspector.station.snapshot import History, Rooms, Snapshot
from inspector.wire import SettingsChanged

_log = logging.getLogger(__name__)

STOP_PARTS_S = 1.0  # for parts under way
STOP_REST_S = 0.5  # for each of: pictures, link, children, ledger
STUCK_S = 5.0  # a part that long past its deadline: something hangs, let systemd start us anew
DISK_STALL_S = 60.0
DISK_LIMIT_S = 2.0  # so long the housekeeping waits for the disk; then it looks after the others
OPEN_BOOKS_LIMIT_S = 20.0  # to close what a crash left open
LINK_PATIENCE_S = 2.0  # at the start, before its absence is an alarm
PICTURE_LIMIT_S = 2.0  # so long a record waits for the name of its part's picture
TROUBLE_OVER_S = 10.0  # no overrun, no late verdict for so long: the alarm is over


class StartError(Exception):
    """The station can't start; one sentence."""


class Station:
    """A whole station in this process, with its children."""

    def __init__(self, station_file: Path) -> None:
        """Read the configuration and make everything, start nothing. Raises FileError, StartError."""
        self.config: StationConfig = load_station(station_file)
        config = self.config
        self.boot = secrets.token_hex(2)
        self._sweep()
        self._notify = Notify()
        self._history = History()
        self._stop = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []  # as long as the station lives
        self._given_up = 0  # records, as told
        self._noting: set[int] = set()  # parts whose picture is stored, and about to be noted
        self._notes: set[asyncio.Task[None]] = set()  # short: something is noted in the ledger
        self._recipes = RecipeFolder(config.recipes)
        self._recipe_problems: list[str] = []
        self._ledger_ok_at = time.monotonic()
        self._folding: asyncio.Task[None] | None = None
        self._topics = self._make_topics()
        self.ledger = Ledger(config.state_dir / "ledger.db", station=config.station, boot=self.boot, sim=config.sim)
        self.alarms = Alarms(self._alarm)
        self.health = HealthDesk(self.ledger, self.alarms, self._note)
        self.temperatures = Temperatures({n: c.temperature_max_c for n, c in config.cameras.items()}, self.alarms)
        self.cameras = Cameras(station_file, config.cameras, config.identity, self)
        self.judge = JudgeDesk(
            cache=config.state_dir / "engines",
            backend=config.backend,
            threads=config.judge_threads,
            late=self._late,
            looked=self.health.looked,
            changed=self._judge_changed,
        )
        slots = min(c.slots for c in config.cameras.values())
        self.archive = ArchiveDesk(
            folder=config.archive.folder,
            previews=config.runtime_dir / "previews",
            budget_mb=config.archive.budget_mb,
            min_free_mb=config.archive.min_free_mb,
            # pictures under way and pictures being written share the ring
            bound=max(1, slots - config.max_in_flight - 1),
            stored=self._stored,
            shown=lambda seq: self._changed(),
            trouble=self._archive_trouble,
        )
        self.control = Control(
            config,
            ledger=self.ledger,
            cameras=self.cameras,
            judge=self.judge,
            alarms=self.alarms,
            recipes=self.recipes,
            boot=self.boot,
            changed=self._changed,
        )
        self.awake = Awake()
        self.line = Line(
            ledger=self.ledger,
            cameras=self.cameras,
            judge=self.judge,
            outlet=self.control,
            gate=self.control,
            keep=self._keep,
            show=self._show,
            max_in_flight=config.max_in_flight,
            awake=self.awake,
        )
        try:
            self.link = PlcLink(config.plc, self._topics, self.control, asyncio.get_running_loop())
        except LinkError as error:
            raise StartError(f"{station_file}: plc: {error}") from None
        self.outbox = Outbox(
            self.ledger, self.link.record, self.control.record, lambda: self.line.settled_below, self._pictures_owed
        )
        self.control.wire(self.line, self.link, self.outbox)
        self.scada = self._make_scada(station_file)
        rooms = Rooms(
            config, self.boot, self.ledger, self.cameras, self.judge, self.archive, self.alarms, self.control,
            self.line, self.link, self.outbox, self.health, self.scada,
        )  # fmt: skip
        self.snapshot = Snapshot(rooms, self._history)
        self.feed = Feed(config.feed_socket, rooms, self.snapshot, self._acknowledge)

    def _make_topics(self) -> contract.Topics:
        try:
            return contract.Topics(self.config.line, self.config.station)
        except ValueError as error:
            raise StartError(str(error)) from None

    def _make_scada(self, station_file: Path) -> ScadaDesk | None:
        if self.config.plc.sparkplug is None:
            return None
        try:
            return ScadaDesk(
                config=self.config,
                ledger=self.ledger,
                alarms=self.alarms,
                commands=self.control,
                settled_below=lambda: self.line.settled_below,
                loop=asyncio.get_running_loop(),
            )
        except (LinkError, ValueError) as error:
            raise StartError(f"{station_file}: plc: sparkplug: {error}") from None

    def _sweep(self) -> None:
        """Make the folders and remove what a killed station left behind. Raises StartError."""
        runtime = self.config.runtime_dir
        try:
            for folder in (runtime, runtime / "previews", self.config.state_dir, self.config.state_dir / "engines"):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(runtime / "station.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.lockf(self._lock, os.F_TLOCK, 0)
            for left in (*runtime.glob("ring-*"), *(runtime / "previews").glob("*.png")):
                left.unlink(missing_ok=True)
        except BlockingIOError:
            raise StartError(f"another station is running with {runtime}; stop it first") from None
        except OSError as error:
            raise StartError(f"{error.filename or runtime}: {error.strerror}") from None

    # --- a life --------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Start everything, inspect until told to stop, stop everything. Raises StartError."""
        try:
            self.ledger.open()
            if self.ledger.damaged is not None:
                self.alarms.come("ledger_damaged", str(self.ledger.damaged))
            await asyncio.wait_for(self.line.close_interrupted(), OPEN_BOOKS_LIMIT_S)
            last_recipe, _ = await self.control.restore()
            if self.scada is not None:
                await self.scada.open()
        except asyncio.TimeoutError:
            raise StartError(f"{self.config.state_dir}: the disk does not answer") from None
        except (OSError, StorageFault) as error:
            raise StartError(str(error)) from None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        try:
            self.feed.start()
        except OSError as error:
            raise StartError(f"feed {self.config.feed_socket}: {error.strerror or error}") from None
        self.cameras.start()
        self.judge.start()
        self.archive.start()
        self.link.start()
        self._keep_running("outbox", self.outbox.run)
        for name, work in self.scada.works.items() if self.scada is not None else ():
            self._keep_running(name, work)
        self._keep_running("heartbeats", self._heartbeats)
        self._keep_running("housekeeping", self._housekeeping)
        if self._notify.watchdog_s:
            watchdog_s = self._notify.watchdog_s
            self._keep_running("watchdog", lambda: self._watchdog(watchdog_s))
        if not self.ledger.checked:
            self._note("ledger check", self._check_books())
        self._note("first recipe", self._load_first(last_recipe or self.config.recipe))
        _log.info("station %s/%s started, boot %s", self.config.line, self.config.station, self.boot)
        await self._stop.wait()
        await self._shut()

    def _keep_running(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Something that goes on as long as the station lives: a bug in it is logged, and it goes on."""

        async def keep() -> None:
            while True:
                try:
                    await work()
                except Exception:
                    _log.exception("%s", name)
                await asyncio.sleep(1.0)

        self._loops.append(asyncio.create_task(keep(), name=name))

    def _note(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Something short beside the walks; a bug in it is logged."""

        def ended(task: asyncio.Task[None]) -> None:
            self._notes.discard(task)
            if not task.cancelled() and task.exception() is not None:
                _log.error("%s", name, exc_info=task.exception())

        task = asyncio.create_task(work, name=name)
        self._notes.add(task)
        task.add_done_callback(ended)

    async def _load_first(self, number: int) -> None:
        path = self.recipes().get(number)
        if path is None:
            self.control.changeover.no_recipe(f"there is no recipe {number} in {self.config.recipes}")
        else:
            await self.control.changeover.first(number, path, self._started)
        gc.freeze()  # what is here now stays: no collection looks through it again while a part waits
        self._started()

    def _started(self) -> None:
        self._notify.send(READY=1, STATUS=self._status_line())

    async def _shut(self) -> None:
        _log.info("stopping")
        self._notify.send(STOPPING=1)
        self.control.shut()
        await self.line.stop(STOP_PARTS_S)
        await self.archive.finish(STOP_REST_S / 2)
        for task in (*self._loops, *self._notes):
            task.cancel()
        if self.line.unwritten:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.line.rewrite(), STOP_REST_S)
        await self.link.stop(contract.OFFLINE, STOP_REST_S)
        await asyncio.gather(
            *((self.scada.stop(STOP_REST_S),) if self.scada is not None else ()),
            self.feed.stop(STOP_REST_S),
            self.cameras.stop(STOP_REST_S),
            self.judge.child.stop(STOP_REST_S),
            self.archive.child.stop(STOP_REST_S),
            return_exceptions=True,
        )
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.health.keep(), STOP_REST_S)
        clean = not self.line.unwritten and not self.line.unrecorded
        if not await asyncio.to_thread(self.ledger.shut, STOP_REST_S, clean=clean):
            _log.error("the disk did not answer in time; the ledger recovers at the next start")
        self.awake.close()
        os.close(self._lock)
        _log.info("stopped")

    # --- what goes on beside the walks ---------------------------------------------------------------
    async def _heartbeats(self) -> None:
        while True:
            self.control.heartbeat()
            self.control.publish_state()
            await asyncio.sleep(self.config.plc.heartbeat_s)

    async def _housekeeping(self) -> None:
        last_counters = last_checkpoint = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            with contextlib.suppress(InspectionFault):
                await self.link.check()
                self.control.link_troubles(self.link.troubles)
                await self._disk_alive()
                await self.line.rewrite()
            self.judge.check()
            self.control.check()
            self._clear_old_troubles()
            self.temperatures.check(self.cameras.figures())
            if not self.link.connected and time.monotonic() - self.control.link_since > LINK_PATIENCE_S:
                self.alarms.come("plc_link", self.control.link_text)
            now = time.monotonic()
            if now - last_counters > COUNTERS_EVERY_S:
                last_counters = now
                self.control.publish_counters()
                await self.health.keep()
                with contextlib.suppress(InspectionFault, asyncio.TimeoutError):
                    await asyncio.wait_for(self.ledger.prune(self.config.keep_parts), DISK_LIMIT_S)
            if now - last_checkpoint > COUNTERS_EVERY_S * 3 or self.ledger.checkpoint_due:
                last_checkpoint = now
                if self._folding is None or self._folding.done():
                    self._folding = asyncio.create_task(self.ledger.checkpoint(), name="checkpoint")
                await asyncio.wait([self._folding], timeout=DISK_LIMIT_S)
            self._books_kept()

    def _books_kept(self) -> None:
        if self.ledger.reserve_spent:
            self.alarms.come("disk_full", "")
        else:
            self.alarms.go("disk_full")
        if self.ledger.given_up > self._given_up:
            self._given_up = self.ledger.given_up
            self.alarms.come("records_lost", f"{self._given_up} so far")
            self.alarms.go("records_lost")  # it waits until somebody has seen it

    async def _check_books(self) -> None:
        """A large ledger is checked beside the walk; a damaged one is moved aside at the next start."""
        damage = await self.ledger.check()
        if damage:
            self.alarms.come("ledger_damaged", f"found while it was in use; restart the station: {damage}")

    async def _disk_alive(self) -> None:
        """A write now and then shows that the disk takes them (again)."""
        try:
            await asyncio.wait_for(self.ledger.set_meta("alive", self.boot), DISK_LIMIT_S)
        except (asyncio.TimeoutError, StorageFault) as error:
            self.alarms.come("ledger", str(error) or "the disk does not answer")
            return
        self._ledger_ok_at = time.monotonic()
        self.alarms.go("ledger")

    def _clear_old_troubles(self) -> None:
        for name in ("overrun", "late", "books"):
            if time.monotonic() - self.control.troubled_at.get(name, 0.0) > TROUBLE_OVER_S:
                self.alarms.go(name)
        if self.outbox.depth > 1000:
            self.alarms.come("outbox", f"{self.outbox.depth} wait")
        elif self.outbox.depth < 500:
            self.alarms.go("outbox")

    async def _watchdog(self, limit_s: float) -> None:
        """Tell systemd that we live, but only while work gets done: no part hangs, the books can be written."""
        while True:
            self._notify_alive()
            await asyncio.sleep(limit_s / 4)

    def _notify_alive(self) -> None:
        stalled_s = time.monotonic() - self._ledger_ok_at
        if self.line.overdue(STUCK_S) or stalled_s > DISK_STALL_S:
            _log.error("no progress (a part overdue, or %.0f s without a write): no watchdog ping", stalled_s)
            return
        self._notify.send(WATCHDOG=1, STATUS=self._status_line())

    def _status_line(self) -> str:
        refusal = self.control.refusal()
        words = "Ready" if self.control.ready else f"not Ready: {refusal.text.splitlines()[0] if refusal else 'busy'}"
        return f"{words}; {self.control.counters().get('total', 0)} parts"

    # --- what the rooms say to each other ------------------------------------------------------------
    def recipes(self) -> dict[int, Path]:
        """Recipe files by number; what is wrong with the others is logged."""
        found, problems = self._recipes.find()
        if problems != self._recipe_problems:
            self._recipe_problems = problems
            for problem in problems:
                _log.warning("%s", problem)
        return found

    def _changed(self) -> None:
        self.feed.changed()
        if self.scada is not None:
            self.scada.changed()

    def camera_changed(self, name: str, fresh: bool, text: str) -> None:
        """See :class:`~inspector.station.cameras.Listener`."""
        if fresh:
            self.alarms.go(f"camera:{name}")
        elif not self._stop.is_set():
            named = text if f"camera {name}" in text else f"camera {name}: {text}"
            changed = "changed by someone else" in text
            action = "find who changed its settings; they are being set right" if changed else ""
            self.alarms.come(f"camera:{name}", named, action)
        self.control.changeover.look()
        self.control.publish_state()

    def settings_changed(self, name: str, change: SettingsChanged) -> None:
        """See :class:`~inspector.station.cameras.Listener`."""
        between = f"between {change.good_utc} and {change.found_utc}"
        self.alarms.come(f"settings:{name}", f"camera {name}: {'; '.join(change.differences)}; {between}")
        self.alarms.go(f"settings:{name}")  # they are set right at once; the alarm waits until somebody has seen it

    def part_arrived(self, number: int, at_ns: int) -> int:
        """See :class:`~inspector.station.cameras.Listener`."""
        return self.control.part_arrived(number, at_ns)

    def unannounced(self, text: str, number: int | None) -> None:
        """See :class:`~inspector.station.cameras.Listener`."""
        self.control.unannounced(text, number)

    def unbalanced(self, text: str) -> None:
        """See :class:`~inspector.station.cameras.Listener`."""
        if self.control.refusal() is None or self.cameras.out_of_step:  # also while parts are too many
            if self.alarms.holds("books"):  # told already: this one as an event of its own
                self.link.event(contract.event_payload("alarm", Code.NO_FRAME, text))
            self.control.trouble("books", text)

    def _judge_changed(self) -> None:
        if self.judge.child.up or not self.judge.child.restarts:
            self.alarms.go("judge")
        elif not self._stop.is_set():
            often = f", {self.judge.child.restarts} times so far" if self.judge.child.struggling else ""
            self.alarms.come("judge", self.judge.text + often)
        self.control.changeover.look()
        self.control.publish_state()

    def _late(self, verdict: Verdict) -> None:
        self._note(f"late {verdict.part.seq}", self.line.late(verdict))

    def _keep(self, verdict: Verdict, lease: Lease | None) -> None:
        policy: Mapping[str, int] = self.judge.loaded.keep if self.judge.loaded else {}
        self.archive.keep(verdict, lease, policy)

    def _show(self, verdict: Verdict, t_ms: int) -> None:
        if self.scada is not None:
            self.scada.verdict(verdict, t_ms)
        self._history.add(verdict, t_ms)
        if verdict.part.trigger.golden:  # it says nothing about the production
            self._changed()
            return
        self.health.told(verdict, self.judge.loaded.mm_per_px if self.judge.loaded else 0.0)
        limit = self.judge.loaded.stop_line if self.judge.loaded else 0
        code, row = self._history.same_code
        if limit and verdict.outcome is Outcome.FAIL and row >= limit:
            self.alarms.come("same_reject", f"{row} times {code}: {verdict.text}")
        elif verdict.outcome is Outcome.PASS:
            self.alarms.go("same_reject")
        self._changed()

    def _stored(self, seq: int, path: str) -> None:
        async def note() -> None:
            try:
                with contextlib.suppress(InspectionFault):  # the file is there all the same
                    await self.ledger.picture(seq, path)
            finally:
                self._noting.discard(seq)

        self._noting.add(seq)
        self._note(f"picture {seq}", note())

    def _pictures_owed(self) -> set[int]:
        return self.archive.owed(PICTURE_LIMIT_S) | self._noting

    def _archive_trouble(self, name: str, detail: str | None) -> None:
        if detail is None:
            self.alarms.go(name)
        else:
            self.alarms.come(name, detail)

    def _acknowledge(self, name: str) -> bool:
        """Somebody at the terminal has seen an alarm."""
        done = self.alarms.acknowledge(name)

        async def note() -> None:
            with contextlib.suppress(InspectionFault):
                await self.ledger.audit("terminal", "alarm acknowledged", new=name)

        if done:
            self._note(f"acknowledged {name}", note())
        return done

    def _alarm(self, alarm: Alarm, what: str) -> None:
        _log.warning("alarm %s %s: %s", alarm.id, what, alarm.text)
        if what != "acknowledged":
            level = "alarm" if what == "came" else "info"
            text = alarm.text if what == "came" else f"over: {alarm.text}"
            self.link.event(contract.event_payload(level, alarm.entry.code, text))  # type: ignore[arg-type]

        async def note() -> None:
            with contextlib.suppress(InspectionFault):
                await self.ledger.alarm(alarm.id, what, alarm.text)

        self._note(f"alarm {alarm.id}", note())
        self._changed()


async def run_station(station_file: Path) -> None:
    """Run a station until SIGTERM or SIGINT. Raises FileError, StartError."""
    await Station(station_file).run()
