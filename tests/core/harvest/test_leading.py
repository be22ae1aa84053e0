"""The leading token of a component is the one a full ranking has first, whatever the counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.harvest import leading
from core.harvest.leading import LeadingTokens
from core.stats.association import Counts, log_likelihood_ratio


def by_hand(both: np.ndarray, firings: np.ndarray, occurrences: np.ndarray, total: int) -> list[int | None]:
    """From dense counts (C vocab)."""
    found: list[int | None] = []
    for row, this in zip(both, firings, strict=True):
        tokens = np.flatnonzero(row)
        ratio = log_likelihood_ratio(
            Counts.of(
                row[tokens], np.full(len(tokens), this), occurrences[tokens], np.full(len(tokens), total)
            )
        )
        found.append(int(tokens[np.argmax(ratio)]) if len(tokens) else None)
    return found


def noted(both: np.ndarray, firings: np.ndarray, occurrences: np.ndarray, total: int) -> LeadingTokens:
    tokens = LeadingTokens(firings, occurrences, total)
    rows, keys = both.nonzero()
    starts = np.searchsorted(rows, np.arange(len(both) + 1)).astype(np.uint64)
    tokens.note(np.arange(len(both), dtype=np.uint32), starts, keys.astype(np.uint32), both[rows, keys])
    return tokens


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    positions=st.integers(1, 300),
    components=st.integers(1, 12),
    vocabulary=st.integers(1, 40),
    rate=st.sampled_from([0.02, 0.3, 0.9]),
)
def test_it_is_the_first_of_all(seed, positions, components, vocabulary, rate):
    draws = np.random.default_rng(seed)
    ids = np.minimum(draws.geometric(0.15, positions) - 1, vocabulary - 1)
    fires = draws.random((positions, components)) < rate * draws.random(components)
    fires[:, 0] = True
    fires[:, -1] |= ids == 0
    tokens = np.eye(vocabulary)[ids]
    both, firings, occurrences = fires.T @ tokens, fires.sum(0).astype(np.uint64), tokens.sum(0)
    found = noted(both, firings, occurrences, positions)
    expected = by_hand(both, firings, occurrences, positions)
    assert found.tokens() == expected
    for row, token in enumerate(expected):
        assert found.shares()[row] == (None if token is None else both[row, token] / int(firings[row]))


def test_tokens_rarer_than_by_chance_and_mass_that_was_dropped() -> None:
    # All below chance: the least so leads. Masses need not add up to the firings.
    both = np.array([[0.5, 0.25, 0.0], [3.0, 0.5, 0.25]])
    firings, occurrences = np.array([10, 12], np.uint64), np.array([30.0, 20.0, 9.0])
    assert noted(both, firings, occurrences, 60).tokens() == by_hand(both, firings, occurrences, 60)


def test_parts_of_any_size_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    both = draws.integers(0, 4, (30, 25)).astype(np.float64)
    firings, occurrences = both.sum(1).astype(np.uint64), both.sum(0)
    expected = noted(both, firings, occurrences, 4000)
    for entries in (1, 40, 200):
        monkeypatch.setattr(leading, "ENTRIES", entries)
        assert noted(both, firings, occurrences, 4000).tokens() == expected.tokens()
