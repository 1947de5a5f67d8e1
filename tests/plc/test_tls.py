"""TLS with a certificate for each client, as the shipped broker configuration proposes; each way to get it wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.config import PlcConfig
from inspector.plc.dial import Address
from inspector.plc.greeting import Greeting, greet, unreachable
from tests.plc.peers import Broker
from tests.plc.test_link import Make, Station, make_station, until

__all__ = ["make_station"]  # a fixture

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
MakeBroker = Callable[..., Broker]
ACL = Path(__file__).parents[2] / "deploy/mosquitto/inspector.acl"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, and certificates by the first: the broker's, the station's and more."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=30)

    def signed(name: str, subject: str, ca: str, *options: str) -> None:
        openssl("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
            "-out", f"{name}.pem", *options,
        )  # fmt: skip

    for ca in ("ca", "strange"):
        openssl("req", "-x509", *KEY, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}")
    signed("expired", "station-demo-top", "ca", "-days", "0")
    expires = time.monotonic() + 1.1
    (folder / "here").write_text("subjectAltName=IP:127.0.0.1\n")
    (folder / "elsewhere").write_text("subjectAltName=IP:10.0.0.1\n")
    signed("broker", "broker", "ca", "-days", "2", "-extfile", "here")
    signed("far", "far", "ca", "-days", "2", "-extfile", "elsewhere")
    signed("station", "station-demo-top", "ca", "-days", "2")
    signed("visitor", "visitor", "ca", "-days", "2")
    signed("forged", "station-demo-top", "strange", "-days", "2")
    for file in folder.glob("*.key"):
        file.chmod(0o600)
    time.sleep(max(0.0, expires - time.monotonic()))
    return folder


@pytest.fixture
def secure(make_mosquitto: MakeBroker, folder: Path, tmp_path: Path) -> Callable[..., Broker]:
    """A broker as in deploy/mosquitto/inspector.conf, with certificates instead of passwords and the shipped ACL."""

    def make(certificate: str = "broker") -> Broker:
        acl = tmp_path / "acl"
        acl.write_text(ACL.read_text().replace("line1/top", "demo/top").replace("line1-top", "demo-top"))
        acl.chmod(0o600)
        return make_mosquitto(
            f"allow_anonymous false\nacl_file {acl}\n",
            f"cafile {folder}/ca.pem\ncertfile {folder}/{certificate}.pem\nkeyfile {folder}/{certificate}.key\n"
            "require_certificate true\nuse_identity_as_username true\n",
        )

    return make


def files(folder: Path, who: str | None, ca: str = "ca") -> dict[str, Any]:
    """Settings of the link."""
    ours = {} if who is None else {"cert_file": folder / f"{who}.pem", "key_file": folder / f"{who}.key"}
    return {"ca_file": folder / f"{ca}.pem", **ours}


async def refusal(station: Station) -> str:
    """What is told of a connection that does not come to be."""
    station.link.start()
    await until(lambda: station.listener.warned("connect_failed"))
    assert not station.link.connected
    return station.listener.warned("connect_failed")[0].removeprefix("no connection to the broker: ")


async def test_a_certificate_is_the_stations_user(
    secure: Callable[..., Broker], make_station: Make, folder: Path
) -> None:
    broker = secure()
    station = await make_station(broker.port, **files(folder, "station")).up()
    assert isinstance(station.client.socket(), ssl.SSLSocket)
    link = station.link
    assert link.result(b"x", 1) and link.record(1, b"x") and link.heartbeat(b"x", b"1")
    for send in (link.publish_state, link.ack, link.event, link.counters, link.info):
        assert send(b"x" * 20_000), "more than one TLS record"
    await until(lambda: station.listener.acked == [1] and link.unacked == 0)
    assert link.troubles == {"nobody_listens", "no_record_reader"}, "the access list lets the station do all it does"
    station.client.socket().shutdown(socket.SHUT_RDWR)
    await station.ups(2)

    visitor = await make_station(broker.port, client_id="visitor", **files(folder, "visitor")).up()
    assert visitor.link.result(b"x", 1)
    await until(lambda: visitor.listener.warned("not_authorised"))


@pytest.mark.parametrize(
    ("who", "ca", "words"),
    [
        ("station", "strange", "the broker's certificate is not accepted: "),
        ("expired", "ca", "the broker says that cert_file has expired"),
        ("forged", "ca", "the broker does not know who signed cert_file"),
        (None, "ca", "the broker wants a certificate of this station (cert_file, key_file)"),
    ],
)
async def test_a_certificate_that_is_not_accepted_is_one_clear_sentence(
    secure: Callable[..., Broker], make_station: Make, folder: Path, who: str | None, ca: str, words: str
) -> None:
    told = await refusal(make_station(secure().port, **files(folder, who, ca)))
    assert told.startswith(words)
    assert "\n" not in told


async def test_a_broker_of_another_name_and_ports_that_do_not_fit(
    secure: Callable[..., Broker], broker: Broker, make_station: Make, folder: Path
) -> None:
    ours = files(folder, "station")
    far = secure("far")
    assert "not valid for '127.0.0.1'" in await refusal(make_station(far.port, **ours))
    assert await refusal(make_station(far.port, version="5")) == (
        "the broker closed it before it answered: another MQTT version, or a port for TLS?"
    )
    plain = await refusal(make_station(broker.port, **ours))
    assert plain in ("the broker does not speak TLS on this port", "the broker closed it during the TLS handshake")


def test_a_greeting_says_what_it_came_over(secure: Callable[..., Broker], folder: Path) -> None:
    port = secure().port
    greeting = greet(Address.of(PlcConfig(port=port, **files(folder, "station"))), "doctor")
    assert greeting == Greeting("5", tls="TLSv1.3")
    with pytest.raises(ssl.SSLError) as without:
        greet(Address.of(PlcConfig(port=port, **files(folder, None))), "doctor")
    assert unreachable(without.value) == "the broker wants a certificate of this station (cert_file, key_file)"
    with pytest.raises(OSError, match=r"takes no MQTT 5 and no 3.1.1: another port, or one for TLS \(`ca_file`\)\?"):
        greet(Address.of(PlcConfig(port=port)), "doctor")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"client_id": "two words"}, "client_id"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": "x" * 65}, "client_id"),
        ({"client_id": "a/b"}, "client_id"),
        ({"username": "no blanks"}, "username"),
        ({"host": "mqtt://broker"}, "host"),
        ({"host": ""}, "host"),
        ({"version": "3.1.1", "when_nobody_listens": "stop"}, "needs MQTT 5"),
    ],
)
def test_what_no_broker_takes_is_refused_in_the_configuration(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PlcConfig(**settings)
