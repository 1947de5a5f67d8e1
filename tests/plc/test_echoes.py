from __future__ import annotations

from inspector.plc.echoes import FOREIGN_HOLDS_S, FOREIGN_WITHIN_S, Echoes


def test_an_echo_is_missed_only_when_the_broker_has_said_something_else() -> None:
    echoes = Echoes()
    echoes.sent("hb", b"1", 0.0)
    assert echoes.missing(last_heard_s=0.5) == set(), "a broker that hangs says nothing at all"
    assert echoes.missing(last_heard_s=3.0) == {"hb"}
    echoes.sent("hb", b"2", 1.0)
    assert echoes.missing(last_heard_s=1.5) == {"hb"}, "the oldest counts"
    echoes.heard("hb", b"2", 3.0)
    assert echoes.missing(last_heard_s=9.0) == set()
    echoes.sent("result", b"r", 9.0)
    echoes.forget_awaited()
    assert echoes.missing(last_heard_s=99.0) == set()
    echoes.heard("result", b"r", 10.0)
    assert not echoes.foreign(10.0), "from the connection before: late, but ours"


def test_two_strange_messages_are_somebody_else() -> None:
    echoes = Echoes()
    echoes.sent("hb", b"ours", 0.0)
    echoes.heard("hb", b"strange 1", 0.0)
    echoes.heard("hb", b"strange 1", 1.0)
    assert not echoes.foreign(1.0), "the same one twice is one"
    echoes.heard("hb", b"strange 2", FOREIGN_WITHIN_S + 2)
    assert not echoes.foreign(FOREIGN_WITHIN_S + 2), "too long ago"
    echoes.heard("hb", b"ours", FOREIGN_WITHIN_S + 3)
    echoes.heard("hb", b"strange 3", FOREIGN_WITHIN_S + 3)
    assert echoes.foreign(FOREIGN_WITHIN_S + 3)
    assert not echoes.foreign(FOREIGN_WITHIN_S + 3 + FOREIGN_HOLDS_S)
