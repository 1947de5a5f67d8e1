"""What state the station is in (PackML), whether it is Ready, and what it answers to the PLC's commands."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inspector import __version__
from inspector.codes import Code
from inspector.config import StationConfig
from inspector.parts import InspectionFault, Outcome, Part, Trigger, Verdict
from inspector.plc import contract
from inspector.plc.compact import Twins, heartbeat_byte, id_complaint, parse_text, result_binary, result_text
from inspector.plc.contract import CommandError, CountCommand, PackState, StationState, TriggerCommand
from inspector.plc.link import PlcLink, Received
from inspector.station import golden as golden_room
from inspector.station.alarms import Alarms
from inspector.station.cameras import Cameras
from inspector.station.changeover import Changeover
from inspector.station.desk import FORGOTTEN, Asker, CommandDesk
from inspector.station.digest import Configuration
from inspector.station.golden import Golden
from inspector.station.judging import JudgeDesk
from inspector.station.ledger import Ledger, RecipeTag, StorageFault, Waiting, utc_now
from inspector.station.line import Line
from inspector.station.outbox import Outbox
from inspector.station.plcwatch import PlcWatch
from inspector.station.selftest import PAUSE_S, SelfTest

_log = logging.getLogger(__name__)

LINK_ALARMS = {
    "nobody_listens": "plc_listening",
    "not_authorised": "plc_authorised",
    "client_id_clash": "plc_client_id",
    "other_station": "plc_other_station",
    "no_puback": "plc_unconfirmed",
}
STATE_EVERY_S = 30.0
COUNTERS_EVERY_S = 10.0
REMEMBER_LIMIT_S = 2.0
COUNTERS = {
    "total": "total", "PASS": "pass", "FAIL": "fail", "NOT_INSPECTED": "not_inspected", "late": "late",
    "golden": "golden",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ordered(Received):
    """A command that came another way than over the PLC's link."""

    answer: Callable[[bytes], None]


class Control:
    """Gate, outlet and command desk of the station; also the link's listener."""

    def __init__(
        self,
        config: StationConfig,
        *,
        ledger: Ledger,
        cameras: Cameras,
        judge: JudgeDesk,
        alarms: Alarms,
        recipes: Callable[[], dict[int, Path]],
        boot: str,
        changed: Callable[[], None],
    ) -> None:
        """``recipes`` lists the recipe files by number; ``changed()``: something that screens show has changed."""
        self._ledger, self._cameras, self._judge, self._alarms = ledger, cameras, judge, alarms
        self.recipes = recipes
        self._identity, self._compact = config.identity, config.plc.compact
        self._station, self._boot, self._sim = config.station, boot, config.sim
        self._changed = changed
        self._link: PlcLink | None = None
        self._line: Line | None = None
        self._outbox: Outbox | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._aborted = ""
        self._shutting_down = False
        self._last_state: tuple[object, ...] = ()
        self._last_part = 0.0
        self._config_told = ""  # as `info` has it
        self._state_at = 0.0
        self._hb = 0
        self._started = time.monotonic()
        self.changeover = Changeover(
            ledger=ledger,
            cameras=cameras,
            judge=judge,
            alarms=alarms,
            configuration=Configuration(config),
            recipes=recipes,
            preload=config.preload,
            remember=self._remember,
            spawn=self.spawn,
            depth=lambda: self.depth,
            told=self._configuration_told,
        )
        self.self_test = SelfTest(
            config.self_test,
            cameras=cameras,
            judge=judge,
            ledger=ledger,
            folder=config.state_dir,
            link=self._link_complaint,
        )
        self.golden = Golden(config.golden, lambda: self.changeover.configuration.digest)
        self.watch = PlcWatch(alarms, acks_required=config.plc.acks == "required")
        self._desk = CommandDesk(self, ledger)
        self.counter_base: dict[str, int] = {}
        self.troubled_at: dict[str, float] = {}
        self.link_since = time.monotonic()
        self.link_text = "not connected yet"

    def wire(self, line: Line, link: PlcLink, outbox: Outbox) -> None:
        """Who needs this one to be made has been made."""
        self._line, self._link, self._outbox = line, link, outbox

    # --- gate ----------------------------------------------------------------------------------------
    def tag(self) -> RecipeTag:
        """The recipe that new parts get."""
        return self.changeover.tag()

    @property
    def depth(self) -> int:
        """Parts under way."""
        return self._line.depth if self._line is not None else 0

    @property
    def busy_with(self) -> str:
        """What the station does that nothing else may be begun beside, "" for nothing."""
        return self.changeover.changing or ("the self-test is running" if self.self_test.running else "")

    def refusal(self, golden: bool = False) -> InspectionFault | None:
        """Why a new part can't be inspected now; ``golden``: why not even a golden part."""
        if self._shutting_down:
            return InspectionFault(Code.NOT_READY, "the station is shutting down")
        if self._aborted:
            return InspectionFault(Code.INTERNAL_ERROR, f"stopped after internal errors: {self._aborted}")
        if self._stopped:
            return InspectionFault(Code.NOT_READY, "the station is stopped; the command start makes it Ready")
        changing = self.changeover.refusal()
        if changing is not None:
            return changing
        lost = self._cameras.lost(self._judge.loaded.cameras if self._judge.loaded else ())
        if lost:
            return InspectionFault(Code.CAMERA_LOST, lost)
        if self._cameras.out_of_step:
            return InspectionFault(Code.NO_FRAME, self._cameras.out_of_step)
        if self._alarms.holds("ledger"):
            return StorageFault("the ledger can't be written: no verdict could be put on record")
        if self._link is not None and self._link.refusal:
            return InspectionFault(Code.NOT_READY, self._link.refusal)
        return self.self_test.refusal() or (None if golden else self.golden.refusal())

    def trouble(self, what: str, detail: str) -> None:
        """Something the walk met that people should know."""
        if what == "bugs":
            self._aborted = detail
        self.troubled_at[what] = time.monotonic()
        self._alarms.come(what, detail)
        self.publish_state()

    @property
    def ready(self) -> bool:
        """A part that comes now would be inspected."""
        line = self._line
        room = line is not None and line.depth < line.bound
        return room and self.refusal() is None

    @property
    def pack_state(self) -> PackState:
        """PackML state."""
        if self._aborted:
            return PackState.ABORTED
        if self._shutting_down:
            return PackState.STOPPING
        if self._stopped:
            return PackState.STOPPED
        return PackState.EXECUTE if self._judge.loaded and not self.changeover.changing else PackState.IDLE

    # --- outlet --------------------------------------------------------------------------------------
    def tell(self, verdict: Verdict, *, dup: bool = False, t_ms: int | None = None) -> bool:
        """Publish on the control path; never kept for later. ``t_ms``: as it was; None: from the trigger to now."""
        if self._link is None:
            return False
        part = verdict.part
        received = part.trigger.received_ns
        if t_ms is None:
            t_ms = round((time.monotonic_ns() - received) / 1e6) if received else part.deadline_ms
        payload = contract.result_payload(verdict, t_ms=max(0, t_ms), dup=dup)
        twins = self._twins(verdict, max(0, t_ms), dup)
        told = self._link.result(payload, contract.result_expiry_s(part.deadline_ms), twins)
        if told and not dup:
            self.watch.told(part.seq)
        if self._outbox is not None:
            self._outbox.wake()
        return told

    def _twins(self, verdict: Verdict, t_ms: int, dup: bool) -> Twins:
        on = self._compact
        if not (on.result_c or on.result_b):
            return Twins()
        warn = self._worst_alarm() <= 2
        return Twins(
            result_text(verdict, t_ms=t_ms, dup=dup, warn=warn, id_width=on.id_width, nul_end=on.nul_end)
            if on.result_c
            else None,
            result_binary(verdict, t_ms=t_ms, dup=dup, warn=warn) if on.result_b else None,
        )

    def record(self, row: Waiting) -> bytes:
        """The record of a row of the outbox."""
        return contract.record_payload(row.verdict, t_ms=row.t_ms, late=row.late, image=Path(row.picture).name)

    # --- link listener -------------------------------------------------------------------------------
    def link_up(self) -> None:
        """Who we are, how we are, that we live: first of all, after every connect."""
        self.link_since, self.link_text = time.monotonic(), ""
        self._alarms.go("plc_link")
        self._alarms.go("plc_authorised")
        assert self._link is not None  # noqa: S101  # it has just called us
        self._tell_info()
        self._last_state = ()
        self.publish_state()
        self.heartbeat()
        self._tell_forgotten()
        if self._outbox is not None:
            self._outbox.wake()

    def _tell_forgotten(self) -> None:
        """Golden parts that were awaited before a restart: whoever announced one hears that it is none any more."""
        assert self._link is not None  # noqa: S101  # it has just called us
        forgotten, self._desk.forgotten = self._desk.forgotten, []
        for payload in forgotten:
            self._link.event(contract.event_payload("alarm", Code.GOLDEN_CHECK, f"golden: {FORGOTTEN}"))
            if not self._link.ack(payload):
                self._desk.forgotten.append(payload)
        if not self._desk.forgotten:
            self._alarms.go("golden_forgotten")

    def _tell_info(self) -> None:
        if self._link is None or not self._link.connected:
            return  # it is told after the connect
        self._config_told = self.changeover.configuration.digest
        self._link.info(
            contract.info_payload(
                version=__version__,
                serial=socket.gethostname()[:64],
                station=self._station,
                recipes=sorted(self.recipes()),
                boot=self._boot,
                config=self._config_told,
                id_max=self._compact.id_max,
            )
        )

    def link_down(self, why: str) -> None:
        """The PLC can't be reached."""
        self.link_since, self.link_text = time.monotonic(), why
        self._alarms.come("plc_link", why)
        if self._outbox is not None:
            self._outbox.link_down()
        self._changed()

    def record_acked(self, outbox_id: int, read: bool) -> None:
        """The broker has a record."""
        if self._outbox is not None:
            self._outbox.acked(outbox_id, read)

    def warning(self, what: str, text: str) -> None:
        """Something about the link that people should know."""
        name = LINK_ALARMS.get(what)
        if name is not None:
            self._alarms.come(name, text)
        else:
            _log.warning("link: %s: %s", what, text)

    def link_troubles(self, now: frozenset[str]) -> None:
        """What is wrong with the link at present; alarms about anything else are over."""
        for word, name in LINK_ALARMS.items():
            if word not in now:
                self._alarms.go(name)

    def received(self, message: Received) -> None:
        """A message on ``cmd/...``."""
        try:
            if message.name == "c" and self._compact.cmd_c:
                command = parse_text(message.payload, message.retained)
            else:
                command = contract.parse_command(message.name, message.payload, message.retained)
        except CommandError as error:
            _log.warning("command refused: %s", error.text)
            self._answer(message, error.cmd, error.cmd_id, "refused", code=error.code, text=error.text)
            if error.cmd == "trigger" and not message.retained and message.payload:
                # somebody's part stands there all the same: it gets its verdict; an empty payload is how a
                # retained message is cleared, and no part
                self._accept(message, error.part_id, "", None, InspectionFault(error.code, error.text))
            return
        if isinstance(command, TriggerCommand):
            self._trigger(message, command)
        elif isinstance(command, CountCommand):
            self._count(message, command)
        else:
            who = "sparkplug" if isinstance(message, Ordered) else "plc"
            self._desk.ask(command, Asker(who, lambda payload: self._send_ack(payload, message)))

    def order(self, name: str, payload: bytes, *, retained: bool, answer: Callable[[bytes], None]) -> None:
        """Somebody else than the PLC orders what ``cmd/<name>`` does; its acks go to ``answer`` alone."""
        self.received(Ordered(name, payload, retained, time.monotonic_ns(), utc_now(), answer=answer))

    # --- triggers ------------------------------------------------------------------------------------
    def _trigger(self, message: Received, command: TriggerCommand) -> None:
        if self._identity.mode == "counted":
            text = "trigger: this station counts parts (`identity: counted`); allowed: count"
            self._refuse(message, command, Code.BAD_COMMAND, text)
            return
        unfit = id_complaint(command.part_id, self._compact.id_width) if self._compact.result_c else ""
        if unfit:  # cut or padded it could be another part's, and a PASS would open the gate for that one
            self._refuse(message, command, Code.BAD_COMMAND, f"trigger: part_id: {unfit}")
            return
        known = self._ledger.known(command.cmd_id)
        if known is None and self._desk.knows(command.cmd_id):
            text = f"cmd_id {command.cmd_id} was used for another command before"
            self._refuse(message, command, Code.DUPLICATE_CONTENT, text)
            return
        if known is None:
            self._accept(message, command.part_id, command.cmd_id, command.deadline_ms, None)
            return
        seq, content = known
        if content == (command.part_id, command.deadline_ms):
            self.spawn(self._tell_again(seq))
            return
        text = f"cmd_id {command.cmd_id} was used for part {content[0]} before"
        self._refuse(message, command, Code.DUPLICATE_CONTENT, text)

    def _refuse(self, message: Received, command: TriggerCommand, code: Code, text: str) -> None:
        """A part stands there all the same: it has its verdict, and the command its answer."""
        self._answer(message, "trigger", command.cmd_id, "refused", code=code, text=text)
        self._accept(message, command.part_id, "", None, InspectionFault(code, text))

    def _count(self, message: Received, command: CountCommand) -> None:
        """The PLC's own count of parts: with each part, or once when the belt stands."""
        why = ""
        if self._identity.mode != "counted":
            why = "count: this station gets part ids (`identity` is not `counted`); allowed: trigger"
        elif self._cameras.makes_parts:
            why = self._cameras.set_count(command.count)
        elif not self._cameras.is_doubled(command.count):
            self._begin(
                Trigger(str(command.count), "", message.received_ns, message.received_utc, "mqtt", None, command.count)
            )
            return
        else:
            return  # the same message twice: it has its one part
        if why:
            self._answer(message, "count", command.cmd_id, "refused", code=Code.BAD_COMMAND, text=why)
        else:
            self._answer(message, "count", command.cmd_id, "done")
        self.publish_state()

    def part_arrived(self, number: int, at_ns: int) -> int:
        """A pulse made a part: it is as if its trigger had been received when it came. Returns its seq."""
        return self._begin(Trigger(str(number), "", at_ns, utc_now(), "wire", None, number)).seq

    def unannounced(self, text: str, number: int | None) -> None:
        """A pulse that no part explains: it has its row and its answer, as somebody's part may stand there."""
        if self._line is None or self.refusal() is not None:
            return  # who runs the line without the station needs no rows
        part_id = "" if number is None else str(number)
        trigger = Trigger(part_id, "", time.monotonic_ns(), utc_now(), "wire", None, number)
        self._line.trigger(trigger, InspectionFault(Code.NO_FRAME, f"Not inspected: {text}"))

    def _accept(
        self, message: Received, part_id: str, cmd_id: str, deadline_ms: int | None, refused: InspectionFault | None
    ) -> None:
        trigger = Trigger(part_id, cmd_id, message.received_ns, message.received_utc, "mqtt", deadline_ms)
        self._begin(trigger, refused)

    def _begin(self, trigger: Trigger, refused: InspectionFault | None = None) -> Part:
        """A part has come; when a golden part is awaited it is that one."""
        assert self._line is not None  # noqa: S101  # wired before link and cameras are started
        self._last_part = time.monotonic()
        trigger, armed = self.golden.claim(trigger)
        part = self._line.trigger(trigger, refused)
        self.golden.begun(part.seq, armed)
        return part

    async def _tell_again(self, seq: int) -> None:
        """The stored answer once more; while the part is under way its one answer is still to come."""
        assert self._line is not None  # noqa: S101  # wired before the link is started
        if self._line.under_way(seq):
            return  # what is on disk already may still be replaced by what is told
        verdict, t_ms = self._line.told(seq), None
        if verdict is None:
            try:
                row = await self._ledger.get(seq)
            except StorageFault as fault:
                self.trouble("ledger", fault.text)
                return
            # with the time it took then: since a restart of the computer its clock is another
            verdict, t_ms = (row.verdict, row.t_ms) if row is not None else (None, None)
        if verdict is not None:
            self.tell(verdict, dup=True, t_ms=t_ms)

    # --- golden parts and the self-test --------------------------------------------------------------
    def doubt(self) -> InspectionFault | None:
        """A golden part has failed: parts that came right behind it were judged by what it shows to be wrong."""
        return InspectionFault(Code.GOLDEN_FAILED, self.golden.failed) if self.golden.failed else None

    def golden_found(self, verdict: Verdict) -> None:
        """What was found in a golden part, after it was told as one."""
        self.golden.found(verdict)
        self._golden_alarms()
        self.spawn(self._keep_golden(verdict))
        self.publish_state()

    async def _keep_golden(self, verdict: Verdict) -> None:
        await self._remember(golden_room.MEMORY, self.golden.memory())
        try:
            await self._ledger.found(verdict)
        except StorageFault as fault:
            self.trouble("ledger", fault.text)

    def _golden_alarms(self) -> None:
        for name, text in (("golden", self.golden.failed), ("golden_overdue", self.golden.overdue)):
            if text:
                self._alarms.come(name, text)
            else:
                self._alarms.go(name)

    async def run_self_test(self) -> str:
        """Test everything now; not Ready meanwhile. Returns what failed."""
        self.self_test.running = True
        self.publish_state()
        failed = await self.self_test.run()
        if failed:
            self._alarms.come("self_test", failed)
        else:
            self._alarms.go("self_test")
        self.publish_state()
        return failed

    def check(self) -> None:
        """To be called about every second: what is due or overdue."""
        self.golden.check()
        self._golden_alarms()
        self.watch.check()
        if self.self_test.overdue:
            self._alarms.come("self_test_overdue", self.self_test.overdue)
        else:
            self._alarms.go("self_test_overdue")
        self._desk.check()
        # in a pause, or while parts are refused anyway; not when a golden part may come any moment
        pause = time.monotonic() - self._last_part > PAUSE_S or self.refusal() is not None
        if pause and not (self._shutting_down or self.busy_with or self.golden.armed):
            self.changeover.refill()

    def _test_when_due(self) -> None:
        idle_s = time.monotonic() - self._last_part
        busy = self.busy_with or self.depth or self.golden.armed  # a golden part may come any moment
        if not (self._shutting_down or busy) and self.self_test.due(idle_s):
            self.self_test.running = True  # from now on, and not only when its task has begun
            self.spawn(self._test_now())

    async def _test_now(self) -> None:
        await self.run_self_test()

    def _link_complaint(self) -> str:
        if self._link is None or not self._link.connected:
            return f"no link to the PLC: {self.link_text}"
        return "the broker refuses what this station says" if "not_authorised" in self._link.troubles else ""

    def _configuration_told(self) -> None:
        if self._config_told != self.changeover.configuration.digest:
            self._tell_info()
        self.publish_state()

    # --- what commands do ----------------------------------------------------------------------------
    def set_stopped(self, stopped: bool) -> None:
        """Leave EXECUTE, or go back to it as soon as nothing else is in the way; remembered over restarts."""
        self._stopped = stopped
        self.spawn(self._remember("stopped", "1" if stopped else "0"))

    def forgive(self) -> None:
        """Leave ABORTED: somebody has looked after the internal errors."""
        self._aborted = ""
        if self._line is not None:
            self._line.forgive()
        if self._cameras.books is not None:
            self._cameras.books.forgive()
        self._alarms.go("bugs")

    def reset_counters(self) -> None:
        """From now on they count from 0."""
        base = dict(self._ledger.counters)
        base["total"] = sum(base.get(outcome.value, 0) for outcome in Outcome)  # a part under way counts from now on
        self.counter_base = base
        self.spawn(self._remember("counter_base", json.dumps(self.counter_base)))

    def _answer(
        self,
        message: Received,
        cmd: str,
        cmd_id: str,
        phase: Literal["accepted", "done", "refused"],
        *,
        code: int = 0,
        text: str = "",
    ) -> None:
        """To a message that is no command of the desk's."""
        tag = self.tag()
        payload = contract.ack_payload(cmd, cmd_id, phase, code=code, text=text, recipe=tag.number, rev=tag.rev)
        self._send_ack(payload, message)

    def _send_ack(self, payload: bytes, message: Received) -> None:
        if isinstance(message, Ordered):
            message.answer(payload)
        elif self._link is not None:
            self._link.ack(payload, message)

    # --- telling how it is ---------------------------------------------------------------------------
    def publish_state(self) -> None:
        """Tell the PLC and the screens when something that matters has changed."""
        self._test_when_due()
        self._changed()
        state = self.station_state()
        essence = (
            state.state, state.ready, state.recipe, state.rev, state.code, state.text, state.fault, state.warn,
            state.config, state.golden_ok,
        )  # fmt: skip
        now = time.monotonic()
        if essence == self._last_state and now - self._state_at < STATE_EVERY_S:
            return
        if self._link is not None and self._link.publish_state(contract.state_payload(state)):
            self._last_state, self._state_at = essence, now

    def station_state(self) -> StationState:
        """How it is now, as the PLC and SCADA are told."""
        refusal = self.refusal()
        line = self._line
        worst = self._worst_alarm()
        told = line.told_seq if line else 0
        return StationState(
            state=self.pack_state,
            ready=self.ready,
            busy=bool(line and line.depth),
            recipe=self.tag().number,
            rev=self.tag().rev,
            boot=self._boot,
            seq=told,
            queue=line.depth if line else 0,
            uptime_s=int(time.monotonic() - self._started),
            code=refusal.code if refusal else 0,
            text=refusal.text.splitlines()[0] if refusal else "",
            fault=worst == 1,
            warn=worst == 2,
            sim=self._sim,
            config=self.tag().config,
            golden_ok=self.golden.ok,
            golden_age_s=self.golden.age_s,
        )

    def _worst_alarm(self) -> int:
        """Priority of the weightiest alarm that is active, 1 the highest; 4 when there is none."""
        return min((a.entry.priority for a in self._alarms.listed() if a.state != "RTN"), default=4)

    def heartbeat(self) -> None:
        """A sign of life."""
        self._hb = (self._hb + 1) % 2_147_483_648
        if self._link is not None:
            seq = self._line.told_seq if self._line else 0
            payload = contract.heartbeat_payload(self._hb, ready=self.ready, state=self.pack_state, seq=seq)
            self._link.heartbeat(payload, heartbeat_byte(self._hb) if self._compact.hb_c else None)

    def counters(self) -> dict[str, int]:
        """Since the last reset: total, pass, fail, not_inspected, late; golden parts are in no other."""
        kept = self._ledger.counters
        # never below 0: after damage the books may know of fewer parts than the last reset did
        return {name: max(0, kept.get(key, 0) - self.counter_base.get(key, 0)) for key, name in COUNTERS.items()}

    def publish_counters(self) -> None:
        """Totals for the PLC."""
        if self._link is not None:
            self._link.counters(contract.counters_payload(self.counters(), boot=self._boot))

    async def restore(self) -> tuple[int | None, bool]:
        """(the recipe that ran last, was the station stopped) from the ledger."""
        recipe, stopped = await self._ledger.meta("recipe"), await self._ledger.meta("stopped")
        self._stopped = stopped == "1"
        self.counter_base = _counters(await self._ledger.meta("counter_base"))
        self.golden.remember(await self._ledger.meta(golden_room.MEMORY))
        self.golden.unsure(self._ledger.golden_unsure)
        if await self._desk.recall():
            self._alarms.come("golden_forgotten")
        await self.changeover.configuration.measure()
        return int(recipe) if recipe else None, self._stopped

    async def _remember(self, key: str, value: str) -> None:
        try:
            await asyncio.wait_for(self._ledger.set_meta(key, value), REMEMBER_LIMIT_S)
        except asyncio.TimeoutError:
            self.trouble("ledger", "the disk does not answer")
        except StorageFault as fault:
            self.trouble("ledger", fault.text)

    def shut(self) -> None:
        """Not Ready from now on."""
        self._shutting_down = True
        self.publish_state()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something short that nobody waits for; a bug in it is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a command ended in an error", exc_info=task.exception())


def _counters(text: str | None) -> dict[str, int]:
    """What a reset of the counters left; what can't be read is no reason not to start."""
    try:
        return {str(name): int(value) for name, value in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError) as error:
        _log.error("the counters' last reset can't be read (%s): they count from the beginning", error)
        return {}
