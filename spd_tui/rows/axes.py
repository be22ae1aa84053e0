"""Ticks of axes at round numbers."""

import math
from collections.abc import Callable, Iterable

Tick = tuple[float, str]
"""Where on the axis, and what it says there."""


def axis_label(value: float) -> str:
    """A round number as short as it can be written: `0.5`, `12 000`, `2e-6`."""
    if value == 0 or not math.isfinite(value):
        return "0"
    short = f"{value:,.6g}".replace(",", " ")
    if abs(value) >= 1e-3 and "e" not in short:
        return short
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def linear_ticks(
    low: float, high: float, count: int, label: Callable[[float], str] = axis_label
) -> list[Tick]:
    """About `count` multiples of 1, 2 or 5 times a power of ten from `low` to `high`."""
    if not high > low:
        return [(low, label(low))]
    step = _round_step((high - low) / max(count, 1))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 4 * count + 8:
        return []
    return [(number * step, label(float(f"{number * step:.12g}"))) for number in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[Tick]:
    """Ticks of a logarithmic axis, whose places are powers of ten: decades, and within few decades round
    numbers between them."""
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(decades) >= 3 or (len(decades) == 2 and count <= 2):
        stride = max(1, math.ceil(len(decades) / count))
        return [(float(d), _power(d)) for d in decades if d % stride == 0]
    fine = _within_decades(low, high, (1, 2, 5))
    if len(fine) < min(3, count):
        fine = _within_decades(low, high, range(1, 10))
    if len(fine) >= 2 or high > 300 or low < -300:
        return fine
    plain = linear_ticks(10**low, 10**high, count)
    return [(math.log10(place), label) for place, label in plain if place > 0]


def _within_decades(low: float, high: float, factors: Iterable[int]) -> list[Tick]:
    return [
        (math.log10(factor) + decade, axis_label(float(f"{factor}e{decade}")))
        for decade in range(max(-300, math.floor(low)), min(300, math.ceil(high)) + 1)
        for factor in factors
        if low - 1e-9 <= math.log10(factor) + decade <= high + 1e-9
    ]


def _power(exponent: int) -> str:
    return axis_label(10.0**exponent) if -3 <= exponent <= 4 else f"1e{exponent}"


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least)) if least > 1e-300 else 1e-300
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)
