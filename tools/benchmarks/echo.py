"""``python -m tools.benchmarks.echo PORT``: answers on ``bench/answer`` what comes on ``bench/question``; bare paho."""

from __future__ import annotations

import socket
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Until it is terminated."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="echo")
    client.on_socket_open = lambda c, u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_connect = lambda c, *_: c.subscribe("bench/question", 1)
    client.on_message = lambda c, u, m: c.publish("bench/answer", m.payload, qos=1)
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_forever()


if __name__ == "__main__":
    main()
