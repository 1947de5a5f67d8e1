"""Which recipes there are, by number. The station reads no more of them than that: the judge reads the rest."""

from __future__ import annotations

from pathlib import Path

from inspector.yamlfile import FileError, YamlFile


def find(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """(recipe files by their number, what is wrong with files that can't be offered)."""
    found: dict[int, Path] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            file = YamlFile.read(path)
        except FileError as error:
            problems.extend(error.problems)
            continue
        number = file.data.get("recipe")
        if not isinstance(number, int) or isinstance(number, bool):
            problems.append(file.problem(["recipe"], f"found {number}, allowed: a number 1-9999"))
        elif number in found:
            problems.append(file.problem(["recipe"], f"{number} is {found[number].name} already"))
        else:
            found[number] = path
    return found, problems
