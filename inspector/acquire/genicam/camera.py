"""A GenICam camera behind :class:`inspector.acquire.camera.Camera`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import features
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame, SettingsError, Take
from inspector.acquire.features import Difference, Value
from inspector.acquire.genicam.library import Library, force_close
from inspector.acquire.genicam.nodes import READABLE, Nodes
from inspector.acquire.genicam.vendor import VENDOR_ERRORS, Callback, words
from inspector.acquire.visit import Feature
from inspector.config import CameraFile
from inspector.ring import PIXEL_TYPES
from inspector.wire import Shot

_REACHABLE = (1, 5)  # access status: read/write, open by us
_LOOK_S = 2e-5  # harvesters looks at least once in this time; in less it may give up before
_CHUNKS = ("ChunkFrameID", "ChunkTimestamp", "ChunkExposureTime", "ChunkGain", "ChunkCounterValue")
_COUNTED = ("FrameTrigger", "FrameStart", "ExposureStart")  # events that go on with each software trigger


class _Incomplete(Callback):  # type: ignore[misc]  # harvesters is untyped
    """harvesters' only sign that a buffer came incomplete."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def emit(self, context: object | None = None) -> None:
        self.seen = True


class GenicamCamera:
    """A GenICam camera behind :class:`inspector.acquire.camera.Camera`."""

    def __init__(self, library: Library, serial: str, wanted: CameraFile, trigger: str) -> None:
        self._library = library
        self._serial = serial
        self._wanted = wanted
        self._trigger_mode = trigger
        self._acquirer: Any = None
        self._incomplete = _Incomplete()
        self.stranded_bytes = 0
        self._nodes: Nodes | None = None
        self._exposure_us = self._gain_db = 0.0
        self._offset_px = (0, 0)
        self._counter = False  # it has one for triggers, and CounterSelector stands on it

    def open(self) -> dict[str, Any]:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self.close()
        self._acquirer = self._library.acquirer(self._serial)
        try:
            return self._set_up()
        except DeviceError:
            self.close()
            raise
        except Exception as error:  # whatever a camera that goes away now makes of the vendor's code
            self.close()
            raise DeviceError(f"camera {self._serial} was lost while it was set up: {words(error)}") from error

    def _set_up(self) -> dict[str, Any]:
        acquirer = self._acquirer
        nodes = self._nodes = Nodes(acquirer.remote_device.node_map)
        if len(acquirer.data_streams) != 1:
            raise DeviceError(f"camera {self._serial} has {len(acquirer.data_streams)} streams; exactly 1 is supported")
        model = str(nodes.read("DeviceModelName")) if nodes.has("DeviceModelName") else "unknown"
        if self._wanted.model and model != self._wanted.model:
            raise SettingsError(f"DeviceModelName: wanted {self._wanted.model}, found {model}")
        features.apply(nodes, self._wanted.features)
        self._check_trigger()
        self._counter = self._find_counter()
        pixel_format = str(self._needed("PixelFormat"))
        if pixel_format not in PIXEL_TYPES:
            raise SettingsError(f"PixelFormat: found {pixel_format}, allowed: {', '.join(PIXEL_TYPES)}")
        self._exposure_us = float(self._needed("ExposureTime"))
        self._gain_db = float(nodes.read("Gain")) if nodes.has("Gain") else 0.0
        self._offset_px = tuple(int(nodes.read(n)) if nodes.has(n) else 0 for n in ("OffsetX", "OffsetY"))  # type: ignore[assignment]
        acquirer.add_callback(acquirer.Events.INCOMPLETE_BUFFER, self._incomplete)
        acquirer.start()
        return {
            "model": model,
            "serial": self._serial,
            "width": int(self._needed("Width")),
            "height": int(self._needed("Height")),
            "pixel_format": pixel_format,
            "exposure_us": self._exposure_us,
            "gain_db": self._gain_db,
            **self._live(),
        }

    def _needed(self, name: str) -> Value:
        assert self._nodes is not None  # noqa: S101  # set before
        try:
            return self._nodes.read(name)
        except ValueError as error:
            raise SettingsError(f"camera {self._serial}: {name}: {error}") from error

    def _check_trigger(self) -> None:
        mode, source = str(self._needed("TriggerMode")), str(self._needed("TriggerSource"))
        fits = source == "Software" if self._trigger_mode == "software" else source.startswith("Line")
        if mode != "On" or not fits:
            wish = "Software" if self._trigger_mode == "software" else "a Line"
            raise SettingsError(
                f"TriggerMode {mode}, TriggerSource {source}: `identity` in station.yaml, {self._trigger_mode}, "
                f"wants TriggerMode On and TriggerSource {wish} in the camera file"
            )

    def plan(self, shots: Sequence[Shot]) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        if any(shot != Shot(shot.view, shot.count) for shot in shots):
            raise SettingsError(f"camera {self._serial}: settings of single views are not supported yet")

    def pulses(self) -> int | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        if not self._counter or self._nodes is None:
            return None
        with self._device_errors("its trigger counter can't be read"):
            return int(self._nodes.read("CounterValue"))

    def _find_counter(self) -> bool:
        """Put CounterSelector on the counter that counts this camera's triggers; False: there is none."""
        nodes = self._nodes
        assert nodes is not None  # noqa: S101  # set before
        if not (nodes.has("CounterSelector") and nodes.has("CounterEventSource") and nodes.has("CounterValue")):
            return False
        events = _COUNTED if self._trigger_mode == "software" else (str(nodes.read("TriggerSource")), "FrameTrigger")
        for entry in nodes.entries("CounterSelector"):
            nodes.write("CounterSelector", entry)
            if nodes.read("CounterEventSource") in events:
                return True
        return False

    def trigger(self, shot: int = 0) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("software trigger failed"):
            self._acquirer.remote_device.node_map.TriggerSoftware.execute()

    def fetch(self, limit_s: float, take: Take) -> Exposure | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self._incomplete.seen = False
        acquirer = self._acquirer
        with self._device_errors("no picture can be fetched"):
            acquirer.timeout_period_on_update_event_data_call = 1 if limit_s > 0 else 0
            buffer = acquirer.try_fetch(timeout=max(limit_s, _LOOK_S))
            if buffer is None:
                if self._incomplete.seen:
                    raise IncompleteFrame
                return None
            try:
                return self._take(buffer, take)
            finally:
                # straight to the stream: Buffer.queue() would clear the pixels first, which costs time
                buffer.module.parent.queue_buffer(buffer.module)

    def _take(self, buffer: Any, take: Take) -> Exposure:
        component = buffer.payload.components[0]
        width, height, name = int(component.width), int(component.height), str(component.data_format)
        dtype, channels = PIXEL_TYPES.get(name, (None, 0))
        if dtype is None:
            raise DeviceError(f"camera sends {name}; allowed: {', '.join(PIXEL_TYPES)}")
        take(_picture(component.data, dtype, width, height, channels))
        chunk = self._chunk()
        return Exposure(
            frame_id=int(chunk.get("ChunkFrameID", buffer.module.frame_id)),
            width=width,
            height=height,
            pixel_format=name,
            exposure_us=float(chunk.get("ChunkExposureTime", self._exposure_us)),
            gain_db=float(chunk.get("ChunkGain", self._gain_db)),
            device_timestamp_ns=int(chunk.get("ChunkTimestamp", buffer.timestamp_ns or 0)),
            offset_px=self._offset_px,
            trigger_count=int(chunk["ChunkCounterValue"]) if self._counter and "ChunkCounterValue" in chunk else None,
        )

    def _chunk(self) -> Mapping[str, Any]:
        """What the camera attached to this picture: only the chunks that its file switches on can be read."""
        node_map = self._acquirer.remote_device.node_map
        nodes = {name: node_map.get_node(name) for name in _CHUNKS if node_map.has_node(name)}
        return {name: node.value for name, node in nodes.items() if node.get_access_mode() in READABLE}

    def restart(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("streaming can't be restarted"):
            self._acquirer.stop()
            self._acquirer.start()

    def check(self) -> dict[str, Any]:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("it does not answer"):
            status = int(self._acquirer.device.access_status)
            if status not in _REACHABLE:
                raise DeviceError(f"camera {self._serial} is lost (access status {status}); check its power and cable")
            return self._live()

    def differing(self) -> list[str]:
        """Features that are no longer what the camera file wants (someone else's tool, a power cycle)."""
        nodes = self._nodes
        if nodes is None:
            return []
        with self._device_errors("its settings can't be read"):
            nodes.look_again()
        wanted = {key: value for key, value in self._wanted.features.items() if self._still_told(key)}
        return [str(d) for d in features.differing(nodes, wanted)]

    def _still_told(self, key: str) -> bool:
        """False where a selector stands elsewhere and can't be moved while streaming."""
        nodes = self._nodes
        return nodes is not None and all(
            nodes.writable(selector) or nodes.stands(selector, entry) for selector, entry in features.split(key)[1]
        )

    def _live(self) -> dict[str, Any]:
        nodes = self._nodes
        if nodes is None or not nodes.has("DeviceTemperature"):
            return {}
        return {"temperature_c": round(float(nodes.read("DeviceTemperature")), 1)}

    @contextlib.contextmanager
    def _device_errors(self, what: str) -> Iterator[None]:
        if self._acquirer is None:
            raise DeviceError(f"camera {self._serial} is not open")
        try:
            yield
        except VENDOR_ERRORS as error:
            raise DeviceError(f"camera {self._serial}: {what}: {words(error)}") from error
        except (ValueError, IndexError, AttributeError) as error:  # what a half-gone acquirer raises
            raise DeviceError(f"camera {self._serial}: {what}: {error}") from error

    def close(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        acquirer, self._acquirer, self._nodes = self._acquirer, None, None
        if acquirer is not None:
            self.stranded_bytes += force_close(self._library.harvester, acquirer)


Done = TypeVar("Done")


def describe(library: Library, serial: str, wanted: Mapping[str, Value]) -> tuple[list[Feature], list[Difference]]:
    """Every feature of a device as it is now, and how they differ from the wanted ones. Raises DeviceError."""

    def look(nodes: Nodes) -> tuple[list[Feature], list[Difference]]:
        found = [feature for category in nodes.categories() for feature in nodes.features(category)]
        return found, features.differing(nodes, wanted)

    return visited(library, serial, look)


def keep(library: Library, serial: str, user_set: str, *, boot: bool) -> None:
    """Save what a device holds now into one of its user sets, and let it start with it. Raises DeviceError."""

    def save(nodes: Nodes) -> None:
        try:
            nodes.select("UserSetSelector", user_set)
            nodes.write("UserSetSave", True)
        except ValueError as error:
            raise ValueError(f"user set {user_set}: {error}") from error
        if boot:
            name = "UserSetDefault" if nodes.has("UserSetDefault") else "UserSetDefaultSelector"  # SFNC before 2.0
            nodes.write(name, user_set)
            nodes.look_again()
            if nodes.read(name) != user_set:
                raise ValueError(f"{name}: wanted {user_set}, found {nodes.read(name)}")

    visited(library, serial, save)


def visited(library: Library, serial: str, work: Callable[[Nodes], Done]) -> Done:
    """Open a device, do something with its features, close it. Raises DeviceError."""
    acquirer = library.acquirer(serial)
    try:
        return work(Nodes(acquirer.remote_device.node_map))
    except VENDOR_ERRORS as error:
        raise DeviceError(f"camera {serial} can't be read: {words(error)}") from error
    except ValueError as error:
        raise DeviceError(f"camera {serial}: {error}") from error
    finally:
        force_close(library.harvester, acquirer)


def _picture(data: NDArray[Any], dtype: Any, width: int, height: int, channels: int) -> NDArray[Any]:
    """The component's flat pixels as (H, W) or (H, W, C), without the line padding harvesters leaves in."""
    flat = data if data.dtype == dtype else np.frombuffer(data.tobytes(), dtype)
    row = width * channels
    if flat.size % height or flat.size // height < row:
        raise DeviceError(f"a picture of {flat.size} values is not {width}x{height}x{channels}")
    lines = flat.reshape(height, -1)[:, :row]
    return lines if channels == 1 else lines.reshape(height, width, channels)
