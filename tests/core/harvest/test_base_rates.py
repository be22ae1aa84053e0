"""How often components fire, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.harvest.base_rates import RARE, base_rates


@given(st.lists(st.integers(0, 3 * RARE), max_size=40), st.integers(3 * RARE, 10_000), st.integers(0, 40))
def test_every_number_counted_by_hand(counts: list[int], positions: int, cut: int) -> None:
    cut = min(cut, len(counts))
    layers = [("first", cut), ("second", len(counts) - cut)]
    rates = base_rates(np.array(counts, np.uint64), positions, layers)
    assert (rates.components, rates.never_fired, rates.fired) == (
        len(counts),
        counts.count(0),
        sum(count > 0 for count in counts),
    )
    assert rates.fired_rarely == sum(0 < count < RARE for count in counts)
    assert rates.mean_active == pytest.approx(sum(counts) / positions)
    assert sum(rates.density_histogram) == rates.fired
    fired = sorted(count / positions for count in counts if count)
    if fired:
        assert (rates.density_quantiles["min"], rates.density_quantiles["max"]) == (fired[0], fired[-1])
        assert list(rates.density_quantiles.values()) == sorted(rates.density_quantiles.values())
    else:
        assert rates.density_quantiles == {}
    for name, part in (("first", counts[:cut]), ("second", counts[cut:])):
        assert rates.layers[name] == {
            "components": len(part),
            "fired": sum(count > 0 for count in part),
            "fired_rarely": sum(0 < count < RARE for count in part),
            "mean_active": pytest.approx(sum(part) / positions),
        }


def test_densities_beyond_the_axis_are_in_the_end_bins() -> None:
    histogram = base_rates(np.array([1, 10**9, 11 * 10**6], np.uint64), 10**9, [("all", 3)]).density_histogram
    assert histogram[0] == histogram[-1] == histogram[8] == 1


def test_nothing_counted_yet() -> None:
    rates = base_rates(np.zeros(3, np.uint64), 0, [("all", 3)])
    assert (rates.never_fired, rates.mean_active, rates.density_quantiles) == (3, 0.0, {})
