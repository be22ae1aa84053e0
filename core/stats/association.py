"""How strongly two kinds of events go together, from counts alone; nothing here knows a model.

Counts of n positions: this happens at n_this of them, other at n_other, both at n_both. Counts may be
fractional (probability mass). Every function takes arrays that broadcast and answers for each entry;
logarithms are natural; an impossible quotient (an event that never happens) is NaN, the logarithm of zero
is -inf.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

Measure = Literal["other_given_this", "this_given_other", "jaccard", "lift", "pmi", "log_likelihood_ratio"]


@dataclass(frozen=True)
class Counts:
    """Positions with both events, with this, with the other, and all there are."""

    both: Array
    this: Array
    other: Array
    total: Array

    @classmethod
    def of(cls, both: ArrayLike, this: ArrayLike, other: ArrayLike, total: ArrayLike) -> "Counts":
        """Counts from anything like an array, as doubles (exact for whole numbers below 2^53)."""
        return cls(*(np.asarray(values, np.float64) for values in (both, this, other, total)))


def other_given_this(counts: Counts) -> Array:
    """P(other | this) = n_both / n_this."""
    return _quotient(counts.both, counts.this)


def this_given_other(counts: Counts) -> Array:
    """P(this | other) = n_both / n_other."""
    return _quotient(counts.both, counts.other)


def jaccard(counts: Counts) -> Array:
    """Positions with both among those with either."""
    return _quotient(counts.both, counts.this + counts.other - counts.both)


def lift(counts: Counts) -> Array:
    """P(both) / (P(this) P(other)): how many times more often than if they were independent."""
    return _quotient(counts.both * counts.total, counts.this * counts.other)


def pmi(counts: Counts) -> Array:
    """Pointwise mutual information: the logarithm of the lift."""
    with np.errstate(divide="ignore"):
        return np.log(lift(counts))


def log_likelihood_ratio(counts: Counts) -> Array:
    """G^2, twice the log-likelihood ratio of dependence to independence; negative when rarer than by chance.

    Unlike PMI it does not favour rare events: without association it follows chi-square with one degree of
    freedom (beyond 10.8 by chance once in a thousand).
    """
    observed = [
        counts.both,
        counts.this - counts.both,
        counts.other - counts.both,
        counts.total - counts.this - counts.other + counts.both,
    ]
    rest = counts.total - counts.this
    expected = [
        _quotient(counts.this * counts.other, counts.total),
        _quotient(counts.this * (counts.total - counts.other), counts.total),
        _quotient(rest * counts.other, counts.total),
        _quotient(rest * (counts.total - counts.other), counts.total),
    ]
    statistic = 2 * sum(_x_log_ratio(seen, chance) for seen, chance in zip(observed, expected, strict=True))
    return np.where(counts.both < expected[0], -statistic, statistic)


MEASURES = {
    "other_given_this": other_given_this,
    "this_given_other": this_given_other,
    "jaccard": jaccard,
    "lift": lift,
    "pmi": pmi,
    "log_likelihood_ratio": log_likelihood_ratio,
}
"""Every measure by its name."""


def proportion_interval(part: ArrayLike, whole: ArrayLike, z: float = 1.96) -> tuple[Array, Array]:
    """Wilson interval of a proportion part / whole, at z standard errors (1.96: 95%).

    It takes positions as independent; those of one text are not quite, so it is somewhat too narrow.
    """
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    p = _quotient(part, whole)
    shift = _quotient(np.full_like(whole, z * z), whole)
    middle = (p + shift / 2) / (1 + shift)
    with np.errstate(invalid="ignore"):
        half = np.sqrt(np.maximum(p * (1 - p), 0) * shift + shift * shift / 4) / (1 + shift)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def pmi_interval(counts: Counts, z: float = 1.96) -> tuple[Array, Array]:
    """Interval of the PMI at z standard errors, from the variance of the logarithm (delta method).

    Given the marginals the variance of log n_both is about 1 / n_both - 1 / n; where n_both is zero both ends
    are -inf and the upper bound that three missed events allow (n_both = 3).
    """
    variance = np.maximum(_quotient(np.ones_like(counts.both), counts.both) - _quotient(1.0, counts.total), 0)
    middle, half = pmi(counts), z * np.sqrt(variance)
    # Nothing seen: the "rule of three" bounds the expected count by 3 with 95%.
    unseen = pmi(Counts(np.full_like(counts.both, 3.0), counts.this, counts.other, counts.total))
    with np.errstate(invalid="ignore"):
        low, high = middle - half, middle + half
    none = counts.both == 0
    return np.where(none, -np.inf, low), np.where(none, unseen, high)


def top_and_bottom(scores: Array, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the `count` largest scores, largest first, and of the smallest, smallest first.

    Equal scores are in the order of their indices; scores that are no finite number take no place.
    """
    finite = np.flatnonzero(np.isfinite(scores))
    values = scores[finite]
    return finite[_largest(values, count)], finite[_largest(-values, count)]


def _largest(values: Array, count: int) -> NDArray[np.int64]:
    count = min(count, len(values))
    if count == 0:
        return np.zeros(0, np.int64)
    # Sorting only what reaches the last place keeps a list of a hundred thousand within milliseconds.
    bound = np.partition(values, len(values) - count)[len(values) - count]
    candidates = np.flatnonzero(values >= bound)
    return candidates[np.argsort(-values[candidates], kind="stable")][:count]


def _quotient(a: ArrayLike, b: ArrayLike) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(b) == 0, np.nan, np.asarray(a, np.float64) / np.asarray(b, np.float64))


def _x_log_ratio(x: Array, expected: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x <= 0, 0.0, x * np.log(x / expected))
