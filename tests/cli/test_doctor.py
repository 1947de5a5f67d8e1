"""The doctor: on a fake computer (a folder), with real producers, real sockets and real recipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inspector.__main__ import build
from inspector.acquire.probe import probe
from inspector.cli import doctor
from inspector.cli.diagnosis import Finding, broker, cameras, files, gpu, machine, memory, transport
from inspector.config import StationConfig, load_station
from inspector.plc.greeting import Greeting
from tests.plc.peers import MOSQUITTO, Broker, free_port

ROOT = Path(__file__).resolve().parents[2]
VIRTUAL = ROOT / "tools/virtual_camera/build/virtual_camera.cti"

STATION = """\
line: line1
station: top
name: Top view
plc: {{port: {port}}}
cameras:
  top: {{serial: "{serial}", features: camera.yaml{producer}}}
recipes: recipes
recipe: 1
backend: {backend}
archive: {{budget_mb: {budget_mb}, min_free_mb: {min_free_mb}}}
state_dir: state
runtime_dir: run
"""


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def examined(config: StationConfig, root: Path, limit_s: float = 20.0) -> dict[str, Finding]:
    """What the doctor says of producers and cameras."""
    return by_name(cameras.cameras(config, cameras.look(config, root, limit_s)))


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A broker's port."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    folder, port = tmp_path_factory.mktemp("broker"), free_port()
    user = "user root\n" if os.getuid() == 0 else ""
    file = put(folder / "m.conf", f"{user}listener {port} 127.0.0.1\nallow_anonymous true\n")
    running = Broker([MOSQUITTO, "-c", str(file)], port, folder / "m.log").start()
    yield port
    running.close()


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a station file with its camera file and recipe folder."""
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", cameras.PATH):
        monkeypatch.delenv(name, raising=False)

    def make(
        port: int = 1, serial: str = "VC0001", producer: Path | None = VIRTUAL, backend: str = "auto",
        budget_mb: int = 1, min_free_mb: int = 1, recipe: str | None = None,
    ) -> Path:  # fmt: skip
        put(tmp_path / "camera.yaml", "features: {TriggerSource: Software}\n")
        (tmp_path / "recipes").mkdir(exist_ok=True)
        if recipe is not None:
            put(tmp_path / "recipes/plate.yaml", recipe)
        text = STATION.format(
            port=port, serial=serial, producer=f", producer: {producer}" if producer else "", backend=backend,
            budget_mb=budget_mb, min_free_mb=min_free_mb,
        )  # fmt: skip
        return put(tmp_path / "station.yaml", text)

    return make


@pytest.fixture
def config(make: Make) -> StationConfig:
    return load_station(make())


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A computer with everything right, as far as files can tell."""
    root = tmp_path / "root"
    put(root / "sys/class/net/lo/mtu", "65536\n")
    put(root / "sys/class/net/eth1/mtu", "9000\n")
    (root / "sys/class/net/eth1/device").mkdir()
    put(root / "proc/sys/net/core/rmem_max", "33554432\n")
    put(root / "sys/module/usbcore/parameters/usbfs_memory_mb", "1000\n")
    put(root / "proc/mounts", f"/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 {str(tmp_path).replace(' ', '?')} xfs rw 0 0\n")
    unit = put(root / "etc/systemd/system/inspector.service")
    wants = root / "etc/systemd/system/multi-user.target.wants/inspector.service"
    wants.parent.mkdir()
    wants.symlink_to(unit)
    put(root / "run/systemd/timesync/synchronized")
    return root


def copy_sample_recipes(folder: Path) -> None:
    shutil.copytree(ROOT / "recipes", folder, dirs_exist_ok=True)


@pytest.mark.mosquitto
def test_a_good_station_lacks_nothing(make: Make, good: Path, mosquitto: int, tmp_path: Path) -> None:
    copy_sample_recipes(tmp_path / "recipes")
    findings = doctor.examine(make(port=mosquitto), good)
    assert [f for f in findings if f.level != "ok"] == []
    assert {"station file", "recipe 1", "GenTL producer", "camera top", "MQTT broker", "service"} <= set(
        by_name(findings)
    )


def test_each_missing_piece_has_a_command(make: Make, tmp_path: Path) -> None:
    findings = doctor.examine(make(producer=None), tmp_path / "bare")
    told = by_name(findings)
    for what in ("recipes", "GenTL producer", "camera top", "MQTT broker", "service"):
        assert told[what].level == "MISSING", what
    for what in ("GigE interface", "receive buffer", "clock"):
        assert told[what].level == "warn", what
    assert all(f.fix for f in findings if f.level != "ok")
    assert "no GenTL producer" in told["GenTL producer"].found
    assert "sudo sh deploy/install.sh" in told["service"].fix


# --- files ---------------------------------------------------------------------------------------------
def test_no_station_file(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path / "station.yaml", tmp_path)
    assert findings[0].level == "MISSING"
    assert findings[0].found == f"there is no {tmp_path}/station.yaml"
    assert "camera top" not in by_name(findings)


def test_each_fault_of_the_station_file_is_a_line(make: Make) -> None:
    path = make()
    path.write_text(path.read_text().replace("line: line1", "line: Line 1").replace("recipe: 1", "recipe: 0"))
    config, findings = files.station_file(path)
    assert config is None
    assert [f.level for f in findings] == ["MISSING", "MISSING"]
    assert f"{path}:1" in findings[0].found
    assert findings[0].fix == f"edit {path}"


def test_a_broken_camera_file(make: Make, tmp_path: Path) -> None:
    path = make()
    put(tmp_path / "camera.yaml", "features: {'Trigger Source': Software}\n")
    told = by_name(files.station_file(path)[1])
    assert told["station file"].level == "ok"
    assert told["camera file top"].level == "MISSING"
    assert "Trigger Source" in told["camera file top"].found


def test_a_wired_camera_that_tells_too_little(make: Make, tmp_path: Path) -> None:
    path = make()
    path.write_text(path.read_text() + "identity: {mode: announced}\n")
    told = by_name(files.station_file(path)[1])["camera file top"]
    assert told.level == "warn" and "CounterValue] nor ChunkEnable[ChunkSelector=Timestamp]" in told.found
    assert "ChunkEnable[ChunkSelector=CounterValue]: true, ChunkEnable[ChunkSelector=Timestamp]: true" in told.fix
    chunks = "ChunkEnable[ChunkSelector=CounterValue]: true\n  ChunkEnable[ChunkSelector=Timestamp]: "
    put(tmp_path / "camera.yaml", f"features:\n  {chunks}false\n")
    assert "CounterValue" not in by_name(files.station_file(path)[1])["camera file top"].found
    put(tmp_path / "camera.yaml", f"features:\n  {chunks}true\n")
    assert by_name(files.station_file(path)[1])["camera file top"].level == "ok"


def test_recipes_that_can_t_be_offered_and_one_that_does_not_load(make: Make, tmp_path: Path) -> None:
    config = load_station(make(recipe="recipe: 1\nname: x\nmeasure: {a: {tool: nonsense}}\n"))
    put(tmp_path / "recipes/none.yaml", "recipe: zero\n")
    told = by_name(files.recipe_files(config))
    assert told["recipes"].level == "MISSING" and "none.yaml" in told["recipes"].found
    assert told["recipe 1"].level == "MISSING" and "nonsense" in told["recipe 1"].found
    assert told["recipe 1"].fix == f"inspector recipe check {tmp_path}/recipes/plate.yaml"


def test_the_recipe_to_run_is_not_there(make: Make) -> None:
    (finding,) = files.recipe_files(load_station(make()))
    assert "there is no recipe 1" in finding.found


def test_a_recipe_check_that_hangs_is_given_up(make: Make) -> None:
    config = load_station(make(recipe="recipe: 1\n"))
    told = by_name(files.recipe_files(config, limit_s=0.01))
    assert "not checked within" in told["recipe 1"].found


# --- cameras ---------------------------------------------------------------------------------------------
@pytest.fixture
def producer(tmp_path: Path) -> Callable[[str], Path]:
    """A producer whose library does something bad as soon as it is loaded."""

    def build(body: str) -> Path:
        source = put(tmp_path / "bad.c", f"#include <stdlib.h>\n#include <unistd.h>\n{body}\n")
        target = tmp_path / "bad.cti"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True, timeout=60)
        return target

    return build


def on_load(statement: str) -> str:
    return f"__attribute__((constructor)) static void begin(void) {{ {statement}; }}"


def test_cameras_are_found_by_their_serial(make: Make, good: Path) -> None:
    told = examined(load_station(make(serial="VC0002")), good)
    assert told["GenTL producer"].level == "ok"
    assert told["camera top"].level == "ok"
    assert "VC0002, free" in told["camera top"].found


def test_another_serial_is_missing_and_the_found_ones_are_named(make: Make, good: Path) -> None:
    told = examined(load_station(make(serial="40012345")), good)
    assert told["camera top"].level == "MISSING"
    assert "40012345 (found: VC0001, VC0002" in told["camera top"].found


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (on_load("abort()"), "crashed (SIGABRT)"),
        (on_load("*(volatile int *)0 = 1"), "crashed (SIGSEGV)"),
        (on_load("_exit(7)"), "ended the process (exit status 7)"),
        (on_load("while (1) sleep(1)"), "hangs: no answer within"),
        ("int nothing;", "can't be loaded"),  # a library that is no producer
    ],
)
def test_a_bad_producer_is_a_finding_and_not_our_end(
    producer: Callable[[str], Path], make: Make, good: Path, body: str, words: str
) -> None:
    config = load_station(make(producer=producer(body)))
    told = examined(config, good, limit_s=5.0 if "sleep" in body else 20.0)
    assert told["GenTL producer"].level == "MISSING"
    assert words in told["GenTL producer"].found
    assert told["camera top"].level == "MISSING"


def test_a_producer_that_prints_does_not_spoil_the_answer(producer: Callable[[str], Path]) -> None:
    chatty = producer(on_load('write(1, "{\\"x\\": 1}\\n", 9)'))
    assert "ended the process" not in probe([chatty]).error


def test_a_producer_that_is_not_there(tmp_path: Path) -> None:
    assert probe([tmp_path / "none.cti"]).error == f"there is no GenTL producer {tmp_path}/none.cti"


def test_the_service_s_own_environment_is_used(make: Make, good: Path) -> None:
    put(good / "etc/inspector/environment", f"# comment\n{cameras.PATH}='{VIRTUAL.parent}'\n")
    told = examined(load_station(make(producer=None)), good)
    assert told["GenTL producer"].found == f"{VIRTUAL} (on GENICAM_GENTL64_PATH)"
    assert told["camera top"].level == "ok"


def test_producers_on_the_path_are_told_beside_the_station_s(
    make: Make, good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(cameras.PATH, str(tmp_path))
    config = load_station(make())
    named, path, other = (f for f in cameras.cameras(config, cameras.look(config, good)) if f.what != "camera top")
    named, path = sorted((named, path), key=lambda f: f.level)
    assert named.level == "ok" and named.found.endswith("virtual_camera.cti (of the station file)")
    assert path.level == "warn" and "no GenTL producer" in path.found and "can do without" in path.fix
    assert other.found == "Inspector VirtualCamera VC0002, free; not in the station file"
    monkeypatch.setenv(cameras.PATH, str(VIRTUAL.parent))
    findings = cameras.cameras(config, cameras.look(config, good))
    told = {f.found.split(" ", 1)[1] for f in findings if f.what == "GenTL producer"}
    assert told == {"(on GENICAM_GENTL64_PATH)", "(of the station file)"}
    assert sum(f.what == "other camera" for f in findings) == 1  # both producers show it


def test_the_station_s_devices_are_handed_on_only_when_all_are_there(make: Make, good: Path) -> None:
    config = load_station(make())
    found = cameras.devices(config, cameras.look(config, good))
    assert found is not None and [d["serial"] for d in found] == ["VC0001"]
    config = load_station(make(serial="40012345"))
    assert cameras.devices(config, cameras.look(config, good)) is None


@pytest.mark.parametrize(("access", "level"), [("busy", "ok"), ("not reachable", "MISSING"), ("read only", "MISSING")])
def test_access_status(access: str, level: str) -> None:
    device = {"serial": "1", "vendor": "V", "model": "M", "access": access}
    finding = cameras._camera("top", "1", cameras.Probed(("x.cti",), (device,), ""))
    assert finding.level == level


# --- the computer ------------------------------------------------------------------------------------------
def of_broker(config: StationConfig, **plc: Any) -> Finding:
    (finding,) = broker.brokers(config.model_copy(update={"plc": config.plc.model_copy(update=plc)}))
    return finding


@pytest.mark.mosquitto
def test_broker(config: StationConfig, mosquitto: int) -> None:
    there = of_broker(config, port=mosquitto)
    assert (there.level, there.found) == ("ok", f"127.0.0.1:{mosquitto} lets us in: MQTT 5, no TLS")
    old = of_broker(config, port=mosquitto, version="3.1.1")
    assert old.level == "ok" and "MQTT 3.1.1, no TLS, as `plc.version` says: results don't expire" in old.found
    refused = of_broker(config)
    assert (refused.level, refused.found) == ("MISSING", "127.0.0.1:1: Connection refused")
    assert "apt install mosquitto" in refused.fix
    unknown = of_broker(config, host="broker.invalid")
    assert unknown.level == "MISSING" and "ping broker.invalid" in unknown.fix
    secret = of_broker(config, port=mosquitto, username="u", password_file=Path("/nowhere/secret"))
    assert secret.level == "MISSING" and "plc.password_file /nowhere/secret: can't be read" in secret.found


@pytest.mark.mosquitto
def test_scada_s_own_broker(config: StationConfig, mosquitto: int) -> None:
    own = {"group": "plant", "broker": {"host": "127.0.0.1", "port": mosquitto}}
    plc = type(config.plc).model_validate({"port": mosquitto, "sparkplug": own})
    plcs, scadas = broker.brokers(config.model_copy(update={"plc": plc}))
    assert plcs.found == f"127.0.0.1:{mosquitto} lets us in: MQTT 5, no TLS"
    assert (scadas.what, scadas.level) == ("SCADA's broker", "ok")
    assert scadas.found == f"127.0.0.1:{mosquitto} lets us in: MQTT 3.1.1, no TLS"


def test_what_a_broker_without_5_costs(config: StationConfig) -> None:
    said = broker._told("MQTT broker", "plc", config.plc, Greeting("3.1.1", fell_back=True))
    assert said.level == "warn" and "as it speaks no 5: results don't expire" in said.found
    far = config.plc.model_copy(update={"host": "10.0.0.2", "username": "u"})
    assert broker._told("MQTT broker", "plc", far, Greeting("5", tls="TLSv1.3")).found == (
        "10.0.0.2:1 lets us in: MQTT 5, TLS 1.3"
    )
    readable = broker._told("MQTT broker", "plc", far, Greeting("5"))
    assert readable.level == "warn" and "everybody on the network can read the password" in readable.found


def test_small_frames_and_buffers_are_warned_of(good: Path) -> None:
    put(good / "sys/class/net/eth1/mtu", "1500\n")
    put(good / "proc/sys/net/core/rmem_max", "212992\n")
    jumbo, buffer = transport.network(good)
    assert (jumbo.level, jumbo.fix.split("  ")[0]) == ("warn", "sudo ip link set dev eth1 mtu 9000")
    assert buffer.level == "warn" and "sysctl -w net.core.rmem_max=33554432" in buffer.fix


def test_wireless_and_virtual_interfaces_don_t_count(good: Path) -> None:
    shutil.rmtree(good / "sys/class/net/eth1")
    put(good / "sys/class/net/docker0/mtu", "9000\n")
    put(good / "sys/class/net/wlan0/mtu", "9000\n")
    (good / "sys/class/net/wlan0/device").mkdir()
    (good / "sys/class/net/wlan0/wireless").mkdir()
    assert transport.network(good)[0].found == "no wired network interface"


@pytest.mark.parametrize(("megabytes", "level"), [("16", "warn"), ("0", "ok"), ("1000", "ok")])
def test_usb_memory(good: Path, megabytes: str, level: str) -> None:
    put(good / "sys/module/usbcore/parameters/usbfs_memory_mb", megabytes)
    assert transport.usb(good)[0].level == level


@pytest.mark.parametrize(
    ("kind", "level"),
    [("ext4", "ok"), ("tmpfs", "warn"), ("overlay", "warn"), ("nfs4", "MISSING"), ("cifs", "MISSING")],
)
def test_filesystem_of_the_ledger(config: StationConfig, good: Path, tmp_path: Path, kind: str, level: str) -> None:
    put(good / "proc/mounts", f"a / ext4 rw 0 0\nb {tmp_path} {kind} rw 0 0\nc {tmp_path}/elsewhere nfs rw 0 0\nbad\n")
    assert by_name(machine.disk(config, good))["filesystem"].level == level


def test_disk_space(make: Make, good: Path) -> None:
    levels = []
    for budget_mb, min_free_mb in ((1, 1), (10**9, 1), (10**9, 10**9)):
        config = load_station(make(budget_mb=budget_mb, min_free_mb=min_free_mb))
        levels.append(by_name(machine.disk(config, good))["disk space"].level)
    assert levels == ["ok", "warn", "MISSING"]


def test_the_unit_is_there_but_not_enabled(config: StationConfig, good: Path) -> None:
    (good / "etc/systemd/system/multi-user.target.wants/inspector.service").unlink()
    told = by_name(machine.service(config, good))
    assert told["service"].fix == "sudo systemctl enable inspector"
    assert told["runtime folder"].level == "ok"  # the service makes it


def test_clock(good: Path) -> None:
    assert machine.clock(good)[0].level == "ok"
    (good / "run/systemd/timesync/synchronized").unlink()
    assert machine.clock(good)[0].level == "warn"
    assert machine.clock(Path("/"))[0].what == "clock"  # the kernel of this computer answers, whatever it says


# --- what the cameras' wires want ------------------------------------------------------------------------------
ROUTES = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0
eth0 0000A8C0 00000000 0001 0 0 0 0000FFFF 0 0 0
eth1 0005A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
broken line
"""


@pytest.fixture
def networked(good: Path) -> Path:
    """eth0 has 192.168.0.0/16 and small frames, eth1 has 192.168.5.0/24 and large ones."""
    put(good / "proc/net/route", ROUTES)
    put(good / "sys/class/net/eth0/mtu", "1500\n")
    (good / "sys/class/net/eth0/device").mkdir()
    return good


def gige(where: str, serial: str = "1", kind: str = "GEV") -> dict[str, str]:
    return {"serial": serial, "transport": kind, "where": where}


@pytest.mark.parametrize(
    ("where", "level", "found"),
    [
        ("acA2440#0030531AB2C4#192.168.5.7:3956", "ok", "eth1 MTU 9000, of 1"),
        ("Camera (192.168.6.7)", "warn", "eth0 MTU 1500, of 1; GigE cameras want 9000"),
        ("MAC 0030531AB2C4 on eth0", "warn", "eth0 MTU 1500, of 1; GigE cameras want 9000"),
        ("version 300.168.5.7", "ok", "eth0 MTU 1500, eth1 MTU 9000"),  # no address: one of them may be it
        ("firmware 1.192.168.5.7", "ok", "eth0 MTU 1500, eth1 MTU 9000"),
        ("10.1.2.3", "ok", "eth0 MTU 1500, eth1 MTU 9000"),  # behind the gateway
        ("", "ok", "eth0 MTU 1500, eth1 MTU 9000"),
    ],
)
def test_the_interface_a_camera_is_on(networked: Path, where: str, level: str, found: str) -> None:
    finding = transport.network(networked, [gige(where)])[0]
    assert (finding.level, finding.found) == (level, found)
    if level == "warn":
        assert finding.fix.startswith("sudo ip link set dev eth0 mtu 9000")


def test_each_interface_with_cameras_is_one_line(networked: Path) -> None:
    there = [gige("192.168.5.7"), gige("192.168.6.1", "2"), gige("192.168.5.8", "3"), gige("", "4", "U3V")]
    *interfaces, _ = transport.network(networked, there)
    assert [f.found.split(";")[0] for f in interfaces] == ["eth0 MTU 1500, of 2", "eth1 MTU 9000, of 1 and 3"]


@pytest.mark.parametrize(
    ("kinds", "network", "usb"),
    [
        (["U3V"], "not wanted: the cameras are U3V", "usbfs_memory_mb 16; USB3 cameras want 256"),
        (["GEV"], "eth1 MTU 1500; GigE cameras want 9000", "not wanted: the cameras are GEV"),
        (["CXP", "CLHS"], "not wanted: the cameras are CLHS, CXP", "not wanted: the cameras are CLHS, CXP"),
        (["Custom"], "eth1 MTU 1500; GigE cameras want 9000", "usbfs_memory_mb 16; USB3 cameras want 256"),
        (["U3V", "GEV"], "eth1 MTU 1500; GigE cameras want 9000", "usbfs_memory_mb 16; USB3 cameras want 256"),
        ([], "eth1 MTU 1500; GigE cameras want 9000", "usbfs_memory_mb 16; USB3 cameras want 256"),
    ],
)
def test_only_what_the_cameras_want_is_asked_for(good: Path, kinds: list[str], network: str, usb: str) -> None:
    put(good / "sys/class/net/eth1/mtu", "1500\n")
    put(good / "sys/module/usbcore/parameters/usbfs_memory_mb", "16\n")
    there = [gige("", str(n), kind) for n, kind in enumerate(kinds)]
    assert transport.network(good, there)[0].found == network
    assert transport.usb(good, there)[0].found == usb


# --- memory and clock ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("features", "found_mb"),
    [
        ("Width: 1000, Height: 1000, PixelFormat: Mono8", "8 MB"),
        ("Width: 1000, Height: 1000, PixelFormat: BayerRG8", "8 MB"),
        ("Width: 1000, Height: 1000, PixelFormat: Mono12p", "16 MB"),
        ("Width: 1000, Height: 1000, PixelFormat: RGB8", "24 MB"),
        ("Width: 1000, Height: 1000", "8 MB"),
    ],
)
def test_room_for_the_rings(make: Make, good: Path, tmp_path: Path, features: str, found_mb: str) -> None:
    config = load_station(make())
    put(tmp_path / "camera.yaml", f"features: {{{features}}}\n")
    (finding,) = memory.rings(config, good)
    assert finding.level == "ok" and finding.found.startswith(f"{found_mb} for pictures under way, ")


def test_no_room_for_the_rings(make: Make, good: Path, tmp_path: Path) -> None:
    config = load_station(make())
    put(tmp_path / "camera.yaml", "features: {Width: 10000000, Height: 10000000}\n")
    (finding,) = memory.rings(config, good)
    assert finding.level == "MISSING" and "lower `slots:`" in finding.fix and "remount,size=" in finding.fix
    put(tmp_path / "camera.yaml", "features: {Gain: 1}\n")
    (finding,) = memory.rings(config, good)
    assert finding.level == "ok" and "not counted: top; no Width and Height in the camera file" in finding.found


def test_the_rings_that_a_running_station_holds_are_room(make: Make, good: Path, tmp_path: Path) -> None:
    config = load_station(make())
    put(tmp_path / "camera.yaml", "features: {Width: 1000, Height: 1000}\n")
    config.runtime_dir.mkdir()

    def free_mb() -> int:
        return int(memory.rings(config, good)[0].found.split("way, ")[1].split(" MB")[0])

    before = free_mb()
    with (config.runtime_dir / "ring-top-1-a").open("wb") as file:
        file.truncate(4_000_000_000)  # takes no room by itself, but says so
    assert free_mb() >= before + 3000


@pytest.mark.parametrize(("limit", "level"), [("unlimited", "ok"), ("1000000", "warn"), ("9000000", "ok")])
def test_how_large_a_file_may_be(make: Make, good: Path, tmp_path: Path, limit: str, level: str) -> None:
    config = load_station(make())
    put(tmp_path / "camera.yaml", "features: {Width: 1000, Height: 1000}\n")
    put(good / "proc/self/limits", f"Limit  Soft Limit\nMax file size             {limit}    unlimited    bytes\n")
    (finding,) = memory.rings(config, good)
    assert finding.level == level and ("ulimit -f" in finding.fix) == (level == "warn")


def test_the_processor_s_clock(good: Path) -> None:
    assert memory.processor(good)[0] == Finding("CPU clock", "ok", "not governed by this kernel")
    for n, governor in enumerate(("powersave", "powersave", "performance")):
        put(good / f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor", f"{governor}\n")
    finding = memory.processor(good)[0]
    assert finding.level == "warn"
    assert finding.found == "powersave on 2, performance on 1: parts take longer after a pause"
    assert "scaling_governor" in finding.fix
    put(good / "etc/nv_tegra_release")
    assert "inspector-clocks" in memory.processor(good)[0].fix
    for n in range(2):
        put(good / f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor", "performance\n")
    assert memory.processor(good)[0] == Finding("CPU clock", "ok", "performance on 3")


def test_whether_cores_may_sleep_while_a_part_is_under_way(good: Path) -> None:
    assert memory.processor(good)[1].level == "ok"  # nobody can be asked
    put(good / "dev/cpu_dma_latency")
    assert (memory.processor(good)[1].level, memory.processor(good)[1].fix) == ("warn", "sudo sh deploy/install.sh")
    rule = next((ROOT / "deploy/udev").glob("*-cpu.rules"))
    put(good / "etc/udev/rules.d" / rule.name)
    assert memory.processor(good)[1].level == "ok"


# --- GPU -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("backend", "level"), [("cpu", "ok"), ("auto", "ok"), ("tensorrt", "MISSING")])
def test_without_a_gpu(make: Make, good: Path, backend: str, level: str) -> None:
    assert gpu.gpu(load_station(make(backend=backend)), good)[0].level == level


@pytest.mark.parametrize(("backend", "level"), [("auto", "warn"), ("tensorrt", "MISSING")])
def test_a_driver_without_tensorrt_gives_the_reason(make: Make, good: Path, backend: str, level: str) -> None:
    put(good / "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05\n")
    works, text = gpu._ask(60.0)
    driver, tensorrt = gpu.gpu(load_station(make(backend=backend)), good)
    assert "580.95.05" in driver.found
    if works:
        assert (tensorrt.level, tensorrt.found) == ("ok", text)
    else:
        assert (tensorrt.level, tensorrt.found) == (level, text)
        assert "can't be imported" in text or "CUDA" in text
        assert "pip install" in tensorrt.fix


def test_a_jetson_is_sent_to_its_page(make: Make, good: Path) -> None:
    put(good / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n")
    board, tensorrt = gpu.gpu(load_station(make(backend="tensorrt")), good)
    assert board.found == "a Jetson board"
    if tensorrt.level != "ok":
        assert "deploy/JETSON.md" in tensorrt.fix


def test_a_cuda_that_hangs_is_given_up(make: Make, good: Path) -> None:
    put(good / "etc/nv_tegra_release")
    assert "hangs" in gpu.gpu(load_station(make()), good, limit_s=0.001)[1].found


# --- the command ---------------------------------------------------------------------------------------------
def test_the_table_is_aligned_and_the_command_stands_below() -> None:
    long = Finding("longer name", "MISSING", f"no thing,{' no other' * 7}\nand no third", f"sudo get{' thing' * 12}")
    text = doctor.table([Finding("a", "ok", "fine"), long])
    assert text.splitlines() == [
        "ok       a            fine",
        "MISSING  longer name  no thing, no other no other no other no other no other no",
        "                      other no other",
        "                      and no third",
        f"                      -> sudo get{' thing' * 12}",
        "",
        "1 missing, 0 to be looked at",
    ]


def test_exit_status_and_json(make: Make) -> None:
    station = make(producer=VIRTUAL.with_name("none.cti"))
    done = CliRunner().invoke(build("doctor"), ["doctor", "--station", str(station), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert told["ok"] is False
    assert {"what", "level", "found", "fix"} == set(told["findings"][0])


def test_as_a_command_it_loads_no_vendor_code(make: Make) -> None:
    code = (
        "import sys\nfrom inspector.cli import doctor\n"
        "print([m for m in ('harvesters', 'genicam', 'cv2', 'onnxruntime', 'tensorrt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
