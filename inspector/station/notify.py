"""systemd's notify protocol: ready, status, watchdog; silent where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket


class Notify:
    """Speaks to the datagram socket named by NOTIFY_SOCKET."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        usec = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and ours else None

    def send(self, **fields: str | int) -> None:
        """For example ``send(READY=1, STATUS="4711 parts")``."""
        if self._socket is not None:
            text = "\n".join(f"{key}={value}" for key, value in fields.items())
            with contextlib.suppress(OSError):  # a full or vanished socket must not hurt an inspection
                self._socket.sendto(text.encode(), self._address)
