"""Bars and columns of block characters, and numbers with their points under each other: for any face."""

import math
from collections.abc import Sequence

EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


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
