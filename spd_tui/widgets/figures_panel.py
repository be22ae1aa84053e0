"""The figures of a run: a list, and the one under the cursor as a picture."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import Static

from spd_tui.keys import bind
from spd_tui.rows.picture import Cells, FigureFile, Look, View, cut, fitted, open_picture, to_cells
from spd_tui.rows.runs import plain_line
from spd_tui.widgets.figure import FigureView
from spd_tui.widgets.frame_table import Column, FrameTable

if TYPE_CHECKING:
    from PIL.Image import Image

    from spd_tui.screens.base import SpdScreen

ZOOM = 2.0
PAN = 0.25

_SAME_DATA = {
    "training_curves": "the same numbers: key C, curves",
    "l0": "the same numbers: key E, evaluation",
    "activation_density": "the same numbers: key 3, components",
    "mean_importance": "the same numbers: key 3, components",
    "importance_histograms": "the same numbers: key 3, component cards",
}
"""Where the numbers of a figure stand in words, by the beginning of its name."""


@dataclass(frozen=True)
class _Shown:
    """A figure as it was made for the room there was."""

    file: FigureFile
    image: "Image"
    cells: Cells | None
    picture: "Image | None"


class FigureTable(FrameTable):
    """The list of figures; left and right move the picture."""

    def action_left(self) -> None:
        """Look farther left."""
        self.screen.query_one(FiguresPanel).pan(-PAN, 0)

    def action_right(self) -> None:
        """Look farther right."""
        self.screen.query_one(FiguresPanel).pan(PAN, 0)


class FiguresPanel(Container):
    """List and picture; the picture is made by a thread."""

    SCOPED_CSS = False

    DEFAULT_CSS = """
    FiguresPanel { layout: horizontal; }
    FiguresPanel > FigureTable { width: 36; margin-right: 1; }
    FiguresPanel > Vertical { width: 1fr; }
    FiguresPanel #caption { height: 2; }
    .-narrow FiguresPanel { layout: vertical; }
    .-narrow FiguresPanel > FigureTable { width: 1fr; height: 6; margin-right: 0; }
    .-tiny FiguresPanel > FigureTable { width: 1fr; margin-right: 0; }
    .-tiny FiguresPanel > Vertical { display: none; }
    FiguresPanel.enlarged > FigureTable { display: none; }
    FiguresPanel.enlarged > Vertical { display: block; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._all: dict[Path, FigureFile] = {}
        self._narrowed = ""
        self._path: Path | None = None
        self._view = View()
        self._shown: _Shown | None = None
        self._made_for: object = None

    def compose(self) -> ComposeResult:
        """List; picture over its path."""
        table = FigureTable(id="figure-list", empty="no figures;\nevaluations make them")
        table.set_columns([Column("figure", "figure", minimum=16), Column("size", "kB", 6, align="right")])
        yield table
        with Vertical():
            yield FigurePane(id="figure")
            yield Static("", id="caption", markup=False)

    def show(self, figures: Sequence[FigureFile]) -> None:
        """List these figures; one that was made anew is shown anew."""
        self._all = {figure.path: figure for figure in figures}
        self._fill()
        self.make()

    def narrow(self, text: str) -> None:
        """List only figures with these words in their names."""
        self._narrowed = text
        self._fill()

    def enlarge(self) -> None:
        """Give the picture the whole screen."""
        self.add_class("enlarged")
        self.query_one(FigurePane).focus()
        self.call_after_refresh(self.make)

    def leave(self) -> bool:
        """Back to the list; False when it is there."""
        if not self.has_class("enlarged"):
            return False
        self.remove_class("enlarged")
        self.query_one(FigureTable).focus()
        self.call_after_refresh(self.make)
        return True

    def take_keys(self) -> None:
        """Keys go to the list, or to the picture when it is alone."""
        (self.query_one(FigurePane if self.has_class("enlarged") else FigureTable)).focus()
        self.call_after_refresh(self.make)

    def zoom_in(self) -> None:
        """Enlarge the picture."""
        self._look(self._view.zoomed(ZOOM))

    def zoom_out(self) -> None:
        """Make it smaller."""
        self._look(self._view.zoomed(1 / ZOOM))

    def whole(self) -> None:
        """All of it."""
        self._look(View())

    def pan(self, across: float, down: float) -> None:
        """Move what is seen."""
        self._look(self._view.panned(across, down))

    def copied(self) -> str:
        """The path of the figure."""
        return str(self._path) if self._path else ""

    def on_frame_table_highlighted(self, event: FrameTable.Highlighted) -> None:
        """Show the figure under the cursor."""
        event.stop()
        if isinstance(event.key, Path) and event.key != self._path:
            self._path, self._view = event.key, View()
            self.make()

    def on_frame_table_chosen(self, event: FrameTable.Chosen) -> None:
        """Enter: the picture alone."""
        event.stop()
        self.enlarge()

    def on_resize(self, event: events.Resize) -> None:
        """Another size, another picture."""
        self.call_after_refresh(self.make)

    def make(self) -> None:
        """Have the picture made for the room there is, unless it is the one that is shown."""
        screen: SpdScreen = self.screen  # type: ignore[assignment]
        room = self.query_one(FigureView)
        if self._path is None or not room.size or not self.is_on_screen:
            return
        wanted = (self._path, self._all.get(self._path), self._view, room.size, room.protocol, room.look)
        if wanted == self._made_for:
            return
        self._made_for = wanted
        if room.protocol == "blocks":
            size = (room.size.width, room.size.height)
            look: Look | None = room.look
        else:
            size, look = room.pixels(), None
        screen.background.run(
            _make, self._path, self._shown, self._view, size, look,
            what=f"drawing {plain_line(self._path.stem)}",
            done=self._paint,
            failed=self._not_made,
            group="figure",
        )  # fmt: skip

    @property
    def is_on_screen(self) -> bool:
        """Whether anybody could see the picture."""
        return all(
            widget.display
            for widget in self.query_one(FigureView).ancestors_with_self
            if hasattr(widget, "size")
        )

    def _look(self, view: View) -> None:
        if view != self._view:
            self._view = view
            self.make()

    def _paint(self, shown: _Shown) -> None:
        path = shown.file.path
        if path != self._path:
            return
        self._shown = shown
        room = self.query_one(FigureView)
        if shown.picture is not None:
            room.show_picture(shown.picture)
        else:
            room.show_cells(shown.cells)
        where = next((text for start, text in _SAME_DATA.items() if path.stem.startswith(start)), "")
        size = f"{shown.image.width} x {shown.image.height}"
        zoom = f"{self._view.scale:.3g}x" if self._view.scale > 1 else ""
        said = "   ".join(part for part in (zoom, size, where) if part)
        self.query_one("#caption", Static).update(f"{said}\n{self._path_text(path)}")

    def _not_made(self, error: BaseException) -> None:
        path = self._path
        self._made_for = None
        name = plain_line(path.name) if path else "the figure"
        self.query_one(FigureView).show_cells(None, f"{name} cannot be shown: {plain_line(str(error))}")
        self.query_one("#caption", Static).update(self._path_text(path) if path else "")

    def _path_text(self, path: Path) -> str:
        """The path, its end where not all of it fits."""
        text, room = plain_line(str(path)), max(8, self.query_one(FigureView).size.width)
        return text if len(text) <= room else "…" + text[1 - room :]

    def _fill(self) -> None:
        words = self._narrowed.lower().split()
        kept = [file for file in self._all.values() if all(word in file.path.stem.lower() for word in words)]
        self.query_one(FigureTable).set_rows(_FigureSource(kept))


class FigurePane(FigureView, can_focus=True):
    """The picture; the keys move it when it is alone on the screen."""

    BINDINGS = [bind(name) for name in ("left", "right", "up", "down")]  # noqa: RUF012

    def action_left(self) -> None:
        """Look farther left."""
        self.screen.query_one(FiguresPanel).pan(-PAN, 0)

    def action_right(self) -> None:
        """Look farther right."""
        self.screen.query_one(FiguresPanel).pan(PAN, 0)

    def action_up(self) -> None:
        """Look farther up."""
        self.screen.query_one(FiguresPanel).pan(0, -PAN)

    def action_down(self) -> None:
        """Look farther down."""
        self.screen.query_one(FiguresPanel).pan(0, PAN)


class _FigureSource:
    def __init__(self, files: Sequence[FigureFile]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def key(self, index: int) -> Hashable:
        """The figure's path."""
        return self._files[index].path

    def cells(self, index: int) -> Sequence[str]:
        """Its name and size."""
        file = self._files[index]
        return plain_line(file.path.stem), f"{file.size / 1000:.0f}"


def _make(path: Path, known: _Shown | None, view: View, size: tuple[int, int], look: Look | None) -> _Shown:
    """Open the figure, unless it is open, and make what fits the room: cells, or a picture in pixels."""
    file = FigureFile.of(path)
    image = known.image if known is not None and known.file == file else open_picture(path)
    if look is not None:
        return _Shown(file, image, to_cells(image, view, *size, look), None)
    columns, rows = fitted(image, size[0], size[1] // 2)
    return _Shown(file, image, None, cut(image, view, columns, 2 * rows))
