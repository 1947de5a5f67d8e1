"""Compiles the project's tools that are written in C, when their sources are newer than what is there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path


def compiled(target: Path, what: str) -> Path:
    """Make ``target`` (in FOLDER/build) with FOLDER's Makefile and return it. RuntimeError says what is missing.

    ``what`` names it for people: "the virtual camera".
    """
    folder = target.parents[1]
    sources = [*folder.glob("*.c"), *folder.glob("*.h"), *folder.glob("*.xml"), folder / "Makefile"]
    if target.exists() and all(source.stat().st_mtime <= target.stat().st_mtime for source in sources):
        return target
    compiler = os.environ.get("CC", "cc")
    for tool in ("make", compiler):
        if shutil.which(tool) is None:
            raise RuntimeError(f"{what} cannot be built: there is no `{tool}`; on Debian: apt install build-essential")
    target.parent.mkdir(exist_ok=True)
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two tests may ask at once
        done = subprocess.run(
            ["make", "-C", str(folder), f"CC={compiler}"], capture_output=True, text=True, timeout=300
        )
    if done.returncode != 0:
        raise RuntimeError(f"{what} cannot be built:\n{(done.stdout + done.stderr)[-2000:]}")
    return target
