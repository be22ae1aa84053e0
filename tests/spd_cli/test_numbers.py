"""Numbers in tables: three digits, points under points, and bars that never lie."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.blocks import bar, height, heights
from spd_cli.numbers import aligned, digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (0, "0"),
        (0.0, "0"),
        (1, "1.00"),
        (0.8337, "0.834"),
        (-23.94, "-23.9"),
        (123.4, "123"),
        (9.999, "10.0"),
        (99.96, "100"),
        (999.7, "1000"),
        (999_999, "999999"),
        (1_234_567, "1.23e+06"),
        (0.000123, "0.000123"),
        (0.0000123, "1.23e-05"),
    ],
)
def test_digits(value: float | None, text: str) -> None:
    assert digits(value) == text


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=8))
def test_points_stand_under_points(values: list[float | None]) -> None:
    cells = aligned(values)
    assert len({len(cell) for cell in cells}) <= 1
    assert len({cell.index(".") for cell in cells if "." in cell}) <= 1
    assert [cell.strip() for cell in cells] == [digits(value) for value in values]


@given(st.floats(-1, 2), st.integers(0, 30))
def test_bars_have_their_width(share: float, width: int) -> None:
    text = bar(share, width)
    assert len(text) == width
    assert text.count("█") <= width * min(max(share, 0), 1) + 0.5


def test_heights() -> None:
    assert [height(x) for x in (-1.0, 0.0, 1e-9, 0.125, 0.126, 0.5, 1.0, 7.0, math.nan)] == list("  ▁▁▂▄██ ")
    assert heights([0, 1, 4, 8]) == " ▁▄█"
    assert heights([0, 0]) == "  " and heights([]) == ""
