"""How children are kept: one way for cameras, judge and archive.

A child is started as ``python -m ...`` with one end of a socket pair, so that each can be run by hand. It is
alive when it answers pings, not because it exists. One that dies or hangs is killed and started again, with
back-off; after five starts in 60 s the trouble is told (``struggling``), and the tries go on, slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from inspector.wire import (
    LINE_LIMIT,
    FromChild,
    Ping,
    Pong,
    Stop,
    ToChild,
    decode_from_child,
    encode_to_child,
)

_log = logging.getLogger(__name__)

PING_EVERY_S = 0.5
STARTS_BOUND = 5
STARTS_WINDOW_S = 60.0
BACK_OFF_S = (0.0, 0.1, 0.3, 1.0, 2.0)
STRUGGLING_BACK_OFF_S = 5.0
_BY_ITSELF = "it ended by itself"
BURIAL_LIMIT_S = 0.5
WRITE_BOUND = 4 * 1024 * 1024  # bytes that may wait for a child that does not read


class ChildGone(Exception):
    """The child died, hung or does not read."""


class _Lines(asyncio.Protocol):
    """Hands over each line as it is read: no task stands between a child's word and who waits for it."""

    def __init__(self, line: Callable[[bytes], None]) -> None:
        self._line = line
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()  # until its keeper is ready for what it says

    def data_received(self, data: bytes) -> None:
        try:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._line(line)
            if len(self._rest) > LINE_LIMIT:
                raise ValueError("a line without end")
        except Exception as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, why: Exception | None) -> None:
        if not self.ended.done():
            if why is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(why)
        if self._transport is not None:
            self._transport.close()


class Child:
    """One child process, kept alive until ``stop``."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        receive: Callable[[FromChild], None],
        started: Callable[[], None],
        gone: Callable[[str], None],
        start_limit_s: float = 30.0,
        answer_limit_s: float = 3.0,
        nice: int = 0,
        environment: dict[str, str] | None = None,
    ) -> None:
        """``receive``, ``started`` and ``gone`` are called in the event loop's thread and must not raise.

        ``start_limit_s``: longest silence before its first message; ``answer_limit_s``: longest silence later.
        """
        self.name = name
        self._argv = [sys.executable, "-m", module, *arguments]
        self._receive, self._started, self._gone = receive, started, gone
        self._start_limit_s, self._answer_limit_s = start_limit_s, answer_limit_s
        self._nice = nice
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None  # of the present or last life
        self._transport: asyncio.Transport | None = None
        self._first = True  # nothing was heard from it in this life
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._starts: deque[float] = deque(maxlen=STARTS_BOUND)
        self._heard = 0.0
        self._patience_s = answer_limit_s
        self.restarts = 0
        self.rss_bytes = 0
        self.since = time.monotonic()
        self.up = False
        self.why = "starting"

    @property
    def pid(self) -> int | None:
        """Process id while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def struggling(self) -> bool:
        """Five starts in the last 60 s, and it is not up."""
        full = len(self._starts) == STARTS_BOUND
        return not self.up and full and time.monotonic() - self._starts[0] < STARTS_WINDOW_S

    def start(self) -> None:
        """Begin keeping it."""
        self._task = asyncio.create_task(self._keep(), name=f"child {self.name}")

    def send(self, message: ToChild) -> None:
        """Hand a message over. Raises ChildGone."""
        if self._transport is None or not self.up:
            raise ChildGone(f"{self.name} is not running ({self.why})")
        if self._transport.get_write_buffer_size() > WRITE_BOUND:
            raise ChildGone(f"{self.name} does not read its messages")
        self._transport.write(encode_to_child(message))

    def patience(self, seconds: float | None) -> None:
        """Allow a longer silence (a recipe that is loading); None: the usual one."""
        self._patience_s = self._answer_limit_s if seconds is None else seconds
        self._heard = time.monotonic()

    def kill(self, why: str) -> None:
        """Kill it; it is started again."""
        self.why = why
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self, limit_s: float) -> None:
        """Ask it to finish, kill it when it does not in time."""
        self._stopping = True
        if self.up:
            with contextlib.suppress(ChildGone):
                self.send(Stop())
        process = self._process
        if process is not None and process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), limit_s)
            except asyncio.TimeoutError:
                self.kill("it did not stop")
            if self._task is not None:  # it buries the process, and tells who must know that it is gone
                await asyncio.wait([self._task], timeout=BURIAL_LIMIT_S)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        tries = 0
        while not self._stopping:
            began = time.monotonic()
            self._starts.append(began)
            why = await self._live()
            if self._stopping:
                return
            lived_s = time.monotonic() - began
            tries = 0 if lived_s > STARTS_WINDOW_S / 2 else tries + 1
            _log.warning("%s is gone: %s", self.name, why)
            wait_s = STRUGGLING_BACK_OFF_S if self.struggling else BACK_OFF_S[min(tries, len(BACK_OFF_S)) - 1]
            await asyncio.sleep(wait_s)

    async def _live(self) -> str:
        """One life of the child; returns why it ended."""
        ours, theirs = socket.socketpair()
        pinger: asyncio.Task[None] | None = None
        self._process, self.why = None, _BY_ITSELF
        try:
            argv = [*self._argv, "--fd", str(theirs.fileno())]
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **self._environment},
            )
            if self._nice:
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)
            theirs.close()
            loop = asyncio.get_running_loop()
            self._transport, lines = await loop.create_connection(lambda: _Lines(self._heard_line), sock=ours)
            self._first = True
            self._heard = time.monotonic()
            self._patience_s = self._start_limit_s
            self.up = True
            self.since = time.monotonic()
            self._started()
            pinger = asyncio.create_task(self._ping())
            self._transport.resume_reading()
            await lines.ended
        except ConnectionError:
            pass  # killed while something was on its way: the exit code in `why` says more
        except (OSError, ValueError) as error:  # ValueError: a line without end, or nonsense in one
            if self.why == _BY_ITSELF:  # or it was killed, and that is the reason
                self.why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        except Exception as error:  # what it said could not be dealt with: it must not be the end of its keeper
            _log.exception("%s", self.name)
            self.why = f"{type(error).__name__}: {error}"
        finally:
            self.up = False
            self.since = time.monotonic()
            if pinger is not None:
                pinger.cancel()
            theirs.close()
            if self._transport is not None:
                self._transport.abort()
                self._transport = None
            else:
                ours.close()
            why = await self._bury()
            self.restarts += not self._stopping
            try:
                self._gone(why)
            except Exception:
                _log.exception("%s is gone", self.name)
        return why

    async def _bury(self) -> str:
        process = self._process
        if process is None:
            return self.why
        if process.returncode is None and not self._stopping:
            # it closed its end or hangs: give it a moment to end by itself, so that its exit code is known
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 0.2)
            if process.returncode is None:
                self.kill(self.why)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 2.0)
        code = process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
        return f"{self.why} ({how})"

    def _heard_line(self, line: bytes) -> None:
        message = decode_from_child(line)
        self._heard = time.monotonic()
        if self._first:
            self._first = False
            if self._patience_s == self._start_limit_s:  # or it was given longer, for a load
                self._patience_s = self._answer_limit_s
        if isinstance(message, Pong):
            self.rss_bytes = message.rss_bytes
        else:
            self._receive(message)

    async def _ping(self) -> None:
        n = 0
        while True:
            await asyncio.sleep(PING_EVERY_S)
            silent_s = time.monotonic() - self._heard
            if silent_s > self._patience_s:
                self.kill(f"no answer for {silent_s:.1f} s")
                return
            n += 1
            with contextlib.suppress(ChildGone):
                self.send(Ping(n))
