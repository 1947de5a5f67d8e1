"""How children are kept, on real processes that misbehave in every way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from inspector.station import children
from inspector.station.children import Child, ChildGone
from inspector.wire import Grant, Kept

LIMIT_S = 15.0

BODY = """
import argparse, os, sys, time
from inspector.child import start
from inspector.wire import Grant, Kept, Ping, Stop
parser = argparse.ArgumentParser()
parser.add_argument("--fd", type=int)
parser.add_argument("--mode", default="good")
given = parser.parse_args()
if given.mode == "exit":
    sys.exit(7)
channel = start(given.fd, "misbehaving")
if given.mode == "silent":
    time.sleep(60)
while True:
    try:
        message = channel.receive(1.0)
    except EOFError:
        sys.exit(0)
    if isinstance(message, Ping):
        channel.pong(message)
    elif isinstance(message, Stop) and given.mode != "no stop":
        sys.exit(0)
    elif isinstance(message, Grant):
        what = message.slots[0]
        if what == 1:
            channel._socket.sendall(b"this is not a message\\n")
        elif what == 2:
            channel._socket.sendall(b"x" * 5_000_000)
        elif what == 3:
            os._exit(9)
        elif what == 4:
            time.sleep(60)
        else:
            channel.send(Kept(what))
"""


class Kept_:
    def __init__(self, child: Child) -> None:
        self.child = child
        self.said: list[Any] = []
        self.gone: list[str] = []
        self.starts = 0


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "misbehaving.py").write_text(BODY)
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", path)
    return "misbehaving"


@asynccontextmanager
async def keeping(module: str, mode: str = "good", **options: Any) -> AsyncIterator[Kept_]:
    kept: Kept_

    def receive(message: Any) -> None:
        if isinstance(message, Kept) and message.seq == 5:
            raise KeyError("a bug of the station's")
        kept.said.append(message)

    def started() -> None:
        kept.starts += 1

    options = {"start_limit_s": 10.0, "answer_limit_s": 1.0, **options}
    arguments = ["--mode", mode]
    kept = Kept_(
        Child("c", module, arguments, receive=receive, started=started, gone=lambda w: kept.gone.append(w), **options)
    )
    kept.child.start()
    try:
        yield kept
    finally:
        await kept.child.stop(1.0)


async def until(condition: Callable[[], Any]) -> None:
    end = asyncio.get_running_loop().time() + LIMIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


async def answers(kept: Kept_, number: int = 100) -> bool:
    kept.child.send(Grant((number,)))
    await until(lambda: any(m.seq == number for m in kept.said))
    return True


async def test_it_answers_is_measured_and_stops_in_time(module: str) -> None:
    async with keeping(module, nice=5) as kept:
        await until(lambda: kept.child.rss_bytes > 1_000_000)
        assert await answers(kept)
        pid = kept.child.pid
        assert pid is not None and psutil.Process(pid).nice() == 5
        assert not kept.child.struggling and kept.child.restarts == 0
    assert kept.child.pid is None and not psutil.pid_exists(pid)
    assert len(kept.gone) == 1 and kept.child.restarts == 0
    with pytest.raises(ChildGone):
        kept.child.send(Grant((1,)))


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (1, "ValidationError"),
        (2, "ValueError|LimitOverrun"),
        (3, r"by itself \(exit 9\)"),
        (4, r"no answer for .*signal 9"),
        (5, "KeyError"),
    ],
    ids=["nonsense", "a line without end", "exit", "hang", "a bug of ours"],
)
async def test_one_that_misbehaves_is_started_again(module: str, number: int, why: str) -> None:
    async with keeping(module) as kept:
        await until(lambda: kept.child.rss_bytes)
        kept.child.send(Grant((number,)))
        await until(lambda: kept.gone)
        assert re.search(why, kept.gone[0]), kept.gone
        assert "\n" not in kept.gone[0]
        await until(lambda: kept.starts == 2)
        assert await answers(kept)
        assert kept.child.restarts == 1


async def test_one_that_is_stopped_is_killed_and_started_again(module: str) -> None:
    async with keeping(module) as kept:
        await until(lambda: kept.child.rss_bytes)
        assert kept.child.pid is not None
        os.kill(kept.child.pid, signal.SIGSTOP)
        await until(lambda: kept.gone)
        assert "no answer" in kept.gone[0] and "signal 9" in kept.gone[0]
        await until(lambda: kept.starts == 2)


async def test_one_that_never_says_a_word_is_given_up(module: str) -> None:
    async with keeping(module, "silent", start_limit_s=0.6) as kept:
        await until(lambda: kept.gone)
        assert "no answer" in kept.gone[0]


async def test_patience_for_long_work_ends_too(module: str) -> None:
    async with keeping(module) as kept:
        await until(lambda: kept.child.rss_bytes)
        kept.child.patience(2.5)
        kept.child.send(Grant((4,)))
        await asyncio.sleep(1.6)
        assert kept.gone == []  # longer than its usual limit
        await until(lambda: kept.gone)


async def test_one_that_exits_at_once_again_and_again_is_struggling(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "BACK_OFF_S", (0.0, 0.01, 0.02))
    monkeypatch.setattr(children, "STRUGGLING_BACK_OFF_S", 0.05)
    async with keeping(module, "exit") as kept:
        await until(lambda: len(kept.gone) >= 6)
        assert all("exit 7" in why for why in kept.gone)
        await until(lambda: kept.child.struggling)
        assert kept.child.restarts >= 6


async def test_a_program_that_is_not_there_is_no_end(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    async with keeping(module) as kept:
        await until(lambda: kept.child.rss_bytes)
        argv, kept.child._argv = kept.child._argv, ["/nowhere/python"]
        kept.child.kill("a test")
        await until(lambda: any("FileNotFoundError" in why for why in kept.gone))
        kept.child._argv = argv
        await until(lambda: kept.child.rss_bytes and kept.child.up)


async def test_one_that_will_not_stop_is_killed(module: str) -> None:
    async with keeping(module, "no stop") as kept:
        await until(lambda: kept.child.rss_bytes)
        pid = kept.child.pid
    assert pid is not None and not psutil.pid_exists(pid)


async def test_one_that_does_not_read_has_a_bounded_queue(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "WRITE_BOUND", 100_000)
    async with keeping(module) as kept:
        await until(lambda: kept.child.rss_bytes)
        kept.child.send(Grant((4,)))
        with pytest.raises(ChildGone, match="does not read"):
            for _ in range(10_000):
                kept.child.send(Grant(tuple(range(100))))


def test_children_die_with_the_station(module: str) -> None:
    keeper = (
        "import asyncio, sys\nfrom inspector.station.children import Child\n"
        "async def main():\n"
        "    c = Child('c', 'misbehaving', [], receive=print, started=lambda: None, gone=print)\n"
        "    c.start()\n"
        "    while not c.rss_bytes: await asyncio.sleep(0.01)\n"
        "    print(c.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", keeper], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert psutil.pid_exists(pid)
        process.kill()
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(LIMIT_S)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
