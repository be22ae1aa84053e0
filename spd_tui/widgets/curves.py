"""The plot of chosen series, with axes, a legend and remarks on what is not drawn."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from spd_tui.rows.curves import Curve, Plot, Window, data_ends, draw
from spd_tui.rows.legend import Line, legend_lines
from spd_tui.rows.run import MARKERS, PLAIN_MARKERS
from spd_tui.theme import shows_unicode

if TYPE_CHECKING:
    from spd_tui.app import SpdApp

DARK = ("#7fb4ff", "#e6b673", "#8fd694", "#ff7a85", "#c7a6ff", "#6fd3c9")
LIGHT = ("#0b57a4", "#8a5300", "#1f6b2c", "#b3001b", "#6a3fa0", "#00696b")
SIXTEEN = ("cyan", "yellow", "green", "red", "magenta", "blue")
"""Colours of the chosen names; every curve also has a marker of its own."""

ZOOM = 0.5
PAN = 0.25


class CurvesPlot(Widget):
    """Curves over steps or time. Painted anew only when something it shows has changed."""

    DEFAULT_CSS = "CurvesPlot { height: 1fr; width: 1fr; }"

    if TYPE_CHECKING:

        @property
        def app(self) -> "SpdApp":
            """The browser."""
            ...

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.curves: tuple[Curve, ...] = ()
        self.legend: tuple[tuple[str, int], ...] = ()
        self.window = Window()
        self.log_axis = False
        self._x_label: Callable[[float], str] | None = None
        self._title = ""
        self._painted: tuple[object, list[Line]] | None = None
        self._version = 0
        self._base = Style()

    def show(
        self,
        curves: Sequence[Curve],
        legend: Sequence[tuple[str, int]],
        title: str,
        x_label: Callable[[float], str] | None = None,
    ) -> None:
        """Draw these curves; `legend` has a text for each with the number of its marker."""
        self.curves, self.legend = tuple(curves), tuple(legend)
        self._title, self._x_label = title, x_label
        self.repaint()

    def repaint(self) -> None:
        """Draw again: what it shows is another."""
        self._version += 1
        self.refresh()

    def zoom(self, factor: float) -> None:
        """Show a stretch `factor` times as long."""
        if ends := data_ends(self.curves):
            self._look(self.window.zoomed(factor, *ends))

    def pan(self, share: float) -> None:
        """Move by a share of what is seen."""
        if ends := data_ends(self.curves):
            self._look(self.window.panned(share, *ends))

    def whole(self) -> None:
        """Show everything, and follow it as it grows."""
        self._look(Window())

    def set_log(self, on: bool) -> None:
        """Use a logarithmic vertical axis."""
        if on != self.log_axis:
            self.log_axis = on
            self.repaint()

    @property
    def plain(self) -> bool:
        """Whether the terminal has ASCII alone."""
        return not shows_unicode(self.app.encoding)

    @property
    def markers(self) -> str:
        """The signs of the curves, by their number."""
        return PLAIN_MARKERS if self.plain else MARKERS

    def lines(self) -> list[str]:
        """What is on it, as text."""
        return ["".join(text for text, _ in line) for line in self._drawn()]

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of one paint; to look their style up for each takes longer than to make them."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of the plot."""
        lines, width, base = self._drawn(), self.size.width, self._base
        if y >= len(lines):
            return Strip.blank(width, base)
        colours = self._colours()
        segments = [
            Segment(text, base if marker is None else _coloured(base, colours[marker // 2 % len(colours)]))
            for text, marker in lines[y]
        ]
        return Strip(segments).adjust_cell_length(width, base)

    def _look(self, window: Window) -> None:
        if window != self.window:
            self.window = window
            self.repaint()

    def _drawn(self) -> list[Line]:
        state = (self._version, self.size)
        if self._painted is None or self._painted[0] != state:
            self._painted = (state, self._draw())
        return self._painted[1]

    def _draw(self) -> list[Line]:
        width, height = self.size
        plain = self.plain
        title = "  ".join(part for part in (self._title, "log" * self.log_axis) if part)
        if not self.window.whole:
            title += "  zoomed: 0 shows all"
        head = legend_lines(self.legend, width, self.markers, max(1, height // 5))
        head = _with_title(head, title, width)
        plot = self._plot(width, height - len(head), plain)
        if plot.remarks:
            plot = self._plot(width, height - len(head) - min(2, len(plot.remarks)), plain)
        remarks: list[Line] = [((f"! {remark}", None),) for remark in plot.remarks[:2]]
        return [*head, *plot.lines, *remarks]

    def _plot(self, width: int, height: int, plain: bool) -> Plot:
        return draw(
            self.curves, width, height, self.window, log=self.log_axis, plain=plain, x_label=self._x_label
        )

    def _colours(self) -> tuple[str, ...]:
        theme = self.app.current_theme
        if theme.ansi:
            return SIXTEEN
        return DARK if theme.dark else LIGHT


@lru_cache(maxsize=64)
def _coloured(base: Style, colour: str) -> Style:
    return base + Style(color=colour)


def _with_title(head: list[Line], title: str, width: int) -> list[Line]:
    """The title at the right of the legend's last line, or on a line of its own where there is no room."""
    used = sum(cell_len(text) for text, _ in head[-1]) if head else width
    if used + 2 + len(title) > width:
        return [*head, ((title[:width].rjust(width), None),)]
    return [*head[:-1], (*head[-1], (title.rjust(width - used), None))]
