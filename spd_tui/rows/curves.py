"""Curves drawn into character cells: which part is seen, what is left out, axes and braille lines. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spd_tui.rows.axes import Tick, axis_label, linear_ticks, log_ticks
from spd_tui.rows.run import MARKERS, PLAIN_MARKERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BELOW = tuple(tuple(sum(column[dot:]) for dot in range(4)) for column in _DOTS)
_ABOVE = tuple(tuple(sum(column[: dot + 1]) for dot in range(4)) for column in _DOTS)
"""Dots of a cell's left and right column from a dot down, and down to a dot."""
_NARROWEST = 16
"""The longest label of an axis, -1.234567e-300, the axis and a column."""
_LOWEST = 4
_FAR = 1e9


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    name: str
    x: "NDArray[Any]"
    """`n` ascending floats."""
    y: "NDArray[Any]"
    """`n` floats, NaN where there is nothing."""
    marker: int = 0
    """Which of the markers and colours it has."""


@dataclass(frozen=True)
class Window:
    """The part of the horizontal axis that is seen; None is the end of the data, wherever it grows to."""

    left: float | None = None
    right: float | None = None

    def within(self, low: float, high: float) -> tuple[float, float]:
        """Left and right end, for data from `low` to `high`."""
        return (low if self.left is None else self.left), (high if self.right is None else self.right)

    def zoomed(self, factor: float, low: float, high: float) -> "Window":
        """A window `factor` times as wide about the same middle; the whole once it holds all the data."""
        left, right = self.within(low, high)
        middle, half = (left + right) / 2, (right - left) / 2 * factor
        half = max(half, 1e-9 * max(abs(middle), 1.0))
        return _fitted(middle - half, middle + half, low, high)

    def panned(self, share: float, low: float, high: float) -> "Window":
        """Moved by `share` of its width, as far as there are data."""
        left, right = self.within(low, high)
        width = right - left
        move = max(low - left, min(high - right, share * width))
        return _fitted(left + move, right + move, low, high)

    @property
    def whole(self) -> bool:
        """Whether all the data are seen."""
        return self.left is None and self.right is None


def _fitted(left: float, right: float, low: float, high: float) -> Window:
    width = min(right - left, high - low)
    left = max(low, min(left, high - width))
    near = 1e-9 * max(high - low, 1e-12)
    at_left, at_right = left <= low + near, left + width >= high - near
    # An end that touches the data's end goes with it as they grow only when all of them are seen.
    return Window() if at_left and at_right else Window(left, left + width)


@dataclass(frozen=True)
class Plot:
    """What to paint."""

    lines: tuple[tuple[tuple[str, int | None], ...], ...]
    """Lines from the top, as pieces of text with the index of their curve; None for axes."""
    remarks: tuple[str, ...] = ()
    """What is not drawn, and why."""


def draw(
    curves: Sequence[Curve],
    width: int,
    height: int,
    window: Window,
    *,
    log: bool = False,
    plain: bool = False,
    x_label: Callable[[float], str] | None = None,
) -> Plot:
    """A plot of `width` by `height` characters with both axes; with `plain` in ASCII alone."""
    if width < _NARROWEST or height < _LOWEST:
        return Plot(((("too small to plot"[: max(width, 0)], None),),))
    ends = data_ends(curves)
    if ends is None:
        return _message(
            "nothing logged yet" if curves else "nothing chosen: space adds a series", width, height
        )
    left, right = window.within(*ends)
    only_step = None if right > left else left
    if only_step is not None:
        left, right = left - 0.5, left + 0.5
    columns = 2 * (width - 2)
    sampled = [downsample(curve.x, curve.y, left, right, columns) for curve in curves]
    remarks: tuple[str, ...] = ()
    if log:
        remarks = tuple(text for curve in curves if (text := _unlogged(curve, left, right)))
        sampled = [[(x, math.log10(y) if y > 0 else math.nan) for x, y in points] for points in sampled]
    seen = [y for points in sampled for x, y in points if left <= x <= right and not math.isnan(y)]
    if not seen:
        why = "nothing above zero here: `L` leaves the log axis" if log else "nothing logged in this part"
        return _message(why, width, height, remarks)
    low, high = min(seen), max(seen)
    only_value = None if high - low > 1e-12 * max(abs(low), abs(high)) else low
    if only_value is not None:
        room = max(abs(low) * 0.1, 1e-9) if low else 1.0
        low, high = low - room, high + room
    frame = _Frame(left, right, low, high, log, plain, only_step, only_value)
    return Plot(_framed(frame, curves, sampled, width, height, x_label or axis_label), remarks)


def data_ends(curves: Sequence[Curve]) -> Point | None:
    """Least and greatest x of all curves; None without points."""
    ends = [(float(curve.x[0]), float(curve.x[-1])) for curve in curves if len(curve.x)]
    return (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else None


def downsample(x: "NDArray[Any]", y: "NDArray[Any]", left: float, right: float, columns: int) -> list[Point]:
    """Points between `left` and `right`, at most about four for each of `columns`, and a neighbour outside
    on either side so that lines reach the edges.

    Every column keeps its least and greatest value. A point with y = NaN is a gap.
    """
    import numpy as np

    start, stop = int(np.searchsorted(x, left, "left")), int(np.searchsorted(x, right, "right"))
    first, last = max(start - 1, 0), min(stop + 1, len(x))
    if last - first <= 4 * columns:
        return list(zip(x[first:last].tolist(), y[first:last].tolist(), strict=True))
    edges = np.searchsorted(x[start:stop], np.linspace(left, right, columns + 1)[1:-1], "left")
    starts = np.unique(np.concatenate(([0], edges[edges < stop - start]))) + start
    ends = np.append(starts[1:], stop)
    # The least values of pieces that end at `stop`: reduceat would run on to the end of the array.
    inside = y[:stop]
    low, high = np.fmin.reduceat(inside, starts), np.fmax.reduceat(inside, starts)
    rows = np.stack([x[starts], inside[starts], low, high, inside[ends - 1]], axis=1).tolist()
    points: list[Point] = []
    if first < start:
        points.append((float(x[first]), float(y[first])))
    for place, *values in rows:
        known = [value for value in values if not math.isnan(value)]
        points.extend((place, value) for value in known or (math.nan,))
    if last > stop:
        points.append((float(x[last - 1]), float(y[last - 1])))
    return points


def _unlogged(curve: Curve, left: float, right: float) -> str:
    seen = curve.y[(curve.x >= left) & (curve.x <= right)]
    dropped, total = int((seen <= 0).sum()), int((seen == seen).sum())
    return f"log axis: {dropped} of {total} points of {curve.name} are zero or negative, not drawn" * bool(
        dropped
    )


def _message(text: str, width: int, height: int, remarks: tuple[str, ...] = ()) -> Plot:
    blank = [(("", None),)] * (height // 2)
    return Plot((*blank, ((text[:width].center(width), None),)), remarks)


@dataclass(frozen=True)
class _Frame:
    left: float
    right: float
    low: float
    high: float
    log: bool
    plain: bool
    only_step: float | None
    """The step of all that is seen, if it has but one."""
    only_value: float | None
    """The value of all that is seen, if it has but one; on a log axis its logarithm."""

    def ticks_up(self, count: int) -> list[Tick]:
        """Ticks of the vertical axis; of a single value that value alone."""
        if self.only_value is not None:
            value = 10**self.only_value if self.log else self.only_value
            return [(self.only_value, axis_label(float(f"{value:.4g}")))]
        return (log_ticks if self.log else linear_ticks)(self.low, self.high, count)

    def ticks_across(self, count: int, label: Callable[[float], str]) -> list[Tick]:
        """Ticks of the horizontal axis; of a single step that step alone."""
        if self.only_step is not None:
            return [(self.only_step, label(self.only_step))]
        return linear_ticks(self.left, self.right, count, label)


def _framed(
    frame: _Frame,
    curves: Sequence[Curve],
    sampled: Sequence[list[Point]],
    width: int,
    height: int,
    x_label: Callable[[float], str],
) -> tuple[tuple[tuple[str, int | None], ...], ...]:
    rows = height - 2
    ticks = frame.ticks_up(max(3, rows // 4))
    margin = max((len(label) for _, label in ticks), default=1)
    columns = width - margin - 1
    canvas = _Canvas(columns, rows, frame)
    for curve, points in zip(curves, sampled, strict=True):
        canvas.line(points, curve.marker)
    for curve, points in zip(curves, sampled, strict=True):
        canvas.signs(points, curve.marker)
    axis, notch, corner, flat, down = "|++-+" if frame.plain else "│┤└─┬"
    labels = {canvas.cell(frame.left, value)[1]: label for value, label in reversed(ticks)}
    lines: list[tuple[tuple[str, int | None], ...]] = []
    for row, cells in enumerate(canvas.rows()):
        start = labels.get(row, "").rjust(margin) + (notch if row in labels else axis)
        lines.append(((start, None), *cells))
    bottom, below = [flat] * columns, [" "] * (margin + 1 + columns)
    free = 0
    for place, label in frame.ticks_across(max(2, columns // 14), x_label):
        column, _ = canvas.cell(place, frame.low)
        begin = max(0, min(margin + 1 + column - len(label) // 2, len(below) - len(label)))
        if begin >= free:
            bottom[column] = down
            below[begin : begin + len(label)] = label
            free = begin + len(label) + 1
    lines.append(((" " * margin + corner + "".join(bottom), None),))
    lines.append((("".join(below), None),))
    return tuple(lines)


class _Canvas:
    """Cells of two by four dots."""

    def __init__(self, columns: int, rows: int, frame: _Frame) -> None:
        self._bits = [[0] * columns for _ in range(rows)]
        self._owner: list[list[int | None]] = [[None] * columns for _ in range(rows)]
        self._signs: dict[tuple[int, int], str] = {}
        self._columns, self._rows, self._frame = columns, rows, frame
        self._markers = PLAIN_MARKERS if frame.plain else MARKERS

    def line(self, points: Sequence[Point], marker: int) -> None:
        """Join the points; a NaN breaks the line."""
        spans: dict[int, Point] = {}
        before: Point | None = None
        for x, y in points:
            if y != y:
                self._paint(spans, marker)
                spans, before = {}, None
                continue
            here = self._dot(x, y)
            _reach(spans, before or here, here, 2 * self._columns)
            before = here
        self._paint(spans, marker)

    def signs(self, points: Sequence[Point], marker: int) -> None:
        """Put the curve's marker on some of its points: all of few, else spread out."""
        sign = self._markers[marker % len(self._markers)]
        apart = max(6, self._columns // 8)
        many = len(points) > self._columns // 4
        # Curves have their markers at different places, so that they do not hide each other.
        next_column = marker % apart if many else 0
        left, right = self._frame.left, self._frame.right
        scale = (2 * self._columns - 1) / (right - left)
        last: Point | None = None
        for x, y in points:
            if y != y or not left <= x <= right:
                continue
            last = x, y
            if int((x - left) * scale + 0.5) // 2 >= next_column:
                column = self._put(x, y, sign, marker)
                next_column = column + (apart if many else 2)
        if last is not None and self.cell(*last)[0] + apart // 2 >= next_column:
            self._put(*last, sign, marker)

    def rows(self) -> list[list[tuple[str, int | None]]]:
        """Each row as pieces of one curve."""
        found: list[list[tuple[str, int | None]]] = []
        for row, (bits, owners) in enumerate(zip(self._bits, self._owner, strict=True)):
            pieces: list[tuple[str, int | None]] = []
            text, owner = "", None
            for column, (dots, whose) in enumerate(zip(bits, owners, strict=True)):
                if dots and whose != owner:
                    if text:
                        pieces.append((text, owner))
                    text, owner = "", whose
                text += self._signs.get((column, row)) or self._dots(dots)
            found.append([*pieces, (text, owner)])
        return found

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Column and row of a point."""
        across, down = self._dot(x, y)
        column, row = int(across + 0.5) // 2, int(down + 0.5) // 4
        return max(0, min(self._columns - 1, column)), max(0, min(self._rows - 1, row))

    def _dots(self, dots: int) -> str:
        if not dots:
            return " "
        return "." if self._frame.plain else chr(0x2800 + dots)

    def _put(self, x: float, y: float, sign: str, marker: int) -> int:
        column, row = self.cell(x, y)
        self._signs[column, row] = sign
        self._bits[row][column], self._owner[row][column] = 0xFF, marker
        return column

    def _dot(self, x: float, y: float) -> tuple[float, float]:
        frame = self._frame
        across = (x - frame.left) / (frame.right - frame.left) * (2 * self._columns - 1)
        down = (frame.high - y) / (frame.high - frame.low) * (4 * self._rows - 1)
        # A neighbour outside of what is seen may be so far away that its lines could not be computed.
        return across, max(-_FAR, min(_FAR, down))

    def _paint(self, spans: dict[int, Point], marker: int) -> None:
        """Set the dots of each dot column from the upper to the lower end of its span."""
        height = 4 * self._rows
        for column, (upper, lower) in spans.items():
            if lower < -0.5 or upper > height - 0.5:
                continue
            top, bottom = max(0, math.floor(upper + 0.5)), min(height - 1, math.floor(lower + 0.5))
            below, above = _BELOW[column & 1], _ABOVE[column & 1]
            first, last, cell = top >> 2, bottom >> 2, column >> 1
            for row in range(first, last + 1):
                dots = below[top & 3] if row == first else below[0]
                self._bits[row][cell] |= dots & (above[bottom & 3] if row == last else above[3])
                self._owner[row][cell] = marker


def _reach(spans: dict[int, Point], start: Point, end: Point, width: int) -> None:
    """Widen the spans of the dot columns from `start` to `end` by what a straight line covers of each."""
    (x0, y0), (x1, y1) = start, end
    slope = (y1 - y0) / (x1 - x0) if x1 > x0 else None
    for column in range(max(0, math.floor(x0 + 0.5)), min(width - 1, math.floor(x1 + 0.5)) + 1):
        if slope is None:
            a, b = y0, y1
        else:
            a = y0 + (max(x0, column - 0.5) - x0) * slope
            b = y0 + (min(x1, column + 0.5) - x0) * slope
        if a > b:
            a, b = b, a
        known = spans.get(column)
        if known is None:
            spans[column] = (a, b)
        elif a < known[0] or b > known[1]:
            spans[column] = (min(a, known[0]), max(b, known[1]))
