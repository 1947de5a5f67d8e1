from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.plc.contract import ack_payload, parse_command
from inspector.plc.sparkplug.node import ALIASES
from inspector.plc.sparkplug.orders import ORDERS, Order, OrderRefused, read_order
from inspector.plc.sparkplug.payload import DataType, Metric, Payload, encode


def dcmd(*metrics: Metric) -> bytes:
    return encode(Payload(1, metrics))


def written(**values: Any) -> bytes:
    kinds = {str: DataType.STRING, int: DataType.INT64, bool: DataType.BOOLEAN, float: DataType.DOUBLE}
    return dcmd(*(Metric(f"Command/{name}", value, kinds[type(value)]) for name, value in values.items()))


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_a_command_that_the_contract_takes(name: str) -> None:
    arg = "7" if name == "recipe" else ""
    order = read_order(written(Id="a1", Name=name, Arg=arg))
    command = parse_command(name, order.command(), retained=False)
    assert (command.name, command.cmd_id) == (name, "sp:a1")


@pytest.mark.parametrize(("arg", "recipe", "rev"), [("7", 7, None), ("7,3", 7, 3), ("0007,0", 7, 0), (7, 7, None)])
def test_a_recipe_has_its_number_and_may_have_a_revision(arg: str | int, recipe: int, rev: int | None) -> None:
    members = json.loads(read_order(written(Id=5, Name="recipe", Arg=arg)).command())
    assert members == {"schema": "1.0", "cmd_id": "sp:5", "recipe": recipe} | ({} if rev is None else {"rev": rev})


def test_metrics_may_have_aliases() -> None:
    metrics = [Metric(None, value, alias=ALIASES[f"Command/{name}"]) for name, value in (("Id", "a"), ("Name", "stop"))]
    assert read_order(dcmd(*metrics)) == Order("a", "stop")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"\x08", "cut off"),
        (written(), "Command/Id: found ''"),
        (written(Name="stop"), "Command/Id: found ''"),
        (written(Id="x" * 30, Name="stop"), "allowed: 1 to 29 characters"),
        (written(Id="x" * 33, Name="stop"), "Command/Id: allowed: printable ASCII"),
        (written(Id='a"b', Name="stop"), "Command/Id: allowed: printable ASCII"),
        (written(Id=True, Name="stop"), "Command/Id: allowed: printable ASCII"),
        (written(Id="a"), "Command/Name: found ''"),
        (written(Id="a", Name="trigger"), "found 'trigger', allowed: start, stop, recipe"),
        (written(Id="a", Name="golden"), "found 'golden', allowed: start"),
        (written(Id="a", Name="recipe"), "Command/Arg: found ''"),
        (written(Id="a", Name="recipe", Arg="seven"), "Command/Arg: found 'seven'"),
        (written(Id="a", Name="recipe", Arg=7.0), "Command/Arg: allowed: printable ASCII"),
        (written(Id="a", Name="stop", Arg="now"), "Command/Arg: found 'now', allowed with stop: nothing"),
        (dcmd(Metric("Result/Verdict", 1, DataType.INT32)), "'Result/Verdict' can't be written"),
        (dcmd(Metric(None, 1, alias=3)), "'Result/Verdict' can't be written"),
        (dcmd(Metric(None, 1, alias=99)), "'alias 99' can't be written"),
        (dcmd(Metric("Command/Id", "a"), Metric("Command/Id", "b")), "Command/Id stands twice"),
    ],
)
def test_what_is_no_order_is_refused_with_the_reason(payload: bytes, says: str) -> None:
    with pytest.raises(OrderRefused) as refused:
        read_order(payload)
    answer = refused.value.answer
    assert says in str(answer["Command/AnswerText"])
    assert (answer["Command/AnswerPhase"], answer["Command/AnswerCode"]) == ("refused", 400)


def test_the_answer_is_that_of_the_ack() -> None:
    ack = ack_payload("recipe", "sp:a", "refused", code=403, text="there is no recipe 9")
    assert Order("a", "recipe", "9").answered_by(ack) == {
        "Command/Id": "a", "Command/Name": "recipe", "Command/Arg": "9", "Command/AnswerPhase": "refused",
        "Command/AnswerCode": 403, "Command/AnswerText": "there is no recipe 9",
    }  # fmt: skip


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_a_refusal_that_can_be_told(payload: bytes) -> None:
    try:
        read_order(payload)
    except OrderRefused as refused:
        assert len(str(refused.answer["Command/AnswerText"])) <= 120
