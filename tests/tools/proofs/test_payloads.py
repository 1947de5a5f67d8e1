"""Two readers of the page, written apart: the proof's and the station's must agree on what is malformed and echoed."""

from __future__ import annotations

import pytest

from inspector.plc.commands import CommandError, parse_command
from inspector.plc.compact import parse_text
from tools.proofs.payloads import DEEP, NAMES, OTHER_CONTENT, TOPICS, Maker, well_formed


@pytest.mark.parametrize("topic", [t for t in TOPICS if t != DEEP])
def test_what_the_proof_calls_malformed_is_refused_with_the_same_ids(topic: str) -> None:
    maker = Maker(7)
    for _ in range(300):
        shot = maker.shot(topic)
        with pytest.raises(CommandError) as error:
            parse_text(shot.payload, False) if topic == "c" else parse_command(shot.name, shot.payload, False)
        told = error.value.cmd == "trigger" and bool(shot.payload)
        assert (error.value.cmd_id, told) == (shot.cmd_id, shot.told), shot
        assert not told or error.value.part_id == shot.part_id, shot


@pytest.mark.parametrize("name", NAMES)
def test_what_the_proof_calls_well_formed_is_taken(name: str) -> None:
    maker = Maker(3)
    for _ in range(30):
        payload = maker.good(name)
        assert well_formed(name, payload)
        parse_text(payload, False) if name == "c" else parse_command(name, payload, False)


def test_the_same_seed_draws_the_same_and_another_part_takes_a_used_id() -> None:
    one, other = Maker(5), Maker(5)
    shots = [one.shot("trigger", "used-1") for _ in range(400)]
    assert shots == [other.shot("trigger", "used-1") for _ in range(400)]
    again = [shot for shot in shots if shot.kind == OTHER_CONTENT]
    assert again and all(shot.cmd_id == "used-1" and shot.told for shot in again)
    assert len({shot.kind for shot in shots}) > 20
