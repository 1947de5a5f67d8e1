"""YAML files as typed models: YAML 1.2 scalars, no duplicate keys, errors that name file, line and key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50  # of keys and lists in each other; the parser's time grows with its square
M = TypeVar("M", bound=BaseModel)


class FileError(Exception):
    """A file can't be used. ``str()`` is one line a problem: ``file:line: key: what was found, what is allowed``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class YamlFile:
    """A parsed YAML file that still knows on which line every key stands."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        yaml = YAML(typ="rt", pure=True)
        yaml.version = (1, 2)
        try:
            _refuse_traps(path, text)
            tree = yaml.load(text)
        except DuplicateKeyError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            what = str(error.problem or "duplicate key").split(" with value")[0]
            raise FileError([f"{path}:{line}: {what}: each key may stand once"]) from None
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            raise FileError([f"{path}:{line}: not valid YAML: {error.problem or error.context}"]) from None
        except (YAMLError, ValueError) as error:
            raise FileError([f"{path}: not valid YAML: {error}"]) from None
        if tree is None:
            raise FileError([f"{path}:1: the file is empty, wanted keys and values"])
        if not isinstance(tree, CommentedMap):
            raise FileError([f"{path}:1: found {_show(tree)}, wanted keys and values"])
        self._tree = tree
        self.data: dict[str, Any] = _plain(tree)

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read and parse. Raises :class:`FileError`."""
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise FileError([f"{path}: {size} bytes long, at most {MAX_BYTES} are allowed"])
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise FileError([f"{path}: not UTF-8 text (byte {error.start})"]) from None
        except OSError as error:
            raise FileError([f"{path}: can't be read: {error.strerror}"]) from None
        return cls(path, text)

    def line(self, where: Sequence[str | int]) -> int:
        """Line (1-based) of the key that ``where`` leads to, or of the nearest parent that is in the file."""
        node: Any = self._tree
        line = 1
        for key in where:
            if isinstance(node, CommentedMap) and (key := _own(node, key)) in node:
                line = node.lc.key(key)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(key, int) and 0 <= key < len(node):
                line = node.lc.item(key)[0] + 1
            else:
                continue  # a union's or validator's own name in pydantic's path
            node = node[key]
        return line

    def problem(self, where: Sequence[str | int], text: str) -> str:
        """One line of a :class:`FileError`."""
        keys = ".".join(str(k) for k in where)
        return f"{self.path}:{self.line(where)}: {keys + ': ' if keys else ''}{text}"

    def parse(self, model: type[M], *, context: dict[str, Any] | None = None) -> M:
        """The file as ``model``. Raises :class:`FileError` with every problem there is."""
        try:
            return model.model_validate(self.data, context=context)
        except ValidationError as error:
            raise self.error(error) from None

    def error(self, error: ValidationError, prefix: Sequence[str | int] = ()) -> FileError:
        """The findings of pydantic in our words."""
        by_key: dict[tuple[str, str], list[str]] = {}
        for one in error.errors():
            head, sep, wish = self._describe(one, prefix).partition(", allowed: ")
            by_key.setdefault((head, sep), []).append(wish)
        # a value that fits none of several types is one problem
        return FileError([head + sep + " or ".join(dict.fromkeys(w)) for (head, sep), w in by_key.items()])

    def _in_file(self, where: Sequence[str | int], *, missing: bool) -> list[str | int]:
        """``where`` without the names that pydantic adds for unions and validators and that are not in the file.

        ``missing``: the last one is a key that should be there and is not.
        """
        node: Any = self._tree
        kept: list[str | int] = []
        for n, key in enumerate(where):
            inside = isinstance(node, CommentedMap) and _own(node, key) in node
            inside = inside or (isinstance(node, CommentedSeq) and isinstance(key, int) and 0 <= key < len(node))
            if inside:
                node = node[_own(node, key)]
            elif n < len(where) - 1 or not missing:
                continue
            kept.append(key)
        return kept

    def _describe(self, error: Any, prefix: Sequence[str | int]) -> str:
        where = self._in_file([*prefix, *error["loc"]], missing=error["type"] == "missing")
        kind, found, context = error["type"], error.get("input"), error.get("ctx", {})
        if kind == "extra_forbidden":
            text = "unknown key"
        elif kind == "missing":
            text = "missing, and it is needed"
        elif kind == "value_error":
            text = f"found {_show(found)}: {context.get('error', error['msg'])}"
        elif kind in ("enum", "literal_error"):
            text = f"found {_show(found)}, allowed: {context['expected']}"
        else:
            message = error["msg"]
            wish = message.removeprefix("Input should be ").removeprefix("a valid ")
            text = f"found {_show(found)}, allowed: {wish}"
        return self.problem(where, text)


def load(path: Path, model: type[M], also: Callable[[M, YamlFile], Sequence[str]] | None = None) -> M:
    """Read ``path`` as ``model``; ``also`` may return further problems. Raises :class:`FileError`."""
    file = YamlFile.read(path)
    parsed = file.parse(model)
    problems = also(parsed, file) if also else ()
    if problems:
        raise FileError(list(problems))
    return parsed


def _own(node: Any, key: str | int) -> Any:
    """The key as it stands in the file: ``12`` and ``true`` are no text there, but they are to a model."""
    if not isinstance(node, CommentedMap) or key in node:
        return key
    return next((k for k in node if not isinstance(k, str) and str(_plain(k)) == key), key)


def _refuse_traps(path: Path, text: str) -> None:
    """What parsing would take for ever, or hide: aliases and deep nesting.

    An alias can make a small file endless, and a value that stands elsewhere can't be read where it counts.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    depth = 0
    for event in yaml.parse(text):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise FileError([f"{path}:{line}: anchors and aliases (& and *) are not allowed"])
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise FileError([f"{path}:{line}: nested too deeply: more than {MAX_DEPTH} keys and lists in each other"])


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {k if isinstance(k, str) else str(_plain(k)): _plain(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_plain(v) for v in node]
    if isinstance(node, ScalarBoolean):
        return bool(node)
    if isinstance(node, ScalarInt):
        return int(node)
    if isinstance(node, ScalarFloat):
        return float(node)
    return node if not isinstance(node, str) else str(node)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return f"a list of {len(value)}" if len(value) > 4 else str(value)
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
