"""``python -m tools.broker --port N``: the embedded MQTT broker of demo, benchmarks and tests, never of production.

It is iotcore in this process, with one correction: its connections do not set TCP_NODELAY, and then an answer
that follows an acknowledgement waits 40 ms for the peer's delayed ACK. On Linux a connection inherits the option
from the listening socket, so it is set there.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time

from iotcore import Broker

START_LIMIT_S = 10.0


def listeners(port: int) -> list[socket.socket]:
    """Own listening sockets on ``port``, as duplicates that the caller closes."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            duplicate = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # not a socket, or gone meanwhile
        try:
            listening = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            mine = bool(listening) and duplicate.getsockname()[1] == port
        except (OSError, IndexError, TypeError):
            mine = False
        if mine:
            found.append(duplicate)
        else:
            duplicate.close()
    return found


def no_delay(port: int) -> None:
    """Wait until the broker listens, then set the option on its listener."""
    end = time.monotonic() + START_LIMIT_S
    while not (found := listeners(port)):
        if time.monotonic() > end:
            print(f"broker: nothing listens on port {port} after {START_LIMIT_S:.0f} s", file=sys.stderr)
            os._exit(1)
        time.sleep(0.01)
    for listener in found:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.close()


def main() -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler of ours would never run: the main thread is not in Python
    threading.Thread(target=no_delay, args=(port,), daemon=True).start()
    try:
        Broker(port=port, listen="127.0.0.1").run_forever()
    except (KeyboardInterrupt, OSError) as error:
        print(f"broker: {error or 'stopped'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
