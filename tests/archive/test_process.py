"""The real archive process, from pixels in a ring to files."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from inspector import wire
from inspector.parts import Check, CheckOutcome, FrameRef, Outcome, Part, Shape, Trigger, Verdict
from inspector.ring import Ring
from inspector.wire import Keep, Kept, Ping, Stop, verdict_from_json

LIMIT_S = 15.0


class Archive:
    def __init__(self, folder: Path, **options: int) -> None:
        self.folder, self.previews = folder / "pictures", folder / "previews"
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "inspector.archive.process", "--fd", str(theirs.fileno())]
        command += ["--folder", str(self.folder), "--previews", str(self.previews)]
        command += ["--budget-mb", str(options.get("budget", 50)), "--min-free-mb", str(options.get("free", 1))]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.socket = ours
        self._buffer = b""

    def ask(self, message: Any) -> Any:
        self.socket.sendall(wire.encode_to_child(message))
        until = time.monotonic() + LIMIT_S
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.socket], [], [], max(0.0, until - time.monotonic()))
            data = self.socket.recv(1 << 16) if ready else b""
            assert data, "no answer"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return wire.decode_from_child(line)

    def close(self) -> None:
        self.socket.close()
        self.process.wait(LIMIT_S)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    archive = Archive(tmp_path_factory.mktemp("archive"))
    yield archive
    archive.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring.create(tmp_path / "ring", 2, 320 * 640 * 3)
    yield ring
    ring.close()


def noise(shape: tuple[int, ...], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype)


def verdict(outcome: str, ref: FrameRef, seq: int = 1) -> Verdict:
    trigger = Trigger("P 1/../x", "c", 0, "2026-01-01T00:00:00.000Z")
    part = Part(seq, "abcd", "s", trigger, 1, 1, "Lid", "a", 1)
    shape = Shape("polygon", ((50.0, 50.0), (200.0, 50.0), (200.0, 150.0)), role="fail")
    check = Check("lid", CheckOutcome.PASS if outcome == "PASS" else CheckOutcome.FAIL, 1001, "Lid", shapes=(shape,))
    code = {"PASS": 0, "FAIL": 1001, "NOT_INSPECTED": 300}[outcome]
    return Verdict(part, Outcome(outcome), code, "words", checks=(check,), frames=(ref,))


def filled(ring: Ring, image: NDArray[Any], pixel_format: str, slot: int = 0) -> FrameRef:
    generation = ring.write(slot, image)
    return FrameRef(
        "top", 1, str(ring.path), slot, generation, image.shape[1], image.shape[0], pixel_format, 1.0, 0.0, 1, 1, 2
    )


@pytest.mark.parametrize(
    ("pixel_format", "shape", "dtype"),
    [("Mono8", (320, 640), np.uint8), ("Mono12", (200, 400), np.uint16), ("RGB8", (320, 640, 3), np.uint8),
     ("BayerRG8", (320, 640), np.uint8)],
)  # fmt: skip
def test_pixels_are_kept_without_loss(archive: Archive, ring: Ring, pixel_format: str, shape: Any, dtype: Any) -> None:
    image = noise(shape, dtype)
    if pixel_format == "Mono12":
        image = image >> 4
    kept: Kept = archive.ask(Keep(verdict("PASS", filled(ring, image, pixel_format)), True))
    assert kept.error == "" and kept.free_bytes > 0 and kept.used_bytes > 0
    found = cv2.imread(kept.picture, cv2.IMREAD_UNCHANGED)
    if found.ndim == 3:
        found = cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    assert found.dtype == dtype and np.array_equal(found, image)
    path, _, scale = kept.preview.rpartition("@")
    preview = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    assert preview.dtype == np.uint8 and preview.shape[1] == round(shape[1] * float(scale)) <= 480


def test_beside_a_reject_lies_a_picture_for_people_and_its_verdict(archive: Archive, ring: Ring) -> None:
    asked = verdict("FAIL", filled(ring, np.full((320, 640), 90, np.uint8), "Mono8"), seq=77)
    kept: Kept = archive.ask(Keep(asked, True))
    picture = Path(kept.picture)
    assert picture.is_relative_to(archive.folder / "fail") and "/.." not in kept.picture
    drawn = cv2.imread(str(picture.with_name(f"{picture.stem}-annotated.jpg")))
    assert drawn.shape[:2] == (320, 640)
    spread = drawn.astype(int).max(axis=2) - drawn.astype(int).min(axis=2)
    assert (spread > 80).sum() > 100  # colour over a grey picture
    assert verdict_from_json(picture.with_suffix(".json").read_bytes()) == asked
    assert json.loads(picture.with_suffix(".json").read_bytes())["part"]["seq"] == 77


def test_a_preview_alone_when_nothing_is_to_be_kept(archive: Archive, ring: Ring) -> None:
    kept: Kept = archive.ask(Keep(verdict("PASS", filled(ring, noise((320, 640)), "Mono8"), seq=5), False))
    assert kept.picture == "" and Path(kept.preview.rpartition("@")[0]).is_file()


def test_every_view_is_kept_under_its_name_and_the_one_that_failed_is_shown(archive: Archive, ring: Ring) -> None:
    bright = replace(filled(ring, np.full((320, 640), 200, np.uint8), "Mono8", 0), view="bright")
    dark = replace(filled(ring, np.full((320, 640), 90, np.uint8), "Mono8", 1), view="dark")
    asked = verdict("FAIL", bright, seq=91)
    check = replace(asked.checks[0], view="dark")
    asked = replace(asked, checks=(check,), frames=(bright, dark, replace(dark, shot=1)))
    kept: Kept = archive.ask(Keep(asked, True))
    assert kept.error == "" and Path(kept.picture).name.endswith("-top-dark-1.png")
    names = {
        path.name.split("x-", 1)[1] for path in Path(kept.picture).parent.glob("*-P_1____x-*") if "91" in path.name
    }
    assert {n for n in names if n.endswith(".png")} == {"top-bright.png", "top-dark-1.png", "top-dark-2.png"}
    assert cv2.imread(kept.preview.rpartition("@")[0], cv2.IMREAD_UNCHANGED).max() == 90
    drawn = {
        n: cv2.imread(str(Path(kept.picture).parent / f"{91:010d}-P_1____x-{n}-annotated.jpg"))
        for n in ("top-bright", "top-dark-1")
    }
    spread = {n: int(((i.max(axis=2).astype(int) - i.min(axis=2))[60:] > 80).sum()) for n, i in drawn.items()}
    assert spread["top-bright"] == 0 and spread["top-dark-1"] > 100


def test_colours_are_kept_whichever_way_round_they_came(archive: Archive, ring: Ring) -> None:
    image = np.zeros((320, 640, 3), np.uint8)
    image[..., 0] = 200
    found = [
        cv2.imread(archive.ask(Keep(verdict("PASS", filled(ring, image, f)), True)).picture) for f in ("RGB8", "BGR8")
    ]
    assert [tuple(int(v) for v in picture[0, 0]) for picture in found] == [(0, 0, 200), (200, 0, 0)]


def test_a_slot_that_was_overwritten_is_no_picture_and_no_full_disk(archive: Archive, ring: Ring) -> None:
    ref = filled(ring, noise((320, 640)), "Mono8")
    ring.write(0, noise((320, 640)))
    for lost in (ref, replace(ref, ring="/nowhere"), replace(ref, slot=9), replace(ref, pixel_format="Odd")):
        kept: Kept = archive.ask(Keep(verdict("FAIL", lost), True))
        assert (kept.picture, kept.preview, kept.error) == ("", "", "")


def test_it_answers_pings_and_stops(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.ask(Ping(3)).n == 3
    archive.socket.sendall(wire.encode_to_child(Stop()))
    assert archive.process.wait(LIMIT_S) == 0
    archive.close()


def test_no_room_is_said_and_a_folder_that_goes_away_too(tmp_path: Path, ring: Ring) -> None:
    archive = Archive(tmp_path, free=10**9)
    try:
        kept: Kept = archive.ask(Keep(verdict("FAIL", filled(ring, noise((320, 640)), "Mono8")), True))
        assert kept.picture == "" and "must stay free" in kept.error and kept.preview
    finally:
        archive.close()
    archive = Archive(tmp_path)
    try:
        assert archive.ask(Ping(0)).n == 0
        (tmp_path / "pictures" / "fail").rmdir()
        (tmp_path / "pictures" / "fail").write_text("in the way")
        kept = archive.ask(Keep(verdict("FAIL", filled(ring, noise((320, 640)), "Mono8")), True))
        assert kept.picture == "" and "can't be written" in kept.error
        assert archive.ask(Ping(1)).n == 1
    finally:
        archive.close()
