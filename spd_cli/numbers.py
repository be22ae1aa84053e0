"""Numbers and bars as tables show them: three significant digits, points under points, blocks for lengths."""

import math
from collections.abc import Sequence

_HEIGHTS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


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
    parts = [_split(digits(value)) for value in values]
    before = max((len(whole) for whole, _ in parts), default=0)
    after = max((len(rest) for _, rest in parts), default=0)
    return [whole.rjust(before) + rest.ljust(after) for whole, rest in parts]


def bar(share: float, width: int) -> str:
    """A horizontal bar of `share` (0 to 1) of `width` cells, in eighths of a cell."""
    eighths = round(8 * width * min(max(share, 0.0), 1.0)) if math.isfinite(share) else 0
    text = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return text.ljust(width)


def height(share: float) -> str:
    """A block as high as `share` (0 to 1); everything above 0 can be seen, only 0 is blank."""
    if not share > 0:
        return " "
    return _HEIGHTS[min(8, max(1, math.ceil(8 * share)))]


def columns_of_blocks(counts: Sequence[float]) -> str:
    """A histogram one line high, the highest column full."""
    most = max(counts, default=0)
    return "".join(height(count / most) if most else " " for count in counts)


def _split(text: str) -> tuple[str, str]:
    whole, point, rest = text.partition(".")
    return whole, point + rest
