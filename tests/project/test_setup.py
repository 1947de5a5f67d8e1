"""`make` on a computer that lacks something: one sentence that says what, and what helps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# what every Unix has
TOOLS = ["sh", "awk", "cat", "cksum", "df", "dirname", "grep", "head", "id", "make", "mktemp", "rm", "sed", "tail"]

Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads, in a folder with a space in its name."""
    folder = tmp_path / "my inspector"
    for name in ("Makefile", "pyproject.toml", "tools/setup.sh"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with neither Python nor compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def make(checkout: Path, bare: Path) -> Make:
    def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(bare / "make"), "setup", *arguments],
            cwd=checkout,
            env={"PATH": str(bare), "HOME": str(checkout), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return make


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert len(told) == 1, done.stderr
    return told[0]


def test_no_python(make: Make) -> None:
    assert "there is no Python 3.10 or newer; install it" in sentence(make())


def test_an_old_python(make: Make, bare: Path) -> None:
    program(bare, "python3", "exit 1")
    assert "there is no Python 3.10 or newer" in sentence(make())
    assert "python3 is older than Python 3.10" in sentence(make("PYTHON=python3"))
    assert "there is no program python9" in sentence(make("PYTHON=python9"))


def test_no_compiler(make: Make, bare: Path) -> None:
    (bare / "python3").symlink_to(sys.executable)
    assert "there is no C compiler (cc); install it" in sentence(make())


def test_a_compiler_that_does_not_work(make: Make, bare: Path) -> None:
    (bare / "python3").symlink_to(sys.executable)
    program(bare, "cc", "echo 'cannot find crt1.o' >&2; exit 1")
    assert "(cc) does not work: cannot find crt1.o" in sentence(make())


def with_compiler(bare: Path) -> None:
    program(bare, "cc", "exit 0")


def test_no_venv_module(make: Make, bare: Path) -> None:
    with_compiler(bare)
    # a Python as Debian ships it: all there but ensurepip
    program(bare, "python3", f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"')
    assert "python3 lacks the venv module; install it (Debian, Ubuntu: sudo apt install python3-venv)" in sentence(
        make()
    )


def test_no_space(make: Make, bare: Path) -> None:
    with_compiler(bare)
    (bare / "python3").symlink_to(sys.executable)
    (bare / "df").unlink()
    program(bare, "df", "echo Filesystem; echo x 1000000 900000 204800 90% /")
    assert "has 200 MB free and the packages take up to" in sentence(make())


def test_temporary_folder_is_not_writable(make: Make) -> None:
    told = sentence(make(TMPDIR="/proc"))
    assert told == "setup: /proc is not writable or full; name another folder with TMPDIR=..."


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_the_checkout_is_somebody_else_s(make: Make, checkout: Path) -> None:
    checkout.chmod(0o555)
    try:
        assert "is not writable for" in sentence(make())
    finally:
        checkout.chmod(0o755)


def half_made(checkout: Path, pip: str) -> None:
    """A .venv whose pip does this: what set-up finds after `python -m venv`."""
    venv = checkout / ".venv/bin"
    venv.mkdir(parents=True)
    program(venv, "python", f'case "$*" in *"pip install"*) {pip};; esac\nexit 0')


@pytest.mark.parametrize(
    ("pip", "arguments", "words"),
    [
        (
            "echo 'Failed to establish a new connection: [Errno -3] Temporary failure in name resolution'; exit 1",
            (),
            "the package index can't be reached",
        ),
        ("echo 'ERROR: [Errno 28] No space left on device'; exit 1", (), "the disk is full"),
        ("echo 'ERROR: something new'; exit 1", (), "could not be installed: ERROR: something new"),
        (
            "echo 'ERROR: No matching distribution found for numpy'; exit 1",
            ("WHEELHOUSE=.",),
            "WHEELHOUSE=. lacks a package: ERROR: No matching distribution found for numpy",
        ),
        ("exit 0", ("WHEELHOUSE=nowhere",), "there is no folder nowhere"),
    ],
)
def test_pip_fails(
    make: Make, bare: Path, checkout: Path, pip: str, arguments: tuple[str, ...], words: str
) -> None:
    with_compiler(bare)
    (bare / "python3").symlink_to(sys.executable)
    half_made(checkout, pip)
    assert words in sentence(make(*arguments))
    assert not (checkout / ".venv/.setup-done").exists()


def test_what_is_done_is_not_done_again(make: Make, bare: Path, checkout: Path) -> None:
    with_compiler(bare)
    (bare / "python3").symlink_to(sys.executable)
    half_made(checkout, "echo called >> pip-calls")
    camera = checkout / "tools/virtual_camera"
    camera.mkdir()
    (camera / "Makefile").write_text("all:\n\t@:\n.PHONY: all\n")
    first, second = make(), make()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert (checkout / "pip-calls").read_text() == "called\n"
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# another dependency\n")
    assert make().returncode == 0
    assert (checkout / "pip-calls").read_text() == "called\ncalled\n"


def test_a_camera_that_does_not_compile(make: Make, bare: Path, checkout: Path) -> None:
    with_compiler(bare)
    (bare / "python3").symlink_to(sys.executable)
    half_made(checkout, "exit 0")
    camera = checkout / "tools/virtual_camera"
    camera.mkdir()
    (camera / "Makefile").write_text("all:\n\t@echo 'gentl.c:1: error: no such thing' >&2; exit 1\n.PHONY: all\n")
    told = sentence(make())
    assert "the virtual camera can't be compiled: gentl.c:1: error: no such thing" in told


TARGETS = ["demo", "test", "bench", "chaos", "tiles", "coverage", "lint", "screens", "asan", "wheelhouse", "clean"]


@pytest.mark.parametrize("target", ["", "help"])
def test_help_names_the_targets(checkout: Path, target: str) -> None:
    environment: Mapping[str, str] = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["make", *target.split()], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    for name in TARGETS:
        assert f"  make {name} " in done.stdout
