"""Bars and courses."""

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from spd_tui.rows.bars import course, overlap_bar, shares


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=5), st.integers(0, 40))
def test_shares_fill_the_width(parts, width):
    cells = shares(parts, width)
    assert all(cell >= 0 for cell in cells)
    if sum(parts) > 0:
        assert sum(cells) == width
        if width >= len(parts):
            assert all(cell > 0 for cell, part in zip(cells, parts, strict=True) if part > 0)


def test_an_overlap_bar_says_without_colour_which_part_is_which():
    assert overlap_bar(100, 50, 100, 6).plain == "▒▒██░░"
    assert overlap_bar(50, 50, 50, 6).plain == "██████"


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 60))
def test_an_overlap_bar_has_its_width(this, both, other, width):
    assert cell_len(overlap_bar(this, both, other, width).plain) == width


def test_a_course_goes_down_as_the_values_do():
    assert course([5, 4, 3, 2, 1, 0]) == "█▇▅▄▂▁"
    assert course([1000, 100, 10, 1])[1] < "▇" and course([2, 2]) == "▄▄"
    assert course([-1.7e308, 1.7e308]) == "▁█" and course([1.0, math.nan, 2.0]) == "▁ █"


@given(st.lists(st.floats(allow_infinity=False), max_size=100))
def test_a_course_has_a_block_for_every_value(values):
    drawn = course(values)
    if any(value == value for value in values):
        assert len(drawn) == len(values)
        assert all((block == " ") == math.isnan(value) for block, value in zip(drawn, values, strict=True))
    else:
        assert drawn == ""
