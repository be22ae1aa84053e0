"""Values against rank."""

from hypothesis import given
from hypothesis import strategies as st

from spd_tui.rows.rank_plot import RankScale, rank_plot_lines

VALUES = [10.0 ** (-place / 100) for place in range(400)] + [0.0] * 100


def test_the_axis_is_logarithmic_and_the_component_is_marked():
    lines = [line.plain for line in rank_plot_lines(VALUES, 100, 50, 8, "density against rank")]
    assert lines[0] == "density against rank"
    assert len(lines) == 8 + 4
    assert [line[:9].strip() for line in lines[1:9]] == ["1", "0.1", "", "0.01", "", "0.001", "", "1e-4"]
    tops = [sum(line[10 + column] != " " for line in lines[1:9]) for column in range(40)]
    assert tops == sorted(tops, reverse=True)
    assert tops[20] in (4, 5), "a straight line on a log axis"
    assert lines[9].index("▲") == 10 + 10
    assert lines[11] == "▲ rank 101 of 500: 0.100 · 100 never fire"


def test_a_component_that_never_fires_has_no_place_on_a_log_axis():
    lines = [line.plain for line in rank_plot_lines(VALUES, 450, 80, 8, "t")]
    assert "▲" not in "".join(lines[:-1])
    assert lines[-1] == "▲ never fires, like 100 of 500 components"


def test_nothing_fires():
    assert rank_plot_lines([0.0, 0.0], 0, 40, 8, "t")[1].plain == "no component ever fires"


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=300),
    st.data(),
    st.integers(12, 120),
    st.integers(2, 20),
)
def test_any_values_fit(values, data, width, rows):
    values = sorted(values, reverse=True)
    rank = data.draw(st.one_of(st.none(), st.integers(0, len(values) - 1)))
    for line in rank_plot_lines(values, rank, width, rows, "title"):
        assert line.cell_len <= width


@given(st.integers(1, 2000), st.integers(12, 200))
def test_every_rank_lies_in_its_column(count, width):
    scale = RankScale.of([1.0] * count, width)
    for rank in range(0, count, max(1, count // 50)):
        column = scale.column(rank)
        assert 0 <= column < scale.columns
        assert count < scale.columns or scale.ranks(column)[0] <= rank <= scale.ranks(column)[1]
