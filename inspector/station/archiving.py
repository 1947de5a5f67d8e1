"""The station's side of the archive process: which pictures are kept, and a bound on how many may wait."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inspector.parts import Outcome, Verdict
from inspector.station.children import Child, ChildGone
from inspector.station.leases import Lease
from inspector.wire import FromChild, Keep, Kept

PREVIEWS_BOUND = 200
PREVIEW_EVERY_S = 0.2  # of parts whose pictures are not kept


@dataclass(frozen=True)
class _Job:
    verdict: Verdict
    store: bool
    lease: Lease
    taken_s: float  # monotonic


def _worth(job: _Job) -> int:
    """0: only a preview, whose newest counts; 1: a passed part; 2: what people will ask for."""
    return 0 if not job.store else 1 if job.verdict.outcome is Outcome.PASS else 2


class ArchiveDesk:
    """One archive process; pictures of passed parts are the first to be dropped when it falls behind."""

    def __init__(
        self,
        *,
        folder: Path,
        previews: Path,
        budget_mb: int,
        min_free_mb: int,
        bound: int,
        stored: Callable[[int, str], None],
        shown: Callable[[int], None],
        trouble: Callable[[str, str | None], None],
    ) -> None:
        """``stored(seq, path)``, ``shown(seq)``: a picture, a preview is there. ``trouble(alarm, detail | None)``."""
        self._bound = bound
        self._stored, self._shown, self._trouble = stored, shown, trouble
        self._queue: deque[_Job] = deque()
        self._current: _Job | None = None
        self._passes = 0
        self._previewed_at = 0.0
        self._previews: OrderedDict[int, tuple[Path, float]] = OrderedDict()
        self.dropped = 0
        self.used_bytes = 0
        self.free_bytes = 0
        self.error = ""
        arguments = ["--folder", str(folder), "--previews", str(previews)]
        arguments += ["--budget-mb", str(budget_mb), "--min-free-mb", str(min_free_mb)]
        self.child = Child(
            "archive",
            "inspector.archive.process",
            arguments,
            receive=self._received,
            started=self._next,
            gone=self._gone,
            answer_limit_s=10.0,
            nice=10,
        )

    @property
    def depth(self) -> int:
        """Parts whose pictures wait or are being written."""
        return len(self._queue) + (self._current is not None)

    @property
    def bound(self) -> int:
        """Most that may wait."""
        return self._bound

    def start(self) -> None:
        """Start the process."""
        self.child.start()

    def keep(self, verdict: Verdict, lease: Lease | None, policy: Mapping[str, int]) -> None:
        """Take a told part's pictures; holds the lease until they are written or dropped."""
        if lease is None:
            return
        job = _Job(verdict, self._wanted(verdict, policy), lease, time.monotonic())
        if not job.store and time.monotonic() - self._previewed_at < PREVIEW_EVERY_S:
            return  # no eye follows previews that fast, and the judge needs the computer
        self._previewed_at = time.monotonic()
        if self.depth >= self._bound and not self._make_room(job):
            self._drop(job, held=False)
            return
        lease.hold()
        self._queue.append(job)
        self._next()

    def _wanted(self, verdict: Verdict, policy: Mapping[str, int]) -> bool:
        one_in = policy.get(verdict.outcome.value, 1)
        if verdict.outcome is Outcome.PASS:
            self._passes += 1
            return one_in > 0 and self._passes % one_in == 0
        return one_in > 0

    def _make_room(self, job: _Job) -> bool:
        """Drop a waiting picture that matters less than this one."""
        if not self._queue:
            return False
        least = min(self._queue, key=_worth)  # the oldest of them
        if _worth(least) and _worth(least) >= _worth(job):
            return False
        self._queue.remove(least)
        self._drop(least, held=True)
        return True

    def _drop(self, job: _Job, *, held: bool) -> None:
        if held:
            job.lease.drop()
        if job.store:
            self.dropped += 1
            self._trouble("archive", f"{self.dropped} dropped so far")

    def _next(self) -> None:
        if self._current is not None or not self._queue or not self.child.up:
            return
        job = self._queue.popleft()
        try:
            self.child.send(Keep(job.verdict, job.store))
        except ChildGone:
            self._queue.appendleft(job)
            return
        self._current = job

    def _received(self, message: FromChild) -> None:
        if not isinstance(message, Kept):
            return
        self.used_bytes, self.free_bytes = message.used_bytes, message.free_bytes
        self._trouble("disk", message.error or None)
        self.error = message.error
        job, self._current = self._current, None
        if job is not None:
            job.lease.drop()
            if message.picture:
                self._stored(message.seq, message.picture)
            elif job.store:
                self.dropped += 1
            if message.preview:
                self._remember(message.seq, message.preview)
        if not self._queue:
            self._trouble("archive", None)
        self._next()

    def _remember(self, seq: int, preview: str) -> None:
        path, _, scale = preview.rpartition("@")
        self._previews[seq] = (Path(path), float(scale))
        while len(self._previews) > PREVIEWS_BOUND:
            _, (old, _) = self._previews.popitem(last=False)
            old.unlink(missing_ok=True)
        self._shown(seq)

    def preview(self, seq: int) -> tuple[Path, float] | None:
        """(PNG file, preview px per image px) of a recent part."""
        return self._previews.get(seq)

    def _gone(self, why: str) -> None:
        self.error = f"its process is gone: {why}"
        if self._current is not None:
            self._drop(self._current, held=True)
            self._current = None

    def owed(self, limit_s: float) -> set[int]:
        """Parts whose picture is still to be stored, taken over no longer than ``limit_s`` ago."""
        jobs = (*self._queue, *((self._current,) if self._current else ()))
        oldest_s = time.monotonic() - limit_s
        return {job.verdict.part.seq for job in jobs if job.store and job.taken_s > oldest_s}

    async def finish(self, limit_s: float) -> None:
        """Let it write what waits, for a little while."""
        end = asyncio.get_running_loop().time() + limit_s
        while self.depth and self.child.up and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
