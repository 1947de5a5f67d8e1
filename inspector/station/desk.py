"""What is done about commands, whoever asks: the PLC over MQTT, or SCADA over Sparkplug. Triggers are no such ones.

A command with an id is done once: its answer is kept on disk, and the same command gets the same answer again, also
after a restart. Who made the station do what is in the ledger's audit.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from inspector.codes import Code
from inspector.parts import InspectionFault, Verdict
from inspector.plc import contract
from inspector.plc.contract import (
    AckCommand,
    Command,
    GetCommand,
    GoldenCommand,
    HeartbeatCommand,
    RecipeCommand,
    ResetCountersCommand,
    ResetFaultCommand,
    SelfTestCommand,
    StartCommand,
    StopCommand,
)
from inspector.station.changeover import FILLING
from inspector.station.digest import canonical
from inspector.station.ledger import Ledger, StorageFault

if TYPE_CHECKING:
    from inspector.station.control import Control

_log = logging.getLogger(__name__)

REMEMBER_LIMIT_S = 2.0
FILL_LIMIT_S = 10.0  # so long a start is not answered while recipes are made ready
OPEN_BOUND = 200  # commands that are being done
OWED_BOUND = 200  # answers that a full disk has not taken yet
FORGOTTEN = "the station was restarted: the next part is a product again"
Phase = Literal["accepted", "done", "refused"]


@dataclass(frozen=True)
class Asker:
    """Who asks, and how it is answered."""

    who: str  # plc, sparkplug
    answer: Callable[[bytes], None]


@dataclass(frozen=True)
class _Note:
    """An answer for the books; ``change``: who, from what, to what, None when nothing was changed."""

    cmd_id: str
    name: str
    content: str
    answer: bytes
    change: tuple[str, str, str] | None


@dataclass
class _Open:
    """A command that is being done."""

    content: str
    said: bytes = b""  # the last answer, "" none yet


class CommandDesk:
    """See the module's text."""

    def __init__(self, control: Control, ledger: Ledger) -> None:
        self._control = control
        self._ledger = ledger
        self._open: dict[str, _Open] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._owed: deque[_Note] = deque(maxlen=OWED_BOUND)
        self.unrecorded = 0  # commands that were done and will never stand in the books: the disk was full for too long
        self.forgotten: list[bytes] = []  # answers to golden commands of before a restart, still to be told

    # --- once each -------------------------------------------------------------------------------------
    def ask(self, command: Command, asker: Asker) -> None:
        """Do it, unless it was done before."""
        if isinstance(command, AckCommand):
            self._control.watch.acknowledged(command.seq)
            return
        if isinstance(command, HeartbeatCommand):
            self._control.watch.beat(command.n)
            return
        content = _content(command)
        if command.cmd_id and self._known(command, content, asker):
            return
        if len(self._open) >= OPEN_BOUND:
            text = f"{OPEN_BOUND} commands are being done: come again"
            asker.answer(self._payload(command, "refused", Code.OVERRUN, text))
            return
        if command.cmd_id:
            self._open[command.cmd_id] = _Open(content)
        self._do(command, asker)
        self._control.publish_state()

    def knows(self, cmd_id: str) -> bool:
        """A command with this id came before."""
        return bool(cmd_id) and (cmd_id in self._open or self._ledger.answered(cmd_id) is not None)

    def _known(self, command: Command, content: str, asker: Asker) -> bool:
        """It came before: the same answer again, nothing is done twice."""
        trigger = self._ledger.known(command.cmd_id)
        if trigger is not None:
            text = f"cmd_id {command.cmd_id} was used for the trigger of part {trigger[1][0]} before"
            asker.answer(self._payload(command, "refused", Code.DUPLICATE_CONTENT, text, cmd_id=""))
            return True
        being_done = self._open.get(command.cmd_id)
        answered = self._ledger.answered(command.cmd_id)
        if being_done is None and answered is None:
            return False
        before = being_done.content if being_done is not None else answered.content if answered is not None else ""
        said = being_done.said if being_done is not None else answered.answer if answered is not None else b""
        if before != content:
            text = f"cmd_id {command.cmd_id} was used for another command before"
            asker.answer(self._payload(command, "refused", Code.DUPLICATE_CONTENT, text, cmd_id=""))
        elif said:
            asker.answer(said)
        return True

    def _do(self, command: Command, asker: Asker) -> None:
        control = self._control
        if isinstance(command, StartCommand):
            self._start(command, asker)
        elif isinstance(command, StopCommand):
            was = control.pack_state.name
            control.set_stopped(True)
            self._end(command, asker, old=was, new=control.pack_state.name)
            control.spawn(control.changeover.fill())
        elif isinstance(command, RecipeCommand):
            self._recipe(command, asker)
        elif isinstance(command, GetCommand):
            control.spawn(self._get(command, asker))
        elif isinstance(command, ResetFaultCommand):
            was = control.pack_state.name
            control.forgive()
            self._end(command, asker, old=was, new=control.pack_state.name)
        elif isinstance(command, ResetCountersCommand):
            old = canonical(control.counters())
            control.reset_counters()
            self._end(command, asker, old=old)
        elif isinstance(command, SelfTestCommand):
            self._self_test(command, asker)
        elif isinstance(command, GoldenCommand):
            self._golden(command, asker)

    # --- each of them ----------------------------------------------------------------------------------
    def _start(self, command: StartCommand, asker: Asker) -> None:
        was = self._control.pack_state.name
        self._control.set_stopped(False)
        self._control.spawn(self._started(command, asker, was))

    async def _started(self, command: StartCommand, asker: Asker, was: str) -> None:
        await self._control.changeover.filled(FILL_LIMIT_S)  # a stop may have begun it
        self._end(command, asker, self._control.refusal(), old=was, new=self._control.pack_state.name)

    def _recipe(self, command: RecipeCommand, asker: Asker) -> None:
        control = self._control
        if control.changeover.changing == FILLING:  # in a pause of the line: that is when recipes are changed, too
            control.spawn(self._after_filling(command, asker))
            return
        path = control.recipes().get(command.recipe)
        if path is None:
            text = f"there is no recipe {command.recipe}; there are {sorted(control.recipes())}"
            self._end(command, asker, InspectionFault(Code.UNKNOWN_RECIPE, text))
        elif control.busy_with:
            self._end(command, asker, InspectionFault(Code.NOT_READY, control.busy_with))
        else:
            control.changeover.changing = f"recipe {command.recipe} is being loaded"
            self._accepted(command, asker)
            control.spawn(self._change(command, asker, path))

    async def _after_filling(self, command: RecipeCommand, asker: Asker) -> None:
        await self._control.changeover.filled(FILL_LIMIT_S)
        if self._control.changeover.changing == FILLING:
            self._end(command, asker, InspectionFault(Code.NOT_READY, FILLING))
        else:
            self._recipe(command, asker)

    async def _change(self, command: RecipeCommand, asker: Asker, path: Path) -> None:
        control = self._control
        tag = control.tag()
        old = f"{tag.number} rev {tag.rev}"
        fault = await control.changeover.load(command.recipe, path, command.rev, asked_by=_who(command, asker))
        tag = control.tag()
        self._end(command, asker, fault, old=old, new=f"{tag.number} rev {tag.rev}")

    async def _get(self, command: GetCommand, asker: Asker) -> None:
        try:
            row = await self._ledger.get(command.seq)
        except StorageFault as fault:
            self._end(command, asker, fault)
            return
        if row is None or row.verdict is None:
            self._end(command, asker, InspectionFault(Code.BAD_COMMAND, f"there is no verdict {command.seq}"))
        else:
            self._end(command, asker, stored=row.verdict)

    def _self_test(self, command: SelfTestCommand, asker: Asker) -> None:
        control = self._control
        if control.depth:
            text = f"{control.depth} parts are under way; ask when the line pauses, or stop first"
            self._end(command, asker, InspectionFault(Code.NOT_READY, text))
        elif control.busy_with:
            self._end(command, asker, InspectionFault(Code.NOT_READY, control.busy_with))
        else:
            control.self_test.running = True  # from now on, and not only when its task has begun
            self._accepted(command, asker)
            control.spawn(self._test(command, asker))

    async def _test(self, command: SelfTestCommand, asker: Asker) -> None:
        failed = await self._control.run_self_test()
        fault = InspectionFault(Code.SELF_TEST, failed) if failed else None
        self._end(command, asker, fault, new="passed" if not failed else f"failed: {failed}")

    def _golden(self, command: GoldenCommand, asker: Asker) -> None:
        def answer(found: Verdict | None, fault: InspectionFault | None) -> None:
            new = "no part came" if found is None else f"seq {found.part.seq}: {found.outcome.value} {found.code}"
            self._end(command, asker, fault, found=found, old=f"expected {command.expect}", new=new)

        refusal = self._control.refusal(golden=True) or self._control.golden.arm(command, answer)
        if refusal is not None:
            self._end(command, asker, refusal, old=f"expected {command.expect}", new="refused")
        else:
            self._control.spawn(self._armed(command, asker))

    async def _armed(self, command: GoldenCommand, asker: Asker) -> None:
        """Accepted on disk first: a station that is restarted must know what it has forgotten."""
        payload = self._payload(command, "accepted")
        if command.cmd_id in self._open:
            self._open[command.cmd_id].said = payload
        await self._in_time(self._ledger.remember(command.cmd_id, command.name, _content(command), payload))
        asker.answer(payload)

    async def recall(self) -> bool:
        """After a restart: golden parts that were accepted are awaited no more. True when there were any.

        That is their answer from now on, ``forgotten`` has it to be told, and the audit names it.
        """
        for cmd_id, known in self._ledger.answers(GoldenCommand.name):
            if _member(known.answer, "phase") != "accepted":
                continue
            payload = contract.ack_payload(GoldenCommand.name, cmd_id, "refused", code=Code.NOT_READY, text=FORGOTTEN)
            expected = f"expected {_member(known.content, 'expect')}"
            change = ("station", expected, f"refused {int(Code.NOT_READY)}: {FORGOTTEN}")
            await self._on_record(_Note(cmd_id, known.name, known.content, payload, change))
            self.forgotten.append(payload)
        return bool(self.forgotten)

    # --- answers ---------------------------------------------------------------------------------------
    def _accepted(self, command: Command, asker: Asker) -> None:
        payload = self._payload(command, "accepted")
        if command.cmd_id in self._open:
            self._open[command.cmd_id].said = payload
        asker.answer(payload)

    def _end(
        self,
        command: Command,
        asker: Asker,
        fault: InspectionFault | None = None,
        *,
        stored: Verdict | None = None,
        found: Verdict | None = None,
        old: str = "",
        new: str = "",
    ) -> None:
        """The last answer: kept, then sent."""
        phase: Phase = "done" if fault is None else "refused"
        code, text = (0, "") if fault is None else (fault.code, fault.text.splitlines()[0] if fault.text else "")
        payload = self._payload(command, phase, code, text, stored=stored, found=found)
        if fault is not None:
            new = f"{new}; refused {fault.code}: {text}" if new else f"refused {fault.code}: {text}"
        self._control.spawn(self._keep(command, asker, payload, old, new))

    async def _keep(self, command: Command, asker: Asker, payload: bytes, old: str, new: str) -> None:
        being_done = self._open.get(command.cmd_id)
        content = being_done.content if being_done is not None else _content(command)
        if being_done is not None:
            being_done.said = payload
        # who reads changes nothing
        change = None if isinstance(command, GetCommand) else (_who(command, asker), old, new)
        try:
            # what it did, who asked for it and what he is answered: all on disk before anybody is told so
            await self._on_record(_Note(command.cmd_id, command.name, content, payload, change))
            asker.answer(payload)
        finally:
            self._open.pop(command.cmd_id, None)

    async def _on_record(self, note: _Note) -> None:
        """Into the books, in one transaction. Nobody waits for the disk for ever, but it is not given up either."""
        writing = asyncio.create_task(
            self._ledger.remember(note.cmd_id, note.name, note.content, note.answer, note.change)
        )
        self._writing.add(writing)
        writing.add_done_callback(lambda task: self._written(task, note))
        _, late = await asyncio.wait([writing], timeout=REMEMBER_LIMIT_S)
        if late:
            self._control.trouble("ledger", "the disk does not answer")

    def _written(self, task: asyncio.Task[None], note: _Note) -> None:
        self._writing.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            if len(self._owed) == OWED_BOUND:
                self.unrecorded += 1
                _log.error("no room to remember a command for the books: %d so far", self.unrecorded)
            self._owed.append(note)
            self._control.trouble("ledger", fault.text if isinstance(fault, StorageFault) else str(fault))

    def check(self) -> None:
        """To be called about every second: what the disk did not take is offered again, one at a time."""
        if self._owed and not self._writing:
            self._control.spawn(self._on_record(self._owed.popleft()))

    async def _in_time(self, writing: Coroutine[Any, Any, None]) -> None:
        """The disk is asked, but nobody waits for it for ever."""
        try:
            await asyncio.wait_for(writing, REMEMBER_LIMIT_S)
        except asyncio.TimeoutError:
            self._control.trouble("ledger", "the disk does not answer")
        except StorageFault as fault:
            self._control.trouble("ledger", fault.text)

    def _payload(
        self,
        command: Command,
        phase: Phase,
        code: int = 0,
        text: str = "",
        *,
        cmd_id: str | None = None,
        stored: Verdict | None = None,
        found: Verdict | None = None,
    ) -> bytes:
        tag = self._control.tag()
        return contract.ack_payload(
            command.name,
            command.cmd_id if cmd_id is None else cmd_id,
            phase,
            code=code,
            text=text,
            recipe=tag.number,
            rev=tag.rev,
            stored=stored,
            found=found,
        )


def _content(command: Command) -> str:
    """What makes it this command and no other, its id apart."""
    fields: dict[str, Any] = {k: v for k, v in dataclasses.asdict(command).items() if k != "cmd_id"}
    return canonical({"name": command.name, **fields})


def _member(text: str | bytes, name: str) -> str:
    """Of JSON that this or an older station wrote; "" where it is no such."""
    try:
        tree = json.loads(text)
    except ValueError:
        return ""
    return str(tree.get(name, "")) if isinstance(tree, dict) else ""


def _who(command: Command, asker: Asker) -> str:
    return f"{asker.who}:{command.cmd_id}" if command.cmd_id else asker.who
