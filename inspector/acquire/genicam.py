"""The one door to harvesters and genicam. Nothing of theirs leaves this file.

The work-arounds follow from the behaviour of harvesters 1.4.3 and genicam 1.6: only one thread may touch
them (a second one can freeze the interpreter), ``update()`` is called once, a lost device needs a forced
close, frames that came late must never be taken for the next part's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import features
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame, SettingsError, Take
from inspector.acquire.features import Value
from inspector.config import CameraFile
from inspector.ring import PIXEL_TYPES

with warnings.catch_warnings():  # importing harvesters changes the process's warning filters
    from genicam import genapi, gentl
    from harvesters.core import Callback, Harvester, ParameterKey, ParameterSet

_log = logging.getLogger(__name__)
logging.getLogger("harvesters").setLevel(logging.CRITICAL)  # its own handler would print every incomplete buffer

# two unrelated hierarchies: either may come out of any call
VENDOR_ERRORS = (genapi.GenericException, gentl.GenericException)
_REACHABLE = (1, 5)  # access status: read/write, open by us
_BUFFERS = 5


def producers(explicit: Path | None) -> list[Path]:
    """GenTL producers to load: the given one, or all on GENICAM_GENTL64_PATH. Raises DeviceError when none."""
    if explicit is not None:
        if not explicit.is_file():
            raise DeviceError(f"there is no GenTL producer {explicit}")
        return [explicit]
    folders = [Path(p) for p in os.environ.get("GENICAM_GENTL64_PATH", "").split(os.pathsep) if p]
    found = [cti for folder in folders for cti in sorted(folder.glob("*.cti"))]
    if not found:
        raise DeviceError(
            "no GenTL producer: install your camera maker's GenTL package, or set `producer:` in station.yaml "
            "or the environment variable GENICAM_GENTL64_PATH"
        )
    return found


class _Nodes:
    """A node map as :class:`inspector.acquire.features.Nodes`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map

    def read(self, name: str) -> Value:
        with _as_value_error(name):
            value: Value = self._node(name).value
            return value

    def write(self, name: str, value: Value) -> None:
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.ICommand):
                node.execute()
            elif isinstance(node, genapi.IInteger) and isinstance(value, float) and value.is_integer():
                node.value = int(value)
            elif isinstance(node, genapi.IFloat) and isinstance(value, int):
                node.value = float(value)
            elif isinstance(node, genapi.IEnumeration) and value not in node.symbolics:
                raise ValueError(f"allowed: {', '.join(node.symbolics)}")
            else:
                node.value = value

    def has(self, name: str) -> bool:
        return bool(self._map.has_node(name))

    def _node(self, name: str) -> Any:
        if not self._map.has_node(name):
            raise ValueError("this camera has no such feature")
        return self._map.get_node(name)


@contextlib.contextmanager
def _as_value_error(name: str) -> Iterator[None]:
    try:
        yield
    except VENDOR_ERRORS as error:
        raise ValueError(f"the camera refused: {_words(error)}") from error
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"not a value {name} can take ({error})") from error


def _words(error: BaseException) -> str:
    """The sentence in a vendor exception, without its source position."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:160]


class _Incomplete(Callback):  # type: ignore[misc]  # harvesters is untyped
    """harvesters' only sign that a buffer came incomplete."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def emit(self, context: object | None = None) -> None:
        self.seen = True


class Library:
    """The process's one Harvester: a producer can be initialised only once a process."""

    def __init__(self, cti: list[Path]) -> None:
        """Load producers and list devices. Raises DeviceError."""
        self.harvester = Harvester()
        for path in cti:
            try:
                self.harvester.add_file(str(path), check_existence=True, check_validity=True)
            except (*VENDOR_ERRORS, OSError) as error:
                raise DeviceError(f"GenTL producer {path} can't be loaded: {_words(error)}") from error
        try:
            self.harvester.update()
        except VENDOR_ERRORS as error:
            raise DeviceError(f"cameras can't be listed: {_words(error)}") from error

    def devices(self) -> list[dict[str, str]]:
        """Every device: serial, model, vendor, access status in words."""
        words = {0: "unknown", 1: "free", 2: "read only", 3: "not reachable", 4: "busy", 5: "open"}
        result = []
        for info in self.harvester.device_info_list:
            try:
                access = words.get(int(info.module.access_status), "unknown")
            except VENDOR_ERRORS:
                access = "not reachable"
            row = {"access": access}
            for key, name in (("serial", "serial_number"), ("model", "model"), ("vendor", "vendor")):
                row[key] = str(info.property_dict.get(name) or "")
            result.append(row)
        return result

    def refresh(self) -> None:
        """Let producers look for devices again, without disturbing open ones."""
        seen = set()
        for info in self.harvester.device_info_list:
            with contextlib.suppress(*VENDOR_ERRORS):
                interface = info.parent.module
                if id(interface) not in seen:
                    seen.add(id(interface))
                    interface.update_device_info_list(200)

    def close(self) -> None:
        """Unload the producers."""
        with contextlib.suppress(*VENDOR_ERRORS):
            self.harvester._reset()


class GenicamCamera:
    """A GenICam camera behind :class:`inspector.acquire.camera.Camera`."""

    def __init__(self, library: Library, serial: str, wanted: CameraFile, trigger: str) -> None:
        self._library = library
        self._serial = serial
        self._wanted = wanted
        self._trigger_mode = trigger
        self._acquirer: Any = None
        self._incomplete = _Incomplete()
        self._nodes: _Nodes | None = None
        self._chunks: frozenset[str] = frozenset()
        self._exposure_us = self._gain_db = 0.0
        self._offset_px = (0, 0)

    def open(self) -> dict[str, Any]:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self.close()
        keep_sigint = signal.getsignal(signal.SIGINT)
        # a fresh set each time: create() removes keys from the one it is given
        config = ParameterSet(
            {
                ParameterKey.NUM_BUFFERS_FOR_FETCH_CALL: _BUFFERS,
                ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: 1,
                ParameterKey.TIMEOUT_PERIOD_ON_CLIENT_FETCH_CALL: 0.01,
            }
        )
        try:
            self._acquirer = self._library.harvester.create({"serial_number": self._serial}, config=config)
        except (*VENDOR_ERRORS, ValueError) as error:
            self._library.refresh()
            raise DeviceError(f"camera {self._serial} can't be opened: {self._not_open(error)}") from error
        finally:
            # create() takes SIGINT for itself and never gives it back
            if signal.getsignal(signal.SIGINT) is not keep_sigint:
                signal.signal(signal.SIGINT, keep_sigint)
        try:
            return self._set_up()
        except DeviceError:
            self.close()
            raise
        except (*VENDOR_ERRORS, ValueError) as error:
            self.close()
            raise DeviceError(f"camera {self._serial} was lost while it was set up: {_words(error)}") from error

    def _set_up(self) -> dict[str, Any]:
        acquirer = self._acquirer
        nodes = self._nodes = _Nodes(acquirer.remote_device.node_map)
        if len(acquirer.data_streams) != 1:
            raise DeviceError(f"camera {self._serial} has {len(acquirer.data_streams)} streams; exactly 1 is supported")
        model = str(nodes.read("DeviceModelName"))
        if self._wanted.model and model != self._wanted.model:
            raise SettingsError(f"DeviceModelName: wanted {self._wanted.model}, found {model}")
        features.apply(nodes, self._wanted.features)
        self._check_trigger(nodes)
        pixel_format = str(nodes.read("PixelFormat"))
        if pixel_format not in PIXEL_TYPES:
            raise SettingsError(f"PixelFormat: found {pixel_format}, allowed: {', '.join(PIXEL_TYPES)}")
        self._exposure_us = float(nodes.read("ExposureTime"))
        self._gain_db = float(nodes.read("Gain")) if nodes.has("Gain") else 0.0
        self._offset_px = tuple(int(nodes.read(n)) if nodes.has(n) else 0 for n in ("OffsetX", "OffsetY"))  # type: ignore[assignment]
        chunky = nodes.has("ChunkModeActive") and nodes.read("ChunkModeActive") is True
        names = ("ChunkFrameID", "ChunkTimestamp", "ChunkExposureTime", "ChunkGain")
        self._chunks = frozenset(n for n in names if chunky and nodes.has(n))
        acquirer.add_callback(acquirer.Events.INCOMPLETE_BUFFER, self._incomplete)
        acquirer.start()
        return {
            "model": model,
            "serial": self._serial,
            "width": int(nodes.read("Width")),
            "height": int(nodes.read("Height")),
            "pixel_format": pixel_format,
            "exposure_us": self._exposure_us,
            "gain_db": self._gain_db,
            **self._live(),
        }

    def _check_trigger(self, nodes: _Nodes) -> None:
        mode, source = nodes.read("TriggerMode"), str(nodes.read("TriggerSource"))
        fits = source == "Software" if self._trigger_mode == "software" else source.startswith("Line")
        if mode != "On" or not fits:
            wish = "Software" if self._trigger_mode == "software" else "a Line"
            raise SettingsError(
                f"TriggerMode {mode}, TriggerSource {source}: `trigger: {self._trigger_mode}` in station.yaml "
                f"wants TriggerMode On and TriggerSource {wish} in the camera file"
            )

    def _not_open(self, error: BaseException) -> str:
        known = [d for d in self._library.devices() if d["serial"] == self._serial]
        if not known:
            serials = ", ".join(d["serial"] for d in self._library.devices()) or "none"
            return f"no such device (found: {serials}); check its power and cable"
        return f"it is {known[0]['access']} ({_words(error)})"

    def trigger(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("software trigger failed"):
            self._acquirer.remote_device.node_map.TriggerSoftware.execute()

    def fetch(self, limit_s: float, take: Take) -> Exposure | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self._incomplete.seen = False
        acquirer = self._acquirer
        with self._device_errors("no picture can be fetched"):
            acquirer.timeout_period_on_update_event_data_call = 1 if limit_s > 0 else 0
            buffer = acquirer.try_fetch(timeout=max(limit_s, 1e-6))
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
        chunk = self._chunk(buffer)
        return Exposure(
            frame_id=int(chunk.get("ChunkFrameID", buffer.module.frame_id)),
            width=width,
            height=height,
            pixel_format=name,
            exposure_us=float(chunk.get("ChunkExposureTime", self._exposure_us)),
            gain_db=float(chunk.get("ChunkGain", self._gain_db)),
            device_timestamp_ns=int(chunk.get("ChunkTimestamp", buffer.timestamp_ns or 0)),
            offset_px=self._offset_px,
        )

    def _chunk(self, buffer: Any) -> Mapping[str, Any]:
        node_map = self._acquirer.remote_device.node_map
        return {name: node_map.get_node(name).value for name in self._chunks}

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
        # with chunks or the payload locked while streaming, reading is still allowed
        return features.differing(nodes, {k: v for k, v in self._wanted.features.items() if "[" not in k})

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
            raise DeviceError(f"camera {self._serial}: {what}: {_words(error)}") from error
        except (ValueError, IndexError, AttributeError) as error:  # what a half-gone acquirer raises
            raise DeviceError(f"camera {self._serial}: {what}: {error}") from error

    def close(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        acquirer, self._acquirer, self._nodes = self._acquirer, None, None
        if acquirer is not None:
            _force_close(self._library.harvester, acquirer)


def _force_close(harvester: Any, acquirer: Any) -> None:
    """Close an acquirer whose device may be gone, so that the device can be opened again. Never raises.

    A lost device makes stop() and destroy() raise half-way, and both keep the object alive for ever through
    weakref.finalize on bound methods (250 kB an open); so it is taken apart by hand.
    """
    chunk_adapter: Any = getattr(acquirer, "_chunk_adapter", None)
    streams = list(getattr(acquirer, "_data_streams", []))
    for _ in range(2):
        with contextlib.suppress(*VENDOR_ERRORS, ValueError, AttributeError, IndexError):
            acquirer.destroy()
        if not acquirer.is_valid():
            break
    if acquirer.is_valid():
        for stream in streams:
            with contextlib.suppress(*VENDOR_ERRORS):
                stream.close()
        acquirer._data_streams.clear()
        acquirer._announced_buffers.clear()
        with contextlib.suppress(*VENDOR_ERRORS, ValueError, AttributeError, IndexError):
            acquirer.destroy()
    with contextlib.suppress(AttributeError):
        acquirer._finalizer.detach()
    with contextlib.suppress(*VENDOR_ERRORS, AttributeError, TypeError):
        chunk_adapter._finalizer()
    with contextlib.suppress(ValueError):
        harvester.image_acquirers.remove(acquirer)


def _picture(data: NDArray[Any], dtype: Any, width: int, height: int, channels: int) -> NDArray[Any]:
    """The component's flat pixels as (H, W) or (H, W, C), without the line padding harvesters leaves in."""
    flat = data if data.dtype == dtype else np.frombuffer(data.tobytes(), dtype)
    row = width * channels
    if flat.size % height or flat.size // height < row:
        raise DeviceError(f"a picture of {flat.size} values is not {width}x{height}x{channels}")
    lines = flat.reshape(height, -1)[:, :row]
    return lines if channels == 1 else lines.reshape(height, width, channels)
