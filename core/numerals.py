"""Numbers as people read them: three significant digits, grouped thousands, points under points."""

import math
from collections.abc import Sequence

MISSING = "-"


def three_digits(value: float | None) -> str:
    """A number to three significant digits; `MISSING` for none and NaN.

    A whole part of more digits is written in full, as far as a million.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if abs(value) >= 999.5 and round(abs(value)) < 10**6:
        return grouped(value)
    mantissa, exponent_text = f"{value:.2e}".split("e")
    exponent = int(exponent_text)
    if not -3 <= exponent < 3:
        return f"{mantissa}e{exponent}"
    return f"{float(f'{mantissa}e{exponent}'):.{2 - exponent}f}"


def grouped(number: float) -> str:
    """A number without decimals, its thousands in groups: `12 345`."""
    return f"{number:z,.0f}".replace(",", " ")


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


def aligned(values: Sequence[float | None]) -> list[str]:
    """Numbers to three significant digits, all of one width with the points in one column."""
    return align_decimal([three_digits(value) for value in values])
