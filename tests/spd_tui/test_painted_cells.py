from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, set_cell_size

from spd_tui.driver import Frugal
from spd_tui.painted_cells import PaintedCells, paints_nothing
from spd_tui.terminal_style import StyleThrift

COLUMNS, ROWS = 24, 5
STYLES = st.sampled_from(["0", "31", "1;32", "4", "7;33", "38;2;1;2;3;48;2;9;9;9", "48;2;9;9;9"])
SIGNS = st.sampled_from(["a", "b", " ", "  ", "·", "█", "é", "e\u0301", "漢", "😀", "م"])
RUNS = st.tuples(STYLES, st.lists(SIGNS, min_size=1, max_size=9).map("".join))


def run(style: str, text: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m"


def piece(row: int, column: int, runs: list[tuple[str, str]]) -> str:
    """Text as a widget has it painted: from a place on, and never over the screen's edge."""
    said = f"\x1b[{row};{column}H"
    for style, text in runs:
        cut = text if cell_len(text) <= (room := COLUMNS + 1 - column) else set_cell_size(text, room)
        said += run(style, cut) if cut else ""
        column += cell_len(cut)
    return said


def frame(pieces: list[tuple[int, int, list[tuple[str, str]]]]) -> str:
    """Pieces as Textual writes them: from the top, with an end of line where the next is on another."""
    ordered = sorted(pieces, key=lambda each: each[0])
    said = ""
    for number, (row, column, runs) in enumerate(ordered):
        said += "\n" * (number > 0 and row != ordered[number - 1][0]) + piece(row, column, runs)
    return said + "\x1b[2;3H"


PIECES = st.tuples(st.integers(1, ROWS), st.integers(1, COLUMNS), st.lists(RUNS, min_size=1, max_size=6))
FRAMES = st.lists(PIECES, min_size=1, max_size=6).map(frame)
OTHERS = st.sampled_from(
    ["\x1b[?2026h", "\x1b[?2026l", "\x1b[2J", "\x1b[?25h", "\x1b[31mleft red", "\x1b[0m", "\r\n", "a\tb", ""]
)


def shown(writes: list[str]) -> object:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    stream.feed("\x1b[?7l")  # as the browser has it: nothing goes on at the next line
    for part in writes:
        stream.feed(part)
    cells = [[seen(screen.buffer[row][column]) for column in range(COLUMNS)] for row in range(ROWS)]
    return cells, screen.cursor.attrs, (screen.cursor.y, screen.cursor.x)


def seen(cell: Any) -> Any:
    hidden = cell.data == " " and not (cell.underscore or cell.reverse or cell.strikethrough)
    return cell._replace(fg="default", bold=False, italics=False) if hidden else cell


@given(st.lists(st.one_of(FRAMES, FRAMES, OTHERS), max_size=8))
def test_the_terminal_shows_the_same(writes: list[str]) -> None:
    cells, thrift = PaintedCells(), StyleThrift()
    sent = [cells.rest_of(part) for part in writes]
    assert shown(sent) == shown(writes)
    assert shown([thrift.shorten(part) for part in sent]) == shown(writes)


@given(FRAMES, FRAMES)
def test_what_was_forgotten_is_sent_again(before: str, after: str) -> None:
    cells = PaintedCells()
    cells.rest_of(before)
    cells.forget()
    assert shown([cells.rest_of(after)]) == shown([after])


LINE = piece(3, 1, [("31", "one two three")])


def test_what_is_shown_is_not_sent_again() -> None:
    cells = PaintedCells()
    assert cells.rest_of(LINE) == "\x1b[0;31m\x1b[3;1Hone two three\x1b[0m"
    assert cells.rest_of(LINE) == ""


def test_only_the_cells_that_differ_are_sent() -> None:
    cells = PaintedCells()
    cells.rest_of(LINE)
    changed = cells.rest_of(piece(3, 1, [("31", "one too three")]))
    assert changed == "\x1b[0;31m\x1b[3;6Ho\x1b[0m"
    assert (
        cells.rest_of(piece(3, 1, [("32", "one"), ("31", " too three")])) == "\x1b[0;32m\x1b[3;1Hone\x1b[0m"
    )


def test_a_style_is_said_once_for_all_its_places() -> None:
    tokens = [("32", "some"), ("41", "shaded"), ("32", "words"), ("41", "here")]
    sent = PaintedCells().rest_of(piece(1, 1, tokens) + "\n" + piece(2, 1, tokens))
    assert sent.count("m") - sent.count("some") == 3, "two styles, and plain again"


def test_the_cursor_goes_where_it_should() -> None:
    cells = PaintedCells()
    assert cells.rest_of("\x1b[2;5H") == "\x1b[2;5H"
    assert cells.rest_of("\x1b[2;5H") == ""
    assert cells.rest_of("\x1b[2;9H") == "\x1b[2;9H"


def test_what_something_else_wrote_does_not_move_what_is_painted_next() -> None:
    cells = PaintedCells()
    before, after = (piece(2, 1, [("31", f"hello {word}")]) + "\x1b[2;3H" for word in ("world", "xorld"))
    sent = cells.rest_of(before)
    assert shown([sent, "\x1b[4;1Hwall", cells.rest_of(after)]) == shown([before, "\x1b[4;1Hwall", after])


@pytest.mark.parametrize("text", ["漢字", "e\u0301", "😀", "مرحبا", "👨\u200d👩", "a\u00adb"])
def test_text_of_which_terminals_may_make_another_width_is_sent_whole(text: str) -> None:
    cells = PaintedCells()
    line = piece(1, 1, [("31", "tokens "), ("0", text), ("31", " and more")])
    cells.rest_of(line)
    assert cells.rest_of(line) == f"\x1b[1;1H\x1b[0;31mtokens \x1b[0m{text}\x1b[0;31m and more\x1b[0m"


def test_a_mark_goes_to_the_character_before_it() -> None:
    line = piece(1, 1, [("31", "steady "), ("32", "e"), ("33", "\u0301 and more")])
    assert shown([PaintedCells().rest_of(line)]) == shown([line])


@pytest.mark.parametrize("data", ["\x1b[2J", "\x1b[?1049h", "\x1b[?7h", "\x1bP0;0q#0\x1b\\", "\b"])
def test_after_anything_else_everything_is_sent(data: str) -> None:
    cells = PaintedCells()
    first = cells.rest_of(LINE)
    assert cells.rest_of(data) == data
    assert cells.rest_of(LINE) == first


@pytest.mark.parametrize(
    "data",
    [
        "\x1b[?2026h",
        "\x1b[?2026l\x1b[?25h",
        "\x1b[?2048h",
        "\x07",
        "\x1b]52;c;YQ==\x07",
        "\x1b]22;default\x07",
    ],
)
def test_what_paints_nothing_makes_nothing_unknown(data: str) -> None:
    driver = Frugal()
    driver.shortened(LINE)
    assert paints_nothing(data) and driver.shortened(data) == data
    assert driver.shortened(LINE) == ""


@pytest.mark.parametrize("data", ["\x1b[?1049h", "\x1b[?7h", "\x1b[2J", "\x1b]8;;http://a\x07", "a\x07", ""])
def test_what_may_paint_or_change_how_it_is_painted_is_told_apart(data: str) -> None:
    assert not paints_nothing(data)


def test_a_mark_that_begins_a_piece_leaves_the_character_before_unknown() -> None:
    plain, marked = piece(3, 1, [("31", "abcdef")]), piece(3, 4, [("31", "\u0301 and")])
    writes = [
        plain,
        marked,
        plain,
        plain + "\n" + piece(4, 1, [("31", "a")]) + piece(4, 2, [("31", "\u0301")]),
    ]
    cells = PaintedCells()
    assert shown([cells.rest_of(part) for part in writes]) == shown(writes)
