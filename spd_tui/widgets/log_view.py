"""Lines of text that scroll: the base of the evaluation sheet, and the end of a run's log."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from spd_tui.keys import bind
from spd_tui.rows.wrapping import wrapped


@dataclass(frozen=True)
class ViewLine:
    """One line to show."""

    text: str
    strong: bool = False
    """A title, or something to notice."""
    wrap: bool = True
    """Goes on below where it is too long; else it scrolls sideways."""


class LinesView(ScrollView, can_focus=True):
    """Scrolls lines of text; only what is in sight is painted, and only when the lines have changed."""

    DEFAULT_CSS = "LinesView { height: 1fr; scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1; }"
    BINDINGS = [  # noqa: RUF012
        bind(name)
        for name in (
            ["up", "down", "top", "bottom", "page_up", "page_down", "half_up", "half_down", "left", "right"]
        )
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._given: tuple[ViewLine, ...] = ()
        self._lines: list[ViewLine] = []
        self._width = 0

    def show(self, lines: Sequence[ViewLine]) -> bool:
        """Show these lines; False when they are what it shows already."""
        if tuple(lines) == self._given:
            return False
        self._given = tuple(lines)
        self._lay_out()
        return True

    @property
    def text(self) -> str:
        """Everything it shows."""
        return "\n".join(line.text for line in self._given)

    def find(self, text: str) -> bool:
        """Scroll to the first line with every word of `text`; False when there is none."""
        words = text.lower().split()
        for place, line in enumerate(self._lines):
            if all(word in line.text.lower() for word in words):
                self.scroll_to(y=place, animate=False)
                return True
        return False

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        left, top = self.scroll_offset
        width, base = self.size.width, self.rich_style
        if y + top >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[y + top]
        style = base + Style(bold=True) if line.strong else base
        strip = Strip([Segment(line.text, style)])
        return strip.crop(left, left + width).adjust_cell_length(width, base)

    def on_resize(self) -> None:
        """Break the lines for the new width."""
        if self.size.width != self._width:
            self._lay_out()

    def action_up(self) -> None:
        """One line up."""
        self._move(-1)

    def action_down(self) -> None:
        """One line down."""
        self._move(1)

    def action_page_up(self) -> None:
        """A screenful up."""
        self._move(-max(1, self.size.height - 1))

    def action_page_down(self) -> None:
        """A screenful down."""
        self._move(max(1, self.size.height - 1))

    def action_half_up(self) -> None:
        """Half a screenful up."""
        self._move(-max(1, self.size.height // 2))

    def action_half_down(self) -> None:
        """Half a screenful down."""
        self._move(max(1, self.size.height // 2))

    def action_top(self) -> None:
        """To the first line."""
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        """To the last line."""
        self.scroll_to(y=len(self._lines), animate=False)

    def action_left(self) -> None:
        """Scroll to the left."""
        self.scroll_to(x=self.scroll_offset.x - 8, animate=False)

    def action_right(self) -> None:
        """Scroll to the right."""
        self.scroll_to(x=self.scroll_offset.x + 8, animate=False)

    def _move(self, lines: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def _lay_out(self) -> None:
        self._width = self.size.width
        # The last column belongs to the scrollbar.
        room = max(20, self._width - 1)
        self._lines = [piece for line in self._given for piece in _broken(line, room)]
        widest = max((cell_len(line.text) for line in self._lines), default=0)
        self.virtual_size = Size(widest, len(self._lines))
        self.refresh()


class LogView(LinesView):
    """The end of a log: stays at the end as lines come, unless one has scrolled away from it."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._follows = True

    def show(self, lines: Sequence[ViewLine]) -> bool:
        """Show these lines."""
        changed = super().show(lines)
        if changed:
            self.call_after_refresh(self._to_end)
        return changed

    def on_resize(self) -> None:
        """Stay at the end."""
        super().on_resize()
        self.call_after_refresh(self._to_end)

    def _to_end(self) -> None:
        if self._follows:
            self.scroll_end(animate=False, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Note whether one has scrolled away from the end."""
        super().watch_scroll_y(old_value, new_value)
        if self.size.height:
            self._follows = new_value >= self.max_scroll_y


def _broken(line: ViewLine, width: int) -> list[ViewLine]:
    if not line.wrap or cell_len(line.text) <= width:
        return [line]
    indent = " " * (len(line.text) - len(line.text.lstrip()) + 2)
    pieces = wrapped(line.text, width, indent)
    return [ViewLine(piece, line.strong) for piece in pieces] or [line]
