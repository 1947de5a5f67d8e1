"""A cable between station and broker that can be cut: a TCP proxy in a thread."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

CHUNK = 65536


class Proxy:
    """Listens on ``port`` of this computer and passes everything to ``target``."""

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.swallowing = False  # half open: both ends believe in a connection that carries nothing
        self.refusing = False  # the cable is out: no new connection
        self.connections = 0
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._cut = False
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=16)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Every connection ends, with a reset on both sides."""
        self._cut = True

    def close(self) -> None:
        """End."""
        self._closed = True
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(0.05):
                found = key.fileobj
                assert isinstance(found, socket.socket)  # noqa: S101
                if found is self._listener:
                    self._accept()
                elif found in self._pairs:
                    self._pass(found)
            if self._cut:
                self._cut = False
                for one in list(self._pairs):
                    self._end(one, reset=True)
        for one in list(self._pairs):
            self._end(one, reset=True)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.refusing:
            self._reset(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 1)
        except OSError:
            self._reset(near)
            return
        self.connections += 1
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.settimeout(1.0)
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, source: socket.socket) -> None:
        try:
            data = source.recv(CHUNK)
            if self.swallowing and data:
                return
            if data:
                self._pairs[source].sendall(data)
                return
        except OSError:
            pass
        self._end(source, reset=False)

    def _end(self, one: socket.socket, *, reset: bool) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for each in (one, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(each)
            if reset:
                self._reset(each)
            else:
                each.close()

    @staticmethod
    def _reset(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
