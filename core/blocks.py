"""Bars and columns of block characters, for any face."""

import math
from collections.abc import Sequence

EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


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
