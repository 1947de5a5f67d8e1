from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.codes import Code
from inspector.parts import FrameRef, InspectionFault
from inspector.ring import PIXEL_TYPES, Ring, RingReader


def ref(ring: Ring, slot: int, generation: int, image: np.ndarray[Any, Any], name: str = "Mono8") -> FrameRef:
    height, width = image.shape[:2]
    return FrameRef("top", 0, str(ring.path), slot, generation, width, height, name, 1.0, 0.0, 0, 0, 0)


def picture(seed: int = 0, shape: tuple[int, ...] = (48, 64), dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring.create(tmp_path / "ring", 4, 48 * 64 * 3)


@pytest.mark.parametrize("name", PIXEL_TYPES)
def test_a_picture_of_every_format_is_read_as_it_was_written(name: str, ring: Ring) -> None:
    dtype, channels = PIXEL_TYPES[name]
    image = picture(1, (48, 64) if channels == 1 else (48, 64, channels), dtype)
    passport = ref(ring, 2, ring.write(2, image), image, name)
    reader = Ring(ring.path, writable=False)
    found = reader.read(passport)
    assert np.array_equal(found, image) and found.dtype == dtype
    assert not found.flags.writeable and not found.flags.owndata  # in place, for looking only
    assert reader.still(passport)


def test_pictures_with_gaps_between_their_lines_are_written_whole(ring: Ring) -> None:
    image = picture(2, (48, 80))[:, :64]
    assert np.array_equal(ring.read(ref(ring, 0, ring.write(0, image), image)), image)


def test_another_generation_is_another_picture(ring: Ring) -> None:
    old, new = picture(1), picture(2)
    passport = ref(ring, 1, ring.write(1, old), old)
    again = ref(ring, 1, ring.write(1, new), new)
    assert again.generation == passport.generation + 2
    assert np.array_equal(ring.read(again), new)
    for gone in (passport, replace(again, generation=again.generation + 2), replace(again, generation=0)):
        assert not ring.still(gone)
        with pytest.raises(InspectionFault, match="picture of camera top was overwritten") as caught:
            ring.read(gone)
        assert caught.value.code == Code.NO_FRAME


def test_a_slot_that_is_being_written_has_no_valid_picture(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(1)
    before = ref(ring, 0, ring.write(0, image), image)
    seen = []

    def watch(target: Any, source: Any) -> None:
        seen.append([ring.still(replace(before, generation=before.generation + n)) for n in (0, 2)])

    with monkeypatch.context() as patched:
        patched.setattr(np, "copyto", watch)
        ring.write(0, picture(2))
    assert seen == [[False, False]]


def test_an_earlier_rings_passport_fits_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    old = Ring.create(path, 2, 5000)
    image = picture(1)
    passport = ref(old, 0, old.write(0, image), image)
    new = Ring.create(path, 2, 5000)
    new.write(0, picture(2))
    assert not new.still(passport)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slot": 4}, "was overwritten"),
        ({"slot": -1}, "was overwritten"),
        ({"pixel_format": "Mono12p"}, "camera top sends Mono12p; allowed: Mono8, Mono10"),
        ({"height": 49}, "3072 bytes are not a picture of 64x49 Mono8"),
        ({"height": 24}, "3072 bytes are not a picture of 64x24 Mono8"),
        ({"pixel_format": "Mono12"}, "3072 bytes are not a picture of 64x48 Mono12"),
        ({"height": -48, "width": -64}, "are not a picture of -64x-48"),
        ({"height": 0}, "are not a picture of 64x0"),
        ({"width": 1 << 40}, "are not a picture of"),
    ],
)
def test_a_passport_that_does_not_fit_is_a_fault(changes: dict[str, Any], says: str, ring: Ring) -> None:
    image = picture(1)
    good = ref(ring, 0, ring.write(0, image), image)
    with pytest.raises(InspectionFault, match=says) as caught:
        ring.read(replace(good, **changes))
    assert caught.value.code == Code.NO_FRAME


def test_what_does_not_fit_is_not_written(ring: Ring) -> None:
    image = picture(1)
    passport = ref(ring, 0, ring.write(0, image), image)
    with pytest.raises(ValueError, match="does not fit a slot of 12288"):
        ring.write(0, picture(2, (200, 200)))
    for slot in (-1, 4):
        with pytest.raises(ValueError, match=f"slot {slot} is not one of 4"):
            ring.write(slot, image)
    assert ring.still(passport)


def damaged(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize(
    "how",
    ["empty", "tiny", "garbage", "magic", "version", "slots", "slot_bytes", "cut", "grown"],
)
def test_a_file_that_is_no_ring_is_refused(how: str, ring: Ring) -> None:
    path = ring.path
    if how == "empty":
        path.write_bytes(b"")
    elif how == "tiny":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "garbage":
        path.write_bytes(os.urandom(20000))
    elif how == "cut":
        os.truncate(path, path.stat().st_size - 1)
    elif how == "grown":
        os.truncate(path, path.stat().st_size + 1)
    else:
        at, data = {
            "magic": (0, b"X"),
            "version": (8, struct.pack("<I", 9)),
            "slots": (12, struct.pack("<I", 0xFFFFFFFF)),
            "slot_bytes": (16, struct.pack("<Q", 1 << 60)),
        }[how]
        damaged(path, at, data)
    with pytest.raises(ValueError, match=str(path)):
        Ring(path, writable=False)
    image = picture(1)
    passport = ref(ring, 0, 5, image)
    with pytest.raises(InspectionFault, match="pictures of camera top can't be read") as caught:
        RingReader().read(passport)
    assert caught.value.code == Code.NO_FRAME


def test_no_space_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large"):
        Ring.create(tmp_path / "ring", 64, 1 << 50)
    assert list(tmp_path.iterdir()) == []


def test_all_memory_is_reserved_at_once(tmp_path: Path) -> None:
    status = Ring.create(tmp_path / "ring", 8, 100_000).path.stat()
    assert status.st_blocks * 512 >= 8 * 100_000
    assert status.st_mode & 0o777 == 0o600


def test_a_small_file_system_is_full_before_the_first_part(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        with pytest.raises(OSError, match="No space left"):
            Ring.create(small / "ring", 8, 500_000)
        assert list(small.iterdir()) == []
        Ring.create(small / "ring", 2, 400_000).close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def maps_of(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path))


def test_a_reader_lets_a_dead_processs_ring_go(tmp_path: Path) -> None:
    reader = RingReader()
    image = picture(1)
    passports = []
    for life in range(3):
        path = tmp_path / f"ring-{life}"
        writer = Ring.create(path, 2, image.nbytes)
        passports.append(ref(writer, 0, writer.write(0, image), image))
        writer.close()
        assert np.array_equal(reader.read(passports[-1]), image) and reader.still(passports[-1])
        path.unlink()
    assert [maps_of(tmp_path / f"ring-{life}") for life in range(3)] == [0, 0, 1]
    with pytest.raises(InspectionFault, match="can't be read"):
        reader.read(passports[0])
    assert np.array_equal(reader.read(passports[2]), image)


def test_a_reader_keeps_what_somebody_still_looks_at(tmp_path: Path) -> None:
    reader, image = RingReader(), picture(1)
    old, new = (Ring.create(tmp_path / name, 2, image.nbytes) for name in ("old", "new"))
    looked_at = reader.read(ref(old, 0, old.write(0, image), image))
    reader.read(ref(new, 0, new.write(0, picture(2)), image))
    assert np.array_equal(looked_at, image)


def test_a_reader_finds_a_new_file_under_the_old_name(tmp_path: Path) -> None:
    reader, path = RingReader(), tmp_path / "ring"
    for seed in range(2):
        image = picture(seed)
        writer = Ring.create(path, 2, image.nbytes)
        assert np.array_equal(reader.read(ref(writer, 0, writer.write(0, image), image)), image)


def test_two_cameras_have_a_ring_each(tmp_path: Path) -> None:
    reader = RingReader()
    rings = {name: Ring.create(tmp_path / name, 2, 5000) for name in ("top", "side")}
    passports = []
    for seed, (name, writer) in enumerate(rings.items()):
        image = picture(seed)
        passports.append((replace(ref(writer, 0, writer.write(0, image), image), camera=name), image))
    for passport, image in passports * 2:
        assert np.array_equal(reader.read(passport), image)
    assert [maps_of(writer.path) for writer in rings.values()] == [2, 2]  # the writer's and the reader's
