"""Which recipes there are, by number. The station reads no more of them than that: the judge reads the rest."""

from __future__ import annotations

import contextlib
from pathlib import Path

from inspector.yamlfile import FileError, YamlFile


class RecipeFolder:
    """A folder of recipe files; a file is read again only when it has changed, for parsing takes time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[tuple[int, int], int | str]] = {}  # its state; its number, or what is wrong

    def find(self) -> tuple[dict[int, Path], list[str]]:
        """(recipe files by their number, what is wrong with files that can't be offered)."""
        found: dict[int, Path] = {}
        problems: list[str] = []
        twice: set[int] = set()
        known, self._known = self._known, {}
        for path in sorted(self._folder.glob("*.yaml")):
            with contextlib.suppress(OSError):  # deleted meanwhile
                status = path.stat()
                state = (status.st_mtime_ns, status.st_size)
                self._known[path] = known[path] if known.get(path, ((), 0))[0] == state else (state, _number(path))
        for path, (_, number) in self._known.items():
            if isinstance(number, str):
                problems.append(number)
            elif number in found:
                problems.append(f"{path}: recipe: {number} is {found[number].name} already: neither is offered")
                twice.add(number)
            else:
                found[number] = path
        # a copy left in the folder must not run in the place of what it was copied from
        return {number: path for number, path in found.items() if number not in twice}, problems


def _number(path: Path) -> int | str:
    try:
        file = YamlFile.read(path)
    except FileError as error:
        return str(error)
    number = file.data.get("recipe")
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 9999:
        return file.problem(["recipe"], f"found {number}, allowed: a number 1-9999")
    return number
