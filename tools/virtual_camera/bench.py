"""How fast the virtual camera is, through harvesters: `python -m tools.virtual_camera.bench [FRAMES]`.

One process a row, because a GenTL producer can be initialised once per process. Pictures come from the control file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tools.virtual_camera.control import ENVIRONMENT, CameraControl, build

ROWS = [  # sensor, pixel format, exposure in us, gain in dB, how a frame is asked for; 1000 us at 0 dB is a plain copy
    ((1024, 1280), "Mono8", 1000.0, 0.0, "software"),
    ((1024, 1280), "Mono8", 40.0, 28.0, "software"),
    ((1024, 1280), "Mono8", 40.0, 28.0, "line"),
    ((1024, 1280), "Mono8", 40.0, 28.0, "free run"),
    ((2048, 2448), "Mono8", 1000.0, 0.0, "software"),
    ((2048, 2448), "Mono8", 40.0, 28.0, "software"),
    ((2048, 2448), "Mono12", 1000.0, 0.0, "software"),
    ((2048, 2448), "Mono12", 40.0, 28.0, "software"),
    ((2048, 2448), "Mono12p", 1000.0, 0.0, "software"),
    ((2048, 2448), "Mono12Packed", 1000.0, 0.0, "software"),
    ((2048, 2448), "RGB8", 1000.0, 0.0, "software"),
    ((2048, 2448), "Mono8", 40.0, 28.0, "free run"),
]


def measure(row: int, frames: int) -> str:
    """Run one row in this process."""
    from harvesters.core import Harvester

    sensor, pixel_format, exposure_us, gain_db, how = ROWS[row]
    packed = pixel_format.endswith(("p", "Packed"))  # harvesters would take 80 ms to expand them
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "bench.ctl"
        with CameraControl.create(path, 1, sensor) as link:
            shape = (*sensor, 3) if pixel_format == "RGB8" else sensor
            link.show(0, np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8))
            os.environ[ENVIRONMENT] = str(path)
            library = Harvester()
            library.add_file(str(build()))
            library.update()
            camera = library.create(0)
            camera.num_buffers = 5
            nodes = camera.remote_device.node_map
            nodes.PixelFormat.value = pixel_format
            nodes.ExposureTime.value = exposure_us
            nodes.Gain.value = gain_db
            nodes.TriggerMode.value = "Off" if how == "free run" else "On"
            nodes.TriggerSource.value = "Line1" if how == "line" else "Software"
            nodes.AcquisitionFrameRate.value = 10000.0
            camera.start()
            took = []
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(frames):
                begin = time.perf_counter()
                if how == "line":
                    link.pulse(0)
                elif how != "free run":
                    nodes.TriggerSoftware.execute()
                if packed:
                    buffer = camera.fetch(timeout=2.0, is_raw=True)
                    buffer.parent.queue_buffer(buffer)
                else:
                    with camera.fetch(timeout=2.0):
                        pass
                took.append(time.perf_counter() - begin)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            camera.stop()
            counters = link.counters(0)
            camera.destroy()
            library.reset()
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1000
    what = f"{sensor[1]}x{sensor[0]} {pixel_format:12} {exposure_us:5.0f} us {gain_db:2.0f} dB  {how:8}"
    times = f"p50 {p50:5.2f}  p99 {p99:5.2f}  max {max(took) * 1000:5.1f} ms"
    return f"{what} {frames / wall:6.0f} fps   {times}   cpu {100 * cpu / wall:3.0f} %   underruns {counters.underruns}"


def main() -> None:
    """Print one line a row."""
    if len(sys.argv) == 3:
        print(measure(int(sys.argv[1]), int(sys.argv[2])))
        return
    frames = sys.argv[1] if len(sys.argv) == 2 else "500"
    for row in range(len(ROWS)):
        subprocess.run([sys.executable, "-m", "tools.virtual_camera.bench", str(row), frames], check=True, timeout=120)


if __name__ == "__main__":
    main()
