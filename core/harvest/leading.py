"""The token that goes most with each component, found while its counts are written. Needs no torch."""

import numpy as np
from numpy.typing import NDArray

from core.stats.association import Counts, log_likelihood_ratio

ENTRIES = 1 << 16
"""Counts that are looked at together: what stays in the cache."""


class LeadingTokens:
    """Of every component the token with the largest signed log-likelihood ratio; of equals the smallest id.

    `firings` (C) are the positions where each component fires, `occurrences` (vocab) the positions or the
    mass of each token, `positions` how many there are.
    """

    def __init__(self, firings: NDArray[np.uint64], occurrences: NDArray[np.generic], positions: int) -> None:
        self._firings = firings.astype(np.float64)
        self._occurrences = occurrences.astype(np.float64)
        self._positions = float(positions)
        deviation = np.sqrt(self._occurrences * np.maximum(self._positions - self._occurrences, 0))
        self._scale = np.divide(1.0, deviation, out=np.zeros(len(deviation)), where=deviation > 0)
        self._entries = np.zeros(len(firings), np.bool_)
        self._tokens = np.zeros(len(firings), np.uint32)
        self._shares = np.zeros(len(firings))

    def note(
        self,
        components: NDArray[np.uint32],
        starts: NDArray[np.uint64],
        tokens: NDArray[np.uint32],
        counts: NDArray[np.generic],
    ) -> None:
        """Take in all tokens of some components: those of `components[i]` stand from `starts[i]` on."""
        bounds = starts.astype(np.int64)
        first = 0
        while first < len(components):
            last = int(np.searchsorted(bounds, bounds[first] + ENTRIES, side="right")) - 1
            last = min(max(last, first + 1), len(components))
            part = slice(bounds[first], bounds[last])
            self._note(components[first:last], np.diff(bounds[first : last + 1]), tokens[part], counts[part])
            first = last

    def tokens(self) -> list[int | None]:
        """The token of every component; None where it has none."""
        known = self._entries.tolist()
        return [token if has else None for token, has in zip(self._tokens.tolist(), known, strict=True)]

    def shares(self) -> list[float | None]:
        """Count or mass of that token for each firing of the component, P(token | it fires)."""
        known = self._entries.tolist()
        return [share if has else None for share, has in zip(self._shares.tolist(), known, strict=True)]

    def _note(
        self,
        components: NDArray[np.uint32],
        lengths: NDArray[np.int64],
        tokens: NDArray[np.uint32],
        counts: NDArray[np.generic],
    ) -> None:
        components, lengths = components[lengths > 0], lengths[lengths > 0]
        if not len(components):
            return
        both = counts.astype(np.float64)
        ends = np.cumsum(lengths)
        candidates = self._candidates(self._firings[components], lengths, tokens, both)
        rows = np.searchsorted(ends, candidates, side="right")
        ratio = self._ratio(self._firings[components[rows]], tokens[candidates], both[candidates])
        order = np.lexsort((tokens[candidates], -ratio, rows))
        best = candidates[order[np.diff(rows[order], prepend=-1) > 0]]
        self._entries[components] = True
        self._tokens[components] = tokens[best]
        self._shares[components] = both[best] / self._firings[components]

    def _candidates(
        self,
        this: NDArray[np.float64],
        lengths: NDArray[np.int64],
        tokens: NDArray[np.uint32],
        both: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Entries that may have the largest ratio of their row.

        Four logarithms for every entry would take as long as writing it. Pearson's chi-square takes none and
        bounds the ratio: G^2 <= 2 n log(1 + X^2 / n) <= 2 X^2. So only those whose 2 X^2 reaches the ratio
        of the entry with the largest X^2 are looked at. X^2 is here `score` squared, but for a factor of the
        row.
        """
        total, starts = self._positions, np.cumsum(lengths) - lengths
        score = both - np.repeat(this / total, lengths) * self._occurrences[tokens]
        score *= self._scale[tokens]
        largest = np.maximum.reduceat(score, starts)
        leaders = np.flatnonzero(score == np.repeat(largest, lengths))
        rows = np.searchsorted(starts, leaders, side="right") - 1
        reached = np.full(len(lengths), -np.inf)
        np.maximum.at(reached, rows, self._ratio(this[rows], tokens[leaders], both[leaders]))
        # The bound says nothing of tokens that are rarer than by chance: rows of those are looked at whole,
        # and those of components that always fire, where every score is zero but for rounding.
        bounded = (reached > 0) & (largest > 0) & (this < total)
        with np.errstate(divide="ignore"):
            factor = total**3 / (this * (total - this))
        least = np.sqrt(np.where(bounded, reached, 0) / (2 * factor)) * (1 - 1e-9)
        return np.flatnonzero(score >= np.repeat(np.where(bounded, least, -np.inf), lengths))

    def _ratio(
        self, this: NDArray[np.float64], tokens: NDArray[np.uint32], both: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        total = np.full(len(tokens), self._positions)
        return log_likelihood_ratio(Counts.of(both, this, self._occurrences[tokens], total))
