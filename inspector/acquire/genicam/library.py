"""The process's one Harvester: producers, the devices they show, and how a device is opened and let go."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
from pathlib import Path
from typing import Any

from inspector.acquire.camera import DeviceError
from inspector.acquire.genicam.vendor import (
    VENDOR_ERRORS,
    Device,
    DeviceInfo,
    Harvester,
    ParameterKey,
    ParameterSet,
    gentl,
    words,
)

_log = logging.getLogger(__name__)

_ACCESS = {0: "unknown", 1: "free", 2: "read only", 3: "not reachable", 4: "busy", 5: "open"}
_BUFFERS = 5
_REFRESH_MS = 200
_TAKEN = (gentl.ResourceInUseException, gentl.AccessDeniedException)


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
        return words(error).removeprefix(f"{path}: ")
    missing = [
        name for name in ("GCInitLib", "TLOpen", "IFOpenDevice", "DSStartAcquisition") if not hasattr(library, name)
    ]
    return f"it is a library, but has no function {missing[0]}" if missing else ""


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
            if access == "busy" or isinstance(error, _TAKEN):
                access = "in use by another program"
            self.refresh()
            raise DeviceError(f"camera {serial} can't be opened, it is {access}: {words(error)}") from error
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


def force_close(harvester: Any, acquirer: Any) -> int:
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
