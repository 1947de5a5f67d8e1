"""The station's side of the judge process: load a recipe, get verdicts, notice late ones."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from inspector.codes import Code
from inspector.parts import Health, InspectionFault, Outcome, Part, Verdict
from inspector.station.children import Child, ChildGone
from inspector.station.leases import Lease
from inspector.wire import FromChild, Judge, Judged, Load, Loaded, LoadFailed, Looked, Prepare, Prepared, Prove, Proved

OWED_LIMIT_S = 10.0  # an answer that long after its deadline will not come
LOAD_LIMIT_S = 900.0  # building a TensorRT engine took 9.5 minutes on an Orin; systemd waits 20 for the first


class JudgeDesk:
    """One judge process and what it is working on."""

    def __init__(
        self,
        *,
        cache: Path,
        backend: str,
        threads: int,
        late: Callable[[Verdict], None],
        looked: Callable[[int, tuple[Health, ...]], None],
        changed: Callable[[], None],
    ) -> None:
        """``late(verdict)``: a verdict nobody waits for any more. ``looked(seq, health)``: how good a part's pictures
        were, about when its verdict is told. ``changed()``: ready or not has changed.
        """
        self._late = late
        self._looked = looked
        self._changed = changed
        self._waiting: dict[int, asyncio.Future[Verdict]] = {}
        self._leases: OrderedDict[int, tuple[Lease, int]] = OrderedDict()  # with the part's deadline
        self._path: Path | None = None
        self._sha = ""  # of the recipe that was asked for: a judge that died must not come back with another
        self._loading: asyncio.Future[Loaded] | None = None
        self._preparing: dict[str, asyncio.Future[str]] = {}
        self._proofs: dict[int, asyncio.Future[str]] = {}
        self._proof = 0
        self.shelf: set[Path] = set()  # recipes that lie ready in the process
        self.loaded: Loaded | None = None
        self.text = "starting"
        self.since = time.monotonic()
        arguments = ["--cache", str(cache), "--backend", backend, "--threads", str(threads)]
        self.child = Child(
            "judge",
            "inspector.recipe.process",
            arguments,
            receive=self._received,
            started=self._started,
            gone=self._gone,
        )

    def start(self) -> None:
        """Start the process."""
        self.child.start()

    @property
    def ready(self) -> bool:
        """A recipe is loaded and the process is there."""
        return self.loaded is not None and self.child.up

    async def load(self, path: Path) -> Loaded:
        """Load a recipe, whatever was loaded before. Raises InspectionFault 303 when it can't run.

        The recipe is remembered: a judge that died loads it again by itself.
        """
        self._path = path
        self._state(None, f"loading {path.name}")
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        loading = self._loading = asyncio.get_running_loop().create_future()
        self._ask()
        try:
            return await asyncio.wait_for(asyncio.shield(loading), LOAD_LIMIT_S)
        except asyncio.TimeoutError:
            self.child.kill(f"loading {path.name} took more than {LOAD_LIMIT_S:.0f} s")
            raise InspectionFault(Code.RECIPE_INVALID, f"loading {path.name} took too long") from None
        except asyncio.CancelledError:
            if loading.cancelled():
                raise InspectionFault(Code.RECIPE_INVALID, "another recipe was asked for meanwhile") from None
            raise

    async def prepare(self, path: Path) -> str:
        """Put a recipe on the process's shelf, where a change to it takes no time. Returns why it can't be.

        Nothing is judged meanwhile: only to be asked for while no part is under way.
        """
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._preparing[str(path)] = waiting
        try:
            self.child.patience(LOAD_LIMIT_S)
            self.child.send(Prepare(str(path)))
            why = await asyncio.wait_for(waiting, LOAD_LIMIT_S)
        except ChildGone as error:
            return str(error)
        except asyncio.TimeoutError:
            self.child.kill(f"preparing {path.name} took more than {LOAD_LIMIT_S:.0f} s")
            return f"preparing {path.name} took too long"
        finally:
            self._preparing.pop(str(path), None)
            self.child.patience(None)
        if not why:
            self.shelf.add(path)
        return why

    async def prove(self, limit_s: float) -> str:
        """Prove the loaded recipe again. Returns what is not as it should be, "" when all is.

        Nothing is judged meanwhile: only to be asked for while no part is under way.
        """
        self._proof += 1
        number, waiting = self._proof, asyncio.get_running_loop().create_future()
        self._proofs[number] = waiting
        try:
            self.child.patience(limit_s)
            self.child.send(Prove(number))
            return await asyncio.wait_for(waiting, limit_s)
        except ChildGone as error:
            return str(error)
        except asyncio.TimeoutError:
            return f"the judge did not prove itself within {limit_s:.0f} s"
        finally:
            self._proofs.pop(number, None)
            self.child.patience(None)

    async def unload(self) -> None:
        """Judge nothing until another recipe is loaded."""
        self._path = None
        self._state(None, "no recipe")

    def _ask(self) -> None:
        if self._path is None or not self.child.up:
            return  # asked when the process has started
        self.child.patience(LOAD_LIMIT_S)
        self.child.send(Load(str(self._path)))

    async def judge(self, part: Part, lease: Lease) -> Verdict:
        """The verdict about a part. Raises InspectionFault; cancelling leaves the pictures held until it answers."""
        if self.loaded is None:
            raise InspectionFault(Code.RECIPE_INVALID, f"no recipe is loaded: {self.text}")
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        try:
            self.child.send(Judge(part, lease.frames))
        except ChildGone as error:
            raise InspectionFault(Code.INTERNAL_ERROR, str(error)) from error
        lease.hold()
        self._leases[part.seq] = (lease, part.deadline_ns)
        self._waiting[part.seq] = future
        try:
            return await future
        finally:
            self._waiting.pop(part.seq, None)

    def check(self) -> None:
        """To be called now and then: a judge that forgot a part would keep its pictures for ever."""
        oldest = next(iter(self._leases.values()), None)
        if oldest is not None and time.monotonic_ns() - oldest[1] > OWED_LIMIT_S * 1e9:
            self.child.kill("it never answered about a part")

    def give_up(self, seq: int, fault: InspectionFault) -> None:
        """Whoever waits for this part's verdict gets the fault."""
        future = self._waiting.get(seq)
        if future is not None and not future.done():
            future.set_exception(fault)

    def _received(self, message: FromChild) -> None:
        if isinstance(message, Judged):
            self._judged(message.verdict)
        elif isinstance(message, Looked):
            held = self._leases.pop(message.seq, None)
            if held is not None:
                held[0].drop()
                self._looked(message.seq, message.health)
        elif isinstance(message, Prepared):
            _resolve(self._preparing.get(message.path), message.text)
        elif isinstance(message, Proved):
            _resolve(self._proofs.get(message.n), message.text)
        elif isinstance(message, Loaded) and message.path == str(self._path):
            self.child.patience(None)
            asked = self._loading is not None and not self._loading.done()
            if not asked and message.sha != self._sha:  # nobody has said that the new one may judge
                name = Path(message.path).name
                text = f"{name} was changed while the judge was away; the command recipe takes it over"
                self._path = None
                self._state(None, text)
                return
            self._sha = message.sha
            self._state(message, message.backend or "no model")
            if self._loading is not None and asked:
                self._loading.set_result(message)
        elif isinstance(message, LoadFailed) and message.path == str(self._path):
            self.child.patience(None)
            self._state(None, message.text)
            if self._loading is not None and not self._loading.done():
                self._loading.set_exception(InspectionFault(Code.RECIPE_INVALID, message.text))

    def _judged(self, verdict: Verdict) -> None:
        seq = verdict.part.seq
        if seq not in self._leases:
            return  # not asked for: a judge that talks to itself is not believed
        future = self._waiting.get(seq)
        if future is not None and not future.done():
            future.set_result(verdict)
        elif verdict.outcome is not Outcome.NOT_INSPECTED:
            self._late(verdict)

    def _started(self) -> None:
        if self._path is not None:
            self._ask()

    def _gone(self, why: str) -> None:
        self._state(None, f"its process is gone: {why}")
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(InspectionFault(Code.INTERNAL_ERROR, f"the judge died: {why}"))
        self.shelf.clear()
        for asked in [*self._preparing.values(), *self._proofs.values()]:
            _resolve(asked, f"the judge died: {why}")
        while self._leases:
            self._leases.popitem()[1][0].drop()

    def _state(self, loaded: Loaded | None, text: str) -> None:
        if (loaded is None) != (self.loaded is None):
            self.since = time.monotonic()
        self.loaded, self.text = loaded, text
        self._changed()


def _resolve(waiting: asyncio.Future[str] | None, text: str) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(text)
