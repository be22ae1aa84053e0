"""A figure of a run: as a picture where the terminal can show one, else in half blocks or dots."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal

from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget

from spd_tui.rows.picture import Cells, Colour, Look
from spd_tui.theme import shows_unicode

if TYPE_CHECKING:
    from PIL.Image import Image

    from spd_tui.app import SpdApp

Protocol = Literal["kitty", "sixel", "blocks"]

PICTURES = "SPD_PICTURES"
"""Environment variable that says how pictures are shown: kitty, sixel or blocks."""

_SIXEL_PROGRAMS = frozenset(("WezTerm", "iTerm.app", "mintty", "contour"))
_SIXEL_TERMS = ("foot", "mlterm", "yaft", "contour")


def picture_protocol(environ: Mapping[str, str] = os.environ) -> Protocol:
    """How the terminal shows pictures, told by its name alone.

    Asking it would cost a key press where it does not answer, and inside tmux or screen the answer is not
    that of the terminal in front of the user.
    """
    asked = environ.get(PICTURES, "")
    if asked in ("kitty", "sixel", "blocks"):
        return asked  # type: ignore[return-value]
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if environ.get("TMUX") or environ.get("STY") or term.startswith(("screen", "tmux")):
        return "blocks"
    if "kitty" in term or "ghostty" in term or environ.get("KITTY_WINDOW_ID"):
        return "kitty"
    if program in _SIXEL_PROGRAMS or term.startswith(_SIXEL_TERMS):
        return "sixel"
    return "blocks"


class FigureCells(Widget):
    """A picture made of characters."""

    DEFAULT_CSS = "FigureCells { width: 1fr; height: 1fr; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips: list[Strip] = []
        self._message = ""

    def show(self, cells: Cells | None, message: str = "") -> None:
        """Paint these cells, or say why there are none."""
        self._strips = [] if cells is None else [_strip(row) for row in cells.rows]
        self._message = message
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the picture, in the middle."""
        width, base = self.size.width, self.rich_style
        if not self._strips:
            text = self._message.center(width) if y == self.size.height // 2 else ""
            return Strip([Segment(text[:width], base)]).adjust_cell_length(width, base)
        if y >= len(self._strips):
            return Strip.blank(width, base)
        strip = self._strips[y]
        indent = max(0, (width - strip.cell_length) // 2)
        return Strip([Segment(" " * indent, base), *strip]).adjust_cell_length(width, base)


class FigureView(Container):
    """Room for one figure, whichever way it is shown."""

    DEFAULT_CSS = """
    FigureView { width: 1fr; height: 1fr; align: center middle; }
    FigureView > .picture { width: auto; height: auto; max-width: 100%; max-height: 100%; }
    """

    if TYPE_CHECKING:

        @property
        def app(self) -> "SpdApp":
            """The browser."""
            ...

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.protocol: Protocol = picture_protocol()
        self._picture: Any = None

    def compose(self) -> ComposeResult:
        """The cells; a picture is mounted when there is one to show."""
        yield FigureCells()

    @property
    def look(self) -> Look:
        """Which cells this terminal can show."""
        if not shows_unicode(self.app.encoding):
            return "ascii"
        colourless = self.app.current_theme.ansi or self.app.no_color
        return "dots" if colourless else "blocks"

    def pixels(self) -> tuple[int, int]:
        """Pixels across and down of the room there is."""
        width, height = cell_pixels()
        return self.size.width * width, self.size.height * height

    def show_cells(self, cells: Cells | None, message: str = "") -> None:
        """Show characters."""
        self._drop_picture()
        found = self.query_one(FigureCells)
        found.display = True
        found.show(cells, message)

    def show_picture(self, image: "Image") -> None:
        """Show a real picture; falls back to a message where that fails."""
        self._drop_picture()
        try:
            self._picture = picture_widget(self.protocol)(image, classes="picture")
        except Exception as error:
            # The library reaches into the terminal; whatever it stumbles over, characters still work.
            failed, self.protocol = self.protocol, "blocks"
            self.show_cells(None, f"no {failed} pictures here ({error}): r shows characters")
            return
        self.query_one(FigureCells).display = False
        self.mount(self._picture)

    def _drop_picture(self) -> None:
        if self._picture is not None:
            self._picture.image = None
            self._picture.remove()
            self._picture = None


def picture_widget(protocol: Protocol) -> type[Any]:
    """The widget class that shows pictures by `protocol`.

    Importing it asks the terminal questions when standard output is one, which nobody would answer once the
    browser reads the keys; so it is imported with standard output out of its sight.
    """
    with _hidden_terminal():
        module = importlib.import_module("textual_image.widget")
    return module.TGPImage if protocol == "kitty" else module.sixel.Image


def cell_pixels() -> tuple[int, int]:
    """Width and height of a character in pixels as the system knows it; else 10 by 20."""
    try:
        import fcntl
        import struct
        import termios

        stream = sys.__stderr__ or sys.__stdout__
        packed = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, b"\0" * 8) if stream else b""
        rows, columns, width, height = struct.unpack("4H", packed)
        if rows and columns and width and height:
            return max(1, width // columns), max(1, height // rows)
    except (ImportError, OSError, ValueError):
        return 10, 20
    return 10, 20


class _NoTerminal:
    """A stream that says it is no terminal and is otherwise the one it stands for."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _hidden_terminal() -> Iterator[None]:
    before, pixels = sys.__stdout__, cell_pixels()
    sizes = {"TEXTUAL_CELL_WIDTH": str(pixels[0]), "TEXTUAL_CELL_HEIGHT": str(pixels[1])}
    saved = {name: os.environ.get(name) for name in sizes}
    if before is None:
        raise OSError("standard output is closed")
    sys.__stdout__ = _NoTerminal(before)  # type: ignore[misc,assignment]
    os.environ.update(sizes)
    try:
        yield
    finally:
        sys.__stdout__ = before  # type: ignore[misc]
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _strip(row: tuple[tuple[str, Colour | None, Colour | None], ...]) -> Strip:
    segments: list[Segment] = []
    text, colours = "", (row[0][1], row[0][2]) if row else (None, None)
    for character, front, back in row:
        if (front, back) != colours:
            segments.append(Segment(text, _style(*colours)))
            text, colours = "", (front, back)
        text += character
    return Strip([*segments, Segment(text, _style(*colours))])


def _style(front: Colour | None, back: Colour | None) -> Style | None:
    if front is None or back is None:
        return None
    return Style(color="#{:02x}{:02x}{:02x}".format(*front), bgcolor="#{:02x}{:02x}{:02x}".format(*back))
