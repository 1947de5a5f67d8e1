"""The bare loop: one camera, one process, harvesters as its makers show it, and a copy into shared memory.

``python -m tools.cameras.bare SERIAL RING``: for each line on stdin one line of JSON on stdout.
``pace START_NS PERIOD_MS COUNT``: so many triggers, the first at START_NS of the monotonic clock.
``fast SECONDS``: trigger after trigger.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from typing import Any

import numpy as np
from harvesters.core import Harvester, ParameterKey, ParameterSet

from tools.virtual_camera.control import CTI

SLOTS = 8


class Bare:
    """An open camera and its shared memory."""

    def __init__(self, serial: str, ring: str) -> None:
        self.library = Harvester()
        self.library.add_file(str(CTI))
        self.library.update()
        wait = ParameterSet({ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: 1})
        self.camera = self.library.create({"serial_number": serial}, config=wait)
        nodes: Any = self.camera.remote_device.node_map
        nodes.PixelFormat.value = "Mono8"
        nodes.ExposureTime.value = 1000.0
        nodes.TriggerMode.value = "On"
        nodes.TriggerSource.value = "Software"
        self._fire = nodes.TriggerSoftware
        rows, columns = int(nodes.Height.value), int(nodes.Width.value)
        descriptor = os.open(ring, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(descriptor, 0, SLOTS * rows * columns)
        self._slots = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8).reshape(SLOTS, rows, columns)
        self._slots[...] = 0  # each page is there before anything is timed
        self._next = 0
        self.camera.start()

    def one(self) -> float:
        """One picture; ms from the trigger to its last pixel in shared memory."""
        began = time.monotonic_ns()
        self._fire.execute()
        with self.camera.fetch(timeout=2.0) as buffer:
            component = buffer.payload.components[0]
            slot = self._slots[self._next]
            np.copyto(slot, component.data.reshape(slot.shape))
            took = (time.monotonic_ns() - began) / 1e6
        self._next = (self._next + 1) % SLOTS
        return took

    def pace(self, start_ns: int, period_ms: float, count: int) -> dict[str, Any]:
        """At a fixed rate."""
        took = []
        for number in range(count):
            wait_ns = start_ns + int(number * period_ms * 1e6) - time.monotonic_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            took.append(self.one())
        return {"took_ms": took}

    def fast(self, seconds: float) -> dict[str, Any]:
        """As fast as it goes."""
        began = time.monotonic()
        count = 0
        while time.monotonic() - began < seconds:
            self.one()
            count += 1
        return {"rate": count / (time.monotonic() - began)}


def main() -> None:
    """Measure as asked on stdin."""
    bare = Bare(sys.argv[1], sys.argv[2])
    for _ in range(10):
        bare.one()
    print("ready", flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        if what == "pace":
            told = bare.pace(int(numbers[0]), float(numbers[1]), int(numbers[2]))
        else:
            told = bare.fast(float(numbers[0]))
        print(json.dumps(told), flush=True)
    os._exit(0)  # the camera goes with the process


if __name__ == "__main__":
    main()
