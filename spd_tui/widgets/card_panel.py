"""The card of one component: a fixed head, the lines of a section under it, and a cursor among them.

The panel knows a card and how to show it; loading cards is the screen's work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from spd_tui.keys import bind
from spd_tui.rows.card import (
    SECTIONS,
    CardLine,
    CardView,
    Item,
    Section,
    activation_scale,
    card_lines,
    head_lines,
)
from spd_tui.rows.tokens import SHADINGS, View

if TYPE_CHECKING:
    from core.harvest.card import ComponentCard
    from spd_tui.rows.components import Ranks

HEAD = 3
"""Lines that do not scroll."""


@dataclass(frozen=True)
class Place:
    """Where a person is in a card, to come back to."""

    section: Section
    item: int


class CardPanel(ScrollView, can_focus=True):
    """A component's card. `show_card`, `show_text` and `show_ranks` change what it says.

    It posts `Followed` on Enter or a click on something that leads to a component, and `Pointed` when its
    cursor rests on something else or the section changed.
    """

    DEFAULT_CSS = """
    CardPanel { height: 1fr; scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1; }
    CardPanel > .card-panel--cursor { background: $cursor-background; color: $cursor-foreground; }
    SpdApp:ansi CardPanel > .card-panel--cursor { text-style: reverse; }
    """
    COMPONENT_CLASSES = {"card-panel--cursor"}  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        bind(name)
        for name in (
            *("up", "down", "top", "bottom", "page_up", "page_down"),
            *("half_up", "half_down", "open"),
        )
    ]

    class Followed(Message):
        """A line that leads to a component was chosen."""

        def __init__(self, panel: "CardPanel", component: int) -> None:
            super().__init__()
            self.panel = panel
            self.component = component

        @property
        def control(self) -> "CardPanel":
            """The panel it comes from."""
            return self.panel

    class Pointed(Message):
        """The cursor rests on something else."""

        def __init__(self, panel: "CardPanel") -> None:
            super().__init__()
            self.panel = panel

        @property
        def control(self) -> "CardPanel":
            """The panel it comes from."""
            return self.panel

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.card: ComponentCard | None = None
        self.section: Section = "examples"
        self.view = View()
        self.layer_names: Mapping[str, str] = {}
        self.unit = "tokens"
        self._ranks: Ranks | None = None
        self._message = ""
        self._head: list[Text] = []
        self._lines: list[CardLine] = []
        self._items: list[tuple[int, int]] = []
        self._cursor = 0
        self._made_for: object = None

    # ---- what a screen calls

    @property
    def item(self) -> Item | None:
        """What the cursor rests on."""
        if not self._items:
            return None
        return self._lines[self._items[self._cursor][0]].item

    @property
    def place(self) -> Place:
        """Where the cursor is, for `show_card` to come back to."""
        return Place(self.section, self._cursor)

    def said(self) -> list[str]:
        """Everything it says, scrolled out of sight or not."""
        return [text.plain for text in (*self._head, *(line.text for line in self._lines))]

    def show_card(self, card: "ComponentCard", place: Place | None = None) -> None:
        """Show a card, from its beginning or at a place."""
        same = self.card is not None and self.card.component == card.component
        self.card = card
        self._message = ""
        self.view = replace(self.view, scale=activation_scale(card))
        if place is not None:
            self.section, self._cursor = place.section, place.item
        elif not same:
            self._cursor = 0
        self._rebuild(keep=same or place is not None)

    def show_text(self, text: str) -> None:
        """Say something instead of a card."""
        self.card = None
        self._message = text
        self._rebuild()

    def show_ranks(self, ranks: "Ranks | None") -> None:
        """Give the rank plot its values."""
        self._ranks = ranks
        if self.section == "rank":
            self._rebuild(keep=True)

    @property
    def ranks(self) -> "Ranks | None":
        """The values of the rank plot."""
        return self._ranks

    def next_section(self, step: int) -> None:
        """The section after (1) or before (-1) this one."""
        self.section = SECTIONS[(SECTIONS.index(self.section) + step) % len(SECTIONS)]
        self._cursor = 0
        self._rebuild()

    def next_shading(self) -> None:
        """Shade tokens by causal importance, by activation, by both."""
        shading = SHADINGS[(SHADINGS.index(self.view.shading) + 1) % len(SHADINGS)]
        self.view = replace(self.view, shading=shading)
        self._rebuild(keep=True)

    def toggle_centred(self) -> None:
        """Put every firing token in one column, or show whole windows."""
        self.view = replace(self.view, centred=not self.view.centred)
        self._rebuild(keep=True)

    # ---- cursor

    def action_up(self) -> None:
        """To what stands before."""
        self._move(self._cursor - 1, -1)

    def action_down(self) -> None:
        """To what stands after."""
        self._move(self._cursor + 1, 1)

    def action_top(self) -> None:
        """To the beginning."""
        self._move(0)
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        """To the end."""
        self._move(len(self._items) - 1)
        self.scroll_to(y=len(self._lines), animate=False)

    def action_page_up(self) -> None:
        """A screenful up."""
        self._page(-self._body)

    def action_page_down(self) -> None:
        """A screenful down."""
        self._page(self._body)

    def action_half_up(self) -> None:
        """Half a screenful up."""
        self._page(-max(1, self._body // 2))

    def action_half_down(self) -> None:
        """Half a screenful down."""
        self._page(max(1, self._body // 2))

    def action_open(self) -> None:
        """Follow what the cursor rests on."""
        item = self.item
        if item is not None and item.component is not None:
            self.post_message(self.Followed(self, item.component))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the click was; a click where it is follows."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < HEAD:
            return
        line = offset.y - HEAD + self.scroll_offset.y
        for number, (first, last) in enumerate(self._items):
            if first <= line <= last:
                event.stop()
                if number == self._cursor:
                    self.action_open()
                else:
                    self._move(number)

    def _move(self, cursor: int, step: int = 0) -> None:
        """Put the cursor on an item; at the ends a step scrolls on, so that every line can be read."""
        wanted = max(0, min(cursor, len(self._items) - 1))
        if wanted == self._cursor or not self._items:
            if step:
                self.scroll_to(y=self.scroll_offset.y + step, animate=False)
            return
        before, self._cursor = self._cursor, wanted
        top = self.scroll_offset.y
        self._show_cursor()
        if self.scroll_offset.y == top:
            self._refresh_item(before)
            self._refresh_item(wanted)
        self.post_message(self.Pointed(self))

    def _refresh_item(self, number: int) -> None:
        """Paint the lines of one item only: a card is many bytes over a slow line."""
        first, last = self._items[number]
        y = first - self.scroll_offset.y + HEAD
        self.refresh(Region(0, max(y, HEAD), self.size.width, last - first + 1))

    def _page(self, lines: int) -> None:
        if not self._items:
            self.scroll_to(y=self.scroll_offset.y + lines, animate=False)
            return
        target = self._items[self._cursor][0] + lines
        nearest = min(range(len(self._items)), key=lambda number: abs(self._items[number][0] - target))
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)
        self._move(nearest)

    def _show_cursor(self) -> None:
        if not self._items:
            return
        first, last = self._items[self._cursor]
        top = self.scroll_offset.y
        if self._cursor == 0:
            first = 0  # with the headings above it
        if first < top:
            self.scroll_to(y=first, animate=False)
        elif last >= top + self._body:
            self.scroll_to(y=last - self._body + 1, animate=False)

    @property
    def _body(self) -> int:
        return max(1, self.size.height - HEAD)

    # ---- lines

    def _rebuild(self, keep: bool = False) -> None:
        width = max(8, self.size.width - 2)  # the mark on the left, the scrollbar on the right
        self._made_for = self.size
        self._head, self._lines = [], []
        if self.card is None:
            self._lines = [CardLine(line) for line in _wrapped(self._message, width)]
        else:
            shown = CardView(
                section=self.section,
                width=width,
                view=self.view,
                layers=self.layer_names,
                unit=self.unit,
                ranks=self._ranks,
                plot_rows=max(4, min(16, self._body - 5)),
            )
            self._head = head_lines(self.card, shown)
            self._lines = card_lines(self.card, shown)
        self._items = _spans(self._lines)
        self._cursor = max(0, min(self._cursor, len(self._items) - 1))
        self.virtual_size = Size(self.size.width, len(self._lines) + HEAD)
        if keep:
            self._show_cursor()
        else:
            self.scroll_to(y=0, animate=False)
        self.refresh()
        self.post_message(self.Pointed(self))

    def render_line(self, y: int) -> Strip:
        """A line of the head, or of what is scrolled into sight."""
        width, base = self.size.width, self.rich_style
        if y < HEAD:
            text = self._head[y] if y < len(self._head) else Text("")
            return self._strip(Text(" ") + text, width)
        place = y - HEAD + self.scroll_offset.y
        if place >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[place]
        first, last = self._items[self._cursor] if self._items else (-1, -1)
        here = first <= place <= last and self.has_focus
        strip = self._strip(Text("▸" if here and place == first else "▏" if here else " ") + line.text, width)
        if here and first == last:
            style = self.get_component_rich_style("card-panel--cursor", partial=True)
            strip = Strip([Segment(text, _under(style, own or base)) for text, own, _ in strip], width)
        return strip

    def _strip(self, text: Text, width: int) -> Strip:
        base = self.rich_style
        segments = [
            Segment(segment.text, base + segment.style if segment.style else base)
            for segment in text.render(self.app.console, end="")
        ]
        # Neighbours of one style are sent as one: a card is some ten thousand bytes on a slow line.
        return Strip(segments).adjust_cell_length(width, base).simplify()

    def on_resize(self) -> None:
        """Write the lines anew for another width."""
        if self._made_for != self.size:
            self._rebuild(keep=True)

    def on_mount(self) -> None:
        """Follow the theme: shades are mixed with its background."""
        self.watch(self.app, "theme", self._follow_theme)

    def _follow_theme(self) -> None:
        theme = self.app.current_theme
        self.view = replace(self.view, tone="16" if theme.ansi else "dark" if theme.dark else "light")
        self._rebuild(keep=True)


def _under(cursor: Style, own: Style) -> Style:
    """The cursor's background under a text that keeps its own colour if it has one."""
    return own + (cursor if own.color is None or own.color.is_default else Style(bgcolor=cursor.bgcolor))


def _spans(lines: list[CardLine]) -> list[tuple[int, int]]:
    """First and last line of every item."""
    spans: list[tuple[int, int]] = []
    before: Item | None = None
    for place, line in enumerate(lines):
        if line.item is None:
            before = None
        elif line.item is before:
            spans[-1] = (spans[-1][0], place)
        else:
            spans.append((place, place))
            before = line.item
    return spans


def _wrapped(text: str, width: int) -> list[Text]:
    import textwrap

    return [
        Text(line, no_wrap=True, end="")
        for part in text.splitlines()
        for line in (textwrap.wrap(part, width) or [""])
    ]
