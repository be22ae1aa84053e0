"""Numbers and bars."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from core.blocks import align_decimal, bar, height, heights
from spd_tui.rows.bars import course, grouped, overlap_bar, shares, three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.98765, "0.988"),
        (0.9996, "1.00"),
        (23.456, "23.5"),
        (100.0, "100"),
        (1234.0, "1230"),
        (0.00123, "0.00123"),
        (0.000123, "1.23e-4"),
        (-4.5e7, "-4.50e7"),
        (None, "·"),
        (math.nan, "·"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_three_significant_digits(value, text):
    assert three_digits(value) == text


@given(st.floats(allow_nan=False, max_value=1e300, min_value=-1e300))
def test_three_digits_are_within_half_a_percent(value):
    assert float(three_digits(value)) == pytest.approx(value, rel=0.00502)


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1))
def test_decimal_points_stand_under_each_other(values):
    aligned = align_decimal([three_digits(value) for value in values])
    assert len({len(text) for text in aligned}) == 1
    assert len({text.index(".") for text in aligned if "." in text}) <= 1


def test_a_bar_is_exact_to_an_eighth_and_shows_whatever_is_not_zero():
    assert bar(0.5, 4) == "██  "
    assert bar(0.53125, 4) == "██▏ "
    assert bar(1e-9, 4) == "▏   "
    assert bar(0.0, 4) == bar(math.nan, 4) == "    "
    assert bar(7.0, 4) == "████"


def test_heights():
    assert [height(value) for value in (0.0, 1e-9, 0.125, 0.126, 1.0, 3.0)] == [" ", "▁", "▁", "▂", "█", "█"]
    assert heights([0, 1, 2]) == " ▄█"
    assert heights([0, 0]) == "  "


def test_counts_have_groups():
    assert grouped(1234567) == "1 234 567"


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
