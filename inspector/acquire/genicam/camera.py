"""A GenICam camera behind :class:`inspector.acquire.camera.Camera`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from inspector.acquire import features
from inspector.acquire.camera import DeviceError, Exposure, IncompleteFrame, SettingsError, Take
from inspector.acquire.features import Difference, Value, same
from inspector.acquire.genicam.clock import Clock, reader, ticks
from inspector.acquire.genicam.library import Library, force_close
from inspector.acquire.genicam.nodes import Nodes
from inspector.acquire.genicam.stream import CHUNKS, SET_ACTIVE, Stream, told
from inspector.acquire.genicam.vendor import VENDOR_ERRORS, pixel_format_name, words
from inspector.acquire.genicam.views import Views, sequencer_off
from inspector.acquire.unpack import ALLOWED, Raw, unpacked
from inspector.acquire.visit import Feature
from inspector.config import CameraFile
from inspector.wire import Shot

_REACHABLE = (1, 5)  # access status: read/write, open by us
_COUNTED = ("FrameTrigger", "FrameStart", "ExposureStart")  # events that go on with each software trigger
_CLOCK_READINGS = 8  # when it is opened
_CLOCK_AGAIN = 3  # each time it is looked after
_CLOCK_LIMIT_S = 0.02


class GenicamCamera:
    """See the module's text. Chunks that the camera file switches on are what it says about each picture."""

    def __init__(
        self, library: Library, serial: str, wanted: CameraFile, trigger: str, *, may_run_free: bool = False
    ) -> None:
        """``trigger``: software or wired. ``may_run_free``: to look at it, a camera without a trigger will do."""
        self._library = library
        self._serial = serial
        self._wanted = wanted
        self._named = {features.split(key)[0] for key in wanted.features}
        self._trigger_mode = trigger
        self._may_run_free = may_run_free
        self._runs_free = False
        self._acquirer: Any = None
        self._nodes: Nodes | None = None
        self._stream: Stream | None = None
        self._clock = Clock(None)
        self._tick_ns = 1.0
        self._views: Views | None = None
        self._shots: tuple[Shot, ...] = (Shot(),)
        self._shot, self._copy = 0, -1  # of the plan: what was fired last
        self._form = (0, 0, "")  # width, height, format as sent
        self._exposure_us = self._gain_db = 0.0
        self._offset_px = (0, 0)
        self._counter = False  # it has one for triggers, and CounterSelector stands on it
        self._same_ids = True  # buffers and chunks number alike
        self._unseen: list[str] = []  # of the camera file, in this round of looking
        self._held: dict[str, Value] = {}  # the camera file's features as a shared user set has them
        self.stranded_bytes = 0

    # --- opening -------------------------------------------------------------------------------------
    def open(self) -> dict[str, Any]:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self.close()
        self._acquirer = self._library.acquirer(self._serial)
        try:
            return self._set_up()
        except DeviceError as error:
            trouble = type(error)(str(error))
        except Exception as error:  # whatever a camera that goes away now makes of the vendor's code
            trouble = DeviceError(f"camera {self._serial} was lost while it was set up: {words(error)}")
        self.close()  # only now: while an error is handled it holds the nodes it passed through
        raise trouble

    def _set_up(self) -> dict[str, Any]:
        acquirer = self._acquirer
        nodes = self._nodes = Nodes(acquirer.remote_device.node_map)
        if len(acquirer.data_streams) != 1:
            raise DeviceError(f"camera {self._serial} has {len(acquirer.data_streams)} streams; exactly 1 is supported")
        model = str(nodes.read("DeviceModelName")) if nodes.has("DeviceModelName") else "unknown"
        if self._wanted.model and model != self._wanted.model:
            raise SettingsError(f"DeviceModelName: wanted {self._wanted.model}, found {model}")
        sequencer_off(nodes)
        features.apply(nodes, self._wanted.features)
        self._views, self._shots, self._held = None, (Shot(),), {}
        self._unseen = [*self._wanted.features]
        self._shot, self._copy = 0, -1
        self._check_trigger()
        self._counter = self._find_counter()
        sent_format = self._check_format()
        self._form = (int(self._needed("Width")), int(self._needed("Height")), sent_format)
        self._look_at_exposure()
        self._offset_px = tuple(int(nodes.read(n)) if nodes.has(n) else 0 for n in ("OffsetX", "OffsetY"))  # type: ignore[assignment]
        self._tick_ns = ticks(nodes)
        self._clock = Clock(reader(nodes))
        self._clock.measure(_CLOCK_READINGS, _CLOCK_LIMIT_S)
        self._stream = Stream(acquirer, self._attached())
        acquirer.start()
        return {
            "model": model,
            "serial": self._serial,
            "firmware": str(nodes.read("DeviceFirmwareVersion")) if nodes.has("DeviceFirmwareVersion") else "",
            "settings": dict(self._wanted.features),
            "width": self._form[0],
            "height": self._form[1],
            "pixel_format": unpacked(sent_format),
            "sent_format": sent_format,
            "exposure_us": self._exposure_us,
            "gain_db": self._gain_db,
            "trigger_counter": self._counter,
            **self._live(),
        }

    def _check_format(self) -> str:
        name = str(self._needed("PixelFormat"))
        assert self._nodes is not None  # noqa: S101  # set before
        with contextlib.suppress(ValueError):  # makers' names differ, the standard's number does not
            name = pixel_format_name(self._nodes.code("PixelFormat"))
        try:
            unpacked(name)
        except ValueError:
            raise SettingsError(f"PixelFormat: found {name}, allowed: {', '.join(ALLOWED)}") from None
        return name

    def _look_at_exposure(self) -> None:
        assert self._nodes is not None  # noqa: S101  # set before
        untold = self._runs_free and not self._nodes.has("ExposureTime")
        self._exposure_us = 0.0 if untold else float(self._needed("ExposureTime"))
        self._gain_db = float(self._nodes.read("Gain")) if self._nodes.has("Gain") else 0.0

    def _needed(self, name: str) -> Value:
        assert self._nodes is not None  # noqa: S101  # set before
        try:
            return self._nodes.read(name)
        except ValueError as error:
            raise SettingsError(f"camera {self._serial}: {name}: {error}") from error

    def _check_trigger(self) -> None:
        assert self._nodes is not None  # noqa: S101  # set before
        if not self._nodes.has("TriggerMode"):
            if not self._may_run_free:
                raise SettingsError(
                    f"camera {self._serial} has no TriggerMode: it sends pictures when it likes, and none is surely a "
                    "part's; parts need a camera that can be triggered"
                )
            self._runs_free = True
            return
        mode, source = str(self._needed("TriggerMode")), str(self._needed("TriggerSource"))
        fits = source == "Software" if self._trigger_mode == "software" else source.startswith("Line")
        if mode != "On" or not fits:
            wish = "Software" if self._trigger_mode == "software" else "a Line"
            raise SettingsError(
                f"TriggerMode {mode}, TriggerSource {source}: `identity` in station.yaml, {self._trigger_mode}, "
                f"wants TriggerMode On and TriggerSource {wish} in the camera file"
            )

    def _find_counter(self) -> bool:
        """Put CounterSelector on the counter that counts this camera's triggers; False: there is none."""
        nodes = self._nodes
        assert nodes is not None  # noqa: S101  # set before
        if not (nodes.has("CounterSelector") and nodes.has("CounterEventSource") and nodes.has("CounterValue")):
            return False
        events = _COUNTED if self._trigger_mode == "software" else (str(nodes.read("TriggerSource")), "FrameTrigger")
        for entry in nodes.entries("CounterSelector"):
            nodes.select("CounterSelector", entry)
            if nodes.read("CounterEventSource") in events:
                if nodes.has("ChunkCounterSelector") and nodes.writable("ChunkCounterSelector"):
                    nodes.select("ChunkCounterSelector", entry)
                return True
        return False

    def _attached(self) -> list[str]:
        """The chunks that each picture must bring."""
        nodes = self._nodes
        assert nodes is not None  # noqa: S101  # set before
        if not (nodes.has("ChunkModeActive") and nodes.has("ChunkEnable") and nodes.read("ChunkModeActive")):
            return []
        entries = nodes.entries("ChunkSelector")
        asked = {f"ChunkEnable[ChunkSelector={name.removeprefix('Chunk')}]": name for name in (*CHUNKS, SET_ACTIVE)}
        return [
            name
            for key, name in asked.items()
            if name.removeprefix("Chunk") in entries and features.difference(nodes, key, True) is None
        ]

    # --- what to take --------------------------------------------------------------------------------
    def plan(self, shots: Sequence[Shot]) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        if tuple(shots) == self._shots:
            return
        with self._device_errors("its views can't be set"):
            # a wired camera goes on streaming: frame ids that begin anew would look like lost pictures
            stops = len(shots) > 1 or self._views_sequenced or self._held or any(shot.user_set for shot in shots)
            if stops:
                self._acquirer.stop()
            self._undo()
            self._shots = tuple(shots)
            self._shot, self._copy = 0, -1
            try:
                self._load_user_set(shots)
                assert self._nodes is not None  # noqa: S101  # open
                self._views = Views(self._nodes, shots)
                self._views.begin(shots)
                self._unseen = self._watched()
            except (SettingsError, ValueError) as error:
                raise SettingsError(f"camera {self._serial}: {error}") from error
            if stops:
                self._acquirer.start()

    @property
    def _views_sequenced(self) -> bool:
        return self._views is not None and self._views.sequenced

    def _undo(self) -> None:
        if self._views is not None:
            self._views.end()
        self._views = None
        if self._held:
            assert self._nodes is not None  # noqa: S101  # open
            features.apply(self._nodes, self._wanted.features)
            self._held = {}
            self._look_at_exposure()

    def _load_user_set(self, shots: Sequence[Shot]) -> None:
        names = {shot.user_set for shot in shots}
        nodes = self._nodes
        assert nodes is not None  # noqa: S101  # open
        if names == {None}:
            return
        if len(names) > 1:
            raise ValueError(
                f"views with different user sets ({', '.join(sorted(n or 'none' for n in names))}): a user set can't "
                "be loaded while the camera streams (TLParamsLocked); all views of a camera share one"
            )
        features.apply(nodes, {"UserSetSelector": str(names.pop()), "UserSetLoad": True})
        nodes.look_again()
        self._check_trigger()
        form = int(self._needed("Width")), int(self._needed("Height")), self._check_format()
        if form != self._form:
            raise ValueError(
                f"its user set has {_form(form)}, its camera file {_form(self._form)}: allowed is the same"
            )
        for key in self._wanted.features:
            name, selected = features.split(key)
            if not nodes.is_command(name):
                for selector, entry in selected:
                    nodes.select(selector, entry)
                self._held[key] = nodes.read(name)
        self._look_at_exposure()
        self._counter = self._find_counter()
        self._stream = Stream(self._acquirer, self._attached())

    def trigger(self, shot: int = 0) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        if self._runs_free:
            return  # the next picture comes by itself
        with self._device_errors("software trigger failed"):
            self._copy = self._copy + 1 if shot == self._shot else 0
            self._shot = shot
            if self._views is not None:
                self._views.prepare(shot)
            self._acquirer.remote_device.node_map.TriggerSoftware.execute()

    def ready(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        self._shot, self._copy = 0, -1
        if self._views is not None:
            with self._device_errors("its first view can't be set"):
                self._views.prepare(0)

    def pulses(self) -> int | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        if not self._counter or self._nodes is None:
            return None
        with self._device_errors("its trigger counter can't be read"):
            return int(self._nodes.read("CounterValue"))

    # --- one picture ---------------------------------------------------------------------------------
    def fetch(self, limit_s: float, take: Take) -> Exposure | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        stream = self._stream
        with self._device_errors("no picture can be fetched"):
            if stream is None:
                raise ValueError("it does not stream")
            buffer = stream.next(limit_s)
            if buffer is None:
                return None
            try:
                return self._take(stream, buffer, take)
            finally:
                stream.give_back(buffer)

    def _take(self, stream: Stream, buffer: Any, take: Take) -> Exposure:
        received_ns = time.monotonic_ns()
        try:
            if stream.too_large(buffer):
                raise IncompleteFrame("sent a picture larger than it had announced")
            if not buffer.is_complete():
                raise IncompleteFrame
            raw = stream.raw(buffer)
            chunk = stream.chunk(buffer)
            exposure = self._exposure(buffer, raw, chunk, received_ns)
            if (raw.width, raw.height, raw.sent_format) == self._form:
                if raw.data.size < raw.needed_bytes:
                    raise IncompleteFrame(f"sent {raw.data.size} bytes of {_form(self._form)}")
                take(raw)
            return exposure
        except IncompleteFrame as lost:
            if self._same_ids:
                lost.frame_id = told(buffer, "frame_id", None)
            device_ns = told(buffer, "timestamp_ns", 0)
            lost.exposed_ns, _ = self._clock.host(device_ns, received_ns, self._exposure_us)
            raise

    def _exposure(self, buffer: Any, raw: Raw, chunk: Mapping[str, Any], received_ns: int) -> Exposure:
        frame_id = int(chunk.get("ChunkFrameID", told(buffer, "frame_id", 0)))
        self._same_ids = frame_id == told(buffer, "frame_id", frame_id)
        if "ChunkTimestamp" in chunk:
            device_ns = round(int(chunk["ChunkTimestamp"]) * self._tick_ns)
        else:
            device_ns = int(told(buffer, "timestamp_ns", 0) or 0)
        exposure_us = float(chunk.get("ChunkExposureTime", self._exposure_us))
        exposed_ns, uncertainty_ns = self._clock.host(device_ns, received_ns, exposure_us)
        return Exposure(
            frame_id=frame_id,
            width=raw.width,
            height=raw.height,
            pixel_format=raw.pixel_format,
            exposure_us=exposure_us,
            gain_db=float(chunk.get("ChunkGain", self._gain_db)),
            device_timestamp_ns=device_ns,
            offset_px=self._offset_px,
            trigger_count=int(chunk["ChunkCounterValue"]) if self._counter and "ChunkCounterValue" in chunk else None,
            exposed_ns=exposed_ns,
            uncertainty_ns=uncertainty_ns,
            wrong=self._wrong(raw, chunk),
        )

    def _wrong(self, raw: Raw, chunk: Mapping[str, Any]) -> str:
        """What this picture says about its settings that was not wanted."""
        troubles = []
        if (form := (raw.width, raw.height, raw.sent_format)) != self._form:
            troubles.append(f"picture was {_form(form)}, wanted {_form(self._form)}")
        for name, told_by, words_, unit in (
            ("ExposureTime", "ChunkExposureTime", "exposure", "us"),
            ("Gain", "ChunkGain", "gain", "dB"),
        ):
            wanted = self._setting(name)
            if told_by in chunk and wanted is not None and not same(wanted, float(chunk[told_by])):
                troubles.append(f"{words_} was {float(chunk[told_by]):g} {unit}, wanted {wanted:g} {unit}")
        if self._views is not None and self._views.sequenced and SET_ACTIVE in chunk:
            place = self._views.sets[self._shot] + max(self._copy, 0)
            if int(chunk[SET_ACTIVE]) != place:
                troubles.append(f"sequencer's set was {int(chunk[SET_ACTIVE])}, wanted {place}")
        return "; ".join(troubles)

    def _setting(self, name: str) -> float | None:
        """What exposure or gain the shot fired last must have; None: nothing wants any."""
        own = self._views.settings(self._shot).get(name) if self._views is not None else None
        if own is not None:
            return float(own)
        if name not in self._named:
            return None
        return self._exposure_us if name == "ExposureTime" else self._gain_db

    def restart(self) -> None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("streaming can't be restarted"):
            self._acquirer.stop()
            if self._views is not None and self._views.sequenced and self._nodes is not None:
                self._nodes.write("SequencerMode", "Off")  # and so it begins with its first set
                self._nodes.write("SequencerMode", "On")
            self._shot, self._copy = 0, -1
            if self._views is not None:
                self._views.prepare(0)
            self._acquirer.start()

    # --- is all well ---------------------------------------------------------------------------------
    def check(self) -> dict[str, Any]:
        """See :class:`~inspector.acquire.camera.Camera`."""
        with self._device_errors("it does not answer"):
            status = int(self._acquirer.device.access_status)
            if status not in _REACHABLE:
                raise DeviceError(f"camera {self._serial} is lost (access status {status}); check its power and cable")
            self._clock.measure(_CLOCK_AGAIN, 0.0005)
            return self._live()

    def differing(self) -> list[str]:
        """Features that are no longer what the camera file and the plan want (someone else's tool, a power cycle)."""
        nodes = self._nodes
        if nodes is None:
            return []
        with self._device_errors("its settings can't be read"):
            nodes.look_again()
            found = [d for key in self._watched() if (d := self._difference(nodes, key)) is not None]
            return [str(d) for d in found]

    def look(self, limit_s: float) -> list[str] | None:
        """See :class:`~inspector.acquire.camera.Camera`."""
        nodes, end = self._nodes, time.monotonic() + limit_s
        if nodes is None:
            return []
        with self._device_errors("its settings can't be read"):
            nodes.look_again()
            while self._unseen:
                if self._difference(nodes, self._unseen.pop()) is not None:
                    self._unseen.clear()
                    return self.differing()
                if time.monotonic() > end:
                    return None
            self._unseen = self._watched()
            return []

    def _watched(self) -> list[str]:
        """The camera file's features, and what the plan sets besides: a view's light, for one."""
        return [*dict.fromkeys((*self._wanted.features, *(self._views.keys if self._views is not None else ())))]

    def _difference(self, nodes: Nodes, key: str) -> Difference | None:
        views = self._views
        if not self._still_told(nodes, key) or (views is not None and views.covers(key)):
            return None
        planned = views.expected(key) if views is not None else None
        wanted = self._held.get(key, self._wanted.features.get(key)) if planned is None else planned
        if wanted is None:
            return None  # of a plan that is over
        found = features.difference(nodes, key, wanted)
        if found is not None and found.found is None:  # once may be the wire's fault, twice is the camera's
            nodes.look_again()
            found = features.difference(nodes, key, wanted)
            if found is not None and found.found is None:
                raise ValueError(f"{key}: {found.why}")
        return found

    @staticmethod
    def _still_told(nodes: Nodes, key: str) -> bool:
        """False where a selector stands elsewhere and can't be moved while streaming."""
        return all(
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
        acquirer, self._acquirer, self._nodes, self._stream = self._acquirer, None, None, None
        views, self._views, self._clock = self._views, None, Clock(None)  # both hold nodes, which die with it
        del views
        if acquirer is not None:
            self.stranded_bytes += force_close(self._library.harvester, acquirer)


def _form(form: tuple[int, int, str]) -> str:
    return f"{form[0]}x{form[1]} {form[2]}"


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
