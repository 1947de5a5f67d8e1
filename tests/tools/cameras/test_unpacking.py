"""The short form measures every packed format; how fast it is here and now is no matter of a test."""

from __future__ import annotations

import pytest

from tools.cameras.unpacking import main


def test_every_packed_format_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--short"])
    told = capsys.readouterr().out
    for name in ("Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed"):
        assert f"| {name} |" in told, told
