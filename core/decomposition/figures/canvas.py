"""The page figures are drawn on: a grid of axes of fixed cell size, one style, and atomic saving.

Sizes are set by hand rather than by matplotlib's layout engines, which cost more than all the drawing.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from core.runs.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
"""Dots per inch of saved figures."""

INK = "#26323f"
BLUE = "#2f6fb0"
RED = "#c0453b"
GREEN = "#3d8f5f"
GREY = "#9aa5b1"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_LEFT, _BOTTOM, _TOP = 0.72, 0.5, 0.68
"""Margins in inches; the top one holds the figure's title and the first row's titles."""

_NARROWEST = 5.9
"""Smallest width in inches, so that a title fits above a single cell."""


@dataclass(frozen=True)
class Page:
    """A figure and its axes by row and column."""

    figure: "Figure"
    axes: "list[list[Axes]]"

    def cells(self) -> "list[Axes]":
        """All axes, row by row."""
        return [axis for row in self.axes for axis in row]


def new_page(
    rows: int,
    columns: int,
    title: str,
    *,
    cell: tuple[float, float] = (3.6, 1.9),
    gap: tuple[float, float] = (0.75, 0.72),
    right: float = 0.28,
) -> Page:
    """A page with rows by columns axes, each `cell` (width, height) inches and `gap` inches apart.

    `right` is the margin right of the last column, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(_LEFT + columns * cell[0] + (columns - 1) * gap[0] + right, _NARROWEST)
    height = _TOP + rows * cell[1] + (rows - 1) * gap[1] + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(_LEFT / width, 1 - 0.16 / height, title, va="top", size=11, weight="bold", color=INK)
    axes: list[list[Axes]] = []
    for row in range(rows):
        bottom = _BOTTOM + (rows - 1 - row) * (cell[1] + gap[1])
        line: list[Axes] = []
        for column in range(columns):
            left = _LEFT + column * (cell[0] + gap[0])
            box = (left / width, bottom / height, cell[0] / width, cell[1] / height)
            axis = figure.add_axes(box)
            _style(axis)
            line.append(axis)
        axes.append(line)
    return Page(figure, axes)


def label(axis: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Title and axis labels in the page's type sizes."""
    axis.set_title(title, size=8.5, color=INK, loc="left", pad=4)
    axis.set_xlabel(x, size=8, color=INK, labelpad=2)
    axis.set_ylabel(y, size=8, color=INK, labelpad=3)


def power_of_ten(exponent: int) -> str:
    """`10` with a superscript, or 1; plain text, since matplotlib's formula parser takes 0.3 s to start."""
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPTS)


def decade_ticks(axis: "Axes", low: float, high: float, most: int = 6) -> None:
    """Log scale on y over [low, high], with at most about `most` ticks at whole powers of ten."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    exponents = range(first, last + 1, max(1, -(-(last - first) // most)))
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.yaxis.set_major_locator(FixedLocator([10.0**e for e in exponents]))
    axis.yaxis.set_major_formatter(FixedFormatter([power_of_ten(e) for e in exponents]))
    axis.yaxis.set_minor_locator(NullLocator())


def colour_bar(axis: "Axes", image: Any, text: str) -> None:
    """A narrow colour bar just right of `axis`, without taking room from it."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    box = axis.get_position()
    width = 0.09 / figure.get_figwidth()
    bar = figure.add_axes((box.x1 + 0.07 / figure.get_figwidth(), box.y0, width, box.height))
    drawn = figure.colorbar(image, cax=bar)
    drawn.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
    bar.tick_params(labelsize=7, length=2, width=0.5, pad=1.5, colors=INK)
    bar.set_ylabel(text, size=7, color=INK, labelpad=1)


def array(values: Tensor | ArrayLike) -> NDArray[np.float64]:
    """Any tensor or array as float64 on the CPU."""
    if isinstance(values, Tensor):
        return values.detach().to("cpu").double().numpy()
    return np.asarray(values, dtype=np.float64)


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG at `path` in one step, making its folder: readers see the old file or the whole new one.

    Raises:
        SpdError: the disk is full or the folder may not be written; nothing half-written stays.
    """
    buffer = io.BytesIO()
    # Level 1 compression: figures are small, and the default spends longer packing than drawing.
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())


def legend(page: Page, entries: Sequence[tuple[str, float, str]]) -> None:
    """A key at the upper right of the page: (colour, line width, text) each."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, linewidth=width) for colour, width, _ in entries]
    page.figure.legend(
        lines,
        [text for _, _, text in entries],
        fontsize=8,
        frameon=False,
        loc="upper right",
        ncols=len(entries),
        handlelength=1.4,
        labelcolor=INK,
    )


def whole_ticks(count: int, most: int = 6) -> Sequence[int]:
    """A few round indices from 0 to count - 1."""
    for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000):
        if count <= step * most:
            return range(0, count, step)
    return (0, count - 1)


def _style(axis: "Axes") -> None:
    axis.tick_params(labelsize=7.5, length=2.5, width=0.6, pad=2, colors=INK)
    for side, spine in axis.spines.items():
        spine.set_linewidth(0.6)
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
