"""Where lines may be broken."""

from hypothesis import given
from hypothesis import strategies as st

from spd_tui.rows.wrapping import wrapped


def test_a_number_in_groups_stays_whole() -> None:
    assert wrapped("there are 11 299 of 40 000 components", 24) == [
        "there are 11 299 of",
        "40 000 components",
    ]
    assert wrapped("of 2 149 of 3", 8) == ["of 2 149", "of 3"]


def test_a_command_stays_whole_where_it_fits() -> None:
    assert wrapped("make one: `spd harvest s-1`.", 20) == ["make one:", "`spd harvest s-1`."]
    assert wrapped("make one: `spd harvest s-1`.", 10) == ["make one:", "`spd", "harvest", "s-1`."]


def test_what_is_left_out_ends_at_a_word() -> None:
    assert wrapped("20 steps of 0.1 at random", 16, most=1) == ["20 steps of …"]
    assert wrapped("a b", 16, indent="  ", most=1) == ["a b"]


@given(st.text("ab 12`.", max_size=60), st.integers(6, 30))
def test_nothing_is_lost_and_every_line_fits(text: str, width: int) -> None:
    lines = wrapped(text, width, indent="  ")
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
