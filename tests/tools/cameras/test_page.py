from __future__ import annotations

from pathlib import Path

from tools.cameras.page import replace_section


def test_a_section_replaces_its_own_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "cameras.md"
    replace_section("viky", "old", page)
    replace_section("cycles", "first", page)
    replace_section("viky", "new\n", page)
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.index("new\n<!-- /viky -->") < text.index("first\n<!-- /cycles -->")
    assert text.count("# Cameras: the proofs") == 1 and "`make cycles`" in text
