"""Units, rules and scripts are read by the programs that will read them on the station."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, program

UNITS = ["inspector.service", "inspector-terminal@.service"]
SCRIPTS = ["deploy/install.sh", "tools/setup.sh", ".ci/run"]


def ask(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they will lie in /etc, but for the program, which is not installed here."""
    for source in (DEPLOY / "systemd").glob("*.service"):
        text = source.read_text().replace("/opt/inspector/current/bin/inspector", str(shutil.which("true")))
        (tmp_path / source.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("unit", ["inspector.service", "inspector-terminal@tty1.service"])
def test_systemd_has_nothing_to_say(units: Path, unit: str) -> None:
    done = ask(program("systemd-analyze", "systemd"), "verify", "--man=no", units / unit)
    # its exit status is 0 even with a misspelt key: what it prints counts
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_verify_would_see_a_misspelt_key(units: Path) -> None:
    unit = units / "inspector.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    done = ask(program("systemd-analyze", "systemd"), "verify", "--man=no", unit)
    assert "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_at_most_2(unit: str) -> None:
    done = ask(
        program("systemd-analyze", "systemd"), "security", "--no-pager", "--offline=yes", "--threshold=20",
        DEPLOY / "systemd" / unit,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_the_station_never_stays_down_and_may_use_its_gpu() -> None:
    unit = settings(DEPLOY / "systemd/inspector.service")
    assert unit["Type"] == ["notify"]
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert float(unit["WatchdogSec"][0]) > 0
    assert unit["KillMode"] == ["mixed"]
    for hides_the_gpu in ("PrivateDevices", "MemoryDenyWriteExecute", "DynamicUser"):
        assert hides_the_gpu not in unit
    assert unit["ProcSubset"] == ["all"]
    assert "char-nvidia* rw" in unit["DeviceAllow"]
    assert "char-usb_device rw" in unit["DeviceAllow"]
    assert int(unit["OOMScoreAdjust"][0]) < 0 < int(settings(DEPLOY / f"systemd/{UNITS[1]}")["OOMScoreAdjust"][0])


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(script: str) -> None:
    path = ROOT / script
    shell = "bash" if path.read_text().splitlines()[0].endswith("bash") else "sh"
    done = ask(shell, "-n", path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_clean(script: str) -> None:
    done = ask(program("shellcheck", "shellcheck"), ROOT / script)
    assert done.stdout == ""


def test_udev_accepts_the_rules() -> None:
    udevadm = program("udevadm", "udev")
    if ask(udevadm, "verify", "--help").returncode != 0:
        pytest.skip("this udev can't verify rules yet (systemd 254 can)")
    done = ask(udevadm, "verify", "--resolve-names=never", *(DEPLOY / "udev").glob("*.rules"))
    assert done.returncode == 0, done.stderr


def test_sysctl_can_read_its_file() -> None:
    lines = [
        line.split("=")
        for line in (DEPLOY / "sysctl/90-inspector-gige.conf").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    values = {key.strip(): value.strip() for key, value in lines}
    assert int(values["net.core.rmem_max"]) >= 16 * 1024 * 1024
    known = [key for key in values if Path("/proc/sys", *key.split(".")).exists()]
    assert known, "none of the keys is one of this kernel"


def test_no_file_is_forgotten_by_the_installer() -> None:
    script = (DEPLOY / "install.sh").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != "install.sh":
            assert str(path.relative_to(DEPLOY)) in script, path
    readme = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            assert path.name in readme, path


