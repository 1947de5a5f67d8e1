"""What the widgets draw: gauges, words, letters, overlays, counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inspector.limits import Limits
from inspector.parts import Check, CheckOutcome, Outcome, Shape, Verdict
from inspector.tui import words
from inspector.tui.gauge import gauge
from inspector.tui.ink import TEXT, crop, length, spread
from inspector.tui.letters import block, halves
from inspector.tui.status import CodeCount, LinkState, Picture
from inspector.tui.widgets.checks import in_order
from inspector.tui.widgets.counters import bars, trend
from inspector.tui.widgets.heading import link_groups
from inspector.tui.widgets.picture import WHITE, View, caption, cells, draw_shapes, fit, overlay
from inspector.tui.widgets.verdict import WORDS
from tests.screens import samples

number = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("value", "lower", "upper", "nominal", "drawn"),
    [
        (6.021, 5.95, 6.05, 6.0, " ├───┼■──┤ "),
        (6.0, 5.95, 6.05, 6.0, " ├───■───┤ "),
        (5.95, 5.95, 6.05, 6.0, " ├■──┼───┤ "),
        (6.05, 5.95, 6.05, 6.0, " ├───┼──■┤ "),
        (6.0500001, 5.95, 6.05, 6.0, " ├───┼───┤■"),
        (5.9499999, 5.95, 6.05, 6.0, "■├───┼───┤ "),
        (2.61, 2.4, None, None, " ├─■────── "),
        (99.0, 2.4, None, None, " ├──────■─ "),
        (0.74, None, 0.6, None, " ────────┤■"),
        (0.3, None, 0.6, None, " ────■───┤ "),
        (-3.0, None, 0.0, None, " ─■──────┤ "),
        (0.0, 0.0, 0.0, 0.0, " ├───■───┤ "),
        (None, 1.0, 2.0, None, " ├───────┤ "),
        (float("nan"), 1.0, 2.0, None, " ├───────┤ "),
        (1.0, None, None, None, " " * 11),
    ],
)
def test_a_value_is_drawn_where_it_is(
    value: float | None, lower: float | None, upper: float | None, nominal: float | None, drawn: str
) -> None:
    assert gauge(value, lower, upper, nominal) == drawn


@example(value=1.0, a=2.225073858507e-311, b=None, nominal=None)
@example(value=1e308, a=-1e308, b=1.5e308, nominal=0.0)
@given(value=number, a=number | st.none(), b=number | st.none(), nominal=number | st.none())
def test_a_drawing_never_contradicts_the_judgement(
    value: float, a: float | None, b: float | None, nominal: float | None
) -> None:
    lower, upper = (min(a, b), max(a, b)) if a is not None and b is not None else (a, b)
    drawn = gauge(value, lower, upper, nominal)
    assert len(drawn) == 11
    if lower is not None or upper is not None:
        inside = "■" in drawn[1:-1]
        assert inside == Limits(nominal, lower, upper, "mm", "").hold(value)


@given(st.text())
def test_any_text_becomes_one_cell_a_character_that_a_console_has(text: str) -> None:
    assert set(words.plain(text)) <= words.CP437


def test_plain_keeps_what_a_console_has_and_finds_a_likeness() -> None:
    assert words.plain("Größe ±0,05 °C ├■┤ ≤ µm") == "Größe ±0,05 °C ├■┤ ≤ µm"
    assert words.plain("Łódź – 5 × ø3… Привет") == "Lódz - 5 x o3. ??????"
    assert words.plain("a\x1b[31m\n\tb\x00") == "a?[31m  b?"
    assert words.plain("e\u0301") == "é"


def test_half_blocks_and_all_signs_are_in_the_code_page() -> None:
    assert set("▀▄█░▒▓■·├┤┼─│┬┴┌┐└┘►▲▼○↑↓") <= words.CP437
    for glyph in "▁▂▃▅▆▇╭╮╯╰╷▏●✓✗…\t\x7f":
        assert glyph not in words.CP437


@given(st.text(max_size=60), st.integers(1, 40), st.integers(1, 4))
def test_wrapped_text_keeps_to_its_room(text: str, width: int, rows: int) -> None:
    lines = words.wrap(text, width, rows)
    assert len(lines) <= rows and all(len(line) <= width for line in lines)
    if sum(len(word) + 1 for word in text.split()) <= width:
        assert lines == ([" ".join(text.split())] if text.split() else [])


def test_words_for_numbers_and_times() -> None:
    assert words.count(4812) == "4 812"
    assert words.quantity(6.0204, "mm") == "6.020 mm"
    assert words.quantity(3.0, "count") == "3"
    assert words.clip("sealing face", 8) == "sealin.."
    assert [words.clip("abc", n) for n in (0, 1, 2, 3)] == ["", ".", "..", "abc"]
    assert [words.span(s) for s in (9, 119, 120, 7300)] == ["  9 s", "119 s", "  2 min", "  2 h"]
    assert words.clock("2026-11-22T10:00:00.123Z") == "10:00:00"
    assert words.clock("yesterday") == "--:--:--"
    assert words.seconds_between("2026-11-22T10:00:00Z", "2026-11-22T10:00:09.5Z") == 9.5
    assert words.seconds_between("?", "2026-11-22T10:00:09.5Z") is None
    assert [words.size(n) for n in (0, 41e9, 7e12, 5e15)] == ["0 B", "41 GB", "7.0 TB", "5000.0 TB"]


def test_lines_are_cropped_and_spread_to_the_cell() -> None:
    line = [("abc", TEXT), ("def", TEXT)]
    assert "".join(t for t, _ in crop(line, 4)) == "abcd"
    for width in range(1, 12):
        assert length(spread(line, [("xy", TEXT)], width)) == width


@pytest.mark.parametrize("word", [*WORDS.values(), "NOT READY"])
@pytest.mark.parametrize("room", [(38, 11), (53, 17)])
def test_every_word_of_the_banner_fits_both_layouts(word: str, room: tuple[int, int]) -> None:
    dots = block(word, *room)
    assert dots is not None and dots.shape[0] <= room[1] and dots.shape[1] <= room[0]
    assert dots.sum() > 80, "large enough to be read from afar"


def test_a_word_without_room_or_letters_is_not_drawn() -> None:
    assert block("REJECT", 10, 5) is None
    assert block("QUUX", 99, 99) is None
    assert halves(np.array([[1, 0, 1, 0], [1, 1, 0, 0]], np.bool_)) == ["█▄▀ "]


def test_failing_checks_come_first_in_the_recipes_order() -> None:
    outcomes = [CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.MISSING, CheckOutcome.FAIL]
    checks = tuple(Check(f"s{n}", outcome) for n, outcome in enumerate(outcomes))
    assert [check.step for check in in_order(checks)] == ["s1", "s3", "s2", "s0"]


def test_the_overlay_is_the_failing_steps_alone() -> None:
    region = Shape("polygon", ((0, 0), (9, 0), (9, 9)), role="region")
    found = Shape("circle", ((5, 5),), 3.0, role="found")
    other = Check("other", CheckOutcome.PASS, shapes=(Shape("point", ((1, 1),)),))

    def shapes(*of: Shape) -> tuple[Shape, ...]:
        check = Check("bore", CheckOutcome.FAIL, 1110, "too large", shapes=of)
        return overlay(Verdict(samples.part(), Outcome.FAIL, 1110, "x", checks=(other, check)))

    assert shapes(region, found) == (found,)
    assert shapes(region) == (region,)
    assert shapes() == ()
    assert overlay(samples.good()) == () and caption(samples.good()) == ""
    assert overlay(samples.bad())[0].kind == "circle"
    assert caption(samples.bad()).startswith("1110 bore_left: Left bore too large")


@pytest.mark.parametrize("scale", [0.05, 0.25])
def test_the_overlay_lies_where_the_defect_is(scale: float) -> None:
    image = np.full((48, 64), 200, np.uint8)
    corners = ((400.0, 200.0), (800.0, 200.0), (800.0, 300.0), (400.0, 300.0))
    drawn = draw_shapes(image, (Shape("polygon", corners, role="fail"),), scale / 5)
    white = np.argwhere(drawn == WHITE)
    assert white.min(axis=0) == pytest.approx([200 * scale / 5, 400 * scale / 5], abs=3)
    assert white.max(axis=0) == pytest.approx([300 * scale / 5, 800 * scale / 5], abs=3)
    assert drawn[0, 0] < 200, "the picture gives way to the box"
    assert image.max() == 200, "the picture that was handed in is as it was"


@pytest.mark.parametrize("kind", ["line", "polyline", "polygon", "circle", "point", "text"])
@pytest.mark.parametrize(
    "points", [((20.0, 30.0),), ((20.0, 30.0), (22.0, 31.0)), ((1e300, float("nan")), (0.0, -1e9))]
)
def test_a_tiny_or_wild_shape_is_drawn_or_left_out_but_breaks_nothing(kind: str, points: tuple) -> None:
    for image in (np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.uint8)):
        drawn = draw_shapes(image, (Shape(kind, points, radius_px=1e12 if points[0][0] > 1e9 else 1.0),), 1.0)
        assert drawn.shape == image.shape
        if points[0] == (20.0, 30.0):
            assert (drawn == WHITE).sum() >= 12, "never too small to be seen"


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (7, 300), (300, 7), (1, 1)])
def test_a_picture_becomes_half_blocks_with_its_own_greys(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 128, np.uint8)
    small, scale = fit(image, 38, 24)
    assert small.shape[1] <= 38 and small.shape[0] <= 24 and scale > 0
    lines = cells(small)
    assert len(lines) == (small.shape[0] + 1) // 2
    for line in lines:
        assert length(line) == small.shape[1]
        assert all(style.color is not None and style.color.triplet[0] == 128 for _, style in line if style.color)


def test_marks_close_together_get_one_box_that_hides_nothing() -> None:
    edges = [Shape("line", ((300.0 + x, 200.0), (300.0 + x, 230.0)), role="fail") for x in (0, 40)]
    points = [Shape("point", ((300.0 + x, 215.0),), role="fail") for x in (0, 40)]
    drawn = draw_shapes(np.zeros((48, 64), np.uint8), (*edges, *points), 0.1)
    assert drawn[21:23, 30:35].max() == 0, "what it is about stays visible"
    white = np.argwhere(drawn == WHITE)
    assert white.min(axis=0).tolist() == [18, 28] and white.max(axis=0).tolist() == [25, 36]
    far = draw_shapes(np.zeros((48, 64), np.uint8), (points[0], Shape("point", ((600.0, 400.0),))), 0.1)
    assert (far == WHITE).sum() == 2 * 16, "two boxes of 5x5"


def test_the_picture_is_never_another_parts() -> None:
    picture = Picture(samples.SEQ, np.zeros((3, 4), np.uint8), 1.0)
    view = View.of(samples.bad(), picture)
    assert view.title == "top  part P004812" and view.picture is picture
    assert View.of(samples.doubtful(), None).picture is None


def test_a_trend_shows_every_value_above_nothing() -> None:
    assert trend((0, 1, 50, 100), 1, 1) == ["  ▄ ▄ █"]
    assert trend((0, 1, 50, 100), 2, 1) == ["      █", "  ▄ █ █"]
    assert trend((0, 0), 1, 2) == ["     "]
    assert trend((), 1, 2) == [""]


def test_codes_share_one_row_as_far_as_they_fit() -> None:
    codes = tuple(CodeCount(1000 + n, "Scratch: 3.50 mm, limit 1.50", 40 - n) for n in range(10))
    for width in range(0, 160, 7):
        assert length(bars(codes, width)) <= width + 2
    assert "3.50" not in "".join(text for text, _ in bars(codes, 150)), "a code is not one part's value"
    assert bars((), 80) == []


def test_several_cameras_are_shown_as_their_worst() -> None:
    ok, lost, off = (LinkState(state, 3.0) for state in ("ok", "lost", "off"))
    links = {"plc": ok, "camera top": ok, "camera side": lost, "camera back": off, "judge": off}
    assert link_groups(links) == [("PLC", ok), ("CAM side", lost), ("JUDGE", off)]
    assert link_groups({"camera top": ok, "camera side": ok}) == [("CAM", ok)]
    assert link_groups({}) == []
