"""Tests run side by side (`make test`: two at a time); one that is marked ``alone`` has the computer to itself.

A gate and a room, two locked files. Whoever wants to work passes the gate into the room, and the room is shared. A test
that wants to be alone keeps the gate shut until the last one has left: nobody can slip in before it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def room(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a place in the room of this folder, or all of it. A process that dies gives its place back."""
    with (folder / "gate.lock").open("w") as gate, (folder / "room.lock").open("w") as inside:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(inside, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:  # said aloud: a child that was forked has the files open too
            fcntl.flock(gate, fcntl.LOCK_UN)
            fcntl.flock(inside, fcntl.LOCK_UN)
