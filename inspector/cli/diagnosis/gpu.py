"""NVIDIA driver, TensorRT and pycuda, as far as this station wants them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inspector.cli.diagnosis import Finding, Level
from inspector.config import StationConfig

LIMIT_S = 60.0
# the judge's own way in, in a process of its own: a broken CUDA can hang or crash
_ASK = """
import sys
from inspector.infer.backend import Unavailable
from inspector.infer.tensorrt import require_gpu
try:
    trt, cuda = require_gpu()
    print(f"{trt.__name__} {trt.__version__} on {cuda.Device(0).name()}")
except Unavailable as error:
    print(error)
    sys.exit(3)
"""


def gpu(config: StationConfig, root: Path, limit_s: float = LIMIT_S) -> list[Finding]:
    """With ``backend: cpu`` nothing is wanted; ``auto`` makes do with the CPU; ``tensorrt`` does not."""
    if config.backend == "cpu":
        return [Finding("TensorRT", "ok", "not wanted (backend: cpu)")]
    board = (root / "etc/nv_tegra_release").is_file()
    driver = _driver(root)
    level: Level = "MISSING" if config.backend == "tensorrt" else "warn"
    if not board and driver is None:
        if level == "warn":
            return [Finding("NVIDIA driver", "ok", "no NVIDIA GPU in use: models run on the CPU (backend: auto)")]
        fix = "sudo apt install nvidia-driver    # or `backend: auto` in the station file"
        return [Finding("NVIDIA driver", "MISSING", "no /proc/driver/nvidia/version", fix)]
    found = [Finding("NVIDIA driver", "ok", driver or "a Jetson board")]
    works, text = _ask(limit_s)
    if works:
        return [*found, Finding("TensorRT", "ok", text)]
    if board:
        fix = "see deploy/JETSON.md: sudo apt install nvidia-jetpack, and pycuda is compiled on the board"
    else:
        fix = "/opt/inspector/current/bin/python -m pip install 'inspector[gpu]'    # needs the CUDA toolkit"
    return [*found, Finding("TensorRT", level, text, fix)]


def _driver(root: Path) -> str | None:
    try:
        return (root / "proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def _ask(limit_s: float) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"TensorRT or CUDA hangs: no answer within {limit_s:.0f} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode in (0, 3) and lines:
        return done.returncode == 0, lines[-1]
    return False, f"TensorRT or CUDA ended the process ({done.returncode})"
