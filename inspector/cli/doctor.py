"""``inspector doctor``: what a real station still lacks, and the command that mends each."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from inspector.cli.diagnosis import Finding, broker, cameras, files, gpu, machine, memory, transport

WIDTH = 80  # columns
STATION = Path("/etc/inspector/firmware_config/station.yaml")


def doctor(
    station: Annotated[Path, typer.Option("--station", help="The station file.")] = STATION,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name every missing piece of a real station and the command that mends it. Exit status 1: something is missing."""
    findings = examine(station)
    missing = any(finding.level == "MISSING" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": not missing, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        typer.echo(table(findings))
    raise typer.Exit(1 if missing else 0)


def examine(station: Path, root: Path = Path("/")) -> list[Finding]:
    """Everything the doctor finds. ``root``: where /etc, /proc, /run and /sys are looked for."""
    config, found = files.station_file(station)
    there = None
    if config is not None:
        found += files.recipe_files(config)
        probes = cameras.look(config, root)
        found += cameras.cameras(config, probes)
        there = cameras.devices(config, probes)
        found += broker.brokers(config)
    found += transport.network(root, there)
    found += transport.usb(root, there)
    if config is not None:
        found += memory.rings(config, root)
        found += machine.disk(config, root)
        found += machine.service(config, root)
        found += gpu.gpu(config, root)
    return found + memory.processor(root) + machine.clock(root)


def table(findings: Sequence[Finding]) -> str:
    """Aligned lines of 80 columns; under each that is not ok, what mends it: on one line, to be copied."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        head, indent = f"{finding.level:<7}  {finding.what:<{width}}  ", " " * (width + 11)
        for line in finding.found.splitlines() or [""]:
            told = textwrap.fill(
                line, WIDTH, initial_indent=head, subsequent_indent=indent,
                break_on_hyphens=False, break_long_words=False,
            )  # fmt: skip
            lines.append(told or head.rstrip())
            head = indent
        if finding.fix:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.fix}")
    counts = {level: sum(f.level == level for f in findings) for level in ("MISSING", "warn")}
    if counts["MISSING"]:
        lines.append(f"\n{counts['MISSING']} missing, {counts['warn']} to be looked at")
    else:
        lines.append(f"\nnothing is missing, {counts['warn']} to be looked at")
    return "\n".join(lines)
