"""A child's side of the socket pair: the same life for camera, judge and archive processes."""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import socket
import sys
from collections import deque

import psutil

from inspector.wire import LINE_LIMIT, FromChild, Ping, Pong, ToChild, decode_to_child, encode_from_child

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
SEND_LIMIT_S = 5.0  # a station that reads nothing for so long is gone or hung: the child exits


class Channel:
    """Blocking messages with the station, every wait with a limit."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(SEND_LIMIT_S)
        self._buffer = b""
        self._ready: deque[ToChild] = deque()
        self._process = psutil.Process()

    def fileno(self) -> int:
        """Descriptor, for select()."""
        return self._socket.fileno()

    def receive(self, timeout_s: float) -> ToChild | None:
        """Next message, or None when none came in time. Raises EOFError when the station is gone or talks nonsense."""
        if self._ready:
            return self._ready.popleft()
        readable, _, _ = select.select([self._socket], [], [], timeout_s)
        if not readable:
            return None
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError as error:
            raise EOFError("the station is gone") from error
        if not data:
            raise EOFError("the station is gone")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > LINE_LIMIT:
            raise EOFError("the station sent a line without end")
        try:
            self._ready.extend(decode_to_child(line) for line in lines if line)
        except ValueError as error:
            _log.error("not a message: %.200s", str(error).replace("\n", " "))
            raise EOFError("the station sent something that is not a message") from error
        return self._ready.popleft() if self._ready else None

    def send(self, message: FromChild) -> None:
        """Hand a message over. Raises EOFError when the station is gone or does not read."""
        try:
            self._socket.sendall(encode_from_child(message))
        except (OSError, TimeoutError) as error:
            raise EOFError("the station is gone") from error

    def pong(self, ping: Ping) -> None:
        """Answer a ping, with this process's memory."""
        self.send(Pong(ping.n, rss_bytes=self._process.memory_info().rss))


def start(fd: int, name: str) -> Channel:
    """Make this process a child of the station: dies with it, leaves signals to it, logs to stderr."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)  # the station died between the fork and the request
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the station's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=f"{name}: %(levelname)s: %(message)s", force=True)
    return Channel(socket.socket(fileno=fd))
