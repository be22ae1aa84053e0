"""The keys and commands of a screen, made from its bindings: what it shows is what works."""

from collections.abc import Iterable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from spd_tui.clipboard import home_relative
from spd_tui.keys import SHARED, bind, shown
from spd_tui.screens.base import SpdScreen
from spd_tui.screens.prompting import all_commands


class _Page(VerticalScroll):
    """Text that scrolls by the keys that go up and down everywhere."""

    BINDINGS: ClassVar = [
        bind("up", action="scroll_up"),
        bind("down", action="scroll_down"),
        bind("top", action="scroll_home"),
        bind("bottom", action="scroll_end"),
        bind("page_up"),
        bind("page_down"),
        bind("half_up"),
        bind("half_down"),
    ]

    def action_half_up(self) -> None:
        """Half a screenful up."""
        self.scroll_relative(y=-(self.size.height // 2), animate=False)

    def action_half_down(self) -> None:
        """Half a screenful down."""
        self.scroll_relative(y=self.size.height // 2, animate=False)


class HelpScreen(SpdScreen):
    """What every key does on the screen it was called from, and the `:` commands there."""

    HINTS = "j k scroll  Esc back"
    PASSING = True
    AUTO_FOCUS = "_Page"

    def __init__(self, of: SpdScreen) -> None:
        super().__init__()
        self._of = of.MODE or "this screen"
        self._keys = keys_of(of)
        self._commands = [(command.usage, command.help) for command in all_commands(of)]

    def compose_body(self) -> ComposeResult:
        """Keys, then commands."""
        with _Page():
            yield Static(self._page(), id="help")

    def on_mount(self) -> None:
        """Where we are."""
        self.set_crumbs(self._of, "keys")

    def action_help(self) -> None:
        """The same key closes it."""
        self.app.navigation.go_back()

    def _page(self) -> Group:
        own = [(keys, text) for name, keys, text in self._keys if name not in SHARED]
        shared = [(keys, text) for name, keys, text in self._keys if name in SHARED]
        width = max((len(keys) for keys, _ in own + shared), default=0)
        parts: list[RenderableType] = []
        for title, rows in ((f"Keys of {self._of} and other screens", own), ("Keys of every screen", shared)):
            if rows:
                parts += _section(title, rows, width)
        longest = max((len(usage) + 1 for usage, _ in self._commands), default=0)
        parts += _section("Commands", [(f":{usage}", help) for usage, help in self._commands], longest)
        where = home_relative(self.app.config_path)
        return Group(*parts, Text(f'Other keys: [keys] in {where}, such as  sort = "o"\n', "dim"))


def keys_of(screen: SpdScreen) -> list[tuple[str, str, str]]:
    """(action, its keys as shown, what it does) for everything that works on `screen`: its own keys first."""
    found: dict[str, tuple[list[str], str]] = {}
    for key, active in screen.active_bindings.items():
        name = active.binding.id
        if name is not None and active.enabled:
            found.setdefault(name, ([], active.binding.description))[0].append(key)
    order = {name: place for place, name in enumerate(SHARED)}
    names = sorted(found, key=lambda name: order.get(name, -1))
    return [(name, shown(",".join(found[name][0])), found[name][1]) for name in names]


def _section(title: str, rows: Iterable[tuple[str, str]], width: int) -> list[RenderableType]:
    """A title over two columns: what does not fit the second goes on under it."""
    columns = Table.grid(padding=(0, 2, 0, 0))
    columns.add_column(style="bold", min_width=width + 3, no_wrap=True)
    columns.add_column()
    for left, right in rows:
        columns.add_row(Text(f"   {left}"), Text(right))
    return [Text(f" {title}", "bold"), columns, Text()]
