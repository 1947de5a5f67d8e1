"""The client's end of the control file: bounds, errors, and the layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.virtual_camera import control as module
from tools.virtual_camera.control import CameraControl, Counters

HEADER = Path(module.__file__).with_name("control_layout.h")


@pytest.fixture
def link(tmp_path: Path) -> Iterator[CameraControl]:
    with CameraControl.create(tmp_path / "cameras.ctl") as made:
        yield made


def test_layout_is_that_of_the_header() -> None:
    text = HEADER.read_text()
    asserted = dict(re.findall(r"offsetof\(struct device_page, (\w+)\) == (\d+)", text))
    fields = module._DEVICE.fields
    assert fields is not None
    for name in ("pictures", "faults", "counters"):
        assert fields[name][1] == int(asserted[name])
    assert f"LAYOUT_VERSION {module._VERSION}u" in text
    assert module._HEADER.itemsize == 48 and module._SLOT.itemsize == 32 and module._FAULT.itemsize == 32
    assert int(asserted["registers"]) == module._REGISTERS and module._SIMULATION.itemsize == 64
    kinds = re.search(r"enum fault_kind \{.*?\n(.*?)FAULT_KINDS,", text, re.S)
    assert kinds is not None
    assert [k.lower() for k in re.findall(r"FAULT_(\w+),", kinds[1])] == [
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in module.FAULTS
    ]
    order = re.search(r"enum counter \{(.*?)\};", text, re.S)
    assert order is not None
    names = [n.lower() for n in re.findall(r"COUNT_(\w+),", order[1])]
    assert names == list(Counters.__dataclass_fields__)


def test_file_is_sparse_and_opens_again(link: CameraControl) -> None:
    status = link.path.stat()
    assert status.st_blocks * 512 < 100_000 < status.st_size
    with CameraControl.open(link.path) as again:
        assert (again.devices, again.sensor) == (2, (1024, 1280))
        again.set_temperature(1, 60.0)
        assert again.counters(0) == Counters(*[0] * 24)


def test_new_pictures_never_go_into_the_slot_that_is_shown(link: CameraControl) -> None:
    slots = []
    for i in range(4):
        link.show(0, np.full((10, 10), i, np.uint8))
        slots.append(int(link._pages[0]["latest_picture"][0][0]))
    assert slots == [1, 2, 0, 1]
    assert [int(s) for s in link._pages[0]["pictures"][0][0]["sequence"]] == [2, 4, 2]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.pulse(2), "device is 2, allowed is 0 to 1"),
        (lambda c: c.pulse(-1), "device is -1"),
        (lambda c: c.pulse(0, 2), "line is 2, allowed is 0 to 1"),
        (lambda c: c.set_line(0, -1, True), "line is -1"),
        (lambda c: c.show(0, np.zeros((4, 4), np.uint16)), r"uint16 \(4, 4\), allowed is uint8"),
        (lambda c: c.show(0, np.zeros((4, 4, 4), np.uint8)), "allowed is uint8"),
        (lambda c: c.show(0, np.zeros((0, 4), np.uint8)), "0 x 4 pixels"),
        (lambda c: c.show(0, np.zeros((2049, 4), np.uint8)), "2049 x 4 pixels, allowed is up to 2048 x 2448"),
        (lambda c: c.show(0, np.zeros((4, 4), np.uint8), -1), "part_number is -1"),
        (lambda c: c.arm(0, "Explode"), "'Explode', allowed is None, DropFrame"),
        (lambda c: c.arm(0, "DropFrame", count=0), "count is 0"),
        (lambda c: c.arm(0, "Delay", gone_ms=4), "Delay has no parameter 'gone_ms', it has delay_ms"),
        (lambda c: c.arm(0, "Disconnect", skip=1, style="Loud"), "style is 'Loud', allowed is Silent"),
        (lambda c: c.disconnect(0, gone_ms=-1), "-1 or 1000 ms is out of range"),
    ],
)
def test_bad_calls_are_named(link: CameraControl, call: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call(link)  # type: ignore[operator]


def test_create_refuses_what_no_camera_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="devices is 5"):
        CameraControl.create(tmp_path / "x", devices=5)
    with pytest.raises(ValueError, match="sensor is"):
        CameraControl.create(tmp_path / "x", sensor=(63, 1280))
    assert not list(tmp_path.iterdir())


def test_open_refuses_other_files(tmp_path: Path, link: CameraControl) -> None:
    with pytest.raises(FileNotFoundError):
        CameraControl.open(tmp_path / "none")
    other = tmp_path / "other"
    other.write_bytes(b"hello")
    with pytest.raises(ValueError, match="is not a virtual camera control file"):
        CameraControl.open(other)
    with link.path.open("rb") as file:
        head = bytearray(file.read(4096))
    other.write_bytes(head)
    with pytest.raises(ValueError, match="is damaged"):
        CameraControl.open(other)
    head[8] = 7
    other.write_bytes(head)
    with pytest.raises(ValueError, match="has layout 7, this program needs 2"):
        CameraControl.open(other)


def test_closed_is_closed(link: CameraControl) -> None:
    link.close()
    link.close()
    with pytest.raises(ValueError, match="was closed"):
        link.pulse(0)


def test_build_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "CTI", tmp_path / "build" / "virtual_camera.cti")
    (tmp_path / "camera.xml").touch()
    (tmp_path / "Makefile").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="there is no `make`; on Debian: apt install build-essential"):
        module.build()
