"""docs/evidence/cameras.md: each proof writes its own section, with its command, its date and the machine."""

from __future__ import annotations

from pathlib import Path

from tools.evidence import FOLDER, Page

PAGE = Page(
    FOLDER / "cameras.md",
    "Cameras: the proofs",
    {
        "identity": "Whose picture is it? 100,000 parts in each identity mode",
        "faults": "Every fault, both kinds of producer",
        "cycles": "500 times the cable out and in",
        "pace": "Two cameras of 5 MP, 20 parts a second each",
        "unpacking": "Packed pixels",
        "viky": "Somebody else's producer",
    },
)


def replace_section(name: str, text: str, page: Path | None = None) -> None:
    """Put ``text`` (markdown, without its heading) in the place of the section's old one."""
    PAGE.replace(name, text, page)
