"""docs/evidence/plc.md: each proof writes its own section, with its command, its date and the machine."""

from __future__ import annotations

from pathlib import Path

from tools.evidence import FOLDER, Page

PAGE = Page(
    FOLDER / "plc.md",
    "The PLC link and the books: the proofs",
    {
        "storm": "30 minutes of everything at once",
        "outage": "10 minutes without a broker",
        "kills": "1,000 times kill -9",
        "powercuts": "2,000 simulated power cuts",
        "fulldisk": "A disk that is full, in three sizes",
        "latency": "From the trigger's message to the result's",
        "fuzz": "100,000 malformed payloads on every command topic",
        "search": "One part among 1,000,000",
    },
)


def replace_section(name: str, text: str, page: Path | None = None) -> None:
    """Put ``text`` (markdown, without its heading) in the place of the section's old one."""
    PAGE.replace(name, text, page)
