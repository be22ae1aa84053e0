"""What a terminal shows, cell by cell, so that of what is painted only the cells that differ are sent.

A widget paints whole lines; a cursor that moves, a card that is replaced or a line laid over others leaves
most of their cells as they were. What the terminal shows is known from what was sent to it, until something
else happens there (`PaintedCells.forget`).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len

from spd_tui.terminal_style import PLAIN, SEEN_ON_BLANKS, Style, changed, transition

_PAINTS_NOTHING = re.compile(
    r"(?:\x1b\[\?(?:25|100[0-7]|1015|1016|2004|2026|2048)[hl]|\x1b\](?:0|2|22|52);[^\x07\x1b]*\x07|\x07)+"
)
"""Marks of a frame, the cursor's visibility, the mouse and the like, title, clipboard, bell."""
_STYLE = re.compile(r"\x1b\[([0-9;]*)m")
_TOKEN = re.compile(_STYLE.pattern + r"|\x1b\[(\d+);(\d+)H|([\r\n]+)|([^\x00-\x1f\x7f-\x9f]+)")
_WORTH_A_MOVE = 5
"""Cells: to go over fewer unchanged ones costs more than to send them again."""

Cell = tuple[str, Style]
"""A character and how it is drawn."""

Row = list[Cell | None]
"""The cells of a row as far as they are known."""

_NO_CELL: Cell = "", PLAIN


def paints_nothing(data: str) -> bool:
    """Whether a terminal shows the same after `data` as before, and writes on in the same place and style."""
    return _PAINTS_NOTHING.fullmatch(data) is not None


class Piece(NamedTuple):
    """Text from a place on, in its styles; without any it is where the cursor goes."""

    row: int
    column: int
    runs: list[tuple[Style, str]]


class PaintedCells:
    """Remembers what one terminal shows."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._cursor: tuple[int, int] | None = None
        self._style: Style | None = PLAIN

    def forget(self) -> None:
        """The terminal may show anything, and its cursor may be anywhere."""
        self._rows, self._cursor = {}, None

    def rest_of(self, data: str) -> str:
        """What of `data` the terminal does not show yet."""
        pieces = _read(data) if self._style is PLAIN else None
        if pieces is None:
            self.forget()
            for numbers in _STYLE.findall(data):
                self._style = changed(self._style, numbers)
            return data
        written: list[str] = []
        touched: dict[int, tuple[Row, Row]] = {}
        # Something else may have written meanwhile: the first place is said in full, unless nothing is new.
        left_at, self._cursor = self._cursor, None
        for piece in pieces:
            self._take_in(piece, touched, written)
        self._say_changes(touched, written)
        if not written and (not pieces or left_at == pieces[-1][:2]):
            self._cursor = left_at
        elif pieces and not pieces[-1].runs:
            self._go_to(pieces[-1].row, pieces[-1].column, written)
        return "".join(written)

    def _take_in(self, piece: Piece, touched: dict[int, tuple[Row, Row]], written: list[str]) -> None:
        """Remember a piece, and its row as it was and as it is; what cannot be remembered is written."""
        row, left, runs = piece
        steady = _steady_runs(runs)
        cells = [cell for style, text in runs[:steady] for cell in _cells(style, text)]
        known = self._rows.setdefault(row, [])
        touched.setdefault(row, (known[:], known))
        right = left + len(cells)
        known.extend([None] * (left - len(known)))
        known[left:right] = cells
        if steady < len(runs):
            # How wide a terminal makes the rest is its own matter: it is sent whole, now and the next time.
            self._say_changes({row: touched.pop(row)}, written)
            # A mark that comes first goes to the character before, which is then drawn otherwise.
            del known[right if steady else max(0, left - 1) :]
            self._go_to(row, right, written)
            written.extend(f"{transition(None, style)}{text}" for style, text in runs[steady:])
            written.append(transition(None, PLAIN))
            self._cursor = None

    def _say_changes(self, touched: dict[int, tuple[Row, Row]], written: list[str]) -> None:
        """Write the cells that differ, style by style, as it takes more to say a colour than a place."""
        texts: dict[Style, list[tuple[int, int, str]]] = {}
        for row, (old, new) in touched.items():
            old.extend([None] * (len(new) - len(old)))
            for column, style, text in _changes(old, new):
                texts.setdefault(style, []).append((row, column, text))
        for style, places in texts.items():
            written.append(transition(None, style))
            for row, column, text in places:
                self._go_to(row, column, written)
                written.append(text)
                self._cursor = row, column + len(text)
        if texts:
            written.append(transition(None, PLAIN))

    def _go_to(self, row: int, column: int, written: list[str]) -> None:
        if self._cursor == (row, column):
            return
        if self._cursor is not None and self._cursor[0] == row and self._cursor[1] < column:
            written.append(f"\x1b[{column - self._cursor[1]}C")
        else:
            written.append(f"\x1b[{row};{column}H")
        self._cursor = row, column


def _read(data: str) -> list[Piece] | None:
    """What `data` paints, from plain to plain; None where it does anything else to the terminal."""
    pieces: list[Piece] = []
    style: Style | None = PLAIN
    placed, end = True, 0
    for token in _TOKEN.finditer(data):
        numbers, row, column, line, text = token.groups()
        if token.start() != end:
            return None
        end = token.end()
        if numbers is not None:
            style = changed(style, numbers)
        elif row is not None:
            pieces.append(Piece(int(row), int(column), []))
            placed = True
        elif line is not None:
            placed = False  # it need not be sent when a move follows
        elif placed and pieces and style is not None:
            pieces[-1].runs.append((style, text))
        else:
            return None
    return pieces if placed and style is PLAIN and end == len(data) else None


def _steady_runs(runs: Sequence[tuple[Style, str]]) -> int:
    """How many runs there are before one that not every terminal draws alike."""
    for number, (_, text) in enumerate(runs):
        if not _steady(text):
            return max(0, number - 1)  # it may begin with a mark on the character before
    return len(runs)


@lru_cache(maxsize=4096)
def _steady(text: str) -> bool:
    """Whether every terminal draws each character in one cell."""
    return text.isprintable() and (text.isascii() or all(map(_one_cell, text)))


@lru_cache(maxsize=4096)
def _one_cell(char: str) -> bool:
    # Latin, Greek, Cyrillic, and from punctuation to Braille; elsewhere letters join, combine or turn round.
    return (char < "\u0530" or "\u2010" <= char < "\u2900") and cell_len(char) == 1


def _cells(style: Style, text: str) -> list[Cell]:
    if style.flags & SEEN_ON_BLANKS:
        return [(char, style) for char in text]
    blank = _blank(style.background)
    return [blank if char == " " else (char, style) for char in text]


@lru_cache(maxsize=256)
def _blank(background: str) -> Cell:
    """Of a blank nothing is seen but the background; one object for each, as with styles."""
    return " ", PLAIN if background == PLAIN.background else Style(background=background)


def _changes(before: Sequence[Cell | None], after: Sequence[Cell | None]) -> list[tuple[int, Style, str]]:
    """Texts of one style, with their places, that hold every cell that differs."""
    stretches: list[tuple[int, int, Style]] = []
    start, stop, style, blank = 0, -_WORTH_A_MOVE, PLAIN, _NO_CELL
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        if old == new or new is None:
            continue
        if (
            (new[1] is style or new == blank)
            and place - stop < _WORTH_A_MOVE
            and (
                place == stop
                or all(cell and (cell[1] is style or cell == blank) for cell in after[stop:place])
            )
        ):
            stop = place + 1
            stretches[-1] = start, stop, style
            continue
        start, stop, style = place, place + 1, new[1]
        # Blanks go with the text before them where they look the same in its style.
        blank = _NO_CELL if style.flags & SEEN_ON_BLANKS else _blank(style.background)
        stretches.append((start, stop, style))
    return [
        (start, style, "".join([cell[0] for cell in after[start:stop] if cell]))
        for start, stop, style in stretches
    ]
