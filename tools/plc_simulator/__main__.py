"""``python -m tools.plc_simulator``: runs a line against a station and keeps its own book of it."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tools.plc_simulator import books
from tools.plc_simulator.book import Book, Row
from tools.plc_simulator.ears import JsonEar
from tools.plc_simulator.host import Host
from tools.plc_simulator.line import Line, NotReady, Settings
from tools.plc_simulator.mischief import Mischief, Rates
from tools.plc_simulator.pictures import Order, PictureError, Pictures
from tools.plc_simulator.records import Records
from tools.plc_simulator.wire import Wire
from tools.plc_simulator.witness import Witness
from tools.virtual_camera.control import CameraControl

QUIET_S = 2.0  # no record for so long: none is on its way
EXPORT_LIMIT_S = 600


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 books consistent, no bad part passed, no word broken; 1 otherwise; 2 wrong use."""
    options = _parser().parse_args(arguments)
    book = Book()
    order = Order(options.parts, options.seed, options.defect_rate, options.pictures, options.truth)
    try:
        lens = CameraControl.open(options.control)
    except (OSError, ValueError) as error:
        print(f"plc_simulator: --control {options.control}: {error}", file=sys.stderr)
        return 2
    try:
        pictures = Pictures(order)
    except PictureError as error:
        print(f"plc_simulator: {error}", file=sys.stderr)
        return 2
    host, port = options.broker
    wire = Wire(host, port, f"vis/v1/{options.line}/{options.station}")
    show = (lambda _row: None) if options.quiet else _print_row
    witness = Witness(options.tolerance_ms, options.approve)
    line = Line(_settings(options), wire, lens, pictures, book, show, witness, options.approve)

    mischief = _mischief(options, wire, line)

    def stop(*_: Any) -> None:
        line.halt = line.stop
        line.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    trouble = ""
    records = Records(host, port, wire.base, options.records) if options.records else None
    scada = Host(host, port, options.host) if options.host else None
    try:
        line.run()
        if records is not None or scada is not None:
            _drain(line, records, scada, options.drain_s)
    except (NotReady, PictureError) as error:
        trouble = str(error)
        print(f"plc_simulator: {trouble}", file=sys.stderr)
    finally:
        book.extra["trouble"] = trouble
        if mischief is not None:
            book.extra["mischief"] = mischief.summary()
        if scada is not None:
            scada.compare(witness.by_seq)
            scada.close()
            book.extra["sparkplug"] = scada.summary()
        if records is not None:
            book.extra["records"] = records.summary()
            book.records = records.by_seq
            records.close()
        book.write(options.book)
        wire.close()
        pictures.close()
        lens.close()
    print(book.text())
    print(f"Book: {options.book}", flush=True)
    texts = [*witness.texts, *(f"record: {text}" for text in (records.texts if records else ()))]
    texts += [f"sparkplug: {text}" for text in (scada.texts if scada else ())]
    for text in texts[:20]:
        print(f"  fault: {text}"[:200])
    faults = witness.faults.total() + sum(one.faults.total() for one in (records, scada) if one)
    if options.ledger_csv is not None:
        faults += _compare(options)
    return 0 if book.consistent and book.dangerous_count == 0 and not trouble and not faults else 1


def _mischief(options: argparse.Namespace, wire: Wire, line: Line) -> Mischief | None:
    rates = Rates(options.mischief, options.change_every, options.golden_every, tuple(options.recipes))
    if not (rates.any_hz or rates.change_every_s or rates.golden_every_s) or not isinstance(line.ear, JsonEar):
        return None
    mischief = Mischief(rates, wire, line.watch, line.witness, line.run_id, options.seed)
    line.ear.listeners.append(mischief.heard)
    line.extras.append(mischief)
    return mischief


def _drain(line: Line, records: Records | None, scada: Host | None, limit_s: float) -> None:
    """Until records and SCADA have come as far as the results and nothing more comes."""
    witness, end = line.witness, time.monotonic() + limit_s
    while time.monotonic() < end and not line.halt:
        line.listen(0.5)
        behind = records is not None and (
            records.highest < witness.highest or time.monotonic() - records.last_came < QUIET_S
        )
        if not behind and not (scada is not None and scada.missing(witness.by_seq)):
            return


def _compare(options: argparse.Namespace) -> int:
    """Number of differences between the books; 1 when they can't be read."""
    try:
        if options.export:
            subprocess.run(shlex.split(options.export), check=True, timeout=EXPORT_LIMIT_S, stdin=subprocess.DEVNULL)
        book = json.loads(options.book.read_text(encoding="utf-8"))
        found = books.compare(book, books.read_ledger(options.ledger_csv))
    except (OSError, ValueError, subprocess.SubprocessError, books.UnreadableBooks) as error:
        print(f"plc_simulator: --ledger-csv: {error}", file=sys.stderr)
        return 1
    print(found.text())
    return len(found.differences)


def _settings(options: argparse.Namespace) -> Settings:
    gate_mm = options.gate_mm if options.gate_mm is not None else options.belt_mm_s * options.gate_ms / 1000
    return Settings(
        options.rate,
        options.deadline_ms,
        options.mode,
        options.device,
        options.ready_wait_s,
        gate_mm,
        options.belt_mm_s,
        options.steps_per_mm,
        options.vary_speed,
        options.stop_belt,
        options.stand or options.wire == "binary",
        options.wire,
        options.seed,
    )


def _print_row(row: Row) -> None:
    truth = "good" if row.good else row.defect or "bad"
    latency = f"{row.latency_ms:6.0f} ms" if row.latency_ms is not None else "        -"
    verdict = f"{row.verdict or '-'} {row.code or ''}".strip()
    why = "" if row.by == "verdict" else row.why.replace("_", " ")
    print(
        f"{row.part_id}  {truth:13.13} {verdict:19.19}{latency}  {row.decision:7}{why}"[:80].rstrip(),
        flush=True,
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: HOST:PORT")
    return host, int(port)


def _number(low: float, high: float, kind: type[Any] = float) -> Any:
    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {low:g} to {high:g}")
        return value

    return convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.plc_simulator", description=__doc__)
    add = parser.add_argument
    add("--broker", type=_address, default=("127.0.0.1", 1883), metavar="HOST:PORT")
    add("--line", default="demo", help="line's id in the topics")
    add("--station", default="top", help="station's id in the topics")
    add("--parts", type=_number(0, 2**31 - 1, int), default=0, help="how many; 0: until stopped")
    add("--rate", type=_number(0.01, 1000), default=4.0, help="parts a second")
    add("--control", type=Path, required=True, help="control file of the virtual camera")
    add("--device", type=_number(0, 3, int), default=0, help="number of the virtual camera")
    add("--seed", type=_number(0, 2**31 - 1, int), default=1)
    add("--defect-rate", type=_number(0, 1), default=0.3, help="share of bad parts")
    add("--deadline-ms", type=_number(50, 10000, int), default=1000)
    add("--gate-ms", type=_number(50, 60000, int), default=1500, help="camera to gate at the usual speed")
    add("--gate-mm", type=_number(1, 100000), default=None, help="the same in mm; else --gate-ms says it")
    add("--belt-mm-s", type=_number(1, 10000), default=100.0, help="the belt's usual speed")
    add("--steps-per-mm", type=_number(0.1, 10000), default=20.0, help="of the belt's encoder")
    add("--vary-speed", type=_number(0, 0.9), default=0.0, metavar="SHARE", help="most change of speed, at random")
    add("--stop-belt", type=_number(0, 86400), default=0.0, metavar="S", help="mean time between stops; 0: none")
    add("--stand", action="store_true", help="a part stands before the camera until its result, or the timer")
    add("--wire", choices=("json", "text", "binary"), default="json", help="text, binary: as a PLC without JSON")
    add("--mischief", type=_number(0, 100), default=0.0, metavar="RATE", help="other commands a second, right or wrong")
    add("--change-every", type=_number(0, 86400), default=0.0, metavar="S", help="seconds between recipe changes")
    add("--golden-every", type=_number(0, 86400), default=0.0, metavar="S", help="seconds between golden parts")
    add("--recipes", type=int, nargs=2, default=(1, 2), metavar="N", help="the recipes to change between")
    add("--tolerance-ms", type=_number(0, 60000, int), default=500, help="an answer that much too late is late")
    add("--records", default="", metavar="CLIENT", help="hear the records too, with this client id and a kept session")
    add("--host", default="", metavar="NAME", help="be a Sparkplug host application of that name as well")
    add("--drain-s", type=_number(0, 3600), default=30.0, help="most time for records that are still to come")
    add("--ledger-csv", type=Path, metavar="FILE", help="compare the books with the station's export at the end")
    add("--export", metavar="COMMAND", help="makes that file first")
    add("--approve", default="", metavar="CFG", help="reject what another configuration judged (8 hex digits)")
    add("--mode", choices=("command", "announced", "counted"), default="command", help="the station's `identity`")
    add("--ready-wait-s", type=_number(0, 600), default=60.0, help="limit for the station to be ready")
    add("--book", type=Path, required=True, help="file for the PLC's book (JSON)")
    add("--pictures", metavar="DIR", help="show these instead of rendered parts")
    add("--truth", metavar="FILE.csv", help="list of the pictures: file,good[,defect]")
    add("--quiet", action="store_true", help="no line for each part")
    return parser


if __name__ == "__main__":
    sys.exit(main())
