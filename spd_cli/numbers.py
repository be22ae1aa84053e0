"""Numbers as tables show them: three significant digits, points under points."""

import math
from collections.abc import Sequence

from core.blocks import align_decimal


def digits(value: float | None, significant: int = 3) -> str:
    """A number with three significant digits, `-` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    value = float(f"{value:.{significant - 1}e}") if abs(value) < 10**significant else value
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{significant - 1}e}"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def aligned(values: Sequence[float | None]) -> list[str]:
    """Numbers as `digits` shows them, all of one width with the points in one column."""
    return align_decimal([digits(value) for value in values])
