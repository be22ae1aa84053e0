"""Numbers as both faces write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.numerals import aligned, grouped, three_digits


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
        (0.9996, "1.00"),
        (-23.94, "-23.9"),
        (123.4, "123"),
        (9.999, "10.0"),
        (99.96, "100"),
        (999.7, "1 000"),
        (-1234.6, "-1 235"),
        (999_499, "999 499"),
        (999.5, "1 000"),
        (999_999, "999 999"),
        (-999_999.4, "-999 999"),
        (999_999.6, "1.00e6"),
        (-4.5e7, "-4.50e7"),
        (0.00123, "0.00123"),
        (0.00099999, "0.00100"),
        (0.000123, "1.23e-4"),
    ],
)
def test_three_digits(value: float | None, text: str) -> None:
    assert three_digits(value) == text


@given(st.floats(allow_nan=False, max_value=1e300, min_value=-1e300))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(three_digits(value).replace(" ", "")) == pytest.approx(value, rel=0.00502)


def test_there_is_no_negative_zero() -> None:
    assert [grouped(-0.4), grouped(-0.0), grouped(-0.6)] == ["0", "0", "-1"]


def test_thousands_stand_in_groups() -> None:
    assert [grouped(n) for n in (0, 999, 2149, -40_000, 1_234_567)] == [
        "0",
        "999",
        "2 149",
        "-40 000",
        "1 234 567",
    ]


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=8))
def test_points_stand_under_points(values: list[float | None]) -> None:
    cells = aligned(values)
    assert len({len(cell) for cell in cells}) <= 1
    assert len({cell.index(".") for cell in cells if "." in cell}) <= 1
    assert [cell.strip() for cell in cells] == [three_digits(value) for value in values]
