"""A table of any length: only the rows on screen are asked for and painted.

The rows come from a `RowSource`, which may stand on a list, an Arrow table or a polars frame; the table asks
it for the cells of the visible rows and nothing else, so a million rows cost what forty cost.
"""

from collections.abc import Hashable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from spd_tui.keys import bind
from spd_tui.rows.columns import MARK, Column, Layout, fraction_width, lay_out, placed
from spd_tui.rows.row_source import Cell, IndexedRows, ListRows, RowSource

__all__ = ["Column", "FrameTable", "ListRows", "RowSource"]


class FrameTable(ScrollView, can_focus=True):
    """A table with a fixed header and a cursor row that stays on its key when the rows change.

    Use: `set_columns` once, `set_rows` whenever the rows have changed, `set_sort` for the mark in the header.
    It posts `Highlighted` when the cursor rests on another row (also when the rows changed under it) and
    `Chosen` on Enter or a click on the cursor row. Columns that do not fit leave in the order of
    `Column.hide`; what stays and still does not fit scrolls sideways with h and l.
    """

    DEFAULT_CSS = """
    FrameTable { height: 1fr; scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1; }
    FrameTable > .frame-table--header { text-style: bold; }
    FrameTable > .frame-table--cursor { text-style: reverse; }
    """
    COMPONENT_CLASSES = {  # noqa: RUF012
        "frame-table--header",
        "frame-table--cursor",
        "frame-table--cursor-blurred",
        "frame-table--empty",
    }
    BINDINGS = [  # noqa: RUF012
        bind(name)
        for name in (
            *("up", "down", "top", "bottom", "page_up", "page_down"),
            *("half_up", "half_down", "left", "right", "open"),
        )
    ]

    cursor: reactive[int] = reactive(0, repaint=False)
    """The row of the cursor; 0 when there are no rows."""

    class _OfRow(Message):
        def __init__(self, table: "FrameTable", key: Hashable, index: int) -> None:
            super().__init__()
            self.table = table
            self.key = key
            self.index = index

        @property
        def control(self) -> "FrameTable":
            """The table it comes from, for `@on(FrameTable.Chosen, "#runs")`."""
            return self.table

    class Highlighted(_OfRow):
        """The cursor rests on another row; `key` and `index` name it."""

    class Chosen(_OfRow):
        """The row was chosen with Enter or a click."""

    def __init__(self, id: str | None = None, empty: str = "nothing here") -> None:
        super().__init__(id=id)
        self._columns: tuple[Column, ...] = ()
        self._rows: RowSource = ListRows()
        self._empty = empty
        self._sort: tuple[str, bool] | None = None
        self._fractions: list[int] = []
        self._key: Hashable = None
        self._layout = Layout((), 0)
        self._layout_for: object = None
        self._length = 0
        self._painted: dict[int, Strip] = {}

    # ---- what a screen calls

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, also those that do not fit."""
        return self._columns

    @property
    def rows(self) -> RowSource:
        """The rows shown now."""
        return self._rows

    @property
    def cursor_key(self) -> Hashable:
        """The key of the cursor row, None when there are no rows."""
        return self._key

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Show these columns; the rows of `set_rows` have one cell for each."""
        self._columns = tuple(columns)
        self._measure_fractions()
        self._relayout()

    def set_sort(self, name: str | None, descending: bool = False) -> None:
        """Mark the column the rows are sorted by; sorting them is the source's work."""
        self._sort = None if name is None else (name, descending)
        self._repaint()

    def set_empty(self, text: str) -> None:
        """What is said where there are no rows; may have several lines."""
        self._empty = text
        self._repaint()

    def set_rows(self, rows: RowSource, *, cursor: Hashable = None, keep: bool = True) -> None:
        """Show these rows, with the cursor on `cursor`, else on the key it was on, else near its place.

        Args:
            rows: The new rows; the table keeps the object and asks it while painting.
            cursor: The key to go to.
            keep: False puts the cursor on the first row, as for a new search.
        """
        wanted = cursor if cursor is not None else (self._key if keep else None)
        self._rows = rows
        self._length = len(rows)
        self._measure_fractions()
        found = self._find(wanted) if wanted is not None else (None if keep else 0)
        place = self.cursor if found is None else found
        place = max(0, min(place, self._length - 1))
        offset = self.cursor - self.scroll_offset.y
        before = self._key
        self._key = rows.key(place) if self._length else None
        self._relayout()
        self.set_reactive(FrameTable.cursor, place)
        if found is not None and self._length:
            # The cursor's line stays where it is on the screen when rows come or go above it.
            self._scroll_rows(place - max(0, min(offset, self._visible_rows - 1)))
        self._show_cursor()
        self._repaint()
        if self._key != before and self._key is not None:
            self.post_message(self.Highlighted(self, self._key, place))

    def refresh_rows(self) -> None:
        """Paint those visible rows that say something else now."""
        self._repaint()

    def go_to(self, key: Hashable) -> bool:
        """Put the cursor on the row of `key`; False when there is none."""
        found = self._find(key)
        if found is not None:
            self.cursor = found
        return found is not None

    def visible_columns(self) -> tuple[str, ...]:
        """The names of the columns that fit the present width."""
        return tuple(self._columns[index].name for index, _ in self._laid_out().places)

    # ---- cursor

    def validate_cursor(self, cursor: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(cursor, self._length - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        """Paint the row it left and the row it is on, and say so."""
        if not self._length:
            return
        self._key = self._rows.key(new)
        top = self.scroll_offset.y
        self._show_cursor()
        if self.scroll_offset.y == top:
            self._refresh_row(old)
            self._refresh_row(new)
        self.post_message(self.Highlighted(self, self._key, new))

    def action_up(self) -> None:
        """One row up."""
        self.cursor -= 1

    def action_down(self) -> None:
        """One row down."""
        self.cursor += 1

    def action_top(self) -> None:
        """To the first row."""
        self.cursor = 0

    def action_bottom(self) -> None:
        """To the last row."""
        self.cursor = self._length - 1

    def action_page_up(self) -> None:
        """A screenful up."""
        self._page(-self._visible_rows)

    def action_page_down(self) -> None:
        """A screenful down."""
        self._page(self._visible_rows)

    def action_half_up(self) -> None:
        """Half a screenful up."""
        self._page(-(self._visible_rows // 2))

    def action_half_down(self) -> None:
        """Half a screenful down."""
        self._page(self._visible_rows // 2)

    def action_left(self) -> None:
        """Scroll to the left."""
        self.scroll_to(x=self.scroll_offset.x - 8, animate=False)

    def action_right(self) -> None:
        """Scroll to the right."""
        self.scroll_to(x=self.scroll_offset.x + 8, animate=False)

    def action_open(self) -> None:
        """Choose the cursor row."""
        if self._key is not None:
            self.post_message(self.Chosen(self, self._key, self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the clicked row; a click on the cursor row chooses it."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < 1:
            return
        row = offset.y - 1 + self.scroll_offset.y
        if row >= self._length:
            return
        event.stop()
        if row == self.cursor:
            self.action_open()
        else:
            self.cursor = row

    # ---- painting

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the header, a row, or nothing."""
        strip = self._painted[y] = self._line_at(y)
        return strip

    def _repaint(self) -> None:
        """Paint the lines that have changed: what stays as it is costs the line to the terminal nothing."""
        if self.is_mounted:
            for y in range(self.size.height):
                if self._painted.get(y) != self._line_at(y):
                    self.refresh(Region(0, y, self.size.width, 1))

    def _line_at(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        base = self.rich_style
        layout = self._laid_out()
        if y == 0:
            style = base + self.get_component_rich_style("frame-table--header", partial=True)
            return self._cropped(self._line(layout, self._titles(), style, header=True), width, style)
        if not self._length:
            return self._empty_line(y, width, base)
        row = y - 1 + self.scroll_offset.y
        if row >= self._length:
            return Strip.blank(width, base)
        style = base
        if at_cursor := row == self.cursor:
            name = "frame-table--cursor" if self.has_focus else "frame-table--cursor-blurred"
            style = base + self.get_component_rich_style(name, partial=True)
        cells = self._rows.cells(row)
        if at_cursor:
            # One colour along the cursor: the cells' own were chosen for another background.
            cells = [cell if isinstance(cell, str) else cell.plain for cell in cells]
        segments = self._line(layout, cells, style, mark="▸" if at_cursor else " ")
        return self._cropped(segments, width, style)

    def _line(
        self, layout: Layout, cells: Sequence[Cell], style: Style, mark: str = " ", header: bool = False
    ) -> list[Segment]:
        segments = [Segment(mark, style)]
        for number, (index, width) in enumerate(layout.places):
            column = self._columns[index]
            fraction = 0 if header else self._fractions[index]
            text = cells[index] if index < len(cells) else ""
            own = style if mark != " " or header or not column.style else style + Style.parse(column.style)
            if number:
                segments.append(Segment(" " * layout.gap, style))
            segments.extend(placed(text, width, column.align, fraction, own, self.app.console))
        return segments

    def _cropped(self, segments: list[Segment], width: int, style: Style) -> Strip:
        strip = Strip(segments)
        left = self.scroll_offset.x
        if left:
            # The mark stays in sight however far the rest is scrolled.
            strip = Strip([*strip.crop(0, MARK), *strip.crop(MARK + left, left + width)])
        # Neighbours of one style as one: every segment is written, and looked at, by itself.
        return strip.adjust_cell_length(width, style).simplify()

    def _titles(self) -> list[str]:
        titles = []
        for column in self._columns:
            mark = ""
            if self._sort is not None and self._sort[0] == column.name:
                mark = "▼" if self._sort[1] else "▲"
            titles.append(column.title + mark)
        return titles

    def _empty_line(self, y: int, width: int, base: Style) -> Strip:
        lines = self._empty.splitlines()
        style = base + self.get_component_rich_style("frame-table--empty", partial=True)
        text = lines[y - 2] if 2 <= y < len(lines) + 2 else ""
        return Strip([Segment("  " + text, style)]).adjust_cell_length(width, style)

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    # ---- sizes

    @property
    def _visible_rows(self) -> int:
        return max(1, self.size.height - 1)

    def _laid_out(self) -> Layout:
        width = self.scrollable_content_region.width
        state = (self._columns, width, self._sort)
        if state != self._layout_for:
            self._layout = lay_out(self._columns, self._titles(), width)
            self._layout_for = state
        return self._layout

    def _relayout(self) -> None:
        # The header takes one line, so the last row comes into view when all is scrolled down.
        self.virtual_size = Size(self._laid_out().width, self._length + 1)
        self._repaint()

    def _measure_fractions(self) -> None:
        """How much room decimals need, from a sample of rows, once: nothing shifts by scrolling."""
        if all(column.align != "decimal" for column in self._columns):
            self._fractions = [0] * len(self._columns)
            return
        length = self._length
        picks = {*range(min(length, 60)), *range(0, length, max(1, length // 60))}
        sample = [self._rows.cells(index) for index in sorted(picks)]
        self._fractions = [
            max((fraction_width(cells[number]) for cells in sample), default=0)
            if column.align == "decimal"
            else 0
            for number, column in enumerate(self._columns)
        ]

    def _page(self, rows: int) -> None:
        place = self.scroll_offset.y
        self._scroll_rows(place + rows)
        self.cursor += rows

    def _scroll_rows(self, row: int) -> None:
        self.scroll_to(y=max(0, row), animate=False)

    def _show_cursor(self) -> None:
        top, rows = self.scroll_offset.y, self._visible_rows
        bottom = top + rows - 1
        # A step over the edge scrolls a third of the screen: most steps then paint two lines, not all.
        ahead = rows // 3 if self.cursor in (top - 1, bottom + 1) else 0
        if self.cursor < top:
            self._scroll_rows(self.cursor - ahead)
        elif self.cursor > bottom:
            self._scroll_rows(self.cursor - rows + 1 + ahead)

    def on_resize(self) -> None:
        """Lay the columns out for the new width and keep the cursor in sight."""
        self._relayout()
        self._show_cursor()

    def on_focus(self) -> None:
        """The cursor looks different while the keys come here."""
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        """See `on_focus`."""
        self._refresh_row(self.cursor)

    def _find(self, key: Hashable) -> int | None:
        rows = self._rows
        if isinstance(rows, IndexedRows):
            return rows.index_of(key)
        # From the cursor outwards: rows seldom move far.
        start = max(0, min(self.cursor, self._length - 1))
        for distance in range(self._length):
            for place in {start + distance, start - distance}:
                if 0 <= place < self._length and rows.key(place) == key:
                    return place
        return None
