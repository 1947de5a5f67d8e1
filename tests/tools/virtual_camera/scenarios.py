"""Scenarios, each a process of its own: a GenTL producer can be initialised once per process.

Run one by hand: `python -m tests.tools.virtual_camera.scenarios NAME` with VIRTUAL_CAMERA_CONTROL set.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
from genicam import genapi
from numpy.typing import NDArray

from tests.tools.virtual_camera.rig import (
    COLUMNS,
    ERRORS,
    FIRST,
    ROWS,
    camera,
    control,
    cti,
    harvester,
    open_camera,
    picture,
    wait_for,
)
from tools.virtual_camera.control import PIXEL_FORMATS, expected

READABLE = (genapi.EAccessMode.RO, genapi.EAccessMode.RW)
CONTROL = "VIRTUAL_CAMERA_CONTROL"


def enumerate_devices() -> None:
    with harvester() as library:
        devices = library.device_info_list
        assert [d.serial_number for d in devices] == ["VC0001", "VC0002", "VC0003"]
        assert {d.model for d in devices} == {"VirtualCamera"} and {d.tl_type for d in devices} == {"Custom"}
        assert [d.access_status for d in devices] == [1, 1, 1]
        opened = open_camera(library, "VC0002")
        assert [d.module.access_status if hasattr(d, "module") else d.access_status for d in devices] == [1, 5, 1]
        assert opened.nodes.DeviceSerialNumber.value == "VC0002"
        assert opened.acquirer.device.access_status == 5
        opened.acquirer.destroy()
        assert devices[1].access_status == 1


def features() -> None:
    """Every feature of the XML can be read, says its limits, and refuses what is beyond them."""
    with camera() as cam:
        nodes = cam.nodes
        read = 0
        for category in nodes.Root.features:
            for node in category.features:
                name = node.node.name
                if name.startswith("Chunk") and name not in ("ChunkModeActive", "ChunkSelector", "ChunkEnable"):
                    continue  # there is no frame
                if node.get_access_mode() in READABLE and hasattr(node, "value"):
                    assert node.value is not None, name
                    read += 1
                assert node.node.tooltip, name
        assert read >= 50, read
        assert (nodes.SensorWidth.value, nodes.SensorHeight.value) == (COLUMNS, ROWS)
        assert (nodes.Width.min, nodes.Width.max, nodes.Width.inc) == (16, COLUMNS, 4)
        cam.set(Width=320)
        assert nodes.OffsetX.max == COLUMNS - 320 and nodes.WidthMax.value == COLUMNS
        cam.set(OffsetX=100)
        assert nodes.Width.max == COLUMNS - 100
        assert (nodes.ExposureTime.unit, nodes.ExposureTime.min, nodes.ExposureTime.max) == ("us", 10, 1_000_000)
        assert set(nodes.PixelFormat.symbolics) == set(PIXEL_FORMATS)
        assert nodes.PayloadSize.value == 320 * ROWS
        cam.set(PixelFormat="RGB8")
        assert nodes.PayloadSize.value == 320 * ROWS * 3
        for name, value in (("Width", 2000), ("Width", 321), ("OffsetX", 400), ("ExposureTime", 0.0), ("Gain", 99.0)):
            before = nodes.get_node(name).value
            try:
                cam.set(**{name: value})
            except ERRORS:
                assert nodes.get_node(name).value == before
            else:
                raise AssertionError(f"{name} took {value}")
        link = control()
        link.set_temperature(0, 55.25)
        assert nodes.DeviceTemperature.value == 55.25
        cam.set(DeviceUserID="left eye")
        assert nodes.DeviceUserID.value == "left eye"


def settings_walk() -> None:
    """The walk that saves a camera's settings finds what is streamable, selectors included, and can put it back."""

    def walk(nodes: object) -> dict[tuple[str, ...], object]:
        found: dict[tuple[str, ...], object] = {}
        for category in nodes.Root.features:
            for node in category.features:
                inner = node.node
                if not inner.is_streamable() or inner.is_selector():
                    continue
                name = inner.name
                selectors = [s.node.name for s in inner.selecting_features]
                if not selectors:
                    found[(name,)] = node.value
                    continue
                selector = nodes.get_node(selectors[0])
                before = selector.value
                for symbol in selector.symbolics:
                    selector.value = symbol
                    if node.get_access_mode() in READABLE:
                        found[(name, selectors[0], symbol)] = node.value
                selector.value = before
        return found

    with camera() as cam:
        first = walk(cam.nodes)
        names = {key[0] for key in first}
        wanted = {"Width", "Height", "OffsetX", "OffsetY", "PixelFormat", "ExposureTime", "Gain", "TriggerMode"}
        assert wanted | {"TriggerSource", "ChunkModeActive", "ChunkEnable", "BlackLevel"} <= names
        assert not any(name.startswith("Sim") or name == "TLParamsLocked" for name in names)
        assert first[("ChunkEnable", "ChunkSelector", "Gain")] is True
        cam.set(Width=64, ExposureTime=333.0, TriggerSource="Line1", ChunkSelector="Gain", ChunkEnable=False)
        second = walk(cam.nodes)
        changed = {key for key in first if first[key] != second[key]}
        assert changed == {
            ("Width",),
            ("ExposureTime",),
            ("TriggerSource", "TriggerSelector", "FrameStart"),
            ("ChunkEnable", "ChunkSelector", "Gain"),
        }


def software_trigger() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        last = 0
        for i in range(30):
            shown = picture(i)
            link.show(0, shown, part_number=1000 + i)
            cam.trigger()
            buffer = cam.acquirer.fetch(timeout=1.0)
            with buffer:
                assert buffer.module.frame_id == i
                assert buffer.timestamp_ns > last
                last = buffer.timestamp_ns
                assert np.array_equal(buffer.payload.components[0].data.reshape(ROWS, COLUMNS), shown)
            assert link.counters(0).last_part == 1000 + i
        assert abs(time.monotonic_ns() - last) < 5_000_000_000
        assert cam.frame(timeout=0.05) is None
        cam.acquirer.stop()
        cam.acquirer.start()
        assert cam.shot_id() == 0, "frame ids start again"
        cam.acquirer.stop()
        counters = link.counters(0)
        assert (counters.triggers, counters.exposed, counters.delivered, counters.missed) == (31, 31, 31, 0)
        assert link.counters(1).triggers == 0


def line_trigger() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(TriggerSource="Line1")
        link.pulse(0, 1)  # before the start: nobody's
        cam.acquirer.start()
        assert cam.frame(timeout=0.05) is None
        for i in range(10):
            shown = picture(i)
            link.show(0, shown)
            link.pulse(0, 1)
            got = cam.frame()
            assert got is not None and got[0] == i and np.array_equal(got[1], shown)
        link.pulse(0, 0)
        link.pulse(1, 1)
        assert cam.frame(timeout=0.05) is None, "another line, another camera"
        assert cam.shot_id(0.05) is None, "the software trigger is not the source"

        cam.set(TriggerActivation="FallingEdge", TriggerSource="Line0")
        cam.set(LineSelector="Line0")
        assert cam.nodes.LineStatus.value is False
        link.set_line(0, 0, True)
        assert cam.nodes.LineStatus.value is True and cam.nodes.LineStatusAll.value == 1
        assert cam.frame(timeout=0.05) is None
        link.set_line(0, 0, False)
        got = cam.frame()
        assert got is not None and got[0] == 10
        cam.set(TriggerMode="Off", TriggerSource="Line1")
        cam.acquirer.stop()


def missed_triggers() -> None:
    """What comes while the camera exposes is lost, counted, and seen by the consumer as a gap of the counter."""
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(TriggerSource="Line1", ExposureTime=60_000.0, ChunkModeActive=True)
        cam.acquirer.start()
        for gap in (3, 1):
            for _ in range(gap):
                link.pulse(0)
            time.sleep(0.01)
            buffer = cam.acquirer.fetch(timeout=1.0)
            with buffer:
                pass
        link.pulse(0)
        with cam.acquirer.fetch(timeout=1.0) as buffer:
            assert buffer.module.frame_id == 2, "a missed trigger takes no frame id"
            assert cam.nodes.ChunkCounterValue.value == 5
        counters = link.counters(0)
        assert (counters.triggers, counters.missed, counters.exposed) == (5, 2, 3)
        assert cam.nodes.SimMissedTriggers.value == 2
        cam.set(CounterSelector="Counter1")
        assert cam.nodes.CounterValue.value == 2
        cam.nodes.CounterReset.execute()
        assert cam.nodes.CounterValue.value == 0
        cam.set(CounterSelector="Counter0")
        assert cam.nodes.CounterValue.value == 5
        cam.acquirer.stop()
        cam.set(TriggerSource="Software")
        cam.trigger()
        assert link.counters(0).missed == 3, "nor does a stopped camera expose"


def trigger_delay() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(TriggerDelay=200_000.0, ChunkModeActive=True)
        cam.acquirer.start()
        link.show(0, np.full((ROWS, COLUMNS), 10, np.uint8))
        before = time.monotonic_ns()
        cam.trigger()
        link.show(0, np.full((ROWS, COLUMNS), 20, np.uint8))
        with cam.acquirer.fetch(timeout=1.0) as buffer:
            assert buffer.payload.components[0].data[0] == 20, "the exposure takes the picture, not the trigger"
            assert cam.nodes.ChunkTimestamp.value >= before + 200_000_000
        cam.acquirer.stop()


def chunks() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(ChunkModeActive=True, Gain=6.0, ExposureTime=777.0)
        assert cam.nodes.PayloadSize.value == ROWS * COLUMNS + 7 * 8
        link.set_line(0, 1, True)
        cam.acquirer.start()
        for i in range(3):
            cam.trigger()
            with cam.acquirer.fetch(timeout=1.0) as buffer:
                nodes = cam.nodes
                assert nodes.ChunkFrameID.value == i == buffer.module.frame_id
                assert nodes.ChunkTimestamp.value == buffer.timestamp_ns
                assert nodes.ChunkExposureTime.value == 777.0
                assert nodes.ChunkGain.value == 6.0
                assert nodes.ChunkLineStatusAll.value == 2
                assert nodes.ChunkCounterValue.value == i + 1
                assert buffer.payload.components[0].data.size == ROWS * COLUMNS
        cam.acquirer.stop()
        cam.set(ChunkSelector="Gain", ChunkEnable=False)
        assert cam.nodes.PayloadSize.value == ROWS * COLUMNS + 6 * 8
        cam.acquirer.start()
        cam.trigger()
        with cam.acquirer.fetch(timeout=1.0):
            assert cam.nodes.ChunkCounterValue.value == 4
            try:
                value = cam.nodes.ChunkGain.value
            except ERRORS:
                pass
            else:
                raise AssertionError(f"a chunk that is off was read: {value}")
        cam.acquirer.stop()


def exposure_and_gain() -> None:
    link = control()
    shown = picture(5)
    link.show(0, shown)
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        for exposure, gain, black in (
            (1000.0, 0.0, 0.0),
            (500.0, 0.0, 0.0),
            (2000.0, 0.0, 0.0),
            (1500.0, 6.0, 0.0),
            (10.0, 30.0, 0.0),
            (700.0, 3.0, 12.0),
            (1000.0, 0.0, 20.0),
        ):
            cam.set(ExposureTime=exposure, Gain=gain, BlackLevel=black)
            got = cam.shot()
            assert got is not None
            ideal = np.clip(shown * (exposure / 1000 * 10 ** (gain / 20)) + black, 0, 255)
            assert np.abs(got[1] - ideal).max() <= 0.57, (exposure, gain, black)
        cam.acquirer.stop()

        cam.set(PixelFormat="Mono12")
        cam.acquirer.start()
        for exposure, black in ((1000.0, 0.0), (333.0, 0.0), (4000.0, 0.0), (900.0, 5.0)):
            cam.set(ExposureTime=exposure, Gain=0.0, BlackLevel=black)
            got = cam.shot()
            assert got is not None and got[1].dtype == np.uint16
            deep = expected(shown, "Mono16")
            ideal = np.clip((deep * (exposure / 1000) + black * 256) / 16, 0, 4095)
            assert np.abs(got[1] - ideal).max() <= 1.0, (exposure, black)
        cam.acquirer.stop()


def grey_of(colour: NDArray[np.uint8]) -> NDArray[np.int64]:
    return (colour.astype(np.int64) @ (77, 150, 29) + 128) >> 8


def unpacked(buffer: object, name: str) -> NDArray[np.unsignedinteger]:
    """The pixels of a raw buffer, taken apart here by the PFNC; harvesters' own way fails on padded packed lines.

    Returns (rows, columns), for RGB8 and BGR8 (rows, columns, 3).
    """
    width, height, padding = buffer.width, buffer.height, buffer.padding_x
    line = width * (PIXEL_FORMATS[name] >> 16 & 0xFF) // 8
    raw = np.frombuffer(buffer.raw_buffer, np.uint8, (line + padding) * height, buffer.image_offset)
    rows = raw.reshape(height, line + padding)[:, :line].astype(np.uint16)
    bits = int("".join(c for c in name if c.isdigit()))
    if name in ("RGB8", "BGR8"):
        return rows.reshape(height, width, 3)
    if name.endswith("p"):
        spread = np.unpackbits(rows.astype(np.uint8), axis=1, bitorder="little").reshape(height, width, bits)
        return (spread.astype(np.uint16) << np.arange(bits, dtype=np.uint16)).sum(2)
    if name.endswith("Packed"):
        first, low, second = rows[:, 0::3], rows[:, 1::3], rows[:, 2::3]
        above = bits - 8
        pairs = (first << above | low & (1 << above) - 1, second << above | low >> 4)
        return np.stack(pairs, 2).reshape(height, width)
    return rows if bits == 8 else rows[:, 0::2] | rows[:, 1::2] << 8


def pixel_formats() -> None:
    """Every format bit by bit, of grey and colour pictures, whole and cut, with padded lines and an offset."""
    link = control()
    grey, colour = picture(1), picture(2, (ROWS, COLUMNS, 3))
    assert np.array_equal(expected(colour, "Mono8"), grey_of(colour))
    with camera() as cam:
        cam.software()
        for name, code in PIXEL_FORMATS.items():
            cam.set(OffsetX=0, OffsetY=0, Width=COLUMNS, Height=ROWS, PixelFormat=name)
            for region, padding, offset in (
                ((0, 0, COLUMNS, ROWS), 0, 0),
                ((64, 30, 200, 100), 0, 0),
                ((68, 30, 200, 101 - 1), 13, 40),
            ):
                x, y, width, height = region
                cam.set(OffsetX=0, OffsetY=0)
                cam.set(Width=width, Height=height, SimLinePaddingBytes=padding, SimImageOffsetBytes=offset)
                cam.set(OffsetX=x, OffsetY=y)
                assert cam.nodes.PayloadSize.value == offset + (width * (code >> 16 & 0xFF) // 8 + padding) * height
                cam.acquirer.start()
                for shown in (grey, colour):
                    link.show(0, shown)
                    cam.trigger()
                    buffer = cam.acquirer.fetch(timeout=1.0, is_raw=True)
                    assert buffer.pixel_format == code
                    assert (buffer.padding_x, buffer.image_offset) == (padding, offset)
                    wanted = expected(shown, name, region=region)
                    assert np.array_equal(unpacked(buffer, name), wanted), (name, region, shown.ndim)
                    buffer.parent.queue_buffer(buffer)
                cam.acquirer.stop()
            cam.set(SimLinePaddingBytes=0, SimImageOffsetBytes=0)
        white = np.full((ROWS, COLUMNS), 255, np.uint8)
        assert (expected(white, "Mono12") == 4095).all() and (expected(white, "Mono16") == 65535).all()
        assert len(np.unique(expected(grey, "Mono12") & 15)) == 16, "the low bits say something"

        cam.set(OffsetX=0, OffsetY=0, Width=COLUMNS, Height=ROWS, PixelFormat="Mono8")
        cam.acquirer.start()
        small, large = picture(3, (101, 203)), picture(4, (600, 900))
        link.show(0, small)
        got = cam.shot()
        top, left = (ROWS - 101) // 2, (COLUMNS - 203) // 2
        framed = np.zeros((ROWS, COLUMNS), np.uint8)
        framed[top : top + 101, left : left + 203] = small
        assert got is not None and np.array_equal(got[1], framed)
        link.show(0, large)
        got = cam.shot()
        assert got is not None and np.array_equal(got[1], large[60:540, 130:770])
        cam.acquirer.stop()


def fault_drop_frame() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        link.arm(0, "DropFrame", skip=1, count=2)
        assert [cam.shot_id() for _ in range(4)] == [FIRST, None, None, FIRST + 3], "a gap in the frame ids"
        cam.set(SimFault="DropFrame", SimFaultSkip=0, SimFaultCount=1)
        cam.nodes.SimFaultArm.execute()
        assert [cam.shot_id() for _ in range(2)] == [None, FIRST + 5]
        link.arm(0, "DropFrame", skip=5)
        cam.set(SimFault="None")
        cam.nodes.SimFaultArm.execute()
        assert [cam.shot_id() for _ in range(7)] == list(range(FIRST + 6, FIRST + 13)), "disarmed"
        assert (link.counters(0).dropped, cam.incomplete.count) == (3, 0)
        cam.acquirer.stop()


def fault_lose_trigger() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        link.arm(0, "LoseTrigger", skip=1)
        assert [cam.shot_id() for _ in range(3)] == [FIRST, None, FIRST + 1], "no gap in the frame ids"
        counters = link.counters(0)
        assert (counters.lost, counters.triggers, counters.missed) == (1, 2, 0)
        cam.acquirer.stop()


def fault_incomplete() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(ChunkModeActive=True)
        cam.acquirer.start()
        link.arm(0, "Incomplete", count=2, filled_percent=30)
        assert [cam.shot_id() for _ in range(3)] == [None, None, FIRST + 2]
        assert cam.incomplete.count == 2 and link.counters(0).incomplete == 2
        cam.acquirer.stop()


def fault_delay() -> None:
    """The late-frame trap: who fetches on the next trigger gets the old frame."""
    link = control()
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        link.show(0, np.full((ROWS, COLUMNS), 1, np.uint8))
        assert cam.shot_id() == FIRST
        link.arm(0, "Delay", delay_ms=120)
        assert cam.shot_id(0.03) is None
        link.show(0, np.full((ROWS, COLUMNS), 2, np.uint8))
        got = cam.shot()
        assert got is not None and got[0] == FIRST + 1 and got[1][0, 0] == 1, "the old frame"
        got = cam.frame()
        assert got is not None and got[0] == FIRST + 2 and got[1][0, 0] == 2, "in order behind it"
        assert link.counters(0).delayed == 1
        link.arm(0, "Delay", delay_ms=30)
        assert cam.shot_id(1.0) == FIRST + 3, "it comes by itself, without another trigger"

        link.arm(0, "Delay", delay_ms=60_000)
        assert cam.shot_id(0.01) is None
        cam.acquirer.stop()  # takes the late one with it
        cam.acquirer.start()
        assert cam.shot_id() == FIRST
        cam.acquirer.stop()


def underrun() -> None:
    link = control()
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        held = []
        for _ in range(cam.acquirer.num_buffers):
            cam.trigger()
            held.append(cam.acquirer.fetch(timeout=1.0))
        assert cam.shot_id(0.05) is None
        assert cam.acquirer.data_streams[0].num_underrun == 1 == link.counters(0).underruns
        for buffer in held:
            buffer.queue()
        assert cam.shot_id() == len(held) + 1
        cam.acquirer.stop()


def free_run() -> None:
    link = control()
    with camera() as cam:
        cam.set(TriggerMode="Off", AcquisitionFrameRate=100.0, ExposureTime=1000.0)
        cam.acquirer.start()
        ids, times = [], []
        for _ in range(20):
            with cam.acquirer.fetch(timeout=1.0) as buffer:
                ids.append(buffer.module.frame_id)
                times.append(buffer.timestamp_ns)
        assert ids == sorted(set(ids))
        assert times[-1] - times[0] > 0.9 * (ids[-1] - ids[0]) * 10_000_000, "not faster than the frame rate"
        cam.acquirer.stop()
        exposed = link.counters(0).exposed
        time.sleep(0.05)
        assert link.counters(0).exposed == exposed, "a stopped camera does not expose"

        cam.set(AcquisitionMode="SingleFrame")
        cam.acquirer.start()
        assert cam.frame() is not None
        assert cam.frame(timeout=0.05) is None
        cam.acquirer.stop()
        cam.set(AcquisitionMode="MultiFrame", AcquisitionFrameCount=4)
        cam.acquirer.start()
        assert [frame[0] for frame in (cam.frame() for _ in range(4)) if frame] == [0, 1, 2, 3]
        assert cam.frame(timeout=0.05) is None
        cam.acquirer.stop()


def locked_while_acquiring() -> None:
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        for name, value in (("Width", 320), ("PixelFormat", "RGB8"), ("ChunkModeActive", True)):
            try:
                cam.set(**{name: value})
            except ERRORS:
                continue
            raise AssertionError(f"{name} was not locked")
        cam.set(ExposureTime=500.0, Gain=3.0)
        cam.acquirer.stop()
        cam.set(Width=320)


def user_sets() -> None:
    link = control()
    with harvester() as library:
        cam = open_camera(library)
        cam.set(Width=320, Gain=7.0, UserSetSelector="UserSet1")
        cam.nodes.UserSetSave.execute()
        cam.set(UserSetSelector="Default")
        try:
            cam.nodes.UserSetSave.execute()
        except ERRORS:
            pass
        else:
            raise AssertionError("the factory's set was overwritten")
        cam.nodes.UserSetLoad.execute()
        assert (cam.nodes.Width.value, cam.nodes.Gain.value) == (COLUMNS, 0.0)
        cam.set(UserSetSelector="UserSet1")
        cam.nodes.UserSetLoad.execute()
        assert (cam.nodes.Width.value, cam.nodes.Gain.value) == (320, 7.0)

        for default, lost, width, gain in (
            ("Default", True, COLUMNS, 0.0),
            ("UserSet1", True, 320, 7.0),
            ("UserSet1", False, 320, 11.0),
        ):
            cam.set(UserSetDefault=default, Gain=11.0)
            link.disconnect(0, settings_lost=lost)
            cam.force_close(library)
            link.reconnect(0)
            cam = open_camera(library)
            assert (cam.nodes.Width.value, cam.nodes.Gain.value) == (width, gain), (default, lost)
        cam.acquirer.destroy()


def disconnect() -> None:
    """Each way a camera can go, the recovery recipe, and the other camera undisturbed."""
    link = control()
    with harvester() as library:
        other = open_camera(library, "VC0002")
        other.software()
        other.acquirer.start()
        cam = open_camera(library)
        cam.software()
        cam.acquirer.start()
        for style in ("Silent", "Error", "Strict", "Block"):
            assert cam.shot_id() == FIRST
            link.disconnect(0, style=style, block_ms=30)
            try:
                silent = cam.frame(timeout=0.02) is None
            except ERRORS:
                silent = False
            assert silent == (style == "Silent"), style
            assert cam.acquirer.device.access_status == 3, style
            try:
                value = cam.nodes.DeviceTemperature.value
            except ERRORS:
                pass
            else:
                raise AssertionError(f"{style}: a lost camera told its temperature: {value}")
            assert other.shot_id() is not None, style
            cam.force_close(library)
            try:
                open_camera(library)
            except ERRORS as error:
                assert "not connected" in str(error), error
            else:
                raise AssertionError(f"{style}: a lost camera was opened")
            link.reconnect(0)
            cam = open_camera(library)
            assert cam.nodes.TriggerMode.value == "Off", "a power-up"
            cam.software()
            cam.acquirer.start()
        assert link.counters(0).disconnects == 4

        # by feature, at a frame, back by itself
        cam.set(SimFault="Disconnect", SimFaultSkip=2, SimGoneMs=100, SimLossStyle="Error", SimSettingsLost=False)
        cam.nodes.SimFaultArm.execute()
        assert [cam.shot_id(), cam.shot_id()] == [FIRST, FIRST + 1]
        cam.trigger()
        wait_for(lambda: cam.acquirer.device.access_status == 3)
        time.sleep(0.15)
        assert cam.acquirer.device.access_status == 3, "the old handle stays dead after the return"
        cam.force_close(library)
        cam = open_camera(library, tries_s=2.0)
        assert cam.nodes.TriggerMode.value == "On", "the settings were kept"
        cam.acquirer.destroy()
        other.acquirer.destroy()


def reset_device() -> None:
    with harvester() as library:
        cam = open_camera(library)
        cam.set(Gain=9.0)
        cam.nodes.DeviceReset.execute()
        assert cam.acquirer.device.access_status == 3
        cam.force_close(library)
        cam = open_camera(library, tries_s=3.0)
        assert cam.nodes.Gain.value == 0.0
        cam.acquirer.destroy()


def reopen_many_times() -> None:
    """Nothing is left behind: no thread, no descriptor."""
    link = control()
    with harvester() as library:
        before = (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")))
        for i in range(25):
            cam = open_camera(library)
            cam.software()
            cam.acquirer.start()
            assert cam.shot_id() == FIRST
            if i % 2:
                link.disconnect(0, style="Strict")
                cam.force_close(library)
                link.reconnect(0)
            else:
                cam.acquirer.destroy()
        assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before


def stop_in_the_middle() -> None:
    """Stopping while the camera exposes, renders and delays gives every buffer back and leaves nothing writing."""
    link = control()
    with camera() as cam:
        cam.set(TriggerMode="Off", AcquisitionFrameRate=5000.0, ExposureTime=10.0)
        link.arm(0, "Delay", count=1_000_000, delay_ms=3)
        for _ in range(40):
            cam.acquirer.start()
            time.sleep(0.002)
            cam.acquirer.stop()
        link.arm(0, "None")
        cam.software()
        cam.set(ExposureTime=1_000_000.0)
        cam.acquirer.start()
        cam.trigger()
        time.sleep(0.01)
        start = time.monotonic()
        cam.acquirer.stop()
        assert time.monotonic() - start < 1.0, "an exposure of a second was given up"


def two_processes() -> None:
    """A camera has one owner; its settings outlive the owner's death."""
    child = [sys.executable, "-m", __spec__.name, "hold_until_killed"]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline().strip() == "open"
            with harvester() as library:
                assert [d.access_status for d in library.device_info_list] == [4, 1, 1]
                try:
                    open_camera(library)
                except ERRORS as error:
                    assert "another process" in str(error), error
                else:
                    raise AssertionError("two owners")
                holder.kill()
                holder.wait(5)
                cam = open_camera(library)
                assert cam.nodes.Gain.value == 13.0
                cam.acquirer.destroy()
        finally:
            holder.kill()


def hold_until_killed() -> None:
    with camera() as cam:
        cam.set(Gain=13.0)
        print("open", flush=True)
        time.sleep(20)


def other_process_shows() -> None:
    """The client of the control file lives in another process, as the PLC simulator does."""
    with camera() as cam:
        cam.software()
        cam.set(TriggerSource="Line1")
        cam.acquirer.start()
        child = subprocess.run([sys.executable, "-m", __spec__.name, "show_and_pulse"], timeout=20, check=True)
        assert child.returncode == 0
        got = cam.frame()
        assert got is not None and np.array_equal(got[1], picture(77))
        cam.acquirer.stop()


def show_and_pulse() -> None:
    link = control()
    link.show(0, picture(77))
    link.pulse(0)


def showing_while_exposing() -> None:
    """Pictures changed faster than frames come while the camera free-runs: never a whole frame of two pictures."""
    link = control()
    done = threading.Event()

    def change() -> None:
        value = 0
        while not done.wait(0.0005):
            value = (value + 1) % 256
            link.show(0, np.full((ROWS, COLUMNS), value, np.uint8))

    with camera() as cam:
        cam.set(TriggerMode="Off", AcquisitionFrameRate=1000.0, ExposureTime=1000.0)
        link.show(0, np.zeros((ROWS, COLUMNS), np.uint8))
        thread = threading.Thread(target=change)
        thread.start()
        try:
            cam.acquirer.start()
            seen = set()
            for _ in range(200):
                got = cam.frame()
                assert got is not None and (got[1] == got[1][0, 0]).all()
                seen.add(int(got[1][0, 0]))
            cam.acquirer.stop()
            assert len(seen) > 5
        finally:
            done.set()
            thread.join(5)


def folder() -> None:
    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        grey, colour = picture(1), picture(2, (ROWS, COLUMNS, 3))
        luma = grey_of(colour)
        for wanted in (grey, luma, grey):
            got = cam.shot()
            assert got is not None and np.array_equal(got[1], wanted)
        cam.acquirer.stop()


def test_pattern() -> None:
    assert CONTROL not in os.environ
    with harvester() as library:
        assert [d.serial_number for d in library.device_info_list] == ["VC0001"]
        cam = open_camera(library)
        assert (cam.nodes.Width.value, cam.nodes.Height.value) == (1280, 1024)
        cam.software()
        cam.acquirer.start()
        for i in range(2):
            got = cam.shot()
            y, x = np.mgrid[0:1024, 0:1280]
            assert got is not None and np.array_equal(got[1], (x + y % 256 + 8 * i) % 256 if i == 0 else got[1])
            assert got[1][0, 0] == 8 * i
        cam.acquirer.stop()
        cam.acquirer.destroy()


def refuses_environment() -> None:
    """A wrong environment gives no camera and one sentence on the console."""
    with harvester() as library:
        assert library.device_info_list == []


def abuse() -> None:
    """Wrong calls get an error code, whatever the order; nothing crashes."""
    lib = ctypes.CDLL(str(cti()))
    size, u32, handle = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_void_p
    null = handle(None)
    assert lib.TLOpen(ctypes.byref(handle())) == -1002
    assert lib.GCCloseLib() == -1002
    assert lib.GCInitLib() == 0 and lib.GCInitLib() == -1004
    system, interface, device, stream, event, port = (handle() for _ in range(6))
    assert lib.TLOpen(None) == -1009
    assert lib.TLOpen(ctypes.byref(system)) == 0 and lib.TLOpen(ctypes.byref(system)) == -1004
    assert lib.TLOpenInterface(system, b"nonsense", ctypes.byref(interface)) == -1007
    assert lib.TLOpenInterface(system, b"VirtualCameraInterface", ctypes.byref(interface)) == 0
    assert lib.IFOpenDevice(interface, b"VC9999", 4, ctypes.byref(device)) == -1007
    assert lib.IFOpenDevice(interface, None, 4, ctypes.byref(device)) == -1007
    assert lib.IFOpenDevice(interface, b"VC0001", 4, ctypes.byref(device)) == 0
    assert lib.IFOpenDevice(interface, b"VC0001", 4, ctypes.byref(handle())) == -1004
    assert lib.DevOpenDataStream(device, b"Stream7", ctypes.byref(stream)) == -1007
    assert lib.DevOpenDataStream(device, b"Stream0", ctypes.byref(stream)) == 0
    assert lib.DevGetPort(device, ctypes.byref(port)) == 0
    assert lib.GCRegisterEvent(stream, 1, ctypes.byref(event)) == 0
    assert lib.GCRegisterEvent(stream, 1, ctypes.byref(handle())) == -1004
    assert lib.GCRegisterEvent(device, 5, ctypes.byref(handle())) == -1003

    # a handle of the wrong kind, of nothing, of garbage
    for wrong in (null, handle(1), handle(0x5643 << 48), handle((1 << 64) - 1), system):
        assert lib.DSClose(wrong) == -1006 and lib.DevClose(wrong) == -1006
        assert lib.EventGetData(wrong, None, ctypes.byref(size(99)), ctypes.c_uint64(0)) == -1006
        assert lib.GCReadPort(wrong, ctypes.c_uint64(0), ctypes.byref(u32()), ctypes.byref(size(4))) == -1006

    def read(address: int, length: int) -> int:
        room = ctypes.create_string_buffer(max(length, 1) if length < 1 << 20 else 1)
        return int(lib.GCReadPort(port, ctypes.c_uint64(address), room, ctypes.byref(size(length))))

    def write(address: int, data: bytes) -> int:
        return int(lib.GCWritePort(port, ctypes.c_uint64(address), data, ctypes.byref(size(len(data)))))

    assert read(0, 4) == 0 and read(0xA00, 4) == -1015 and read(0x100000, 64) == 0
    assert read((1 << 64) - 4, 4) == -1015 and read(0x100000, 1 << 30) == -1015 and read(0, 1 << 40) == -1015
    assert write(0, b"\0\0\0\0") == -1019 and write(0, b"\0") == -1009 and write(0x500, b"\0\0\0\0") == -1015
    assert write(0x50, b"\xff" * 8) == -1019, "not a number"
    assert write(0xC0, b"x" * 65) == -1009

    room = ctypes.create_string_buffer(4)
    needed = size(4)
    assert lib.IFGetDeviceID(interface, 0, room, ctypes.byref(needed)) == -1016
    assert lib.IFGetDeviceID(interface, 9, room, ctypes.byref(needed)) == -1017
    assert lib.IFGetDeviceID(interface, 0, None, ctypes.byref(needed)) == 0 and needed.value == 21
    assert lib.DSGetInfo(stream, 999, None, None, ctypes.byref(needed)) == -1003
    assert lib.DSGetInfo(stream, 0, None, None, None) == -1009

    memory = (ctypes.c_uint8 * 1000)()
    buffer = handle()
    assert lib.DSAnnounceBuffer(stream, None, size(10), None, ctypes.byref(buffer)) == -1009
    assert lib.DSAnnounceBuffer(stream, memory, size(1000), None, ctypes.byref(buffer)) == 0
    assert lib.DSQueueBuffer(stream, buffer) == 0 and lib.DSQueueBuffer(stream, buffer) == -1004
    assert lib.DSFlushQueue(stream, 77) == -1009

    # a frame larger than its buffer comes incomplete and never touches a byte behind it
    assert write(0x1C, (1).to_bytes(4, "little")) == 0  # TriggerMode On, TriggerSource Software
    assert lib.DSStartAcquisition(stream, 0, ctypes.c_uint64(1)) == 0
    assert lib.DSStartAcquisition(stream, 0, ctypes.c_uint64(1)) == -1004
    assert write(0x400, b"\1\0\0\0") == 0 and write(0x408, b"\1\0\0\0") == 0
    data = (ctypes.c_void_p * 2)()
    assert lib.EventGetData(event, data, ctypes.byref(size(3)), ctypes.c_uint64(0)) == -1016
    assert lib.EventGetData(event, data, ctypes.byref(size(16)), ctypes.c_uint64(2000)) == 0
    assert data[0] == buffer.value
    flag = ctypes.c_uint8()
    for command in (7, 29):  # IS_INCOMPLETE, DATA_LARGER_THAN_BUFFER
        assert lib.DSGetBufferInfo(stream, buffer, command, None, ctypes.byref(flag), ctypes.byref(size(1))) == 0
        assert flag.value == 1
    assert not any(memory)
    assert lib.EventGetData(event, data, ctypes.byref(size(16)), ctypes.c_uint64(1)) == -1011

    # a waiting thread is let go by EventKill and by closing
    for let_go, code in ((lambda: lib.EventKill(event), -1012), (lambda: lib.DSClose(stream), -1006)):
        result = []

        def wait(out: list[int] = result) -> None:
            out.append(lib.EventGetData(event, data, ctypes.byref(size(16)), ctypes.c_uint64((1 << 64) - 1)))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.03)
        assert let_go() == 0
        thread.join(3)
        assert result == [code]

    assert lib.DSRevokeBuffer(stream, buffer, None, None) == -1006
    assert lib.DSClose(stream) == -1006
    assert lib.DevClose(device) == 0 and lib.DevClose(device) == -1006
    assert read(0, 4) == -1006
    assert lib.IFOpenDevice(interface, b"VC0001", 4, ctypes.byref(handle())) == 0
    assert lib.DevClose(device) == -1006, "a handle of the former opening"
    assert lib.IFClose(interface) == 0 and lib.IFClose(interface) == -1006
    assert lib.TLClose(system) == 0 and lib.TLClose(system) == -1006
    code, text = ctypes.c_int32(), ctypes.create_string_buffer(320)
    assert lib.GCGetLastError(ctypes.byref(code), text, ctypes.byref(size(320))) == 0
    assert code.value == -1006 and b"system" in text.value
    assert lib.GCCloseLib() == 0 and lib.GCCloseLib() == -1002
    assert lib.GCInitLib() == 0 and lib.GCCloseLib() == 0, "and once more"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
