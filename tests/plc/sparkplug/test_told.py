from __future__ import annotations

from collections.abc import Callable

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


def test_it_is_settled_only_when_taken_and_after_the_time_of_doubt() -> None:
    told = Told(0)
    for second in range(200):
        told.add(second + 1)
        told.taken(second + 1, float(second))
        told.pass_time(float(second))
        # told at a moment t is settled at t + DOUBT_S and not before
        assert told.settled == max(0, second - int(DOUBT_S) + 1)
    told.add(201)
    told.pass_time(1000.0)
    assert (told.settled, told.reach) == (200, 201)  # nobody has the last one for sure, however long ago it was told


def test_a_lost_connection_costs_what_the_broker_had_not_taken() -> None:
    told = Told(0)
    for seq in (1, 2, 3, 4, 6):
        told.add(seq)
    told.taken(3, 10.0)
    told.connection_lost()
    assert [seq for seq in range(1, 8) if seq not in told] == [4, 5, 6, 7]
    told.pass_time(10.0 + DOUBT_S)  # the host was there all the time: what it was told ages
    assert (told.settled, told.reach) == (3, 3)


def test_a_lost_host_costs_the_time_of_doubt() -> None:
    told = Told(0)
    for second in range(100):
        told.add(second + 1)
        told.taken(second + 1, float(second))
        told.pass_time(float(second))
    told.host_lost(100.0)
    assert told.reach == told.settled == 40
    assert 41 not in told


def test_hosts_that_come_and_go_within_the_time_of_doubt_settle_nothing() -> None:
    told = Told(0)
    for second in range(int(DOUBT_S) + 5):
        told.skip_to(10)
        told.taken(10, float(second))
        told.host_lost(float(second))  # who never came back may be the one that matters
        assert told.settled == (10 if second >= DOUBT_S else 0)


def life(seconds: int, session_s: int, away_s: int, lost: Callable[[Told, float], None]) -> Told:
    """10 verdicts a second, told live while somebody listens; what was missed 80 a second, as the desk does it."""
    told, top = Told(0), 0
    for second in range(seconds):
        listens = second % (session_s + away_s) < session_s
        if second and second % (session_s + away_s) == 0:
            lost(told, float(second))
        for _ in range(10):
            top += 1
            if listens:
                told.add(top)
        for _ in range(80 if listens else 0):
            if told.reach < top:
                told.skip_to(told.reach + 1)
        if listens:
            told.taken(told.reach, float(second))
            told.pass_time(float(second))
    return told


def test_a_connection_that_never_holds_a_minute_leaves_nothing_behind() -> None:
    told = life(1815, 15, 5, lambda told, _: told.connection_lost())
    assert told.reach == 18150
    assert told.settled > 18150 - 10 * (DOUBT_S + 20)


def test_hosts_that_never_stay_a_minute_are_told_everything_too() -> None:
    told = life(1815, 15, 5, Told.host_lost)
    assert told.missing(18151) < 10 * 120  # the present has its place beside the past, however long it goes on
    assert told.settled > 18150 - 10 * 240


def test_a_confirmed_end_leaves_nothing_to_repeat() -> None:
    told = Told(0)
    for seq in (1, 2, 4):
        told.add(seq)
    told.confirm()
    told.connection_lost()
    assert (told.reach, told.settled) == (2, 2)
    assert 4 not in told  # before it something is missing: told twice rather than never


def test_its_memory_is_bounded() -> None:
    told = Told(0)
    for seq in range(2, 2 + 2 * module.AHEAD_MAX):
        told.add(seq)
        told.taken(0, float(seq))
    assert told.missing(2 + 2 * module.AHEAD_MAX) == module.AHEAD_MAX + 1
    assert len(told._marks) == module.MARKS_MAX


@given(st.permutations(range(1, 40)), st.integers(0, 40))
def test_whatever_the_order_exactly_the_untold_are_missing(order: list[int], count: int) -> None:
    told = Told(0)
    for seq in order[:count]:
        told.add(seq)
    assert {seq for seq in range(1, 40) if seq in told} == set(order[:count])
    assert told.missing(40) == 39 - len(set(order[:count]))
