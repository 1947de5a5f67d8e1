"""What must not get into the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

import inspector

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 4 * 1024 * 1024
# written so that this file does not hold what it looks for
FORBIDDEN = {
    "an absolute path of somebody's machine": r"(?<![\w.$}])/(?:work|root|home)/\w",
    "a package registry's address": r"(?:pypi|test\.pypi|files\.pythonhosted)\.(?:org|python\.org)|registry\.npmjs",
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY",
    "an access token": r"\b(?:ghp|gho|ghs|glpat|github_pat)[_-][A-Za-z0-9_]{20}|\bAKIA[0-9A-Z]{16}\b|\bxox[bp]-[0-9]",
    "a password in an address": r"\b[a-z]+://[^/\s:@{}]+:[^/\s:@{}]+@",
}


@cache
def tracked() -> tuple[Path, ...]:
    """Files that git keeps; skips the test outside of a checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    return tuple(path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found.append((str(path.relative_to(ROOT)), content.decode("utf-8", "replace")))
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}"
        for name, text in texts()
        for hit in pattern.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("an absolute path of somebody's machine", "x = '/" + "home/anna/x.png'"),
        ("a package registry's address", "https://" + "pypi." + "org/simple"),
        ("a private key", "-----BEGIN " + "RSA PRIVATE KEY-----"),
        ("an access token", "ghp_" + "a" * 36),
        ("a password in an address", "mqtt://" + "user:secret@broker"),
    ],
)
def test_it_would_be_seen(what: str, text: str) -> None:
    assert re.search(FORBIDDEN[what], text)


def test_no_file_is_large() -> None:
    large = [f"{path.relative_to(ROOT)}: {size}" for path in tracked() if (size := path.stat().st_size) >= LIMIT_BYTES]
    assert large == []


def test_nothing_built_is_kept() -> None:
    suffixes = (".pyc", ".cti", ".so", ".o", ".engine", ".plan")
    built = [str(path.relative_to(ROOT)) for path in tracked() if path.suffix in suffixes]
    assert built == []


def test_the_version_is_one() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.*)"$', text, re.MULTILINE)
    assert found and found.group(1) == inspector.__version__
    assert f"## {inspector.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_target_of_the_makefile_runs_something_that_is_there() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for module in re.findall(r"-m (tools[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for target in re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split():  # type: ignore[union-attr]
        assert re.search(rf"^{target}: ## ", text, re.MULTILINE), f"{target} has no line in `make help`"
    for page in (path for path in tracked() if path.suffix == ".md" and path.is_file()):
        for target in re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}: ## ", text, re.MULTILINE), f"{page.name} names `make {target}`"
