"""Where a broker is and how its socket is opened: addresses, passwords, certificates. Nothing here knows MQTT."""

from __future__ import annotations

import errno
import select
import socket
import ssl
from dataclasses import dataclass
from typing import Literal

from inspector.config import BrokerConfig, PlcConfig

Version = Literal["auto", "5", "3.1.1"]

CONNECT_TIMEOUT_S = 5.0  # for each address of the broker's name, and for the TLS handshake
# sent data TCP has no answer to for so long: a pulled cable; the kernel drops the connection and the data
USER_TIMEOUT_MS = 1000
REFUSAL_WAIT_S = 0.2
PASSWORD_MAX_BYTES = 1024


class LinkError(Exception):
    """A link can't be set up as configured; one sentence."""


@dataclass(frozen=True)
class Address:
    """A broker and who we are there."""

    host: str
    port: int
    version: Version
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int

    @classmethod
    def of(cls, config: BrokerConfig) -> Address:
        """Raises LinkError when a certificate, key or password file can't be used."""
        version: Version = config.version if isinstance(config, PlcConfig) else "3.1.1"
        password = None
        if config.password_file is not None:
            try:
                with open(config.password_file, encoding="utf-8") as file:
                    password = file.readline(PASSWORD_MAX_BYTES).rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise LinkError(f"password_file {config.password_file}: can't be read: {error}") from None
        tls = _context(config)
        return cls(config.host, config.port, version, config.username, password, tls, config.keepalive_s)


def _context(config: BrokerConfig) -> ssl.SSLContext | None:
    tls = None
    if config.ca_file is not None:
        try:
            tls = ssl.create_default_context(cafile=str(config.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise LinkError(f"ca_file {config.ca_file}: not a certificate: {error}") from None
    if config.cert_file is not None or config.key_file is not None:
        if tls is None:
            raise LinkError("cert_file and key_file need ca_file, which switches TLS on")
        if config.cert_file is None or config.key_file is None:
            raise LinkError("cert_file and key_file are needed together")
        try:
            # an encrypted key must not make an unattended station ask for a password
            tls.load_cert_chain(str(config.cert_file), str(config.key_file), password=b"")
        except (OSError, ssl.SSLError) as error:
            raise LinkError(
                f"cert_file {config.cert_file}, key_file {config.key_file}: can't be used: {error}"
            ) from None
    return tls


def open_socket(address: Address) -> socket.socket:
    """Name, TCP, TLS: blocks, at most CONNECT_TIMEOUT_S for each address and for the handshake; a name server may
    take longer. Raises OSError (:func:`sentence` makes words of it).
    """
    sock = socket.create_connection((address.host, address.port), timeout=CONNECT_TIMEOUT_S)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        if address.tls is not None:
            sock = address.tls.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
            sock.do_handshake()
            _hear_refusal(sock)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _hear_refusal(sock: ssl.SSLSocket) -> None:
    """In TLS 1.3 the broker looks at our certificate when the handshake is over for us: its word on that is waited
    for here, or sending would only find a closed socket. A content broker answers at once, with a session ticket.
    """
    if sock.version() != "TLSv1.3":
        return
    select.select([sock], [], [], REFUSAL_WAIT_S)
    sock.setblocking(False)
    try:
        if sock.recv(1) == b"":
            raise ConnectionResetError(errno.ECONNRESET, "the broker closed it after the TLS handshake")
    except ssl.SSLWantReadError:
        pass


ALERTS = {
    "CERTIFICATE_EXPIRED": "the broker says that cert_file has expired",
    "CERTIFICATE_REQUIRED": "the broker wants a certificate of this station (cert_file, key_file)",
    "UNKNOWN_CA": "the broker does not know who signed cert_file",
    "CERTIFICATE_UNKNOWN": "the broker does not accept cert_file",
    "BAD_CERTIFICATE": "the broker does not accept cert_file",
    "CERTIFICATE_REVOKED": "the broker says that cert_file is revoked",
    "HANDSHAKE_FAILURE": "the broker and this station have no TLS settings in common, or it wants a certificate",
    "WRONG_VERSION_NUMBER": "the broker does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "the broker does not speak TLS on this port",
}


def sentence(error: BaseException) -> str:
    """What went wrong with a socket, in words for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message} (ca_file says whom to trust)"
    if isinstance(error, ssl.SSLEOFError):
        return "the broker closed it during the TLS handshake"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).upper().replace(" ", "_")
        return next((words for alert, words in ALERTS.items() if alert in reason), f"TLS: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
