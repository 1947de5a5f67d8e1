from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.recipe.check import read_spec
from inspector.recipe.load import load_recipe
from inspector.yamlfile import FileError
from tests.recipe.recipes import good, write


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(FileError) as caught:
        load_recipe(path, backend="cpu")
    return caught.value.problems


def change(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(recipe: dict[str, Any]) -> None:
        node = recipe
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        if to is None:
            del node[keys[-1]]
        else:
            node[keys[-1]] = to

    return apply


DOT = ("measure", "dot")
BAD: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("no number", change("recipe", to=None), "recipe: missing, and it is needed"),
    ("number 0", change("recipe", to=0), "recipe: found 0, allowed: "),
    ("number 10000", change("recipe", to=10000), "recipe: found 10000"),
    ("number as text", change("recipe", to="seven"), "recipe: found 'seven'"),
    ("unknown key", change("colour", to="red"), "colour: unknown key"),
    ("section is a list", change("measure", to=[1]), "measure: found [1]"),
    ("section is empty", change("measure", to=""), "measure: found ''"),
    ("step is a number", change(*DOT, to=5), "measure.dot: found 5, allowed: a step"),
    ("step name", change("measure", "Dot 1", to={"tool": "diameter"}), "found 'Dot 1', allowed: a-z"),
    ("no tool", change(*DOT, "tool", to=None), "measure.dot: tool: missing, allowed: caliper, diameter, distance"),
    ("unknown tool", change(*DOT, "tool", to="diametr"), "measure.dot.tool: found 'diametr', allowed: caliper"),
    ("unknown key of a tool", change(*DOT, "serach", to=[1, 2]), "measure.dot.serach: unknown key"),
    ("missing key of a tool", change(*DOT, "at", to=None), "measure.dot.at: missing"),
    ("point of three", change(*DOT, "at", to=[1, 2, 3]), "measure.dot.at: found [1, 2, 3]"),
    ("no finite number", change(*DOT, "at", to=[float("nan"), 2]), "measure.dot.at.0: found nan, allowed: a finite"),
    ("unprintable words", change(*DOT, "fail", to="1110 \x1b[2J"), "measure.dot.fail: found"),
    ("not a number", change(*DOT, "at", to=["a", 2]), "measure.dot.at.0: found 'a'"),
    ("tolerance", change(*DOT, "expect", to="about 6 mm"), "measure.dot.expect: found 'about 6 mm': not a tolerance"),
    ("tolerance as number", change(*DOT, "expect", to=6), "measure.dot.expect: found 6: not a tolerance"),
    ("limits turned", change(*DOT, "expect", to="3 to 2 mm"), "the lower limit is above the upper"),
    (
        "no unit",
        change(*DOT, "expect", to="1.80 ±0.1"),
        "measure.dot.expect: found '1.80 ±0.1' without a unit, allowed: mm",
    ),
    ("wrong unit", change(*DOT, "expect", to="1.80 ±0.1 deg"), "found '1.80 ±0.1 deg', allowed: mm"),
    ("px in a mm recipe", change(*DOT, "expect", to="1.80 ±0.1 px"), "found '1.80 ±0.1 px', allowed: mm"),
    ("mm without calibration", change("calibration", to=None), "but the recipe has no calibration; allowed: px"),
    (
        "code too small",
        change(*DOT, "fail", to="999 Dot"),
        "measure.dot.fail: found '999 Dot': allowed is a code 1000-9999",
    ),
    ("code without words", change(*DOT, "fail", to="1110"), "measure.dot.fail: found '1110'"),
    ("code as number", change(*DOT, "fail", to=1110), "measure.dot.fail: found 1110"),
    ("code twice", change(*DOT, "fail", to="1111 Dot"), "found 1111, already used by dot; allowed: each code once"),
    ("first of no code", change("verdict", "first", to=[1999]), "verdict.first.0: found 1999, allowed: 1010, 1110"),
    ("deadline too short", change("verdict", "within", to="20 ms"), "verdict.within: found '20 ms': allowed is 50 ms"),
    ("deadline too long", change("verdict", "within", to="11 s"), "verdict.within: found '11 s'"),
    ("deadline without unit", change("verdict", "within", to=200), "verdict.within: found 200: allowed is a number"),
    ("missing", change("verdict", "missing", to="pass"), "verdict.missing: found 'pass', allowed: 'reject' or"),
    ("stop line", change("verdict", "stop_line", to="often"), "verdict.stop_line: found 'often': allowed is 2 to 100"),
    ("keep", change("verdict", "keep", to={"pass": "some"}), "verdict.keep.pass: found 'some': allowed: all, none"),
    ("fixture of nowhere", change(*DOT, "fixture", to="bdy"), "found 'bdy', which is no step of locate; allowed: body"),
    ("fixture hint", change(*DOT, "fixture", to="bodi"), "(did you mean body?)"),
    ("fixture of another section", change(*DOT, "fixture", to="leg"), "found 'leg', which is not an earlier step"),
    (
        "later step",
        change("measure", "a", to={**good()["measure"]["apart"], "between": ["dot", "z"], "fail": "1190 A"}),
        "measure.a.between: found 'z', which is no step",
    ),
    ("picture of nowhere", change(*DOT, "picture", to="soft"), "measure.dot.picture: found 'soft', which is no step"),
    (
        "camera of nowhere",
        change(*DOT, "camera", to="side"),
        "measure.dot.camera: found 'side', allowed: no camera key",
    ),
    (
        "two cameras, none named",
        change("cameras", to={"top": {}, "side": {}}),
        "measure.dot: camera: missing, allowed:",
    ),
    ("camera name", change("cameras", to={"Top!": {}}), "cameras.Top!"),
    ("no template", change("locate", "body", "image", to="gone.png"), "locate.body.image: found 'gone.png':"),
    ("template elsewhere", change("locate", "body", "image", to="../mark.png"), "allowed: a file below"),
    (
        "template of another digest",
        change("locate", "body", "image", to="mark.png@sha256:" + "0" * 12),
        "but the file's digest is sha256:",
    ),
    ("short digest", change("locate", "body", "image", to="mark.png@sha256:abc"), "12 to 64 digits"),
    ("template is no picture", change("locate", "body", "image", to="scale.yaml"), "not a picture that can be read"),
    ("no calibration file", change("calibration", to="gone.yaml"), "calibration: found 'gone.yaml':"),
    (
        "no model",
        change("defects", "face", to={"tool": "segment", "model": "gone", "reject": {"x": "ignore"}}),
        "defects.face.model: found 'gone':",
    ),
    (
        "label without limits",
        change(
            "defects",
            "spots",
            to={
                "tool": "blob",
                "region": [0, 0, 1, 1],
                "find": "both",
                "contrast": 20,
                "background": 2,
                "least_area": 0.1,
                "reject": {"dark": "ignore", "blue": "ignore"},
            },
        ),
        "defects.spots.reject: no limits for bright",
    ),
    (
        "area in mm",
        change(
            "defects",
            "spots",
            to={
                "tool": "blob",
                "region": [0, 0, 1, 1],
                "contrast": 20,
                "background": 2,
                "least_area": 0.1,
                "reject": {"dark": {"area": "3 px2", "fail": "1220 Spot"}},
            },
        ),
        "defects.spots.reject.dark.area: found '3 px2', allowed: mm2",
    ),
]


def test_the_recipe_they_all_start_from_is_good(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, good()))
    assert (recipe.number, recipe.rev, recipe.name, recipe.deadline_ms) == (7, 1, "Test part", 200)


@pytest.mark.parametrize(("spoil", "said"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_each_fault_is_one_clear_line(tmp_path: Path, spoil: Callable[[dict[str, Any]], None], said: str) -> None:
    recipe = good()
    spoil(recipe)
    found = problems(write(tmp_path, recipe))
    assert any(said in p for p in found), found
    assert all(p.startswith(f"{tmp_path / 'r.yaml'}:") for p in found)
    assert all(p.split(":")[1].isdigit() for p in found)


def test_later_step_is_no_reference(tmp_path: Path) -> None:
    recipe = good()
    recipe["measure"] = {k: recipe["measure"][k] for k in ("apart", "dot", "leg")}
    found = problems(write(tmp_path, recipe))
    assert any("which is not an earlier step of measure or locate; allowed: body" in p for p in found)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    recipe = good()
    recipe["recipe"] = 0
    recipe["measure"]["dot"]["expect"] = "big"
    recipe["measure"]["leg"]["tool"] = "ruler"
    recipe["locate"]["body"]["turn"] = "far"
    recipe["verdict"]["within"] = "1 ms"
    found = problems(write(tmp_path, recipe))
    for key in ("recipe", "measure.dot.expect", "measure.leg.tool", "locate.body.turn", "verdict.within"):
        assert any(f": {key}: found" in p for p in found), key


def test_artefacts_are_looked_for_although_the_text_has_faults(tmp_path: Path) -> None:
    recipe = good()
    recipe["measure"]["dot"]["fail"] = "1111 Dot"
    recipe["locate"]["body"]["image"] = "gone.png"
    found = problems(write(tmp_path, recipe))
    assert any("gone.png" in p for p in found) and any("1111" in p for p in found)


def test_a_fault_is_on_its_line(tmp_path: Path) -> None:
    text = "recipe: 7\nname: x\nlocate:\n  body:\n    tool: template\n    image: mark.png\n    fail: 10 too short\n"
    found = problems(write(tmp_path, text))
    assert found[0].startswith(f"{tmp_path / 'r.yaml'}:7: locate.body.fail: found '10 too short'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: 1\nrecipe: 2\n", ":2: found duplicate key"),
        ("recipe: [1\n", "not valid YAML"),
        ("- 1\n- 2\n", "wanted keys and values"),
        ("", "wanted keys and values"),
        ("recipe: 1\nname: x\n", "no check in it"),
        ("recipe: 1\nname: x\nprepare:\n  s: {tool: smooth}\n", "no check in it"),
        ("a: &a 1\nb: *a\n", ":1: anchors and aliases (& and *) are not allowed"),
        ("name: *gone\n", ":1: anchors and aliases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "anchors and aliases"),
        ("recipe: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("recipe: " + "9" * 5000, "recipe"),
        ("recipe: !!python/object:os.system 1\nname: x\n", "recipe"),
    ],
)
def test_text_that_is_no_recipe(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in p for p in problems(write(tmp_path, text)))


def test_file_that_can_not_be_read(tmp_path: Path) -> None:
    assert "can't be read" in problems(tmp_path / "gone.yaml")[0]
    (tmp_path / "b.yaml").write_bytes(b"recipe: 1\nname: \xff\xfe\n")
    assert "not UTF-8" in problems(tmp_path / "b.yaml")[0]
    (tmp_path / "l.yaml").write_bytes(b"# " + b"x" * 1_100_000)
    assert "bytes long" in problems(tmp_path / "l.yaml")[0]


def test_expired_calibration_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    scale = tmp_path / "scale.yaml"
    scale.write_text(scale.read_text() + "valid_until: 2026-01-31\n")
    (found,) = problems(path)
    assert "calibration: " in found and "expired" in found and "scale.yaml:7" in found


def test_fixture_seen_by_another_camera_is_refused(tmp_path: Path) -> None:
    recipe = good()
    recipe["cameras"] = {"top": {}, "side": {"calibration": "scale.yaml"}}
    for section in ("locate", "measure"):
        for step in recipe[section].values():
            step["camera"] = "top"
    recipe["measure"]["dot"]["camera"] = "side"
    found = problems(write(tmp_path, recipe))
    assert any("measure.dot.fixture: found 'body', which looks through another camera (top)" in p for p in found)


def test_torn_and_twisted_text_is_a_file_error_or_a_recipe(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "recipes" / "plate.yaml").read_text(encoding="utf-8")
    rng = random.Random(1)
    path = tmp_path / "r.yaml"
    refused = 0
    for _ in range(60):
        a, b = sorted(rng.sample(range(len(text)), 2))
        b = min(b, a + 40)
        filler = rng.choice(["", ":", "\n", "- ", "  ", "[", "}", "\t", "null", "'", "\x00", "é", "#", "&a ", "1e999"])
        path.write_text(text[:a] + filler + text[b:], encoding="utf-8")
        try:
            read_spec(path)[2]
        except FileError as error:
            refused += 1
            assert str(error).startswith(str(path))
    assert refused > 5
