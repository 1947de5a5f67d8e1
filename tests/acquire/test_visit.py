"""A camera's whole settings, by visits in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from inspector.acquire import visit
from inspector.acquire.camera import DeviceError
from inspector.acquire.features import Difference
from inspector.acquire.visit import Visit
from inspector.config import load_camera_file
from tests.acquire.rig import World, write_yaml
from tools.virtual_camera.control import CTI


@pytest.fixture
def camera(world: World, monkeypatch: pytest.MonkeyPatch) -> Visit:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    return Visit("VC0001", (str(CTI),))


def test_the_whole_feature_set_is_saved_and_set_again(camera: Visit, world: World, tmp_path: Path) -> None:
    found = visit.saved(camera)
    assert found["ExposureTime"] == 1000.0 and found["PixelFormat"] == "Mono8"
    assert found["TriggerMode[TriggerSelector=FrameStart]"] == "Off"
    assert found["ChunkEnable[ChunkSelector=Gain]"] is True
    assert not any(name.startswith(("Sim", "TLParamsLocked", "UserSet", "DeviceTemperature")) for name in found)
    # as a camera file it means the same
    file = load_camera_file(write_yaml(tmp_path / "all.yaml", {"features": found}))
    assert file.features == found and YAML(typ="safe").load(tmp_path / "all.yaml")
    # each of these allows the other only when it is set first, and they stand in the wrong order
    wanted = {**found, "Width": 640, "OffsetX": 640, "ExposureTime": 250.0, "ChunkEnable[ChunkSelector=Gain]": False}
    assert visit.applied(camera, wanted) == []
    assert visit.saved(camera) == wanted
    assert visit.applied(camera, dict(reversed(found.items()))) == []
    assert visit.saved(camera) == found


def test_every_difference_is_named_with_old_and_new(camera: Visit) -> None:
    wanted: dict[str, Any] = {"ExposureTime": 500, "Gain": 0, "Nonsense": 1, "DeviceTemperature": 20.0}
    found = {d.key: d for d in visit.differences(camera, wanted)}
    assert found["ExposureTime"] == Difference("ExposureTime", 500, 1000.0, "us")
    assert str(found["ExposureTime"]) == "ExposureTime: wanted 500, found 1000.0"
    assert found["Nonsense"].why == "this camera has no such feature" and "Gain" not in found
    left = {d.key: str(d) for d in visit.applied(camera, wanted)}
    assert list(left) == ["Nonsense", "DeviceTemperature"] and "read only" in left["DeviceTemperature"]


def test_a_user_set_is_what_the_camera_starts_with(camera: Visit, world: World) -> None:
    assert visit.applied(camera, {"ExposureTime": 321.0}) == []
    visit.user_set(camera, "UserSet1", boot=False)
    world.control.disconnect(0, gone_ms=1, settings_lost=True)
    assert visit.saved(camera)["ExposureTime"] == 1000.0
    assert visit.applied(camera, {"ExposureTime": 321.0}) == []
    visit.user_set(camera, "UserSet1", boot=True)
    world.control.disconnect(0, gone_ms=1, settings_lost=True)
    assert visit.saved(camera)["ExposureTime"] == 321.0
    with pytest.raises(DeviceError, match="user set UserSet7: allowed: Default, UserSet1, UserSet2"):
        visit.user_set(camera, "UserSet7", boot=True)


def test_a_camera_that_is_not_there(camera: Visit) -> None:
    with pytest.raises(DeviceError, match="there is no camera VC9999"):
        visit.saved(Visit("VC9999", camera.producers))
