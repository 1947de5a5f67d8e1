"""Pages of evidence: each proof writes its own section, with its command, its date and the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tools.benchmarks.machine import describe

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "evidence"


@dataclass(frozen=True)
class Page:
    """A page in docs/evidence: its first heading, and the heading of each section by the name of its make target."""

    path: Path
    heading: str
    titles: dict[str, str]

    def replace(self, name: str, text: str, path: Path | None = None) -> None:
        """Put ``text`` (markdown, without its heading) in the place of the section's old one."""
        page = path or self.path
        head = f"{datetime.now(timezone.utc):%Y-%m-%d}, `make {name}`, {describe()}."
        new = f"<!-- {name} -->\n## {self.titles[name]}\n{head}\n\n{text.strip()}\n<!-- /{name} -->"
        old = page.read_text(encoding="utf-8") if page.is_file() else f"# {self.heading}\n"
        pattern = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.S)
        made = pattern.sub(lambda _: new, old) if pattern.search(old) else f"{old.rstrip()}\n\n{new}\n"
        page.write_text(made, encoding="utf-8")
