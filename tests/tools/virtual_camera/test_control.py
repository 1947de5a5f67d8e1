"""The client's end of the control file: bounds, errors, and the layout."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.virtual_camera import control as module
from tools.virtual_camera import layout
from tools.virtual_camera.control import CameraControl, Counters, expected

HEADER = Path(module.__file__).with_name("control_layout.h")


@pytest.fixture
def link(tmp_path: Path) -> Iterator[CameraControl]:
    with CameraControl.create(tmp_path / "cameras.ctl") as made:
        yield made


def test_layout_is_that_of_the_header() -> None:
    text = HEADER.read_text()
    asserted = dict(re.findall(r"offsetof\(struct device_page, (\w+)\) == (\d+)", text))
    fields = layout.DEVICE.fields
    assert fields is not None
    for name in ("pictures", "faults", "counters"):
        assert fields[name][1] == int(asserted[name])
    assert f"LAYOUT_VERSION {layout.VERSION}u" in text
    assert layout.HEADER.itemsize == 48 and layout.SLOT.itemsize == 32 and layout.FAULT.itemsize == 32
    assert int(asserted["registers"]) == layout.REGISTERS and layout.SIMULATION.itemsize == 64
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
        (lambda c: c.show(0, np.zeros((4, 4), np.uint8), light=1), "light is 1, allowed is 2 or 3"),
        (lambda c: c.arm(0, "Explode"), "'Explode', allowed is None, DropFrame"),
        (lambda c: c.arm(0, "DropFrame", count=0), "count is 0"),
        (lambda c: c.arm(0, "Delay", gone_ms=4), "Delay has no parameter 'gone_ms', it has delay_ms"),
        (lambda c: c.arm(0, "Disconnect", skip=1, style="Loud"), "style is 'Loud', allowed is Silent"),
        (lambda c: c.arm(0, "BadImage", how="Pink"), "how is 'Pink', allowed is Black, Saturated, Noisy"),
        (lambda c: c.arm(0, "LineStuck", line=2), "line is 2, allowed is 0 to 1"),
        (lambda c: c.arm(0, "PortError", feature="Exposure"), "feature is 'Exposure', allowed is a feature of"),
        (lambda c: c.arm(0, "PortError", feature="ChunkEnable"), "has a register for each value of its selector"),
        (lambda c: c.simulate(0, noise=-1), "noise is -1, allowed is 0 to 64"),
        (lambda c: c.simulate(0, rain=1), "'rain' cannot be simulated, allowed is seed, line_padding_bytes"),
        (lambda c: c.set_register(0, "TriggerMode", "Yes"), "TriggerMode has no 'Yes', allowed is Off, On"),
        (lambda c: expected(np.zeros((4, 4), np.uint8), "Mono9"), "pixel_format is 'Mono9', allowed is Mono8"),
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


def test_registers_are_where_the_header_has_them(link: CameraControl) -> None:
    """The places that others poke at; page 1 of the file is the first camera's."""
    for feature, value, place, kind in (
        ("TriggerMode", "On", 28, "<I"),
        ("TriggerSource", "Line1", 32, "<I"),
        ("ExposureTime", 333.5, 80, "<d"),
        ("SimClockOffsetNs", -7, 0x328, "<q"),
        ("SimFrameIdJump", -1, 0x124, "<i"),
    ):
        link.set_register(0, feature, value)
        with link.path.open("rb") as file:
            file.seek(4096 + 1024 + place)
            (found,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
        assert found == {"On": 1, "Line1": 2}.get(str(value), value)


def test_armed_counts_down_to_nothing(link: CameraControl) -> None:
    link.arm(0, "DropFrame", skip=4, count=3)
    assert (link.armed(0, "DropFrame"), link.armed(0, "Delay"), link.armed(1, "DropFrame")) == (3, 0, 0)
    link.arm(0, "None")
    assert link.armed(0, "DropFrame") == 0


def test_expected_pixels_by_hand() -> None:
    image = np.array([[0, 128, 255, 7]] * 2, np.uint8)
    low = [[0, 97, 255, 291 % 256], [57, 154, 255, 348 % 256]]
    assert np.array_equal(expected(image, "Mono16"), image.astype(int) * 256 + np.array(low))
    assert expected(image, "Mono10p").dtype == np.uint16
    assert expected(image, "Mono10p")[1].tolist() == [57 >> 6, 128 * 4 + (154 >> 6), 1023, 7 * 4 + (92 >> 6)]
    assert expected(image, "Mono8", sensor=(4, 6)).tolist()[1] == [0, 0, 128, 255, 7, 0]
    assert expected(image, "Mono8", region=(1, 1, 2, 1)).tolist() == [[128, 255]]
    colour = np.array([[[1, 2, 3]] * 2] * 2, np.uint8)
    assert expected(colour, "BayerGB8").tolist() == [[2, 3], [1, 2]]
    assert expected(colour, "BGR8")[0, 0].tolist() == [3, 2, 1]


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
