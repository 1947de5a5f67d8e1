"""What the doctor hears of brokers: real ones, and ports where something else answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from inspector.config import PlcConfig
from inspector.plc import greeting as module
from inspector.plc.dial import Address
from inspector.plc.greeting import Greeting, greet, unreachable
from tests.plc.peers import Broker


def address(port: int, **settings: object) -> Address:
    return Address.of(PlcConfig(port=port, **settings))  # type: ignore[arg-type]


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A port whose nth connection is answered so, and closed; b"" closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


@pytest.mark.mosquitto
def test_a_broker_with_5_is_asked_for_what_is_configured(make_mosquitto: Callable[[], Broker]) -> None:
    port = make_mosquitto().port
    assert greet(address(port), "doctor") == Greeting("5")
    assert greet(address(port, version="5"), "d" * 200) == Greeting("5")  # a length of two bytes
    assert greet(address(port, version="3.1.1"), "doctor") == Greeting("3.1.1")


def test_a_broker_without_5_is_asked_for_3_1_1(broker: Broker) -> None:
    assert greet(address(broker.port), "doctor") == Greeting("3.1.1", fell_back=True)
    with pytest.raises(OSError, match="takes no MQTT 5: another port"):
        greet(address(broker.port, version="5"), "doctor")


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_who_is_not_let_in_hears_why(version: str, make_mosquitto: Callable[[str], Broker], tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    (tmp_path / "users").chmod(0o600)
    (tmp_path / "secret").write_text("wrong\n")
    port = make_mosquitto(f"allow_anonymous false\npassword_file {tmp_path / 'users'}\n").port
    settings = {"version": version, "username": "press2", "password_file": tmp_path / "secret"}
    said = greet(address(port, **settings), "doctor")
    assert (said.version, said.refusal != "") == (version, True)
    assert said.refusal in ("user or password is wrong", "this user may not connect")
    assert greet(replace(address(port, **settings), username=None), "doctor").refusal


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n",), "it answers, but not as an MQTT broker does"),
        ((b"", b""), "it takes no MQTT 5 and no 3.1.1: another port, or one for TLS (`ca_file`)?"),
        ((b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"), "it takes no MQTT 5 and no 3.1.1"),
    ],
)
def test_what_is_no_broker_is_one_sentence(answers: tuple[bytes, ...], says: str) -> None:
    with answering(*answers) as port, pytest.raises(OSError) as error:
        greet(address(port), "doctor")
    assert unreachable(error.value).startswith(says)


def test_codes_nobody_has_words_for_are_told_and_long_answers_are_read() -> None:
    long = b"\x20\x83\x01\x00\x97" + b"\x80\x01" + b"\x00" * 128
    with answering(long) as port:
        assert greet(address(port), "doctor") == Greeting("5", "it refuses with 151")
    with answering(b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x05") as port:
        assert greet(address(port), "doctor") == Greeting("3.1.1", "this user may not connect", fell_back=True)


def test_a_port_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TimeoutError) as error:
        greet(address(server.getsockname()[1]), "doctor")
    assert unreachable(error.value).startswith("no answer within")
