"""What SCADA may ask of the station (DCMD): never a part, never a verdict. Doubt is a refusal that says why."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from inspector.codes import Code
from inspector.plc.commands import ID_MAX, SCHEMA_MAJOR, bad_text
from inspector.plc.contract import TEXT_MAX
from inspector.plc.sparkplug.node import ALIASES
from inspector.plc.sparkplug.payload import Metric, Value, decode

ORDERS = ("start", "stop", "recipe", "reset_fault", "reset_counters", "selftest")
ID_PREFIX = "sp:"  # the PLC's cmd_ids and SCADA's must not answer for each other
ORDER_ID_MAX = ID_MAX - len(ID_PREFIX)
_ASKED = ("Command/Id", "Command/Name", "Command/Arg")
_NAMES = {alias: name for name, alias in ALIASES.items()}
_RECIPE = re.compile(r"([0-9]{1,4})(?:,([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Order:
    """One command of SCADA. ``arg`` is "" but for ``recipe``: its number, or number and revision, ``7,3``."""

    id: str
    name: str
    arg: str = ""

    def command(self) -> bytes:
        """The same as the payload of the PLC's command of this name."""
        members: dict[str, object] = {"schema": f"{SCHEMA_MAJOR}.0", "cmd_id": ID_PREFIX + self.id}
        found = _RECIPE.fullmatch(self.arg) if self.name == "recipe" else None
        if found is not None:
            members["recipe"] = int(found[1])
            if found[2] is not None:
                members["rev"] = int(found[2])
        return json.dumps(members).encode("ascii")

    def answered(self, phase: str, code: int = 0, text: str = "") -> dict[str, Value]:
        """The metrics of its answer."""
        return {
            "Command/Id": self.id, "Command/Name": self.name, "Command/Arg": self.arg,
            "Command/AnswerPhase": phase, "Command/AnswerCode": int(code), "Command/AnswerText": text[:TEXT_MAX],
        }  # fmt: skip

    def answered_by(self, ack: bytes) -> dict[str, Value]:
        """The metrics of its answer, from the ``ack`` that the same command of the PLC would get."""
        members = json.loads(ack)
        return self.answered(members["phase"], members["code"], members["text"])


class OrderRefused(Exception):
    """A DCMD that is no order; ``answer`` says why, with what could be read of it."""

    def __init__(self, text: str, order: Order) -> None:
        super().__init__(text)
        self.answer = order.answered("refused", Code.BAD_COMMAND, text)


def read_order(payload: bytes) -> Order:
    """The order in a DCMD, whose metrics have names or aliases. Raises OrderRefused."""
    try:
        metrics = decode(payload).metrics
    except ValueError as error:
        raise OrderRefused(str(error), Order("", "")) from None
    asked: dict[str, Value | None] = {}
    problem = ""
    for metric in metrics:
        name = _name_of(metric)
        if name not in _ASKED:
            problem = problem or f"{name[:40]!r} can't be written, allowed: {', '.join(_ASKED)}"
        elif name in asked:
            problem = problem or f"{name} stands twice"
        else:
            asked[name] = metric.value
    order = Order(*(_as_text(asked.get(name, "")) for name in _ASKED))
    problem = problem or _complaint(asked, order)
    if problem:
        raise OrderRefused(problem, order)
    return order


def _name_of(metric: Metric) -> str:
    return metric.name if metric.name is not None else _NAMES.get(metric.alias or 0, f"alias {metric.alias}")


def _as_text(value: Value | None) -> str:
    """What was asked, fit to be told again; a number's digits count as its text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and not bad_text(value, ID_MAX) else ""


def _complaint(asked: Mapping[str, Value | None], order: Order) -> str:
    for name, found in zip(_ASKED, (order.id, order.name, order.arg), strict=True):
        if asked.get(name, "") not in ("", None) and not found:
            return f"{name}: allowed: printable ASCII text without quotes and backslashes, at most {ID_MAX} characters"
    if not order.id or len(order.id) > ORDER_ID_MAX:
        return f"Command/Id: found {order.id!r}, allowed: 1 to {ORDER_ID_MAX} characters, another one for each command"
    if order.name not in ORDERS:
        return f"Command/Name: found {order.name!r}, allowed: {', '.join(ORDERS)}"
    if order.name == "recipe" and not _RECIPE.fullmatch(order.arg):
        return f"Command/Arg: found {order.arg!r}, allowed with recipe: its number, or number,revision"
    if order.name != "recipe" and order.arg:
        return f"Command/Arg: found {order.arg!r}, allowed with {order.name}: nothing"
    return ""
