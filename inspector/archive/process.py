"""The archive process: ``python -m inspector.archive.process --fd N --folder DIR --previews DIR``.

It works from the ring slot after the verdict has left. Raw pixels are stored as lossless PNG, so that a part can be
inspected again; beside a reject lies the annotated picture for people.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from inspector.archive.retention import Retention
from inspector.child import Channel, start
from inspector.overlay import draw, shown
from inspector.parts import FrameRef, InspectionFault, Outcome, Verdict
from inspector.pixels import decode
from inspector.ring import RingReader
from inspector.wire import Keep, Kept, Ping, Stop, verdict_to_json

_log = logging.getLogger("archive")
PREVIEW_PX = 480


class Archivist:
    """Handles one part at a time."""

    def __init__(self, channel: Channel, retention: Retention, previews: Path) -> None:
        self._channel = channel
        self._retention = retention
        self._previews = previews
        self._rings = RingReader()

    def run(self) -> None:
        """Until the station says stop or goes away."""
        while True:
            message = self._channel.receive(1.0)
            if isinstance(message, Ping):
                self._channel.pong(message)
            elif isinstance(message, Keep):
                self._channel.send(self._keep(message.verdict, message.store))
            elif isinstance(message, Stop):
                return

    def _keep(self, verdict: Verdict, store: bool) -> Kept:
        picture, preview, error = "", "", ""
        first = shown(verdict)
        for index, ref in enumerate(verdict.frames):
            try:
                raw = self._rings.read(ref).copy()
                if not self._rings.still(ref):
                    raise InspectionFault(201, "overwritten")
            except InspectionFault as fault:  # its camera is gone, or it waited too long: nothing is wrong here
                _log.warning("picture of part %d is gone: %s", verdict.part.seq, fault.text)
                continue
            try:
                if index == first:
                    preview = self._preview(verdict, ref, raw)
                if store:
                    stored, trouble = self._store(verdict, ref, raw)
                    picture = stored if index == first or not picture else picture
                    error = error or trouble
            except (OSError, cv2.error) as problem:
                error = f"picture of part {verdict.part.seq} can't be written: {problem}"
                _log.error("%s", error)
        return Kept(
            verdict.part.seq,
            picture=picture,
            preview=preview,
            error=error,
            free_bytes=self._retention.free_bytes(),
            used_bytes=self._retention.used_bytes,
            dropped_total=self._retention.dropped,
        )

    def _preview(self, verdict: Verdict, ref: FrameRef, raw: NDArray[Any]) -> str:
        image = decode(raw, ref.pixel_format)
        scale = min(1.0, PREVIEW_PX / image.shape[1])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if small.dtype != "uint8":
            small = cv2.convertScaleAbs(small, alpha=255.0 / max(1, int(small.max())))
        if small.ndim == 3:
            small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        path = self._previews / f"{verdict.part.boot}-{verdict.part.seq}.png"
        path.write_bytes(cv2.imencode(".png", small)[1].tobytes())
        return f"{path}@{scale}"

    def _store(self, verdict: Verdict, ref: FrameRef, raw: NDArray[Any]) -> tuple[str, str]:
        rank = verdict.outcome.value.lower()
        day = time.strftime("%Y-%m-%d", time.gmtime())
        stem = f"{day}/{verdict.part.seq:010d}-{_safe(verdict.part.trigger.part_id)}-{_whose(verdict, ref)}"
        # a mosaic stays one: its colours can be computed again
        colour = raw if raw.ndim == 2 else cv2.cvtColor(decode(raw, ref.pixel_format), cv2.COLOR_RGB2BGR)
        files = [(f"{stem}.png", cv2.imencode(".png", colour)[1].tobytes())]
        if verdict.outcome is Outcome.FAIL:
            drawn = cv2.cvtColor(draw(decode(raw, ref.pixel_format), verdict, ref), cv2.COLOR_RGB2BGR)
            files.append((f"{stem}-annotated.jpg", cv2.imencode(".jpg", drawn)[1].tobytes()))
        files.append((f"{stem}.json", verdict_to_json(verdict)))
        why = self._retention.room(sum(len(data) for _, data in files), rank)
        if why:
            return "", f"pictures are not kept: {why}"
        # the picture alone must survive a power cut: the rest is made from it and from the ledger
        paths = [self._retention.write(rank, name, data, synced=i == 0) for i, (name, data) in enumerate(files)]
        return str(paths[0]), ""


def _whose(verdict: Verdict, ref: FrameRef) -> str:
    """``top``, ``top-dark``, or with its number where the view has several pictures: ``top-dark-2``."""
    several = sum((other.camera, other.view) == (ref.camera, ref.view) for other in verdict.frames) > 1
    return "-".join([ref.camera, *([ref.view] if ref.view else []), *([str(ref.shot + 1)] if several else [])])


def _safe(part_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in part_id)


def main() -> None:
    """Entry point of the process."""
    arguments = argparse.ArgumentParser(description="The archive's process; the station starts it.")
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--previews", type=Path, required=True)
    arguments.add_argument("--budget-mb", type=int, required=True)
    arguments.add_argument("--min-free-mb", type=int, required=True)
    given = arguments.parse_args()
    channel = start(given.fd, "archive")
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError):
        # runs when nobody else wants to, and a core that runs it counts as free for a judge that wakes up
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        given.previews.mkdir(parents=True, exist_ok=True)
        retention = Retention(given.folder, given.budget_mb * 1_000_000, given.min_free_mb * 1_000_000)
    except OSError as problem:
        _log.error("pictures can't be kept: %s", problem)
        sys.exit(1)
    try:
        Archivist(channel, retention, given.previews).run()
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
