"""Where parts come from: drawn ahead by a process of its own at low priority, or pictures from a folder.

The child writes to its standard output, a part at a time: a line of JSON, then the pixels.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

AHEAD = 16  # pictures drawn ahead
_GOOD = {"1": True, "true": True, "good": True, "0": False, "false": False, "bad": False}


class PictureError(Exception):
    """Pictures can't be had; one sentence."""


@dataclass(frozen=True)
class Order:
    """Which parts to make. ``count`` 0: without end. ``folder`` and ``truth`` None: rendered parts."""

    count: int
    seed: int
    defect_rate: float
    folder: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Part:
    """A part and what is true of it. ``image``: (H, W) or (H, W, 3) uint8."""

    number: int
    good: bool
    defect: str
    image: NDArray[np.uint8]


class Pictures:
    """Parts in order, ready before they are needed."""

    def __init__(self, order: Order) -> None:
        if order.folder is not None:
            read_truth(order)  # a mistake in the list is told at once, not from the child
        self._queue: queue.Queue[Part | PictureError | None] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._done = False
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tools.plc_simulator.pictures", json.dumps(asdict(order))],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
        )
        self._thread = threading.Thread(target=self._read, name="pictures", daemon=True)
        self._thread.start()

    def take(self) -> Part | None:
        """The next part, None when it is not drawn yet or there is none (``over``). Raises PictureError."""
        if self._done:
            return None
        try:
            item = self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, PictureError):
            raise item
        self._done = item is None
        return item

    @property
    def over(self) -> bool:
        """Every part was taken."""
        return self._done

    def wait_ahead(self, limit_s: float) -> None:
        """Until the queue is full or all is drawn, at most ``limit_s``."""
        end = time.monotonic() + limit_s
        while not self._queue.full() and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        self._stop.set()
        self._child.kill()
        self._child.wait(10)
        self._thread.join(5)
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _read(self) -> None:
        stream = self._child.stdout
        try:
            while stream is not None and (part := _read_part(stream)) is not None:
                self._put(part)
        except (OSError, ValueError) as error:
            self._put(PictureError(f"the drawing process sent nonsense: {error}"))
        code = self._child.wait()
        if code != 0 and not self._stop.is_set():
            self._put(PictureError(f"the drawing process ended with {code}"))
        self._put(None)

    def _put(self, item: Part | PictureError | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue


def read_truth(order: Order) -> list[tuple[Path, bool, str]]:
    """File, good and defect of every picture in the list. Raises PictureError with file and line."""
    if order.truth is None or order.folder is None:
        raise PictureError("--pictures and --truth are needed together")
    rows: list[tuple[Path, bool, str]] = []
    try:
        with open(order.truth, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for key in ("file", "good"):
                if key not in (reader.fieldnames or []):
                    raise PictureError(
                        f"{order.truth}:1: no column {key!r}; needed: file, good; allowed: defect"
                    )
            for row in reader:
                good = _GOOD.get((row["good"] or "").strip().lower())
                path = Path(order.folder) / (row["file"] or "")
                where = f"{order.truth}:{reader.line_num}"
                if good is None:
                    raise PictureError(f"{where}: good: found {row['good']!r}, allowed: 1, 0, true, false")
                if not path.is_file():
                    raise PictureError(f"{where}: there is no file {path}")
                rows.append((path, good, row.get("defect") or ""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PictureError(f"{order.truth}: can't be read: {error}") from None
    if not rows:
        raise PictureError(f"{order.truth}: no pictures in the list")
    return rows


def _read_part(stream: IO[bytes]) -> Part | None:
    line = stream.readline(100_000)
    if not line:
        return None
    head = json.loads(line)
    shape = tuple(int(n) for n in head["shape"])
    pixels = stream.read(int(np.prod(shape)))
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    return Part(int(head["number"]), bool(head["good"]), str(head["defect"]), image)


def _write_part(stream: IO[bytes], part: Part) -> None:
    head = {
        "number": part.number,
        "good": part.good,
        "defect": part.defect,
        "shape": list(part.image.shape),
    }
    stream.write(json.dumps(head).encode() + b"\n")
    stream.write(np.ascontiguousarray(part.image).tobytes())
    stream.flush()


def _rendered(order: Order) -> Iterator[Part]:
    from tools.part_renderer import mixed_run

    for rendered in mixed_run(order.count or 2**31 - 1, order.seed, order.defect_rate):
        truth = rendered.truth
        yield Part(truth.part_number or 0, truth.good, truth.defect or "", rendered.image)


def _from_folder(order: Order) -> Iterator[Part]:
    import cv2

    rows = read_truth(order)
    number = 0
    while order.count == 0 or number < order.count:
        path, good, defect = rows[number % len(rows)]
        number += 1
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise PictureError(f"{path}: not an 8-bit grey or colour picture")
        if image.ndim == 3:
            code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
            image = cv2.cvtColor(image, code)
        yield Part(number, good, defect, image)


def _main(arguments: list[str]) -> int:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.nice(10)
    cv2.setNumThreads(1)
    order = Order(**json.loads(arguments[0]))
    try:
        for part in _from_folder(order) if order.folder is not None else _rendered(order):
            _write_part(sys.stdout.buffer, part)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except PictureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
