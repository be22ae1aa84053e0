"""Pictures as character cells: half blocks where there are colours, else dots. Pure, with Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

Colour = tuple[int, int, int]
Look = Literal["blocks", "dots", "ascii"]

RAMP = " .:-=+*#%@"
"""Characters from background to strongest contrast."""

MOST_PIXELS = 40_000_000
"""Larger pictures are not opened."""

CELL = (1, 2)
"""A character is about twice as high as it is wide."""


class FigureFile(NamedTuple):
    """A figure as it is on disk; one that was made anew is another."""

    path: Path
    modified: int
    """Nanoseconds; 0 when it is not there."""
    size: int
    """Bytes."""

    @classmethod
    def of(cls, path: Path) -> "FigureFile":
        """The figure at `path`; asks the file system."""
        try:
            state = path.stat()
        except OSError:
            return cls(path, 0, 0)
        return cls(path, state.st_mtime_ns, state.st_size)


@dataclass(frozen=True)
class View:
    """The part of a picture that is seen: its middle in shares of the whole, and its scale."""

    x: float = 0.5
    y: float = 0.5
    scale: float = 1.0

    def zoomed(self, factor: float) -> "View":
        """Enlarged by `factor`, from the whole picture up to 32 times."""
        return View(self.x, self.y, max(1.0, min(32.0, self.scale * factor)))._inside()

    def panned(self, across: float, down: float) -> "View":
        """Moved by shares of what is seen."""
        return View(self.x + across / self.scale, self.y + down / self.scale, self.scale)._inside()

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of a picture of that size."""
        half = 0.5 / self.scale
        return (
            (self.x - half) * width,
            (self.y - half) * height,
            (self.x + half) * width,
            (self.y + half) * height,
        )

    def _inside(self) -> "View":
        half = 0.5 / self.scale
        x, y = (max(half, min(1 - half, place)) for place in (self.x, self.y))
        return View(x, y, self.scale)


@dataclass(frozen=True)
class Cells:
    """A picture of `columns` by `rows` cells: a character and its colours, None for the usual."""

    rows: tuple[tuple[tuple[str, Colour | None, Colour | None], ...], ...]


def open_picture(path: Path) -> "Image":
    """The picture at `path` in memory, on white where it is transparent.

    Raises:
        OSError, ValueError: it is not there, damaged or too large.
    """
    from PIL import Image

    with Image.open(path) as found:
        if found.width * found.height > MOST_PIXELS:
            raise ValueError(f"{found.width} x {found.height} pixels are too many to show")
        found.load()
        if found.mode in ("RGBA", "LA", "PA") or "transparency" in found.info:
            with_alpha = found.convert("RGBA")
            white = Image.new("RGBA", found.size, "white")
            return Image.alpha_composite(white, with_alpha).convert("RGB")
        return found.convert("RGB")


def fitted(image: "Image", columns: int, rows: int) -> tuple[int, int]:
    """Columns and rows of cells that a picture takes within so many, keeping its shape."""
    across, down = CELL
    scale = min(columns * across / image.width, rows * down / image.height)
    width, height = round(image.width * scale / across), round(image.height * scale / down)
    return max(1, min(columns, width)), max(1, min(rows, height))


def cut(image: "Image", view: View, width: int, height: int) -> "Image":
    """What `view` shows of a picture, in `width` by `height` pixels."""
    from PIL import Image

    return image.resize((width, height), Image.Resampling.BOX, view.box(*image.size), reducing_gap=None)


def to_cells(image: "Image", view: View, columns: int, rows: int, look: Look) -> Cells:
    """The picture in at most `columns` by `rows` cells."""
    columns, rows = fitted(image, max(1, columns), max(1, rows))
    if look == "blocks":
        seen = _pixels(cut(image, view, columns, 2 * rows))
        pairs = zip(seen[::2], seen[1::2], strict=True)
        return Cells(tuple(tuple(("▀", a, b) for a, b in zip(top, low, strict=True)) for top, low in pairs))
    if look == "ascii":
        contrast = _contrast(cut(image, view, columns, rows).convert("L"))
        return Cells(
            tuple(
                tuple((RAMP[value * (len(RAMP) - 1) // 255], None, None) for value in row) for row in contrast
            )
        )
    contrast = _contrast(cut(image, view, 2 * columns, 4 * rows).convert("L"))
    return Cells(tuple(_dots(contrast[4 * row : 4 * row + 4], columns) for row in range(rows)))


def _dots(lines: Sequence[Sequence[int]], columns: int) -> tuple[tuple[str, None, None], ...]:
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    cells = []
    for column in range(columns):
        dots = sum(bits[y][x] for y in range(4) for x in range(2) if lines[y][2 * column + x] > 64)
        cells.append((chr(0x2800 + dots) if dots else " ", None, None))
    return tuple(cells)


def _contrast(grey: "Image") -> list[list[int]]:
    """How far each pixel is from the background, 0 to 255; the background is the most frequent shade."""
    data = grey.tobytes()
    histogram = grey.histogram()
    background = max(range(256), key=histogram.__getitem__)
    farthest = max((abs(value - background) for value in set(data)), default=0) or 1
    width = grey.width
    return [
        [abs(value - background) * 255 // farthest for value in data[start : start + width]]
        for start in range(0, len(data), width)
    ]


def _pixels(image: "Image") -> list[list[Colour]]:
    data, width = image.tobytes(), image.width
    flat = list(zip(data[::3], data[1::3], data[2::3], strict=True))
    return [flat[start : start + width] for start in range(0, len(flat), width)]
