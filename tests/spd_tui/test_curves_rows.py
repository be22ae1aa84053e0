"""Curves drawn into cells: nothing lost, nothing invented, no way to crash."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spd_tui.rows.axes import axis_label, linear_ticks, log_ticks
from spd_tui.rows.curves import Curve, Window, data_ends, downsample, draw

FLOATS = st.floats(min_value=-1e300, max_value=1e300) | st.just(math.nan)


@st.composite
def curves(draw_):
    made = []
    for marker in range(draw_(st.integers(0, 3))):
        values = draw_(st.lists(FLOATS, max_size=60))
        steps = sorted(draw_(st.lists(st.integers(0, 10**7), min_size=len(values), max_size=len(values))))
        made.append(
            Curve(f"curve {marker}", np.array(steps, dtype=float), np.array(values, dtype=float), marker)
        )
    return made


def curve(values, marker=0, name="loss"):
    return Curve(name, np.arange(len(values), dtype=float), np.array(values, dtype=float), marker)


def text(plot):
    return ["".join(piece for piece, _ in line) for line in plot.lines]


# ---- sampling


@given(st.lists(FLOATS, min_size=1, max_size=400), st.integers(2, 20))
def test_sampling_keeps_the_extremes_of_what_is_seen(values, columns):
    x, y = np.arange(len(values), dtype=float), np.array(values)
    points = downsample(x, y, 0.0, float(len(values)), columns)
    assert len(points) <= 4 * columns + 2 or len(points) == len(values)
    known, kept = y[~np.isnan(y)].tolist(), [value for _, value in points if not math.isnan(value)]
    assert bool(known) == bool(kept)
    if known:
        assert (min(kept), max(kept)) == (min(known), max(known))


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(1, 3000), st.integers(2, 30))
def test_sampling_a_part_gives_its_points_in_order_and_a_neighbour_on_either_side(size, left, width, columns):
    x = np.arange(size, dtype=float)
    points = downsample(x, np.sin(x), left, left + width, columns)
    places = [place for place, _ in points]
    assert places == sorted(places)
    assert sum(place < left for place in places) <= 1
    assert sum(place > left + width for place in places) <= 1
    inside = np.sin(x[(x >= left) & (x <= left + width)])
    if len(inside):
        kept = [value for place, value in points if left <= place <= left + width]
        assert (min(kept), max(kept)) == (inside.min(), inside.max())


# ---- drawing


@given(curves(), st.integers(0, 120), st.integers(0, 40), st.booleans(), st.booleans())
def test_any_plot_fits_its_room(made, width, height, log, plain):
    plot = draw(made, width, height, Window(), log=log, plain=plain)
    assert len(plot.lines) <= max(height, 1)
    assert all(len(line) <= max(width, 0) for line in text(plot))
    if plain:
        assert "".join(text(plot)).isascii()


def test_a_point_far_outside_of_what_is_seen_is_joined_by_a_steep_line():
    lines = text(draw([curve([5e297, 0.0, 7e-84, 0.0, 5e297])], 60, 20, Window(0.5, 3.5)))
    assert len(lines) == 20 and "●" in "".join(lines)


@given(curves(), st.lists(st.sampled_from(("in", "out", "left", "right")), max_size=12))
def test_zooming_and_moving_stays_within_the_data(made, keys):
    ends = data_ends(made)
    if ends is None:
        return
    window = Window()
    for key in keys:
        window = (
            window.zoomed(0.5 if key == "in" else 2.0, *ends)
            if key in ("in", "out")
            else window.panned(-0.25 if key == "left" else 0.25, *ends)
        )
        left, right = window.within(*ends)
        assert ends[0] <= left <= right <= ends[1] + 1e-6 * max(1.0, abs(ends[1]))
        draw(made, 60, 20, window)


def test_a_window_that_holds_everything_follows_the_growth():
    assert Window(2.0, 4.0).zoomed(100.0, 0.0, 10.0) == Window()
    assert Window().panned(0.5, 0.0, 10.0).whole
    zoomed = Window().zoomed(0.5, 0.0, 10.0)
    assert (zoomed.left, zoomed.right) == (2.5, 7.5)
    assert zoomed.panned(1.0, 0.0, 10.0) == Window(5.0, 10.0)


def test_a_line_falls_from_left_to_right():
    lines = text(draw([curve([4.0, 3.0, 2.0, 1.0, 0.0])], 40, 12, Window()))
    assert "●" in lines[0][:8]
    assert "●" in lines[-3][-4:]
    assert lines[-2].strip().startswith("└")


def test_a_gap_is_not_bridged():
    lines = text(draw([curve([1.0] * 10 + [math.nan] * 20 + [1.0] * 10)], 60, 10, Window()))
    row = next(line for line in lines if "●" in line)
    body = row[row.index("┤") + 1 :] if "┤" in row else row[row.index("│") + 1 :]
    assert " " * 20 in body.strip()


@pytest.mark.parametrize("values", [[3.0], [0.0], [5.0, 5.0, 5.0], [-1e300, 1e300], [5e-324, 5e-324]])
def test_one_point_constant_and_extreme_series_are_drawn(values):
    for log in (False, True):
        plot = draw([curve(values)], 40, 10, Window(), log=log)
        assert "●" in "".join(text(plot)) or log


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("value", "label"), [(0.123, "0.123"), (2.0, "2"), (1209.0, "1 209"), (1.47e-4, "1.47e-4")]
)
def test_the_axes_of_one_point_name_its_step_and_its_value(value, label, log):
    only = Curve("a", np.array([1234.0]), np.array([value]))
    lines = text(draw([only], 40, 10, Window(), log=log))
    assert lines[-1].strip() == "1 234"
    marked = [line for line in lines if "┤" in line]
    assert len(marked) == 1 and marked[0].startswith(f"{label}┤") and "●" in marked[0]
    assert lines[-2].index("┬") == marked[0].index("●")


def test_a_log_axis_says_what_it_drops():
    plot = draw([curve([1.0, 0.0, -1.0, math.nan, 2.0], name="p/x")], 60, 10, Window(), log=True)
    assert plot.remarks == ("log axis: 2 of 4 points of p/x are zero or negative, not drawn",)
    assert "●" in "".join(text(plot))
    nothing = draw([curve([0.0, -1.0])], 60, 10, Window(), log=True)
    assert "nothing above zero here" in "".join(text(nothing))
    assert nothing.remarks


def test_no_curve_and_no_records_say_so():
    assert "space adds a series" in "".join(text(draw([], 60, 10, Window())))
    assert "nothing logged yet" in "".join(text(draw([curve([])], 60, 10, Window())))
    assert text(draw([], 8, 2, Window())) == ["too smal"]


def test_curves_are_told_apart_by_marker_and_number():
    plot = draw([curve([1.0] * 50), curve([2.0] * 50, 3)], 60, 12, Window())
    shown = {marker: piece for line in plot.lines for piece, marker in line if marker is not None}
    assert "●" in shown[0] and "△" in shown[3]


# ---- axes


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(1, 12))
def test_linear_ticks_lie_on_the_axis(low, width, count):
    ticks = linear_ticks(low, low + width, count)
    assert len(ticks) <= 4 * count + 9
    room = 1e-6 * width + 1e-9 * abs(low)
    assert all(low - room <= place <= low + width + room for place, _ in ticks)


@given(st.floats(-320, 300), st.floats(0.01, 600), st.integers(2, 10))
def test_log_ticks_lie_on_the_axis(low, width, count):
    high = min(low + width, 300.0)
    for place, label in log_ticks(low, high, count):
        assert low - 1e-6 <= place <= high + 1e-6
        assert label


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (12000, "12 000"),
        (2e-6, "2e-6"),
        (-0.25, "-0.25"),
        (3e7, "3e7"),
        (1500, "1 500"),
        (1208.5, "1 208.5"),
        (-9999.5, "-9 999.5"),
        (999_999.7, "9.999997e5"),
    ],
)
def test_axis_labels_are_short(value, label):
    assert axis_label(value) == label


def test_decades_are_labelled_as_such():
    assert [label for _, label in log_ticks(-4.0, 2.0, 4)] == ["1e-4", "0.01", "1", "100"]
    assert [label for _, label in log_ticks(0.1, 0.8, 2)] == ["2", "5"]
    assert [label for _, label in log_ticks(0.1, 0.8, 4)] == ["2", "3", "4", "5", "6"]
