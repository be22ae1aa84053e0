"""Values against rank on a log axis, as a filled curve of block characters with one component marked."""

import math
from dataclasses import dataclass
from typing import Protocol

from rich.style import Style
from rich.text import Text

from core.blocks import HEIGHTS
from core.numerals import grouped, three_digits

_AXIS = 9
_CURVE, _MARKED, _MUTED = Style(color="cyan"), Style(color="yellow", bold=True), Style(dim=True)


class Values(Protocol):
    """Numbers in a row, as a list or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> float: ...


@dataclass(frozen=True)
class RankScale:
    """Which values a plot shows and where: the positive ones of `values`, which descend."""

    values: Values
    live: int
    """Leading values that are above zero; a log axis has no place for the others."""
    low: float
    high: float
    """Powers of ten around the values, as logarithms."""
    columns: int

    @classmethod
    def of(cls, values: Values, width: int) -> "RankScale":
        """The scale for a plot of `width` cells, axis labels included."""
        live = _count_positive(values)
        high = math.ceil(math.log10(values[0])) if live else 0
        low = math.floor(math.log10(values[live - 1])) if live else -1
        return cls(values, live, min(low, high - 1), high, max(width - _AXIS - 1, 1))

    def ranks(self, column: int) -> tuple[int, int]:
        """First and last rank, from 0, that a column stands for."""
        first = column * self.live // self.columns
        return first, max(first, (column + 1) * self.live // self.columns - 1)

    def column(self, rank: int) -> int:
        """The column of a rank below `live`."""
        column = min(rank * self.columns // max(self.live, 1), self.columns - 1)
        while column + 1 < self.columns and self.ranks(column)[1] < rank:
            column += 1
        return column

    def height(self, rank: int, rows: int) -> int:
        """Eighths of cells from the ground to the value at a rank."""
        share = (math.log10(self.values[rank]) - self.low) / (self.high - self.low)
        return max(1, round(share * rows * 8))


def rank_plot_lines(values: Values, rank: int | None, width: int, rows: int, title: str) -> list[Text]:
    """The plot as `rows` + 4 lines of at most `width` cells.

    `values` descend; `rank` (from 0) is marked by a column of its own shade and an arrow under it.
    """
    scale = RankScale.of(values, width)
    lines = [_line(title, Style(bold=True), width)]
    if not scale.live:
        return [*lines, _line("no component ever fires", _MUTED, width)]
    marked = scale.column(rank) if rank is not None and rank < scale.live else None
    tops = [scale.height(scale.ranks(column)[0], rows) for column in range(scale.columns)]
    if marked is not None and rank is not None:
        tops[marked] = scale.height(rank, rows)
    for row in reversed(range(rows)):
        label = _label(scale, row, rows).rjust(_AXIS - 1) + " "
        line = Text.assemble((label, _MUTED), no_wrap=True, end="")
        line.append("│", _MUTED)
        cells = "".join(HEIGHTS[max(0, min(8, top - 8 * row))] for top in tops)
        if marked is None:
            line.append(cells, _CURVE)
        else:
            line.append(cells[:marked], _CURVE)
            line.append("┃" if cells[marked] == "█" else cells[marked], _MARKED)
            line.append(cells[marked + 1 :], _CURVE)
        lines.append(line)
    arrow = "─" * scale.columns
    foot = Text.assemble((" " * _AXIS + "└", _MUTED), no_wrap=True, end="")
    if marked is None:
        foot.append(arrow, _MUTED)
    else:
        foot.append(arrow[:marked], _MUTED)
        foot.append("▲", _MARKED)
        foot.append(arrow[marked + 1 :], _MUTED)
    last = grouped(scale.live)
    lines += [foot, _line(" " * (_AXIS + 1) + "1" + last.rjust(scale.columns - 1), _MUTED, width)]
    lines.append(_line(_caption(scale, rank), Style.null(), width))
    return lines


def _caption(scale: RankScale, rank: int | None) -> str:
    silent = len(scale.values) - scale.live
    never = f"{grouped(silent)} never fire" if silent else "all of them fire"
    if rank is None:
        return f"rank among {grouped(len(scale.values))} components · {never}"
    if rank >= scale.live:
        return f"▲ never fires, like {grouped(silent)} of {grouped(len(scale.values))} components"
    value = three_digits(scale.values[rank])
    return f"▲ rank {grouped(rank + 1)} of {grouped(len(scale.values))}: {value} · {never}"


def _label(scale: RankScale, row: int, rows: int) -> str:
    """A power of ten where one lies at the bottom of a row of cells, if the rows leave room for it."""
    decades = scale.high - scale.low
    every = max(1, math.ceil(decades * 2 / rows))
    for power in range(int(scale.high), int(scale.low) - 1, -1):
        place = (power - scale.low) / decades * rows
        at = min(math.floor(place), rows - 1)
        if at == row and (int(scale.high) - power) % every == 0:
            return f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"
    return ""


def _count_positive(values: Values) -> int:
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] > 0:
            low = middle + 1
        else:
            high = middle
    return low


def _line(text: str, style: Style, width: int) -> Text:
    line = Text(text, style, no_wrap=True, end="")
    line.truncate(width)
    return line
