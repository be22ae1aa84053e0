"""The parts of a screen on one line, each with its key; the one that is shown stands in brackets."""

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget


class ViewTabs(Widget):
    """One line of names."""

    DEFAULT_CSS = "ViewTabs { height: 1; }"

    def __init__(self, tabs: Sequence[tuple[str, str]], id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = tuple(tabs)
        self.current = self._tabs[0][0]
        self._note = ""

    def show(self, current: str, note: str = "") -> None:
        """Mark one of them; `note` stands at the right."""
        if (current, note) != (self.current, self._note):
            self.current, self._note = current, note
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line."""
        base, width = self.rich_style, self.size.width
        segments: list[Segment] = []
        for name, key in self._tabs:
            if name == self.current:
                segments.append(Segment(f"[{name}]", base + Style(bold=True)))
            else:
                segments.append(Segment(f" {name} ", base))
            segments.append(Segment(f"{key} ", base + Style(dim=True)))
        strip = Strip(segments)
        room = width - strip.cell_length - 1
        if self._note and room > 10:
            note = self._note if len(self._note) <= room else self._note[: room - 1] + "…"
            strip = Strip([*strip, Segment(note.rjust(width - strip.cell_length), base)])
        return strip.adjust_cell_length(width, base)
