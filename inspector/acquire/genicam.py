"""The one door to harvesters and genicam. Nothing of theirs leaves this file.

The work-arounds follow from the behaviour of harvesters 1.4.3 and genicam 1.6: only one thread may touch
them (a second one can freeze the interpreter), ``update()`` is called once, a lost device needs a forced
close, frames that came late must never be taken for the next part's.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.acquire import features
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame, SettingsError, Take
from inspector.acquire.features import Value
from inspector.acquire.visit import Feature
from inspector.config import CameraFile
from inspector.ring import PIXEL_TYPES
from inspector.wire import Shot

with warnings.catch_warnings():  # importing harvesters changes the process's warning filters
    from genicam import genapi, gentl
    from harvesters.core import Callback, Device, DeviceInfo, Harvester, ParameterKey, ParameterSet

_log = logging.getLogger(__name__)

for _name in [n for n in logging.root.manager.loggerDict if n.split(".")[0] == "harvesters"]:
    # each has its own handler on stderr, and prints a trace for whatever is told here in one sentence
    _theirs = logging.getLogger(_name)
    _theirs.handlers.clear()
    _theirs.propagate = True
    _theirs.setLevel(logging.CRITICAL)

# two unrelated hierarchies: either may come out of any call
VENDOR_ERRORS = (genapi.GenericException, gentl.GenericException)
_ACCESS = {0: "unknown", 1: "free", 2: "read only", 3: "not reachable", 4: "busy", 5: "open"}
_REACHABLE = (1, 5)  # access status: read/write, open by us
_BUFFERS = 5
_COMMAND_LIMIT_S = 3.0  # a command of a camera file (UserSetLoad ...) is done by then
_REFRESH_MS = 200
_LOOK_S = 2e-5  # harvesters looks at least once in this time; in less it may give up before
_CHUNKS = ("ChunkFrameID", "ChunkTimestamp", "ChunkExposureTime", "ChunkGain", "ChunkCounterValue")
_COUNTED = ("FrameTrigger", "FrameStart", "ExposureStart")  # events that go on with each software trigger
_READABLE = (genapi.EAccessMode.RO, genapi.EAccessMode.RW)
_WRITABLE = (genapi.EAccessMode.WO, genapi.EAccessMode.RW)


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


def _not_a_producer(path: Path) -> str:
    """Why this file can't be loaded as a producer, "" when it can. genicam crashes on a library that is none."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return _words(error).removeprefix(f"{path}: ")
    missing = [
        name for name in ("GCInitLib", "TLOpen", "IFOpenDevice", "DSStartAcquisition") if not hasattr(library, name)
    ]
    return f"it is a library, but has no function {missing[0]}" if missing else ""


class _Nodes:
    """A node map as :class:`inspector.acquire.features.Nodes`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map

    def read(self, name: str) -> Value:
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.ICommand):
                return bool(node.is_done())
            value: Value = node.value
            return value

    def write(self, name: str, value: Value) -> None:
        with _as_value_error(name):
            node = self._node(name)
            if isinstance(node, genapi.ICommand):
                _execute(node, value)
                return
            if isinstance(node, genapi.IEnumeration) and value not in _entries(node):
                raise ValueError(f"allowed: {', '.join(_entries(node))}")
            if node.get_access_mode() not in _WRITABLE:
                raise ValueError("it can't be written now (read only, or locked by another feature)")
            if isinstance(node, (genapi.IInteger, genapi.IFloat)):
                value = _number(node, value)
            if isinstance(node, genapi.IBoolean) and not isinstance(value, bool):
                raise ValueError("allowed: true or false")
            try:
                node.value = value
            except VENDOR_ERRORS as error:
                hint = f"; allowed: {_range(node)}" if isinstance(node, (genapi.IInteger, genapi.IFloat)) else ""
                raise ValueError(f"the camera refused: {_words(error)}{hint}") from error

    def entries(self, name: str) -> list[str]:
        """What an enumeration can be set to now."""
        with _as_value_error(name):
            return _entries(self._node(name))

    def writable(self, name: str) -> bool:
        with contextlib.suppress(*VENDOR_ERRORS, ValueError):
            return self._node(name).get_access_mode() in _WRITABLE
        return False

    def categories(self) -> list[Any]:
        """Categories below Root, in the camera's order, those within others too."""
        open_ones, result = [self._map.get_node("Root")] if self.has("Root") else [], []
        while open_ones:
            category = open_ones.pop(0)
            result.append(category)
            inner = [f for f in category.features if isinstance(f, genapi.ICategory)]
            open_ones = [*inner, *open_ones]
        return result

    def features(self, category: Any) -> list[Feature]:
        """What stands in a category itself."""
        name = str(category.node.name)
        return [_feature(f, name) for f in category.features if not isinstance(f, genapi.ICategory)]

    def look_again(self) -> None:
        """Forget what is cached here, so that reads show what the camera holds now."""
        self._map._invalidate_nodes()

    def has(self, name: str) -> bool:
        return bool(self._map.has_node(name))

    def _node(self, name: str) -> Any:
        if not self._map.has_node(name):
            raise ValueError("this camera has no such feature")
        return self._map.get_node(name)


def _feature(node: Any, category: str) -> Feature:
    mode = node.get_access_mode()
    access = {genapi.EAccessMode.RO: "RO", genapi.EAccessMode.RW: "RW", genapi.EAccessMode.WO: "WO"}.get(mode, "NA")
    value = unit = allowed = ""
    try:
        if isinstance(node, genapi.ICommand):
            value = "(command)"
        elif access in ("RO", "RW"):
            value = node.to_string() if isinstance(node, genapi.IRegister) else str(node.value)
            if isinstance(node, (genapi.IInteger, genapi.IFloat)):
                unit, allowed = node.unit, _range(node, unit=False)
            elif isinstance(node, genapi.IEnumeration):
                allowed = ", ".join(_entries(node))
            elif isinstance(node, genapi.IBoolean):
                allowed = "true, false"
    except (*VENDOR_ERRORS, AttributeError, TypeError) as error:
        value = f"(can't be read: {_words(error)})"
    visibility = genapi.EVisibility(node.node.visibility).name
    return Feature(str(node.node.name), category, access, value[:200], unit, allowed, visibility)


def _execute(node: Any, value: Value) -> None:
    if value is not True:
        raise ValueError("a command; allowed: true")
    node.execute()
    end = time.monotonic() + _COMMAND_LIMIT_S
    while not node.is_done():
        if time.monotonic() > end:
            raise ValueError(f"the command was not done after {_COMMAND_LIMIT_S:g} s")
        time.sleep(0.005)


def _number(node: Any, value: Value) -> int | float:
    if isinstance(value, (str, bool)):
        raise ValueError(f"allowed: a number from {_range(node)}")
    if not node.min <= value <= node.max:  # also refuses what is not a number
        raise ValueError(f"allowed: {_range(node)}")
    if isinstance(node, genapi.IFloat):
        return float(value)
    if not float(value).is_integer():
        raise ValueError(f"allowed: a whole number from {_range(node)}")
    return int(value)


def _entries(node: Any) -> list[str]:
    """What an enumeration can be set to now; every camera knows entries that it does not have."""
    return [e.symbolic for e in node.entries if e.get_access_mode() in _READABLE]


def _range(node: Any, *, unit: bool = True) -> str:
    """``16 to 1280 in steps of 4 us``."""
    stepped = isinstance(node, genapi.IInteger) or node.has_inc()
    step = f" in steps of {node.inc:g}" if stepped and node.inc != 1 else ""
    of = f" {node.unit}" if unit and node.unit else ""
    return f"{node.min:.15g} to {node.max:.15g}{step}{of}"


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
        """Load producers and list devices. Raises DeviceError when none of the producers can be used."""
        self.harvester = Harvester()
        self.troubles: list[str] = []
        for path in cti:
            trouble = _not_a_producer(path)
            if trouble:
                self.troubles.append(f"GenTL producer {path} can't be loaded: {trouble}")
            else:
                self.harvester.add_file(str(path))
        with contextlib.suppress(*VENDOR_ERRORS):
            self.harvester.update()  # tells nobody what it could not open
        usable = {str(system.parent.path_name) for system in self.harvester._systems}
        self.troubles += [
            f"GenTL producer {path} can't be used: it does not start (see what it printed)"
            for path in self.harvester.files
            if path not in usable
        ]
        if not usable:
            raise DeviceError("; ".join(self.troubles))
        for trouble in self.troubles:
            _log.warning("%s", trouble)

    def devices(self) -> list[dict[str, str]]:
        """Every device: serial, model, vendor, access status in words, transport (GEV, U3V ...).

        ``where`` holds what its maker tells of its place: ids and names, with addresses in many of them.
        """
        result = []
        names = (("serial", "serial_number"), ("model", "model"), ("vendor", "vendor"), ("transport", "tl_type"))
        for info in self.harvester.device_info_list:
            row = {"access": self._access(info)}
            for key, name in names:
                row[key] = str(info.property_dict.get(name) or "")
            told = [info.property_dict.get("id_"), info.property_dict.get("display_name")]
            with contextlib.suppress(*VENDOR_ERRORS, AttributeError):
                told += [info.parent.module.id_, info.parent.module.display_name]
            row["where"] = " ".join(str(text) for text in told if text)
            result.append(row)
        return result

    def refresh(self) -> None:
        """Let producers look for devices again, without disturbing open ones."""
        found = []
        for interface in self.harvester._ifaces:
            try:
                interface.module.update_device_info_list(_REFRESH_MS)
                found += [DeviceInfo(module=m, parent=interface) for m in interface.module.device_info_list]
            except VENDOR_ERRORS:  # its devices stay as they were known
                found += [d for d in self.harvester.device_info_list if d.parent is interface]
        self.harvester.device_info_list[:] = found

    def acquirer(self, serial: str) -> Any:
        """Open a device for ourselves alone. Raises DeviceError."""
        info = self._find(serial)
        if info is None:
            self.refresh()
            info = self._find(serial)
        if info is None:
            serials = ", ".join(d["serial"] for d in self.devices()) or "none"
            raise DeviceError(f"there is no camera {serial} (found: {serials}); check its power, cable and number")
        # a fresh set each time: harvesters removes keys from the one it is given
        config = ParameterSet(
            {
                ParameterKey.NUM_BUFFERS_FOR_FETCH_CALL: _BUFFERS,
                ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: 1,
                ParameterKey.TIMEOUT_PERIOD_ON_CLIENT_FETCH_CALL: 0.01,
            }
        )
        keep_sigint = signal.getsignal(signal.SIGINT)
        device = None
        try:
            device = Device(module=info.create_device(), parent=info.parent)
            return self.harvester._create_acquirer(device_proxy=device, config=config)
        except Exception as error:  # its constructor runs the camera's own description, and asserts on its way
            if device is not None:  # Harvester.create() would leave it open for ever
                with contextlib.suppress(Exception):
                    device.close()
            access = self._access(info)
            access = "in use by another program" if access == "busy" else access
            self.refresh()
            raise DeviceError(f"camera {serial} can't be opened, it is {access}: {_words(error)}") from error
        finally:
            # it takes SIGINT for itself and never gives it back
            if signal.getsignal(signal.SIGINT) is not keep_sigint:
                signal.signal(signal.SIGINT, keep_sigint)

    def _find(self, serial: str) -> Any:
        """The device's entry; a free one where two producers list the same camera."""
        known = [d for d in self.harvester.device_info_list if d.property_dict.get("serial_number") == serial]
        return next((d for d in known if self._access(d) == "free"), known[0] if known else None)

    @staticmethod
    def _access(info: Any) -> str:
        with contextlib.suppress(*VENDOR_ERRORS):
            return _ACCESS.get(int(info.module.access_status), "unknown")
        return "not reachable"

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
        self.stranded_bytes = 0
        self._nodes: _Nodes | None = None
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
            raise DeviceError(f"camera {self._serial} was lost while it was set up: {_words(error)}") from error

    def _set_up(self) -> dict[str, Any]:
        acquirer = self._acquirer
        nodes = self._nodes = _Nodes(acquirer.remote_device.node_map)
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
        return {name: node.value for name, node in nodes.items() if node.get_access_mode() in _READABLE}

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
        return features.differing(nodes, {k: v for k, v in self._wanted.features.items() if self._still_told(k)})

    def _still_told(self, key: str) -> bool:
        """False where a selector stands elsewhere and can't be moved while streaming."""
        _, selector, entry = features.split(key)
        nodes = self._nodes
        if nodes is None or not selector:
            return True
        if nodes.writable(selector):
            return True
        with contextlib.suppress(ValueError):
            return str(nodes.read(selector)) == entry
        return False

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
            self.stranded_bytes += _force_close(self._library.harvester, acquirer)


def describe(library: Library, serial: str, wanted: Mapping[str, Value]) -> tuple[list[Feature], list[str]]:
    """Every feature of a device as it is now, and how they differ from the wanted ones. Raises DeviceError."""
    acquirer = library.acquirer(serial)
    try:
        nodes = _Nodes(acquirer.remote_device.node_map)
        # first of all: to look at a selected feature its selector has to be moved
        found = [feature for category in nodes.categories() for feature in nodes.features(category)]
        return found, features.differing(nodes, wanted)
    except VENDOR_ERRORS as error:
        raise DeviceError(f"camera {serial} can't be read: {_words(error)}") from error
    finally:
        _force_close(library.harvester, acquirer)


def _force_close(harvester: Any, acquirer: Any) -> int:
    """Close an acquirer whose device may be gone, so that the device can be opened again. Never raises.

    Returns the bytes of picture buffers that the producer would not give back: genicam never frees them then.

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
    stranded = 0
    if acquirer.is_valid():
        for buffer in acquirer._announced_buffers:
            size = len(buffer.raw_buffer)
            try:
                streams[0].revoke_buffer(buffer)
            except VENDOR_ERRORS:
                stranded += size
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
    return stranded


def _picture(data: NDArray[Any], dtype: Any, width: int, height: int, channels: int) -> NDArray[Any]:
    """The component's flat pixels as (H, W) or (H, W, C), without the line padding harvesters leaves in."""
    flat = data if data.dtype == dtype else np.frombuffer(data.tobytes(), dtype)
    row = width * channels
    if flat.size % height or flat.size // height < row:
        raise DeviceError(f"a picture of {flat.size} values is not {width}x{height}x{channels}")
    lines = flat.reshape(height, -1)[:, :row]
    return lines if channels == 1 else lines.reshape(height, width, channels)
