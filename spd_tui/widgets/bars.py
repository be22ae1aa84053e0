"""Numbers to three significant digits, and bars of block characters to compare them by."""

import math
from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"
MISSING = "·"

SET_STYLES = (Style(color="cyan"), Style(bold=True), Style(color="yellow"))
SET_MARKS = "▒█░"
"""Positions with only this, with both, with only the other: told apart by their shade without colour."""


def three_digits(value: float | None) -> str:
    """A number to three significant digits; `MISSING` for none and NaN."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    mantissa, exponent_text = f"{value:.2e}".split("e")
    exponent = int(exponent_text)
    if -3 <= exponent < 5:
        return f"{float(f'{mantissa}e{exponent}'):.{max(0, 2 - exponent)}f}"
    return f"{mantissa}e{exponent}"


def grouped(count: int) -> str:
    """A count with thin groups of thousands: `12 345`."""
    return f"{count:,}".replace(",", " ")


def split_decimal(text: str) -> tuple[int, int]:
    """Characters before the decimal point of a number written out, and from it on."""
    ends = [place for place in (text.find("."), text.find("e")) if place >= 0]
    whole = min(ends, default=len(text))
    return whole, len(text) - whole


def align_decimal(numbers: Sequence[str], whole: int = 0, rest: int = 0) -> list[str]:
    """Numbers padded so that their decimal points stand under each other, all of one width.

    `whole` and `rest` are the least room before the point and from it on.
    """
    parts = [split_decimal(number) for number in numbers]
    whole = max([whole, *(left for left, _ in parts)])
    rest = max([rest, *(right for _, right in parts)])
    return [
        " " * (whole - left) + number + " " * (rest - right)
        for number, (left, right) in zip(numbers, parts, strict=True)
    ]


def bar(fraction: float, width: int) -> str:
    """A horizontal bar of `fraction` of `width` cells, to an eighth of a cell, padded to `width`.

    Anything above zero shows at least the thinnest bar; fractions outside 0 to 1 are cut, NaN is empty.
    """
    if math.isnan(fraction) or fraction <= 0 or width <= 0:
        return " " * max(width, 0)
    eighths = max(1, round(min(fraction, 1.0) * width * 8))
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(width)


def height(fraction: float) -> str:
    """One block character as high as `fraction`, from a blank to █; anything above zero shows."""
    if math.isnan(fraction) or fraction <= 0:
        return HEIGHTS[0]
    return HEIGHTS[max(1, min(8, math.ceil(fraction * 8 - 1e-9)))]


def heights(values: Sequence[float]) -> str:
    """One block for each value, the largest being █."""
    top = max((value for value in values if not math.isnan(value)), default=0.0)
    return "".join(height(value / top if top > 0 else 0.0) for value in values)


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
