"""Columns: which fit, and that a cell is exactly as wide as its column whatever is in it."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from spd_tui.rows.columns import Column, fraction_width, lay_out, placed

CONSOLE = Console()
TEXTS = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Mn", "Me", "Cf", "Zl", "Zp"]), max_size=30)
COLUMNS = st.lists(
    st.builds(
        Column,
        name=st.just("n"),
        title=st.text("abcdef %", max_size=9),
        width=st.one_of(st.none(), st.integers(1, 20)),
        hide=st.integers(0, 5),
        minimum=st.integers(1, 12),
        maximum=st.one_of(st.none(), st.integers(1, 40)),
    ),
    max_size=8,
)


@given(
    TEXTS,
    st.integers(0, 24),
    st.sampled_from(["left", "right", "decimal"]),
    st.integers(0, 6),
    st.booleans(),
)
def test_a_cell_is_as_wide_as_its_column(text, width, align, fraction, styled):
    cell = Text(text, "red") if styled else text
    segments = placed(cell, width, align, fraction, Style(), CONSOLE)
    assert sum(cell_len(segment.text) for segment in segments) == width


@given(COLUMNS, st.integers(0, 200))
def test_what_leaves_is_what_may(columns, width):
    layout = lay_out(columns, [column.title for column in columns], width)
    shown = {index for index, _ in layout.places}
    gone = [columns[index].hide for index in range(len(columns)) if index not in shown]
    stays = [columns[index].hide for index in shown]
    assert all(hide > 0 for hide in gone)
    assert not gone or not stays or min(gone) >= max(stays)
    assert layout.width <= max(width, 1) or all(hide == 0 for hide in stays)
    assert [index for index, _ in layout.places] == sorted(shown)


def test_a_narrower_gap_saves_a_column():
    columns = [Column("a", "a", 5), Column("b", "b", 5, hide=1)]
    assert lay_out(columns, ["a", "b"], 13).gap == 2
    assert lay_out(columns, ["a", "b"], 12).gap == 1
    assert len(lay_out(columns, ["a", "b"], 12).places) == 2
    assert len(lay_out(columns, ["a", "b"], 11).places) == 1


def test_points_stand_under_one_another():
    numbers = ["0.412", "12.5", "3", "1.50e-05"]
    fraction = max(fraction_width(number) for number in numbers)
    lines = ["".join(s.text for s in placed(n, 12, "decimal", fraction, Style(), CONSOLE)) for n in numbers]
    assert {line.index(".") for line in lines if "." in line} == {5}
    assert lines[2].rstrip().endswith("3") and len(lines[2].rstrip()) == 5
    assert fraction_width("v1.x") and not fraction_width("e.g.")


def test_what_is_too_long_says_so():
    assert "".join(s.text for s in placed("abcdef", 4, "left", 0, Style(), CONSOLE)) == "abc…"
    assert "".join(s.text for s in placed(Text("漢字漢字"), 5, "left", 0, Style(), CONSOLE)) == "漢字…"
