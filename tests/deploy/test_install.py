"""deploy/install.sh does what is not done yet, and leaves the site's files alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from inspector.config import load_station
from tests.deploy.conftest import DEPLOY, ROOT, install, program, tree


def test_twice_into_a_folder_gives_the_same(tmp_path: Path) -> None:
    root = tmp_path / "with a space"
    first = install("--root", root, "--without-packages")
    assert (first.returncode, first.stderr) == (0, "")
    before = tree(root)
    second = install("--root", root, "--without-packages")
    assert (second.returncode, second.stderr) == (0, "")
    assert tree(root) == before
    changes = [line for line in second.stdout.splitlines() if line.startswith("install: /") or "folder" in line]
    assert changes == []


def test_the_installed_station_file_is_valid(tmp_path: Path) -> None:
    assert install("--root", tmp_path, "--without-packages").returncode == 0
    config = load_station(tmp_path / "etc/inspector/firmware_config/station.yaml")
    assert config.plc.username is None  # no broker there
    assert config.recipes == tmp_path / "etc/inspector/recipes"


def test_with_a_broker_the_station_gets_a_user_of_its_own(tmp_path: Path) -> None:
    program("mosquitto_passwd", "mosquitto")
    (tmp_path / "etc/mosquitto").mkdir(parents=True)
    assert install("--root", tmp_path, "--without-packages").returncode == 0
    plc = load_station(tmp_path / "etc/inspector/firmware_config/station.yaml").plc
    assert plc.username == "station-line1-top"
    assert plc.password_file is not None
    password = plc.password_file.read_text().strip()
    assert len(password) == 24
    hashed = (tmp_path / "etc/mosquitto/inspector.passwd").read_text()
    assert password not in hashed
    assert [line.split(":")[0] for line in hashed.splitlines()] == ["station-line1-top", "plc-line1-top", "mes"]
    for secret in ("etc/inspector/mqtt.password", "etc/inspector/broker-passwords", "etc/mosquitto/inspector.passwd"):
        assert (tmp_path / secret).stat().st_mode & 0o007 == 0, secret


def test_an_update_replaces_ours_and_keeps_the_sites(tmp_path: Path) -> None:
    program("mosquitto_passwd", "mosquitto")
    (tmp_path / "etc/mosquitto").mkdir(parents=True)
    install("--root", tmp_path, "--without-packages")
    sites = [
        tmp_path / "etc/inspector/firmware_config/station.yaml",
        tmp_path / "etc/inspector/environment",
        tmp_path / "etc/inspector/mqtt.password",
        tmp_path / "etc/mosquitto/inspector.acl",
        tmp_path / "etc/mosquitto/inspector.passwd",
    ]
    for path in sites:
        path.write_text("the site's\n")
    (tmp_path / "etc/inspector/recipes/plate.yaml").unlink()
    unit = tmp_path / "etc/systemd/system/inspector.service"
    unit.write_text("an old version's\n")
    assert install("--root", tmp_path, "--without-packages").returncode == 0
    assert [path.read_text() for path in sites] == ["the site's\n"] * len(sites)
    assert not (tmp_path / "etc/inspector/recipes/plate.yaml").exists(), "a recipe that the site removed came back"
    assert unit.read_bytes() == (DEPLOY / "systemd/inspector.service").read_bytes()


def test_a_cut_off_installation_is_finished(tmp_path: Path) -> None:
    half = tmp_path / "etc/inspector/firmware_config.new"
    half.mkdir(parents=True)
    (half / "half").write_text("x")
    assert install("--root", tmp_path, "--without-packages").returncode == 0
    assert not half.exists()
    assert sorted(p.name for p in (tmp_path / "etc/inspector/firmware_config").iterdir()) == sorted(
        p.name for p in (ROOT / "firmware_config").iterdir()
    )


def test_a_dry_run_says_it_all_and_does_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = install("--dry-run", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert not root.exists()
    for what in ("inspector.service", "90-inspector-gige.conf", "-m venv", "/etc/inspector/recipes"):
        assert what in done.stdout, what


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dry-run", "/nowhere/wheels"], "there is no folder /nowhere/wheels"),
        (["--bogus"], "unknown option --bogus (try --help)"),
        (["--root"], "--root wants a value"),
        (["--dry-run", "--terminal", "tty1; reboot"], "--terminal: found tty1; reboot, allowed: a console like tty1"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments: list[str], sentence: str) -> None:
    done = install(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"install: {sentence}")
    assert done.stderr.count("\n") == 1


def test_a_wheelhouse_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inspector-0.0.0-py3-none-any.whl").touch()
    done = install("--dry-run", "--root", tmp_path / "root", tmp_path)
    assert done.returncode == 1
    assert "make it from this checkout: make wheelhouse" in done.stderr


@pytest.mark.slow
def test_packages_come_from_a_wheelhouse_alone(tmp_path: Path) -> None:
    wheelhouse = ROOT / "build/wheelhouse"
    if not wheelhouse.is_dir():
        pytest.skip("there is no build/wheelhouse (make wheelhouse)")
    done = install("--root", tmp_path, wheelhouse)
    assert (done.returncode, done.stderr) == (0, "")
    command = tmp_path / "opt/inspector/current/bin/inspector"
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "doctor" in shown.stdout
