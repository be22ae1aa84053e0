"""A few lines of text that change often: only the lines that differ are painted."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class LinePanel(Widget):
    """Shows lines from its top; what is too wide ends with `…`, what is too high is cut."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Text] = []

    @property
    def text(self) -> str:
        """What is shown, as text."""
        return "\n".join(line.plain for line in self._lines)

    def show(self, lines: Sequence[Text]) -> None:
        """Show these lines instead."""
        before, self._lines = self._lines, list(lines)
        for y in range(max(len(before), len(self._lines))):
            if _looks(before, y) != _looks(self._lines, y):
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """One line, exactly as wide as the panel."""
        width, style = self.size.width, self.rich_style
        line = _at(self._lines, y)
        if line is None:
            return Strip.blank(width, style)
        line = line.copy()
        line.truncate(width, overflow="ellipsis")
        segments = [
            Segment(part.text, style + part.style if part.style else style)
            for part in line.render(self.app.console, end="")
        ]
        return Strip(segments).adjust_cell_length(width, style)


def _looks(lines: Sequence[Text], y: int) -> object:
    # Texts compare equal whatever their own style is.
    line = _at(lines, y)
    return None if line is None else (line.plain, line.spans, line.style)


def _at(lines: Sequence[Text], y: int) -> Text | None:
    return lines[y] if y < len(lines) else None
