"""Measures of association against their definitions, intervals against simulation, lists against sorting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stats.association import (
    MEASURES,
    Counts,
    log_likelihood_ratio,
    pmi,
    pmi_interval,
    proportion_interval,
    top_and_bottom,
)


def test_measures_are_their_definitions() -> None:
    counts = Counts.of(12, 40, 60, 400)
    expected = {
        "other_given_this": 12 / 40,
        "this_given_other": 12 / 60,
        "jaccard": 12 / 88,
        "lift": (12 / 400) / (40 / 400 * 60 / 400),
        "pmi": math.log(2),
    }
    for name, value in expected.items():
        assert MEASURES[name](counts) == pytest.approx(value)


def test_log_likelihood_is_that_of_the_two_by_two_table() -> None:
    table = np.array([[12, 28], [48, 312]])
    chance = table.sum(1, keepdims=True) * table.sum(0) / 400
    exact = 2 * (table * np.log(table / chance)).sum()
    assert log_likelihood_ratio(Counts.of(12, 40, 60, 400)) == pytest.approx(exact)
    assert log_likelihood_ratio(Counts.of(6, 40, 60, 400)) == pytest.approx(0, abs=1e-9)
    assert log_likelihood_ratio(Counts.of(1, 40, 60, 400)) < -3
    assert log_likelihood_ratio(Counts.of(40, 40, 40, 400)) > 200


def test_events_that_never_happen_have_no_measure() -> None:
    for name, measure in MEASURES.items():
        value = measure(Counts.of(0, 0, 5, 10))
        assert np.isnan(value) or name in ("jaccard", "this_given_other", "log_likelihood_ratio"), name
    assert pmi(Counts.of(0, 3, 5, 10)) == -np.inf


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_measures_stay_in_their_ranges(both: int, this: int, other: int, rest: int) -> None:
    counts = Counts.of(both, both + this, both + other, both + this + other + rest)
    for name in ("other_given_this", "this_given_other", "jaccard"):
        assert 0 < MEASURES[name](counts) <= 1
    assert np.sign(np.round(pmi(counts), 9)) == np.sign(np.round(log_likelihood_ratio(counts), 9))
    low, high = pmi_interval(counts)
    assert low <= pmi(counts) <= high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0)
    trials, total, p_this, p_other, p_both = 4000, 2000, 0.1, 0.2, 0.05
    cells = draws.multinomial(
        total, [p_both, p_this - p_both, p_other - p_both, 1 - p_this - p_other + p_both], size=trials
    )
    counts = Counts.of(cells[:, 0], cells[:, 0] + cells[:, 1], cells[:, 0] + cells[:, 2], total)
    low, high = proportion_interval(counts.both, counts.this)
    assert 0.93 < ((low <= p_both / p_this) & (p_both / p_this <= high)).mean() < 0.97
    low, high = pmi_interval(counts)
    truth = math.log(p_both / (p_this * p_other))
    # The marginals are drawn too and move with n_both, so the interval is on the safe side.
    assert ((low <= truth) & (truth <= high)).mean() > 0.93


def test_intervals_of_extreme_proportions_stay_in_range() -> None:
    low, high = proportion_interval([0, 10, 0], [10, 10, 0])
    assert low[0] == 0 and 0.2 < high[0] < 0.35
    assert 0.65 < low[1] < 0.8 and high[1] == pytest.approx(1)
    assert np.isnan(low[2]) and np.isnan(high[2])


@given(
    st.lists(st.sampled_from([-np.inf, np.nan, np.inf, -2.0, 0.0, 1.0, 3.5]), max_size=40), st.integers(0, 12)
)
def test_lists_are_those_of_a_stable_sort(scores: list[float], count: int) -> None:
    finite = [index for index, score in enumerate(scores) if math.isfinite(score)]
    top, bottom = top_and_bottom(np.array(scores, np.float64), count)
    assert top.tolist() == sorted(finite, key=lambda index: -scores[index])[:count]
    assert bottom.tolist() == sorted(finite, key=lambda index: scores[index])[:count]
