"""The wish that cores don't sleep: said while a part is under way, and never in the way of one."""

from __future__ import annotations

import struct
from pathlib import Path

from inspector.station.awake import Awake

NOW, WHENEVER = struct.pack("=i", 0), struct.pack("=i", 2_000_000_000)


def test_a_wish_is_said_once_and_taken_back_once(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    device.touch()
    awake = Awake(device)
    for wish in (True, True, False, False, True):
        awake.wish(wish)
    awake.close()
    awake.wish(False)
    # a plain file keeps all that was said; the kernel takes each word for itself
    assert device.read_bytes() == WHENEVER + NOW + WHENEVER + NOW


def test_who_may_not_wish_goes_on_without(tmp_path: Path) -> None:
    awake = Awake(tmp_path / "nothing" / "cpu_dma_latency")
    awake.wish(True)
    awake.wish(False)
    awake.close()


def test_a_kernel_that_refuses_a_word_is_asked_no_more() -> None:
    awake = Awake(Path("/dev/full"))
    awake.wish(True)
    awake.wish(False)
    awake.close()
