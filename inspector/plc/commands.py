"""What a PLC may ask: topics ``cmd/<name>``, one flat JSON object each, checked strictly, unknown fields ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from inspector.codes import Code

SCHEMA_MAJOR = "1"
COMMAND_LIMIT_BYTES = 4096
ID_MAX = 32
SEQ_MAX = 2_147_483_647
RECIPE_MAX = 9999
REV_MAX = 2_147_483_647  # as a recipe's own
EXPECTED = ("PASS", "FAIL")  # of a golden part
DEADLINE_MIN_MS = 50
DEADLINE_MAX_MS = 10_000


class CommandError(Exception):
    """A command that is refused: code 400 or 401, one sentence, and whatever could be read of its ids."""

    def __init__(self, code: int, text: str, cmd: str = "", cmd_id: str = "", part_id: str = "") -> None:
        super().__init__(text)
        self.code = int(code)
        self.text = text
        self.cmd = cmd
        self.cmd_id = cmd_id
        self.part_id = part_id


@dataclass(frozen=True)
class TriggerCommand:
    """Inspect the part that now stands before the cameras; ``deadline_ms`` None means the recipe's own."""

    cmd_id: str
    part_id: str
    deadline_ms: int | None = None
    name = "trigger"


@dataclass(frozen=True)
class CountCommand:
    """The PLC's own count of parts (`identity: counted`): this one's included, or so far; ``cmd_id`` may be ""."""

    cmd_id: str
    count: int
    name = "count"


@dataclass(frozen=True)
class RecipeCommand:
    """Change over to recipe ``recipe``; ``rev`` None means the newest one that is approved."""

    cmd_id: str
    recipe: int
    rev: int | None = None
    name = "recipe"


@dataclass(frozen=True)
class StartCommand:
    """Go to EXECUTE."""

    cmd_id: str
    name = "start"


@dataclass(frozen=True)
class StopCommand:
    """Leave EXECUTE; triggers are refused from now on."""

    cmd_id: str
    name = "stop"


@dataclass(frozen=True)
class AckCommand:
    """The PLC took verdict ``seq``."""

    cmd_id: str
    seq: int
    name = "ack"


@dataclass(frozen=True)
class GetCommand:
    """Send the stored verdict ``seq`` on ``ack``."""

    cmd_id: str
    seq: int
    name = "get"


@dataclass(frozen=True)
class ResetCountersCommand:
    """Set the counters to 0 (never ``seq``)."""

    cmd_id: str
    name = "reset_counters"


@dataclass(frozen=True)
class ResetFaultCommand:
    """Leave ABORTED if the cause is gone."""

    cmd_id: str
    name = "reset_fault"


@dataclass(frozen=True)
class SelfTestCommand:
    """Test the station itself: cameras, models, ledger, disk, clock, link."""

    cmd_id: str
    name = "selftest"


@dataclass(frozen=True)
class GoldenCommand:
    """The next part is the golden part, in which ``expect`` must be found."""

    cmd_id: str
    expect: Literal["PASS", "FAIL"]
    name = "golden"


@dataclass(frozen=True)
class HeartbeatCommand:
    """The PLC's own sign of life; ``cmd_id`` may be ""."""

    cmd_id: str
    n: int
    name = "hb"


Command: TypeAlias = (
    TriggerCommand
    | CountCommand
    | RecipeCommand
    | StartCommand
    | StopCommand
    | AckCommand
    | GetCommand
    | ResetCountersCommand
    | ResetFaultCommand
    | SelfTestCommand
    | GoldenCommand
    | HeartbeatCommand
)


def parse_command(name: str, payload: bytes, retained: bool) -> Command:
    """The command on topic ``cmd/<name>``.

    Raises :class:`CommandError` 401 for a retained message, 400 for everything else that is wrong with it.
    """
    shown = show(name) if bad_text(name, ID_MAX) else name
    if retained:
        raise CommandError(
            Code.RETAINED_OR_EXPIRED,
            f"{shown}: retained commands are refused; send it with retain off",
            shown,
            *_ids(payload),
        )
    build = _BUILDERS.get(name)
    if build is None:
        allowed = ", ".join(_BUILDERS)
        raise CommandError(Code.BAD_COMMAND, f"unknown command {shown}; allowed: {allowed}", shown, *_ids(payload))
    try:
        fields = _Fields(_decode(payload))
        fields.schema()
        return build(fields)
    except _Bad as error:
        raise CommandError(Code.BAD_COMMAND, f"{name}: {error}", name, *_ids(payload)) from None


class _Bad(Exception):
    pass


class _Fields:
    """Typed reading of the object's members; every complaint names the field, what was found, what is allowed."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def schema(self) -> None:
        found = self._get("schema", 'text such as "1.0"')
        if not isinstance(found, str) or found.split(".")[0] != SCHEMA_MAJOR:
            raise _Bad(f'schema: found {show(found)}, allowed: "{SCHEMA_MAJOR}.x"')

    def id(self, key: str) -> str:
        found = self._get(key, f"text of 1 to {ID_MAX} characters")
        if not isinstance(found, str):
            raise _Bad(f"{key}: found {show(found)}, allowed: text of 1 to {ID_MAX} characters")
        complaint = bad_text(found, ID_MAX)
        if complaint:
            raise _Bad(f"{key}: found {show(found)}: {complaint}")
        return found

    def optional_id(self, key: str) -> str:
        return self.id(key) if self._members.get(key, "") != "" else ""

    def integer(self, key: str, low: int, high: int) -> int:
        found = self._get(key, f"a whole number {low}..{high}")
        if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
            raise _Bad(f"{key}: found {show(found)}, allowed: a whole number {low}..{high}")
        return found

    def word(self, key: str, allowed: tuple[str, ...]) -> str:
        words = " or ".join(f'"{one}"' for one in allowed)
        found = self._get(key, words)
        if not isinstance(found, str) or found not in allowed:
            raise _Bad(f"{key}: found {show(found)}, allowed: {words}")
        return found

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        return self.integer(key, low, high) if key in self._members else None

    def _get(self, key: str, allowed: str) -> Any:
        if key not in self._members:
            raise _Bad(f"{key}: missing, allowed: {allowed}")
        return self._members[key]


_BUILDERS: dict[str, Callable[[_Fields], Command]] = {
    "trigger": lambda f: TriggerCommand(
        f.id("cmd_id"), f.id("part_id"), f.optional_integer("deadline_ms", DEADLINE_MIN_MS, DEADLINE_MAX_MS)
    ),
    "count": lambda f: CountCommand(f.optional_id("cmd_id"), f.integer("count", 0, SEQ_MAX)),
    "recipe": lambda f: RecipeCommand(
        f.id("cmd_id"), f.integer("recipe", 1, RECIPE_MAX), f.optional_integer("rev", 1, REV_MAX)
    ),
    "start": lambda f: StartCommand(f.id("cmd_id")),
    "stop": lambda f: StopCommand(f.id("cmd_id")),
    "ack": lambda f: AckCommand(f.id("cmd_id"), f.integer("seq", 1, SEQ_MAX)),
    "get": lambda f: GetCommand(f.id("cmd_id"), f.integer("seq", 1, SEQ_MAX)),
    "reset_counters": lambda f: ResetCountersCommand(f.id("cmd_id")),
    "reset_fault": lambda f: ResetFaultCommand(f.id("cmd_id")),
    "selftest": lambda f: SelfTestCommand(f.id("cmd_id")),
    "golden": lambda f: GoldenCommand(f.id("cmd_id"), cast('Literal["PASS", "FAIL"]', f.word("expect", EXPECTED))),
    "hb": lambda f: HeartbeatCommand(f.optional_id("cmd_id"), f.integer("n", 0, SEQ_MAX)),
}
COMMANDS = tuple(_BUILDERS)


def _decode(payload: bytes) -> dict[str, Any]:
    if len(payload) > COMMAND_LIMIT_BYTES:
        raise _Bad(f"payload is longer than {COMMAND_LIMIT_BYTES} bytes")
    # PLCs send fixed arrays: what stands behind the object is padding
    payload = payload.rstrip(b"\0 \t\r\n")
    try:
        tree = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _Bad(f"payload is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise _Bad("payload is nested too deeply, wanted a flat object") from None
    except json.JSONDecodeError as error:
        raise _Bad(f"payload is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:  # a number of thousands of digits
        raise _Bad(f"payload is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise _Bad(f"payload is {show(tree)}, wanted an object in braces")
    return tree


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Bad(f"{show(twice)}: stands twice")
    return members


def _no_constant(name: str) -> None:
    raise _Bad(f"payload is not JSON: {name} is not a number")


def _ids(payload: bytes) -> tuple[str, str]:
    """``cmd_id`` and ``part_id`` of a refused command as far as they are fit to be echoed, else ""."""
    try:
        tree = _decode(payload)
    except _Bad:
        return "", ""
    cmd_id, part_id = (
        value if isinstance(value, str) and not bad_text(value, ID_MAX) else ""
        for value in (tree.get("cmd_id"), tree.get("part_id"))
    )
    return cmd_id, part_id


def bad_text(text: str, limit: int) -> str:
    """What is wrong with an id, "" when nothing is. Quotes and backslashes would need escapes on the wire."""
    if not text:
        return f"empty, allowed: 1 to {limit} characters"
    if len(text) > limit:
        return f"{len(text)} characters, allowed: 1 to {limit}"
    if any(not " " <= c <= "~" or c in '"\\' for c in text):
        return "allowed: printable ASCII without quotes and backslashes"
    return ""


def show(value: Any) -> str:
    """A found value as short ASCII for an error sentence."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**15:
        return "a number of more than 15 digits"  # str() of a huge one is slow or refused
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
