"""Scenarios of the sensor beyond one shot: clock, chunks, sequencer, light lines, noise, fixed pattern.

Run one by hand: `python -m tests.tools.virtual_camera.sensor_scenarios NAME` with VIRTUAL_CAMERA_CONTROL set.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from genicam import genapi

from tests.tools.virtual_camera.rig import (
    COLUMNS,
    ERRORS,
    FIRST,
    GEV,
    ROWS,
    Camera,
    camera,
    control,
    harvester,
    open_camera,
    picture,
)
from tools.virtual_camera.control import expected

EXPOSURES_US = (500.0, 1000.0, 2000.0)


def personality() -> None:
    """What tells the two transport layers apart; chunks by the consumer's own adapter in both."""
    link = control()
    with camera() as cam:
        device = cam.acquirer.device
        assert device.tl_type == ("GEV" if GEV else "Custom")
        assert device.timestamp_frequency == (125_000_000 if GEV else 1_000_000_000)
        cam.software()
        cam.set(ChunkModeActive=True, PixelFormat="Mono12p", SimImageOffsetBytes=12, SimLinePaddingBytes=5)
        cam.acquirer.start()
        for i in range(5):
            link.show(0, picture(i))
            cam.trigger()
            raw = cam.acquirer.fetch(timeout=1.0, is_raw=True)
            assert cam.nodes.ChunkFrameID.value == raw.frame_id == FIRST + i
            assert cam.nodes.ChunkTimestamp.value == raw.timestamp_ns
            assert raw.timestamp == raw.timestamp_ns // (8 if GEV else 1)
            assert cam.nodes.ChunkCounterValue.value == i + 1
            assert raw.delivered_chunk_payload_size == (raw.size_filled if GEV else 7 * 8)
            assert raw.size_filled == cam.nodes.PayloadSize.value
            if GEV:  # taken apart by hand, from the end
                whole, end, ids = bytes(raw.raw_buffer)[: raw.size_filled], raw.size_filled, []
                while end:
                    ids.append(int.from_bytes(whole[end - 8 : end - 4], "big"))
                    end -= 8 + int.from_bytes(whole[end - 4 : end], "big")
                assert end == 0 and ids == [0xC0DE0000 + n for n in range(7, -1, -1)]
            raw.parent.queue_buffer(raw)
        cam.acquirer.stop()
        cam.set(ChunkModeActive=False)
        cam.acquirer.start()
        cam.trigger()
        raw = cam.acquirer.fetch(timeout=1.0, is_raw=True)
        assert not raw.is_containing_chunk_data() and raw.size_filled == 12 + (COLUMNS * 3 // 2 + 5) * ROWS
        raw.parent.queue_buffer(raw)
        cam.acquirer.stop()


def trigger_counter() -> None:
    """Counter0 counts this frame's edge, too, and can be read while frames come; missed edges show as a jump."""
    link = control()
    with camera() as cam:
        cam.software()
        cam.set(TriggerSource="Line1", ChunkModeActive=True, ExposureTime=20_000.0, CounterSelector="Counter0")
        cam.acquirer.start()
        total = 0
        for edges in (1, 3, 1, 2):
            for _ in range(edges):
                link.pulse(0)
            before = total
            total += edges
            with cam.acquirer.fetch(timeout=1.0):
                assert cam.nodes.ChunkCounterValue.value == before + 1
                assert cam.nodes.ChunkCounterSelector.value == "Counter0"
            assert cam.nodes.CounterValue.value == total, "live, before anybody asks for a frame"
        cam.acquirer.stop()


def clock() -> None:
    """The camera's time can be mapped to the computer's, whatever its offset and drift."""
    link = control()

    def latched(cam: Camera) -> tuple[int, int, int]:
        """Host before and after, device in between."""
        before = time.monotonic_ns()
        cam.nodes.TimestampLatch.execute()
        after = time.monotonic_ns()
        return before, after, cam.nodes.TimestampLatchValue.value

    with camera() as cam:
        cam.software()
        cam.set(ChunkModeActive=True)
        before, after, device = latched(cam)
        assert before <= device <= after
        assert before <= cam.nodes.Timestamp.value
        cam.set(SimClockOffsetNs=-5_000_000_000)
        before, after, device = latched(cam)
        assert before <= device + 5_000_000_000 <= after

        link.simulate(0, clock_offset_ns=10**15, clock_drift_ppm=10_000)
        first = latched(cam)
        time.sleep(0.3)
        second = latched(cam)
        device = second[2] - first[2]
        assert (second[0] - first[1]) * 1.00999 <= device <= (second[1] - first[0]) * 1.01001
        cam.acquirer.start()
        cam.trigger()
        with cam.acquirer.fetch(timeout=1.0) as buffer:
            assert second[2] < buffer.timestamp_ns == cam.nodes.ChunkTimestamp.value < latched(cam)[2]
        cam.acquirer.stop()


def program(cam: Camera, shots: list[dict[str, Any]], trigger: str = "FrameStart") -> None:
    """Fill the sequencer: shot after shot, round and round."""
    cam.set(SequencerMode="Off", SequencerConfigurationMode="On")
    for i, shot in enumerate(shots):
        cam.set(ExposureTime=shot["exposure_us"], Gain=shot.get("gain_db", 0.0))
        for line in ("Line2", "Line3"):
            cam.set(LineSelector=line, LineSource="ExposureActive" if line == shot.get("light") else "Off")
        cam.set(SequencerSetSelector=i, SequencerPathSelector=0)
        cam.set(SequencerSetNext=(i + 1) % len(shots), SequencerTriggerSource=trigger)
        cam.nodes.SequencerSetSave.execute()
    cam.set(SequencerSetStart=0, SequencerConfigurationMode="Off", SequencerMode="On")


def refused(call: Any) -> None:
    try:
        call()
    except ERRORS:
        return
    raise AssertionError("that was allowed")


def sequencer() -> None:
    link = control()
    link.show(0, np.full((ROWS, COLUMNS), 60, np.uint8))
    with camera() as cam:
        nodes = cam.nodes
        cam.software()
        cam.set(ChunkModeActive=True)
        refused(lambda: nodes.SequencerSetSave.execute())
        refused(lambda: cam.set(SequencerSetNext=3))
        for trigger in ("FrameStart", "ExposureEnd"):
            program(cam, [{"exposure_us": us} for us in EXPOSURES_US], trigger)
            cam.set(ExposureTime=750.0)  # the set goes before it
            refused(lambda: cam.set(SequencerConfigurationMode="On"))
            for run in range(2):
                cam.acquirer.start()
                for i in range(7 - run):
                    assert nodes.SequencerSetActive.value == i % 3
                    cam.trigger()
                    with cam.acquirer.fetch(timeout=1.0) as buffer:
                        assert nodes.ChunkSequencerSetActive.value == i % 3, "each run begins with SequencerSetStart"
                        assert nodes.ChunkExposureTime.value == EXPOSURES_US[i % 3]
                        assert buffer.payload.components[0].data[0] == (30, 60, 120)[i % 3]
                cam.acquirer.stop()

        # a lost trigger moves nothing, a dropped frame does
        cam.acquirer.start()
        link.arm(0, "LoseTrigger")
        assert cam.shot_id(0.05) is None and nodes.SequencerSetActive.value == 0
        link.arm(0, "DropFrame")
        assert cam.shot_id(0.05) is None and nodes.SequencerSetActive.value == 1
        cam.acquirer.stop()

        cam.set(SequencerMode="Off", SequencerConfigurationMode="On", SequencerSetSelector=2)
        nodes.SequencerSetLoad.execute()
        assert nodes.ExposureTime.value == 2000.0
        assert (nodes.SequencerSetNext.value, nodes.SequencerTriggerSource.value) == (0, "ExposureEnd")
        cam.set(SequencerConfigurationMode="Off", ExposureTime=750.0)
        cam.acquirer.start()
        got = cam.shot()
        assert got is not None and got[1][0, 0] == 45
        cam.acquirer.stop()


def no_sequencer() -> None:
    with camera() as cam:
        assert cam.nodes.SequencerMode.get_access_mode() == genapi.EAccessMode.NI
        refused(lambda: cam.set(SequencerMode="On"))
        cam.set(LineSelector="Line2", LineSource="ExposureActive")


def no_sequencer_by_option() -> None:
    link = control()
    link.simulate(0, sequencer_hidden=1)
    with harvester() as library:
        for serial, mode in (("VC0001", genapi.EAccessMode.NI), ("VC0002", genapi.EAccessMode.RW)):
            cam = open_camera(library, serial)
            assert cam.nodes.SequencerMode.get_access_mode() == mode
            cam.acquirer.destroy()


def lights() -> None:
    """Each light shows its own picture, shot by shot and by the sequencer; a new part takes them away."""
    link = control()
    ambient, bright, low = picture(1), picture(2), picture(3)
    with camera() as cam:
        nodes = cam.nodes
        cam.software()
        cam.set(ChunkModeActive=True)
        for line, mode in (("Line0", "Input"), ("Line2", "Output"), ("Line3", "Output")):
            cam.set(LineSelector=line)
            assert nodes.LineMode.value == mode
        cam.set(LineSelector="Line1")
        refused(lambda: cam.set(LineSource="ExposureActive"))

        def shown(line: str) -> Any:
            for other in ("Line2", "Line3"):
                cam.set(LineSelector=other, LineSource="ExposureActive" if other == line else "Off")
            cam.trigger()
            with cam.acquirer.fetch(timeout=1.0) as buffer:
                bit = {"Line2": 4, "Line3": 8}.get(line, 0)
                assert nodes.ChunkLineStatusAll.value == bit and nodes.LineStatusAll.value == 0
                return buffer.payload.components[0].data.reshape(ROWS, COLUMNS).copy()

        cam.acquirer.start()
        link.show(0, ambient, 5)
        assert np.array_equal(shown("Line2"), ambient), "a light without a picture"
        link.show(0, bright, 6, light=2)
        link.show(0, low, 7, light=3)
        for line, wanted, part in (("Line2", bright, 6), ("Line3", low, 7), ("", ambient, 5)):
            assert np.array_equal(shown(line), wanted), line
            assert link.counters(0).last_part == part
        link.show(0, low, 8)
        assert np.array_equal(shown("Line2"), low), "the next part"
        cam.acquirer.stop()

        link.show(0, ambient)
        link.show(0, bright, light=2)
        link.show(0, low, light=3)
        shots = [{"exposure_us": 1000.0, "light": line} for line in ("Line2", "Line3", "")]
        program(cam, shots)
        cam.acquirer.start()
        for wanted in (bright, low, ambient, bright):
            got = cam.shot()
            assert got is not None and np.array_equal(got[1], wanted)
        cam.acquirer.stop()


def noise() -> None:
    """As large as said, another in every frame, the same again for the same seed; averaging helps as it must."""
    link = control()
    grey = np.full((ROWS, COLUMNS), 100, np.uint8)
    link.show(0, grey)

    def frames(cam: Camera, number: int) -> Any:
        taken = [cam.shot() for _ in range(number)]
        return np.stack([frame[1] for frame in taken if frame is not None]).astype(float)

    with camera() as cam:
        cam.software()
        cam.acquirer.start()
        cam.set(SimNoise=4.0, SimSeed=3)
        sixteen = frames(cam, 16)
        assert abs(sixteen.mean() - 100) < 0.05
        for frame in sixteen:
            assert abs(frame.std() - 4.0) < 0.1
        assert abs(sixteen.mean(0).std() - 1.0) < 0.05, "sixteen frames, a quarter of the noise"
        assert abs(np.corrcoef(sixteen[0].ravel(), sixteen[1].ravel())[0, 1]) < 0.02
        cam.acquirer.stop()
        cam.set(PixelFormat="Mono12")
        cam.acquirer.start()
        deep = frames(cam, 1)[0]
        assert abs(deep.std() / 16 - 4.0) < 0.1
        cam.set(SimNoise=0.0)
        got = cam.shot()
        assert got is not None and np.array_equal(got[1], expected(grey, "Mono12"))
        cam.acquirer.stop()


def fixed_pattern() -> None:
    """Dark columns and dim corners, the same in every frame, so that a dark and a flat picture take them out."""
    link = control()
    shown = picture(5) // 2 + 20
    with camera() as cam:
        cam.software()
        cam.set(PixelFormat="Mono16")
        link.simulate(0, dark_offset=10, vignette_percent=40)
        cam.acquirer.start()

        def shot(image: Any) -> Any:
            link.show(0, image)
            got = cam.shot()
            assert got is not None
            return got[1].astype(float)

        dark = shot(np.zeros((ROWS, COLUMNS), np.uint8))
        assert 9 * 256 < dark.max() <= 10.1 * 256 + 255 and dark.min() < 2 * 256
        flat = shot(np.full((ROWS, COLUMNS), 200, np.uint8)) - dark
        assert abs(flat[0, 0] / flat[ROWS // 2, COLUMNS // 2] - 0.6) < 0.01
        raw = shot(shown)
        true = expected(shown, "Mono16").astype(float)
        corrected = (raw - dark) / (flat / flat.max())
        before, after = np.abs(raw - true).mean(), np.abs(corrected - true).mean()
        assert 4 * after < before, (before, after)
        cam.acquirer.stop()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
