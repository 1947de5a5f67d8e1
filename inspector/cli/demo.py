"""``inspector demo``: a whole inspection station on a bare computer, from a checkout of the project.

It is the init system of a small world: a broker, the station, a simulated line with its PLC, and, in a terminal,
the operator's screen. Whatever of broker and station dies is started again, as systemd would.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Optional

import typer
from ruamel.yaml import YAML

from inspector.config import StationConfig, load_station
from inspector.station.ledger import Row, StorageFault, recount, search
from inspector.yamlfile import FileError

ROOT = Path(__file__).resolve().parents[2]
RESTART_S = 1.0
START_LIMIT_S = 60.0
IDENTITIES = ("command", "announced", "counted")
SOCKET_PATH_MAX = 100  # a Unix socket's path is at most 108 bytes


class DemoError(Exception):
    """The demo can't go on; one sentence."""


def demo(
    parts: Annotated[int, typer.Option(min=0, help="Parts to inspect; 0: until stopped.")] = 0,
    rate: Annotated[float, typer.Option(min=0.1, max=50, help="Parts a second.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other parts.")] = 1,
    identity: Annotated[
        str, typer.Option(help="How parts meet their pictures: command, announced or counted (a wire fires them).")
    ] = "command",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for the demo's broker.")] = 18830,
    pictures: Annotated[Optional[Path], typer.Option(help="Show these pictures instead of drawn parts.")] = None,  # noqa: UP007,UP045
    truth: Annotated[Optional[Path], typer.Option(help="CSV: file, good, defect of each picture.")] = None,  # noqa: UP007,UP045
    recipe: Annotated[int, typer.Option(min=1, max=9999, help="The recipe to run.")] = 1,
    folder: Annotated[Path, typer.Option(help="Where ledger, pictures and logs go; emptied first.")] = ROOT
    / "var"
    / "demo",
    screen: Annotated[bool, typer.Option(help="Show the operator's screen (in a terminal).")] = True,
) -> None:
    """Start a broker, a virtual camera, the station and a simulated line; compare their books at the end."""
    try:
        world = World(port=port, identity=identity, recipe=recipe, folder=folder.resolve())
        with world:
            line = world.line_arguments(parts, rate, seed, pictures, truth)
            if screen and sys.stdout.isatty() and sys.stdin.isatty():
                code = world.with_screen(line)
            else:
                code = world.plain(line)
        if parts:
            code = max(code, world.compare())
        raise typer.Exit(code)
    except (DemoError, FileError, StorageFault) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@dataclass
class _Kept:
    """A process that is started again when it dies."""

    name: str
    arguments: list[str]
    log: IO[bytes]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    died_at: float = 0.0
    restarts: int = -1

    def tend(self) -> None:
        """Start it, or start it again a second after it died."""
        if self.process is not None and self.process.poll() is not None:
            self.process, self.died_at = None, time.monotonic()
        if self.process is None and time.monotonic() - self.died_at >= RESTART_S:
            self.process = subprocess.Popen(
                self.arguments,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
            )
            self.restarts += 1


@dataclass
class World:
    """Everything around the station, and the station."""

    port: int
    identity: str  # command, announced, counted
    recipe: int
    folder: Path = ROOT / "var" / "demo"
    camera_file: str = "virtual.yaml"
    broker: str = "embedded"  # or mosquitto, as in production; proofs want that one
    link_port: int | None = None  # the station's way to the broker goes by here: a proxy; None: straight
    sensor: tuple[int, int] | None = None  # rows, columns of the virtual camera; None: as it is made
    settings: dict[str, Any] = field(default_factory=dict)  # over the station file's: a table is merged, else replaced
    extra_environment: dict[str, str] = field(default_factory=dict)  # the station's processes have it, besides ours
    kept: list[_Kept] = field(default_factory=list)
    config: StationConfig = field(init=False)

    def __post_init__(self) -> None:
        if self.identity not in IDENTITIES:
            raise DemoError(f"--identity: found {self.identity!r}, allowed: {', '.join(IDENTITIES)}")
        if not (ROOT / "tools" / "plc_simulator").is_dir():
            raise DemoError("the demo runs from a checkout of the project (`make demo`); here is only the package")
        if self.broker == "embedded" and importlib.util.find_spec("iotcore") is None:
            raise DemoError("the demo needs its broker: pip install 'inspector[demo]' (or use `make demo`)")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise DemoError(
                    f"port {self.port} is taken (another demo?); choose one with --port, or make demo PORT=..."
                ) from None
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            (self.folder / "state").mkdir(parents=True)
        except OSError as error:
            raise DemoError(f"{error.filename}: {error.strerror}") from None
        runtime = self.folder / "run"
        if len(str(runtime / "feed.sock")) > SOCKET_PATH_MAX:
            runtime = Path(tempfile.gettempdir()) / f"inspector-demo-{os.getuid()}"
            shutil.rmtree(runtime, ignore_errors=True)
        runtime.mkdir(parents=True)
        self.control_file = runtime / "camera.control"
        self.station_file = self.folder / "station.yaml"
        self._write_station(runtime)
        self.config = load_station(self.station_file)
        self.environment = {**os.environ, "VIRTUAL_CAMERA_CONTROL": str(self.control_file)}
        for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
            self.environment.pop(name, None)
        self._make_camera()

    def _write_station(self, runtime: Path) -> None:
        """The demo's station file with this run's places in it."""
        config = load_station(ROOT / "firmware_config" / "demo.yaml").model_dump(mode="json", exclude_defaults=True)
        config["plc"]["port"] = self.link_port or self.port
        config["recipe"] = self.recipe
        config["identity"] = {"mode": self.identity}
        config["state_dir"], config["runtime_dir"] = str(self.folder / "state"), str(runtime)
        config["archive"]["folder"] = "pictures"
        for camera in config["cameras"].values():
            name = self.camera_file if self.identity == "command" else "virtual_wired.yaml"
            camera["features"] = str(ROOT / "firmware_config" / "cameras" / name)
        config = _merged(config, self.settings)
        with self.station_file.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(config, file)

    def _make_camera(self) -> None:
        command = "from tools.virtual_camera.control import CameraControl, build; import pathlib, sys; build(); "
        sensor = f", sensor={self.sensor}" if self.sensor else ""
        command += f"CameraControl.create(pathlib.Path(sys.argv[1]){sensor}).close()"
        made = subprocess.run(
            [sys.executable, "-c", command, str(self.control_file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if made.returncode:
            raise DemoError(f"the virtual camera can't be made: {(made.stderr.strip().splitlines() or ['?'])[-1]}")

    def __enter__(self) -> World:
        self._keep("broker", *self._broker_command())
        self._wait_for_broker()
        command = [sys.executable, "-m", "inspector", "run", str(self.station_file)]
        self._keep("station", *command, environment=self.extra_environment)
        return self

    def __exit__(self, *_: object) -> None:
        for kept in reversed(self.kept):
            if kept.process is not None:
                _end(kept.process)
            kept.log.close()

    def _keep(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        kept = _Kept(name, [*arguments], log, {**self.environment, **(environment or {})})
        kept.tend()
        self.kept.append(kept)

    def _broker_command(self) -> list[str]:
        if self.broker == "embedded":
            return [sys.executable, "-m", "tools.broker", "--port", str(self.port)]
        mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if mosquitto is None:
            raise DemoError("there is no mosquitto on this computer: apt install mosquitto")
        folder = self.folder / "broker"
        folder.mkdir(exist_ok=True)
        settings = folder / "mosquitto.conf"
        # as deploy/mosquitto/inspector.conf has it, without users and their access list
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 20\n"
            "set_tcp_nodelay true\nmax_queued_messages 20000\nmax_inflight_messages 20\n"
            + (f"user {getpass.getuser()}\n" if os.getuid() == 0 else ""),
            encoding="utf-8",
        )
        return [mosquitto, "-c", str(settings)]

    def _wait_for_broker(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise DemoError(f"the broker did not start; see {self.folder / 'broker.log'}")

    def line_arguments(
        self, parts: int, rate: float, seed: int, pictures: Path | None, truth: Path | None
    ) -> list[str]:
        """The command line of the simulated line."""
        line = ["-m", "tools.plc_simulator", "--broker", f"127.0.0.1:{self.port}"]
        line += ["--line", self.config.line, "--station", self.config.station]
        line += ["--parts", str(parts), "--rate", str(rate), "--seed", str(seed)]
        line += ["--control", str(self.control_file), "--book", str(self.folder / "book.json")]
        line += ["--mode", self.identity, "--ready-wait-s", str(START_LIMIT_S)]
        if pictures is not None:
            line += ["--pictures", str(pictures.resolve())]
        if truth is not None:
            line += ["--truth", str(truth.resolve())]
        return [sys.executable, *line]

    def plain(self, line: list[str]) -> int:
        """Without a screen: the line prints its parts."""
        typer.echo(f"station {self.config.name}: see it with  inspector tui --socket {self.config.feed_socket}")
        typer.echo(f"logs, ledger and pictures: {os.path.relpath(self.folder)}")
        process = subprocess.Popen(line, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL)
        return self._watch(process)

    def with_screen(self, line: list[str]) -> int:
        """With the operator's screen in this terminal; leaving it ends the demo."""
        log = (self.folder / "line.log").open("wb")
        process = subprocess.Popen(
            line, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        screen = [sys.executable, "-m", "inspector", "tui", "--socket", str(self.config.feed_socket)]
        shown = subprocess.Popen(screen, cwd=ROOT, env=self.environment)
        try:
            while shown.poll() is None and process.poll() is None:
                self._tend()
        finally:
            if _end(shown):
                _sane_terminal()  # it was ended from outside and could not tidy up
            code = _end(process)
            log.close()
        with contextlib.suppress(OSError):
            _, head, summary = (self.folder / "line.log").read_text(encoding="utf-8").rpartition("PLC's book:")
            typer.echo(head + summary)
        typer.echo(f"logs, ledger and pictures: {os.path.relpath(self.folder)}")
        return code

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        with _stopping() as stopped:
            while process.poll() is None:
                self._tend()
                if stopped:
                    return _end(process)
        return int(process.returncode)

    def _tend(self) -> None:
        for kept in self.kept:
            kept.tend()
        time.sleep(0.1)

    def compare(self) -> int:
        """The PLC's book against the station's ledger; 0 when every part is in both and they say the same."""
        book = json.loads((self.folder / "book.json").read_text(encoding="utf-8"))
        rows = search(self.config.state_dir / "ledger.db", limit=1_000_000)
        problems = compare_books(book["rows"], rows)
        kept, counted = recount(self.config.state_dir / "ledger.db")
        if kept != counted:
            problems.append(f"ledger: counters {kept}, recount {counted}")
        told = sum(1 for row in book["rows"] if row["verdict"])
        typer.echo(
            f"Books: {len(book['rows'])} triggers sent, {told} verdicts received, {len(rows)} rows in the ledger."
        )
        for problem in problems[:20]:
            typer.echo(f"  differs: {problem}")
        typer.echo("The PLC's book and the ledger differ." if problems else "The PLC's book and the ledger are equal.")
        return 1 if problems else 0


def compare_books(book: list[dict[str, Any]], ledger: list[Row]) -> list[str]:
    """Every difference between the PLC's book and the ledger.

    A part without a message must have been rejected; what was told must be what is on record.
    """
    problems: list[str] = []
    by_command: dict[str, list[Row]] = {}  # counted parts have no command of their own, and unique ids
    for row in ledger:
        by_command.setdefault(row.cmd_id or row.part_id, []).append(row)
    for part in book:
        found = by_command.pop(part["cmd_id"] or part["part_id"], [])
        if len(found) > 1:
            problems.append(f"{part['part_id']}: {len(found)} rows in the ledger")
        if not part["verdict"]:
            if part["decision"] == "pass":
                problems.append(f"{part['part_id']}: passed without a verdict")
            continue
        if not found:
            problems.append(f"{part['part_id']}: the PLC got {part['verdict']}, the ledger has nothing")
            continue
        row = found[0]
        ours = (row.outcome, row.code, row.seq, row.part_id)
        theirs = (part["verdict"], part["code"], part["seq"], part["part_id"])
        if ours != theirs:
            problems.append(f"{part['part_id']}: the PLC got {theirs}, the ledger has {ours}")
    nobodys = by_command.pop("", [])  # a pulse that no message explains has a row of its own
    problems += [f"seq {row.seq}: {row.outcome} for no part" for row in nobodys if row.outcome != "NOT_INSPECTED"]
    problems += [f"{name}: in the ledger, not sent by the PLC" for name in by_command]
    return problems


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for key, value in above.items():
        old = made.get(key)
        made[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return made


def _end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    return abs(int(process.returncode or 0))


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM or Ctrl-C came."""
    came: list[int] = []
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sane_terminal() -> None:
    sys.stdout.write("\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?1000l\x1b[?1003l")
    sys.stdout.flush()
    subprocess.run(["stty", "sane"], check=False, timeout=5)
