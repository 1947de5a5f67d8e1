"""What state the station is in (PackML), whether it is Ready, and what it answers to the PLC's commands."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inspector import __version__
from inspector.codes import Code
from inspector.config import CompactConfig, IdentityConfig
from inspector.parts import InspectionFault, Trigger, Verdict
from inspector.plc import contract
from inspector.plc.compact import Twins, heartbeat_byte, id_complaint, parse_text, result_binary, result_text
from inspector.plc.contract import (
    AckCommand,
    Command,
    CommandError,
    CountCommand,
    GetCommand,
    PackState,
    RecipeCommand,
    ResetCountersCommand,
    ResetFaultCommand,
    StartCommand,
    StationState,
    StopCommand,
    TriggerCommand,
)
from inspector.plc.link import PlcLink, Received
from inspector.station.alarms import Alarms
from inspector.station.cameras import Cameras
from inspector.station.judging import JudgeDesk
from inspector.station.ledger import Ledger, RecipeTag, StorageFault, Waiting, utc_now
from inspector.station.line import Line
from inspector.station.outbox import Outbox

_log = logging.getLogger(__name__)

NO_RECIPE = RecipeTag(0, 0, "", "", 1000)
ACKS_REMEMBERED = 200
LINK_ALARMS = {
    "nobody_listens": "plc_listening",
    "not_authorised": "plc_authorised",
    "client_id_clash": "plc_client_id",
    "other_station": "plc_other_station",
    "no_puback": "plc_unconfirmed",
}
STATE_EVERY_S = 30.0
COUNTERS_EVERY_S = 10.0
DRAIN_LIMIT_S = 10.0
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
        *,
        ledger: Ledger,
        cameras: Cameras,
        judge: JudgeDesk,
        alarms: Alarms,
        recipes: Callable[[], dict[int, Path]],
        identity: IdentityConfig,
        compact: CompactConfig,
        station: str,
        boot: str,
        sim: bool,
        changed: Callable[[], None],
    ) -> None:
        """``recipes`` lists the recipe files by number; ``compact``: the twins that are on; ``changed()``: something
        that screens show has changed.
        """
        self._ledger, self._cameras, self._judge, self._alarms = ledger, cameras, judge, alarms
        self._recipes = recipes
        self._identity, self._compact = identity, compact
        self._station, self._boot, self._sim = station, boot, sim
        self._changed = changed
        self._link: PlcLink | None = None
        self._line: Line | None = None
        self._outbox: Outbox | None = None
        self._acks: OrderedDict[str, tuple[object, bytes]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._aborted = ""
        self._changing = ""
        self._shutting_down = False
        self._recipe_fault = "no recipe has been loaded yet"
        self._last_state: tuple[object, ...] = ()
        self._state_at = 0.0
        self._hb = 0
        self._started = time.monotonic()
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
        loaded = self._judge.loaded
        if loaded is None:
            return NO_RECIPE
        return RecipeTag(loaded.number, loaded.rev, loaded.name, loaded.sha, loaded.deadline_ms)

    def refusal(self) -> InspectionFault | None:
        """Why a new part can't be inspected now."""
        if self._shutting_down:
            return InspectionFault(Code.NOT_READY, "the station is shutting down")
        if self._aborted:
            return InspectionFault(Code.INTERNAL_ERROR, f"stopped after internal errors: {self._aborted}")
        if self._stopped:
            return InspectionFault(Code.NOT_READY, "the station is stopped; the command start makes it Ready")
        if self._changing:
            return InspectionFault(Code.NOT_READY, self._changing)
        if not self._judge.ready:
            if self._recipe_fault:
                return InspectionFault(Code.RECIPE_INVALID, self._recipe_fault)
            return InspectionFault(Code.INTERNAL_ERROR, f"the judge is not ready: {self._judge.text}")
        lost = self._cameras.lost(self._judge.loaded.cameras if self._judge.loaded else ())
        if lost:
            return InspectionFault(Code.CAMERA_LOST, lost)
        if self._cameras.out_of_step:
            return InspectionFault(Code.NO_FRAME, self._cameras.out_of_step)
        if self._alarms.holds("ledger"):
            return StorageFault("the ledger can't be written: no verdict could be put on record")
        if self._link is not None and self._link.refusal:
            return InspectionFault(Code.NOT_READY, self._link.refusal)
        return None

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
        return PackState.EXECUTE if self._judge.loaded and not self._changing else PackState.IDLE

    # --- outlet --------------------------------------------------------------------------------------
    def tell(self, verdict: Verdict, *, dup: bool = False) -> bool:
        """Publish on the control path; never kept for later."""
        if self._link is None:
            return False
        part = verdict.part
        received = part.trigger.received_ns
        t_ms = round((time.monotonic_ns() - received) / 1e6) if received else part.deadline_ms
        payload = contract.result_payload(verdict, t_ms=max(0, t_ms), dup=dup)
        twins = self._twins(verdict, max(0, t_ms), dup)
        told = self._link.result(payload, contract.result_expiry_s(part.deadline_ms), twins)
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
        self._link.info(
            contract.info_payload(
                version=__version__,
                serial=socket.gethostname()[:64],
                station=self._station,
                recipes=sorted(self._recipes()),
                boot=self._boot,
                id_max=self._compact.id_max,
            )
        )
        self._last_state = ()
        self.publish_state()
        self.heartbeat()
        if self._outbox is not None:
            self._outbox.wake()

    def link_down(self, why: str) -> None:
        """The PLC can't be reached."""
        self.link_since, self.link_text = time.monotonic(), why
        self._alarms.come("plc_link", why)
        if self._outbox is not None:
            self._outbox.link_down()
        self._changed()

    def record_acked(self, outbox_id: int) -> None:
        """The broker has a record."""
        if self._outbox is not None:
            self._outbox.acked(outbox_id)

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
            self._command(message, command)

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
        if known is None:
            self._accept(message, command.part_id, command.cmd_id, command.deadline_ms, None)
            return
        seq, content = known
        if content == (command.part_id, command.deadline_ms):
            self._spawn(self._tell_again(seq))
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
            assert self._line is not None  # noqa: S101  # wired before the link is started
            trigger = Trigger(
                str(command.count), "", message.received_ns, message.received_utc, "mqtt", None, command.count
            )
            self._line.trigger(trigger)
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
        assert self._line is not None  # noqa: S101  # wired before cameras are started
        return self._line.trigger(Trigger(str(number), "", at_ns, utc_now(), "wire", None, number)).seq

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
        assert self._line is not None  # noqa: S101  # wired before the link is started
        trigger = Trigger(part_id, cmd_id, message.received_ns, message.received_utc, "mqtt", deadline_ms)
        self._line.trigger(trigger, refused)

    async def _tell_again(self, seq: int) -> None:
        """The stored answer once more; while the part is under way its one answer is still to come."""
        assert self._line is not None  # noqa: S101  # wired before the link is started
        if self._line.under_way(seq):
            return  # what is on disk already may still be replaced by what is told
        verdict = self._line.told(seq)
        if verdict is None:
            try:
                row = await self._ledger.get(seq)
            except StorageFault as fault:
                self.trouble("ledger", fault.text)
                return
            verdict = row.verdict if row is not None else None
        if verdict is not None:
            self.tell(verdict, dup=True)

    # --- commands ------------------------------------------------------------------------------------
    def _command(self, message: Received, command: Command) -> None:
        known = self._acks.get(command.cmd_id)
        if known is not None:  # delivered twice: the same answer again, nothing is done twice
            if known[0] == command:
                self._send_ack(known[1], message)
            else:
                text = f"cmd_id {command.cmd_id} was used for another command before"
                self._answer(message, command.name, "", "refused", code=Code.DUPLICATE_CONTENT, text=text)
            return
        if isinstance(command, StartCommand):
            self._start(message, command)
        elif isinstance(command, StopCommand):
            self._stopped = True
            self._spawn(self._remember("stopped", "1"))
            self._done(message, command)
        elif isinstance(command, RecipeCommand):
            self._recipe(message, command)
        elif isinstance(command, GetCommand):
            self._spawn(self._get(message, command))
        elif isinstance(command, ResetFaultCommand):
            self._aborted = ""
            if self._line is not None:
                self._line.forgive()
            if self._cameras.books is not None:
                self._cameras.books.forgive()
            self._alarms.go("bugs")
            self._done(message, command)
        elif isinstance(command, ResetCountersCommand):
            self.counter_base = dict(self._ledger.counters)
            self._spawn(self._remember("counter_base", json.dumps(self.counter_base)))
            self._done(message, command)
        elif isinstance(command, AckCommand):
            return  # the PLC took a verdict: nothing to answer
        self.publish_state()

    def _start(self, message: Received, command: StartCommand) -> None:
        self._stopped = False
        self._spawn(self._remember("stopped", "0"))
        refusal = self.refusal()
        if refusal is None:
            self._done(message, command)
        else:
            code, text = refusal.code, refusal.text
            self._answer(message, "start", command.cmd_id, "refused", code=code, text=text, about=command)

    def _recipe(self, message: Received, command: RecipeCommand) -> None:
        path = self._recipes().get(command.recipe)
        if path is None:
            text = f"there is no recipe {command.recipe}; there are {sorted(self._recipes())}"
            code = Code.UNKNOWN_RECIPE
        elif self._changing:
            text, code = self._changing, Code.NOT_READY
        else:
            self._changing = f"recipe {command.recipe} is being loaded"
            self._answer(message, "recipe", command.cmd_id, "accepted", about=command)
            self._spawn(self._change(message, command, path))
            return
        self._answer(message, "recipe", command.cmd_id, "refused", code=code, text=text, about=command)

    async def _change(self, message: Received, command: RecipeCommand, path: Path) -> None:
        fault = await self.load_recipe(command.recipe, path, command.rev, asked=True)
        if fault is None:
            self._done(message, command)
        else:
            self._answer(message, "recipe", command.cmd_id, "refused", code=fault.code, text=fault.text, about=command)

    async def load_recipe(
        self, number: int, path: Path, rev: int | None = None, *, asked: bool = False
    ) -> InspectionFault | None:
        """Change over; parts under way finish on the old recipe first. Returns why it failed, and stays not Ready.

        ``asked``: by the PLC. It is remembered whether it runs or not: after a restart the one before it must not
        come back by itself.
        """
        self._changing = f"recipe {number} is being loaded"
        self.publish_state()
        try:
            if asked:
                await self._remember("recipe", str(number))
            end = time.monotonic() + DRAIN_LIMIT_S
            while self._line is not None and self._line.depth and time.monotonic() < end:
                await asyncio.sleep(0.01)
            loaded = await self._judge.load(path)
            self._cameras.plan(loaded.cameras, loaded.shots, loaded.deadline_ms)
            if loaded.number != number or rev not in (None, loaded.rev):
                raise InspectionFault(
                    Code.UNKNOWN_RECIPE,
                    f"{path.name} is recipe {loaded.number} rev {loaded.rev}, wanted: {number} rev {rev or 'any'}",
                )
            self._recipe_fault = ""
            self._alarms.go("recipe")
            await self._remember("recipe", str(number))
            return None
        except InspectionFault as fault:
            self._recipe_fault = fault.text
            await self._judge.unload()
            self._alarms.come("recipe", fault.text.splitlines()[0])
            return fault
        finally:
            self._changing = ""
            self.publish_state()

    def no_recipe(self, why: str) -> None:
        """There is nothing to load: stay not Ready and say so."""
        self._recipe_fault = why
        self._alarms.come("recipe", why)
        self.publish_state()

    async def _get(self, message: Received, command: GetCommand) -> None:
        try:
            row = await self._ledger.get(command.seq)
        except StorageFault as fault:
            self._answer(message, "get", command.cmd_id, "refused", code=fault.code, text=fault.text, about=command)
            return
        if row is None or row.verdict is None:
            text = f"there is no verdict {command.seq}"
            self._answer(message, "get", command.cmd_id, "refused", code=Code.BAD_COMMAND, text=text, about=command)
        else:
            self._answer(message, "get", command.cmd_id, "done", stored=row.verdict, about=command)

    def _done(self, message: Received, command: Command) -> None:
        self._answer(message, command.name, command.cmd_id, "done", about=command)

    def _answer(
        self,
        message: Received,
        cmd: str,
        cmd_id: str,
        phase: Literal["accepted", "done", "refused"],
        *,
        code: int = 0,
        text: str = "",
        stored: Verdict | None = None,
        about: Command | None = None,
    ) -> None:
        tag = self.tag()
        payload = contract.ack_payload(
            cmd, cmd_id, phase, code=code, text=text, recipe=tag.number, rev=tag.rev, stored=stored
        )
        if about is not None and about.cmd_id:  # on `cmd/c` some have none: those are done each time
            self._acks[about.cmd_id] = (about, payload)
            if len(self._acks) > ACKS_REMEMBERED:
                self._acks.popitem(last=False)
        self._send_ack(payload, message)

    def _send_ack(self, payload: bytes, message: Received) -> None:
        if isinstance(message, Ordered):
            message.answer(payload)
        elif self._link is not None:
            self._link.ack(payload, message)

    # --- telling how it is ---------------------------------------------------------------------------
    def publish_state(self) -> None:
        """Tell the PLC and the screens when something that matters has changed."""
        self._changed()
        state = self.station_state()
        essence = (state.state, state.ready, state.recipe, state.rev, state.code, state.text, state.fault, state.warn)
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
        return {name: kept.get(key, 0) - self.counter_base.get(key, 0) for key, name in COUNTERS.items()}

    def publish_counters(self) -> None:
        """Totals for the PLC."""
        if self._link is not None:
            self._link.counters(contract.counters_payload(self.counters(), boot=self._boot))

    async def restore(self) -> tuple[int | None, bool]:
        """(the recipe that ran last, was the station stopped) from the ledger."""
        recipe, stopped = await self._ledger.meta("recipe"), await self._ledger.meta("stopped")
        self._stopped = stopped == "1"
        self.counter_base = json.loads(await self._ledger.meta("counter_base") or "{}")
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a command ended in an error", exc_info=task.exception())
