"""A run's settings as a tree."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from spd_tui.keys import bind
from spd_tui.rows.runs import plain_line
from spd_tui.rows.settings_tree import SettingsNode, matching


class SettingsTree(Tree[SettingsNode]):
    """The settings, narrowed to what a search finds; the cursor stays on its entry."""

    DEFAULT_CSS = """
    SettingsTree {
        height: 1fr; background: $background; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
        & > .tree--cursor, &:focus > .tree--cursor {
            background: $cursor-background; color: $cursor-foreground; text-style: $block-cursor-text-style;
        }
        &:focus { background-tint: $background 0%; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        bind(name) for name in ("up", "down", "top", "bottom", "page_up", "page_down", "left", "right")
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__("settings", id=id)
        self.show_root = False
        self.guide_depth = 2
        self._all: tuple[SettingsNode, ...] = ()
        self._shown: tuple[SettingsNode, ...] = ()
        self._text = ""

    def show(self, nodes: Sequence[SettingsNode]) -> None:
        """Show these settings."""
        if tuple(nodes) != self._all:
            self._all = tuple(nodes)
            self._fill()

    def narrow(self, text: str) -> int:
        """Show only what has the words of `text`; the number of entries that are left."""
        if text != self._text:
            self._text = text
            self._fill()
        return sum(1 for node in self._shown for each in node.walk() if each.value is not None)

    @property
    def path(self) -> str | None:
        """Path of the entry under the cursor."""
        node = self.cursor_node
        return node.data.path if node is not None and node.data is not None else None

    def copied(self) -> str:
        """The entry under the cursor as `--set` takes it; of a mapping the path alone."""
        node = self.cursor_node
        if node is None or node.data is None:
            return ""
        return node.data.path if node.data.value is None else f"{node.data.path}={node.data.value}"

    def action_up(self) -> None:
        """One entry up."""
        self.action_cursor_up()

    def action_down(self) -> None:
        """One entry down."""
        self.action_cursor_down()

    def action_top(self) -> None:
        """To the first entry."""
        self.cursor_line = 0

    def action_bottom(self) -> None:
        """To the last entry."""
        self.cursor_line = self.last_line

    def action_left(self) -> None:
        """Fold the entry, or go to the one above it."""
        node = self.cursor_node
        if node is None:
            return
        if node.allow_expand and node.is_expanded:
            node.collapse()
        elif node.parent is not None and not node.parent.is_root:
            self.move_cursor(node.parent)

    def action_right(self) -> None:
        """Unfold the entry."""
        if self.cursor_node is not None and self.cursor_node.allow_expand:
            self.cursor_node.expand()

    def _fill(self) -> None:
        wanted = self.path
        self._shown = matching(self._all, self._text)
        self.clear()
        for node in self._shown:
            self._add(self.root, node)
        self.root.expand_all()
        self.cursor_line = self._line_of(wanted)

    def _add(self, parent: TreeNode[SettingsNode], node: SettingsNode) -> None:
        name = plain_line(node.name)
        if node.value is not None:
            label = Text.assemble(f"{name}: ", (plain_line(node.value), "bold"))
            parent.add_leaf(label, data=node)
            return
        below = parent.add(Text(name), data=node)
        for child in node.children:
            self._add(below, child)

    def _line_of(self, path: str | None) -> int:
        for line in range(self.last_line + 1):
            node = self.get_node_at_line(line)
            if path is not None and node is not None and node.data is not None and node.data.path == path:
                return line
        return 0
