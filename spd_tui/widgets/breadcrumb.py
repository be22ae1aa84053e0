"""The first line of every screen: where we are on the left, what there is on the right."""

from rich.cells import cell_len
from rich.text import Text
from textual.widget import Widget


class Breadcrumb(Widget):
    """One line: the trail `spd › tiny_lm s-3fa91c02 › components`, and facts at the right edge.

    When both do not fit, the run between program and screen goes first (the status line names it too), then
    the facts lose their beginning (the end says what is searched for), then the trail its middle.
    """

    DEFAULT_CSS = "Breadcrumb { height: 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._trail: tuple[str, ...] = ()
        self._facts = ""

    def show(self, trail: tuple[str, ...], facts: str) -> None:
        """Change what is shown; nothing is painted when it is the same."""
        if (trail, facts) != (self._trail, self._facts):
            self._trail, self._facts = trail, facts
            self.refresh()

    def render(self) -> Text:
        """The line, as wide as the screen."""
        width = self.size.width
        left = self._left(self._trail, width - 1)
        if len(self._trail) == 3 and left.cell_len + cell_len(self._facts) + 4 > width:
            left = self._left((self._trail[0], "…", self._trail[2]), width - 1)
        room = width - 1 - left.cell_len - 3
        facts = Text(_end(self._facts, max(0, room)), no_wrap=True)
        gap = width - 2 - left.cell_len - facts.cell_len
        line = Text.assemble(" ", left, " " * max(0, gap), facts, no_wrap=True)
        line.truncate(width, overflow="crop")
        return line

    def _left(self, parts: tuple[str, ...], width: int) -> Text:
        trail = list(parts)
        while len(trail) > 2 and cell_len(" › ".join(trail)) > width:
            trail[1:-1] = ["…"] if trail[1:-1] != ["…"] else []
        text = Text(no_wrap=True)
        for number, part in enumerate(trail):
            last = number == len(trail) - 1
            if number:
                text.append(" › ", "dim")
            text.append(part, "bold" if last or number == 0 else "")
        text.truncate(max(1, width), overflow="ellipsis")
        return text


def _end(text: str, width: int) -> str:
    """As much of the end of `text` as fits, with `…` before it where that is not all."""
    if cell_len(text) <= width:
        return text
    while text and cell_len(text) > width - 1:
        text = text[1:]
    return f"…{text}" if width else ""
