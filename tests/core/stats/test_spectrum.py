"""Where the sorted curve of mean importances is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.stats.spectrum import cut_spectrum


def test_live_and_silent() -> None:
    cut = cut_spectrum(torch.tensor([0.04, 0.0, 0.03, 0.0]), positions=10**6)
    assert cut.live.tolist() == [True, False, True, False]
    assert cut.separated
    assert cut.gap_decades == pytest.approx(4.477, abs=1e-3)
    assert 1e-6 < cut.threshold < 0.03


def test_rare_firings_of_dead_subcomponents_do_not_count() -> None:
    noise = torch.logspace(-5.5, -3.5, 30)
    cut = cut_spectrum(torch.cat([torch.full((10,), 0.03), noise]), positions=10**6)
    assert cut.count == 10
    assert cut.gap_decades > cut.runner_up_decades


def test_gap_below_the_resolution_of_the_sample_is_not_seen() -> None:
    # In 2,048 positions one weak firing gives 1e-4; the drop from there to an exact 0 means nothing.
    means = torch.tensor([0.01] * 100 + [1.2e-4] * 5 + [0.0] * 95)
    assert cut_spectrum(means, positions=2048).count == 100


def test_none_live() -> None:
    cut = cut_spectrum(torch.tensor([0.0, 1e-9, 5e-7]), positions=10**6)
    assert cut.count == 0
    assert cut.separated


def test_all_live() -> None:
    cut = cut_spectrum(torch.tensor([0.05, 0.04, 0.03]), positions=10**6)
    assert cut.count == 3
    assert not cut.separated
    assert cut.gap_decades == 0


def test_busy_subcomponents_are_not_cut_from_one_another() -> None:
    cut = cut_spectrum(torch.tensor([1.0, 0.02, 0.02]), positions=10**6)
    assert cut.count == 3
    cut = cut_spectrum(torch.tensor([1.0, 0.02, 0.02, 1e-4]), positions=10**6)
    assert cut.live.tolist() == [True, True, True, False]


def test_probes_are_enough_positions() -> None:
    assert cut_spectrum(torch.cat([torch.full((100,), 0.01), torch.zeros(20)]), positions=100).count == 100
    assert cut_spectrum(torch.tensor([0.2] * 5 + [0.0] * 15), positions=5).count == 5


def test_no_positions_and_no_subcomponents() -> None:
    assert cut_spectrum(torch.zeros(4), positions=0).count == 0
    assert cut_spectrum(torch.zeros(0), positions=10).count == 0
    assert cut_spectrum(torch.tensor([0.3]), positions=100).count == 1


@pytest.mark.parametrize("positions", [20_000, 200_000, 2_000_000])
def test_without_a_cliff_the_count_does_not_grow_with_the_sample(positions: int) -> None:
    # Firing rates spread evenly over six decades, each seen as often as it happens in so many positions.
    rates = torch.logspace(-6, 0, 601, dtype=torch.float64)
    seen = (rates * positions).round() / positions
    cut = cut_spectrum(seen, positions, without_cliff=1e-4)
    assert not cut.separated
    assert cut.threshold == 1e-4
    assert cut.count == pytest.approx(400, abs=12)
    assert cut_spectrum(seen, positions).count != cut.count


def test_a_real_cliff_is_found_all_the_same() -> None:
    means = torch.cat([torch.logspace(-3.5, -1, 50), torch.zeros(600)])
    cut = cut_spectrum(means, 100_000, without_cliff=1e-2)
    assert (cut.count, cut.separated) == (50, True)
    few = cut_spectrum(torch.tensor([2e-3, 1e-3, 4e-4, 3e-4]), 1000, without_cliff=1e-4)
    assert few.threshold == 5e-4, "half a firing in a thousand positions"
    assert few.live.tolist() == [True, True, False, False]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 10**9), st.randoms())
def test_order_does_not_matter_and_live_is_a_top_set(means: list[float], positions: int, random) -> None:
    cut = cut_spectrum(torch.tensor(means), positions)
    shuffled = list(range(len(means)))
    random.shuffle(shuffled)
    again = cut_spectrum(torch.tensor(means)[shuffled], positions)
    assert again.live.tolist() == cut.live[shuffled].tolist()
    live = [m for m, alive in zip(means, cut.live.tolist(), strict=True) if alive]
    dead = [m for m, alive in zip(means, cut.live.tolist(), strict=True) if not alive]
    assert min(live, default=1.0) >= max(dead, default=0.0)
