"""Malformed commands in every shape that a broken PLC, a wrong tool or an attacker could send.

What is malformed is decided by a reader of its own, written from ``docs/plc.md`` and not from the station's code;
what that reader would take is thrown away and drawn again. So each :class:`Shot` knows the answers that are due.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAMES = (
    "trigger", "count", "recipe", "start", "stop", "ack", "get", "reset_counters", "reset_fault", "selftest",
    "golden", "hb", "c",
)  # fmt: skip
UNKNOWN, DEEP = "unknown", "deep"
TOPICS = (*NAMES, UNKNOWN, DEEP)
LIMIT_BYTES = 4096
ID_MAX = 32
OTHER_CONTENT = "other content"  # a cmd_id that a good trigger had, with another part

_NUMBERS: dict[str, dict[str, tuple[int, int]]] = {  # field: least, most
    "count": {"count": (0, 2**31 - 1)},
    "recipe": {"recipe": (1, 9999)},
    "ack": {"seq": (1, 2**31 - 1)},
    "get": {"seq": (1, 2**31 - 1)},
    "hb": {"n": (0, 2**31 - 1)},
}
_MAY: dict[str, dict[str, tuple[int, int]]] = {
    "trigger": {"deadline_ms": (50, 10_000)},
    "recipe": {"rev": (1, 2**31 - 1)},
}
_NO_ID = ("count", "hb")  # cmd_id may be left out
_TYPES: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 1.5, -0.0, 1e308, 2**31, 2**63, 10**30, "", "7", "PASS", [], [7], {}, {"a": 1},
)  # fmt: skip
_BAD_IDS = (
    "", "x" * 33, "x" * 500, 'a"b', "a\\b", "a\nb", "a\0b", "\x7f", "Teil-ü", "部品", "\ud800", "\U0001f600", "a\tb",
)  # fmt: skip
_NOT_UTF8 = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80")
_SCHEMAS = ("2.0", "", "0.9", "1x", "11.0", 1, 1.0)
_STRANGE_NAMES = (
    "pass", "TRIGGER", "trigger ", "", "$SYS", "Auslöser", "x" * 33, "y" * 300, "result", "c2", "null",
)  # fmt: skip
_DEEP_NAMES = ("trigger/x", "c/c", "stop/", "a/b/c/d/e", "/trigger", "x/" * 100 + "x")


@dataclass(frozen=True)
class Shot:
    """One message and what is due for it."""

    name: str  # of the topic below cmd/
    kind: str
    payload: bytes
    acked: bool = True
    told: bool = False  # a NOT_INSPECTED is due as well
    cmd_id: str = ""  # that the ack has
    part_id: str = ""  # that the result has
    retain: bool = False
    reply: str = ""  # "": no response topic; "out", "in", "sys", "long": where it lies


def fit(text: Any) -> bool:
    """An id as the page wants it."""
    return isinstance(text, str) and 0 < len(text) <= ID_MAX and all(" " <= c <= "~" and c not in '"\\' for c in text)


def read_object(payload: bytes) -> dict[str, Any] | None:
    """The JSON object in ``payload``; None when there is none that keeps to the page."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a field stands twice")
        return dict(pairs)

    def never(_: str) -> Any:
        raise ValueError("not a number of JSON")

    if len(payload) > LIMIT_BYTES:
        return None
    try:
        found = json.loads(payload.rstrip(b"\0 \t\r\n").decode(), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def well_formed(name: str, payload: bytes) -> bool:
    """Would a station that keeps to the page do something about it?"""
    if name == "c":
        return _well_formed_text(payload)
    found = read_object(payload)
    if found is None or name not in NAMES:
        return False
    schema = found.get("schema")
    if not isinstance(schema, str) or schema.split(".")[0] != "1":
        return False
    if not (fit(found.get("cmd_id")) or (name in _NO_ID and found.get("cmd_id", "") == "")):
        return False
    if name == "trigger" and not fit(found.get("part_id")):
        return False
    if name == "golden" and found.get("expect") not in ("PASS", "FAIL"):
        return False
    must, may = _NUMBERS.get(name, {}), _MAY.get(name, {})
    return all(_whole(found.get(key), *limits) for key, limits in must.items()) and all(
        _whole(found[key], *limits) for key, limits in may.items() if key in found
    )


def _whole(found: Any, least: int, most: int) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and least <= found <= most


def _well_formed_text(payload: bytes) -> bool:
    if len(payload) > LIMIT_BYTES:
        return False
    fields = payload.rstrip(b"\0 \t\r\n").decode("ascii", "replace").split(";")
    number = fields[-1].isascii() and fields[-1].isdigit() and len(fields[-1]) <= 10 and 0 < int(fields[-1]) < 2**31
    return (
        fields in (["S"], ["P"])
        or (len(fields) == 2 and fields[0] == "A" and number)
        or (len(fields) == 3 and fields[0] == "R" and fit(fields[1]) and number and int(fields[-1]) <= 9999)
        or (len(fields) == 3 and fields[0] == "T" and fit(fields[1]) and fit(fields[2]))
    )


class Maker:
    """Draws shots; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: tuple[tuple[str, Callable[[str], bytes]], ...] = (
            ("random bytes", self._noise),
            ("random text", self._text),
            ("cut off", self._cut),
            ("mutated", self._mutated),
            ("mutated twice", lambda name: self._mutate(self._mutated(name))),
            ("wrong type", self._wrong_type),
            ("field missing", self._missing),
            ("huge number", self._huge),
            ("nested", self._nested),
            ("field twice", self._twice),
            ("NUL inside", lambda name: self._insert(self.good(name), b"\0")),
            ("not UTF-8", lambda name: self._insert(self.good(name), self._random.choice(_NOT_UTF8))),
            ("too long", self._long),
            ("bad id", self._bad_id),
            ("other schema", lambda name: self._with(name, schema=self._random.choice(_SCHEMAS))),
            ("not an object", lambda _: json.dumps(self._random.choice(_TYPES[:17])).encode()),
            ("not JSON", lambda name: self.good(name).replace(b'"', b"'")),
            ("byte order mark", lambda name: b"\xef\xbb\xbf" + self.good(name)),
            ("UTF-16", lambda name: self.good(name).decode().encode("utf-16")),
            ("two objects", lambda name: self.good(name) * 2),
            ("empty", lambda _: b""),
        )
        self._number = 0
        self._retained: set[str] = set()

    def shot(self, topic: str, used_cmd_id: str = "") -> Shot:
        """The next one for this topic; ``used_cmd_id``: of a good trigger, for the same id with other content."""
        self._number += 1
        name = self._name(topic)
        draw = self._random
        retain = draw.random() < 0.02
        if retain:
            self._retained.add(name)
        reply = draw.choices(("", "out", "in", "sys", "long"), (80, 12, 4, 2, 2))[0]
        if topic == DEEP:
            return Shot(name, "deep", self._noise(name), acked=False, retain=retain)
        if topic == "trigger" and used_cmd_id and draw.random() < 0.03:
            part = f"other-{self._number}"
            payload = json.dumps({"schema": "1.0", "cmd_id": used_cmd_id, "part_id": part}).encode()
            return Shot(name, OTHER_CONTENT, payload, True, True, used_cmd_id, part, retain, reply)
        while True:
            kind, make = self._kinds[self._number % len(self._kinds)]
            payload = make(name)
            if not well_formed(name, payload):
                break
            self._number += 1
        cmd_id, part_id, told = echoes(name, payload)
        return Shot(name, kind, payload, True, told, cmd_id, part_id, retain, reply)

    def kept_topics(self) -> list[str]:
        """Names that had a retained message since the last call."""
        names, self._retained = sorted(self._retained), set()
        return names

    def good(self, name: str) -> bytes:
        """A command as it should be, as the stuff of the others."""
        draw = self._random
        if name == "c":
            forms = (f"T;{self._id()};{self._id()}", f"R;{self._id()};1", f"A;{draw.randrange(1, 10**9)}", "S", "P")
            return draw.choice(forms).encode()
        return json.dumps(self._members(name), separators=draw.choice(((",", ":"), (", ", ": ")))).encode()

    def _members(self, name: str) -> dict[str, Any]:
        draw = self._random
        members: dict[str, Any] = {"schema": "1.0", "cmd_id": self._id()}
        members |= {key: draw.randint(*limits) for key, limits in _NUMBERS.get(name, {}).items()}
        if name == "trigger":
            members |= {"part_id": self._id(), "deadline_ms": draw.randint(50, 10_000)}
        if name == "golden":
            members["expect"] = draw.choice(("PASS", "FAIL"))
        return members

    def _id(self) -> str:
        letters = string.ascii_letters + string.digits + "-_."
        return "".join(self._random.choices(letters, k=self._random.randint(1, ID_MAX)))

    def _name(self, topic: str) -> str:
        draw = self._random
        if topic == UNKNOWN:
            return draw.choice((*_STRANGE_NAMES, self._id()))
        if topic == DEEP:
            return draw.choice(_DEEP_NAMES)
        return topic

    # --- kinds
    def _noise(self, _: str) -> bytes:
        return self._random.randbytes(self._random.choice((1, 2, 5, 20, 100, 1000, 4096)))

    def _text(self, name: str) -> bytes:
        letters = "TRASP;" if name == "c" else '{}[]":,\\ '
        return "".join(self._random.choices(string.printable + letters * 10, k=self._random.randint(1, 120))).encode()

    def _cut(self, name: str) -> bytes:
        payload = self.good(name)
        return payload[: self._random.randrange(len(payload))]

    def _mutated(self, name: str) -> bytes:
        return self._mutate(self.good(name))

    def _mutate(self, payload: bytes) -> bytes:
        changed = bytearray(payload or b"x")
        for _ in range(self._random.randint(1, 6)):
            where = self._random.randrange(len(changed))
            act = self._random.randrange(4)
            if act == 0:
                changed[where] ^= 1 << self._random.randrange(8)
            elif act == 1:
                changed[where:where] = self._random.randbytes(1)
            elif act == 2 and len(changed) > 1:
                del changed[where]
            else:
                changed[where:where] = changed[where : where + self._random.randint(1, 9)]
        return bytes(changed)

    def _insert(self, payload: bytes, what: bytes) -> bytes:
        where = self._random.randrange(len(payload))
        return payload[:where] + what + payload[where:]

    def _with(self, name: str, **members: Any) -> bytes:
        return json.dumps(self._members(name) | members).encode()

    def _wrong_type(self, name: str) -> bytes:
        key = self._random.choice([*self._members(name)])
        return self._with(name, **{key: self._random.choice(_TYPES)})

    def _missing(self, name: str) -> bytes:
        if name == "c":
            return b";".join(self.good(name).split(b";")[:-1]) or b";"
        members = self._members(name)
        del members[self._random.choice([*members])]
        return json.dumps(members).encode()

    def _huge(self, name: str) -> bytes:
        key = self._random.choice([*self._members(name)])
        digits = "9" * self._random.choice((16, 20, 309, 3000, 3900))
        number = self._random.choice((digits, f"-{digits}", f"1e{digits[:9]}", f"0.{digits}", f"{digits}.5"))
        if name == "c":
            return f"A;{number}".encode()
        return self._with(name, **{key: "HUGE"}).replace(b'"HUGE"', number.encode())

    def _nested(self, name: str) -> bytes:
        depth = self._random.choice((2, 50, 900, 2000))
        opened = self._random.choice(("[", '{"a":'))
        inner = (opened * depth)[: LIMIT_BYTES - 300]
        if self._random.random() < 0.5:
            inner += "1" + ("]" if opened == "[" else "}") * inner.count(opened[0])
        if self._random.random() < 0.5:
            return inner.encode()
        return self._with(name, cmd_id="NEST").replace(b'"NEST"', inner.encode())

    def _twice(self, name: str) -> bytes:
        members = self._members(name) if name != "c" else {"schema": "1.0"}
        key = self._random.choice([*members])
        return (json.dumps(members)[:-1] + f', "{key}": {json.dumps(members[key])}}}').encode()

    def _long(self, name: str) -> bytes:
        size = self._random.choice((LIMIT_BYTES + 1, 5000, 20_000, 65_536))
        start = self._random.choice((self.good(name), b"", b"T;", b'{"schema":"1.0",'))
        return start + self._random.choice((b"x", b"\0", b" ", b"[")) * (size - len(start))

    def _bad_id(self, name: str) -> bytes:
        bad = self._random.choice(_BAD_IDS)
        if name == "c":
            return f"T;{bad};{self._id()}".encode("utf-8", "surrogatepass")
        key = self._random.choice(("cmd_id", "part_id") if name == "trigger" else ("cmd_id",))
        return json.dumps(self._members(name) | {key: bad}, ensure_ascii=self._random.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )


def echoes(name: str, payload: bytes) -> tuple[str, str, bool]:
    """For a refused command: the cmd_id of its ack, the part_id of its result, is a result due."""
    if name == "c":
        if len(payload) > LIMIT_BYTES:
            return "", "", payload.startswith(b"T;")
        fields = payload.rstrip(b"\0 \t\r\n").decode("ascii", "replace").split(";")
        cmd_id, part_id = (fields[n] if n < len(fields) and fit(fields[n]) else "" for n in (1, 2))
        return cmd_id if fields[0] in ("T", "R") else "", part_id if fields[0] == "T" else "", fields[0] == "T"
    found = read_object(payload) or {}
    cmd_id, part_id = (found[key] if fit(found.get(key)) else "" for key in ("cmd_id", "part_id"))
    return cmd_id, part_id, name == "trigger" and bool(payload)
