from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import jsonschema
import pytest

from inspector.recipe import registry, schema
from inspector.recipe.registry import tools
from inspector.tool import SECTIONS, MeasureTool
from inspector.yamlfile import YamlFile
from tests.recipe.recipes import good

RECIPES = Path(__file__).parents[2] / "recipes"
VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


def test_the_committed_files_are_what_the_tools_say() -> None:
    hint = "run: inspector recipe schema"
    assert (RECIPES / "recipe.schema.json").read_text(encoding="utf-8") == schema.schema_text(), hint
    assert (RECIPES / "REFERENCE.md").read_text(encoding="utf-8") == schema.reference_text(), hint


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema())


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.name)
def test_sample_recipes_hold_to_it(path: Path) -> None:
    data = YamlFile.read(path).data
    assert [e.message for e in VALIDATOR.iter_errors(data)] == []
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=recipe.schema.json")


def spoilt(*keys: str, to: Any) -> dict[str, Any]:
    recipe = good()
    node = recipe
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = to
    return recipe


def test_the_test_recipe_holds_to_it() -> None:
    VALIDATOR.validate(good())


@pytest.mark.parametrize(
    "recipe",
    [
        spoilt("recipe", to=0),
        spoilt("colour", to="red"),
        spoilt("measure", "dot", "tool", to="diametr"),
        spoilt("measure", "dot", "along", to=[[1, 2], [3, 4]]),
        spoilt("measure", "dot", "at", to=[1, 2, 3]),
        spoilt("measure", "dot", "fail", to="10 x"),
        spoilt("measure", "Dot 1", to=good()["measure"]["dot"]),
        spoilt("verdict", "within", to="200"),
        spoilt("verdict", "missing", to="pass"),
        spoilt("locate", "body", "turn", to="10 mm"),
        {"recipe": 1},
    ],
)
def test_an_editor_underlines_what_is_wrong(recipe: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(recipe)


def test_the_tools_of_this_version_are_there() -> None:
    found = {section: set(tools(section)) for section in SECTIONS}
    assert found["locate"] >= {"template"}
    assert found["measure"] >= {"caliper", "diameter", "distance"}
    assert found["read"] >= {"code"}
    assert found["compare"] >= {"presence"}
    assert found["defects"] >= {"blob", "segment"}
    assert found["prepare"] >= {"smooth"}


def test_every_key_has_its_sentence() -> None:
    for name, definition in schema.schema()["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            if key != "tool":
                assert value.get("description"), f"{name}: {key}"


def test_reference_shows_every_tool_and_defaults_as_written() -> None:
    text = schema.reference_text()
    for section in SECTIONS:
        for name in tools(section):
            assert f"### {section}: {name}" in text
    assert "`10 deg`" in text and "`1000 ms`" in text


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert [p.name for p in schema.write(tmp_path)] == ["recipe.schema.json", "REFERENCE.md"]
    assert schema.write(tmp_path) == []
    (tmp_path / "REFERENCE.md").write_text("old")
    assert [p.name for p in schema.write(tmp_path)] == ["REFERENCE.md"]
    json.loads((tmp_path / "recipe.schema.json").read_text(encoding="utf-8"))


class Bare(MeasureTool):
    tool: Literal["bare"]
    measures: ClassVar[str] = "count"


def test_tool_without_a_docstring_is_refused() -> None:
    Bare.__doc__ = None
    with pytest.raises(TypeError, match="no docstring"):
        schema._doc(Bare)


@pytest.fixture
def section(tmp_path: Path, monkeypatch: Any) -> Path:
    """A section of our own, to put tools in."""
    import inspector.measure

    monkeypatch.setattr(inspector.measure, "__path__", [str(tmp_path)])
    registry.tools.cache_clear()
    yield tmp_path
    registry.tools.cache_clear()
    import sys

    for name in [n for n in sys.modules if n.startswith("inspector.measure.own_")]:
        del sys.modules[name]


TOOL = '''
from typing import Literal
from inspector.tool import MeasureTool
class {name}(MeasureTool):
    """Words."""
    tool: Literal["{key}"]
'''


def test_a_file_in_the_folder_is_a_tool(section: Path) -> None:
    (section / "own_one.py").write_text(TOOL.format(name="One", key="one"))
    assert list(tools("measure")) == ["one"]


def test_a_tool_that_can_not_be_imported_is_loud(section: Path) -> None:
    (section / "own_bad.py").write_text("import no_such_library_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        tools("measure")


def test_two_tools_of_one_name_are_loud(section: Path) -> None:
    (section / "own_one.py").write_text(TOOL.format(name="One", key="one"))
    (section / "own_two.py").write_text(TOOL.format(name="Two", key="one"))
    with pytest.raises(TypeError, match="also in inspector.measure.own_one"):
        tools("measure")
