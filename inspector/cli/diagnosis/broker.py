"""The MQTT brokers: do they let the station in, over TLS or not, and which MQTT do they speak?"""

from __future__ import annotations

import ipaddress

from inspector.cli.diagnosis import Finding
from inspector.config import BrokerConfig, StationConfig
from inspector.plc.dial import Address, LinkError
from inspector.plc.greeting import Greeting, greet, unreachable

LOST_WITH_3 = "results don't expire there, nobody tells when no one reads them, missing rights are silent"
LOCAL = ("localhost", "127.0.0.1", "::1")


def brokers(config: StationConfig) -> list[Finding]:
    """The PLC's broker, and SCADA's where it has one of its own."""
    plc, ours = config.plc, f"{config.line}-{config.station}"
    found = [_broker("MQTT broker", "plc", plc, f"{plc.client_id or ours}-doctor")]
    scada = plc.sparkplug.broker if plc.sparkplug is not None else None
    if scada is not None:
        found.append(_broker("SCADA's broker", "plc.sparkplug.broker", scada, f"{plc.client_id or ours}-sp-doctor"))
    return found


def _broker(what: str, key: str, config: BrokerConfig, client_id: str) -> Finding:
    where = f"{config.host}:{config.port}"
    try:
        greeting = greet(Address.of(config), client_id)
    except LinkError as error:
        return Finding(what, "MISSING", f"{where}: {key}.{error}", f"sudo inspector doctor    # or mend `{key}`")
    except OSError as error:
        return Finding(what, "MISSING", f"{where}: {unreachable(error)}", _reach(config, key))
    if greeting.refusal:
        user = f"user {config.username}" if config.username else "a client without a user"
        fix = f"mend `username` and `password_file` of `{key}`, or the broker's users: mosquitto_passwd"
        return Finding(what, "MISSING", f"{where}: {user} is refused: {greeting.refusal}", fix)
    return _told(what, key, config, greeting)


def _told(what: str, key: str, config: BrokerConfig, greeting: Greeting) -> Finding:
    tls = greeting.tls.replace("TLSv", "TLS ") or "no TLS"
    text = f"{config.host}:{config.port} lets us in: MQTT {greeting.version}, {tls}"
    if greeting.fell_back:
        fix = "a broker with MQTT 5, as mosquitto 2; or `plc.version: 3.1.1`, if this is meant"
        return Finding(what, "warn", f"{text}, as it speaks no 5: {LOST_WITH_3}", fix)
    if not greeting.tls and config.username is not None and not _near(config.host):
        fix = f"`ca_file` of `{key}` and a listener with TLS: deploy/README.md"
        return Finding(what, "warn", f"{text}: everybody on the network can read the password", fix)
    if greeting.version == "3.1.1" and key == "plc":
        return Finding(what, "ok", f"{text}, as `plc.version` says: {LOST_WITH_3}")
    return Finding(what, "ok", text)


def _near(host: str) -> bool:
    """On this computer."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL


def _reach(config: BrokerConfig, key: str) -> str:
    if _near(config.host):
        return "sudo apt install mosquitto && sudo sh deploy/install.sh    # or: sudo systemctl start mosquitto"
    return f"ping {config.host}    # then `{key}:` in the station file, and the broker's firewall"
