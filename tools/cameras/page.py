"""docs/evidence/cameras.md: each proof writes its own section, with its command, its date and the machine."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

from tools.benchmarks.machine import describe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "cameras.md"
TITLES = {
    "identity": "Whose picture is it? 100,000 parts in each identity mode",
    "faults": "Every fault, both kinds of producer",
    "cycles": "500 times the cable out and in",
    "pace": "Two cameras of 5 MP, 20 parts a second each",
    "unpacking": "Packed pixels",
    "viky": "Somebody else's producer",
}


def replace_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put ``text`` (markdown, without its heading) in the place of the section's old one."""
    head = f"{datetime.now(timezone.utc):%Y-%m-%d}, `make {name}`, {describe()}."
    new = f"<!-- {name} -->\n## {TITLES[name]}\n{head}\n\n{text.strip()}\n<!-- /{name} -->"
    old = page.read_text(encoding="utf-8") if page.is_file() else "# Cameras: the proofs\n"
    pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.S)
    made = pattern.sub(lambda _: new, old) if pattern.search(old) else f"{old.rstrip()}\n\n{new}\n"
    page.write_text(made, encoding="utf-8")
