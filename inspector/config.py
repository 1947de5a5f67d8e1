"""What is wired to what: ``firmware_config/station.yaml`` and the camera files as typed models."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from inspector.yamlfile import FileError, YamlFile

IDS_MAX = 13  # characters of line and station together: no topic may have more than 40, PLC blocks fail on those
SECRETS = ("password_file", "ca_file", "cert_file", "key_file")
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,12}$")]


class Model(BaseModel):
    """Unknown keys are errors: a typo must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CompactConfig(Model):
    """What a PLC without a JSON parser reads and sends instead; all of it is off unless it is asked for."""

    result_c: bool = Field(False, description="Publish `result/c`, the verdict as text with fixed offsets.")
    result_b: bool = Field(False, description="Publish `result/b`, the verdict as 12 bytes with a CRC.")
    cmd_c: bool = Field(False, description="Take commands as text on `cmd/c`.")
    hb_c: bool = Field(False, description="Publish `hb/c`, a counter of one byte, with each heartbeat.")
    id_width: Literal[16, 24, 32] = Field(
        16, description="Characters of the part id in `result/c`; a longer part id is refused (400)."
    )
    nul_end: bool = Field(False, description="A NUL behind `result/c`, for a PLC whose strings end so.")

    @model_validator(mode="after")
    def _only_what_is_used(self) -> CompactConfig:
        if not self.result_c and {"id_width", "nul_end"} & self.model_fields_set:
            raise ValueError("`id_width` and `nul_end` need `result_c: true`, they say how it is written")
        return self

    @property
    def id_max(self) -> int:
        """Most characters of a part id; 32 where no text of fixed width holds it."""
        return self.id_width if self.result_c else 32


# what every broker takes; blanks, `+`, `#` and `/` would make its access lists ambiguous
ClientId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
UserName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:%-]{1,253}$")]


class BrokerConfig(Model):
    """An MQTT broker and how to reach it."""

    host: Host = Field("127.0.0.1", description="Broker's name or address.")
    port: int = Field(1883, ge=1, le=65535, description="Broker's TCP port.")
    username: UserName | None = Field(None, description="MQTT user.")
    password_file: Path | None = Field(None, description="File whose first line is the password.")
    ca_file: Path | None = Field(None, description="Certificate authority: switches TLS on.")
    cert_file: Path | None = Field(None, description="This station's certificate.")
    key_file: Path | None = Field(None, description="This station's key.")
    keepalive_s: int = Field(5, ge=2, le=60, description="MQTT keep-alive.")


SPARKPLUG_ID_MAX = 64  # characters


def sparkplug_complaint(name: str) -> str:
    """What is wrong with one of Sparkplug's ids, "" when nothing is."""
    if 0 < len(name) <= SPARKPLUG_ID_MAX and name.isprintable() and name == name.strip() and not set(name) & set("+/#"):
        return ""
    return f"found {name!r}, allowed: 1 to {SPARKPLUG_ID_MAX} printable characters without + / #"


def _sparkplug_id(name: str) -> str:
    complaint = sparkplug_complaint(name)
    if complaint:
        raise ValueError(complaint.partition(", ")[2])
    return name


SparkplugId = Annotated[str, AfterValidator(_sparkplug_id)]


class ScadaBrokerConfig(BrokerConfig):
    """SCADA's own MQTT broker. Nothing of the PLC's broker is used for it, its password least of all."""

    host: Host = Field(description="Broker's name or address.")


class SparkplugConfig(Model):
    """The station as a Sparkplug B edge node, beside the PLC's link and never in its way. docs/sparkplug.md."""

    group: SparkplugId = Field(description="Group in the topics: the plant, the area.")
    node: SparkplugId = Field(
        default_factory=socket.gethostname,
        validate_default=True,
        description="Edge node in the topics; default: this computer's name.",
    )
    device: SparkplugId | None = Field(None, description="Device in the topics; default: the station's id.")
    primary_host: SparkplugId | None = Field(
        None, description="Host application without which nothing is told; default: none is waited for."
    )
    broker: ScadaBrokerConfig | None = Field(None, description="Another broker than the PLC's.")

    @field_validator("group")
    @classmethod
    def _is_no_state(cls, group: str) -> str:
        if group == "STATE":
            raise ValueError("that is where host applications tell their state, allowed: any other name")
        return group


class PlcConfig(BrokerConfig):
    """The link to the PLC: its broker, and what is said there."""

    version: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="MQTT version; `auto`: 5, and 3.1.1 with a broker that does not speak it."
    )
    client_id: ClientId | None = Field(None, description="MQTT client id; default LINE-STATION.")
    when_nobody_listens: Literal["warn", "stop"] = Field(
        "warn",
        description="No client is subscribed to the verdicts (MQTT 5 tells): `stop` makes the station not Ready.",
    )
    heartbeat_s: float = Field(1.0, ge=0.1, le=2.0, description="Period of `hb`.")
    acks: Literal["optional", "required"] = Field(
        "optional", description="`cmd/ack` for each verdict: missing ones are an alarm once one has come, or always."
    )
    compact: CompactConfig = Field(default_factory=CompactConfig, description="Twins for weak PLCs.")
    sparkplug: SparkplugConfig | None = Field(None, description="The station for SCADA, as Sparkplug B; default: off.")

    @model_validator(mode="after")
    def _can_be_known(self) -> PlcConfig:
        if self.when_nobody_listens == "stop" and self.version == "3.1.1":
            raise ValueError("`when_nobody_listens: stop` needs MQTT 5, allowed with `version: auto` or `5`")
        return self


class CameraConfig(Model):
    """One camera: which device, which features, how it is triggered."""

    serial: str = Field(description="DeviceSerialNumber of the camera.")
    producer: Path | None = Field(
        None, description="GenTL producer (.cti); default: every producer on GENICAM_GENTL64_PATH."
    )
    features: Path = Field(description="Camera file with the GenICam features to set.")
    slots: int = Field(8, ge=2, le=64, description="Pictures that may be under way at a time.")
    frame_limit_ms: int = Field(250, ge=10, le=10000, description="No picture for so long after a trigger: it is lost.")
    trigger_limit_ms: int = Field(
        50,
        ge=1,
        le=10000,
        description="`mode: command`: a trigger that can't be fired for so long is given up: the part moved on.",
    )
    temperature_max_c: float = Field(70.0, ge=0, le=120, description="DeviceTemperature above this is an alarm.")


class IdentityConfig(Model):
    """How a part meets its picture. docs/camera.md has a timing drawing of each mode."""

    mode: Literal["command", "announced", "counted"] = Field(
        "command",
        description="`command`: the PLC's trigger fires the cameras. `announced`: a wire fires them, the PLC announces "
        "each part's id. `counted`: a wire fires them, a part's id is its number on the trigger counter.",
    )
    window_ms: int = Field(
        50,
        ge=1,
        le=5000,
        description="Wired modes: most time between a pulse and the PLC's message about it; less than half the time "
        "between two parts. No verdict is told before it has passed.",
    )
    announced: Literal["before", "after", "either"] = Field(
        "either", description="Wired modes: does the PLC's message come before the pulse, or after it?"
    )
    plc_counts: Literal["each", "start"] = Field(
        "each",
        description="`counted`: the PLC sends its own count with each part, which is safest, or only to begin with.",
    )

    @property
    def wired(self) -> bool:
        """True when a wire fires the cameras."""
        return self.mode != "command"


class SelfTestConfig(Model):
    """How often the station tests itself. One that failed always makes it not ready (500)."""

    every_h: float = Field(0.0, ge=0, le=8760, description="By itself so often, in a pause of the line; 0: at starts.")
    required: bool = Field(False, description="True: an overdue one makes the station not ready (500), else an alarm.")


class GoldenConfig(Model):
    """When golden parts are to be shown. One that failed always makes the station not ready (501)."""

    every_h: float = Field(0.0, ge=0, le=8760, description="Each at least so often; 0: no period.")
    after_change: bool = Field(False, description="Each anew when the configuration has changed, by a recipe for one.")
    expect: tuple[Literal["PASS", "FAIL"], ...] = Field(
        ("PASS", "FAIL"), min_length=1, max_length=2, description="Which: the good part, the bad part, or both."
    )
    required: bool = Field(False, description="True: an overdue one makes the station not ready (501), else an alarm.")

    @model_validator(mode="after")
    def _something_is_due(self) -> GoldenConfig:
        if len(set(self.expect)) != len(self.expect):
            raise ValueError("expect: each may stand once")
        if self.required and not (self.every_h or self.after_change):
            raise ValueError("`required` needs `every_h` or `after_change`, which say when it is due")
        return self


class ArchiveConfig(Model):
    """Where pictures are kept and how much of the disk they may take."""

    folder: Path = Field(Path("pictures"), description="Folder; a relative path is below the state directory.")
    budget_mb: int = Field(2000, ge=1, description="Most the pictures may take; oldest passes go first, rejects last.")
    min_free_mb: int = Field(500, ge=1, description="Below this much free space no picture is written.")


class StationConfig(Model):
    """``station.yaml``."""

    line: Id = Field(description="Line's id in the topics.")
    station: Id = Field(description="Station's id in the topics.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=40)] = Field(description="Name for people.")
    sim: bool = Field(False, description="True marks every result as simulated.")
    plc: PlcConfig = Field(default_factory=PlcConfig, description="The link to the PLC.")
    cameras: dict[Id, CameraConfig] = Field(min_length=1, description="Cameras by name.")
    identity: IdentityConfig = Field(default_factory=IdentityConfig, description="How a part meets its picture.")
    recipes: Path = Field(description="Folder with recipes.")
    recipe: int = Field(ge=1, le=9999, description="Recipe to run at the first start; later starts run the last one.")
    preload: tuple[Annotated[int, Field(ge=1, le=9999)], ...] = Field(
        (),
        max_length=16,
        description="Recipes that are made ready before the station is, so that a change to one takes no time; each "
        "takes its memory all the time.",
    )
    self_test: SelfTestConfig = Field(default_factory=SelfTestConfig, description="The station's test of itself.")
    golden: GoldenConfig = Field(default_factory=GoldenConfig, description="Known good and bad parts.")
    backend: Literal["auto", "cpu", "tensorrt"] = Field("auto", description="What runs the learned models.")
    judge_threads: int = Field(1, ge=1, le=64, description="CPU threads of the judge.")
    max_in_flight: int = Field(4, ge=1, le=64, description="Parts under way at a time; one more is an overrun (301).")
    archive: ArchiveConfig = Field(default_factory=ArchiveConfig, description="Kept pictures.")
    keep_parts: int = Field(
        1_000_000, ge=1000, description="Parts the ledger remembers, about 8 kB each; the oldest are forgotten first."
    )
    state_dir: Path = Field(Path("/var/lib/inspector"), description="Ledger and pictures.")
    runtime_dir: Path = Field(Path("/run/inspector"), description="Picture rings and the feed's socket.")

    @property
    def feed_socket(self) -> Path:
        """Unix socket of the feed."""
        return self.runtime_dir / "feed.sock"


class CameraFile(Model):
    """A camera file: GenICam features in the order they are to be set, by their SFNC names."""

    model: str | None = Field(None, description="DeviceModelName this file is for; another model is an error.")
    features: dict[str, bool | int | float | str] = Field(
        min_length=1,
        description="Feature = value, top to bottom; `Feature[Selector=Entry]` sets a selector first, "
        "`Feature[A=x,B=y]` sets several, in this order.",
    )


_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_SELECTED = re.compile(rf"^{_NAME}(\[{_NAME}=[A-Za-z0-9_]+(,{_NAME}=[A-Za-z0-9_]+)*\])?$")
_ALLOWED = "allowed is Feature or Feature[Selector=Entry], several selectors as Feature[A=x,B=y]"


def load_camera_file(path: Path) -> CameraFile:
    """Read a camera file. Raises FileError."""
    file = YamlFile.read(path)
    parsed = file.parse(CameraFile)
    problems = [file.problem(["features", name], _ALLOWED) for name in parsed.features if not _SELECTED.match(name)]
    if problems:
        raise FileError(problems)
    return parsed


def load_station(path: Path) -> StationConfig:
    """Read ``station.yaml``; paths in it are relative to the file, and systemd's directories come first.

    Raises FileError with every problem, those of missing files included.
    """
    file = YamlFile.read(path)
    config = file.parse(StationConfig)
    base = path.resolve().parent

    def below(found: Path, root: Path = base) -> Path:
        return found if found.is_absolute() else (root / found).resolve()

    state = Path(os.environ.get("STATE_DIRECTORY") or below(config.state_dir))
    runtime = Path(os.environ.get("RUNTIME_DIRECTORY") or below(config.runtime_dir))
    cameras = {
        name: camera.model_copy(
            update={
                "features": below(camera.features),
                "producer": below(camera.producer) if camera.producer else None,
            }
        )
        for name, camera in config.cameras.items()
    }

    def with_files(of: PlcConfig | ScadaBrokerConfig) -> dict[str, Any]:
        return {key: below(value) for key in SECRETS if (value := getattr(of, key)) is not None}

    plc = config.plc.model_copy(update=with_files(config.plc))
    if plc.sparkplug is not None and plc.sparkplug.broker is not None:
        broker = plc.sparkplug.broker.model_copy(update=with_files(plc.sparkplug.broker))
        plc = plc.model_copy(update={"sparkplug": plc.sparkplug.model_copy(update={"broker": broker})})
    config = config.model_copy(
        update={
            "cameras": cameras,
            "recipes": below(config.recipes),
            "state_dir": state,
            "runtime_dir": runtime,
            "archive": config.archive.model_copy(update={"folder": below(config.archive.folder, state)}),
            "plc": plc,
        }
    )
    problems = _missing_files(config, file)
    if problems:
        raise FileError(problems)
    return config


def _missing_files(config: StationConfig, file: YamlFile) -> list[str]:
    wanted: list[tuple[Sequence[str | int], Any]] = [
        *((["cameras", name, "features"], c.features) for name, c in config.cameras.items()),
        *((["plc", key], getattr(config.plc, key)) for key in SECRETS),
        *(
            (["plc", "sparkplug", "broker", key], getattr(config.plc.sparkplug.broker, key))
            for key in SECRETS
            if config.plc.sparkplug is not None and config.plc.sparkplug.broker is not None
        ),
    ]
    together = len(config.line) + len(config.station)
    problems = [file.problem(where, f"there is no file {p}") for where, p in wanted if p and not p.is_file()]
    if together > IDS_MAX:
        found = f"found {config.station!r}, {together} characters with `line` {config.line!r}"
        allowed = f"allowed: {IDS_MAX} together, so that no topic has more than 40"
        problems.append(file.problem(["station"], f"{found}, {allowed}"))
    if not config.recipes.is_dir():
        problems.append(file.problem(["recipes"], f"there is no folder {config.recipes}"))
    serials: dict[str, str] = {}
    for name, camera in config.cameras.items():
        if camera.serial in serials:
            problems.append(
                file.problem(["cameras", name, "serial"], f"{camera.serial} is camera {serials[camera.serial]} already")
            )
        serials[camera.serial] = name
    return problems
