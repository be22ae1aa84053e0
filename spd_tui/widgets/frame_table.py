"""A table of any length: only the rows on screen are asked for and painted.

The rows come from a `RowSource`, which may stand on a list, an Arrow table or a polars frame; the table asks
it for the cells of the visible rows and nothing else, so a million rows cost what forty cost.
"""

from collections.abc import Hashable, Sequence

from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from spd_tui.keys import bind
from spd_tui.rows.columns import Column, Layout
from spd_tui.rows.row_source import IndexedRows, ListRows, RowSource
from spd_tui.widgets.table_lines import Line, TableLines

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
        self._lines = TableLines(empty)
        self._rows: RowSource = ListRows()
        self._key: Hashable = None
        self._length = 0
        self._painted: dict[int, Strip] = {}

    # ---- what a screen calls

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, also those that do not fit."""
        return self._lines.columns

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
        self._lines.columns = tuple(columns)
        self._lines.measure(self._rows)
        self._relayout()

    def set_sort(self, name: str | None, descending: bool = False) -> None:
        """Mark the column the rows are sorted by; sorting them is the source's work."""
        sort = None if name is None else (name, descending)
        if sort != self._lines.sort:
            self._lines.sort = sort
            self._repaint()

    def set_empty(self, text: str) -> None:
        """What is said where there are no rows; may have several lines."""
        if text != self._lines.empty:
            self._lines.empty = text
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
        self._lines.measure(rows)
        found = self._find(wanted) if wanted is not None else (None if keep else 0)
        place = self.cursor if found is None else found
        place = max(0, min(place, self._length - 1))
        offset = self.cursor - self.scroll_offset.y
        before = self._key
        self._key = rows.key(place) if self._length else None
        self._measure()
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
        return tuple(self.columns[index].name for index, _ in self._laid_out().places)

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
        strip = self._painted[y] = self._line_at(y, self.rich_style)
        return strip

    def _repaint(self) -> None:
        """Paint the lines that have changed: what stays as it is costs the line to the terminal nothing."""
        if self.is_mounted:
            base = self.rich_style
            for y in range(self.size.height):
                if self._painted.get(y) != self._line_at(y, base):
                    self.refresh(Region(0, y, self.size.width, 1))

    def _line_at(self, y: int, base: Style) -> Strip:
        if y == 0:
            return self._lines.header(self._line(base, "header"))
        if not self._length:
            return self._lines.said(self._line(base, "empty"), y)
        row = y - 1 + self.scroll_offset.y
        if row >= self._length:
            return Strip.blank(self.scrollable_content_region.width, base)
        if row != self.cursor:
            return self._lines.row(self._line(base), self._rows.cells(row), False)
        line = self._line(base, "cursor" if self.has_focus else "cursor-blurred")
        return self._lines.row(line, self._rows.cells(row), True)

    def _line(self, base: Style, part: str = "") -> Line:
        style = base + self.get_component_rich_style(f"frame-table--{part}", partial=True) if part else base
        return Line(self.scrollable_content_region.width, self.scroll_offset.x, style, self.app.console)

    def _refresh_row(self, row: int) -> None:
        y = row - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    # ---- sizes

    @property
    def _visible_rows(self) -> int:
        return max(1, self.size.height - 1)

    def _laid_out(self) -> Layout:
        return self._lines.layout(self.scrollable_content_region.width)

    def _relayout(self) -> None:
        self._measure()
        self._repaint()

    def _measure(self) -> None:
        # The header takes one line, so the last row comes into view when all is scrolled down.
        self.virtual_size = Size(self._laid_out().width, self._length + 1)

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
