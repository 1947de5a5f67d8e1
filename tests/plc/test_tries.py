from __future__ import annotations

from dataclasses import replace

from inspector.plc.tries import AGAIN_S, CLASH_RETRY_S, PATIENCE, QUICK_IN_A_ROW, RETRY_S, STABLE_S, Ending, Tries

HELD = Ending(reached=True, answered=True, up=True, held_s=60.0, closed_by_broker=True, taken_over=False)
REFUSED = Ending(reached=True, answered=False, up=False, held_s=0.0, closed_by_broker=True, taken_over=False)
ABSENT = replace(REFUSED, reached=False, closed_by_broker=False)
QUICK = replace(HELD, held_s=STABLE_S / 2)


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1_at_once_and_asked_again_much_later() -> None:
    tries = Tries("auto")
    assert tries.version == "5"
    assert tries.ended(REFUSED, 0.0) == 0.0 and tries.version == "3.1.1" and tries.falls_back
    assert tries.ended(HELD, 60.0) > 0 and tries.version == "3.1.1" and not tries.falls_back
    tries.ended(HELD, AGAIN_S + 1)
    assert tries.version == "5", "at a reconnect"
    tries.ended(REFUSED, AGAIN_S + 2)
    assert tries.version == "3.1.1"


def test_a_broker_that_spoke_mqtt_5_is_not_given_up_while_it_starts() -> None:
    tries = Tries("auto")
    tries.ended(HELD, 60.0)
    for _ in range(PATIENCE - 1):
        tries.ended(REFUSED, 61.0)
        assert tries.version == "5"
    tries.ended(REFUSED, 62.0)
    assert tries.version == "3.1.1"
    tries.ended(REFUSED, 63.0)
    assert tries.version == "5", "it speaks neither yet"


def test_an_absent_broker_says_nothing_about_versions_and_a_configured_one_is_kept() -> None:
    tries = Tries("auto")
    rests = [tries.ended(ABSENT, 0.0) for _ in range(6)]
    assert tries.version == "5"
    assert rests == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]
    for version in ("5", "3.1.1"):
        fixed = Tries(version)
        assert fixed.ended(REFUSED, 0.0) == RETRY_S[0]
        assert fixed.version == version and not fixed.falls_back


def test_a_client_that_was_thrown_out_does_not_throw_back() -> None:
    tries = Tries("5")
    assert tries.ended(replace(HELD, taken_over=True), 0.0) == CLASH_RETRY_S and tries.clash == "certain"
    assert tries.ended(HELD, 0.0) == RETRY_S[0] and tries.clash == ""
    for _ in range(QUICK_IN_A_ROW - 1):
        assert tries.ended(QUICK, 0.0) < CLASH_RETRY_S
        assert tries.ended(ABSENT, 0.0) < CLASH_RETRY_S, "an absence between does not matter"
    assert tries.ended(QUICK, 0.0) == CLASH_RETRY_S and tries.clash == "probable"
    tries.ended(HELD, 0.0)
    for _ in range(2 * QUICK_IN_A_ROW):
        assert tries.ended(replace(QUICK, closed_by_broker=False), 0.0) < CLASH_RETRY_S, "a cable is no client"
