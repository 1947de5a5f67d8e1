"""The next buffer of a stream, what it holds, and the data the camera attached to it.

harvesters' own fetch is left aside: it expands packed pixels in Python, hides incomplete buffers, and keeps the
attached data of an earlier picture readable when those of this one are missing or damaged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from inspector.acquire.camera import DeviceError, IncompleteFrame
from inspector.acquire.genicam.nodes import READABLE
from inspector.acquire.genicam.vendor import VENDOR_ERRORS, gentl, pixel_format_name
from inspector.acquire.unpack import ALLOWED, Raw, unpacked

CHUNKS = ("ChunkFrameID", "ChunkTimestamp", "ChunkExposureTime", "ChunkGain", "ChunkCounterValue")
SET_ACTIVE = "ChunkSequencerSetActive"
_IMAGE = (gentl.PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_IMAGE, gentl.PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_CHUNK_DATA)
_MULTI_PART = gentl.PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_MULTI_PART
_PICTURES = (gentl.PARTDATATYPE_IDS.PART_DATATYPE_2D_IMAGE,)
_BIG_ENDIAN = 2  # PIXELENDIANNESS_BIG
_EVENT_MS = 3  # one look, longer than most exposures; in the producer's code Python stands still, pings too


class Stream:
    """Buffers of one opened device. Every call may raise the vendor's errors."""

    def __init__(self, acquirer: Any, expected: Iterable[str]) -> None:
        """``expected``: chunks the camera was told to attach to each picture."""
        self._acquirer = acquirer
        node_map = acquirer.remote_device.node_map
        wanted = (*CHUNKS, SET_ACTIVE)
        self._nodes = {name: node_map.get_node(name) for name in wanted if node_map.has_node(name)}
        self._expected = [name for name in expected if name in self._nodes]
        self._own_layout = str(acquirer.device.tl_type) not in acquirer._specialized_tl_type

    def next(self, limit_s: float) -> Any:
        """The next buffer, whole or not; it must be given back. None: none came in time."""
        monitor = next(iter(self._acquirer._new_buffer_event_monitor_dict.values()))
        end = time.monotonic() + limit_s
        while True:
            try:
                monitor.update_event_data(_EVENT_MS if limit_s > 0 else 0)
                return monitor.buffer
            except gentl.TimeoutException:
                if time.monotonic() >= end:
                    return None

    def give_back(self, buffer: Any) -> None:
        """Let the camera fill it again."""
        # straight to the stream: harvesters' Buffer.queue() would clear the pixels first, which costs time
        buffer.parent.queue_buffer(buffer)

    def raw(self, buffer: Any) -> Raw:
        """Where the pixels are and how they lie. Raises DeviceError when it is no picture we know."""
        kind = told(buffer, "payload_type", _IMAGE[0])
        if kind == _MULTI_PART:
            parts = [part for part in buffer.parts if part.data_type in _PICTURES]
            if len(parts) != 1:
                raise DeviceError(f"camera sends {len(parts)} pictures in one; allowed: 1")
            picture, offset, padding = parts[0], parts[0].data_offset, told(parts[0], "x_padding", 0)
            name = pixel_format_name(int(parts[0].data_format))
        elif kind in _IMAGE:
            picture, offset, padding = buffer, told(buffer, "image_offset", 0), told(buffer, "padding_x", 0)
            name = pixel_format_name(int(buffer.pixel_format))
        else:
            raise DeviceError(f"camera sends {kind}, allowed: a picture")
        try:
            unpacked(name)
        except ValueError:
            raise DeviceError(f"camera sends {name}; allowed: {', '.join(ALLOWED)}") from None
        height = int(told(picture, "height", 0)) or int(told(picture, "delivered_image_height", 0))
        memory = buffer.raw_buffer
        filled = int(told(buffer, "size_filled", 0)) or len(memory)
        data = np.frombuffer(memory, np.uint8, min(filled, len(memory)))[int(offset) :]
        big = int(told(buffer, "pixel_endianness", 0)) == _BIG_ENDIAN
        return Raw(data, int(picture.width), height, name, int(padding), big)

    def chunk(self, buffer: Any) -> Mapping[str, Any]:
        """What the camera attached to this picture. Raises IncompleteFrame when it is damaged or not all there."""
        adapter, values = self._acquirer._chunk_adapter, {}
        adapter.detach_buffer()  # or the last picture's would be read where this one's are missing
        if self._has_chunk(buffer):
            try:
                if self._own_layout:
                    adapter.attach_buffer(buffer.raw_buffer, buffer.chunk_data_info_list)
                else:
                    size = told(buffer, "delivered_chunk_payload_size", 0) or told(buffer, "size_filled", 0)
                    adapter.attach_buffer(buffer.raw_buffer, size or len(buffer.raw_buffer))
                for name, node in self._nodes.items():
                    if node.get_access_mode() in READABLE:
                        values[name] = node.value
            except VENDOR_ERRORS as error:
                raise IncompleteFrame("sent a picture with damaged chunk data") from error
        missing = [name for name in self._expected if name not in values]
        if missing:
            why = f"sent a picture without {', '.join(missing)}, which it was told to attach"
            raise IncompleteFrame(why, odd=True)
        return values

    @staticmethod
    def too_large(buffer: Any) -> bool:
        """More came than the buffer could take."""
        try:
            return bool(buffer.has_received_larger_payload())
        except VENDOR_ERRORS:
            return False

    @staticmethod
    def _has_chunk(buffer: Any) -> bool:
        try:
            return bool(buffer.is_containing_chunk_data())
        except VENDOR_ERRORS:
            return bool(told(buffer, "num_chunks", 0))


def told(of: Any, name: str, default: Any) -> Any:
    """What a producer says about a buffer; many leave questions open."""
    try:
        return getattr(of, name)
    except (*VENDOR_ERRORS, AttributeError):
        return default
