"""The function blocks of ``docs/plc/function-blocks.md``, made to run: the subset of Structured Text they are in.

Each block becomes Python line by line. What is not in the subset is an error, so the text can't rot unseen. Types
count: a UDINT wraps, a STRING is cut, an array has its bounds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plc" / "function-blocks.md"
_TOKEN = re.compile(
    r"\s*(?://[^\n]*\n?)?\s*("
    r"'(?:[^'$]|\$.)*'|:=|<=|>=|<>|\d+|[A-Za-z_][A-Za-z0-9_]*|[-+*/()\[\].,;:<>=]"
    r")"
)
_WORDS = {"AND": "and", "OR": "or", "NOT": "not", "TRUE": "True", "FALSE": "False", "MOD": "%", "=": "==", "<>": "!="}
_INTEGERS = {"INT": (16, True), "DINT": (32, True), "UDINT": (32, False)}


def tokens(text: str) -> list[str]:
    found, at = [], 0
    text = re.sub(r"//[^\n]*", "", text).strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match, f"not in the subset: {text[at : at + 60]!r}"
        found.append(match[1])
        at = match.end()
    return found


class Type:
    """What a variable can hold."""

    def __init__(self, text: str, types: dict[str, Type]) -> None:
        array = re.fullmatch(r"ARRAY\[(\d+)\.\.(\d+)\] OF (\w.*)", text)
        string = re.fullmatch(r"STRING\((\d+)\)", text)
        self.fit: Callable[[Any], Any] = lambda value: value
        if array:
            inner, size = Type(array[3], types), int(array[2]) + 1
            assert array[1] == "0"
            self.new: Callable[[], Any] = lambda: [inner.new() for _ in range(size)]
        elif string:
            length = int(string[1])
            self.new = str
            self.fit = lambda value: _expect(value, str)[:length]
        elif text == "BOOL":
            self.new = bool
            self.fit = lambda value: _expect(value, bool)
        elif text in _INTEGERS:
            bits, signed = _INTEGERS[text]
            self.new = int
            self.fit = lambda value: _wrapped(value, bits, signed)
        else:
            of = types[text]
            self.new = of.new


def _expect(value: Any, kind: type) -> Any:
    assert type(value) is kind, f"{value!r} where {kind.__name__} belongs"
    return value


def _wrapped(value: Any, bits: int, signed: bool) -> int:
    value = _expect(value, int) % 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


class Record:
    """A structure, or the variables of a block: only what was declared can be set, and only with its type."""

    def __init__(self, types: dict[str, Type], starts: dict[str, Any] | None = None) -> None:
        object.__setattr__(self, "types", types)
        for name, of in types.items():
            object.__setattr__(self, name, of.fit((starts or {}).get(name, of.new())))

    def __setattr__(self, name: str, value: Any) -> None:
        value = copy.deepcopy(value) if isinstance(value, Record) and name == "result" else value
        object.__setattr__(self, name, self.types[name].fit(value))


def library(text: str) -> dict[str, Callable[[], Any]]:
    """Everything the page declares: structures and blocks by name, each a maker of instances."""
    source = "\n".join(re.findall(r"```iecst\n(.*?)```", text, flags=re.S))
    source = re.sub(r"//[^\n]*", "", source)
    types: dict[str, Type] = {}
    names: dict[str, Any] = {
        "LEN": len,
        "MID": lambda text, length, at: text[at - 1 : at - 1 + length] if at >= 1 else "",
        "LEFT": lambda text, length: text[:length],
        "FIND": lambda text, what: text.find(what) + 1 if what else 0,
        "CONCAT": lambda one, other: one + other,
        "UDINT_TO_STRING": str,
        "STRING_TO_DINT": int,
    }
    for name, body in re.findall(r"TYPE (\w+) : STRUCT(.*?)END_STRUCT\s+END_TYPE", source, flags=re.S):
        members = {n: Type(t, types) for n, t, _ in declared(body)}
        types[name] = _made(lambda members=members: Record(members))
        names[name] = types[name].new
    for kind, name, _, body in re.findall(
        r"(FUNCTION_BLOCK|FUNCTION|PROGRAM) (\w+)( : \w+)?\s*\n(.*?)END_\1", source, flags=re.S
    ):
        parts = re.findall(r"VAR(\w*)(?: RETAIN)?\n(.*?)END_VAR", body, flags=re.S)
        code = compile(python(re.sub(r"VAR.*?END_VAR", "", body, flags=re.S)), name, "exec")
        variables = {n: (Type(t, types), s) for _, block in parts for n, t, s in declared(block)}
        inputs = [n for way, block in parts if way == "_INPUT" for n, _, _ in declared(block)]
        if kind == "FUNCTION":
            variables[name] = (Type("BOOL", types), None)
            names[name] = lambda *given, n=name, c=code, v=variables, i=inputs: _called(n, c, v, i, given, names)
        else:
            types[name] = _made(lambda c=code, v=variables: Block(c, v, names))
            names[name] = types[name].new
    return names


def _made(new: Callable[[], Any]) -> Type:
    made = Type("BOOL", {})
    made.new, made.fit = new, lambda value: value
    return made


def declared(block: str) -> list[tuple[str, str, str]]:
    """(name, type, first value) of each variable."""
    found = []
    for line in block.strip().split(";"):
        if line.strip():
            match = re.fullmatch(r"\s*([\w, ]+?)\s*:\s*(.+?)\s*(?::=\s*(.+?))?\s*", line, flags=re.S)
            assert match, f"not a declaration: {line!r}"
            found += [(name.strip(), match[2], match[3] or "") for name in match[1].split(",")]
    return found


class Block:
    """An instance of a function block or a program."""

    def __init__(self, code: Any, variables: dict[str, tuple[Type, str]], names: dict[str, Any]) -> None:
        starts = {n: eval(_expression(tokens(s))) for n, (_, s) in variables.items() if s}  # noqa: S307
        self.__dict__["me"] = Record({n: t for n, (t, _) in variables.items()}, starts)
        self.__dict__["run"] = (code, names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.me, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.me, name, value)

    def __call__(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self.me, name, value)
        code, names = self.run
        exec(code, dict(names), {"me": self.me})  # noqa: S102


def _called(name: str, code: Any, variables: Any, inputs: list[str], given: Any, names: Any) -> Any:
    block = Block(code, variables, names)
    block(**dict(zip(inputs, given, strict=True)))
    return getattr(block, name)


def python(body: str) -> str:
    """The statements as Python; every name that is not a library's is a variable of the block."""
    lines, depth, statement = [], 0, list[str]()
    for token in tokens(body):
        if token == ";":
            lines.append("    " * depth + _statement(statement))
            statement = []
        elif token in ("THEN", "DO"):
            word, *rest = statement
            if word == "FOR":
                name, first, last = " ".join(rest).replace(" TO ", " := ").split(" := ")
                made = f"for me.{name} in range({_expression(first.split())}, {_expression(last.split())} + 1):"
            else:
                depth -= word == "ELSIF"
                made = f"{ {'IF': 'if', 'ELSIF': 'elif'}[word] } {_expression(rest)}:"
            lines.append("    " * depth + made)
            depth, statement = depth + 1, []
        elif token == "ELSE":
            lines.append("    " * (depth - 1) + "else:")
        elif token in ("END_IF", "END_FOR"):
            assert not statement, f"no ; before {token}: {statement}"
            depth -= 1
        else:
            statement.append(token)
    assert depth == 0 and not statement, f"not closed: {statement}"
    return "\n".join(lines)


def _statement(words: list[str]) -> str:
    if ":=" in words and words.index(":=") < (words.index("(") if "(" in words else len(words)):
        at = words.index(":=")
        return f"{_expression(words[:at])} = {_expression(words[at + 1 :])}"
    at = words.index("(")  # the call of a block: NAME(input := value, ...)
    made = [f"me.{words[0]}("]
    for index, word in enumerate(words[at + 1 :], at + 1):
        follows = words[index + 1] if index + 1 < len(words) else ""
        made.append("=" if word == ":=" else word if follows == ":=" else _expression([word], words[index - 1]))
    return "".join(made)


def _expression(words: list[str], before: str = "") -> str:
    made = []
    for index, word in enumerate(words):
        last = words[index - 1] if index else before
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word.startswith("'"):
            made.append(repr(word[1:-1].replace("$'", "'").replace("$$", "$")))
        elif word in _WORDS:
            made.append(f" {_WORDS[word]} ")
        elif re.match(r"[A-Za-z_]", word) and last != "." and follows != "(":
            made.append(f"me.{word}")
        else:
            made.append(word)
    return "".join(made)
