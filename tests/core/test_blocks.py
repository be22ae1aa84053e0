"""Bars and columns that never lie."""

import math

from hypothesis import given
from hypothesis import strategies as st

from core.blocks import bar, height, heights


def test_a_bar_is_exact_to_an_eighth_and_shows_whatever_is_not_zero() -> None:
    assert bar(0.5, 4) == "██  "
    assert bar(0.53125, 4) == "██▏ "
    assert bar(1e-9, 4) == "▏   "
    assert bar(0.0, 4) == bar(math.nan, 4) == "    "
    assert bar(7.0, 4) == "████"


@given(st.floats(-1, 2), st.integers(0, 30))
def test_bars_have_their_width(share: float, width: int) -> None:
    text = bar(share, width)
    assert len(text) == width
    assert text.count("█") <= width * min(max(share, 0), 1) + 0.5


def test_heights() -> None:
    assert [height(x) for x in (-1.0, 0.0, 1e-9, 0.125, 0.126, 0.5, 1.0, 7.0, math.nan)] == list("  ▁▁▂▄██ ")
    assert heights([0, 1, 4, 8]) == " ▁▄█"
    assert heights([0, 0]) == "  " and heights([]) == ""
