from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spd_tui.terminal_style import PLAIN, StyleThrift, changed, transition

COLOURS = st.sampled_from(["31", "97", "39", "38;5;9", "38;5;200", "38;2;1;2;3", "38;2;9;9;9"])
GROUNDS = st.sampled_from(["41", "107", "49", "48;5;9", "48;2;1;2;3", "48;2;9;9;9"])
FLAGS = st.sampled_from(["1", "3", "4", "7", "9"])
STYLES = st.one_of(
    st.just("0"),
    st.just(""),
    st.lists(st.one_of(COLOURS, GROUNDS, FLAGS), min_size=1, max_size=4).map(";".join),
    st.lists(st.one_of(COLOURS, GROUNDS, FLAGS), max_size=3).map(lambda parts: ";".join(["0", *parts])),
)
PIECES = st.one_of(
    STYLES.map(lambda numbers: f"\x1b[{numbers}m"),
    st.text("ab █漢", min_size=1, max_size=5),
    st.tuples(st.integers(1, 6), st.integers(1, 20)).map(lambda at: f"\x1b[{at[0]};{at[1]}H"),
    st.sampled_from(["\r\n", "\x1b[3C", "\x1b[K", "\x1b[2J", "\x1b[?2026h", "\x1b[?2026l"]),
)


def drawn(data: list[str]) -> object:
    screen = pyte.Screen(20, 6)
    stream = pyte.Stream(screen)
    for part in data:
        stream.feed(part)
    cells = [[seen(screen.buffer[row][column]) for column in range(20)] for row in range(6)]
    return cells, screen.cursor.attrs


def seen(cell: Any) -> Any:
    """A cell as the eye has it: the colour of a blank is its background."""
    hidden = cell.data == " " and not (cell.underscore or cell.reverse or cell.strikethrough)
    return cell._replace(fg="default", bold=False, italics=False) if hidden else cell


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=4))
def test_the_terminal_shows_the_same(writes: list[str]) -> None:
    thrift = StyleThrift()
    assert drawn([thrift.shorten(part) for part in writes]) == drawn(writes)


def test_a_row_of_one_style_says_it_once() -> None:
    style = "\x1b[38;2;216;222;230;48;2;18;22;27m"
    row = "".join(f"{style}{word}\x1b[0m" for word in ("layer", "  ", "density", "  ", "0.1"))
    assert StyleThrift().shorten(row) == f"{style}layer  density  0.1\x1b[0m"


def test_only_what_differs_is_said() -> None:
    data = "\x1b[31;48;2;1;2;3ma\x1b[0m\x1b[32;48;2;1;2;3mb\x1b[0m\x1b[1;32;48;2;1;2;3mc\x1b[0m"
    assert StyleThrift().shorten(data) == "\x1b[31;48;2;1;2;3ma\x1b[32mb\x1b[1mc\x1b[0m"


def test_blanks_need_no_foreground() -> None:
    data = "\x1b[31;42ma\x1b[0m\x1b[32;42m  \x1b[0m\x1b[31;42mb\x1b[0m"
    assert StyleThrift().shorten(data) == "\x1b[31;42ma  b\x1b[0m"
    underlined = "\x1b[31ma\x1b[0m\x1b[4;31m \x1b[0m"
    assert StyleThrift().shorten(underlined) == "\x1b[31ma\x1b[4m \x1b[0m"


def test_a_move_changes_no_style() -> None:
    data = "\x1b[31ma\x1b[0m\x1b[2;1H\x1b[31mb\x1b[0m"
    assert StyleThrift().shorten(data) == "\x1b[31ma\x1b[2;1Hb\x1b[0m"


@pytest.mark.parametrize("numbers", ["38", "38;2;1", "73", "38;7;1", "22"])
def test_what_is_not_understood_goes_through(numbers: str) -> None:
    assert changed(PLAIN, numbers) is None
    data = f"\x1b[31ma\x1b[{numbers}mb\x1b[0mc"
    assert StyleThrift().shorten(data) == data


def test_from_an_unknown_style_everything_is_said() -> None:
    style = changed(PLAIN, "1;31")
    assert style is not None
    assert transition(None, style) == "\x1b[0;1;31m"
