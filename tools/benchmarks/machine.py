"""The kind of machine, in words for an evidence page."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> str:
    """For example ``2 shared cores (Intel Xeon ...), 23 GiB, Linux 6.1, Python 3.11.7``."""
    model = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        memory = Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        memory = "0"
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().split("-")[0]
    processor = model or platform.machine()
    python = platform.python_version()
    return f"{cores} cores ({processor}), {int(memory) // 1048576} GiB, Linux {kernel}, Python {python}"
