"""A whole station in a folder: the real broker, the virtual camera, `inspector run` and all its children."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from inspector.station.ledger import Row, recount, search
from tests.acquire.rig import COLUMNS, ROWS, SOFTWARE, write_yaml
from tests.plc.peers import Broker, Peer, free_port, freeze, wait_for
from tools.part_renderer.stamp import write_stamp
from tools.virtual_camera.control import CTI, CameraControl, build

LIMIT_S = 15.0  # nothing here takes so long; it bounds a test that would hang
BASE = "vis/v1/t/s"
_numbers = itertools.count(1)


def recipe(number: int, *, bright: bool = True, rev: int = 1, within: str = "3 s", **more: Any) -> dict[str, Any]:
    """A lid must be bright (or must not be: then the same picture gets the other verdict)."""
    lid = {
        "tool": "presence", "region": [200, 20, 400, 90], "level": 150, "count": "brighter", "share": "50 %",
        "expect": "present" if bright else "absent", "fail": f"{1000 + number} Lid wrong",
    }  # fmt: skip
    keep = {"reject": "all", "pass": "all", "not_inspected": "all"}
    verdict = {"within": within, "keep": keep, **more}
    return {"recipe": number, "rev": rev, "name": f"Lid {number}", "compare": {"lid": lid}, "verdict": verdict}


def picture(good: bool, number: int) -> NDArray[np.uint8]:
    image = np.full((ROWS, COLUMNS), 60, np.uint8)
    if good:
        image[10:100, 150:450] = 220
    write_stamp(image, number)
    return image


class Plc(Peer):
    """What a PLC does, and everything it sees."""

    own = ("/probe",)

    def __init__(self, port: int) -> None:
        self._by_kind: dict[str, list[dict[str, Any]]] = {}
        super().__init__(port, f"{BASE}/+")
        self.client.on_message = self._came
        for message in self.messages:  # retained ones may have been faster
            self._read(message)

    def _came(self, _client: Any, _data: Any, message: Any) -> None:
        self.messages.append(message)
        self._read(message)

    def _read(self, message: Any) -> None:
        self._by_kind.setdefault(message.topic.rpartition("/")[2], []).append(json.loads(message.payload))

    def wait_subscribed(self) -> None:
        """Connected (again), and everything that comes now is seen."""
        probes = len(self.of("probe"))

        def echoed() -> bool:
            if self.client.is_connected():
                self.client.publish(f"{BASE}/probe", b"{}", qos=0)
            return len(self.of("probe")) > probes

        wait_for(echoed, LIMIT_S, "an echo")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What came on this topic, oldest first."""
        return list(self._by_kind.get(kind, ()))

    def send(self, name: str, fields: dict[str, Any] | bytes, *, retain: bool = False) -> None:
        payload = fields if isinstance(fields, bytes) else json.dumps({"schema": "1.0", **fields}).encode()
        info = self.client.publish(f"{BASE}/cmd/{name}", payload, qos=1, retain=retain)
        info.wait_for_publish(LIMIT_S)

    # --- triggers
    def trigger(self, part_id: str = "", *, cmd_id: str = "", deadline_ms: int | None = None) -> str:
        number = next(_numbers)
        part_id, cmd_id = part_id or f"P{number:05d}", cmd_id or f"t{os.getpid()}-{number}"
        fields: dict[str, Any] = {"cmd_id": cmd_id, "part_id": part_id}
        if deadline_ms is not None:
            fields["deadline_ms"] = deadline_ms
        self.send("trigger", fields)
        return cmd_id

    def results(self, cmd_id: str) -> list[dict[str, Any]]:
        return [r for r in self.of("result") if r["cmd_id"] == cmd_id]

    def wait_result(self, cmd_id: str) -> dict[str, Any]:
        wait_for(lambda: self.results(cmd_id), LIMIT_S, f"result of {cmd_id}")
        return self.results(cmd_id)[0]

    def inspect(self, **options: Any) -> dict[str, Any]:
        return self.wait_result(self.trigger(**options))

    # --- commands
    def ask(self, name: str, *, cmd_id: str = "", **fields: Any) -> str:
        cmd_id = cmd_id or f"c{os.getpid()}-{next(_numbers)}"
        self.send(name, {"cmd_id": cmd_id, **fields})
        return cmd_id

    def acks(self, cmd_id: str) -> list[dict[str, Any]]:
        return [a for a in self.of("ack") if a["cmd_id"] == cmd_id]

    def command(self, name: str, **fields: Any) -> dict[str, Any]:
        """The final answer."""
        cmd_id = self.ask(name, **fields)
        wait_for(lambda: [a for a in self.acks(cmd_id) if a["phase"] != "accepted"], LIMIT_S, f"answer to {name}")
        return self.acks(cmd_id)[-1]

    @property
    def state(self) -> dict[str, Any]:
        states = self.of("state")
        return states[-1] if states else {}

    def wait_state(self, limit_s: float = LIMIT_S, **wanted: Any) -> dict[str, Any]:
        def there() -> bool:
            return all(self.state.get(key) == value for key, value in wanted.items())

        wait_for(there, limit_s, f"state {wanted}, last: {self.state}")
        return self.state


class Walk:
    """See the module's text."""

    def __init__(
        self,
        folder: Path,
        *,
        files: list[dict[str, Any]] | None = None,
        devices: int = 1,
        sensor: tuple[int, int] = (ROWS, COLUMNS),
        **station: Any,
    ) -> None:
        build()
        self.folder = folder
        self.control = CameraControl.create(folder / "camera.control", devices=devices, sensor=sensor)
        (folder / "recipes").mkdir()
        for one in files or [recipe(1), recipe(2, bright=False)]:
            self.write_recipe(one)
        camera = {"serial": "VC0001", "producer": str(CTI), "features": str(write_yaml(folder / "top.yaml", {
            "features": SOFTWARE})), "trigger_limit_ms": 2000, "frame_limit_ms": 500, "slots": 8}  # fmt: skip
        self.port = free_port()
        self.config: dict[str, Any] = {
            "line": "t", "station": "s", "name": "Test", "recipe": 1, "recipes": "recipes", "state_dir": "state",
            "runtime_dir": "run", "plc": {"host": "127.0.0.1", "port": self.port, "heartbeat_s": 0.2},
            "cameras": {"top": camera}, "archive": {"folder": "pictures", "budget_mb": 50, "min_free_mb": 1},
        }  # fmt: skip
        self.config |= station
        self.station_file = write_yaml(folder / "station.yaml", self.config)
        command = [sys.executable, "-m", "tools.broker", "--port", str(self.port)]
        self.broker = Broker(command, self.port, folder / "broker.log")
        self.station: subprocess.Popen[bytes] | None = None
        self._plc: Plc | None = None
        self.environment = {**os.environ, "VIRTUAL_CAMERA_CONTROL": str(self.control.path)}
        for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
            self.environment.pop(name, None)
        self.show(True)

    # --- the parts of it
    def write_recipe(self, one: dict[str, Any], name: str = "") -> Path:
        return write_yaml(self.folder / "recipes" / (name or f"r{one['recipe']}.yaml"), one)

    def show(self, good: bool, number: int = 0) -> None:
        self.control.show(0, picture(good, number), number)

    @property
    def plc(self) -> Plc:
        if self._plc is None:
            self._plc = Plc(self.port)
        return self._plc

    def new_plc(self) -> Plc:
        """A PLC that has seen nothing yet."""
        if self._plc is not None:
            self._plc.close()
            self._plc = None
        return self.plc

    def start(self, *, ready: bool = True, broker: bool = True) -> Walk:
        if broker and (self.broker.process is None or self.broker.process.poll() is not None):
            self.broker.start()
        before = len(self.plc.of("state")) if broker else 0
        with (self.folder / "station.log").open("ab") as log:
            self.station = subprocess.Popen(
                [sys.executable, "-m", "inspector", "run", str(self.station_file)],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        if ready:
            self.wait_ready(before)
        return self

    def wait_ready(self, before: int = 0) -> None:
        wait_for(lambda: len(self.plc.of("state")) > before and self.plc.state["ready"], LIMIT_S, f"Ready\n{self.log}")

    def stop(self) -> tuple[int, float]:
        """(exit status, seconds)."""
        assert self.station is not None
        began = time.monotonic()
        self.station.terminate()
        self.station.wait(LIMIT_S)
        return self.station.returncode, time.monotonic() - began

    def kill(self) -> None:
        """As a crash would."""
        assert self.station is not None
        self.station.kill()
        self.station.wait(LIMIT_S)

    def close(self) -> None:
        if self.station is not None and self.station.poll() is None:
            for child in self.children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.resume()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        try:
            if self._plc is not None:
                self._plc.close()
        finally:
            self.broker.close()
            self.control.close()

    # --- looking inside
    @property
    def log(self) -> str:
        return (self.folder / "station.log").read_text(encoding="utf-8", errors="replace")[-6000:]

    def children(self) -> list[psutil.Process]:
        assert self.station is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.station.pid).children(recursive=True)
        return []

    def child(self, module: str) -> psutil.Process:
        """The process of ``inspector.<module>.process``."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = []
            for process in self.children():
                with contextlib.suppress(psutil.Error):
                    if f"inspector.{module}.process" in process.cmdline():
                        found.append(process)
            return bool(found)

        wait_for(look, LIMIT_S, f"process of {module}")
        return found[0]

    @contextmanager
    def frozen(self, module: str) -> Iterator[psutil.Process]:
        process = self.child(module)
        freeze(process.pid)
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / "ledger.db"

    def rows(self) -> dict[str, Row]:
        """By cmd_id."""
        return {row.cmd_id: row for row in search(self.ledger, limit=100_000)}

    def books_are_honest(self) -> None:
        kept, counted = recount(self.ledger)
        assert kept == counted

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "feed.sock"

    def http(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)  # reading all certificates takes 20 ms
        return httpx.Client(transport=transport, base_url="http://station", timeout=10)

    def status(self) -> dict[str, Any]:
        with self.http() as client:
            found: dict[str, Any] = client.get("/v1/status").json()
            return found

    def metric(self, name: str) -> float:
        with self.http() as client:
            lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def wait_status(self, condition: Callable[[dict[str, Any]], Any], what: str = "status") -> None:
        def holds() -> bool:
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
                if probe.connect_ex(str(self.socket)):
                    return False  # not there yet
            return bool(condition(self.status()))

        wait_for(holds, LIMIT_S, what)

    def alarms(self) -> dict[str, str]:
        """State by id."""
        return {a["id"]: a["state"] for a in self.status()["alarms"]}

    def calm(self) -> None:
        """Started, recipe 1, everything fresh, nothing under way."""
        self.show(True)
        self.plc.command("start")  # with its answer: a late one would be taken for the test's own
        self.wait_status(lambda s: s["ready"] and s["queues"]["in flight"]["depth"] == 0, "calm")
        if self.plc.state.get("recipe") != 1:
            assert self.plc.command("recipe", recipe=1)["ok"]
        self.plc.wait_state(ready=True, recipe=1)


def kill(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)
