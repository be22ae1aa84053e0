"""Bars and courses of block characters to compare numbers by."""

import math
from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from core.blocks import HEIGHTS

SET_STYLES = (Style(color="cyan"), Style(bold=True), Style(color="yellow"))
SET_MARKS = "▒█░"
"""Positions with only this, with both, with only the other: told apart by their shade without colour."""


def course(values: Sequence[float]) -> str:
    """The course of some values, a block for each from the least to the greatest; a space for NaN.

    Values that are all positive and span more than two decades are drawn by their logarithm.
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ""
    low, high = min(known), max(known)
    if low > 0 and high / low > 100:
        values = [math.log10(value) for value in values]
        low, high = math.log10(low), math.log10(high)
    if not high > low:
        return "".join(" " if math.isnan(value) else HEIGHTS[4] for value in values)
    # By halves: the difference of two floats may be too large for one.
    span = high / 2 - low / 2
    return "".join(
        " " if math.isnan(value) else HEIGHTS[1 + round((value / 2 - low / 2) / span * 7)] for value in values
    )


def shares(parts: Sequence[float], width: int) -> list[int]:
    """Whole cells of `width` for each part, in proportion; what is not zero gets one while there are any."""
    total = math.fsum(parts)
    if total <= 0 or width <= 0:
        return [0] * len(parts)
    exact = [part / total * width for part in parts]
    cells = [max(int(value), 1 if part > 0 else 0) for value, part in zip(exact, parts, strict=True)]
    while sum(cells) < width:
        cells[max(range(len(cells)), key=lambda place: exact[place] - cells[place])] += 1
    while sum(cells) > width:
        cells[max(range(len(cells)), key=lambda place: (cells[place], cells[place] - exact[place]))] -= 1
    return cells


def overlap_bar(this: float, both: float, other: float, width: int) -> Text:
    """Two sets of positions as one bar: only this ▒, both █, only the other ░, in proportion.

    `this` and `other` are the sizes of the whole sets, `both` that of their common part.
    """
    text = Text(no_wrap=True)
    parts = (max(this - both, 0.0), both, max(other - both, 0.0))
    for mark, cells, style in zip(SET_MARKS, shares(parts, width), SET_STYLES, strict=True):
        text.append(mark * cells, style)
    text.pad_right(width - text.cell_len)
    return text
