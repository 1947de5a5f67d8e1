"""What a broker says when somebody connects: which MQTT, over TLS or not, let in or not. For the doctor.

It blocks and is no part of a link: a client id of its own, no will, no subscription, and gone again at once, so that
it disturbs nobody. Two packets, without paho: to it a port that speaks something else, or MQTT of another version, is
a connection that was lost, and which of them it is, is what the doctor is asked for.
"""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Literal

from inspector.plc.dial import Address, open_socket, sentence

ANSWER_LIMIT_S = 5.0
ANSWER_MAX_BYTES = 70_000
KEEPALIVE_S = 10
_CONNECT, _CONNACK, _DISCONNECT = 0x10, 0x20, b"\xe0\x00"
_LEVEL = {"3.1.1": 4, "5": 5}
_OTHER_VERSION = {"3.1.1": 0x01, "5": 0x84}
_REFUSALS = {
    ("3.1.1", 2): "it does not take this client id",
    ("3.1.1", 3): "it says that it is not available",
    ("3.1.1", 4): "user or password is wrong",
    ("3.1.1", 5): "this user may not connect",
    ("5", 0x85): "it does not take this client id",
    ("5", 0x86): "user or password is wrong",
    ("5", 0x87): "this user may not connect",
    ("5", 0x88): "it says that it is not available",
    ("5", 0x89): "it says that it is busy",
    ("5", 0x8A): "this client is banned",
}


@dataclass(frozen=True)
class Greeting:
    """``version``: what is spoken, "" when that is not known. ``refusal``: in words, "" when we were let in."""

    version: Literal["", "5", "3.1.1"]
    refusal: str = ""
    tls: str = ""  # its version, "" without
    fell_back: bool = False  # 5 was asked for first, and is not spoken there


class _OtherVersion(Exception):
    """It does not speak this one, or closes without a word, which some say instead."""


def greet(address: Address, client_id: str) -> Greeting:
    """Connect and go again. Blocks, at most about 20 s. Raises OSError, for :func:`unreachable`."""
    first: Literal["5", "3.1.1"] = "3.1.1" if address.version == "3.1.1" else "5"
    try:
        return Greeting(first, *_one(address, client_id, first))
    except _OtherVersion:
        if address.version != "auto":
            raise _not_spoken(address, first) from None
    try:
        return Greeting("3.1.1", *_one(address, client_id, "3.1.1"), fell_back=True)
    except _OtherVersion:
        raise _not_spoken(address, "5 and no 3.1.1") from None


def _not_spoken(address: Address, versions: str) -> OSError:
    where = "another port?" if address.tls is not None else "another port, or one for TLS (`ca_file`)?"
    return ConnectionAbortedError(errno.ECONNABORTED, f"it takes no MQTT {versions}: {where}")


def _one(address: Address, client_id: str, version: Literal["5", "3.1.1"]) -> tuple[str, str]:
    """(refusal, TLS version)."""
    with open_socket(address) as sock:
        sock.settimeout(ANSWER_LIMIT_S)
        try:
            sock.sendall(_connect(address, client_id, version))
            code = _answer(sock)
        except (ConnectionResetError, BrokenPipeError):
            raise _OtherVersion from None
        if code == _OTHER_VERSION[version]:
            raise _OtherVersion
        if code == 0:
            sock.sendall(_DISCONNECT)
        tls = (sock.version() or "") if isinstance(sock, ssl.SSLSocket) else ""
    return _REFUSALS.get((version, code), f"it refuses with {code}") if code else "", tls


def _connect(address: Address, client_id: str, version: Literal["5", "3.1.1"]) -> bytes:
    """The packet: clean session, no will."""
    flags, words = 0x02, [client_id.encode()]
    if address.username is not None:
        flags |= 0x80
        words.append(address.username.encode())
        if address.password is not None:
            flags |= 0x40
            words.append(address.password.encode())
    body = b"\x00\x04MQTT" + struct.pack(">BBH", _LEVEL[version], flags, KEEPALIVE_S)
    body += b"\x00" if version == "5" else b""  # no properties
    body += b"".join(struct.pack(">H", len(word)) + word for word in words)
    length, size = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([_CONNECT]) + size + body


def _answer(sock: socket.socket) -> int:
    """The code of its CONNACK."""
    end, data = time.monotonic() + ANSWER_LIMIT_S, b""
    while len(data) < 2 or (start := _after_length(data)) == 0 or len(data) < start + 2:
        if time.monotonic() > end:
            raise TimeoutError
        more = sock.recv(256)
        if not more:
            raise _OtherVersion
        data += more
        if data[0] != _CONNACK or len(data) > ANSWER_MAX_BYTES:
            raise ConnectionAbortedError(errno.ECONNABORTED, "it answers, but not as an MQTT broker does")
    return data[start + 1]


def _after_length(data: bytes) -> int:
    """Where the remaining length ends; 0: not there yet."""
    return next((n + 1 for n in range(1, min(len(data), 5)) if data[n] < 0x80), 0)


def unreachable(error: OSError) -> str:
    """Why nobody answered, in words."""
    if isinstance(error, (TimeoutError, ssl.SSLError)):
        return sentence(error)
    return error.strerror or str(error)
