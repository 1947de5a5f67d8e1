"""Which picture belongs to which part: single cases by hand, and a simulated belt with every fault at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.parts import FrameRef
from inspector.station.counted import Counted
from inspector.station.identity import CONFUSED, Announced
from inspector.station.pulses import Track
from inspector.wire import Pulse, PulseCount
from tests.station.belt import MS, Belt, Rates, frame

MODES = ("before", "after", "either", "each", "start")


class Desk:
    """Writes down what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.alarms: list[str] = []

    def arrived(self, number: int, at_ns: int) -> int:
        self.said.append(("arrived", number))
        return 1000 + number

    def matched(self, seq: int, frames: tuple[FrameRef, ...]) -> None:
        self.said.append(("matched", seq, *(f.slot for f in frames)))

    def settled(self, seq: int) -> None:
        self.said.append(("settled", seq))

    def failed(self, seq: int, text: str) -> None:
        self.said.append(("failed", seq, text))

    def unannounced(self, camera: str, text: str, number: int | None) -> None:
        self.said.append(("unannounced", camera, number))

    def unbalanced(self, text: str) -> None:
        self.alarms.append(text)

    def dropped(self, camera: str, frame: FrameRef | None, what: str) -> None:
        self.said.append(("dropped", what))

    def of(self, what: str) -> list[tuple[object, ...]]:
        return [one[1:] for one in self.said if one[0] == what]


class Scene:
    """One camera ``top`` and a window of 20 ms, either way; times in ms."""

    def __init__(self, mode: str = "either", cameras: tuple[str, ...] = ("top",)) -> None:
        self.desk = Desk()
        self.cameras = cameras
        tracks = {c: Track(c, 60 * MS) for c in cameras}
        self.matcher: Announced
        if mode == "start":
            self.matcher = Counted(tracks, 20 * MS, self.desk)
        else:
            self.matcher = Announced(tracks, 20 * MS, mode, self.desk)

    def announce(self, seq: int, at: int, number: int | None = None, inspected: bool = True) -> None:
        label = f"P{seq}"
        self.matcher.announce(seq, label, at * MS, self.cameras, at * MS, number=number, inspected=inspected)

    def pulse(
        self, part: int, at: int, count: int | None = 1, frame_id: int | None = None, *, now: int = 0, why: str = "",
        camera: str = "top",
    ) -> None:  # fmt: skip
        frame_id = count if frame_id is None else frame_id
        picture = None if why else frame(camera, part, frame_id or 0, at * MS)
        self.matcher.pulse(camera, Pulse(picture, frame_id, count, at * MS, why), (now or at + 2) * MS)

    def read(self, value: int, at: int, camera: str = "top") -> None:
        self.matcher.counter(camera, PulseCount(value, at * MS), at * MS)

    def tick(self, at: int) -> None:
        self.matcher.tick(at * MS)


def test_a_pair_is_matched_at_once_and_settled_when_its_window_has_closed() -> None:
    scene = Scene()
    scene.read(6, 900)
    scene.announce(1, 1000)
    scene.pulse(1, 1003, 7)
    assert scene.desk.of("matched") == [(1, 1)]
    scene.tick(1030)
    assert scene.desk.of("settled") == []  # the camera has not told its counter yet
    scene.read(7, 1031)
    assert scene.desk.of("settled") == [(1,)]
    assert scene.desk.alarms == []


def test_the_message_may_come_after_the_picture() -> None:
    scene = Scene("after")
    scene.pulse(1, 1000, 7)
    scene.announce(1, 1015)
    scene.read(7, 1021)
    scene.tick(1040)
    assert scene.desk.of("settled") == [(1,)]


@pytest.mark.parametrize(("mode", "pulse_at"), [("before", 999), ("after", 1001), ("either", 1021), ("either", 979)])
def test_a_pulse_outside_the_window_is_nobodys(mode: str, pulse_at: int) -> None:
    scene = Scene(mode)
    for at, act in sorted([(1000, lambda: scene.announce(1, 1000)), (pulse_at, lambda: scene.pulse(9, pulse_at, 7))],
                          key=lambda one: one[0]):  # fmt: skip
        assert at
        act()
    scene.read(7, 1050)
    scene.tick(1200)
    assert scene.desk.of("failed")[0][1] == "no trigger pulse reached camera top within 20 ms of the announcement"
    assert scene.desk.of("unannounced") == [("top", None)]
    assert any("pulse 7 came, and no part was announced" in a for a in scene.desk.alarms)


def test_two_pictures_in_a_window_belong_to_nobody() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1003, 7)
    scene.pulse(9, 1012, 8)
    assert "took two pictures" in str(scene.desk.of("failed")[0][1])
    scene.read(8, 1040)
    scene.tick(1200)
    assert scene.desk.of("settled") == []


def test_a_second_pulse_without_a_picture_is_known_by_the_counter() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1003, 7)
    scene.read(8, 1021)  # its picture is lost on the way, or the camera was busy
    scene.tick(1030)
    assert scene.desk.of("settled") == [] and scene.desk.of("failed") == []
    scene.tick(1100)
    assert "counted pulse 8 as well" in str(scene.desk.of("failed")[0][1])


def test_a_lost_picture_costs_its_own_part_alone() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1001, 7)
    scene.read(7, 1030)
    scene.announce(2, 1100)  # pulse 8 comes, its picture does not
    scene.read(8, 1130)
    scene.announce(3, 1200)
    scene.pulse(3, 1201, 9)
    scene.read(9, 1230)
    scene.tick(1400)
    assert scene.desk.of("settled") == [(1,), (3,)]
    assert scene.desk.of("failed") == [(2, "camera top counted pulse 8, but its picture did not come")]


def test_a_late_picture_is_its_own_parts_or_nobodys() -> None:
    scene = Scene()
    scene.read(6, 900)
    scene.announce(1, 1000)
    scene.read(7, 1030)
    scene.pulse(1, 1002, 7, now=1070)  # still waited for: it is part 1's, by its exposure
    assert scene.desk.of("matched") == [(1, 1)]
    scene.announce(2, 1100)
    scene.read(8, 1130)
    scene.tick(1190)
    assert len(scene.desk.of("failed")) == 1
    scene.announce(3, 1200)
    scene.pulse(2, 1101, 8, now=1201)
    scene.pulse(3, 1202, 9)
    scene.read(9, 1230)
    scene.tick(1300)
    assert scene.desk.of("settled") == [(1,), (3,)]
    assert ("late",) in scene.desk.of("dropped")


def test_without_a_clock_a_late_picture_is_not_believed() -> None:
    scene = Scene()
    scene.read(6, 900)
    scene.announce(1, 1000)
    scene.read(7, 1030)
    late = Pulse(frame("top", 1, 7, 1051 * MS), 7, 7, 1051 * MS, timed=False)
    scene.announce(2, 1052)
    scene.matcher.pulse("top", late, 1053 * MS)
    scene.tick(1300)
    assert scene.desk.of("matched") == []
    assert "camera top: it came late" in str(scene.desk.of("failed"))


def test_pictures_that_come_in_another_order_find_their_parts() -> None:
    scene = Scene()
    scene.read(6, 900)
    scene.announce(1, 1000)
    scene.announce(2, 1050)
    scene.pulse(2, 1051, 8, now=1053)
    scene.pulse(1, 1001, 7, now=1054)
    scene.read(8, 1075)
    scene.tick(1200)
    assert sorted(scene.desk.of("settled")) == [(1,), (2,)]
    assert sorted(scene.desk.of("matched")) == [(1, 1), (2, 2)]


def test_the_same_picture_twice_is_counted_and_dropped() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1002, 7)
    scene.pulse(1, 1002, 7, now=1006)
    scene.read(7, 1030)
    assert scene.desk.of("settled") == [(1,)]
    assert scene.desk.of("dropped") == [("doubled",)]
    assert scene.matcher.tracks["top"].totals.doubled == 1


def test_a_frame_id_that_does_not_fit_the_count_is_not_believed() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1002, 7, 100)
    scene.read(7, 1030)
    scene.announce(2, 1100)
    scene.pulse(2, 1102, 8, 105)
    scene.read(8, 1130)
    scene.announce(3, 1200)
    scene.pulse(3, 1202, 9, 106)
    scene.read(9, 1230)
    assert scene.desk.of("settled") == [(1,), (3,)]
    assert scene.desk.of("failed") == [
        (2, "camera top: it says frame id 105, +5, where the trigger counter says +1")
    ]


def test_an_unusable_picture_says_why() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1002, 7, why="the picture is incomplete; check the cable")
    assert scene.desk.of("failed") == [(1, "camera top: the picture is incomplete; check the cable")]


def test_two_announcements_whose_windows_meet_are_both_refused() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1002, 7)
    scene.announce(2, 1030)
    scene.pulse(2, 1032, 8)
    scene.read(8, 1060)
    assert [seq for seq, _ in scene.desk.of("failed")] == [1, 2]
    assert "parts P1 and P2 were announced within 30 ms" in str(scene.desk.of("failed")[0][1])
    scene.announce(3, 3000)  # and the next one is clear again
    scene.pulse(3, 3001, 9)
    scene.read(9, 3030)
    assert scene.desk.of("settled") == [(3,)]


def test_refused_parts_keep_the_books_in_step_and_are_never_spoken_of() -> None:
    scene = Scene()
    scene.announce(1, 1000, inspected=False)
    scene.pulse(1, 1002, 7)
    scene.read(7, 1030)
    assert scene.desk.said == [("dropped", "refused")]
    assert scene.matcher.settled == 1 and scene.desk.alarms == []


def test_a_part_needs_a_picture_of_each_camera() -> None:
    scene = Scene(cameras=("top", "side"))
    scene.announce(1, 1000)
    scene.pulse(1, 1001, 7)
    scene.read(7, 1030)
    scene.read(3, 1030, camera="side")
    scene.tick(1030)
    assert scene.desk.of("failed") == [(1, "no trigger pulse reached camera side within 20 ms of the announcement")]
    scene.announce(2, 3100)
    scene.pulse(2, 3101, 8)
    scene.pulse(2, 3104, 4, camera="side")
    scene.read(8, 3130)
    scene.read(4, 3130, camera="side")
    assert scene.desk.of("matched") == [(2, 2, 2)] and scene.desk.of("settled") == [(2,)]


def test_a_lost_camera_fails_what_waits_and_begins_anew() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.pulse(1, 1001, 700)
    scene.matcher.lost("top", "camera top is lost", 1005 * MS)
    assert scene.desk.of("failed") == [(1, "camera top is lost")]
    scene.announce(2, 2000)
    scene.pulse(2, 2001, 1, 0)
    scene.read(1, 2030)
    assert scene.desk.of("settled") == [(2,)]
    assert scene.desk.alarms == []  # the camera's own alarm is enough


def test_while_parts_go_on_a_camera_that_is_back_has_to_prove_itself() -> None:
    scene = Scene()
    scene.announce(1, 1000)
    scene.matcher.lost("top", "camera top is lost", 1005 * MS)
    for n in range(2, 7):
        scene.announce(n, n * 300 + 500)
        scene.pulse(n, n * 300 + 501, n)
        scene.read(n, n * 300 + 530)
    assert [seq for seq, _ in scene.desk.of("failed")] == [1, 2, 3, 4]
    assert scene.desk.of("settled") == [(5,), (6,)]


def test_a_lost_message_is_found_by_the_next_count() -> None:
    scene = Scene()
    for n in (1, 2):
        scene.announce(n, n * 100, number=n)
        scene.pulse(n, n * 100 + 1, n)
        scene.read(n, n * 100 + 30)
    scene.pulse(3, 301, 3)  # its message is lost
    scene.read(3, 330)
    scene.tick(350)
    assert scene.desk.of("unannounced") == []  # whose it was is not known before the next one
    scene.announce(4, 400, number=4)
    assert scene.desk.of("unannounced") == [("top", 3)]
    assert "the PLC's message about part 3 was lost" in scene.desk.alarms[-1]
    assert scene.matcher.doubled(4, 500 * MS) and scene.matcher.doubled(2, 500 * MS)
    assert not scene.matcher.doubled(5, 500 * MS) and not scene.matcher.doubled(4, 9000 * MS)


def test_an_extra_pulse_gets_no_number() -> None:
    scene = Scene()
    scene.announce(1, 100, number=1)
    scene.pulse(1, 101, 1)
    scene.pulse(0, 150, 2)
    scene.read(2, 172)
    scene.tick(195)
    scene.announce(2, 200, number=2)
    scene.pulse(2, 201, 3)
    scene.read(3, 230)
    assert scene.desk.of("unannounced") == [("top", None)]
    assert "has not counted as many pulses as parts came" in str(scene.desk.of("failed")[0][1])
    for n in (3, 4, 5):
        scene.announce(n, n * 100, number=n)
        scene.pulse(n, n * 100 + 1, n + 1)
        scene.read(n + 1, n * 100 + 30)
    assert scene.desk.of("settled") == [(1,), (5,)]  # parts 2 to 4 showed that they are in step again


def test_a_line_that_is_later_than_its_window_does_not_slip_by_one() -> None:
    """Each pulse comes 70 ms after its message, at the next part's: every pair looks right but for the count."""
    scene = Scene()
    scene.announce(1, 100)
    scene.pulse(1, 101, 1)
    scene.read(1, 130)
    for n in (2, 3):
        scene.announce(n, n * 100)
        if n == 3:
            scene.pulse(2, 301, 2)
        scene.read(n - 1, n * 100 + 30)
        scene.tick(n * 100 + 90)
    assert scene.desk.of("settled") == [(1,)]


def test_out_of_step_after_ten_and_back_after_three_good_ones() -> None:
    scene = Scene()
    for n in range(CONFUSED):
        assert not scene.matcher.out_of_step
        scene.announce(n, n * 100)
        scene.read(0, n * 100 + 21)
        scene.tick(n * 100 + 90)
    assert "out of step" in scene.matcher.out_of_step
    for n in range(3):
        assert scene.matcher.out_of_step
        at = 5000 + n * 100
        scene.announce(100 + n, at, inspected=False)
        scene.pulse(1, at + 1, n + 1)
        scene.read(n + 1, at + 30)
    assert not scene.matcher.out_of_step


# --- counted, the pulse makes the part
def test_counted_parts_carry_the_plcs_count_on() -> None:
    scene = Scene("start")
    assert "cmd/count" in scene.matcher.out_of_step
    scene.read(40, 10)
    assert isinstance(scene.matcher, Counted)
    assert scene.matcher.set_count(7, 20 * MS) == ""
    assert not scene.matcher.out_of_step
    scene.pulse(8, 100, 41)
    scene.read(41, 130)
    scene.read(42, 170)  # part 9 was counted, its picture is lost
    scene.pulse(10, 200, 43)
    scene.read(43, 230)
    scene.tick(400)
    assert scene.desk.of("arrived") == [(8,), (9,), (10,)]
    assert scene.desk.of("settled") == [(1008,), (1010,)]
    assert scene.desk.of("failed") == [(1009, "camera top counted pulse 42, but its picture did not come")]


def test_counted_a_bounce_ends_the_agreement() -> None:
    scene = Scene("start")
    assert isinstance(scene.matcher, Counted)
    scene.matcher.set_count(0, 10 * MS)
    scene.pulse(1, 100, 1)
    scene.pulse(1, 108, 2)
    scene.read(2, 130)
    assert len(scene.desk.of("failed")) == 2 and scene.desk.of("settled") == []
    assert "pulses 1 and 2 came within 8.0 ms" in scene.matcher.out_of_step
    assert "still under way" in scene.matcher.set_count(1, 110 * MS) or scene.matcher.set_count(1, 500 * MS) == ""


def test_counted_a_camera_that_was_away_ends_the_agreement() -> None:
    scene = Scene("start")
    assert isinstance(scene.matcher, Counted)
    scene.matcher.set_count(0, 10 * MS)
    scene.matcher.lost("top", "gone", 20 * MS)
    assert "was away" in scene.matcher.out_of_step
    scene.pulse(1, 100, 1)
    assert scene.desk.of("arrived") == []
    assert ("unsynchronised",) in scene.desk.of("dropped")


# --- everything at once
@pytest.mark.parametrize(("counter", "cameras"), [(True, ("top",)), (False, ("top",)), (True, ("top", "side"))])
@pytest.mark.parametrize("mode", MODES)
def test_no_part_gets_another_parts_picture(mode: str, counter: bool, cameras: tuple[str, ...]) -> None:
    belt = Belt(mode, Rates.all(0.01), cameras=cameras, counter=counter, seed=11)
    belt.run(500)
    assert belt.wrong == []
    assert all(t.state in ("settled", "failed", "refused by the PLC") for t in belt.told.values())
    assert set(range(1, 501)) - belt.touched - belt.good == set() or mode == "start"
    assert belt.frames_out == belt.frames_back  # every slot is accounted for
    assert len(belt.alarms) >= len([t for t in belt.told.values() if t.state == "failed"]) > 8


@pytest.mark.parametrize("mode", MODES)
def test_a_quiet_line_loses_nothing(mode: str) -> None:
    belt = Belt(mode, Rates(), seed=2)
    belt.run(500)
    assert belt.good == set(range(1, 501))
    assert belt.alarms == [] and belt.strange == []


@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from([0.02, 0.1, 0.3]),
    mode=st.sampled_from(MODES),
    cameras=st.sampled_from([("top",), ("top", "side")]),
)
def test_whatever_happens_every_part_is_answered(seed: int, rate: float, mode: str, cameras: tuple[str, ...]) -> None:
    """With faults this thick two may hide each other; what is told stays complete, and slots never leak."""
    belt = Belt(mode, Rates.all(rate), cameras=cameras, seed=seed)
    belt.run(60)
    assert all(t.state in ("settled", "failed", "refused by the PLC") for t in belt.told.values())
    assert belt.frames_out == belt.frames_back
