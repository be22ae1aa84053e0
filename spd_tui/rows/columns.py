"""Columns of a table: which fit a width, how wide each is, and how a cell is placed in its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

Align = Literal["left", "right", "decimal"]

GAPS = (2, 1)
"""Cells between two columns; the narrower gap where it saves a column."""
MARK = 1
"""Cells of the cursor's mark at the left edge."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """What `:sort` and the memory call it."""
    title: str
    """The header, with the unit: `density %`."""
    width: int | None = None
    """Cells; None takes what the others leave, between `minimum` and `maximum`."""
    align: Align = "left"
    """`decimal` puts the points under one another."""
    style: str = ""
    """Rich style of its cells: ANSI colour names follow the theme."""
    hide: int = 0
    """0 always stays; of the others the one with the greatest number leaves first where there is no room."""
    minimum: int = 6
    """Least width of a column without a fixed one."""
    maximum: int | None = None
    """Greatest width of a column without a fixed one; None has no bound."""
    sortable: bool = True
    """Whether `s` stops here."""


@dataclass(frozen=True)
class Layout:
    """Which columns fit, and how."""

    places: tuple[tuple[int, int], ...]
    """(number of the column, its width) from left to right."""
    width: int
    """Cells of a whole line."""
    gap: int = GAPS[0]
    """Cells between two columns."""


def lay_out(columns: Sequence[Column], titles: Sequence[str], width: int) -> Layout:
    """Choose the columns that fit `width` cells, and share what is left among those without a fixed width."""
    least = [_least(column, title) for column, title in zip(columns, titles, strict=True)]
    tried = [(_fitting(columns, least, width, gap), gap) for gap in GAPS]
    kept, gap = max(tried, key=lambda each: (len(each[0]), each[1]))
    spare = max(0, width - _total([least[index] for index in kept], gap))
    widths = {index: least[index] for index in kept}
    growing = [index for index in kept if columns[index].width is None]
    while spare and growing:
        share = max(1, spare // len(growing))
        for index in list(growing):
            limit = columns[index].maximum
            gain = max(0, min(share, spare, spare if limit is None else limit - widths[index]))
            widths[index] += gain
            spare -= gain
            if gain < share:
                growing.remove(index)
    return Layout(tuple((index, widths[index]) for index in kept), _total(list(widths.values()), gap), gap)


def _fitting(columns: Sequence[Column], least: Sequence[int], width: int, gap: int) -> list[int]:
    kept = list(range(len(columns)))
    while kept and _total([least[index] for index in kept], gap) > width:
        leaves = max(kept, key=lambda index: (columns[index].hide, index))
        if columns[leaves].hide == 0:
            break
        kept.remove(leaves)
    return kept


def fraction_width(cell: str | Text) -> int:
    """How many cells of a number stand from its decimal point on; 0 without one."""
    text = cell if isinstance(cell, str) else cell.plain
    point = text.rfind(".") if any(character.isdigit() for character in text) else -1
    return 0 if point < 0 else cell_len(text[point:])


def placed(
    cell: str | Text, width: int, align: Align, fraction: int, style: Style, console: Console
) -> list[Segment]:
    """The segments of one cell, exactly `width` wide; what does not fit ends with `…`."""
    length = cell_len(cell) if isinstance(cell, str) else cell.cell_len
    after = max(0, fraction - fraction_width(cell)) if align == "decimal" else 0
    if length > width:
        return _shortened(cell, width, style, console)
    after = min(after, width - length)
    before = 0 if align == "left" else width - length - after
    after = width - length - before
    if isinstance(cell, str):
        return [Segment(" " * before + cell + " " * after, style)]
    inner = _segments(cell, style, console)
    return [Segment(" " * before, style), *inner, Segment(" " * after, style)]


def _shortened(cell: str | Text, width: int, style: Style, console: Console) -> list[Segment]:
    if width <= 1:
        return [Segment("…" * width, style)]
    if isinstance(cell, str):
        return [Segment(set_cell_size(cell, width - 1) + "…", style)]
    text = cell.copy()
    text.truncate(width, overflow="ellipsis", pad=True)
    return _segments(text, style, console)


def _segments(text: Text, style: Style, console: Console) -> list[Segment]:
    if text.style:
        style += console.get_style(text.style, default="")
    if not text.spans:
        return [Segment(text.plain, style)]
    return [
        Segment(segment.text, style + segment.style if segment.style else style)
        for segment in text.render(console, end="")
        if segment.text
    ]


def _least(column: Column, title: str) -> int:
    title_width = cell_len(title)
    if column.width is not None:
        return max(column.width, title_width)
    return max(column.minimum, title_width)


def _total(widths: Sequence[int], gap: int) -> int:
    return MARK + sum(widths) + gap * max(0, len(widths) - 1)
