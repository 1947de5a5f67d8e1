"""What is tried on GenicamCamera itself, in processes of their own: ``python -m tests.acquire.scenarios NAME...``."""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

FILTERS = list(warnings.filters)
SIGINT = signal.getsignal(signal.SIGINT)
HANDLERS = list(logging.root.handlers)

from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame, SettingsError  # noqa: E402
from inspector.acquire.genicam import GenicamCamera, Library, producers  # noqa: E402
from inspector.acquire.genicam.library import force_close  # noqa: E402
from inspector.acquire.genicam.nodes import Nodes  # noqa: E402
from inspector.acquire.genicam.stream import Stream  # noqa: E402
from inspector.config import CameraFile  # noqa: E402
from inspector.parts import FrameRef  # noqa: E402
from inspector.pixels import decode  # noqa: E402
from inspector.ring import Ring  # noqa: E402
from inspector.wire import Shot  # noqa: E402
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, WIRED  # noqa: E402
from tools.virtual_camera.control import CTI, PIXEL_FORMATS, CameraControl, expected  # noqa: E402

MB = 1024 * 1024
FIRST_ID = 1 if os.environ.get("VIRTUAL_CAMERA_TLTYPE") == "GEV" else 0


def control() -> CameraControl:
    return CameraControl.open(Path(os.environ["VIRTUAL_CAMERA_CONTROL"]))


@functools.cache
def the_library() -> Library:
    """One a process: a producer can be initialised only once."""
    return Library([CTI])


def camera(library: Library, trigger: str = "software", model: str | None = None, **features: Any) -> GenicamCamera:
    wanted = {**(SOFTWARE if trigger == "software" else WIRED), **features}
    return GenicamCamera(library, "VC0001", CameraFile(model=model, features=wanted), trigger)


def refusal(opened: GenicamCamera) -> str:
    try:
        opened.open()
    except SettingsError as error:
        return str(error)
    raise AssertionError("it was opened")


def shot(opened: GenicamCamera, limit_s: float = 3.0) -> tuple[Exposure, NDArray[Any]]:
    taken: list[NDArray[Any]] = []
    opened.trigger()
    exposure = opened.fetch(limit_s, lambda raw: taken.append(raw.array()))
    assert exposure is not None
    return exposure, taken[0]


def settings() -> None:
    """Each difference is an error that names feature, wanted and found or allowed."""
    library = the_library()
    for features, says in (
        ({"ExposureTyme": 1000}, ["ExposureTyme: wanted 1000, this camera has no such feature"]),
        ({"PixelFormat": "Mono9"}, ["PixelFormat: wanted Mono9, allowed: Mono8, Mono10, Mono12"]),
        ({"PixelFormat": 8}, ["PixelFormat: wanted 8, allowed: Mono8, Mono10, Mono12"]),
        ({"DeviceTemperature": 20}, ["DeviceTemperature: wanted 20, it can't be written now (read only"]),
        ({"Gain": 99}, ["Gain: wanted 99, allowed: 0 to 30 dB"]),
        ({"Gain": float("nan")}, ["Gain: wanted nan, allowed: 0 to 30 dB"]),
        ({"Width": 1278}, ["Width: wanted 1278, the camera refused: ", "; allowed: 16 to 1280 in steps of 4 px"]),
        ({"Width": 640.5}, ["Width: wanted 640.5, allowed: a whole number from 16 to 1280 in steps of 4 px"]),
        ({"Width": "wide"}, ["Width: wanted wide, allowed: a number from 16 to 1280"]),
        ({"Height": True}, ["Height: wanted True, allowed: a number from"]),
        ({"ChunkModeActive": "yes"}, ["ChunkModeActive: wanted yes, allowed: true or false"]),
        ({"DeviceUserID": 12}, ["DeviceUserID: wanted 12, not a value DeviceUserID can take"]),
        ({"ChunkEnable[ChunkSelector=Nothing]": True}, ["ChunkEnable[ChunkSelector=Nothing]: wanted True, allowed: "]),
        ({"UserSetLoad": False}, ["UserSetLoad: wanted False, a command; allowed: true"]),
        ({"Gain": -1, "Nonsense": 1}, ["Gain: wanted -1", "; Nonsense: wanted 1, this camera has"]),
        # a file that contradicts itself
        ({"TriggerMode": "Off"}, ["TriggerMode: wanted Off, found On"]),
        ({"TriggerSource": "Line1"}, ["TriggerSource Line1: `identity` in station.yaml, software, wants", "Software"]),
        ({"TriggerMode[TriggerSelector=FrameStart]": "Off"}, ["TriggerMode Off, TriggerSource Software"]),
    ):
        text = refusal(camera(library, **features))
        assert all(part in text for part in says), (features, text)
    text = refusal(camera(library, "wired", TriggerSource="Software"))
    assert "`identity` in station.yaml, wired, wants TriggerMode On and TriggerSource a Line" in text
    text = refusal(camera(library, model="acA1300"))
    assert text == "DeviceModelName: wanted acA1300, found VirtualCamera"
    # after all that it can still be opened, and holds what was wanted
    opened = camera(library, model="VirtualCamera", Gain=6, ExposureTime=1234.4, DeviceUserID="left")
    info = opened.open()
    assert (info["gain_db"], info["width"], info["height"]) == (6.0, COLUMNS, ROWS)
    assert abs(info["exposure_us"] - 1234.4) < 1 and opened.differing() == []
    opened.close()
    # a command that sets other features back takes nothing away from the file's
    opened = camera(library, ExposureTime=700, UserSetLoad=True)
    assert opened.open()["exposure_us"] == 700.0 and opened.differing() == []
    opened.close()


def reopening() -> None:
    """A lost device is really let go: it can be opened again, and nothing piles up.

    In every fourth cycle the producer gives no buffer back; genicam keeps these for ever, so they are counted.
    """
    link, library = control(), the_library()
    opened = camera(library)
    process = psutil.Process()
    styles = ("Silent", "Error", "Silent", "Strict")
    before = stranded_before = 0
    for cycle in range(120):
        opened.open()
        shot(opened)
        link.disconnect(0, gone_ms=0, style=styles[cycle % 4])
        try:
            opened.check()
        except DeviceError as error:
            assert "VC0001" in str(error)
        else:
            raise AssertionError("the loss was not noticed")
        opened.close()
        link.reconnect(0)
        if cycle == 19:
            gc.collect()
            stranded_before = opened.stranded_bytes
            before = process.memory_info().rss
    gc.collect()
    stranded = opened.stranded_bytes - stranded_before
    assert 25 * 5 * ROWS * COLUMNS <= stranded < 26 * 5 * (ROWS * COLUMNS + 1000)
    grown = process.memory_info().rss - before - stranded
    assert grown < 5 * MB, f"{grown / MB:.1f} MB in 100 cycles"
    assert library.harvester.image_acquirers == []
    opened.open()
    shot(opened)
    opened.close()
    print(f"{grown / MB:.2f} MB in 100 cycles")


def failed_opening() -> None:
    """What harvesters leaves open when its constructor fails is closed again."""
    library = the_library()
    opened = camera(library)
    home = os.environ.get("TMPDIR")
    tempfile.tempdir = "/nowhere"  # it writes the camera's description to a file
    try:
        opened.open()
    except DeviceError as error:
        assert "camera VC0001 can't be opened" in str(error) and "No such file" in str(error), error
    else:
        raise AssertionError("it was opened")
    finally:
        tempfile.tempdir = home
    opened.open()
    shot(opened)
    opened.close()


def faults() -> None:
    """Nothing of the vendor's comes out of any call: a picture, None, IncompleteFrame or DeviceError."""
    link, library = control(), the_library()
    for style in ("Silent", "Error", "Strict"):
        opened = camera(library)
        opened.open()
        assert opened.fetch(0.0, lambda raw: None) is None
        began = time.monotonic()
        assert opened.fetch(0.05, lambda raw: None) is None
        assert time.monotonic() - began >= 0.05
        link.arm(0, "Incomplete", filled_percent=30)
        opened.trigger()
        try:
            opened.fetch(1.0, lambda raw: None)
        except IncompleteFrame:
            pass
        else:
            raise AssertionError("an incomplete picture was taken for a whole one")
        assert shot(opened)[0].frame_id == FIRST_ID + 1
        link.disconnect(0, style=style)
        for call in (opened.trigger, opened.check, opened.restart, opened.differing):
            try:
                call()
            except DeviceError as error:
                assert "VC0001" in str(error) and "Traceback" not in str(error)
            else:
                raise AssertionError(call)
        try:
            assert opened.fetch(0.01, lambda raw: None) is None and style == "Silent"
        except DeviceError:
            assert style != "Silent"
        opened.close()
        for call in (opened.trigger, opened.check, opened.restart):
            try:
                call()
            except DeviceError as error:
                assert str(error) == "camera VC0001 is not open"
            else:
                raise AssertionError(f"{call} on a closed camera")
        assert opened.differing() == []
        opened.close()
        link.reconnect(0)


def through_ring(opened: GenicamCamera, folder: Path) -> tuple[Exposure, NDArray[Any]]:
    """One picture as the judge reads it, unpacked."""
    info = opened.open()
    ring = Ring.create(folder / "ring", 2, ROWS * COLUMNS * 3)
    generations: list[int] = []
    opened.trigger()
    exposure = opened.fetch(3.0, lambda raw: generations.append(ring.fill(1, raw.shape, raw.dtype, raw.into)))
    assert exposure is not None and exposure.pixel_format == info["pixel_format"], exposure
    passport = FrameRef("top", 0, str(ring.path), 1, generations[0], exposure.width, exposure.height,
                        exposure.pixel_format, 1.0, 0.0, 0, 0, 0)  # fmt: skip
    image = Ring(ring.path, writable=False).read(passport).copy()
    ring.close()
    opened.close()
    return exposure, image


def formats() -> None:
    """Every format is the judge's bit by bit, with any line padding and image offset, cut out or whole."""
    link, library = control(), the_library()
    shown = np.random.default_rng(4).integers(0, 256, (ROWS, COLUMNS, 3)).astype(np.uint8)
    link.show(0, shown)
    with tempfile.TemporaryDirectory() as folder:
        for name in PIXEL_FORMATS:
            for left, width, padding, offset in ((0, COLUMNS, 0, 0), (8, 1004, 0, 64), (4, 500, 12, 0), (0, 96, 3, 7)):
                link.simulate(0, line_padding_bytes=padding, image_offset_bytes=offset)
                region = {"PixelFormat": name, "Width": width, "OffsetX": left}
                exposure, image = through_ring(camera(library, **region), Path(folder))
                wanted = expected(shown, name, region=(left, 0, width, ROWS))
                assert exposure.offset_px == (left, 0) and image.dtype == wanted.dtype
                assert np.array_equal(image, wanted), (name, width, padding, offset)
    link.simulate(0, line_padding_bytes=0, image_offset_bytes=0)


def colours() -> None:
    """Bayer patterns and colour orders, as tools see them."""
    link, library = control(), the_library()
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    colour = np.dstack([x % 200 + 20, (x + y) % 180 + 30, np.full_like(x, 0) + y]).astype(np.uint8)
    # colours change slowly, so that a Bayer picture can be compared with what it was made of
    smooth = np.dstack([cv2.GaussianBlur(colour[..., c], (0, 0), 8) for c in range(3)])
    with tempfile.TemporaryDirectory() as folder:
        for name in [n for n in PIXEL_FORMATS if not n.startswith("Mono")]:
            bayer, bits = name.startswith("Bayer"), int("".join(c for c in name if c.isdigit()))
            shown = smooth if bayer else colour
            link.show(0, shown)
            exposure, raw = through_ring(camera(library, PixelFormat=name), Path(folder))
            image = decode(raw, exposure.pixel_format) >> (bits - 8)
            assert image.shape == (ROWS, COLUMNS, 3) and raw.dtype == (np.uint16 if bits > 8 else np.uint8)
            difference = np.abs(image.astype(np.int32) - shown.astype(np.int32))[4:-4, 4:-4]
            # interpolated; a wrong pattern would swap red and blue
            assert difference.max() <= (12 if bayer else 0), (name, int(difference.max()))


def chunks() -> None:
    """Only what a camera file switches on can be read with each picture; the rest comes from the settings."""
    library = the_library()
    off = {f"ChunkEnable[ChunkSelector={n}]": False for n in ("FrameID", "Timestamp", "ExposureTime", "Gain")}
    for features in ({"ChunkModeActive": False}, off, {**off, "ChunkEnable[ChunkSelector=ExposureTime]": True}):
        kept = {k: v for k, v in SOFTWARE.items() if "Chunk" not in k}
        wanted = CameraFile(features={**kept, "ChunkModeActive": True, **features, "ExposureTime": 2000})
        opened = GenicamCamera(library, "VC0001", wanted, "software")
        opened.open()
        for number in range(3):
            exposure, _ = shot(opened)
            assert (exposure.frame_id, exposure.exposure_us, exposure.gain_db) == (FIRST_ID + number, 2000.0, 0.0)
            assert exposure.device_timestamp_ns > 0
        opened.close()


def views() -> None:
    """A plan goes into the camera's sequencer where it has one, and is written before each shot where it has none."""
    link, library = control(), the_library()
    shots = (Shot("bright", exposure_us=2000.0), Shot("dark", exposure_us=500.0))
    for hidden in (0, 1):
        link.simulate(0, sequencer_hidden=hidden)
        opened = camera(library)
        opened.open()
        opened.plan(shots)
        assert opened._views is not None and opened._views.sequenced == (not hidden)
        for _ in range(3):
            for number, planned in enumerate(shots):
                opened.trigger(number)
                exposure = opened.fetch(3.0, lambda raw: None)
                assert exposure is not None and exposure.exposure_us == planned.exposure_us and not exposure.wrong
            opened.ready()
        opened.plan((Shot("equal"), Shot("alike")))  # nothing differs: no sequencer is needed
        assert not opened._views.sequenced and shot(opened)[0].exposure_us == 1000.0
        opened.plan(shots)
        opened.close()
        opened = camera(library)  # what a process that was killed leaves behind
        opened.open()
        assert shot(opened)[0].exposure_us == 1000.0 and opened.differing() == []
        opened.close()
    link.simulate(0, sequencer_hidden=0)


def clocks() -> None:
    """Whatever the camera's clock shows and however it drifts, exposures are told on the host's."""
    link, library = control(), the_library()
    for offset_ns, drift_ppm in ((0, 0.0), (987_654_321_000, 80.0), (-3_600_000_000_000, -5000.0)):
        offset_ns = max(offset_ns, 1_000_000_000 - time.monotonic_ns())
        link.simulate(0, clock_offset_ns=offset_ns, clock_drift_ppm=drift_ppm)
        opened = camera(library)
        opened.open()
        for number in range(18):
            fired_ns = time.monotonic_ns()
            exposure, _ = shot(opened)
            received_ns = time.monotonic_ns()
            low_ns, high_ns = exposure.exposed_ns - exposure.uncertainty_ns, exposure.exposed_ns
            slack_ns = 0 if abs(drift_ppm) <= 100 or number > 12 else 10_000_000  # it has to be met first
            assert fired_ns - slack_ns <= high_ns + exposure.uncertainty_ns, (offset_ns, drift_ppm, number)
            assert low_ns <= received_ns - 1_000_000 + slack_ns, (offset_ns, drift_ppm, number)
            assert exposure.uncertainty_ns > 0
            time.sleep(0.1)
            opened.check()
        opened.close()
    link.simulate(0, clock_offset_ns=0, clock_drift_ppm=0.0)


def plugged_in_later() -> None:
    """A camera that the producer did not list at the start is found when it is there."""
    library = the_library()
    library.harvester.device_info_list.clear()  # as when it had no power yet
    opened = camera(library)
    opened.open()
    other = GenicamCamera(library, "VC0002", CameraFile(features=SOFTWARE), "software")
    other.open()
    library.refresh()  # and looking again disturbs nobody
    assert [d["access"] for d in library.devices()] == ["open", "open"]
    shot(opened)
    shot(other)
    opened.close()
    other.close()
    assert [d["access"] for d in library.devices()] == ["free", "free"]


def side_effects() -> None:
    """Loading harvesters changes nothing of ours: warnings, SIGINT, what is logged where."""
    catch_all = [f for f in warnings.filters if f[1:3] == (None, Warning)]
    assert catch_all == [f for f in FILTERS if f[1:3] == (None, Warning)]
    assert list(logging.root.handlers) == HANDLERS
    theirs = logging.getLogger("harvesters.core")
    assert theirs.handlers == [] and theirs.propagate and not theirs.isEnabledFor(logging.ERROR)
    opened = camera(the_library())
    opened.open()
    assert signal.getsignal(signal.SIGINT) is SIGINT
    opened.close()


def viky() -> None:
    """Another maker's producer, beside ours: listed, and refused in a clear sentence (it has no trigger)."""
    import genicam

    library = Library([CTI, Path(genicam.__file__).parent / "viky.cti"])
    found = {(d["model"], d["serial"]) for d in library.devices()}
    assert {("VirtualCamera", "VC0001"), ("Viky", "0"), ("Viky", "1"), ("Viky", "2")} <= found
    with_width = CameraFile(features={"Width": 640})
    text = refusal(GenicamCamera(library, "0", with_width, "software"))
    assert text.startswith("camera 0 has no TriggerMode: it sends pictures when it likes"), text
    text = refusal(GenicamCamera(library, "1", CameraFile(features=SOFTWARE), "software"))
    assert "TriggerSource: wanted Software, this camera has no such feature" in text
    # it streams all the same, unasked, and its pictures come through the same door
    acquirer = library.acquirer("2")
    Nodes(acquirer.remote_device.node_map).write("PixelFormat", "Mono8")
    stream = Stream(acquirer, ())
    acquirer.start()
    shape = ()
    for _ in range(60):
        buffer = stream.next(3.0)
        assert buffer is not None and buffer.is_complete() and stream.chunk(buffer) == {}
        image = stream.raw(buffer).array()
        shape = shape or image.shape
        assert image.shape == shape and image.size > 0
        stream.give_back(buffer)
    acquirer.stop()
    force_close(library.harvester, acquirer)


def no_producers() -> None:
    """Each way of having none is a sentence."""
    os.environ["GENICAM_GENTL64_PATH"] = ""
    for wanted, says in ((None, "no GenTL producer: install"), (Path("/nowhere/x.cti"), "there is no GenTL producer")):
        try:
            producers(wanted)
        except DeviceError as error:
            assert says in str(error)
        else:
            raise AssertionError
    os.environ["GENICAM_GENTL64_PATH"] = f"/nowhere:{CTI.parent}"
    assert producers(None) == [CTI]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        globals()[name]()
