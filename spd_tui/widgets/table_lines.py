"""The lines of a table: its header, a row, and what is said where there are no rows, each as a strip."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from spd_tui.rows.columns import MARK, Column, Layout, fraction_width, lay_out, placed
from spd_tui.rows.row_source import Cell, RowSource

CURSOR_MARK = "▸"


@dataclass(frozen=True)
class Line:
    """The piece of the screen a line is made for, and how it looks."""

    width: int
    left: int
    """How far the table is scrolled to the right."""
    style: Style
    console: Console


class TableLines:
    """Lays columns out and makes the lines; knows neither cursor nor scrolling."""

    def __init__(self, empty: str) -> None:
        self.columns: tuple[Column, ...] = ()
        self.sort: tuple[str, bool] | None = None
        """The column the rows are sorted by, and whether downwards."""
        self.empty = empty
        """What is said where there are no rows; may have several lines."""
        self._fractions: list[int] = []
        self._layout = Layout((), 0)
        self._layout_for: object = None

    def layout(self, width: int) -> Layout:
        """Where the columns stand on a screen of `width`."""
        state = (self.columns, width, self.sort)
        if state != self._layout_for:
            self._layout = lay_out(self.columns, self._titles(), width)
            self._layout_for = state
        return self._layout

    def measure(self, rows: RowSource) -> None:
        """How much room decimals need, from a sample of rows, once: nothing shifts by scrolling."""
        if all(column.align != "decimal" for column in self.columns):
            self._fractions = [0] * len(self.columns)
            return
        length = len(rows)
        picks = {*range(min(length, 60)), *range(0, length, max(1, length // 60))}
        sample = [rows.cells(index) for index in sorted(picks)]
        self._fractions = [
            max((fraction_width(cells[number]) for cells in sample), default=0)
            if column.align == "decimal"
            else 0
            for number, column in enumerate(self.columns)
        ]

    def header(self, line: Line) -> Strip:
        """The titles, with the mark of the order."""
        return self._strip(line, " ", self._titles(), [0] * len(self.columns), plain=True)

    def row(self, line: Line, cells: Sequence[Cell], at_cursor: bool) -> Strip:
        """One row."""
        if not at_cursor:
            return self._strip(line, " ", cells, self._fractions)
        # One colour along the cursor: the cells' own were chosen for another background.
        texts = [cell if isinstance(cell, str) else cell.plain for cell in cells]
        return self._strip(line, CURSOR_MARK, texts, self._fractions, plain=True)

    def said(self, line: Line, y: int) -> Strip:
        """Line `y` of a table without rows."""
        lines = self.empty.splitlines()
        text = lines[y - 2] if 2 <= y < len(lines) + 2 else ""
        return Strip([Segment("  " + text, line.style)]).adjust_cell_length(line.width, line.style)

    def _strip(
        self, line: Line, mark: str, cells: Sequence[Cell], fractions: Sequence[int], plain: bool = False
    ) -> Strip:
        layout, style = self.layout(line.width), line.style
        segments = [Segment(mark, style)]
        for number, (index, width) in enumerate(layout.places):
            column = self.columns[index]
            text = cells[index] if index < len(cells) else ""
            own = style if plain or not column.style else style + Style.parse(column.style)
            if number:
                segments.append(Segment(" " * layout.gap, style))
            segments.extend(placed(text, width, column.align, fractions[index], own, line.console))
        strip = Strip(segments)
        if line.left:
            # The mark stays in sight however far the rest is scrolled.
            strip = Strip([*strip.crop(0, MARK), *strip.crop(MARK + line.left, line.left + line.width)])
        # Neighbours of one style as one: every segment is written, and looked at, by itself.
        return strip.adjust_cell_length(line.width, style).simplify()

    def _titles(self) -> list[str]:
        titles = []
        for column in self.columns:
            mark = ""
            if self.sort is not None and self.sort[0] == column.name:
                mark = "▼" if self.sort[1] else "▲"
            titles.append(column.title + mark)
        return titles
