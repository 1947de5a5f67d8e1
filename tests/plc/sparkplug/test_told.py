from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.plc.sparkplug import told as module
from inspector.plc.sparkplug.told import DOUBT_S, Told


def test_what_was_told_in_order_needs_no_replay() -> None:
    told = Told(10)
    for seq in (11, 12, 13):
        told.add(seq)
    assert (told.reach, told.settled, told.missing(14)) == (13, 10, 0)


def test_a_gap_stays_one_until_it_is_filled() -> None:
    told = Told(10)
    for seq in (12, 13, 15):
        told.add(seq)
    assert told.reach == 10
    assert [seq for seq in range(9, 17) if seq not in told] == [11, 14, 16]
    assert told.missing(17) == 3
    told.skip_to(11)
    assert told.reach == 13
    told.skip_to(16)
    assert (told.reach, told.missing(17)) == (16, 0)
    told.skip_to(3)
    assert told.reach == 16


def test_it_is_settled_only_after_the_time_of_doubt() -> None:
    told = Told(0)
    for second in range(200):
        told.add(second + 1)
        told.pass_time(float(second))
        # told at a moment t is settled at t + DOUBT_S and not before
        assert told.settled == max(0, second - int(DOUBT_S) + 1)
    told.session_ended()
    assert told.reach == told.settled == 140
    assert 141 not in told


def test_a_confirmed_end_leaves_nothing_to_repeat() -> None:
    told = Told(0)
    for seq in (1, 2, 4):
        told.add(seq)
    told.confirm()
    told.session_ended()
    assert (told.reach, told.settled) == (2, 2)
    assert 4 not in told  # before it something is missing: told twice rather than never


def test_its_memory_is_bounded() -> None:
    told = Told(0)
    for seq in range(2, 2 + 2 * module.AHEAD_MAX):
        told.add(seq)
    assert told.missing(2 + 2 * module.AHEAD_MAX) == module.AHEAD_MAX + 1


@given(st.permutations(range(1, 40)), st.integers(0, 40))
def test_whatever_the_order_exactly_the_untold_are_missing(order: list[int], count: int) -> None:
    told = Told(0)
    for seq in order[:count]:
        told.add(seq)
    assert {seq for seq in range(1, 40) if seq in told} == set(order[:count])
    assert told.missing(40) == 39 - len(set(order[:count]))
