"""``inspector tui`` in a real (pseudo) terminal, as an operator starts it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from inspector.tui.words import CP437
from tests.screens import samples
from tests.screens.feed import Feed

START = """
import sys
from pathlib import Path
from inspector.cli.tui import tui
tui(Path(sys.argv[1]), sys.argv[2] == "plain")
"""


class Console:
    """The command on a pseudo terminal of 80x24, as TERM=linux."""

    def __init__(self, feed: Feed, kind: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = {**os.environ, "TERM": "linux", "COLORTERM": "", "PYTHONWARNINGS": "error"}
        env.pop("TEXTUAL_FPS", None)
        command = [sys.executable, "-c", START, str(feed.path), kind]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.raw = b""

    @property
    def seen(self) -> str:
        """What came so far; a glyph may be cut at its end."""
        return self.raw.decode("utf-8", "ignore")

    def read_until(self, words: str) -> str:
        deadline = time.monotonic() + 20
        while words not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen):
            assert time.monotonic() < deadline, f"waited for {words!r}: {self.seen[-2000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.raw += os.read(self.master, 65536)
        return self.seen

    def leave(self) -> int:
        """Press q; read what is still to come, or the terminal's buffer would hold the app up."""
        os.write(self.master, b"q")
        return self.end()

    def end(self) -> int:
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.raw += os.read(self.master, 65536)
                except OSError:  # the other side has closed the terminal
                    break
        try:
            return self.process.wait(5)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            os.close(self.master)


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_it_shows_the_line_and_leaves_on_q(feed: Feed, kind: str) -> None:
    feed.say(samples.status(samples.bad(), alarms=samples.ALARMS))
    console = Console(feed, kind)
    console.read_until("6.081 mm")
    assert console.leave() == 0
    seen = console.seen
    assert "48;2;" not in seen and "38;2;" not in seen, "a console of 16 colours gets no others"
    glyphs = set(re.sub(r"\x1b(\[[0-9;?<>=u$]*[A-Za-z]|[()=>78A-Z].?|P[^\x1b]*\x1b\\)", "", seen))
    assert {g for g in glyphs if ord(g) > 126} <= CP437
    assert "\x1b[?1000h" not in seen, "the mouse stays the terminal's own"


def test_a_killed_terminal_leaves_the_feed_as_it_was(feed: Feed) -> None:
    console = Console(feed, "plain")
    console.read_until("All 6 checks")
    console.process.send_signal(signal.SIGKILL)
    console.end()
    other = Console(feed, "plain")
    other.read_until("All 6 checks")
    assert other.leave() == 0


def test_the_command_needs_no_textual_until_it_runs() -> None:
    code = "import sys, inspector.cli.tui; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
