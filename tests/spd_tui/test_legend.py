"""The legend of a plot, in little room."""

from hypothesis import given
from hypothesis import strategies as st

from spd_tui.rows.legend import legend_lines

SERIES = [(f"l0/h.{number}.attn 1.25", number) for number in range(6)]


def said(width: int, most: int, series: list[tuple[str, int]] = SERIES) -> list[str]:
    return ["".join(text for text, _ in line) for line in legend_lines(series, width, "●○■□", most)]


def test_series_stand_side_by_side() -> None:
    assert said(80, 3) == [
        "● l0/h.0.attn 1.25   ○ l0/h.1.attn 1.25   ■ l0/h.2.attn 1.25",
        "□ l0/h.3.attn 1.25   ● l0/h.4.attn 1.25   ○ l0/h.5.attn 1.25",
    ]


def test_what_does_not_fit_is_counted() -> None:
    assert said(45, 2) == [
        "● l0/h.0.attn 1.25   ○ l0/h.1.attn 1.25",
        "■ l0/h.2.attn 1.25   +3 more",
    ]
    assert said(10, 1) == ["+6 more"]
    assert said(80, 1, []) == []


@given(st.integers(1, 100), st.integers(1, 5), st.integers(0, 12))
def test_every_series_is_named_or_counted(width: int, most: int, count: int) -> None:
    lines = said(width, most, [(f"series {number}", number) for number in range(count)])
    text = " ".join(lines)
    left_out = int(text.split("+")[1].split()[0]) if "+" in text else 0
    assert len(lines) <= most and text.count("series") + left_out == count
