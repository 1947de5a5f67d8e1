"""``inspector results`` as it is typed, on a ledger whose station does not run."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from inspector.cli.results import app
from inspector.parts import Check, CheckOutcome
from inspector.station.digest import canonical
from inspector.station.ledger import exporting, story
from tests.station.ledgerrig import golden, measured, opened
from tests.station.test_ledger import TAG, doubtful, passed, trigger

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "ab" * 32
Results = Callable[..., Result]


SAYS: dict[str, Any] = {
    "recipe": 1, "rev": 2, "name": "Plate", "calibration": "cal/top.yaml@sha256:eeee",
    "locate": {"body": {"tool": "template"}},
    "measure": {"bore": {"tool": "diameter", "expect": "6.00 ±0.06 mm", "fail": "1110 Bore out of size"}},
}  # fmt: skip


def configuration(software: dict[str, str] | None = None, cameras: Any = None, **recipe: Any) -> str:
    """As the station keeps it."""
    artefacts = {"cal/top.yaml": "e" * 64, "mark.png": "a" * 64, "models/seams": "d" * 64}
    of_recipe = {
        "number": 1, "rev": 2, "name": "Plate", "sha": "c" * 64, "backend": "cpu", "models": {"seams": "d" * 64},
        "artefacts": artefacts, "says": SAYS,
    }  # fmt: skip
    of_software = {"inspector": "0.2.0", "code": "f" * 64, "numpy": "2.0"}
    seen = cameras or {"top": {"serial": "A"}}
    return canonical({"recipe": of_recipe | recipe, "cameras": seen, "software": of_software | (software or {})})


@pytest.fixture
async def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Eight parts: A1 twice, a golden one, one with a late word, one that is open, one with an odd name."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    tag = replace(TAG, config=CONFIG)
    with opened(tmp_path / "ledger.db") as ledger:
        await ledger.configuration(CONFIG, configuration())
        first, again, late, odd = (ledger.begin(trigger(name, f"c{name}"), tag) for name in ("A1", "A1", "B", 'x,"\ny'))
        await ledger.close(replace(passed(first), checks=(Check("lid", CheckOutcome.PASS, found="ABC"),)), 10)
        await ledger.outbox_done([1])
        await ledger.picture(first.seq, "/pictures/1.png")
        await ledger.close(measured(again), 20)
        await ledger.close(doubtful(late), 300)
        await ledger.late(passed(late), 411)
        await ledger.close(passed(odd), 5)
        part = golden(ledger)
        await ledger.found(measured(part))
        await ledger.close(doubtful(part), 20)
        await ledger.accept(ledger.begin(trigger("open"), tag))
        await ledger.alarm("camera:top", "came", "Camera lost: check power and cable, and then whatever else there is")
        await ledger.audit("plc", "stop")

    def run(*arguments: Any) -> Result:
        station = ["--station", str(ROOT / "firmware_config" / "station.yaml")]
        result = CliRunner().invoke(app, [*map(str, arguments), *station], catch_exceptions=False)
        lines = result.output.splitlines() if arguments[0] != "export" else ()
        assert all(len(line) <= 80 for line in lines if not line.startswith("{"))
        return result

    return run


def test_the_story_of_a_part_has_everything_in_it_attempt_by_attempt(results: Results) -> None:
    text = results("show", "A1").output
    one, two = text.split("part A1, attempt 2, seq 2")
    assert "part A1, attempt 1, seq 1" in one and "command cA1" in one and "PASS 0 after 10 ms: Good" in one
    assert "record is the broker's" in one and "/pictures/1.png" in one and "ABC" in one
    assert "recipe     1 rev 2 (Lid), sha aaaaaaaaaaaa" in one
    assert "configured abababab, first seen 20" in one and "             recipe  1 rev 2 Plate\n" in one
    assert "models  seams dddddddddddd, run by cpu" in one and "calibration  cal/top.yaml eeeeeeeeeeee\n" in one
    assert "software  inspector 0.2.0, code ffffffffffff, numpy 2.0" in one and "bore" not in one
    full = results("show", "A1", "--full").output
    assert "recipe.sha  cccccccccccc\n" in full and "recipe.says.measure.bore.expect  6.00 ±0.06 mm\n" in full
    assert "camera:top: Camera lost" in one
    assert "FAIL 1001 after 20 ms: Too wide" in two and "record waits for the broker" in two and "not kept" in two
    assert "FAIL width 12.4 mm (nominal 11.5, allowed 11..12 mm) 1001 Too wide" in " ".join(two.split())
    assert "12.3 ms judged" in two and "score      0.4" in two
    assert "late word  PASS 0 (Good) after 411 ms, record waits for the broker" in results("show", "B").output
    assert "golden part expected PASS, found FAIL 1001 (Too wide)" in results("show", "G").output
    assert "still open" in results("show", "open").output
    (first, second) = [json.loads(line) for line in results("show", "A1", "--json").output.splitlines()]
    assert (first["record_waits"], second["record_waits"]) == (False, True)
    assert second["verdict"]["checks"][0]["upper"] == 12.0 and first["configuration"]["recipe"]["number"] == 1
    none = results("show", "nobody")
    assert none.exit_code == 1 and "there is no part nobody" in none.output


def test_list_count_alarms_and_changes(results: Results) -> None:
    listed = results("list", "--outcome", "fail").output
    assert "A1" in listed and listed.count("\n") == 2
    assert [json.loads(line)["seq"] for line in results("list", "--json", "--limit", 2).output.splitlines()] == [6, 5]
    assert results("list", "--outcome", "maybe").exit_code == 2
    assert "golden                  1   recount          1" in results("count").output
    assert "Camera lost" in results("alarms").output
    told = results("changes")
    assert told.exit_code == 0 and "- -> abababab" in told.output and "recipe  1 rev 2 Plate" in told.output
    assert "plc          stop" in told.output and "the chain is whole" in told.output


async def test_changes_tell_limits_old_and_new_by_check_and_field(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {
        "locate": {"body": {"tool": "template", "min_score": 0.6}},
        "measure": {"bore": {"tool": "diameter", "expect": "6.00 ±0.05 mm", "fail": "1110 Bore out of size"}},
    }
    tight = configuration(rev=3, sha="1" * 64, says={**SAYS, **steps, "rev": 3, "verdict": {"within": "250 ms"}})
    by_code = {"recipe": 2, "read": {"code": {"tool": "code"}}}
    other = configuration(cameras={"side": {"serial": "B"}}, number=2, rev=1, name="Tile", says=by_code)
    slot = {"slot": {"tool": "caliper", "expect": "4.00 ±0.08 mm"}}
    says = {**SAYS, "locate": steps["locate"], "measure": slot}
    edited = configuration(cameras={"top": {"serial": "A2"}}, rev=4, says=says)
    with opened(tmp_path / "ledger.db") as ledger:
        for digest, content in (("1" * 64, tight), ("2" * 64, other), ("3" * 64, edited), ("4" * 64, edited)):
            if digest[0] == "4":
                content = configuration(rev=4, says={}, software={"inspector": "0.3.0"})
            await ledger.configuration(digest, content, "plc:c1")
    rows = results("changes").output.split("plc:c1")[1:]
    one, two, three, four = (" ".join(row.split()) for row in rows)
    assert "configuration abababab -> 11111111" in one
    assert "measure bore: expect 6.00 ±0.06 mm -> 6.00 ±0.05 mm" in one
    assert "locate body: min_score - -> 0.6" in one and "recipe: verdict.within - -> 250 ms" in one
    assert one.count("2 -> 3") == 1 and "recipe.rev: 2 -> 3" in one and "recipe.sha: cccccccccccc -> 1111" in one
    assert "fail" not in one and "software" not in one  # the same as before
    assert "recipe: 1 rev 3 Plate -> 2 rev 1 Tile" in two
    assert "code" not in two and "side" not in two  # it has not judged before
    assert "recipe: 2 rev 1 Tile -> 1 rev 4 Plate recipe 1 is not what it was when it judged before:" in three
    assert "measure slot: new (tool caliper, expect 4.00 ±0.08 mm)" in three
    assert "measure bore: gone (tool diameter, expect 6.00 ±0.05 mm, fail 1110 Bore out of size)" in three
    assert "cameras.top.serial: A -> A2" in three and "side" not in three
    assert "verdict.within 250 ms -> -" in three and "measure slot: tool" not in three
    # of another time, when what the recipe said was not kept
    assert "software.inspector: 0.2.0 -> 0.3.0" in four and "slot" not in four and "the chain is whole" in four
    newest = results("changes", "--limit", 1).output
    assert "software.inspector: 0.2.0 -> 0.3.0" in newest and "recipe  1" not in newest
    monkeypatch.setattr(story, "RECIPES_BACK", 1)
    assert "is not what it was" not in results("changes", "--limit", 2).output


def test_changes_and_counts_that_were_touched_are_an_error(results: Results, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.executescript("DROP TRIGGER audit_stays; UPDATE audit SET who = 'x' WHERE n = 2")
        connection.execute("UPDATE counter SET value = 9 WHERE name = 'PASS'")
    connection.close()
    told = results("changes")
    assert told.exit_code == 1 and "row 2 was changed after it was written" in told.output
    assert results("count").exit_code == 1


def test_csv_of_everything(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 2)  # many pieces
    out = tmp_path / "out.csv"
    assert "6 parts written" in results("export", "--out", out).output.replace("\n", " ")
    data = out.read_bytes()
    assert data.startswith(b"seq,part_id,cmd_id,attempt,outcome,code,") and data.count(b"\r\n") == 7
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["seq"]) for r in rows] == [1, 2, 3, 4, 5, 6] and rows[3]["part_id"] == 'x,"\ny'
    assert (rows[1]["t_ms"], rows[1]["score"], rows[1]["config"]) == ("20", "0.4", CONFIG)
    assert (rows[2]["late_outcome"], rows[2]["late_t_ms"]) == ("PASS", "411")
    assert (rows[4]["golden"], rows[4]["golden_found"], rows[5]["outcome"]) == ("PASS", "FAIL", "")
    assert results("export", "--out", out, "--what", "checks").exit_code == 0
    with out.open(encoding="utf-8", newline="") as file:
        checks = list(csv.DictReader(file))
    assert [(c["seq"], c["step"]) for c in checks] == [("1", "lid"), ("2", "width"), ("4", "lid")]
    assert (checks[1]["value"], checks[1]["unit"], checks[1]["upper"]) == ("12.4", "mm", "12.0")
    for what, count in (("alarms", 1), ("changes", 2)):
        assert results("export", "--out", out, "--what", what).exit_code == 0
        assert out.read_bytes().count(b"\r\n") == 1 + count
    for limit, count in ((("--since", "2020-01-01"), 6), (("--until", "2020-01-01T12:00:00+02:00"), 0)):
        assert f"{count} parts" in results("export", "--out", out, *limit).output
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.suffix) == []


def test_parquet_has_types_and_the_same_rows(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from inspector.station.ledger import parquet as sink

    monkeypatch.setattr(sink, "GROUP", 4)
    monkeypatch.setattr(exporting, "AT_ONCE", 2)
    out = tmp_path / "out.parquet"
    assert results("export", "--format", "parquet", "--out", out).exit_code == 0
    table = parquet.read_table(out)
    assert table.num_rows == 6 and str(table.schema.field("seq").type) == "int64"
    assert str(table.schema.field("sim").type) == "bool" and table["outcome"].to_pylist()[-1] is None
    assert table["part_id"].to_pylist()[3] == 'x,"\ny'
    assert parquet.ParquetFile(out).num_row_groups == 2
    assert (
        results("export", "--format", "parquet", "--what", "changes", "--until", "2020-01-01", "--out", out).exit_code
        == 0
    )
    assert parquet.read_table(out).num_rows == 0


def test_what_an_export_refuses_is_one_sentence(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kept.csv"
    out.write_text("of yesterday")
    for arguments, said in (
        (("--format", "xls"), "--format: found xls, allowed: csv, parquet"),
        (("--what", "pictures"), "--what: found pictures, allowed: parts, checks, alarms, changes"),
        (("--since", "never"), "--since: found never"),
    ):
        refused = results("export", "--out", out, *arguments)
        assert refused.exit_code == 2 and said in refused.output
    nowhere = results("export", "--out", tmp_path / "none" / "x.csv")
    assert nowhere.exit_code == 1 and "No such file" in nowhere.output
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "inspector.station.ledger.parquet", raising=False)
    missing = results("export", "--format", "parquet", "--out", out)
    assert missing.exit_code == 1 and "pip install 'inspector[export]'" in missing.output
    (tmp_path / "ledger.db").write_bytes(b"no ledger" * 1000)
    assert results("export", "--out", out).exit_code == 1
    assert out.read_text() == "of yesterday" and not list(tmp_path.glob("*.part"))
